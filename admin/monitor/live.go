package monitor

import (
	"encoding/json"
	"sync"
	"time"

	"pipit/broker/stats"
)

// Of the live stream.
const (
	LiveStep   = 2 * time.Second // between two frames
	maxViewers = 100
)

// live sends frames to everybody who watches. They are computed once for all, and not at all
// while nobody does.
type live struct {
	mu       sync.Mutex
	viewers  map[chan []byte]struct{} // each with room for the newest event; guarded by mu
	visitors int                      // who watch figures of their own; guarded by mu
	running  bool                     // guarded by mu
	last     []byte                   // event; guarded by mu
}

// Watch has what it returns get an event of server-sent events every two seconds, each in place of the one before where that
// was not taken, until Unwatch; nil where a hundred watch already.
func (m *Monitor) Watch() chan []byte { return m.watch(m.liveFrames()) }

// watch adds a viewer, or returns nil where there are too many.
func (m *Monitor) watch(frame func() []byte) chan []byte {
	l := &m.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers)+l.visitors >= maxViewers {
		return nil
	}
	if l.viewers == nil {
		l.viewers = map[chan []byte]struct{}{}
	}
	ch := make(chan []byte, 1)
	l.viewers[ch] = struct{}{}
	switch {
	case l.running && l.last != nil:
		ch <- l.last
	case !l.running:
		l.running = true
		m.worker.Go(func() { m.broadcast(frame) })
	}
	return ch
}

// Unwatch ends what Watch began.
func (m *Monitor) Unwatch(ch chan []byte) {
	m.live.mu.Lock()
	delete(m.live.viewers, ch)
	m.live.mu.Unlock()
}

// Visit counts somebody who watches figures that are computed for them alone, until leave; false where a hundred watch already.
func (m *Monitor) Visit() (leave func(), ok bool) {
	l := &m.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers)+l.visitors >= maxViewers {
		return nil, false
	}
	l.visitors++
	return func() {
		l.mu.Lock()
		l.visitors--
		l.mu.Unlock()
	}, true
}

// broadcast sends frames until nobody watches.
func (m *Monitor) broadcast(frame func() []byte) {
	l := &m.live
	tick := time.NewTicker(LiveStep)
	defer tick.Stop()
	for {
		event := frame()
		l.mu.Lock()
		l.last = event
		for ch := range l.viewers {
			select {
			case <-ch: // not taken yet, and old now
			default:
			}
			ch <- event
		}
		l.mu.Unlock()
		select {
		case <-tick.C:
		case <-m.closing:
			return
		}
		l.mu.Lock()
		if len(l.viewers) == 0 {
			l.running, l.last = false, nil
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// liveFrames returns a function that makes an event of each moment.
func (m *Monitor) liveFrames() func() []byte {
	var last stats.Counters
	var at time.Time
	return func() []byte {
		now := time.Now()
		f := m.frame(now, situationLive)
		if at.IsZero() {
			f.Rates = m.lastRates()
		} else {
			f.Rates = m.ratesSince(last, f.Totals.Counters, now.Sub(at))
		}
		last, at = f.Totals.Counters, now
		f.Tiles.rates(f.Rates)
		data, err := json.Marshal(f)
		if err != nil {
			panic(err) // of numbers and texts: never
		}
		return append(append([]byte("data: "), data...), "\n\n"...)
	}
}
