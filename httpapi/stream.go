package httpapi

import (
	"context"
	"mime"
	"net/http"
	"strings"
	"time"

	"pipit/broker"
)

// Of streams.
const (
	keepAlive  = 15 * time.Second // between comments where there are no messages
	writeTime  = 30 * time.Second // for one write
	writeSize  = 64 << 10         // bytes, after which events are written that are gathered
	fullTime   = time.Second      // until the next try where max_in_flight is reached
	streamHead = ": connected\n\n"
	streamIdle = ": keep-alive\n\n"
)

// stream sends messages as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// each in flight until it is settled. It ends when the client leaves, the broker drains, or the
// client is no longer allowed what it gets.
func (s *server) stream(x *exchange, r *http.Request, rest string) error {
	sub, err := s.subscription(x, r, rest)
	if err != nil {
		return err
	}
	if rest == "" {
		return errNoTopic
	}
	if !accepts(r.Header["Accept"], "text/event-stream") {
		return broker.Invalidf("header Accept %q: allowed is text/event-stream; a receive is a POST", clip(r.Header.Get("Accept")))
	}
	p, err := parseParams(r.URL.RawQuery, "max", "dir", "ack")
	if err != nil {
		return err
	}
	o, err := receiveOptions(p)
	if err != nil {
		return err
	}
	o.Wait = keepAlive
	ignoreBody(x, r)
	h := x.Header()
	h["Content-Type"], h["Cache-Control"] = typeEvents, noStore
	if r.Method == http.MethodHead {
		x.WriteHeader(http.StatusOK)
		return nil
	}
	if err := x.push([]byte(streamHead)); err != nil {
		return err
	}
	last := time.Now() // when something was sent
	for s.serving(r.Context()) {
		msgs, err := sub.Receive(r.Context(), o)
		switch {
		case err != nil && broker.CodeOf(err) == broker.Full:
			s.pause(r.Context(), fullTime)
		case err != nil:
			return err
		}
		if r.Context().Err() != nil { // a first write to nobody would succeed
			sub.Release(msgs)
			return nil
		}
		if len(msgs) > 0 {
			if sent, err := x.pushMessages(msgs); err != nil {
				if !o.Ack {
					sub.Release(msgs[sent:])
				}
				return err
			}
			last = time.Now()
		} else if time.Since(last) >= keepAlive {
			if err := x.push([]byte(streamIdle)); err != nil {
				return err
			}
			last = time.Now()
		}
		// What it may receive can have changed.
		if sub, err = s.subscription(x, r, rest); err != nil {
			return err
		}
	}
	return nil
}

// serving tells whether there is a client and the broker does not drain.
func (s *server) serving(ctx context.Context) bool {
	select {
	case <-s.b.Done():
		return false
	case <-ctx.Done():
		return false
	default:
		return true
	}
}

// pause waits for d, or until the stream has to end.
func (s *server) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-s.b.Done():
	}
}

// push sends a part of a stream.
func (x *exchange) push(b []byte) error {
	x.patient(writeTime)
	if _, err := x.Write(b); err != nil {
		return err
	}
	return http.NewResponseController(x.ResponseWriter).Flush()
}

// pushMessages sends messages as events. After an error, sent is how many of them may have arrived.
func (x *exchange) pushMessages(msgs []broker.Message) (sent int, err error) {
	buf := getBuffer()
	defer putBuffer(buf)
	b := (*buf)[:0]
	for i := range msgs {
		b = append(append(b, "id: "...), msgs[i].ID...)
		b = append(b, "\ndata: "...)
		b = append(appendMessage(b, &msgs[i]), "\n\n"...)
		if len(b) >= writeSize || i == len(msgs)-1 {
			if err := x.push(b); err != nil {
				return sent, err
			}
			sent, b = i+1, b[:0]
		}
	}
	*buf = b
	return sent, nil
}

// accepts tells whether a media type is in the Accept headers by its name.
func accepts(headers []string, want string) bool {
	for _, h := range headers {
		for part := range strings.SplitSeq(h, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil && t == want {
				return true
			}
		}
	}
	return false
}
