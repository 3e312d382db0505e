// Package serve is how Pipit is reached: listeners, TLS, the connections that may be open at a time and who gets them, the
// servers of HTTP/1 and HTTP/2 on them, and their orderly stop. It knows nothing of what is served.
//
// A connection that a listener accepts needs a slot, of which all listeners of a Server share so many. Where none is free it
// waits for one, or another connection makes room: see slot.go. It is in one list at a time, by what it waits for: a slot,
// its first header, its next header, or the end of its request. A stop goes by the same lists: it closes those connections
// on which nothing was sent before it, and lets the others end.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"pipit/httpapi"
	"pipit/httpapi/forwarded"
)

// Options are what a Server is told.
type Options struct {
	MaxConnections int64             // open at a time, of all listeners together; fewer, where there can be fewer files
	IdleTimeout    time.Duration     // how long a connection is kept between two requests; 0 is httpapi.DefaultIdleTimeout
	Certificate    *Certificate      // nil: no TLS
	Proxies        forwarded.Proxies // whose connections are those of many, and so may be all that there are
	Logger         *slog.Logger
}

// requestsEnd is how long a stop waits for requests that were begun; then their connections are cut.
const requestsEnd = 8 * time.Second

// Server serves handlers, each on listeners of its own, within common bounds. But for Adjust its methods are called one after
// the other.
type Server struct {
	o         Options
	conns     *connections
	all       []*http.Server
	listeners Listeners // all
	failed    chan error
}

// New returns a server that listens nowhere yet.
func New(o Options) *Server {
	conns := newConnections(connectionLimit(o.MaxConnections, o.Logger), o.Logger)
	conns.proxies = o.Proxies
	return &Server{o: o, conns: conns, failed: make(chan error, 1)}
}

// Adjust changes how many connections may be open. Those that are too many go as others would want their slots. It may be
// called from any goroutine.
func (s *Server) Adjust(maxConnections int64) {
	s.conns.adjust(connectionLimit(maxConnections, s.o.Logger))
}

// Connections returns how many are open, of all listeners. It may be called from any goroutine.
func (s *Server) Connections() int64 {
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	return s.conns.open
}

// Serve begins to serve h on listeners that Listen returned. A Stop calls stopping when no new connections come any more,
// which is to end requests that wait.
func (s *Server) Serve(h http.Handler, listeners Listeners, stopping func()) {
	srv := httpapi.NewServer(h, s.o.IdleTimeout)
	srv.RegisterOnShutdown(stopping)
	s.start(srv, listeners)
}

func (s *Server) start(srv *http.Server, listeners Listeners) {
	srv.ErrorLog = s.conns.errorLog()
	if s.o.Certificate != nil {
		srv.TLSConfig = s.o.Certificate.config()
	}
	s.conns.attach(srv)
	s.all = append(s.all, srv)
	for _, l := range listeners {
		go func() {
			var err error
			if s.o.Certificate != nil {
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			select {
			case s.failed <- err:
			default: // one is enough
			}
		}()
	}
}

// Failed gets the error of a listener that serves no more.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop ends all that is served at the same time: no new connections, then what was begun is waited for, 8 seconds at most.
func (s *Server) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), requestsEnd)
	defer cancel()
	s.conns.end(s.listeners.close)
	errs := make([]error, len(s.all))
	var stopping sync.WaitGroup
	for i, srv := range s.all {
		stopping.Go(func() {
			errs[i] = srv.Shutdown(ctx)
			if errors.Is(errs[i], context.DeadlineExceeded) {
				s.o.Logger.Warn("cutting the connections of requests that did not end", "after", requestsEnd)
				errs[i] = srv.Close()
			}
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// Close closes the listeners, also those on which nothing is served yet. It is for who does not come to serve; a Stop does
// the same.
func (s *Server) Close() { s.listeners.close() }
