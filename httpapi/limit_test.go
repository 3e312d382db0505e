package httpapi_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/httpapi"
)

// limit gives a client limits.
func (r *rig) limit(username string, set func(*broker.Client)) {
	r.t.Helper()
	c, ok := r.b.Client(username)
	if !ok {
		r.t.Fatalf("no client %s", username)
	}
	def := c.Client
	set(&def)
	if _, err := r.b.Apply(ctx, broker.Definition{Clients: []broker.Client{def}}); err != nil {
		r.t.Fatal(err)
	}
}

// wantWait checks the Retry-After of a refusal.
func wantWait(t *testing.T, a reply, least, most int) {
	t.Helper()
	if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < least || n > most {
		t.Errorf("Retry-After %q, want %d to %d", a.header.Get("Retry-After"), least, most)
	}
}

// TestPublishRate: past its rate a client gets 429, which names it and says when to come again; a batch passes as a whole and is
// made up for; others are not concerned; and headers tell in advance.
func TestPublishRate(t *testing.T) {
	r := newServer(t)
	a := r.do("POST", created, crm, "free")
	if a.status != 200 || a.header.Get("RateLimit") != "" {
		t.Fatalf("without a limit: %d %v", a.status, a.header)
	}
	r.limit("crm", func(c *broker.Client) { c.PublishRate, c.PublishByteRate = 100, 1<<20 })
	a = r.do("POST", created, crm, "one")
	if a.status != 200 || a.header.Get("RateLimit-Policy") != `"publish";q=100;w=1, "publish-bytes";q=1048576;w=1;qu="content-bytes"` ||
		a.header.Get("RateLimit") != `"publish";r=100;t=1, "publish-bytes";r=1048576;t=1` {
		t.Errorf("%d %v", a.status, a.header)
	}
	r.limit("crm", func(c *broker.Client) { c.PublishRate, c.PublishByteRate = 1, 0 })
	lines := strings.Repeat(`{"payload": "x"}`+"\n", 200)
	if a := r.do("POST", created+"?batch=true", crm, lines, "Content-Type", "application/x-ndjson"); a.status != 200 {
		t.Fatalf("a batch of more than the rate: %d %s", a.status, a.body)
	}
	a = r.refuse(429, "Too much at once: publish_rate of this client is 1 messages a second", "POST", created, crm, "x")
	wantWait(t, a, 190, 201)
	if got := a.header.Get("RateLimit"); !strings.HasPrefix(got, `"publish";r=0;t=`) {
		t.Errorf("RateLimit %q", got)
	}
	r.limit("crm", func(c *broker.Client) { c.PublishRate, c.PublishByteRate = 0, 1<<10 })
	r.publish(created, strings.Repeat("x", 100<<10))
	a = r.refuse(429, "Too much at once: publish_byte_rate of this client is 1KiB a second", "POST", created, crm, "x")
	wantWait(t, a, 95, 100)
	r.limit("crm", func(c *broker.Client) { c.PublishByteRate = 0 })
	r.publish(created, "free again")
}

// TestReceiveRate: a receive gets no more than is left of the rate, and nothing while something is to be made up for.
func TestReceiveRate(t *testing.T) {
	r := newServer(t)
	for range 30 {
		r.publish(created, strings.Repeat("x", 1<<10))
	}
	r.limit("erp", func(c *broker.Client) { c.ReceiveRate = 5 })
	got := r.receive(queue + "?max=20")
	if got.Count != 5 {
		t.Errorf("%d messages at a rate of 5", got.Count)
	}
	r.limit("erp", func(c *broker.Client) { c.ReceiveRate, c.ReceiveByteRate = 0, 1<<10 })
	if got := r.receive(queue + "?max=20"); got.Count != 20 {
		t.Errorf("%d messages where something of the rate was left", got.Count)
	}
	a := r.refuse(429, "Too much at once: receive_byte_rate of this client is 1KiB a second", "POST", queue, erp, "", "X-Zato-PubSub-Key", key)
	wantWait(t, a, 15, 20)
	r.limit("erp", func(c *broker.Client) { c.ReceiveByteRate = 0 })
	if got := r.receive(queue); got.Count != 5 {
		t.Errorf("%d messages without a rate", got.Count)
	}
}

