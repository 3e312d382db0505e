package httpapi

import (
	"mime"
	"net/http"
	"strings"
	"time"

	"pipit/broker"
)

// Of streams.
const (
	keepAlive   = 15 * time.Second // between comment lines where there are no messages
	writeTime   = 30 * time.Second // for one write
	blockedTime = time.Second      // until the next try where max_in_flight is reached
)

// stream sends messages as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// each in flight until it is settled.
func (s *server) stream(x *exchange, r *http.Request, rest string) error {
	sub, err := s.topicSubscription(x, r, rest)
	if err != nil {
		return err
	}
	if !accepts(r.Header.Values("Accept"), "text/event-stream") {
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
	h := x.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["Cache-Control"] = []string{"no-store"}
	out := http.NewResponseController(x)
	send := func(b []byte) error {
		patient(x, writeTime)
		if _, err := x.Write(b); err != nil {
			return err
		}
		return out.Flush()
	}
	if err := send([]byte(": connected\n\n")); err != nil {
		return err
	}
	var buf []byte
	for {
		msgs, err := sub.Receive(r.Context(), o)
		switch {
		case broker.CodeOf(err) == broker.Full && err != nil:
			timer := time.NewTimer(blockedTime)
			select {
			case <-timer.C:
			case <-r.Context().Done():
			case <-s.b.Done():
			}
			timer.Stop()
		case err != nil:
			return err
		}
		if gone(r.Context()) {
			sub.Release(msgs)
			return nil
		}
		buf = buf[:0]
		for i := range msgs {
			buf = append(append(buf, "id: "...), msgs[i].ID...)
			buf = append(buf, "\ndata: "...)
			buf = append(appendMessage(buf, &msgs[i]), "\n\n"...)
		}
		if len(msgs) == 0 {
			buf = append(buf, ": keep-alive\n\n"...)
		}
		if err := send(buf); err != nil {
			if !o.Ack {
				sub.Release(msgs)
			}
			return err
		}
		select {
		case <-s.b.Done():
			return nil
		default:
		}
	}
}

// accepts tells whether a media type is in the Accept headers.
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
