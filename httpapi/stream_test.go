package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"pipit/broker"
)

// events reads server-sent events.
type events struct {
	t     *testing.T
	lines chan string
	end   error // how it ended, once lines is closed
}

// events reads them from a connection, or a body, which it closes.
func (r *rig) events(from io.ReadCloser) *events {
	e := &events{t: r.t.(*testing.T), lines: make(chan string, 1000)}
	go func() {
		defer close(e.lines)
		defer from.Close()
		var line []byte
		b := make([]byte, 1)
		for {
			if _, e.end = io.ReadFull(from, b); e.end != nil {
				return
			}
			if line = append(line, b[0]); b[0] == '\n' {
				e.lines <- strings.TrimSuffix(string(line), "\n")
				line = nil
			}
		}
	}()
	return e
}

// stream begins a stream. header are pairs.
func (r *rig) stream(ctx context.Context, query string, header ...string) *events {
	r.t.Helper()
	req := r.request(ctx, "GET", queue+query, erp, http.NoBody, "X-Zato-PubSub-Key", key, "Accept", "application/json;q=0.1, text/event-stream")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	e := r.events(res.Body)
	r.common("GET", req.URL.String(), reply{res.StatusCode, res.Header, ""})
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-cache, no-store, no-transform" || res.Header.Get("X-Accel-Buffering") != "no" {
		r.t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	e.want(": connected")
	e.want("retry: 2000")
	e.want("")
	return e
}

func (e *events) want(line string) {
	e.t.Helper()
	if got := await(e.t, e.lines); got != line {
		e.t.Fatalf("line %q, want %q", got, line)
	}
}

// next returns the next event.
func (e *events) next() (m *item) {
	e.t.Helper()
	line := await(e.t, e.lines)
	for line == ": keep-alive" {
		e.want("")
		line = await(e.t, e.lines)
	}
	id, ok := strings.CutPrefix(line, "id: ")
	data, ok2 := strings.CutPrefix(await(e.t, e.lines), "data: ")
	e.want("")
	if !ok || !ok2 {
		e.t.Fatalf("no event: %q, %q", line, data)
	}
	decodeJSON(e.t, data, &m)
	if m.Metadata.ID != id {
		e.t.Errorf("id %q of %s", id, data)
	}
	return m
}

func TestStream(t *testing.T) {
	r := newServer(t)
	a := r.publish(created, "line\nline\r\n\"x\"")
	r.publish(created+"?priority=9", "urgent")
	e := r.stream(ctx, "")
	if m := e.next(); m.Payload != "urgent" || m.Metadata.Priority != 9 || m.Metadata.Topic != "/customer/created" || m.Metadata.Producer != "CRM" {
		t.Errorf("%+v", m)
	}
	if m := e.next(); m.Payload != "line\nline\r\n\"x\"" || m.Metadata.ID != a {
		t.Errorf("%+v", m)
	}
	r.wantPayloads(queue) // in flight
	b := r.publish(created, "later")
	if m := e.next(); m.Payload != "later" || m.Metadata.ID != b || m.Metadata.Deliveries != 1 {
		t.Errorf("%+v", m)
	}
	r.settle(b, "ack=true")
	r.settle(a, "reject=true")
	if m := e.next(); m.Metadata.ID != a || m.Metadata.Deliveries != 2 {
		t.Errorf("%+v", m)
	}
	r.settle(a, "ack=true")
	r.notFound(b, "ack=true")
	r.b.Drain()
	for line := range e.lines { // it ends by itself
		if line != ": keep-alive" && line != "" {
			t.Errorf("line %q", line)
		}
	}
	if e.end != io.EOF {
		t.Errorf("the stream did not end: %v", e.end)
	}
}

func TestStreamAck(t *testing.T) {
	r := newServer(t)
	leave, cancel := context.WithCancel(ctx)
	e := r.stream(leave, "?ack=true&max=1&dir=lifo")
	id := r.publish(created, "x")
	if m := e.next(); m.Metadata.ID != id {
		t.Errorf("%+v", m)
	}
	r.notFound(id, "ack=true")
	cancel()
	r.quiet()
	if msgs := r.direct(); len(msgs) != 0 {
		t.Errorf("%+v", msgs)
	}
}

