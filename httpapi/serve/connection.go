package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pipit/httpapi/forwarded"
	"pipit/httpapi/refused"
)

// Times of connections.
const (
	arrivalTime = 200 * time.Millisecond // of what was sent before a stop began
	headerEnd   = 3 * time.Second        // for headers that had begun to arrive then
	logPause    = time.Minute            // between two lines about the same thing
)

// connections are those that are open, of all listeners and servers together, at most max of them. Who gets a
// slot where all are taken is told in slot.go.
type connections struct {
	log     *slog.Logger
	proxies forwarded.Proxies // whose connections are those of many; set before the first one

	ending atomic.Bool  // replies are the last ones of their connections
	wanted atomic.Int64 // accepted connections that wait for a slot, those in waiting; changes under mu

	mu       sync.Mutex
	max      int64
	mayWait  int64 // connections, for a slot; past it, those of a network that has its share are closed
	open     int64
	leaving  int64               // those of open that are being closed for others
	final    bool                // what becomes idle is closed
	networks map[string]*network // with open connections, by name
	largest  *network            // the one with the most of them, if that is more than its share
	waiting  connList            // for a slot; the first one first
	fresh    connList            // wait for their first header; the oldest first
	idle     connList            // wait for their next header; the longest idle first
	full     seldom              // lines that say that all slots are taken
	cut      seldom              // lines that say that a network has to make room
	failed   seldom              // lines that say that accepting failed
	http2    map[string]*seldom  // lines about HTTP/2, by kind: a few dozen

	refusals *refused.Lines // about requests over TLS that cannot be read
}

func newConnections(max int64, log *slog.Logger) *connections {
	return &connections{
		max: max, mayWait: waitingLimit(), log: log, networks: map[string]*network{}, http2: map[string]*seldom{}, refusals: refused.New(log),
	}
}

// acceptFailed logs an error that net/http silently tries again after.
func (s *connections) acceptFailed(err error, addr net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if times, ok := s.failed.line(time.Now()); ok {
		s.log.Error("connections cannot be accepted", "addr", addr.String(), "error", err, "times", times)
	}
	if noMoreFiles(err) && s.leaving == 0 {
		s.evict(nil)
	}
}

// attach lets a server tell what becomes of its connections, and of what it refuses by itself. It is called before
// the server starts.
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
		s.begun(c)
		if s.ending.Load() || s.wanted.Load() > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
	srv.ConnState = func(outer net.Conn, state http.ConnState) {
		switch state {
		case http.StateActive:
			s.becameActive(connOf(outer))
		case http.StateIdle:
			s.becameIdle(connOf(outer))
		}
	}
	if srv.HTTP2 == nil {
		srv.HTTP2 = new(http.HTTP2Config)
	}
	srv.HTTP2.CountError = s.refusedHTTP2
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

// becameActive notes that the server has read what may be the first request. It is not called for a further one that
// cannot be read.
func (s *connections) becameActive(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch t, ok := c.outer.(*tls.Conn); {
	case ok && !c.known:
		c.known, c.http2 = true, t.ConnectionState().NegotiatedProtocol == "h2"
		c.unserved.Store(!c.http2)
		c.came = c.http2 // which is called active once before there are requests
	case c.http2:
		c.came = false
	}
}

