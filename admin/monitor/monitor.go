// Package monitor is what is watched of a broker: its counters over the last hour and day, what needs somebody's attention, and
// the figures that a page shows while it is live.
//
// It samples counters that are in memory anyway into rings of a fixed size. What costs more, a look at every object and the ages
// of the oldest messages, is done when somebody wants it, and for all who want it at once.
package monitor

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker"
	"pipit/broker/stats"
	"pipit/httpapi/refused"
)

// sampleStep is how often the rates are looked at that are shown first.
const sampleStep = 10 * time.Second

// Of the ages of the oldest messages.
const (
	maxAges  = 100              // consumers whose oldest message is looked for: those with the largest backlog
	agesTime = 10 * time.Second // for which these are good
)

// Monitor samples the broker's counters into rings of a fixed size. It looks at counters in memory
// alone, but for the ages of the oldest messages, which are looked for when somebody wants them.
type Monitor struct {
	Backups func() error // why the last backup that was due failed, nil where it did not; or nil: none is due. It is set before Start

	CertificateEnds func() time.Time // when that of TLS does; or nil: there is none. It is set before Start

	Cluster Cluster // that this process leads; nil: it is of none. It is set before Start

	Refused *refused.Recent // the last requests that were refused; nil: none is known. It is set before Start

	b       *broker.Broker
	began   time.Time // of this process, or of its term as the leader of a cluster
	limits  atomic.Pointer[Thresholds]
	prefix  string // in front of the paths of pages
	closing chan struct{}
	worker  sync.WaitGroup

	mu        sync.Mutex
	rates     Rates          // of the last sample
	last      stats.Counters // at the last sample
	at        time.Time      // of it
	minute    int64          // number of the step that is sampled next
	all       *series
	totals    keptTotals // no sample of all is later
	topics    book[string]
	consumers book[uint32]
	starts    []time.Time    // of processes within the last day
	before    stats.Counters // of the processes before
	since     time.Time      // which before and the broker's counters go back to

	startsKept bool                // starts is stored
	refused    map[string]refusals // of the webhooks that had any

	totalsMu sync.Mutex // held while totals are looked at

	agesMu sync.Mutex // held while ages are looked for
	ages   map[uint32]time.Time
	agesAt time.Time

	situationMu sync.Mutex // held while the situation is looked at
	situation   Situation
	full        map[uint32]stuckAt // consumers at max_in_flight; guarded by situationMu

	live live
}

// New watches a broker from began on, and knows what those before have stored. Start is to be called, or Sample now and then, and Close in the end. prefix is what a proxy has in front of the paths of pages.
func New(b *broker.Broker, prefix string, began time.Time) *Monitor {
	totals := b.Totals()
	c := totals.Counters
	m := &Monitor{
		b:         b,
		began:     began,
		prefix:    prefix,
		closing:   make(chan struct{}),
		last:      c,
		at:        began,
		minute:    number(began, hourStep),
		all:       newSeries(c, began),
		totals:    keptTotals{totals, began},
		topics:    newBook[string](),
		consumers: newBook[uint32](),
		starts:    []time.Time{began},
		since:     began,
	}
	m.Adjust(DefaultThresholds)
	for _, t := range b.Topics() {
		m.topics.idle[t.Name] = t.Counters
	}
	for _, c := range b.Consumers() {
		m.consumers.idle[c.ID] = c.Counters
	}
	m.load(began)
	return m
}

// Start has it sample every ten seconds, until Close.
func (m *Monitor) Start() { m.worker.Go(m.run) }

// Close ends sampling and the live events, and stores what happened since the last full minute.
func (m *Monitor) Close() {
	close(m.closing)
	m.worker.Wait()
	now := time.Now()
	m.look(now, 0)
	m.mu.Lock()
	m.sampleAll(now)
	docs := m.keep(now)
	m.mu.Unlock()
	m.put(docs)
}

