package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// underAdmin sends what is under /admin/ to admin, with a prefix in front of it or without, and
// everything else to rest. It looks at paths as they are: nothing is cleaned or redirected.
func underAdmin(prefix string, admin, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		if prefix != "" && ok && (path == "" || path == "/") {
			admin.ServeHTTP(w, r)
			return
		}
		if tail, ok := strings.CutPrefix(path, "/admin"); ok && (tail == "" || tail[0] == '/') {
			admin.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

// servers are those that run, each on listeners of its own.
type servers struct {
	cert      *certificate // nil: no TLS
	conns     *connections
	all       []*http.Server
	listeners []net.Listener
	failed    chan error
}

// start serves on listeners.
func (s *servers) start(srv *http.Server, listeners []net.Listener) {
	srv.ErrorLog = s.conns.errorLog()
	if s.cert != nil {
		srv.TLSConfig = s.cert.config()
	}
	s.conns.attach(srv)
	s.all = append(s.all, srv)
	s.listeners = append(s.listeners, listeners...)
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
	s.conns.end(func() { closeAll(s.listeners) })
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

// baseURLs are those that listeners are reached by, one for each IP address of the machine, and one for
// the loopback, which comes first.
func baseURLs(listeners []net.Listener, secure bool) []string {
	u := url.URL{Scheme: "http"}
	if secure {
		u.Scheme = "https"
	}
	var local, far []string
	seen := map[string]bool{}
	for _, l := range listeners {
		a, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		for _, ip := range reachedBy(l, a.IP) {
			if ip.IsLoopback() && local != nil || seen[ip.String()] {
				continue
			}
			seen[ip.String()] = true
			u.Host = net.JoinHostPort(ip.String(), strconv.Itoa(a.Port))
			if ip.IsLoopback() {
				local = append(local, u.String())
			} else {
				far = append(far, u.String())
			}
		}
	}
	return append(local, far...)
}

// reachedBy are the IP addresses that the one of a listener stands for: itself, but where it is all of the
// machine, those that others can use.
func reachedBy(l net.Listener, ip net.IP) []net.IP {
	if !ip.IsUnspecified() {
		return []net.IP{ip}
	}
	v4, v6 := true, ip.To4() == nil
	all := []net.IP{net.IPv4(127, 0, 0, 1)}
	if l, ok := l.(*limitedListener); ok && l.network == "tcp6" {
		v4, all[0] = false, net.IPv6loopback
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return all
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if ok && n.IP.IsGlobalUnicast() && (v4 && n.IP.To4() != nil || v6 && n.IP.To4() == nil) {
			all = append(all, n.IP)
		}
	}
	return all
}

// wireURL is the base URL of listeners for pages that are served elsewhere. It has no host name where
// they have that of the pages.
func wireURL(listeners []net.Listener, secure bool) string {
	for _, l := range listeners {
		if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
			u := url.URL{Scheme: "http", Host: ":" + strconv.Itoa(a.Port)}
			if secure {
				u.Scheme = "https"
			}
			return u.String()
		}
	}
	urls := baseURLs(listeners, secure)
	return urls[len(urls)-1] // one that others can reach, if there is any
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
		_ = l.Close()
	}
}
