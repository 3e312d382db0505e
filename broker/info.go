package broker

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"pipit/broker/stats"
	"pipit/broker/store"
)

// ClientInfo is a client as an administrator sees it.
type ClientInfo struct {
	Client                      // without Password and PasswordHash
	Revision             string // changes with the definition
	Producers, Consumers int
	LastSeen             time.Time // the latest of its producers and consumers; zero: never
}

// TopicInfo is a topic as an administrator sees it.
type TopicInfo struct {
	Topic
	Revision             string
	Depth                int64 // messages stored that somebody may still need, without the delayed ones
	Retained             int64 // messages stored beyond that, for Retention and RetentionBytes
	Bytes                int64 // what all messages stored, delayed ones too, come to for RetentionBytes; -1: not known, as without it and shortly after a start
	Delayed              int64 // messages that wait for their delay
	Producers, Consumers int
	LastPublish          time.Time // zero: never, as far as is known
	Template             string    // the name of the template that made it; empty: none did
	Made                 int       // of a template: topics it has made that exist
	stats.Counters                 // over restarts, but for the minute before a crash
}

// ProducerInfo is a producer as an administrator sees it.
type ProducerInfo struct {
	ID uint32 // for life
	Producer
	Revision  string
	Published uint64 // messages, over restarts
}

// ConsumerInfo is a consumer as an administrator sees it.
type ConsumerInfo struct {
	ID uint32 // for life
	Consumer
	Revision       string
	Backlog        int64 // messages that wait or are in flight
	InFlight       int64 // of these, delivered and neither acknowledged nor given back
	Deferred       int64 // of the backlog, rejected with a delay that is not over
	Failed         int64 // of the backlog, failed for good: they wait for room in the dead-letter topic
	Waiting        int   // long polls and streams that wait for a message right now
	Callback       stats.Callback
	OldSeen        time.Time // when its OldKey was used last; zero: not yet, but for the minute before a crash
	stats.Counters           // over restarts, but for the minute before a crash
}

// counters are Counters at work.
type counters struct {
	published, delivered, redelivered, acked, rejected, expired atomic.Uint64
	deadLettered, dropped                                       failureCounters

	earlier stats.Counters // what was counted before this process: see tally
}

// total is what was counted in this process and before.
func (c *counters) total() stats.Counters {
	sum := c.read()
	sum.Add(c.earlier)
	return sum
}

func (c *counters) read() stats.Counters {
	return stats.Counters{
		Published: c.published.Load(), Delivered: c.delivered.Load(), Acked: c.acked.Load(), Expired: c.expired.Load(),
		Rejected: c.rejected.Load(), Redelivered: c.redelivered.Load(), DeadLettered: c.deadLettered.read(), Dropped: c.dropped.read(),
	}
}

// finish counts messages that failed.
func (c *counters) finish(moved, dropped *[failures]uint64) {
	for why := range failures {
		if moved[why] > 0 {
			c.deadLettered[why].Add(moved[why])
		}
		if dropped[why] > 0 {
			c.dropped[why].Add(dropped[why])
		}
	}
}

// Clients returns all clients, by Username.
func (b *Broker) Clients() []ClientInfo {
	b.mu.RLock()
	list := make([]ClientInfo, 0, len(b.clients))
	for _, c := range b.clients {
		list = append(list, c.info())
	}
	slices.SortFunc(list, func(x, y ClientInfo) int { return cmp.Compare(x.Username, y.Username) })
	at := make(map[string]*ClientInfo, len(list))
	for i := range list {
		at[list[i].Username] = &list[i]
	}
	b.eachOfClients(func(client string) *ClientInfo { return at[client] })
	b.mu.RUnlock()
	return list
}

// ClientsOf returns those of the clients that exist, in no order, after one look at all producers and consumers.
func (l lister) ClientsOf(usernames []string) []ClientInfo {
	b := l.b
	b.mu.RLock()
	defer b.mu.RUnlock()
	at := make(map[string]*ClientInfo, len(usernames))
	list := make([]ClientInfo, 0, len(usernames))
	for _, name := range usernames {
		if c := b.clients[name]; c != nil && at[name] == nil {
			list = append(list, c.info())
			at[name] = &list[len(list)-1]
		}
	}
	b.eachOfClients(func(client string) *ClientInfo { return at[client] })
	return list
}

