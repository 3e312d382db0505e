// Package presence tells whether who sent a request is still there for its reply.
package presence

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// Context is the context of a request, of which the caller sets the fields. It ends when the client is lost: its connection was reset
// or, on HTTP/2, its request was. That of net/http ends as well where a client has only said that it
// sends nothing more (a FIN; over TLS, a close_notify), as nc -N, socat and others do behind their
// request, and yet wait for the reply. Whether such a client has left, only writing to it can tell.
type Context struct {
	context.Context      // of net/http
	HTTP1           bool // a connection for the request alone

	once  sync.Once    // for what follows
	conn  *net.TCPConn // nil: the end of Context is all that can be known
	tls   bool
	stop  func() bool // keeps the watch from beginning
	ended chan struct{}
}

// connection is under what a context holds the connection of its requests.
type connection struct{}

// WithConnection is for http.Server.ConnContext.
func WithConnection(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connection{}, c)
}

// tcpConn returns what a connection is underneath, nil where that is not TCP.
func tcpConn(c any) *net.TCPConn {
	for {
		switch t := c.(type) {
		case *net.TCPConn:
			return t
		case interface{ NetConn() net.Conn }: // such as *tls.Conn
			c = t.NetConn()
		default:
			return nil
		}
	}
}

// watch sees to it that ended is closed when the client is lost. Before the end of Context nobody
// is: net/http reads the connection behind the request, and would notice.
func (p *Context) watch() {
	if p.HTTP1 {
		c := p.Value(connection{})
		p.conn = tcpConn(c)
		_, p.tls = c.(*tls.Conn)
	}
	if p.conn == nil {
		return
	}
	p.ended = make(chan struct{})
	p.stop = context.AfterFunc(p.Context, func() {
		awaitLoss(p.conn, p.tls)
		close(p.ended)
	})
}

// Done is for context.Context.
func (p *Context) Done() <-chan struct{} {
	p.once.Do(p.watch)
	if p.conn == nil {
		return p.Context.Done()
	}
	return p.ended
}

// Err is for context.Context.
func (p *Context) Err() error {
	err := p.Context.Err()
	if err == nil {
		return nil
	}
	select {
	case <-p.Done():
		return err
	default:
		return nil
	}
}

// HalfClosed tells whether the client has said that it sends nothing more.
func (p *Context) HalfClosed() bool { return p.Context.Err() != nil }

// Of waiting until what was sent has arrived.
const (
	arriveTime = 2 * time.Second
	arriveStep = time.Millisecond // the first wait, which doubles
)

// Arrived waits until what was sent to a half-closed client has arrived there, for a while. The
// error tells that the client had left: then its system answers with a reset.
func (p *Context) Arrived() error {
	p.once.Do(p.watch)
	if p.conn == nil {
		return p.Err()
	}
	end := time.Now().Add(arriveTime)
	for step := arriveStep; time.Now().Before(end); step = min(2*step, 64*arriveStep) {
		select {
		case <-p.ended:
			return errLeft
		default:
		}
		if !underWay(p.conn) {
			break
		}
		timer := time.NewTimer(step)
		select {
		case <-p.ended:
		case <-timer.C:
		}
		timer.Stop()
	}
	if lost(p.conn) {
		return errLeft
	}
	return nil
}

var errLeft = errors.New("the client had left")

// End ends the watch, so that net/http has the connection for itself again.
func (p *Context) End() {
	p.once.Do(func() {})
	if p.ended == nil {
		return
	}
	if p.stop() {
		close(p.ended) // for who has kept the context
		return
	}
	_ = p.conn.SetReadDeadline(time.Unix(1, 0))
	<-p.ended
	_ = p.conn.SetReadDeadline(time.Time{})
}
