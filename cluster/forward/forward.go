// Package forward lets any node of a cluster take any request: the one that leads answers it, the others pass it on over
// the cluster's port, in one hop.
//
//	client ─▶ Door ─ this node leads ───────────────────▶ Here.Door, its reply after Here.Verify
//	            └─ another one leads ─▶ port ─▶ Handler ─▶ Here.Door there, its reply after Here.Verify
//
// Bodies, replies, long polls and streams go through as they come. The address of the client goes with the request, for limits and
// the audit log, and so does whether it came by TLS.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync/atomic"
	"time"

	"pipit/cluster/port"
)

// Headers of requests between nodes. Those of a client by these names do not go on.
const (
	headerDoor   = "Pipit-Door"   // which of the addresses of a node it came to
	headerClient = "Pipit-Client" // address and port of the client
	headerTLS    = "Pipit-Tls"    // "1": it came by TLS
)

// headerAgain is that of a reply between nodes which says that the request was not answered by it, since who was asked does not lead.
const headerAgain = "Pipit-Again"

// Leader is where requests are answered at the moment.
type Leader struct {
	Here Here   // nil: not by this node
	Addr string // of the leader's port, where it is not here; empty: there is none
}

// Here is what answers requests while this node leads.
type Here interface {
	// Door returns the handler of an address, by the name that all nodes have for it; nil where there is none.
	Door(name string) http.Handler
	// Verify makes sure that this is still so, in a question that begins after the call.
	Verify(ctx context.Context) error
}

// Options are what a node's forwarding needs.
type Options struct {
	Port    *port.Port
	Leader  func() Leader
	Changed func() <-chan struct{} // is closed when Leader has another answer
	Wait    time.Duration          // that a request waits for a leader

	// Local answers a request that is of this node whoever leads, and tells whether it did; or nil.
	Local func(w http.ResponseWriter, r *http.Request) bool

	// Refuse answers a request that cannot be answered now. unknown tells whether it may have taken effect, which one that only reads never has.
	Refuse func(w http.ResponseWriter, r *http.Request, unknown bool)

	Logger *slog.Logger
}

// Forward passes requests on, and takes those of other nodes.
type Forward struct {
	opts      Options
	wait      atomic.Int64 // Options.Wait, in force
	transport *http.Transport
}

// Adjust takes over how long a request waits for a leader.
func (f *Forward) Adjust(wait time.Duration) { f.wait.Store(int64(wait)) }

// deadline is until when a request that came just now waits for a leader.
func (f *Forward) deadline() time.Time { return time.Now().Add(time.Duration(f.wait.Load())) }

// New returns one.
func New(o Options) *Forward {
	f := &Forward{opts: o}
	f.Adjust(o.Wait)
	f.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTime)
			defer cancel()
			c, err := o.Port.Dial(ctx, port.Request, addr)
			if err != nil {
				err = &unreached{err}
			}
			return c, err
		},
		DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, ExpectContinueTimeout: time.Minute,
		ReadBufferSize: 32 << 10, WriteBufferSize: 32 << 10,
	}
	return f
}

const dialTime = 2 * time.Second

// unreached is the error of a request of which nothing was sent.
type unreached struct{ error }

func (u *unreached) Unwrap() error { return u.error }

// Door returns the handler of an address of this node, by a name that all nodes have for it.
func (f *Forward) Door(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.opts.Local != nil && f.opts.Local(w, r) {
			return
		}
		deadline := f.deadline()
		for {
			changed := f.opts.Changed()
			to := f.opts.Leader()
			switch {
			case to.Here != nil:
				if f.answer(to.Here, name, w, r) {
					return
				}
			case to.Addr != "":
				if f.pass(w, r, name, to.Addr) {
					return
				}
			}
			if !wait(r.Context(), changed, time.Until(deadline)) {
				f.opts.Refuse(w, r, false)
				return
			}
		}
	})
}

// awaitHere returns what answers here, nil where nothing does. Where another node knows already that this one leads, it does in a moment.
func (f *Forward) awaitHere(ctx context.Context) Here {
	for deadline := f.deadline(); ; {
		changed := f.opts.Changed()
		to := f.opts.Leader()
		if to.Here != nil {
			return to.Here
		}
		if to.Addr != "" || !wait(ctx, changed, time.Until(deadline)) {
			return nil
		}
	}
}

