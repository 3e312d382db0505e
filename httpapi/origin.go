package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"pipit/broker/clip"
)

// checkOrigin returns an error for a request that a page of another site had its reader's browser send, unless
// Options.CORSOrigins names the page's origin: the browser may reach what the page does not, and a proxy may add
// credentials. Browsers say so in Sec-Fetch-Site, at least to https and to the loopback, and name the origin, at
// least with all but GET and HEAD; other clients send neither header. A preflight asks and does nothing, so that it
// is answered as before.
func (o *Options) checkOrigin(r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin == "" && site == "" || r.Method == http.MethodOptions || slices.Contains(o.CORSOrigins, anyOrigin) {
		return nil
	}
	switch site {
	case "same-origin", "none": // "none": a person typed the URL
		return nil
	case "cross-site": // also where the origin is our own, after a redirect
		if origin == "" || !slices.Contains(o.CORSOrigins, origin) {
			return foreign("Sec-Fetch-Site", site)
		}
	default:
		if origin != "" && origin != o.Origin && !isOrigin(origin, o.Proxies.Secure(r), r.Host) && !slices.Contains(o.CORSOrigins, origin) {
			return foreign("Origin", origin)
		}
	}
	return nil
}

func foreign(header, value string) error {
	return &httpError{http.StatusForbidden, fmt.Sprintf("header %s %q: allowed are pages of this server and of the origins in http.cors_origins", header, clip.Input(value))}
}

// isOrigin tells whether an origin is that of a host, whose default port may be given.
func isOrigin(origin string, secure bool, host string) bool {
	scheme, port := "http://", ":80"
	if secure {
		scheme, port = "https://", ":443"
	}
	rest, ok := strings.CutPrefix(origin, scheme)
	return ok && strings.EqualFold(rest, strings.TrimSuffix(host, port))
}
