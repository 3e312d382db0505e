package httpapi_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// halfClosing is a connection that can say that it sends nothing more, plain or TLS.
type halfClosing interface {
	net.Conn
	CloseWrite() error
}

// dialHalf connects, over TLS where the server wants it.
func (r *rig) dialHalf() halfClosing {
	r.t.Helper()
	c := r.dial()
	if !strings.HasPrefix(r.base, "https") {
		return c
	}
	cfg := r.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	cfg.ServerName, cfg.NextProtos = "127.0.0.1", []string{"http/1.1"}
	s := tls.Client(c, cfg)
	if err := s.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return &halfTLS{s, c}
}

// halfTLS ends both the TLS and the TCP side.
type halfTLS struct {
	*tls.Conn
	under *net.TCPConn
}

func (h *halfTLS) CloseWrite() error {
	if err := h.Conn.CloseWrite(); err != nil {
		return err
	}
	return h.under.CloseWrite()
}

const (
	asERP = "Host: x\r\nAuthorization: Basic ZXJwOmVycA==\r\nX-Zato-PubSub-Key: " + key + "\r\n"
	asCRM = "Host: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\n"
)

func (r *rig) write(c io.Writer, s string) {
	r.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		r.t.Fatal(err)
	}
}

// TestHalfClosed: who sends nothing more behind its request gets its reply all the same, and what
// it got is in flight.
func TestHalfClosed(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, body := range []string{"", "a body, which the route does not need"} {
			r := newServer(t, func(s *setup) { s.secure = secure })
			waits := r.watched()
			c := r.dialHalf()
			r.write(c, "POST "+queue+"?wait=60&dir=lifo HTTP/1.1\r\n"+asERP+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			await(t, waits)
			time.Sleep(20 * time.Millisecond) // lint:sleep the end of what it sends is on its way; without the wait the test only sees less
			id := r.publish(created, "woken")
			got := r.parsed(r.readReply(c, "POST"))
			if got.Count != 1 || got.Results[0].Metadata.ID != id {
				t.Errorf("%q", got.payloads())
			}
			r.wantPayloads(queue) // it is in flight
			r.settle(id, "ack=true")
			c.Close()
		}
	}
}

// TestHalfClosedPublish: a publish with a login that is not known yet, as nc -N sends it.
func TestHalfClosedPublish(t *testing.T) {
	r := newServer(t)
	c := r.dial()
	r.write(c, "POST "+created+" HTTP/1.1\r\n"+asCRM+"Content-Length: 1\r\n\r\nx")
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if a := r.readReply(c, "POST"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.wantPayloads(queue, "x")
}

// TestHalfClosedStream: a stream goes on for who sends nothing more.
func TestHalfClosedStream(t *testing.T) {
	r := newServer(t)
	c := r.dial()
	r.write(c, "GET "+queue+" HTTP/1.0\r\n"+asERP+"\r\n") // of HTTP/1.0, the stream has no chunks
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	e := r.events(c)
	for line := range e.lines {
		if line == "retry: 2000" {
			break
		}
	}
	e.want("")
	for _, payload := range []string{"one", "two"} {
		id := r.publish(created, payload)
		if m := e.next(); m.Metadata.ID != id || m.Metadata.Deliveries != 1 {
			t.Errorf("%+v", m)
		}
		r.settle(id, "ack=true")
	}
	// When it has left, what it is sent is given back.
	c.Close()
	r.publish(created, "three")
	r.wantPayloads(queue+"?wait=30", "three")
}

// TestClientLeavesLongPoll: who has left is lost at once where that is seen, and at the latest when
// it is written to. Nothing stays in flight to it.
func TestClientLeavesLongPoll(t *testing.T) {
	for _, secure := range []bool{false, true} {
		for _, body := range []string{"", "a body, which the route does not need"} {
			for _, how := range []string{"reset", "half-closed, then reset", "closed"} {
				r := newServer(t, func(s *setup) { s.secure = secure })
				waits := r.watched()
				conn := r.dialHalf()
				c, plain := conn.(*net.TCPConn)
				if !plain {
					c = conn.(*halfTLS).under
				}
				r.write(conn, "POST "+queue+"?wait=60&dir=lifo HTTP/1.1\r\n"+asERP+"Content-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
				await(t, waits)
				switch how {
				case "half-closed, then reset":
					if err := conn.CloseWrite(); err != nil {
						t.Fatal(err)
					}
					fallthrough
				case "reset":
					if err := c.SetLinger(0); err != nil {
						t.Fatal(err)
					}
					c.Close()
					r.quiet()
					if _, err := r.b.Publish(ctx, "/customer/created", []byte("later")); err != nil {
						t.Fatal(err)
					}
					if msgs := r.direct(); len(msgs) != 1 || msgs[0].DeliveryCount != 1 {
						t.Errorf("%s: %+v", how, msgs)
					}
				case "closed":
					c.Close()
					r.publish(created, "later")
					r.wantPayloads(queue+"?wait=30", "later")
				}
			}
		}
	}
}
