package monitor

import (
	"time"

	"pipit/broker/stats"
)

// History is how much happened over time: messages per second, and how many waited at the end of each step. All lists are of the
// same length; the last step is under way, so its rates are those of its time so far.
type History struct {
	Step      int         `json:"step"`      // seconds
	Start     time.Time   `json:"start"`     // of the first step
	Published []float64   `json:"published"` // messages stored per second; of a consumer: in its topics
	Delivered []float64   `json:"delivered"` // deliveries per second
	Acked     []float64   `json:"acked"`     // acknowledgements per second
	Backlog   []float64   `json:"backlog"`   // at the end of each step
	Starts    []time.Time `json:"starts"`    // of the server, within that time
}

// Ranges of a History.
const (
	RangeHour = "hour"
	RangeDay  = "day"
)

// Of says whose history is meant; the zero value: that of all.
type Of struct {
	Topic    string
	Consumer uint32 // id
}

// History returns what is known of the last hour or day.
func (m *Monitor) History(rng string, of Of) History {
	now := time.Now()
	s, gained, unlock := m.seek(of, now)
	defer unlock()
	r := &s.hour
	if rng == RangeDay {
		r = &s.day
	}
	h := r.history(now, gained)
	for _, at := range m.starts {
		if !at.Before(h.Start) {
			h.Starts = append(h.Starts, at.UTC().Truncate(time.Second))
		}
	}
	return h
}

// Steps returns the steps of the hour and of the day that are under way.
func (m *Monitor) Steps(of Of) (hour, day *Step) {
	now := time.Now()
	s, gained, unlock := m.seek(of, now)
	defer unlock()
	return s.hour.under(now, gained), s.day.under(now, gained)
}

// steps are those of all.
func (m *Monitor) steps(totals *stats.Totals, now time.Time) (hour, day *Step) {
	m.mu.Lock()
	defer m.mu.Unlock()
	gained := m.all.gained(&totals.Counters, totals.Backlog)
	return m.all.hour.under(now, gained), m.all.day.under(now, gained)
}

// totalsTime is for which the sums of all are good that a History has: they take a look at every topic and consumer.
const totalsTime = time.Second

// keptTotals are the broker's totals at some time.
type keptTotals struct {
	stats.Totals
	at time.Time
}

// look sees to it that totals are no older than age. One look is for all who want it, and a later one never puts back what an earlier one saw.
func (m *Monitor) look(now time.Time, age time.Duration) {
	m.totalsMu.Lock()
	defer m.totalsMu.Unlock()
	m.mu.Lock()
	fresh := now.Sub(m.totals.at) < age
	m.mu.Unlock()
	if fresh {
		return
	}
	totals := m.b.Totals()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.totals = keptTotals{totals, now}
}

// seek returns a series, and what has happened since its last sample; of all, up to totalsTime ago. mu is held until unlock.
func (m *Monitor) seek(of Of, now time.Time) (s *series, gained point, unlock func()) {
	var c stats.Counters
	var backlog int64
	switch {
	case of.Topic != "":
		t, _ := m.b.Topic(of.Topic)
		c, backlog = t.Counters, m.b.BacklogOf(of.Topic)
	case of.Consumer != 0:
		info, _ := m.b.Consumer(of.Consumer)
		c, backlog = info.Counters, info.Backlog
	default:
		m.look(now, totalsTime)
	}
	m.mu.Lock()
	switch {
	case of.Topic != "":
		s = m.topics.seek(of.Topic, now)
	case of.Consumer != 0:
		s = m.consumers.seek(of.Consumer, now)
	default:
		s, c, backlog = m.all, m.totals.Counters, m.totals.Backlog
	}
	return s, s.gained(&c, backlog), m.mu.Unlock
}