// TestStreamRate: a stream waits where a receive is refused.
func TestStreamRate(t *testing.T) {
	r := newServer(t)
	for range 3 {
		r.publish(created, "x")
	}
	r.limit("erp", func(c *broker.Client) { c.ReceiveRate = 1 })
	begin := time.Now()
	e := r.stream(ctx, "?max=1&ack=true")
	for range 3 {
		e.next()
	}
	if took := time.Since(begin); took < time.Second {
		t.Errorf("three messages came within %s, at one a second", took)
	}
}

// until sends a request again until its status is another one.
func (r *rig) until(status int, method, path, auth, body string, header ...string) {
	r.t.Helper()
	for begin := time.Now(); time.Since(begin) < patience; {
		if r.do(method, path, auth, body, header...).status == status {
			return
		}
	}
	r.t.Fatalf("%s %s never became %d", method, path, status)
}

// TestMaxWaiting: long polls and streams of a client count together, until they end.
func TestMaxWaiting(t *testing.T) {
	r := newServer(t)
	r.limit("erp", func(c *broker.Client) { c.MaxWaiting = 2 })
	waits := r.watched()
	c := r.poll(ctx, "?wait=60")
	await(t, waits)
	streaming, end := context.WithCancel(ctx)
	r.stream(streaming, "?dir=lifo")
	const full = "Too many requests that wait: max_waiting of this client is 2 long polls and streams at a time"
	r.refuse(429, full, "POST", queue+"?wait=1", erp, "", "X-Zato-PubSub-Key", key)
	r.refuse(429, full, "GET", queue, erp, "", "X-Zato-PubSub-Key", key)
	r.wantPayloads(queue) // which waits for nothing
	r.want(200, empty, "POST", queue+"?wait=1", bob, "", "X-Zato-PubSub-Key", "bobs-own-key")
	end()
	r.until(200, "POST", queue+"?wait=1", erp, "", "X-Zato-PubSub-Key", key)
	r.b.Drain()
	await(t, c)
}

// TestSlowBody: a body that comes more slowly than min_body_rate is refused, however its length is told; one that is fast enough is not.
func TestSlowBody(t *testing.T) {
	httpapi.BodyGrace(t, 300*time.Millisecond)
	r := newServer(t, func(s *setup) { s.api.MinBodyRate = 1 << 20 })
	for _, head := range []string{"Content-Length: 100000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n64\r\n"} {
		c := r.dial()
		defer c.Close()
		r.write(c, "POST "+created+" HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\n"+head+"some")
		if a := r.readReply(c, "POST"); a.status != 400 || !strings.Contains(a.body, "came too slowly") {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	r.publish(created, strings.Repeat("x", 1<<20))
}

// TestPendingShare: of max_pending one client has half at the most, but for a single body; the rest is for others.
func TestPendingShare(t *testing.T) {
	var asked <-chan struct{}
	r := newServer(t, func(s *setup) {
		asked = askedForMore(s)
		s.broker.MaxPending, s.broker.MaxPayload = 1<<20, 1<<20
		s.api.MaxPending, s.api.MaxPayload = 1<<20, 1<<20
	})
	r.publish(created, strings.Repeat("x", 1<<20)) // a single body
	r.hold("POST " + created + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\n" + sends(300<<10) + "Content-Length: 1048576\r\n\r\n" +
		strings.Repeat("x", 300<<10)) // which takes 512 KiB
	await(t, asked)
	r.refuse(503, "Overloaded, try again", "POST", created, crm, "x")
	if a := r.do("POST", ackMany, erp, `{"msg_ids": ["x"]}`, "X-Zato-PubSub-Key", key); a.status == 503 {
		t.Errorf("another client: %d %s", a.status, a.body)
	}
}