// begun notes that a request has come to the handler.
func (s *connections) begun(c *conn) {
	c.unserved.Store(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	c.came = true
	if busy := &c.network.busy; c.in != busy && !c.leaving && !c.closed {
		s.leave(c)
		s.wait(c, busy)
	}
}

func (s *connections) becameIdle(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.http2 && !c.came {
		s.warnHTTP2("its header is too large, or it was taken back before it came to a handler")
	}
	switch {
	case c.leaving || c.closed:
	case s.final && !c.http2:
		s.drop(c)
	default:
		c.begun.Store(false)
		c.unserved.Store(c.known && !c.http2)
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

// wait puts a connection at the end of a list. The caller holds mu.
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

// refusedHTTP2 logs, now and then, what a server refused on HTTP/2, of a kind that net/http names.
func (s *connections) refusedHTTP2(kind string) {
	if kind == "stream_STREAM_CLOSED_closed" {
		return // the rest of a body whose request was answered already
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnHTTP2(kind)
}

// errorLog is for what a server says by itself: of connections of HTTP/2 that it ends, since their clients do what is not
// allowed, and of such as break, which happens.
func (s *connections) errorLog() *log.Logger { return log.New(serverLog{s}, "", 0) }

type serverLog struct{ *connections }

func (l serverLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "http2: server connection error from "); ok {
		if remote, reason, _ := strings.Cut(rest, ": "); l.refusals.Allow("", remote) {
			l.log.Warn("refused", "remote", remote, "reason", "not HTTP/2 as it is to be: "+reason)
		}
		return len(line), nil
	}
	l.log.Debug(text)
	return len(line), nil
}

// warnHTTP2 is refusedHTTP2 for who holds mu.
func (s *connections) warnHTTP2(kind string) {
	lines := s.http2[kind]
	if lines == nil {
		lines = new(seldom)
		s.http2[kind] = lines
	}
	if times, ok := lines.line(time.Now()); ok {
		s.log.Warn("refused", "reason", "not HTTP/2 as it is to be: "+kind, "times", times)
	}
}

// conn is a connection that was accepted.
type conn struct {
	net.Conn
	all      *connections
	from     string      // the name of the network that it comes from
	slot     chan bool   // where it waits for a slot: whether it gets one
	begun    atomic.Bool // something was read since it waits for a header
	unserved atomic.Bool // TLS and HTTP/1: what is read, or was, has not come to a handler
	left     atomic.Bool // what was read last is the end, or looks like it

	// The following is guarded by all.mu.
	network        *network  // of a slot
	outer          net.Conn  // what net/http knows: itself, or the TLS connection on top of it
	known, http2   bool      // TLS: whether it is HTTP/2, known when a first request has begun
	came           bool      // HTTP/2: a request has come to a handler since there was none
	leaving        bool      // it is being closed for another one
	closed         bool      // its slot was given back
	in             *connList // that it is in, if any
	since          time.Time // that it is in there
	previous, next *conn     // of that list
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.begun.Store(true)
	}
	c.left.Store(err != nil || saysGoodbye(b[:n]))
	return n, err
}

// Of TLS records.
const (
	recordHead     = 5  // bytes: type, version 3.3, length
	recordAlert    = 21 // type
	recordData     = 23 // type; in TLS 1.3 that of alerts, too
	shortestAnswer = 96 // bytes; no alert is as long, no answer of net/http as short
)

// saysGoodbye tells whether what was read ends in an alert, as a client sends where it sends nothing more: in TLS 1.2 one
// of 18 or 26 bytes, as the cipher is, in TLS 1.3 one of 19, as are two bytes of data.
func saysGoodbye(b []byte) bool {
	for _, n := range [...]int{18, 19, 26} {
		if len(b) < recordHead+n {
			return false
		}
		head := b[len(b)-recordHead-n:]
		if (head[0] == recordAlert || head[0] == recordData && n == 19) && head[1] == 3 && head[2] == 3 && head[3] == 0 && int(head[4]) == n {
			return true
		}
	}
	return false
}

// hasBegun tells whether something came since the connection waits for a header.
func (c *conn) hasBegun() bool { return c.begun.Load() || hasArrived(c.Conn) }

// Write tells the answer that net/http gives by itself, over TLS, where httpapi.Listener cannot see it: it is
// written after something was read, and before that has come to a handler.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) >= shortestAnswer && c.unserved.CompareAndSwap(true, false) && !c.left.Load() {
		if remote := c.RemoteAddr().String(); c.all.refusals.Allow("", remote) {
			c.all.log.Warn("refused", "remote", remote, "reason", "not a request that can be read, over TLS")
		}
	}
	return c.Conn.Write(b)
}

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