// TestClientLeavesStream: what comes after it is for others.
func TestClientLeavesStream(t *testing.T) {
	r := newServer(t)
	leave, cancel := context.WithCancel(ctx)
	e := r.stream(leave, "")
	r.publish(created, "sent")
	e.next()
	cancel()
	for range e.lines {
	}
	r.quiet()
	if _, err := r.b.Publish(ctx, "/customer/created", []byte("later")); err != nil {
		t.Fatal(err)
	}
	if msgs := r.direct(); len(msgs) != 1 || string(msgs[0].Payload) != "later" || msgs[0].DeliveryCount != 1 {
		t.Errorf("%+v", msgs)
	}
}

// TestStreamAtLimit: a stream waits while max_in_flight is reached, and goes on.
func TestStreamAtLimit(t *testing.T) {
	r := newServer(t, func(s *setup) { s.consume = func(c *broker.Consumer) { c.MaxInFlight = 1 } })
	a, b := r.publish(created, "a"), r.publish(created, "b")
	e := r.stream(ctx, "")
	if m := e.next(); m.Metadata.ID != a {
		t.Errorf("%+v", m)
	}
	r.settle(a, "ack=true")
	if m := e.next(); m.Metadata.ID != b {
		t.Errorf("%+v", m)
	}
}

// TestStreamBound: a stream has no more than max unacknowledged, and what is beyond is for others.
func TestStreamBound(t *testing.T) {
	r := newServer(t)
	e := r.stream(ctx, "?max=2")
	a, b := r.publish(created, "a"), r.publish(created, "b")
	if m := e.next(); m.Metadata.ID != a {
		t.Errorf("%+v", m)
	}
	if m := e.next(); m.Metadata.ID != b {
		t.Errorf("%+v", m)
	}
	r.publish(created, "c")
	r.wantPayloads(queue, "c")
	d := r.publish(created, "d")
	r.settle(b, "ack=true")
	if m := e.next(); m.Metadata.ID != d {
		t.Errorf("%+v", m)
	}
	// At the bound, too, comments keep the connection alive.
	e.want(": keep-alive")
	e.want("")
	r.settle(a, "reject=true")
	if m := e.next(); m.Metadata.ID != a || m.Metadata.Deliveries != 2 {
		t.Errorf("%+v", m)
	}
}

// TestLastEventID: a client that comes again gets first what it has missed.
func TestLastEventID(t *testing.T) {
	for _, left := range []bool{true, false} { // the broken stream is known to be broken
		r := newServer(t)
		leave, cancel := context.WithCancel(ctx)
		defer cancel()
		old := r.stream(leave, "")
		ids := []string{r.publish(created, "0"), r.publish(created, "1"), r.publish(created, "2")}
		for range ids {
			old.next()
		}
		if left {
			cancel()
			for range old.lines {
			}
		}
		r.wantPayloads(queue) // all is in flight
		e := r.stream(ctx, "", "Last-Event-ID", ids[0])
		for _, id := range ids[1:] {
			if m := e.next(); m.Metadata.ID != id || m.Metadata.Deliveries != 2 {
				t.Errorf("%+v", m)
			}
		}
		if !left {
			for range old.lines { // it ends, so that it takes nothing more
			}
		}
		id := r.publish(created, "3")
		if m := e.next(); m.Metadata.ID != id || m.Metadata.Deliveries != 1 {
			t.Errorf("%+v", m)
		}
	}
}

// TestStreamAccept: who asks for anything gets a stream, too.
func TestStreamAccept(t *testing.T) {
	r := newServer(t)
	for _, accept := range []string{"*/*", "text/*", "text/html, */*;q=0.8", "text/event-stream;q=0.1"} {
		leave, cancel := context.WithCancel(ctx)
		r.stream(leave, "", "Accept", accept)
		cancel()
	}
	// curl -H Accept: sends none.
	c := r.dial()
	defer c.Close()
	r.write(c, "GET "+queue+" HTTP/1.1\r\n"+asERP+"\r\n")
	b := make([]byte, len("HTTP/1.1 200 OK"))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 200 OK" {
		t.Errorf("%q %v", b, err)
	}
}

// TestStreamLargeEvent: an event that is written in pieces.
func TestStreamLargeEvent(t *testing.T) {
	r := newServer(t)
	payload := strings.Repeat("\x01ż", 100_000)
	e := r.stream(ctx, "")
	r.publish(created, payload)
	r.publish(created, "next")
	if m := e.next(); m.Payload != payload {
		t.Errorf("a payload of %d bytes", len(m.Payload))
	}
	if m := e.next(); m.Payload != "next" {
		t.Errorf("%+v", m)
	}
}
