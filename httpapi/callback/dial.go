package callback

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"time"

	"pipit/broker/limit"
)

// Bounds of connections.
const (
	dialTime = 10 * time.Second // to be connected, and for the handshake of TLS
	idleTime = 30 * time.Second // until a connection is closed that nobody needs
	maxIdle  = 256              // connections of all endpoints that are idle
	maxHead  = 64 << 10         // bytes of the headers of an answer
)

// refused are networks that nobody has a receiver in: of this link, where clouds keep what their machines may do, of
// nobody, and of many at once.
var refused = prefixes(
	"0.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32", "224.0.0.0/4", "240.0.0.0/4",
	"::/128", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128", "ff00::/8",
)

// Networks of IPv6 whose addresses are reached as the IPv4 address that they hold, and where in them that begins.
var carriers = []struct {
	netip.Prefix
	at int
}{
	{netip.MustParsePrefix("::/96"), 12},
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

// ParseDeny reads networks and addresses that are not to be called. The error names the first that is none.
func ParseDeny(texts []string) (deny []netip.Prefix, err error) {
	for _, s := range texts {
		p, err := netip.ParsePrefix(s)
		if addr, bad := netip.ParseAddr(s); bad == nil && addr.Zone() == "" {
			p, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf(`%q: allowed are IP addresses and networks such as "10.0.0.0/8"`, s)
		}
		deny = append(deny, p.Masked())
	}
	return deny, nil
}

// check returns why an address is not called, nil where it is.
func check(addr netip.Addr, deny []netip.Prefix) error {
	addr = addr.Unmap().WithZone("")
	for _, p := range refused {
		if p.Contains(addr) {
			return fmt.Errorf("the address %s is not called: it is link-local, of metadata, multicast or of nobody", addr)
		}
	}
	for _, p := range deny {
		if p.Contains(addr) {
			return fmt.Errorf("the address %s is not called: callbacks.deny has %s", addr, p)
		}
	}
	for _, c := range carriers {
		if b := addr.As16(); addr.Is6() && c.Contains(addr) && addr != netip.IPv6Loopback() {
			return check(netip.AddrFrom4([4]byte(b[c.at:c.at+4])), deny)
		}
	}
	return nil
}

// transport makes what calls go through. Addresses are checked when they are connected to, so that it does not matter
// what a name resolved to before.
func (o *Options) transport() (*http.Transport, error) {
	deny, err := ParseDeny(o.Deny)
	if err != nil {
		return nil, fmt.Errorf("callbacks.deny %w", err)
	}
	t := &http.Transport{
		DialContext: o.dialer(deny).DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: dialTime,
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: limit.MaxCallbackConcurrency, IdleConnTimeout: idleTime,
		MaxResponseHeaderBytes: maxHead, DisableCompression: true,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if o.Proxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	if t.TLSClientConfig.RootCAs, err = o.Roots(); err != nil {
		return nil, err
	}
	return t, nil
}

// dialer connects to what is called, and to nothing that is refused.
func (o *Options) dialer(deny []netip.Prefix) *net.Dialer {
	return &net.Dialer{
		Timeout: dialTime, Resolver: o.resolver,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			return check(to.Addr(), deny)
		},
	}
}

// Dialer connects to what an administrator has configured: to all but those networks that nobody has a receiver in.
func Dialer() *net.Dialer { return new(Options).dialer(nil) }

// Roots are the authorities of CA, nil where those of the system count.
func (o *Options) Roots() (*x509.CertPool, error) {
	if o.CA == "" {
		return nil, nil
	}
	roots, err := readCA(o.CA)
	if err != nil {
		return nil, fmt.Errorf("callbacks.ca %w", err)
	}
	return roots, nil
}

// CheckCA tells why a file is of no use as Options.CA, nil where it is or has no name.
func CheckCA(file string) error {
	if file == "" {
		return nil
	}
	_, err := readCA(file)
	return err
}

// readCA reads the certificates of a PEM file.
func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file) // #nosec G304 -- whoever configures the program names it
	if err != nil {
		return nil, fmt.Errorf("%q: %w", file, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%q: no certificate of PEM is in it", file)
	}
	return pool, nil
}
