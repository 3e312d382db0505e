package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
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

// pageLive streams frames: those of the overview, or of the page that the query tells of.
func (op overviewPages) pageLive(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if r.URL.RawQuery != "" {
		return op.pagePart(w, r)
	}
	if r.Method == http.MethodHead {
		return headEvents(w)
	}
	frames := op.Monitor.Watch()
	if frames == nil {
		return errViewers()
	}
	defer op.Monitor.Unwatch(frames)
	x, err := op.openEvents(w, r)
	for err == nil {
		select {
		case frame := <-frames:
			err = x.send(frame)
		case <-x.gone():
			return nil
		case <-op.Broker.Done():
			return nil
		}
	}
	return nil // the viewer has left: nobody to tell
}

// follow streams what frame makes every two seconds, until that is nil, for one viewer.
func (s *Site) follow(w http.ResponseWriter, r *http.Request, frame func() any) error {
	if r.Method == http.MethodHead {
		return headEvents(w)
	}
	leave, ok := s.Monitor.Visit()
	if !ok {
		return errViewers()
	}
	defer leave()
	tick := time.NewTicker(monitor.LiveStep)
	defer tick.Stop()
	x, err := s.openEvents(w, r)
	for err == nil {
		made := frame()
		if made == nil {
			return nil
		}
		if err = x.send(eventOf(made)); err != nil {
			break
		}
		select {
		case <-tick.C:
		case <-x.gone():
			return nil
		case <-s.Broker.Done():
			return nil
		}
	}
	return nil // the viewer has left: nobody to tell
}

// eventOf returns a frame as an event.
func eventOf(frame any) []byte {
	data, err := json.Marshal(frame)
	if err != nil {
		panic(err) // of numbers and texts: never
	}
	return append(append([]byte("data: "), data...), "\n\n"...)
}

func errViewers() error {
	return &broker.Error{Code: broker.Unavailable, Message: "Too many pages are live", RetryAfter: 10 * time.Second}
}

func headEvents(w http.ResponseWriter) error {
	w.Header().Set(contentType, typeEvents)
	return nil
}

// events are server-sent events on their way to a viewer.
type events struct {
	s  *Site
	w  http.ResponseWriter
	r  *http.Request
	rc *http.ResponseController
}

// openEvents begins to answer with events. The error is that the viewer has left.
func (s *Site) openEvents(w http.ResponseWriter, r *http.Request) (*events, error) {
	w.Header().Set(contentType, typeEvents)
	x := &events{s, w, r, http.NewResponseController(w)}
	_ = x.rc.SetReadDeadline(time.Time{}) // past it the server would take the viewer for gone
	return x, x.write([]byte(liveRetry))
}

func (x *events) write(b []byte) error {
	_ = x.rc.SetWriteDeadline(time.Now().Add(liveWrite))
	if _, err := x.w.Write(b); err != nil {
		return err
	}
	return x.rc.Flush()
}

// errSignedOut ends the events of who was signed out.
var errSignedOut = errors.New("signed out")

// send sends an event to who is signed in still. The error is that the viewer has left, or errSignedOut.
func (x *events) send(event []byte) error {
	if !x.s.Users.StillSignedIn(x.r) {
		return errSignedOut
	}
	return x.write(event)
}

// gone is closed when the viewer leaves.
func (x *events) gone() <-chan struct{} { return x.r.Context().Done() }

// pageHistory answers with a History, of a topic, of a consumer or of all.
func (op overviewPages) pageHistory(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	q := r.URL.Query()
	rng := q.Get("range")
	if rng != monitor.RangeHour && rng != monitor.RangeDay {
		return broker.Invalidf("range %q: allowed are %s and %s", clip.To(rng, 64), monitor.RangeHour, monitor.RangeDay)
	}
	consumer, _ := object.ParseID(q.Get("consumer"))
	b, err := json.Marshal(op.Monitor.History(rng, monitor.Of{Topic: q.Get("topic"), Consumer: consumer}))
	if err != nil {
		return err
	}
	w.Header().Set(contentType, "application/json")
	_, _ = w.Write(b) // the reader has left: nobody to tell
	return nil
}
