package gate

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"pipit/broker/clip"
	"pipit/httpapi/forwarded"
)

// Reach is what is known of how this server is reached: at which addresses, by which names, through what.
//
// Inside of the server, paths are those without PathPrefix. It is taken off a request as it comes in
// (Unprefixed) and put in front of what goes out: links of pages, Location, and the paths of cookies.
type Reach struct {
	Addresses  []string // base URLs that this machine is reached by; at least one
	Wire       string   // base URL of the wire protocol, where it has listeners of its own; without a host name, that of the request
	PublicURL  string   // base URL of the wire protocol for its clients; empty: scheme and host of the request
	Origin     string   // scheme and host of the pages for browsers; empty: those of PublicURL or the request
	PathPrefix string   // in front of all paths, where a proxy has it
	Proxies    forwarded.Proxies
	Hosts      []string               // names of this machine, in lower case, beside localhost and those of Origin and PublicURL
	HasName    func(name string) bool // tells further ones; or nil
}

// Unprefixed is a request without the prefix, which proxies leave in or cut off.
func (re *Reach) Unprefixed(r *http.Request) *http.Request {
	path, ok := strings.CutPrefix(r.URL.Path, re.PathPrefix)
	if re.PathPrefix == "" || !ok || path != "" && path[0] != '/' {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = path, strings.TrimPrefix(r.URL.RawPath, re.PathPrefix)
	if path == "" {
		u.Path, u.RawPath = "/", ""
	}
	inner := *r
	inner.URL = &u
	return &inner
}

// Remote is the address that a request comes from, for logs.
func (re *Reach) Remote(r *http.Request) string { return re.Proxies.Remote(r) }

// Addr is the IP address that a request comes from.
func (re *Reach) Addr(r *http.Request) string { return forwarded.Host(re.Remote(r)) }

// CheckHost returns an error for a request that came in on the loopback by the name of another machine. So comes
// one of a page whose site has let its name stand for this machine (DNS rebinding), which to a browser is the page's
// own. It looks at Host alone, which no page can choose: nothing here goes by X-Forwarded-Host, and a proxy that
// changes Host to an address answers for the names that it takes.
func (re *Reach) CheckHost(r *http.Request) error {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() || r.Host == "" || re.hasName(HostName(r.Host)) { // no browser leaves Host out
		return nil
	}
	return Refuse(http.StatusMisdirectedRequest, "misdirected", fmt.Sprintf("Host %q: allowed on a loopback address are IP addresses, localhost, "+
		"the names of this machine and of the certificate, and those that http.public_url and http.hosts name", clip.Input(r.Host)))
}

// hasName tells whether a name is one of this server.
func (re *Reach) hasName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || IsLocalhost(name) || slices.Contains(re.Hosts, name) {
		return true
	}
	for _, base := range []string{re.Origin, re.PublicURL} {
		if u, err := url.Parse(base); err == nil && HostName(u.Host) == name {
			return true
		}
	}
	return re.HasName != nil && re.HasName(name)
}

// HostName is the name or the IP address in a Host, in lower case.
func HostName(host string) string {
	return strings.ToLower(strings.TrimSuffix((&url.URL{Host: host}).Hostname(), "."))
}

// IsLocalhost tells the names that stand for the loopback of whoever looks them up.
func IsLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// Secure tells whether a request left its browser through TLS.
func (re *Reach) Secure(r *http.Request) bool {
	if strings.HasPrefix(re.ConfiguredOrigin(), "https:") {
		return true
	}
	if u, err := url.Parse(re.PublicURL); err == nil && u.Scheme == "https" && HostName(u.Host) == HostName(r.Host) {
		return true
	}
	return re.Proxies.Secure(r)
}

// originOf is the scheme and the host that a request's browser has reached.
func (re *Reach) originOf(r *http.Request) string {
	switch {
	case re.ConfiguredOrigin() != "":
		return re.ConfiguredOrigin()
	case r.Host == "":
		return re.Addresses[0]
	case re.Secure(r):
		return "https://" + r.Host
	default:
		return "http://" + r.Host
	}
}

// ConfiguredOrigin is the scheme and the host that the configuration says; empty, where it does not.
func (re *Reach) ConfiguredOrigin() string {
	if re.Origin == "" && re.Wire == "" && re.PublicURL != "" {
		if u, err := url.Parse(re.PublicURL); err == nil {
			return u.Scheme + "://" + u.Host
		}
	}
	return re.Origin
}

// Bases returns the base URLs that a request's sender reaches the API and the wire protocol by.
func (re *Reach) Bases(r *http.Request) (admin, wire string) {
	origin := re.originOf(r)
	admin, wire = origin+re.PathPrefix, origin
	if re.Wire != "" {
		wire = re.Wire
		if u, err := url.Parse(re.Wire); err == nil && u.Hostname() == "" {
			name := (&url.URL{Host: r.Host}).Hostname()
			u.Host = net.JoinHostPort(name, u.Port())
			wire = u.String()
		}
	}
	if re.PublicURL != "" {
		wire = strings.TrimSuffix(re.PublicURL, "/")
	}
	return admin, wire
}
