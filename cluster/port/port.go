// Package port is the one TCP port by which the nodes of a cluster talk to each other: the engine's own connections, and requests
// that a node passes on.
//
// A connection begins with a preface of eight bytes that says what it is for, after TLS, where there is any. With certificates both sides
// show one that the cluster's authority has signed, and a stranger gets no further than the handshake; without, the port is on
// loopback alone.
package port

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Kind is what a connection is for.
type Kind byte

// The kinds.
const (
	Engine  Kind = 'e' // of the consensus
	Request Kind = 'r' // HTTP
)

// preface begins each connection; its last byte is the Kind.
const preface = "pipit/1"

const (
	prefaceTime  = 5 * time.Second // that a stranger has for the handshake and the preface
	maxStrangers = 256             // connections that have not said what they are for
)

// Options are where a port is, and who may come.
type Options struct {
	Listen string       // host:port
	TLS    *tls.Config  // see Certificates; nil: none, which is for loopback
	Logger *slog.Logger // default slog.Default()
}

// Port is an open one. Its methods may be called by several goroutines.
type Port struct {
	opts     Options
	listener net.Listener
	kinds    map[Kind]*Listener
	places   chan struct{}

	closing chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// Certificates reads the certificate and the key of this node and the authority that has signed those of all, PEM files.
func Certificates(cert, key, authority string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_cert %q and cluster.tls_key %q: %w", cert, key, err)
	}
	text, err := os.ReadFile(authority) // #nosec G304 -- whoever starts the program names it
	if err != nil {
		return nil, fmt.Errorf("cluster.tls_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("cluster.tls_ca %q: there is no certificate in it", authority)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}, nil
}

// Open listens.
func Open(o Options) (*Port, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("cluster.listen %q: %w", o.Listen, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); o.TLS == nil && (!ok || !a.IP.IsLoopback()) {
		_ = l.Close()
		return nil, fmt.Errorf("cluster.listen %q: other machines can reach it: allowed with cluster.tls_cert, tls_key and tls_ca alone", o.Listen)
	}
	p := &Port{opts: o, listener: l, kinds: map[Kind]*Listener{}, places: make(chan struct{}, maxStrangers), closing: make(chan struct{})}
	for _, k := range []Kind{Engine, Request} {
		p.kinds[k] = &Listener{port: p, came: make(chan net.Conn), closed: make(chan struct{})}
	}
	p.running.Go(p.accept)
	return p, nil
}

// Addr is where it listens.
func (p *Port) Addr() net.Addr { return p.listener.Addr() }

// Close ends it, and what has not been accepted.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closing)
		err = p.listener.Close()
	})
	p.running.Wait()
	return err
}

func (p *Port) accept() {
	for pause := time.Duration(0); ; {
		c, err := p.listener.Accept()
		select {
		case <-p.closing:
			if err == nil {
				_ = c.Close()
			}
			return
		default:
		}
		if err != nil { // of descriptors there are none, for example
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			p.opts.Logger.Warn("cluster: a connection was not accepted", "err", err)
			select {
			case <-time.After(pause):
			case <-p.closing:
				return
			}
			continue
		}
		pause = 0
		select {
		case p.places <- struct{}{}:
			p.running.Go(func() { p.greet(c) })
		default: // strangers enough
			_ = c.Close()
		}
	}
}

// greet finds out what a connection is for, and leaves it to who waits for that kind.
func (p *Port) greet(raw net.Conn) {
	kind, c, err := p.identify(raw)
	<-p.places
	if err != nil {
		p.opts.Logger.Warn("cluster: a connection was refused", "from", raw.RemoteAddr().String(), "err", err)
		_ = raw.Close()
		return
	}
	l := p.kinds[kind]
	select {
	case l.came <- c:
	case <-l.closed:
		_ = c.Close()
	case <-p.closing:
		_ = c.Close()
	}
}

func (p *Port) identify(c net.Conn) (Kind, net.Conn, error) {
	if err := c.SetDeadline(time.Now().Add(prefaceTime)); err != nil {
		return 0, nil, err
	}
	if p.opts.TLS != nil {
		t := tls.Server(c, p.opts.TLS)
		if err := t.Handshake(); err != nil {
			return 0, nil, err
		}
		c = t
	}
	var said [len(preface) + 1]byte
	if _, err := io.ReadFull(c, said[:]); err != nil {
		return 0, nil, err
	}
	kind := Kind(said[len(preface)])
	if string(said[:len(preface)]) != preface || p.kinds[kind] == nil {
		return 0, nil, fmt.Errorf("it began with %q: a node says %q and what it wants", said[:], preface)
	}
	return kind, c, c.SetDeadline(time.Time{})
}

// Dial connects to the port of another node, for a kind.
func (p *Port) Dial(ctx context.Context, kind Kind, addr string) (net.Conn, error) {
	return Dial(ctx, p.opts.TLS, kind, addr)
}

// Dial connects to the port of a node, for a kind. certificates is as Options.TLS.
func Dial(ctx context.Context, certificates *tls.Config, kind Kind, addr string) (net.Conn, error) {
	var d interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if certificates != nil {
		d = &tls.Dialer{Config: certificates}
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write(append([]byte(preface), byte(kind))); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Listener is a net.Listener of the connections of one kind.
type Listener struct {
	port   *Port
	came   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Listener returns that of a kind.
func (p *Port) Listener(kind Kind) *Listener { return p.kinds[kind] }

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.came:
		return c, nil
	case <-l.closed:
	case <-l.port.closing:
	}
	return nil, net.ErrClosed
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.port.Addr() }

// Close implements net.Listener. The port goes on.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}
