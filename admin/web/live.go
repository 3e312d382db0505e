package web

import (
	"encoding/json"
	"net/http"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
	"pipit/broker/clip"
)

// Of the live stream.
const (
	liveWrite   = 10 * time.Second  // for one event
	liveRetry   = "retry: 5000\n\n" // milliseconds until a browser comes back
	typeEvents  = "text/event-stream"
	contentType = "Content-Type"
)

// pageLive streams frames.
func (op overviewPages) pageLive(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	return op.stream(w, r, func(frame []byte) []byte { return frame })
}

// stream sends what pick makes of each frame as server-sent events, until that is nothing, the viewer leaves or the broker drains.
func (s *Site) stream(w http.ResponseWriter, r *http.Request, pick func(frame []byte) []byte) error {
	w.Header().Set(contentType, typeEvents)
	if r.Method == http.MethodHead {
		return nil
	}
	ch := s.Monitor.Watch()
	if ch == nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Too many pages are live", RetryAfter: 10 * time.Second}
	}
	defer s.Monitor.Unwatch(ch)
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
		case frame := <-ch:
			event := pick(frame)
			if event == nil {
				return nil
			}
			if err := send(event); err != nil {
				return err
			}
		case <-r.Context().Done():
			return nil
		case <-s.Broker.Done():
			return nil
		}
		if !s.Users.StillSignedIn(r) {
			return nil
		}
	}
}

// pageHistory answers with a History, of a topic or of all.
func (op overviewPages) pageHistory(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	q := r.URL.Query()
	rng := q.Get("range")
	if rng != monitor.RangeHour && rng != monitor.RangeDay {
		return broker.Invalidf("range %q: allowed are %s and %s", clip.To(rng, 64), monitor.RangeHour, monitor.RangeDay)
	}
	b, err := json.Marshal(op.Monitor.History(rng, q.Get("topic")))
	if err != nil {
		return err
	}
	w.Header().Set(contentType, "application/json")
	_, _ = w.Write(b) // the reader has left: nobody to tell
	return nil
}
