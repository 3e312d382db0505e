package httpapi

import (
	"context"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Of streams.
const (
	keepAlive = 10 * time.Second // between comments where there are no messages
	writeTime = 30 * time.Second // for one write
	fullTime  = time.Second      // until the next try where a limit is reached
	retryTime = 2 * time.Second  // until a client whose stream has ended comes again

	streamIdle = ": keep-alive\n\n"
)

var streamHead = ": connected\nretry: " + strconv.FormatInt(retryTime.Milliseconds(), 10) + "\n\n"

// stream sends messages as server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html),
// each in flight until it is settled. It ends when the client is lost, the broker drains, or the
// client is no longer allowed what it gets.
func (s *server) stream(x *call, r *http.Request, rest string) error {
	sub, err := s.subscription(x, r, rest)
	if err != nil {
		return err
	}
	if rest == "" {
		return errNoTopic
	}
	if !accepts(r.Header["Accept"], "text", "event-stream") {
		return broker.Invalidf("header Accept %q: allowed are text/event-stream and */*; a receive is a POST", clip.Input(r.Header.Get("Accept")))
	}
	p, err := parseParams(r.URL.RawQuery, "max", "dir", "ack")
	if err != nil {
		return err
	}
	o, err := receiveOptions(p)
	if err != nil {
		return err
	}
	x.ignoreBody()
	h := x.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Accel-Buffering"] = typeEvents, noChange, isNo
	if r.Method == http.MethodHead {
		x.WriteHeader(http.StatusOK)
		return nil
	}
	done, err := s.limits.Wait(x.client)
	if err != nil {
		return err
	}
	defer done()
	st, err := sub.Stream(o, r.Header.Get("Last-Event-ID"))
	if err != nil {
		return err
	}
	defer st.Close()
	if err := x.push([]byte(streamHead)); err != nil {
		return err
	}
	last := time.Now() // when something was sent
	ctx := r.Context()
	for s.serving(&x.ctx) {
		if c := s.b.ClientNow(x.username); c != nil {
			x.client = c // its limits may be others by now
		}
		n, err := s.streamSome(ctx, x, st, rest, last.Add(keepAlive))
		switch code := broker.CodeOf(err); {
		case err != nil && (code == broker.Full || code == broker.Unavailable) && x.ctx.Err() == nil:
			s.pause(&x.ctx, fullTime)
		case err != nil:
			return err
		}
		halfClosed := ctx == r.Context() && ctx.Err() != nil // or it has left, which a comment tells
		if halfClosed {
			ctx = &x.ctx
		}
		if (halfClosed || n == 0 && time.Since(last) >= keepAlive) && s.serving(&x.ctx) {
			if err := x.push([]byte(streamIdle)); err != nil {
				return err
			}
			n = 1
		}
		if n > 0 {
			last = time.Now()
		}
	}
	return nil
}

// streamSome sends what there is, or comes until a time or the end of ctx, and tells how many messages that were.
func (s *server) streamSome(ctx context.Context, x *call, st *broker.Stream, topic string, until time.Time) (n int, err error) {
	if wait := s.limits.Pause(x.client); wait > 0 {
		s.pause(ctx, min(wait, time.Until(until)))
		return 0, nil
	}
	held := share{b: s.replies, client: x.username}
	defer held.free()
	msgs, err := st.Receive(ctx, max(time.Until(until), 0), held.take)
	if err != nil || len(msgs) == 0 {
		return 0, err
	}
	s.limits.Received(x.client, msgs)
	span := s.opts.Load().Tracer.Receive(topic)
	span.Received(msgs)
	defer func() { span.End(err) }()
	sent := 0
	defer func() { // also where something panics
		if sent < len(msgs) {
			st.Release(msgs[sent:])
		}
	}()
	buf := pieceBuffers.Get().(*[]byte)
	p := pieces{b: (*buf)[:0], w: pusher{x}}
	defer func() {
		*buf = p.b
		pieceBuffers.Put(buf)
	}()
	for i := range msgs {
		p.event(&msgs[i])
		if len(p.b) >= pieceSize || i == len(msgs)-1 {
			p.flush()
		}
		if p.err != nil {
			return sent, p.err
		}
		if len(p.b) == 0 {
			st.Written(msgs[sent : i+1])
			sent = i + 1
		}
	}
	return sent, nil
}

// event appends a message as an event.
func (p *pieces) event(m *broker.Message) {
	p.b = append(append(append(p.b, "id: "...), m.ID...), "\ndata: "...)
	p.message(m)
	p.b = append(p.b, "\n\n"...)
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

// pusher writes parts of a stream.
type pusher struct{ x *call }

func (p pusher) Write(b []byte) (int, error) { return len(b), p.x.push(b) }

// push sends a part of a stream.
func (x *call) push(b []byte) error {
	x.patient(writeTime)
	halfClosed := x.ctx.HalfClosed()
	if _, err := x.Write(b); err != nil {
		return err
	}
	return x.sent(halfClosed)
}

// accepts tells whether Accept headers allow a media type, by its name or a wildcard. Without any,
// everything is allowed.
func accepts(headers []string, kind, subtype string) bool {
	for _, h := range headers {
		for part := range strings.SplitSeq(h, ",") {
			t, params, err := mime.ParseMediaType(part)
			if q, qerr := strconv.ParseFloat(params["q"], 64); err != nil || qerr == nil && q == 0 {
				continue
			}
			if t == kind+"/"+subtype || t == kind+"/*" || t == "*/*" {
				return true
			}
		}
	}
	return len(headers) == 0
}
