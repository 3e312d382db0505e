// Package monitor is what is watched of a broker: its counters over the last hour and day, what needs somebody's attention, and
// the figures that a page shows while it is live.
//
// It samples counters that are in memory anyway into rings of a fixed size. What costs more, a look at every object and the ages
// of the oldest messages, is done when somebody wants it, and for all who want it at once.
package monitor

import (
	"cmp"
	"math"
	"slices"
	"sync"
	"time"

	"pipit/broker"
	"pipit/httpapi/refused"
)

// How the broker's counters are sampled.
const (
	sampleStep = 10 * time.Second
	hourSlots  = 360 // of sampleStep
	daySteps   = 30  // samples in a slot of the day
	daySlots   = 288

	topicSteps     = 6  // samples in a slot of a topic's hour
	topicHourSlots = 60 // of a minute
	topicDaySteps  = 10 // minutes in a slot of a topic's day
	topicDaySlots  = 144
	maxTopicRings  = 1000 // topics that have rings

	maxAges  = 100              // consumers whose oldest message is looked for: those with the largest backlog
	agesTime = 10 * time.Second // for which these are good
)

// History is how much happened over time: messages per second, and how many waited at the end of
// each step. All lists are of the same length; the last step ended not long ago.
type History struct {
	Step      int       `json:"step"`      // seconds
	Start     time.Time `json:"start"`     // of the first step
	Published []float64 `json:"published"` // messages stored per second
	Delivered []float64 `json:"delivered"` // deliveries per second
	Acked     []float64 `json:"acked"`     // acknowledgements per second
	Backlog   []float64 `json:"backlog"`   // at the end of each step
}

// point is a step of a ring.
type point struct{ published, delivered, acked, backlog, expired float32 }

// ring keeps the last steps of something.
type ring struct {
	step   time.Duration
	points []point // grows to size, then next is overwritten
	size   int
	next   int
	end    time.Time // of the last step
}

func newRing(step time.Duration, size int) *ring { return &ring{step: step, size: size} }

// push adds a step that ended at now, or as many as have gone by since the last one did.
func (r *ring) push(p point, now time.Time) {
	n := 1
	if !r.end.IsZero() {
		n = min(max(1, int(math.Round(float64(now.Sub(r.end))/float64(r.step)))), r.size)
		p.expired /= float32(max(1, n))
	}
	for range n {
		if len(r.points) < r.size {
			r.points = append(r.points, p)
			continue
		}
		r.points[r.next] = p
		r.next = (r.next + 1) % r.size
	}
	r.end = now
}

// each calls fn with the points, the oldest first.
func (r *ring) each(fn func(point)) {
	for i := range r.points {
		fn(r.points[(r.next+i)%len(r.points)])
	}
}

// last returns the newest point, nil where there is none.
func (r *ring) last() *Step {
	n := len(r.points)
	if n == 0 {
		return nil
	}
	p := r.points[(r.next+n-1)%n]
	return &Step{r.end.Unix(), ratesOf(p), float64(p.backlog)}
}

func (r *ring) history() History {
	n := len(r.points)
	h := History{
		Step:      int(r.step / time.Second),
		Start:     r.end.Add(-time.Duration(n) * r.step).UTC().Truncate(time.Second),
		Published: make([]float64, 0, n),
		Delivered: make([]float64, 0, n),
		Acked:     make([]float64, 0, n),
		Backlog:   make([]float64, 0, n),
	}
	r.each(func(p point) {
		h.Published = append(h.Published, tidy(p.published))
		h.Delivered = append(h.Delivered, tidy(p.delivered))
		h.Acked = append(h.Acked, tidy(p.acked))
		h.Backlog = append(h.Backlog, float64(p.backlog))
	})
	return h
}

// tidy rounds a rate to what can be told apart.
func tidy(f float32) float64 { return math.Round(float64(f)*1000) / 1000 }

// meter makes rates of counters.
type meter struct {
	last broker.Counters
	at   time.Time
}

