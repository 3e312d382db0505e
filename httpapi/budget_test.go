package httpapi_test

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// live is what lives in this process's heap, in bytes.
func live() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestUnreadReplies: replies that nobody reads hold no more than max_replies, whatever they become as text,
// and one client leaves room for the others.
func TestUnreadReplies(t *testing.T) {
	const budget, clients, messages = 24 << 20, 20, 20
	r := newServer(t, func(s *setup) { s.api.MaxReplies = budget })
	payload := strings.Repeat("\x01", 1<<20)
	for range messages {
		if _, err := r.b.Publish(ctx, "/customer/created", []byte(payload)); err != nil {
			t.Fatal(err)
		}
	}
	payload = ""
	if err := r.store.Store.(interface{ Checkpoint() error }).Checkpoint(); err != nil { // else one may give memory back meanwhile
		t.Fatal(err)
	}
	before := live()
	var conns []net.Conn
	for i := range clients {
		c := r.dial()
		defer c.Close()
		if err := c.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		r.write(c, "POST "+queue+" HTTP/1.1\r\n"+asERP+"Content-Length: 0\r\n\r\n")
		conns = append(conns, c)
		if i < 2 { // what they take is known, one after the other
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Each has its reply, or the one that says that there is no room.
	for _, c := range conns[2:] {
		b := make([]byte, 12)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}
	if grown := live() - before; grown < budget/8 || grown > budget/2+(4<<20) {
		t.Errorf("the heap has grown by %d bytes for replies that may hold %d", grown, budget/2)
	}
	r.refuse(503, "Overloaded by replies that are not read, try again", "POST", queue, erp, "", "X-Zato-PubSub-Key", key)
	// Another client is served.
	if a := r.do("POST", queue+"?max=2", bob, "", "X-Zato-PubSub-Key", "bobs-own-key"); r.parsed(a).Count != 2 {
		t.Errorf("%d", a.status)
	}
	// A long poll waits for room, and what was not read is given back.
	c := r.poll(ctx, "?wait=60&max=1")
	for _, c := range conns {
		c.Close()
	}
	if got := r.parsed(await(t, c)); got.Count != 1 {
		t.Errorf("%d messages", got.Count)
	}
	total := 1
	for end := time.Now().Add(patience); total < messages && time.Now().Before(end); {
		msgs, err := r.subscription().Receive(ctx, broker.ReceiveOptions{Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		total += len(msgs)
	}
	if total < messages {
		t.Errorf("%d messages came back", total)
	}
}

// TestRoom: a payload that is larger than all of max_replies is delivered while nobody else is served.
func TestRoom(t *testing.T) {
	r := newServer(t, func(s *setup) { s.api.MaxReplies = 100_000 })
	for range 3 {
		if _, err := r.b.Publish(ctx, "/customer/created", make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		if got := r.receive(queue); got.Count != 1 {
			t.Errorf("%d messages", got.Count)
		}
	}
	if got := r.receive(queue); got.Count != 0 {
		t.Errorf("%d messages", got.Count)
	}
	sub := r.subscription()
	if _, err := r.b.Publish(ctx, "/customer/created", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err := sub.Receive(ctx, broker.ReceiveOptions{Room: func(int) bool { return false }})
	if broker.CodeOf(err) != broker.Unavailable {
		t.Errorf("%v", err)
	}
	r.wantPayloads(queue, "x")
}
