package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Times of connections.
const (
	quietTime   = 500 * time.Millisecond // without a byte, before a connection gives its slot to another one
	lookAgain   = 50 * time.Millisecond  // for a slot, while one is waited for
	arrivalTime = 200 * time.Millisecond // of what was sent before a stop began
	headerEnd   = 3 * time.Second        // for headers that had begun to arrive then
	logPause    = time.Minute            // between two lines about the same thing
)

// evictLook is how many connections are looked at for one on which nothing has begun.
const evictLook = 64

// connections are those that are open, of all listeners and servers together, at most max of them. Where
// all slots are taken, the next connection gets that of the one that has been idle for the longest, else of the oldest one
// that never sent a header. Where all are busy it waits, and replies are the last ones of their connections.
type connections struct {
	log *slog.Logger

	ending atomic.Bool  // replies are the last ones of their connections
	wanted atomic.Int64 // accepted connections that wait for a slot; changes under mu

	mu      sync.Mutex
	changed *sync.Cond // of mu: there is a slot, or a listener is closed
	max     int64
	open    int64
	leaving int64    // those of open that are being closed for others
	final   bool     // what becomes idle is closed
	fresh   connList // wait for their first header; the oldest first
	idle    connList // wait for their next header; the longest idle first
	full    seldom   // lines that say that all slots are taken
	failed  seldom   // lines that say that accepting failed
}

func newConnections(max int64, log *slog.Logger) *connections {
	s := &connections{max: max, log: log}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// adjust sets how many connections may be open. Those that are too many go as others would want their slots.
func (s *connections) adjust(max int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = max
	s.changed.Broadcast()
}

// admit waits until a connection that l accepted can have a slot.
func (s *connections) admit(c net.Conn, l *limitedListener) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted.Add(1)
	defer s.wanted.Add(-1)
	if s.open >= s.max {
		if times, ok := s.full.line(time.Now()); ok {
			s.log.Warn("max_connections is reached: for a new one the longest idle one is closed, or it waits",
				"max_connections", s.max, "idle", s.idle.n, "without_request", s.fresh.n, "times", times)
		}
	}
	for s.open >= s.max && !l.closed {
		if s.leaving < s.wanted.Load() {
			s.evict()
		}
		again := time.AfterFunc(lookAgain, s.changed.Broadcast)
		s.changed.Wait()
		again.Stop()
	}
	if l.closed {
		c.Close()
		return nil, net.ErrClosed
	}
	s.open++
	own := &conn{Conn: c, all: s}
	own.outer = own
	s.wait(own, &s.fresh)
	return own, nil
}

// evict closes one connection that is quiet: idle ones come before fresh ones, and those on which
// nothing has begun before others. The caller holds mu.
func (s *connections) evict() {
	for _, c := range []*conn{s.idle.quiet(), s.fresh.quiet(), s.fresh.first, s.idle.first} {
		if c != nil && time.Since(c.since) >= quietTime {
			c.leaving = true
			s.leaving++
			s.drop(c)
			return
		}
	}
}

// acceptFailed logs an error that net/http silently tries again after.
func (s *connections) acceptFailed(err error, addr net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times, ok := s.failed.line(time.Now()); ok {
		s.log.Error("connections cannot be accepted", "address", addr.String(), "error", err, "times", times)
	}
	if noMoreFiles(err) && s.leaving == 0 {
		s.evict()
	}
}

// attach lets a server tell what becomes of its connections. It is called before the server starts.
func (s *connections) attach(srv *http.Server) {
	before := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, outer net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, outer)
		}
		c := connOf(outer)
		s.mu.Lock()
		c.outer = outer
		s.mu.Unlock()
		return context.WithValue(ctx, connKey{}, c)
	}
	// A request has begun when it comes to the handler. StateActive would be too early: a server drops
	// the request where Shutdown is called between that and the handler.
	next := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(connKey{}).(*conn)
		s.mu.Lock()
		s.leave(c)
		s.mu.Unlock()
		if s.ending.Load() || s.wanted.Load() > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
	srv.ConnState = func(outer net.Conn, state http.ConnState) {
		if state == http.StateIdle {
			s.becameIdle(connOf(outer))
		}
	}
}

// connKey is that of a request's context whose value is the *conn.
type connKey struct{}

// connOf returns the connection below that of net/http.
func connOf(outer net.Conn) *conn {
	if t, ok := outer.(*tls.Conn); ok {
		outer = t.NetConn()
	}
	return outer.(*conn)
}

