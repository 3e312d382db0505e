package admin

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

// Inside of this package, paths are those without Options.PathPrefix. It is taken off a request as it
// comes in (unprefixed) and put in front of what goes out: links of pages (prefixer), Location, and the
// paths of cookies.

// unprefixed is a request without the prefix, which proxies leave in or cut off.
func (a *Admin) unprefixed(r *http.Request) *http.Request {
	path, ok := strings.CutPrefix(r.URL.Path, a.o.PathPrefix)
	if a.o.PathPrefix == "" || !ok || path != "" && path[0] != '/' {
		return r
	}
	u := *r.URL
	u.Path, u.RawPath = path, strings.TrimPrefix(r.URL.RawPath, a.o.PathPrefix)
	if path == "" {
		u.Path, u.RawPath = "/", ""
	}
	inner := *r
	inner.URL = &u
	return &inner
}

// prefixer puts a prefix in front of the paths in the attributes of a page. It needs no parser: the
// templates escape quotes in all that they show, so only they themselves can write an attribute.
func prefixer(prefix string) *strings.Replacer {
	var pairs []string
	if prefix != "" {
		for _, attr := range []string{"href", "src", "action", "data-live", "data-chart"} {
			pairs = append(pairs, " "+attr+`="`+rootPath, " "+attr+`="`+prefix+rootPath)
		}
	}
	return strings.NewReplacer(pairs...)
}

// remote is the address that a request comes from, for logs.
func (a *Admin) remote(r *http.Request) string { return a.o.Proxies.Remote(r) }

// addr is the IP address that a request comes from.
func (a *Admin) addr(r *http.Request) string { return forwarded.Host(a.remote(r)) }

// checkHost returns an error for a request that came in on the loopback by the name of another machine. So comes
// one of a page whose site has let its name stand for this machine (DNS rebinding), which to a browser is the page's
// own. It looks at Host alone, which no page can choose: nothing here goes by X-Forwarded-Host, and a proxy that
// changes Host to an address answers for the names that it takes.
func (a *Admin) checkHost(r *http.Request) error {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() || r.Host == "" || a.hasName(hostName(r.Host)) { // no browser leaves Host out
		return nil
	}
	return &httpError{http.StatusMisdirectedRequest, "misdirected", fmt.Sprintf("Host %q: allowed on a loopback address are IP addresses, localhost, "+
		"the names of this machine and of the certificate, and those that http.public_url and http.hosts name", clip.Input(r.Host))}
}

// hasName tells whether a name is one of this server.
func (a *Admin) hasName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || isLocalhost(name) || slices.Contains(a.o.Hosts, name) {
		return true
	}
	for _, base := range []string{a.o.Origin, a.o.PublicURL} {
		if u, err := url.Parse(base); err == nil && hostName(u.Host) == name {
			return true
		}
	}
	return a.o.HasName != nil && a.o.HasName(name)
}

// hostName is the name or the IP address in a Host, in lower case.
func hostName(host string) string {
	return strings.ToLower(strings.TrimSuffix((&url.URL{Host: host}).Hostname(), "."))
}

// isLocalhost tells the names that stand for the loopback of whoever looks them up.
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// secure tells whether a request left its browser through TLS.
func (a *Admin) secure(r *http.Request) bool {
	if strings.HasPrefix(a.configuredOrigin(), "https:") {
		return true
	}
	if u, err := url.Parse(a.o.PublicURL); err == nil && u.Scheme == "https" && hostName(u.Host) == hostName(r.Host) {
		return true
	}
	return a.o.Proxies.Secure(r)
}

// strictTransport has a browser come through TLS alone for 30 days since its last visit: to this host, at any port.
const strictTransport = "max-age=2592000"

// origin is the scheme and the host that a request's browser has reached.
func (a *Admin) origin(r *http.Request) string {
	switch {
	case a.configuredOrigin() != "":
		return a.configuredOrigin()
	case r.Host == "":
		return a.o.Addresses[0]
	case a.secure(r):
		return "https://" + r.Host
	default:
		return "http://" + r.Host
	}
}

// configuredOrigin is the scheme and the host that the configuration says; empty, where it does not.
func (a *Admin) configuredOrigin() string {
	if a.o.Origin == "" && a.o.Wire == "" && a.o.PublicURL != "" {
		if u, err := url.Parse(a.o.PublicURL); err == nil {
			return u.Scheme + "://" + u.Host
		}
	}
	return a.o.Origin
}

// bases are the base URLs that a request's sender reaches the API and the wire protocol by.
type bases struct{ admin, wire string }

func (a *Admin) bases(r *http.Request) bases {
	origin := a.origin(r)
	at := bases{admin: origin + a.o.PathPrefix, wire: origin}
	if a.o.Wire != "" {
		at.wire = a.o.Wire
		if u, err := url.Parse(a.o.Wire); err == nil && u.Hostname() == "" {
			name := (&url.URL{Host: r.Host}).Hostname()
			u.Host = net.JoinHostPort(name, u.Port())
			at.wire = u.String()
		}
	}
	if a.o.PublicURL != "" {
		at.wire = strings.TrimSuffix(a.o.PublicURL, "/")
	}
	return at
}