// rates returns what has been counted since the last call, per second.
func (m *meter) rates(c broker.Counters, now time.Time) point {
	sec := now.Sub(m.at).Seconds()
	p := point{expired: float32(since(c.Expired, m.last.Expired))}
	if sec > 0 {
		p.published = float32(since(c.Published, m.last.Published) / sec)
		p.delivered = float32(since(c.Delivered, m.last.Delivered) / sec)
		p.acked = float32(since(c.Acked, m.last.Acked) / sec)
	}
	m.last, m.at = c, now
	return p
}

// since returns what a counter has gained. One that has less than before has begun anew, as that
// of a topic does that was deleted and created again.
func since(now, before uint64) float64 {
	if now < before {
		return float64(now)
	}
	return float64(now - before)
}

// topicStats are the rings of a topic.
type topicStats struct {
	hour, day *ring
	meter     meter // of the hour's steps
	dayMeter  meter
	busy      time.Time // when there was traffic last
}

// Monitor samples the broker's counters into rings of a fixed size. It looks at counters in memory
// alone, but for the ages of the oldest messages, which are looked for when somebody wants them.
type Monitor struct {
	Backups func() error // why the last backup that was due failed, nil where it did not; or nil: none is due. It is set before Start

	Refused *refused.Recent // the last requests that were refused; nil: none is known. It is set before Start

	b       *broker.Broker
	prefix  string // in front of the paths of pages
	began   time.Time
	closing chan struct{}
	worker  sync.WaitGroup

	mu        sync.Mutex
	hour, day *ring
	meter     meter
	dayMeter  meter
	samples   int                        // taken so far
	topics    map[string]*topicStats     // those that had traffic
	counted   map[string]broker.Counters // counters of the other topics, at their last sample
	refused   map[string]refusals        // of the webhooks that had any

	agesMu sync.Mutex // held while ages are looked for
	ages   map[uint32]time.Time
	agesAt time.Time

	situationMu sync.Mutex // held while the situation is looked at
	situation   Situation
	full        map[uint32]stuckAt // consumers at max_in_flight; guarded by situationMu

	live live
}

// New watches a broker from began on. Start is to be called, or Sample now and then, and Close in the end. prefix is what a proxy has in front of the paths of pages.
func New(b *broker.Broker, prefix string, began time.Time) *Monitor {
	m := &Monitor{
		b:       b,
		prefix:  prefix,
		began:   began,
		closing: make(chan struct{}),
		hour:    newRing(sampleStep, hourSlots),
		day:     newRing(daySteps*sampleStep, daySlots),
		topics:  map[string]*topicStats{},
		counted: map[string]broker.Counters{},
	}
	c := b.Totals().Counters
	m.meter, m.dayMeter = meter{c, began}, meter{c, began}
	for _, t := range b.Topics() {
		m.counted[t.Name] = t.Counters
	}
	return m
}

// Start has it sample every ten seconds, until Close.
func (m *Monitor) Start() { m.worker.Go(m.run) }

// Close ends sampling and the live events.
func (m *Monitor) Close() {
	close(m.closing)
	m.worker.Wait()
}

func (m *Monitor) run() {
	tick := time.NewTicker(sampleStep)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.Sample(time.Now())
		case <-m.closing:
			return
		}
	}
}

// Sample takes a sample, in the place of Start: for who has another clock.
func (m *Monitor) Sample(now time.Time) {
	totals := m.b.Totals()
	m.mu.Lock()
	m.samples++
	n := m.samples
	p := m.meter.rates(totals.Counters, now)
	p.backlog = float32(totals.Backlog)
	m.hour.push(p, now)
	if n%daySteps == 0 {
		p := m.dayMeter.rates(totals.Counters, now)
		p.backlog = float32(totals.Backlog)
		m.day.push(p, now)
	}
	m.mu.Unlock()
	if n%topicSteps == 0 {
		m.sampleTopics(now, n/topicSteps)
	}
}

