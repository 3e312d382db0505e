package admin

import (
	"net"
	"net/http"
	"net/url"
	"strings"

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

// secure tells whether a request left its browser through TLS.
func (a *Admin) secure(r *http.Request) bool {
	if strings.HasPrefix(a.o.Origin, "https:") {
		return true
	}
	if u, err := url.Parse(a.o.PublicURL); err == nil && u.Scheme == "https" && u.Host == r.Host {
		return true
	}
	return a.o.Proxies.Secure(r)
}

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
