package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"pipit/broker"
	"pipit/broker/stats"
	"pipit/broker/store"
	"pipit/httpapi/callback"
)

// What stands for those that have no series of their own: no topic ends with a slash, and no username has a colon.
const (
	others      = "other"
	otherTopics = "other/"
	otherUsers  = "other:"
)

// collector asks a broker for its figures when a scrape comes. Whose series are limited, the oldest have them: by their
// numbers, so that who has one keeps it.
type collector struct {
	sources atomic.Pointer[Sources]
	cluster atomic.Pointer[func() Cluster] // nil: there is none
	limit   atomic.Int64

	mu                           sync.Mutex // held while one scrape reads
	topics, consumers, callbacks ledger
}

func newCollector() *collector {
	return &collector{
		topics: newLedger(labels{topic: otherTopics}), consumers: newLedger(labels{otherTopics, otherUsers}), callbacks: newLedger(labels{client: otherUsers}),
	}
}

// desc makes the name of a metric known.
func desc(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	descs = append(descs, d)
	return d
}

// descs are all of the collector.
var descs []*prometheus.Desc

var (
	published = desc("pipit_messages_published_total", "Messages stored.", "topic")
	// As counts are made of in counted.
	ofQueues = [...]*prometheus.Desc{
		desc("pipit_messages_delivered_total", "Deliveries, repeated ones too.", "topic", "client"),
		desc("pipit_messages_acked_total", "Messages acknowledged.", "topic", "client"),
		desc("pipit_messages_rejected_total", "Messages rejected, with a delay, for good or neither; of callbacks those of calls that failed.", "topic", "client"),
		desc("pipit_messages_redelivered_total", "Deliveries that were not the message's first.", "topic", "client"),
		desc("pipit_messages_expired_total", "Messages that expired before the consumer was done with them, and went nowhere.", "topic", "client"),
		desc("pipit_messages_dead_lettered_total", "Messages that were moved to a dead-letter topic.", "topic", "client"),
		desc("pipit_messages_dropped_total", "Messages that failed for good, or were too many, and had no dead-letter topic to go to.", "topic", "client"),
	}
	attempts = desc("pipit_callback_attempts_total", "Calls of consumers' URLs: success, refused by the answer, or failed without one.", "client", "outcome")

	topicMessages = desc("pipit_topic_messages", "Messages of a topic: stored for somebody who may still need them, or delayed.", "topic", "state")
	queueMessages = desc("pipit_queue_messages", "Messages that consumers are not done with: ready, in_flight, delayed, or failed for good and without room in the dead-letter topic.", "topic", "client", "state")
	queueAge      = desc("pipit_queue_oldest_age_seconds", "How old the oldest message is that consumers are not done with; 0: there is none.", "topic", "client")

	topicCount    = desc("pipit_topics", "Topics.")
	consumerCount = desc("pipit_consumers", "Consumers.")
	connections   = desc("pipit_connections", "Open connections, of all listeners.")
	healthy       = desc("pipit_healthy", "1 while messages can be stored, as GET /health says; else 0.")

	databaseSize   = desc("pipit_database_size_bytes", "Size of the database file.")
	databaseFree   = desc("pipit_database_free_bytes", "Bytes of the file's pages that are free for reuse.")
	logSize        = desc("pipit_log_bytes", "Size of the log in front of the database.")
	logUsed        = desc("pipit_log_used_bytes", "Bytes of the log that the database does not have yet.")
	checkpointTime = desc("pipit_checkpoint_timestamp_seconds", "When the last checkpoint was made, in Unix time; 0: none since the start.")
	diskSize       = desc("pipit_disk_size_bytes", "Size of the file system that has the database.")
	diskFree       = desc("pipit_disk_free_bytes", "Bytes of it that the process may still use.")
)

func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
}

// Collect asks for all figures. Nobody else waits for it but another scrape.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := scrape{c: c, ch: ch, limit: int(c.limit.Load()), now: time.Now()}
	if state := c.cluster.Load(); state != nil {
		s.cluster((*state)())
	}
	from := c.sources.Load()
	if from == nil {
		return
	}
	topics, consumers := from.Broker.Figures()
	oldest := make(chan map[uint32]time.Time, 1)
	go func() { oldest <- oldestOf(from.Broker, consumers) }() // which reads the store
	s.topics(topics)
	s.consumers(consumers, oldest)
	if from.Callbacks != nil {
		s.callbacks(from.Callbacks.Outcomes(), consumers)
	}
	s.gauge(topicCount, float64(len(topics)), nil)
	s.gauge(consumerCount, float64(len(consumers)), nil)
	if from.Connections != nil {
		s.gauge(connections, float64(from.Connections()), nil)
	}
	well := 0.0
	if from.Broker.Health() == nil {
		well = 1
	}
	s.gauge(healthy, well, nil)
	s.store(from.Broker.StoreStats())
}

