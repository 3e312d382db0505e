package admin

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Of the live stream.
const (
	liveStep    = 2 * time.Second
	liveWrite   = 10 * time.Second // for one event
	maxViewers  = 100
	liveRetry   = "retry: 5000\n\n" // milliseconds until a browser comes back
	typeEvents  = "text/event-stream"
	contentType = "Content-Type"
)

// frame is an event of the live stream: what the overview shows that changes.
type frame struct {
	Time      Time          `json:"time"`
	Totals    broker.Totals `json:"totals"`
	Rates     rates         `json:"rates"`
	Store     storeFigures  `json:"store"`
	Oldest    Time          `json:"oldest,omitzero"` // message that a consumer is not done with
	Attention []attention   `json:"attention"`
	Tiles     tiles         `json:"tiles"`
	Hour      *sample       `json:"hour,omitempty"` // the last step of the hour's History
	Day       *sample       `json:"day,omitempty"`
}

// rates are per second: since the frame before, or where there is none, of the last sample.
type rates struct {
	Published float64 `json:"published"`
	Delivered float64 `json:"delivered"`
	Acked     float64 `json:"acked"`
}

// sample is a step of a History.
type sample struct {
	End int64 `json:"end"` // in seconds of Unix
	rates
	Backlog float64 `json:"backlog"`
}

// live sends frames to everybody who watches. They are computed once for all, and not at all
// while nobody does.
type live struct {
	mu      sync.Mutex
	viewers map[chan []byte]struct{} // each with room for the newest event; guarded by mu
	running bool                     // guarded by mu
	last    []byte                   // event; guarded by mu
}

// watch adds a viewer, or returns nil where there are too many.
func (s *stats) watch(frame func() []byte) chan []byte {
	l := &s.live
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.viewers) >= maxViewers {
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
		s.worker.Go(func() { s.broadcast(frame) })
	}
	return ch
}

func (s *stats) unwatch(ch chan []byte) {
	s.live.mu.Lock()
	delete(s.live.viewers, ch)
	s.live.mu.Unlock()
}

// broadcast sends frames until nobody watches.
func (s *stats) broadcast(frame func() []byte) {
	l := &s.live
	tick := time.NewTicker(liveStep)
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
		case <-s.closing:
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
func (a *Admin) liveFrames() func() []byte {
	var m meter
	return func() []byte {
		now := time.Now()
		f := a.frame(now, situationLive)
		if m.at.IsZero() {
			m = meter{f.Totals.Counters, now}
			if f.Hour != nil {
				f.Rates = f.Hour.rates
			}
		} else {
			f.Rates = ratesOf(m.rates(f.Totals.Counters, now))
		}
		f.Tiles.rates(f.Rates)
		data, err := json.Marshal(f)
		if err != nil {
			panic(err) // of numbers and texts: never
		}
		return append(append([]byte("data: "), data...), "\n\n"...)
	}
}

func ratesOf(p point) rates { return rates{tidy(p.published), tidy(p.delivered), tidy(p.acked)} }

// pageLive streams frames as server-sent events until the viewer leaves or the broker drains.
func (a *Admin) pageLive(w http.ResponseWriter, r *http.Request, _ params) error {
	w.Header().Set(contentType, typeEvents)
	if r.Method == http.MethodHead {
		return nil
	}
	ch := a.stats.watch(a.liveFrames())
	if ch == nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Too many pages are live", RetryAfter: 10 * time.Second}
	}
	defer a.stats.unwatch(ch)
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{}) // past it the server would take the viewer for gone
	send := func(event []byte) error {
		_ = rc.SetWriteDeadline(time.Now().Add(liveWrite))
		if _, err := w.Write(event); err != nil {
			return err
		}
		return rc.Flush()
	}
	if err := send([]byte(liveRetry)); err != nil {
		return err
	}
	for {
		select {
		case event := <-ch:
			if err := send(event); err != nil {
				return err
			}
		case <-r.Context().Done():
			return nil
		case <-a.b.Done():
			return nil
		}
		if !a.users.StillSignedIn(r) {
			return nil
		}
	}
}

// pageHistory answers with a History, of a topic or of all.
func (a *Admin) pageHistory(w http.ResponseWriter, r *http.Request, _ params) error {
	q := r.URL.Query()
	rng := q.Get("range")
	if rng != rangeHour && rng != rangeDay {
		return broker.Invalidf("range %q: allowed are %s and %s", clip.To(rng, 64), rangeHour, rangeDay)
	}
	b, err := json.Marshal(a.stats.history(rng, q.Get("topic")))
	if err != nil {
		return err
	}
	w.Header().Set(contentType, "application/json")
	_, _ = w.Write(b) // the reader has left: nobody to tell
	return nil
}
