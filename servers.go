package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// underAdmin sends what is under /admin/ to admin, and everything else to rest. It looks at paths
// as they are: nothing is cleaned or redirected.
func underAdmin(admin, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if tail, ok := strings.CutPrefix(r.URL.Path, "/admin"); ok && (tail == "" || tail[0] == '/') {
			admin.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// servers are those that run, each on listeners of its own.
type servers struct {
	cert   *certificate // nil: no TLS
	all    []*http.Server
	failed chan error
}

// start serves on listeners.
func (s *servers) start(srv *http.Server, listeners []net.Listener, log *slog.Logger) {
	srv.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelDebug) // broken handshakes and connections
	if s.cert != nil {
		srv.TLSConfig = s.cert.config()
	}
	s.all = append(s.all, srv)
	for _, l := range listeners {
		go func() {
			var err error
			if s.cert != nil {
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

// stop ends all servers at the same time: no new connections, then what was begun is waited for,
// for a while.
func (s *servers) stop(log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestsEnd)
	defer cancel()
	errs := make([]error, len(s.all))
	var stopping sync.WaitGroup
	for i, srv := range s.all {
		stopping.Go(func() {
			errs[i] = srv.Shutdown(ctx)
			if errors.Is(errs[i], context.DeadlineExceeded) {
				log.Warn("cutting the connections of requests that did not end", "after", requestsEnd)
				errs[i] = srv.Close()
			}
		})
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// baseURL is under which this machine reaches the listeners: through the loopback, where they
// are there.
func baseURL(listeners []net.Listener, secure bool) string {
	u := url.URL{Scheme: "http"}
	if secure {
		u.Scheme = "https"
	}
	for _, l := range listeners {
		a, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		at := *a
		if at.IP.IsUnspecified() {
			at.IP = net.IPv4(127, 0, 0, 1)
		}
		if u.Host == "" || at.IP.IsLoopback() {
			u.Host = at.String()
		}
		if at.IP.IsLoopback() {
			break
		}
	}
	return u.String()
}

// addresses are those of listeners, separated by commas.
func addresses(listeners []net.Listener) string {
	addrs := make([]string, len(listeners))
	for i, l := range listeners {
		addrs[i] = l.Addr().String()
	}
	return strings.Join(addrs, ",")
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