func (s *connections) becameIdle(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := c.outer.(*tls.Conn); ok && !c.known {
		c.known, c.http2 = true, t.ConnectionState().NegotiatedProtocol == "h2"
	}
	switch {
	case c.leaving || c.closed:
	case s.final && !c.http2:
		s.drop(c)
	default:
		c.begun.Store(false)
		s.leave(c)
		s.wait(c, &s.idle)
	}
}

// end is the first step of a shutdown. What was sent before it has come to the handlers when it returns; connections on
// which nothing came are closed, also those that become idle later. HTTP/2 has an end of its own, http.Server.Shutdown. A
// request that is sent later, on a connection that was kept, may find it closed: HTTP/1 has no way to tell that in time.
func (s *connections) end(closeListeners func()) {
	s.ending.Store(true)
	s.mu.Lock()
	open := s.open
	s.mu.Unlock()
	if open > 0 {
		time.Sleep(arrivalTime)
	}
	closeListeners()
	for last := time.Now().Add(headerEnd); !s.dropQuiet(time.Now().After(last)); {
		time.Sleep(arrivalTime / 20)
	}
}

// dropQuiet closes the connections that wait for a header of which nothing has come, or all that wait for one.
// Where none is left that waits, it returns true and none will ever wait again.
func (s *connections) dropQuiet(all bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.final = true
	for _, list := range []*connList{&s.fresh, &s.idle} {
		for c, next := list.first, (*conn)(nil); c != nil; c = next {
			next = c.next
			switch {
			case c.http2:
			case all || !c.hasBegun() && time.Since(c.since) >= arrivalTime:
				s.drop(c)
			default:
				s.final = false
			}
		}
	}
	return s.final
}

// drop closes a connection. The caller holds mu.
func (s *connections) drop(c *conn) {
	s.leave(c)
	go c.outer.Close() // TLS says goodbye, which may take its time
}

// wait notes that a connection waits for a header. The caller holds mu.
func (s *connections) wait(c *conn, in *connList) {
	c.since = time.Now()
	c.in = in
	in.push(c)
}

// leave takes a connection from the list that it is in, if any. The caller holds mu.
func (s *connections) leave(c *conn) {
	if c.in != nil {
		c.in.remove(c)
		c.in = nil
	}
}

// release gives back the slot of a connection.
func (s *connections) release(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	s.leave(c)
	s.open--
	if c.leaving {
		s.leaving--
	}
	s.changed.Broadcast()
}

// conn is a connection that has a slot.
type conn struct {
	net.Conn
	all   *connections
	begun atomic.Bool // something was read since it waits for a header

	// The following is guarded by all.mu.
	outer          net.Conn  // what net/http knows: itself, or the TLS connection on top of it
	known, http2   bool      // whether it is HTTP/2, known when it is idle for the first time
	leaving        bool      // it is being closed for another one
	closed         bool      // its slot was given back
	in             *connList // that it waits in, nil while it is busy
	since          time.Time // that it waits
	previous, next *conn     // of that list
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.begun.Store(true)
	}
	return n, err
}

// hasBegun tells whether something came since the connection waits for a header.
func (c *conn) hasBegun() bool { return c.begun.Load() || hasArrived(c.Conn) }

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.all.release(c)
	return err
}

// NetConn is for who looks at the connection itself.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite is for net/http, which ends its reply to a body that it did not read this way before it
// closes: a close alone could take the reply from the client.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// connList is a list of connections in the order in which they came. A connection is in one at most.
type connList struct {
	first, last *conn
	n           int
}

func (l *connList) push(c *conn) {
	c.previous, c.next = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.n++
}

func (l *connList) remove(c *conn) {
	if c.previous == nil {
		l.first = c.next
	} else {
		c.previous.next = c.next
	}
	if c.next == nil {
		l.last = c.previous
	} else {
		c.next.previous = c.previous
	}
	c.previous, c.next = nil, nil
	l.n--
}

// quiet returns the first one on which nothing has begun, as far as that is known, or nil.
func (l *connList) quiet() *conn {
	c := l.first
	for n := 0; c != nil && n < evictLook; n++ {
		if c.http2 || !c.hasBegun() {
			return c
		}
		c = c.next
	}
	return nil
}

// seldom thins out the lines of a log about one thing.
type seldom struct {
	last  time.Time
	times int // since then
}

// line counts one time. Where a line is due it returns true, and how many times it stands for.
func (s *seldom) line(now time.Time) (times int, due bool) {
	s.times++
	if !s.last.IsZero() && now.Sub(s.last) < logPause {
		return 0, false
	}
	times, s.times, s.last = s.times, 0, now
	return times, true
}
