package serve

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Listeners are those of a Server that serve the same.
type Listeners []net.Listener

// BaseURLs are those that listeners are reached by, one for each IP address of the machine, and one for
// the loopback, which comes first.
func (ls Listeners) BaseURLs(secure bool) []string {
	u := url.URL{Scheme: "http"}
	if secure {
		u.Scheme = "https"
	}
	var local, far []string
	listed := map[string]bool{}
	for _, l := range ls {
		a, ok := l.Addr().(*net.TCPAddr)
		if !ok {
			continue
		}
		for _, ip := range reachedBy(l, a.IP) {
			if ip.IsLoopback() && local != nil || listed[ip.String()] {
				continue
			}
			listed[ip.String()] = true
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

// NamedURLs are those by a name of the machine, where other machines can reach a listener: a name does not change where
// addresses are handed out. Whether others can look it up is not known.
func (ls Listeners) NamedURLs(name string, secure bool) []string {
	u := url.URL{Scheme: "http"}
	if secure {
		u.Scheme = "https"
	}
	for _, l := range ls {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && name != "" {
			u.Host = net.JoinHostPort(name, strconv.Itoa(a.Port))
			return []string{u.String()}
		}
	}
	return nil
}

// WireURL is the base URL of listeners for pages that are served elsewhere. It has no host name where
// they have that of the pages.
func (ls Listeners) WireURL(secure bool) string {
	for _, l := range ls {
		if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsUnspecified() {
			u := url.URL{Scheme: "http", Host: ":" + strconv.Itoa(a.Port)}
			if secure {
				u.Scheme = "https"
			}
			return u.String()
		}
	}
	urls := ls.BaseURLs(secure)
	return urls[len(urls)-1] // one that others can reach, if there is any
}

// String is their addresses, separated by commas.
func (ls Listeners) String() string {
	addrs := make([]string, len(ls))
	for i, l := range ls {
		addrs[i] = l.Addr().String()
	}
	return strings.Join(addrs, ",")
}

// close closes them all, those that are closed already, too.
func (ls Listeners) close() {
	for _, l := range ls {
		_ = l.Close()
	}
}

// BeyondLoopback returns the first address that other machines can reach, "" where there is none.
func (ls Listeners) BeyondLoopback() string {
	for _, l := range ls {
		if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
			return a.String()
		}
	}
	return ""
}
