package httpapi_test

import (
	"strings"
	"testing"

	"pipit/httpapi"
)

const app = "https://app.example.com"

func allowed(origins ...string) func(*setup) {
	return func(s *setup) { s.api.CORSOrigins = origins }
}

func TestPreflight(t *testing.T) {
	for _, c := range []struct {
		origins       []string
		origin, allow string
	}{{[]string{"http://localhost:3000", app}, app, app}, {[]string{"*"}, app, "*"}} {
		r := newServer(t, allowed(c.origins...))
		for _, path := range []string{created, queue, "/zato/pubsub/ack/", "/zato/ping"} {
			method := "POST"
			if path == "/zato/ping" {
				method = "GET"
			}
			a := r.do("OPTIONS", path, "", "", "Origin", c.origin, "Access-Control-Request-Method", method,
				"Access-Control-Request-Headers", "authorization,content-type, X-Zato-PubSub-Key,last-event-id,x-zato-pubsub-attr-a.b,x-zato-pubsub-attr-ż,x-other,ce-id,ce-source,ce-x*,traceparent,tracestate")
			if a.status != 204 || a.body != "" {
				t.Fatalf("%d %s", a.status, a.body)
			}
			for name, want := range map[string]string{
				"Access-Control-Allow-Origin":  c.allow,
				"Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
				"Access-Control-Allow-Headers": "authorization, content-type, x-zato-pubsub-key, last-event-id, x-zato-pubsub-attr-a.b, ce-id, ce-source, traceparent, tracestate",
				"Access-Control-Max-Age":       "600",
			} {
				if got := a.header.Get(name); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if got := a.header.Get("Vary"); (got == "Origin") != (c.allow != "*") {
				t.Errorf("Vary %q", got)
			}
		}
		// No route, and a method that a route does not have.
		r.refuse(404, "No such route", "OPTIONS", "/no/such", "", "", "Origin", c.origin, "Access-Control-Request-Method", "POST")
		if a := r.do("OPTIONS", created, "", "", "Origin", c.origin, "Access-Control-Request-Method", "PUT"); a.status != 405 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
}

// TestCORS: a page sees what it published, received or was refused.
func TestCORS(t *testing.T) {
	r := newServer(t, allowed(app))
	seen := func(a reply) {
		t.Helper()
		if a.header.Get("Access-Control-Allow-Origin") != app || a.header.Get("Vary") != "Origin" || a.header.Get("Access-Control-Allow-Credentials") != "" ||
			a.header.Get("Access-Control-Expose-Headers") != "X-Zato-CID, X-Zato-Duplicate, Retry-After" {
			t.Errorf("%d %v", a.status, a.header)
		}
	}
	seen(r.do("POST", created, crm, "x", "Origin", app))
	seen(r.do("POST", queue, erp, "", "Origin", app, "X-Zato-PubSub-Key", key))
	seen(r.do("POST", created, "", "x", "Origin", app))
	seen(r.do("POST", created+"?priority=10", crm, "x", "Origin", app))
	// Another origin, the null of a page without one, and none.
	for _, origin := range []string{"https://evil.example.com", app + ".evil.com", "null", ""} {
		header, status := []string{"Origin", origin}, 403
		if origin == "" {
			header, status = nil, 200
		}
		a := r.do("POST", created, crm, "x", header...)
		if a.status != status || a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "Origin" {
			t.Errorf("%q: %d %v", origin, a.status, a.header)
		}
		if a := r.do("OPTIONS", created, "", "", append(header, "Access-Control-Request-Method", "POST")...); a.status != 405 || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%q: %d %v", origin, a.status, a.header)
		}
	}
	// None by default.
	r = newServer(t)
	if a := r.do("OPTIONS", created, "", "", "Origin", app, "Access-Control-Request-Method", "POST"); a.status != 405 || a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Vary") != "" {
		t.Errorf("%d %v", a.status, a.header)
	}
}

func TestCheckOrigin(t *testing.T) {
	for _, s := range []string{"*", app, "http://localhost:3000", "http://[::1]:80"} {
		if err := httpapi.CheckOrigin(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"", "app.example.com", app + "/", "https://App.example.com", "https://*.example.com", "null", "ftp://x", "https://u@x", "https://x?y"} {
		if err := httpapi.CheckOrigin(s); err == nil || !strings.Contains(err.Error(), "allowed are") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
