package httpapi

import (
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
)

// What a page of an allowed origin may send and see (https://fetch.spec.whatwg.org/#http-cors-protocol).
// Credentials are a header that the page itself sets, never a browser's own: no answer allows those.
const (
	corsMethods = "GET, HEAD, POST, DELETE"
	corsExpose  = "X-Zato-CID, X-Zato-Duplicate, Retry-After"
	corsMaxAge  = "600" // seconds that a browser remembers a preflight
)

// corsHeaders are the request headers that are allowed, beside those of attributes, in lower case.
var corsHeaders = []string{"authorization", "content-type", "content-encoding", "last-event-id", "x-zato-pubsub-key", "traceparent", "tracestate"}

// corsPrefixes are what headers begin with that are attributes.
var corsPrefixes = []string{"x-zato-pubsub-attr-", "ce-"}

// anyOrigin is the entry that allows every origin.
const anyOrigin = "*"

// CheckOrigin tells whether s can be an entry of Options.CORSOrigins.
func CheckOrigin(s string) error {
	u, err := url.Parse(s)
	if s != anyOrigin && (err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Contains(u.Host, "*") || s != u.Scheme+"://"+strings.ToLower(u.Host)) {
		return broker.Invalidf(`%q: allowed are "*" and scheme://host or scheme://host:port, in lower case and with nothing behind`, clip.Input(s))
	}
	return nil
}

// cors marks the reply to a page of an allowed origin as one that it may see, and answers a preflight,
// which it tells.
func (s *server) cors(x *call, r *http.Request) (answered bool) {
	h := x.Header()
	origins := s.opts.Load().CORSOrigins
	all := slices.Contains(origins, anyOrigin)
	if !all {
		h.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" || !all && !slices.Contains(origins, origin) {
		return false
	}
	if all {
		origin = anyOrigin
	}
	h.Set("Access-Control-Allow-Origin", origin)
	method := r.Header.Get("Access-Control-Request-Method")
	if r.Method != http.MethodOptions || method == "" {
		h.Set("Access-Control-Expose-Headers", corsExpose)
		return false
	}
	if route, _, _ := s.router.Lookup(method, r.URL.Path); route == nil {
		return false // the error says why
	}
	h.Set("Access-Control-Allow-Methods", corsMethods)
	if allowed := allowedHeaders(r.Header["Access-Control-Request-Headers"]); allowed != "" {
		h.Set("Access-Control-Allow-Headers", allowed)
	}
	h.Set("Access-Control-Max-Age", corsMaxAge)
	x.WriteHeader(http.StatusNoContent)
	return true
}

// allowedHeaders returns those of a preflight's headers that are allowed.
func allowedHeaders(asked []string) string {
	var allowed []string
	for _, list := range asked {
		for name := range strings.SplitSeq(list, ",") {
			name = strings.ToLower(textproto.TrimString(name))
			if slices.Contains(corsHeaders, name) || isAttribute(name) && !strings.ContainsFunc(name, notToken) {
				allowed = append(allowed, name)
			}
		}
	}
	return strings.Join(allowed, ", ")
}

func isAttribute(header string) bool {
	return slices.ContainsFunc(corsPrefixes, func(prefix string) bool { return strings.HasPrefix(header, prefix) })
}

func notToken(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
}
