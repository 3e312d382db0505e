package monitor

import (
	"math"
	"time"

	"pipit/broker/stats"
)

// The steps of all series, the same ones: so what one chart shows can be compared with another. The last one is under way.
const (
	hourStep  = time.Minute
	hourSlots = 60 + 1
	dayStep   = 10 * time.Minute
	daySlots  = 144 + 1
)

// maxSeries is how many topics, and how many consumers, have a series: those with traffic within a day. One takes 4 KiB.
const maxSeries = 1000

// point is what happened in a step, and what waited at its end.
type point struct{ published, delivered, acked, expired, backlog float32 }

// add adds what happened later in the same step.
func (p *point) add(q point) {
	p.published += q.published
	p.delivered += q.delivered
	p.acked += q.acked
	p.expired += q.expired
	p.backlog = q.backlog
}

// busy tells whether anything happened.
func (p point) busy() bool { return p.published+p.delivered+p.acked+p.expired > 0 }

// ring keeps the last steps of something. A step has the number of steps since 1970, and its point is at that modulo size.
type ring struct {
	step        time.Duration
	size        int64
	points      []point // nil until there is one
	first, last int64   // numbers of the steps that there are; last is under way, perhaps
}

// number is the step that a time is in.
func number(at time.Time, step time.Duration) int64 { return at.UnixNano() / int64(step) }

func (r *ring) at(n int64) *point { return &r.points[n%r.size] }

// add adds what happened in a step. In those between it and the last one nothing did.
func (r *ring) add(n int64, p point) {
	if r.points == nil {
		r.points = make([]point, r.size)
		r.first, r.last = n, n
		*r.at(n) = p
		return
	}
	waits := r.at(r.last).backlog
	if n-r.last > r.size {
		r.last = n - r.size
	}
	for r.last < n {
		r.last++
		*r.at(r.last) = point{backlog: waits}
	}
	r.first = max(r.first, r.last-r.size+1)
	r.at(r.last).add(p) // a clock that was set back adds to the last one
}

// each calls fn with the steps, the oldest first, of those that are not over for longer than the ring is.
func (r *ring) each(now time.Time, fn func(n int64, p point)) {
	if r.points == nil {
		return
	}
	for n := max(r.first, number(now, r.step)-r.size+1); n <= r.last; n++ {
		fn(n, *r.at(n))
	}
}

// rates are those of a step that has p.
func (r *ring) rates(n int64, p point, now time.Time) Rates {
	took := min(now.Sub(time.Unix(0, n*int64(r.step))), r.step)
	sec := float32(max(took, sampleStep).Seconds())
	return Rates{tidy(p.published / sec), tidy(p.delivered / sec), tidy(p.acked / sec)}
}

// under is the step that is under way, with what happened since the last sample.
func (r *ring) under(now time.Time, since point) *Step {
	n := number(now, r.step)
	p := since
	if r.points != nil && r.last >= n {
		n = r.last
		p = *r.at(n)
		p.add(since)
	}
	return &Step{End: (n + 1) * int64(r.step/time.Second), Rates: r.rates(n, p, now), Backlog: float64(p.backlog)}
}

// history has the steps up to the one that is under way, in which something has happened since the last sample.
func (r *ring) history(now time.Time, since point) History {
	h := History{Step: int(r.step / time.Second), Published: []float64{}, Delivered: []float64{}, Acked: []float64{}, Backlog: []float64{}, Starts: []time.Time{}}
	c := *r
	c.points = nil
	if r.points != nil {
		c.points = append([]point{}, r.points...)
	}
	c.add(number(now, r.step), since)
	first := c.last + 1
	c.each(now, func(n int64, p point) {
		first = min(first, n)
		rates := c.rates(n, p, now)
		h.Published = append(h.Published, rates.Published)
		h.Delivered = append(h.Delivered, rates.Delivered)
		h.Acked = append(h.Acked, rates.Acked)
		h.Backlog = append(h.Backlog, float64(p.backlog))
	})
	h.Start = time.Unix(0, first*int64(r.step)).UTC()
	return h
}

// tidy rounds a rate to what can be told apart.
func tidy(f float32) float64 { return math.Round(float64(f)*1000) / 1000 }

// series are the last hour and day of something.
type series struct {
	hour, day ring
	last      stats.Counters // at the last sample
	busy      time.Time      // when there was traffic last
}

func newSeries(last stats.Counters, now time.Time) *series {
	return &series{hour: ring{step: hourStep, size: hourSlots}, day: ring{step: dayStep, size: daySlots}, last: last, busy: now}
}

// gained is what has been counted since the last sample.
func (s *series) gained(c *stats.Counters, backlog int64) point {
	return point{
		published: since(c.Published, s.last.Published), delivered: since(c.Delivered, s.last.Delivered),
		acked: since(c.Acked, s.last.Acked), expired: since(c.Expired, s.last.Expired), backlog: float32(backlog),
	}
}

// since returns what a counter has gained. One that has less than before has begun anew, as that
// of a topic does that was deleted and created again.
func since(now, before uint64) float32 {
	if now < before {
		return float32(now)
	}
	return float32(now - before)
}

// sample adds what has been counted since the last one, all of it to the steps that at is in.
func (s *series) sample(c stats.Counters, backlog int64, at time.Time) {
	p := s.gained(&c, backlog)
	if s.last = c; p.busy() {
		s.busy = at
	}
	s.put(at, p)
}

func (s *series) put(at time.Time, p point) {
	s.hour.add(number(at, hourStep), p)
	s.day.add(number(at, dayStep), p)
}

// book has the series of things of a kind: of those that have traffic.
type book[K comparable] struct {
	of   map[K]*series
	idle map[K]stats.Counters // of the others, at their last sample
}

func newBook[K comparable]() book[K] { return book[K]{map[K]*series{}, map[K]stats.Counters{}} }

// sample is that of one thing. backlog is asked for where it has a series.
func (b *book[K]) sample(key K, c stats.Counters, backlog func() int64, at time.Time) {
	s := b.of[key]
	if s == nil {
		before, known := b.idle[key]
		if before == c {
			if !known {
				b.idle[key] = c
			}
			return
		}
		if s = b.add(key, before, at); s == nil {
			b.idle[key] = c
			return
		}
	}
	s.sample(c, backlog(), at)
}

// add makes the series of one thing, or returns nil where there are too many.
func (b *book[K]) add(key K, before stats.Counters, now time.Time) *series {
	if len(b.of) >= maxSeries {
		for key, s := range b.of {
			if now.Sub(s.busy) > daySlots*dayStep {
				b.idle[key] = s.last
				delete(b.of, key)
			}
		}
		if len(b.of) >= maxSeries {
			return nil
		}
	}
	s := newSeries(before, now)
	b.of[key] = s
	delete(b.idle, key)
	return s
}

// make returns the series of one thing, a new one where there is none; nil: there are too many.
func (b *book[K]) make(key K, now time.Time) *series {
	if s := b.of[key]; s != nil {
		return s
	}
	return b.add(key, b.idle[key], now)
}

// seek returns the series of one thing; of one that has none an empty one, which is not kept.
func (b *book[K]) seek(key K, now time.Time) *series {
	if s := b.of[key]; s != nil {
		return s
	}
	return newSeries(b.idle[key], now)
}

// keep forgets what does not exist any more.
func (b *book[K]) keep(exists map[K]bool) {
	for key := range b.of {
		if !exists[key] {
			delete(b.of, key)
		}
	}
	for key := range b.idle {
		if !exists[key] {
			delete(b.idle, key)
		}
	}
}