// Client returns a client.
func (b *Broker) Client(username string) (ClientInfo, bool) {
	for _, info := range b.ClientsOf([]string{username}) {
		return info, true
	}
	return ClientInfo{}, false
}

func (c *client) info() ClientInfo {
	info := ClientInfo{Client: c.Client, Revision: c.revision}
	info.Password, info.PasswordHash = "", ""
	return info
}

// eachOfClients counts producers and consumers into what of returns for their clients, where that is
// not nil. The caller holds mu.
func (b *Broker) eachOfClients(of func(client string) *ClientInfo) {
	for _, p := range b.producers {
		if info := of(p.def.Load().Client); info != nil {
			info.Producers++
			info.addSeen(&p.seen)
		}
	}
	for _, c := range b.consumers {
		if info := of(c.def.Load().Client); info != nil {
			info.Consumers++
			info.addSeen(&c.seen)
		}
	}
}

func (c *ClientInfo) addSeen(s *lastSeen) {
	if at := s.time(); at.After(c.LastSeen) {
		c.LastSeen = at
	}
}

// Topics returns all topics, by Name. Templates are none: see Templates.
func (b *Broker) Topics() []TopicInfo {
	type entry struct {
		t    *topic
		name string
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	order := make([]entry, 0, len(b.topics))
	for name, t := range b.topics {
		order = append(order, entry{t, name})
	}
	slices.SortFunc(order, func(x, y entry) int { return cmp.Compare(x.name, y.name) })
	list := make([]TopicInfo, len(order))
	for i, e := range order {
		e.t.info(&list[i])
	}
	return list
}

// Topic returns a topic.
func (b *Broker) Topic(name string) (info TopicInfo, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.topics[name]
	if t != nil {
		t.info(&info)
	}
	return info, t != nil
}

// info fills in what an administrator sees. The caller holds Broker.mu.
func (t *topic) info(i *TopicInfo) {
	i.Topic, i.Revision, i.Template = *t.def.Load(), t.revision, t.template
	i.Depth, i.Retained, i.Bytes = t.held()
	i.Delayed = t.delayed.Load()
	if i.Bytes >= 0 {
		i.Bytes += t.delayedBytes.Load()
	}
	i.Producers, i.Consumers = len(t.producers), len(t.list())
	if at := t.lastPublish.Load(); at != 0 {
		i.LastPublish = time.UnixMicro(at).UTC()
	}
	i.Counters = t.counters.total()
}

// Producers returns all producers, by Topic and Client.
func (b *Broker) Producers() []ProducerInfo {
	b.mu.RLock()
	defer b.mu.RUnlock()
	order := make([]objectEntry[*producer], 0, len(b.producers))
	for id, p := range b.producers {
		def := p.def.Load()
		order = append(order, objectEntry[*producer]{p, def.Topic, def.Client, id})
	}
	sortEntries(order)
	list := make([]ProducerInfo, len(order))
	for i, e := range order {
		list[i] = e.object.info()
	}
	return list
}

// Producer returns a producer.
func (b *Broker) Producer(id uint32) (ProducerInfo, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	p := b.producers[id]
	if p == nil {
		return ProducerInfo{}, false
	}
	return p.info(), true
}

// info returns what an administrator sees. The caller holds Broker.mu.
func (p *producer) info() ProducerInfo {
	i := ProducerInfo{ID: p.id, Producer: *p.def.Load(), Revision: p.revision, Published: p.total()}
	i.LastSeen = p.seen.time()
	return i
}

// Consumers returns all consumers, by Topic, Client and ID.
func (b *Broker) Consumers() []ConsumerInfo {
	b.mu.RLock()
	defer b.mu.RUnlock()
	order := make([]objectEntry[*consumer], 0, len(b.consumers))
	for id, c := range b.consumers {
		def := c.def.Load()
		order = append(order, objectEntry[*consumer]{c, def.Topic, def.Client, id})
	}
	sortEntries(order)
	list := make([]ConsumerInfo, len(order))
	for i, e := range order {
		e.object.info(&list[i])
	}
	return list
}

// Consumer returns a consumer.
func (b *Broker) Consumer(id uint32) (info ConsumerInfo, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.consumers[id]
	if c != nil {
		c.info(&info)
	}
	return info, c != nil
}

// info fills in what an administrator sees. The caller holds Broker.mu.
func (c *consumer) info(i *ConsumerInfo) {
	i.ID, i.Consumer, i.Revision = c.id, *c.def.Load(), c.revision
	i.LastSeen, i.OldSeen = c.seen.time(), c.oldSeen.time()
	q := c.queued()
	i.Backlog, i.InFlight, i.Deferred, i.Failed = q.backlog, q.inFlight, q.deferred, q.failed
	i.Waiting = int(c.waiting.Load())
	if s := c.callback.Load(); s != nil {
		i.Callback = *s
	}
	i.Counters = c.counted()
}

// counted is what was counted of the consumer, and published to its topics since it is there.
func (c *consumer) counted() stats.Counters {
	sum := c.counters.total()
	for _, q := range c.list() {
		sum.Published += q.topic.counters.published.Load() - q.begun
	}
	return sum
}

// BacklogOf returns how many messages of a topic wait or are in flight, for each of its consumers: 0 where there is no such topic.
func (l lister) BacklogOf(topic string) (sum int64) {
	b := l.b
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.topics[topic]
	if t == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, q := range t.list() {
		sum += q.waitingLocked()
	}
	return sum
}

// queued is how many messages a consumer has.
type queued struct {
	backlog  int64 // waiting or in flight
	inFlight int64
	deferred int64 // rejected with a delay that is not over
	failed   int64 // failed for good
	held     int64 // delivered and not finished
}

// queued returns how many messages the consumer has.
func (c *consumer) queued() (q queued) {
	list := c.list()
	for i, of := range list {
		of.topic.mu.Lock()
		c.mu.Lock()
		q.backlog += of.waiting()
		if i == len(list)-1 {
			q.held, q.deferred, q.failed = int64(c.held.Load()), int64(c.deferred), int64(len(c.failed))
			q.inFlight = q.held - q.deferred - q.failed - int64(c.blocked+c.fetching+c.ready)
		}
		c.mu.Unlock()
		of.topic.mu.Unlock()
	}
	return q
}

// waiting returns how many messages wait or are in flight. The caller holds mu, and that of the topic.
func (q *queue) waiting() (n int64) {
	for p := range q.done {
		n += q.waitingIn(p)
	}
	return n
}

// waitingLocked is waiting. The caller holds the mu of the topic.
func (q *queue) waitingLocked() int64 {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	return q.waiting()
}

// waitingIn is waiting of one priority.
func (q *queue) waitingIn(p int) int64 {
	l := &q.topic.lanes[p]
	return int64(l.tail.Load() - l.skipped - q.done[p].finished - q.out[p].Load()) // #nosec G115 -- a count of messages is far below 2^63
}

// objectEntry is a producer or consumer to be sorted.
type objectEntry[T any] struct {
	object        T
	topic, client string
	id            uint32
}

func sortEntries[T any](list []objectEntry[T]) {
	slices.SortFunc(list, func(x, y objectEntry[T]) int {
		return cmp.Or(cmp.Compare(x.topic, y.topic), cmp.Compare(x.client, y.client), cmp.Compare(x.id, y.id))
	})
}

// Totals returns the sums. It looks at every topic and consumer.
func (b *Broker) Totals() stats.Totals {
	b.mu.RLock()
	defer b.mu.RUnlock()
	sum := stats.Totals{
		Clients: len(b.clients), Topics: len(b.topics), Producers: len(b.producers), Consumers: len(b.consumers),
		Counters: b.past,
	}
	for _, t := range b.topics {
		depth, retained, _ := t.held()
		sum.Depth, sum.Retained = sum.Depth+depth, sum.Retained+retained
		sum.Delayed += t.delayed.Load()
		sum.Counters.Add(t.counters.read())
	}
	for _, c := range b.consumers {
		q := c.queued()
		sum.Backlog += q.backlog
		sum.InFlight += q.inFlight
	}
	return sum
}

// StoreStats tells how large the store is.
func (b *Broker) StoreStats() store.Stats { return b.store.Stats() }
