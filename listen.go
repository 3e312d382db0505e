package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"syscall"

	"pipit/httpapi"
)

// listenAll listens on every address of a key of the configuration, or on none and says which one failed. A machine without IPv6
// does without the addresses of its loopback, as long as there is another.
func listenAll(ctx context.Context, key string, addrs []string, maxConnections int64, log *slog.Logger) ([]net.Listener, error) {
	var (
		all     []net.Listener
		lc      net.ListenConfig
		missing error
		slots   = make(chan struct{}, maxConnections)
	)
	for _, addr := range addrs {
		l, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			l = httpapi.Listener(l, log)
			all = append(all, &limitedListener{Listener: l, slots: slots, closed: make(chan struct{})})
			continue
		}
		err = fmt.Errorf("%s %q: %w", key, addr, err)
		if host, _, _ := net.SplitHostPort(addr); net.ParseIP(host).Equal(net.IPv6loopback) && noSuchFamily(err) {
			log.Warn("this machine has no IPv6 loopback: going on without it", "address", addr)
			missing = err
			continue
		}
		for _, l := range all {
			l.Close()
		}
		return nil, err
	}
	if len(all) == 0 {
		return nil, missing
	}
	return all, nil
}

// noSuchFamily tells whether the machine lacks a family of addresses.
func noSuchFamily(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return false
	}
	if runtime.GOOS == "windows" {
		return errno == 10047 || errno == 10049 // WSAEAFNOSUPPORT, WSAEADDRNOTAVAIL
	}
	return errno == syscall.EAFNOSUPPORT || errno == syscall.EADDRNOTAVAIL
}

// beyondLoopback returns the first address that other machines can reach, "" where there is none.
func beyondLoopback(listeners []net.Listener) string {
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			return a.String()
		}
	}
	return ""
}

// limitedListener hands out connections while fewer than cap(slots) are open, of all listeners that
// share slots. The others wait, one here and the rest in the kernel's queue.
type limitedListener struct {
	net.Listener
	slots  chan struct{} // a token for each open connection
	closed chan struct{}
	once   sync.Once
}

func (l *limitedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// Not before: a listener that nobody calls would hold a slot.
	select {
	case l.slots <- struct{}{}:
		return &limitedConn{Conn: c, slots: l.slots}, nil
	case <-l.closed:
		c.Close()
		return nil, net.ErrClosed
	}
}

func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	slots chan struct{}
	once  sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.slots })
	return err
}

// NetConn is for who looks at the connection itself.
func (c *limitedConn) NetConn() net.Conn { return c.Conn }

// CloseWrite is for net/http, which ends its reply to a body that it did not read this way before it
// closes: a close alone could take the reply from the client.
func (c *limitedConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
