// Package forwarded tells whom a request comes from and how, where proxies stand in between.
//
// A proxy says so in X-Forwarded-For and X-Forwarded-Proto, and so can anybody else: the headers count
// where the connection comes from a proxy that is trusted, and from nobody else.
package forwarded

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the networks of the proxies that are trusted; none, where it is empty.
type Proxies []netip.Prefix

// Parse reads networks such as 10.0.0.0/8 and 2001:db8::/32, and single addresses.
func Parse(networks []string) (Proxies, error) {
	var p Proxies
	for _, s := range networks {
		network, err := netip.ParsePrefix(s)
		if addr, aerr := netip.ParseAddr(s); aerr == nil && addr.Zone() == "" {
			network, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil || network.Addr().Is4In6() {
			return nil, fmt.Errorf(`%q: allowed is an IP address or a network such as "10.0.0.0/8"`, s)
		}
		p = append(p, network)
	}
	return p, nil
}

// Remote is the address that a request comes from: its RemoteAddr, with the port; or, through trusted
// proxies, the nearest IP address that they passed it on for and that is no trusted proxy itself. What
// is further away, anybody could have written.
func (p Proxies) Remote(r *http.Request) string {
	addr := r.RemoteAddr
	if len(p) == 0 || !p.Trust(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, ok := parseHop(hops[i])
		if !ok {
			break // from there on it is anybody's guess
		}
		addr = hop.String()
		if !p.contain(hop) {
			break
		}
	}
	return addr
}

// Secure tells whether a request left its client through TLS.
func (p Proxies) Secure(r *http.Request) bool {
	if len(p) > 0 && p.Trust(r.RemoteAddr) {
		scheme, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
		switch strings.ToLower(strings.TrimSpace(scheme)) {
		case "https":
			return true
		case "http":
			return false
		}
	}
	return r.TLS != nil
}

// Trust tells whether a RemoteAddr is that of a trusted proxy.
func (p Proxies) Trust(addr string) bool {
	ip, err := netip.ParseAddr(Host(addr))
	return err == nil && p.contain(ip.Unmap().WithZone(""))
}

func (p Proxies) contain(ip netip.Addr) bool {
	for _, network := range p {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// parseHop reads an element of X-Forwarded-For, to which some proxies add the port.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		var withPort netip.AddrPort
		if withPort, err = netip.ParseAddrPort(s); err == nil {
			ip = withPort.Addr()
		}
	}
	return ip.Unmap().WithZone(""), err == nil
}

// Host is an address without its port, if it has one.
func Host(addr string) string {
	if h, _, err := net.SplitHostPort(addr); err == nil {
		return h
	}
	return addr
}
