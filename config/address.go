package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// address is one to listen on, and the path of its key.
type address struct{ path, text string }

// listens are all addresses that a start listens on.
func (c *Config) listens() []address {
	var all []address
	add := func(path string, addrs []string) {
		for i, a := range addrs {
			all = append(all, address{fmt.Sprintf("%s[%d]", path, i), a})
		}
	}
	add("http.listen", c.HTTP.Listen)
	if c.Admin.Enabled {
		add("admin.listen", c.Admin.Listen)
	}
	if c.Metrics.Enabled {
		add("metrics.listen", c.Metrics.Listen)
	}
	if c.Cluster.Node != "" {
		all = append(all, address{"cluster.listen", c.Cluster.Listen})
	}
	return all
}

// addresses notes those that cannot be listened on, and those that two listeners would share.
func (b *binder) addresses(c *Config) {
	for _, l := range []struct {
		path  string
		addrs []string
	}{{"http.listen", c.HTTP.Listen}, {"admin.listen", c.Admin.Listen}, {"metrics.listen", c.Metrics.Listen}} {
		for i, addr := range l.addrs {
			_, port, err := net.SplitHostPort(addr)
			if _, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil {
				b.errorf(fmt.Sprintf("%s[%d]", l.path, i), "%q: allowed is host:port with a port of 0 to 65535", addr)
			}
		}
	}
	all := c.listens()
	for i, a := range all {
		for _, before := range all[:i] {
			if !b.faulty[parent(a.path)] && !b.faulty[parent(before.path)] && collide(a.text, before.text) {
				b.besides(a, before)
			}
		}
	}
}

// collide tells whether two addresses cannot be listened on at the same time. A literal is one of IPv4 or
// of IPv6, no host and a name are both. What a name other than localhost stands for is not looked up.
func collide(x, y string) bool {
	hostX, portX, errX := net.SplitHostPort(x)
	hostY, portY, errY := net.SplitHostPort(y)
	if errX != nil || errY != nil || portX != portY || strings.Trim(portX, "0") == "" {
		return false
	}
	if strings.EqualFold(hostX, hostY) {
		return true
	}
	return meet(hosts(hostX), hosts(hostY))
}

// meet tells whether one of xs and one of ys are the same, or one is all of the other's family.
func meet(xs, ys []netip.Addr) bool {
	return slices.ContainsFunc(xs, func(x netip.Addr) bool {
		return slices.ContainsFunc(ys, func(y netip.Addr) bool {
			return x.Is4() == y.Is4() && (x == y || x.IsUnspecified() || y.IsUnspecified())
		})
	})
}

// besides notes that an address collides with one before it.
func (b *binder) besides(a, before address) {
	b.errorf(a.path, "%q: it cannot be listened on beside %s = %q", a.text, b.key(before.path), before.text)
}

// hosts are the addresses of a host, none of a name that has to be looked up.
func hosts(host string) []netip.Addr {
	switch {
	case host == "":
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case strings.EqualFold(host, "localhost"):
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	return nil
}