// run samples at the full minute, and every ten seconds between, so that a step has what happened in it.
func (m *Monitor) run() {
	for {
		now := time.Now()
		due := time.NewTimer(now.Truncate(sampleStep).Add(sampleStep).Sub(now))
		select {
		case now = <-due.C:
			m.Sample(now)
		case <-m.closing:
			due.Stop()
			return
		}
	}
}

// Sample takes a sample, in the place of Start: for who has another clock.
func (m *Monitor) Sample(now time.Time) {
	m.look(now, 0)
	var docs []broker.Document
	m.mu.Lock()
	m.rates = m.ratesSince(m.last, m.totals.Counters, now.Sub(m.at))
	m.last, m.at = m.totals.Counters, now
	if n := number(now.Add(sampleStep/2), hourStep); n > m.minute { // the timer is late, or a little early
		m.minute = n
		at := now.Add(-sampleStep / 2)
		m.sampleAll(at)
		docs = m.keep(at)
	}
	m.mu.Unlock()
	m.put(docs)
}

// ratesSince are those of what was counted in a time.
func (*Monitor) ratesSince(before, now stats.Counters, took time.Duration) Rates {
	sec := float32(took.Seconds())
	if sec <= 0 {
		return Rates{}
	}
	return Rates{tidy(since(now.Published, before.Published) / sec), tidy(since(now.Delivered, before.Delivered) / sec), tidy(since(now.Acked, before.Acked) / sec)}
}

// sampleAll is a minute's step of all series, that at is in, with the totals of a look before. The caller holds mu.
func (m *Monitor) sampleAll(at time.Time) {
	totals := &m.totals
	m.all.sample(totals.Counters, totals.Backlog, at)
	topics, consumers := m.b.Topics(), m.b.Consumers()
	exist := make(map[string]bool, len(topics))
	for i := range topics {
		t := &topics[i]
		exist[t.Name] = true
		m.topics.sample(t.Name, t.Counters, func() int64 { return m.b.BacklogOf(t.Name) }, at)
	}
	m.topics.keep(exist)
	there := make(map[uint32]bool, len(consumers))
	for i := range consumers {
		c := &consumers[i]
		there[c.ID] = true
		m.consumers.sample(c.ID, c.Counters, func() int64 { return c.Backlog }, at)
	}
	m.consumers.keep(there)
	m.sampleWebhooks()
}

// expired returns how many messages expired unread in the last hour, by topic: those that had any.
func (m *Monitor) expired(topics []broker.TopicInfo) map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	list := map[string]int64{}
	for i := range topics {
		t := &topics[i]
		s := m.topics.seek(t.Name, now)
		sum := since(t.Expired, s.last.Expired)
		s.hour.each(now, func(_ int64, p point) { sum += p.expired })
		if sum > 0 {
			list[t.Name] = int64(sum)
		}
	}
	return list
}

// oldest returns when the oldest message was created that each of the consumers with the largest
// backlogs is not done with. It reads the store at most once in agesTime.
func (m *Monitor) oldest(consumers []broker.ConsumerInfo) map[uint32]time.Time {
	m.agesMu.Lock()
	defer m.agesMu.Unlock()
	now := time.Now()
	if m.ages != nil && now.Sub(m.agesAt) < agesTime {
		return m.ages
	}
	ages, err := m.b.Oldest(largest(consumers)...)
	if err != nil || ages == nil {
		ages = map[uint32]time.Time{}
	}
	m.ages, m.agesAt = ages, now
	return ages
}

// largest returns the consumers with the largest backlogs, at most maxAges.
func largest(consumers []broker.ConsumerInfo) []uint32 {
	var waiting []*broker.ConsumerInfo
	for i := range consumers {
		if consumers[i].Backlog > 0 {
			waiting = append(waiting, &consumers[i])
		}
	}
	if len(waiting) > maxAges {
		slices.SortFunc(waiting, func(x, y *broker.ConsumerInfo) int { return cmp.Compare(y.Backlog, x.Backlog) })
		waiting = waiting[:maxAges]
	}
	ids := make([]uint32, len(waiting))
	for i, c := range waiting {
		ids[i] = c.ID
	}
	return ids
}
