package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"pipit/httpapi"
)

// Listen listens on all addresses, or on none and says which one failed, and by which key of the configuration it was given.
// A machine without a family of addresses does without its loopback, and without those addresses of a name, as long as there
// is another. Nothing is accepted before Serve.
func (s *Server) Listen(ctx context.Context, key string, addrs []string) (Listeners, error) {
	all, err := listenAll(ctx, key, addrs, s.conns)
	s.listeners = append(s.listeners, all...)
	return all, err
}

// Adopt serves listeners of TCP that somebody else has opened, as Listen does those of its own.
func (s *Server) Adopt(given []*net.TCPListener) (all Listeners) {
	for _, l := range given {
		ip := l.Addr().(*net.TCPAddr).IP
		network := "tcp"
		if a, ok := netip.AddrFromSlice(ip); ok && !a.IsUnspecified() {
			network = networkOf(a)
		}
		all = append(all, newLimitedListener(httpapi.Listener(l, s.conns.log), network, s.conns))
	}
	s.listeners = append(s.listeners, all...)
	return all
}

func listenAll(ctx context.Context, key string, addrs []string, conns *connections) (Listeners, error) {
	var (
		all     Listeners
		lc      net.ListenConfig
		missing error
	)
	for _, addr := range addrs {
		places, err := placesOf(ctx, addr)
		for _, p := range places {
			var l net.Listener
			if l, err = lc.Listen(ctx, p.network, p.addr); err == nil {
				all = append(all, newLimitedListener(httpapi.Listener(l, conns.log), p.network, conns))
				continue
			}
			if !p.optional || !noSuchFamily(err) {
				break
			}
			conns.log.Warn("this machine lacks an address: going on without it", "addr", p.addr, "error", err)
			missing, err = fmt.Errorf("%s %q: %w", key, addr, err), nil
		}
		if err != nil {
			all.close()
			return nil, fmt.Errorf("%s %q: %w", key, addr, err)
		}
	}
	if len(all) == 0 {
		return nil, missing
	}
	return all, nil
}

// place is what one listener listens on.
type place struct {
	network, addr string
	optional      bool // where the machine lacks the family of addresses
}

// placesOf returns what an address of the configuration stands for: an IPv4 address is IPv4 alone, an
// IPv6 address is IPv6 alone, no host is both, and a name is all that it resolves to.
func placesOf(ctx context.Context, addr string) ([]place, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return []place{{network: "tcp", addr: addr}}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []place{{networkOf(ip), addr, ip.Unmap() == netip.IPv6Loopback()}}, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var places []place
	for _, ip := range ips {
		p := place{networkOf(ip), net.JoinHostPort(ip.Unmap().String(), port), true}
		if !slices.Contains(places, p) {
			places = append(places, p)
		}
	}
	return places, nil
}

func networkOf(ip netip.Addr) string {
	if ip.Unmap().Is4() {
		return "tcp4"
	}
	return "tcp6"
}

// Bindable returns why an address cannot be listened on, nil where it can, and whether that is because the machine lacks
// its family. Nothing listens meanwhile. One that is in use is syscall.EADDRINUSE; on Windows only who listens
// gets to know, and the answer is nil.
func Bindable(a netip.AddrPort) (lacking bool, err error) {
	err = bindable(a)
	return noSuchFamily(err), err
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

// noMoreFiles tells whether the process or the machine has as many files open as it may.
func noMoreFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// limitedListener accepts connections that have a slot.
type limitedListener struct {
	net.Listener
	network string // as of net.Listen
	conns   *connections

	start, stop sync.Once
	accepted    chan accepted // to Accept
	done        chan struct{} // closed by Close
}

// accepted is what Accept returns.
type accepted struct {
	c   net.Conn
	err error
}

func newLimitedListener(l net.Listener, network string, conns *connections) *limitedListener {
	return &limitedListener{Listener: l, network: network, conns: conns, accepted: make(chan accepted), done: make(chan struct{})}
}

func (l *limitedListener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.acceptAll() }) // not before: a listener that nobody calls would hold slots
	select {
	case a := <-l.accepted:
		return a.c, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// acceptAll goes on accepting while connections wait for a slot, as the one behind them may be one that has not to wait.
func (l *limitedListener) acceptAll() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			l.conns.admit(c, l)
			continue
		}
		closed := errors.Is(err, net.ErrClosed)
		if !closed {
			l.conns.acceptFailed(err, l.Addr())
		}
		if !l.hand(nil, err) || closed { // the next try comes behind the next Accept, for which a server takes its time
			return
		}
	}
}

// hand gives Accept what it returns. Where the listener is closed it returns false, and c is closed, too.
func (l *limitedListener) hand(c net.Conn, err error) bool {
	select {
	case l.accepted <- accepted{c, err}:
		return true
	case <-l.done:
		if c != nil {
			_ = c.Close()
		}
		return false
	}
}

// Close closes the listener, once.
func (l *limitedListener) Close() (err error) {
	l.stop.Do(func() {
		close(l.done)
		err = l.Listener.Close()
	})
	return err
}

// filesReserve is how many files beside connections may be open: the database, its directory, listeners,
// certificates, the configuration.
const filesReserve = 64

// maxWaiting is how many connections wait for a slot at most, where there can be as many files.
const maxWaiting = 128

// waitingLimit is how many connections may wait for a slot: a quarter of the files that there can be, at most.
func waitingLimit() int64 {
	files := maxFiles()
	if files == 0 {
		return maxWaiting
	}
	return min(maxWaiting, max(1, (files-filesReserve)/4))
}

// connectionLimit is how many connections there may be: as many as are configured, or as there can be files.
func connectionLimit(configured int64, log *slog.Logger) int64 {
	files, reserve := maxFiles(), filesReserve+waitingLimit()
	if files == 0 || configured+reserve <= files {
		return configured
	}
	limit := max(1, files-reserve)
	log.Warn("max_connections is more than this process may have files open: raise that limit, RLIMIT_NOFILE, or lower the key",
		"max_connections", configured, "files", files, "at_most", limit)
	return limit
}