// scrape is one Collect.
type scrape struct {
	c     *collector
	ch    chan<- prometheus.Metric
	limit int
	now   time.Time
}

func (s *scrape) gauge(d *prometheus.Desc, v float64, labels []*dto.LabelPair) {
	s.ch <- &sample{d, labels, v, false}
}

func (s *scrape) counter(d *prometheus.Desc, v uint64, labels []*dto.LabelPair) {
	s.ch <- &sample{d, labels, float64(v), true}
}

func (s *scrape) topics(list []stats.Topic) {
	l := &s.c.topics
	l.begin(s.limit)
	for i := range list {
		t := &list[i]
		g := l.add(t.ID, labels{topic: t.Name}, counts{t.Published})
		g.held[0] += t.Delayed
		g.held[1] += t.Depth
	}
	shown := l.end()
	for i, state := range [...]string{"delayed", "stored"} {
		for _, g := range shown {
			s.gauge(topicMessages, float64(g.held[i]), g.with("state", state))
		}
	}
	for _, g := range shown {
		s.counter(published, g.counts[0], g.with("", ""))
	}
}

func (s *scrape) consumers(list []stats.Consumer, oldest <-chan map[uint32]time.Time) {
	l := &s.c.consumers
	l.begin(s.limit)
	in := make([]*group, len(list))
	for i := range list {
		c := &list[i]
		g := l.add(c.ID, labels{c.Topic, c.Client}, counted(&c.Counters))
		for state, n := range [...]int64{c.Ready, c.InFlight, c.Deferred + c.Delayed, c.Failed} {
			g.held[state] += n
		}
		in[i] = g
	}
	shown := l.end()
	for i, d := range ofQueues {
		for _, g := range shown {
			s.counter(d, g.counts[i], g.with("", ""))
		}
	}
	for i, state := range [...]string{"ready", "in_flight", "delayed", "failed"} {
		for _, g := range shown {
			s.gauge(queueMessages, float64(g.held[i]), g.with("state", state))
		}
	}
	ages := <-oldest
	for i := range list {
		if at := ages[list[i].ID]; !at.IsZero() && (in[i].oldest.IsZero() || at.Before(in[i].oldest)) {
			in[i].oldest = at
		}
	}
	for _, g := range shown {
		age := 0.0
		if !g.oldest.IsZero() {
			age = max(s.now.Sub(g.oldest).Seconds(), 0)
		}
		s.gauge(queueAge, age, g.with("", ""))
	}
}

// counted are counters in the order of ofQueues.
func counted(c *stats.Counters) counts {
	return counts{c.Delivered, c.Acked, c.Rejected, c.Redelivered, c.Expired, c.DeadLettered.Sum(), c.Dropped.Sum()}
}

// oldestOf returns when the oldest message was published that each consumer is not done with.
func oldestOf(b *broker.Broker, list []stats.Consumer) map[uint32]time.Time {
	ids := make([]uint32, 0, len(list))
	for i := range list {
		if c := &list[i]; c.Ready+c.InFlight+c.Deferred+c.Failed > 0 {
			ids = append(ids, c.ID)
		}
	}
	oldest, err := b.Oldest(ids...)
	if err != nil {
		return nil // the store says so itself: see pipit_healthy
	}
	return oldest
}

func (s *scrape) callbacks(made map[uint32]callback.Outcomes, list []stats.Consumer) {
	l := &s.c.callbacks
	l.begin(s.limit)
	for i := range list {
		c := &list[i]
		if o, ok := made[c.ID]; ok {
			l.add(c.ID, labels{client: c.Client}, counts{o.Success, o.Refused, o.Failed})
		}
	}
	for _, g := range l.end() {
		for i, outcome := range [...]string{"success", "refused", "failed"} {
			s.counter(attempts, g.counts[i], g.with("outcome", outcome))
		}
	}
}

func (s *scrape) store(st store.Stats) {
	at := 0.0
	if !st.Checkpoint.IsZero() {
		at = float64(st.Checkpoint.UnixMilli()) / 1000
	}
	s.gauge(databaseSize, float64(st.Size), nil)
	s.gauge(databaseFree, float64(st.Free), nil)
	s.gauge(logSize, float64(st.LogSize), nil)
	s.gauge(logUsed, float64(st.LogUsed), nil)
	s.gauge(checkpointTime, at, nil)
	s.gauge(diskSize, float64(st.DiskTotal), nil)
	s.gauge(diskFree, float64(st.DiskFree), nil)
}