// sampleTopics is the minute-th step of the topics' rings.
func (m *Monitor) sampleTopics(now time.Time, minute int) {
	backlogs := map[string]int64{}
	infos := m.b.Topics()
	for _, c := range m.b.Consumers() {
		backlogs[c.Topic] += c.Backlog
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	exists := make(map[string]bool, len(infos))
	for i := range infos {
		t := &infos[i]
		exists[t.Name] = true
		ts := m.topics[t.Name]
		if ts == nil {
			before, known := m.counted[t.Name]
			if before == t.Counters {
				if !known {
					m.counted[t.Name] = t.Counters
				}
				continue
			}
			if ts = m.addTopic(t.Name, before, now); ts == nil {
				m.counted[t.Name] = t.Counters
				continue
			}
		}
		if ts.meter.last != t.Counters {
			ts.busy = now
		}
		p := ts.meter.rates(t.Counters, now)
		p.backlog = float32(backlogs[t.Name])
		ts.hour.push(p, now)
		if minute%topicDaySteps == 0 {
			p := ts.dayMeter.rates(t.Counters, now)
			p.backlog = float32(backlogs[t.Name])
			ts.day.push(p, now)
		}
	}
	m.sampleWebhooks()
	for name := range m.topics {
		if !exists[name] {
			delete(m.topics, name)
		}
	}
	for name := range m.counted {
		if !exists[name] {
			delete(m.counted, name)
		}
	}
}

// addTopic makes the rings of a topic, or returns nil where there are too many. The caller holds mu.
func (m *Monitor) addTopic(name string, before broker.Counters, now time.Time) *topicStats {
	if len(m.topics) >= maxTopicRings {
		for name, t := range m.topics {
			if now.Sub(t.busy) > topicDaySlots*topicDaySteps*time.Minute {
				m.counted[name] = t.meter.last
				delete(m.topics, name)
			}
		}
		if len(m.topics) >= maxTopicRings {
			return nil
		}
	}
	began := now.Add(-topicSteps * sampleStep)
	t := &topicStats{
		hour:     newRing(topicSteps*sampleStep, topicHourSlots),
		day:      newRing(topicDaySteps*topicSteps*sampleStep, topicDaySlots),
		meter:    meter{before, began},
		dayMeter: meter{before, began},
		busy:     now,
	}
	m.topics[name] = t
	delete(m.counted, name)
	return t
}

// Ranges of a History.
const (
	RangeHour = "hour"
	RangeDay  = "day"
)

// History returns what is known of the last hour or day, of all topics or of one. Of a topic
// without traffic there is nothing.
func (m *Monitor) History(rng string, topic string) History {
	m.mu.Lock()
	defer m.mu.Unlock()
	hour, day := m.hour, m.day
	if topic != "" {
		if t := m.topics[topic]; t != nil {
			hour, day = t.hour, t.day
		} else {
			hour, day = newRing(topicSteps*sampleStep, 0), newRing(topicDaySteps*topicSteps*sampleStep, 0)
			hour.end, day.end = time.Now(), time.Now()
		}
	}
	r := hour
	if rng == RangeDay {
		r = day
	}
	if r.end.IsZero() {
		r.end = m.began
	}
	return r.history()
}

// TopicSteps returns the last steps of a topic's hour and day, nil where there is none.
func (m *Monitor) TopicSteps(name string) (hour, day *Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.topics[name]; t != nil {
		return t.hour.last(), t.day.last()
	}
	return nil, nil
}

// last returns the last steps of the hour and of the day, nil where there is none yet.
func (m *Monitor) last() (hour, day *Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hour.last(), m.day.last()
}

// expired returns how many messages expired unread in the last hour, by topic: those that had any.
func (m *Monitor) expired(topics []broker.TopicInfo) map[string]int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := map[string]int64{}
	for i := range topics {
		name, now := topics[i].Name, topics[i].Expired
		if now == 0 {
			continue
		}
		sum := 0.0
		if t := m.topics[name]; t != nil {
			t.hour.each(func(p point) { sum += float64(p.expired) })
			sum += since(now, t.meter.last.Expired)
		} else {
			sum = since(now, m.counted[name].Expired)
		}
		if sum > 0 {
			list[name] = int64(sum)
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
