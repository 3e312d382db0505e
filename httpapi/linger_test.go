package httpapi_test

import (
	"bytes"
	"io"
	"strconv"
	"testing"
)

// TestEarlyRefusal: who sends a large body gets the reply that refuses it, also a client that looks
// for it only when it has sent everything.
func TestEarlyRefusal(t *testing.T) {
	cases := []struct {
		path   string
		size   int
		status int
	}{{created, 20_000_000, 413}, {"/zato/pubsub/topic//no/such/", 300_000, 403}, {"/zato/pubsub/topic//no/such/", 3_000_000, 403}, {"/no/such/route", 3_000_000, 404}}
	for _, secure := range []bool{false, true} {
		r := newServer(t, func(s *setup) { s.secure = secure })
		for _, c := range cases {
			for _, known := range []bool{true, false} { // its length
				var body io.Reader = bytes.NewReader(make([]byte, c.size))
				if !known {
					body = io.MultiReader(body)
				}
				if a := r.send(r.request(ctx, "POST", c.path, crm, body)); a.status != c.status {
					t.Errorf("%s of %d bytes: %d %s", c.path, c.size, a.status, a.body)
				}
			}
			conn := r.dialHalf()
			r.write(conn, "POST "+c.path+" HTTP/1.1\r\n"+asCRM+"Content-Length: "+strconv.Itoa(c.size)+"\r\n\r\n")
			if _, err := conn.Write(make([]byte, c.size)); err != nil {
				t.Errorf("%s of %d bytes: %v", c.path, c.size, err)
			}
			if a := r.readReply(conn, "POST"); a.status != c.status {
				t.Errorf("%s of %d bytes: %d %s", c.path, c.size, a.status, a.body)
			}
			conn.Close()
		}
	}
}

// TestRefusalAmongOthers: a refusal leaves the other requests of an HTTP/2 connection alone, and a
// small one leaves an HTTP/1 connection open.
func TestRefusalAmongOthers(t *testing.T) {
	r := newServer(t, func(s *setup) { s.secure = true })
	waits := r.watched()
	c := r.poll(ctx, "?wait=60&dir=lifo")
	await(t, waits)
	for range 3 {
		req := r.request(ctx, "POST", created, crm, bytes.NewReader(make([]byte, 20_000_000)))
		if a := r.send(req); a.status != 413 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	id := r.publish(created, "woken")
	if got := r.parsed(await(t, c)); got.Count != 1 || got.Results[0].Metadata.ID != id {
		t.Errorf("%q", got.payloads())
	}

	r = newServer(t)
	conn := r.dial()
	for range 2 {
		r.write(conn, "POST /zato/pubsub/topic//no/such/ HTTP/1.1\r\n"+asCRM+"Content-Length: 200000\r\n\r\n"+string(make([]byte, 200_000)))
		if a := r.readReply(conn, "POST"); a.status != 403 {
			t.Errorf("%d %v", a.status, a.header)
		}
	}
}

// TestBodyThatNeverComes: who announces a body and does not send it gets the reply.
func TestBodyThatNeverComes(t *testing.T) {
	r := newServer(t)
	for _, length := range []string{"1000", "20000000"} {
		a := r.raw("POST /zato/pubsub/topic//no/such/ HTTP/1.1\r\n" + asCRM + "Content-Length: " + length + "\r\n\r\n")
		if a.status != 403 || a.header.Get("Content-Length") == "" {
			t.Errorf("%d %v", a.status, a.header)
		}
	}
}