// retryEvery is how often a leader is tried again that cannot be reached.
const retryEvery = 100 * time.Millisecond

// wait returns when something has changed, or after a moment; false when it has taken so long.
func wait(ctx context.Context, changed <-chan struct{}, most time.Duration) bool {
	if most <= 0 {
		return false
	}
	t := time.NewTimer(min(most, retryEvery))
	defer t.Stop()
	select {
	case <-changed:
		return true
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// errMoved ends a request that was passed on to a node which leads no more: it may be one that was stopped, and never answers.
var errMoved = errors.New("it leads no more")

// whileLeading returns a context that ends when another node leads than the one at addr.
func (f *Forward) whileLeading(ctx context.Context, addr string) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for {
			changed := f.opts.Changed()
			if to := f.opts.Leader(); to.Here != nil || to.Addr != addr {
				cancel(errMoved)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, cancel
}

// reads tells whether a request changes nothing before its answer begins, so that it can be asked again, which a proxy may do of itself with such
// (RFC 9110, 9.2.1 and 9.2.2). A stream is one: it takes messages when its head is sent.
func reads(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength == 0
}

var errAgain = errors.New("who was asked does not lead")

// pass sends a request to the leader and its reply back. It is false where nothing of the request was sent, and where one that only reads
// got no reply: it can be sent to who leads by then.
func (f *Forward) pass(w http.ResponseWriter, r *http.Request, door, addr string) (done bool) {
	ctx, cancel := f.whileLeading(r.Context(), addr)
	defer cancel(nil)
	r = r.WithContext(ctx)
	done = true
	proxy := httputil.ReverseProxy{
		Transport: f.transport, FlushInterval: -1, ErrorLog: log.New(quiet{}, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.URL.RawQuery = "http", addr, p.In.URL.RawQuery
			p.Out.Host = p.In.Host
			h := p.Out.Header
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} { // Rewrite has taken them
				if v := p.In.Header[name]; v != nil {
					h[name] = v
				}
			}
			if _, ok := p.In.Header["User-Agent"]; !ok {
				h["User-Agent"] = nil // net/http would add its own
			}
			h[headerDoor], h[headerClient] = []string{door}, []string{p.In.RemoteAddr}
			delete(h, headerTLS)
			if p.In.TLS != nil {
				h[headerTLS] = []string{"1"}
			}
		},
		ModifyResponse: func(rsp *http.Response) error {
			again := rsp.Header.Get(headerAgain) != ""
			rsp.Header.Del(headerAgain)
			if again && reads(r) {
				return errAgain
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var none *unreached
			if errors.As(err, &none) || reads(r) {
				done = false
				return
			}
			if cause := context.Cause(ctx); errors.Is(cause, errMoved) {
				err = cause
			}
			f.opts.Logger.Warn("cluster: a request that was passed on was not answered", "to", addr, "err", err)
			f.opts.Refuse(w, r, true)
		},
	}
	proxy.ServeHTTP(w, r)
	return done
}

// quiet is where ReverseProxy's own lines go, which ErrorHandler's take the place of.
type quiet struct{}

func (quiet) Write(b []byte) (int, error) { return len(b), nil }

// Handler returns the handler of what other nodes pass on, to be served on the port's listener of requests. other answers
// what came to no door: what nodes ask each other.
func (f *Forward) Handler(other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		door := r.Header.Get(headerDoor)
		if door == "" {
			other.ServeHTTP(w, r)
			return
		}
		here := f.awaitHere(r.Context())
		if here == nil { // a second hop would go in circles while two think that the other one leads
			w.Header().Set(headerAgain, "1")
			f.opts.Refuse(w, r, false)
			return
		}
		if addr := r.Header.Get(headerClient); addr != "" {
			r.RemoteAddr = addr
		}
		r.TLS = nil
		if r.Header.Get(headerTLS) != "" {
			r.TLS = &tls.ConnectionState{}
		}
		for _, name := range []string{headerDoor, headerClient, headerTLS} {
			r.Header.Del(name)
		}
		if !f.answer(here, door, w, r) {
			w.Header().Set(headerAgain, "1")
			f.opts.Refuse(w, r, false)
		}
	})
}
