package acceptance

import (
	"context"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker/login"
	"pipit/httpapi/forwarded"
)

// from is a request that comes from an address, with headers.
func from(addr string, headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "http://pipit.test/admin/", nil)
	r.RemoteAddr = addr + ":4711"
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestBases(t *testing.T) {
	proxies, err := forwarded.Parse([]string{"10.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	type bases struct{ admin, wire string }
	direct, proxied := from("192.0.2.1", "X-Forwarded-Proto", "https"), from("10.0.0.1", "X-Forwarded-Proto", "https")
	for _, tt := range []struct {
		name    string
		options admin.Options
		r       *http.Request
		want    bases
		secure  bool
	}{
		{"as it came", admin.Options{}, direct, bases{"http://pipit.test", "http://pipit.test"}, false},
		{"trusted proxy", admin.Options{}, proxied, bases{"https://pipit.test", "https://pipit.test"}, true},
		{"prefix", admin.Options{PathPrefix: "/pipit"}, direct, bases{"http://pipit.test/pipit", "http://pipit.test"}, false},
		{"public URL", admin.Options{PublicURL: "https://mq.example.com:8443/x/"}, direct, bases{"https://mq.example.com:8443", "https://mq.example.com:8443/x"}, true},
		{"at the public URL", admin.Options{PublicURL: "https://pipit.test"}, direct, bases{"https://pipit.test", "https://pipit.test"}, true},
		{"origin", admin.Options{Origin: "https://admin.example.com"}, direct, bases{"https://admin.example.com", "https://admin.example.com"}, true},
		{"both", admin.Options{Origin: "https://admin.example.com", PublicURL: "http://mq.example.com"}, direct, bases{"https://admin.example.com", "http://mq.example.com"}, true},
		{"listeners of its own", admin.Options{Wire: "http://127.0.0.1:11223"}, direct, bases{"http://pipit.test", "http://127.0.0.1:11223"}, false},
		{"these on all addresses", admin.Options{Wire: "http://:11223"}, direct, bases{"http://pipit.test", "http://pipit.test:11223"}, false},
		{"public URL in the clear, trusted proxy", admin.Options{PublicURL: "http://mq.example.com"}, proxied, bases{"http://mq.example.com", "http://mq.example.com"}, true},
		{"the public URL is not theirs", admin.Options{Wire: "http://:11223", PublicURL: "https://mq.example.com"}, direct, bases{"http://pipit.test", "https://mq.example.com"}, false},
	} {
		tt.options.Proxies = proxies
		reach := reachOf(t, tt.options)
		admin, wire := reach.Bases(tt.r)
		if got := (bases{admin, wire}); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
		if got := reach.Secure(tt.r); got != tt.secure {
			t.Errorf("%s: secure %v", tt.name, got)
		}
	}
	old := from("192.0.2.1")
	old.Host = "" // of HTTP/1.0
	if got, _ := reachOf(t, admin.Options{Addresses: []string{"http://127.0.0.1:1"}}).Bases(old); got != "http://127.0.0.1:1" {
		t.Error(got)
	}
}

// reachOf is how an Admin with these options is reached.
func reachOf(t *testing.T, options admin.Options) *gate.Reach {
	t.Helper()
	r := newAuthRig(t, false, func(o *admin.Options) {
		options.Logger = o.Logger
		*o = options
	})
	defer r.close()
	return r.a.API.Reach
}

func TestSetupLinks(t *testing.T) {
	for _, tt := range []struct {
		options admin.Options
		want    []string
	}{
		{admin.Options{Addresses: []string{"http://127.0.0.1:1", "http://192.0.2.1:1"}}, []string{"http://127.0.0.1:1/admin/setup", "http://192.0.2.1:1/admin/setup"}},
		{admin.Options{Addresses: []string{"http://127.0.0.1:1"}, PathPrefix: "/pipit"}, []string{"http://127.0.0.1:1/pipit/admin/setup"}},
		{admin.Options{Addresses: []string{"http://127.0.0.1:1", "http://192.0.2.1:1"}, PublicURL: "https://mq.example.com/x", PathPrefix: "/pipit"}, []string{"https://mq.example.com/pipit/admin/setup"}},
		{admin.Options{Addresses: []string{"http://127.0.0.1:1"}, Origin: "https://admin.example.com"}, []string{"https://admin.example.com/admin/setup"}},
	} {
		r := newAuthRig(t, true, func(o *admin.Options) {
			tt.options.Logger = o.Logger
			*o = tt.options
		})
		var got []string
		for _, link := range r.a.SetupURLs() {
			path, key, _ := strings.Cut(link, "?key=")
			if len(key) != 43 {
				t.Error(link)
			}
			got = append(got, path)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
		r.close()
	}
}

// What proxies say of a client counts for the throttle, the log, the audit log and the cookie, where they
// are trusted, and else for nothing.
func TestForwarded(t *testing.T) {
	proxies, err := forwarded.Parse([]string{"10.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	r := newAuthRig(t, true, func(o *admin.Options) { o.Proxies = proxies })
	r.account()
	through := func(client string) []tweak {
		return []tweak{withHeader("X-Forwarded-For", client), withHeader("X-Forwarded-Proto", "https")}
	}
	r.addr = "10.0.0.1"
	a := r.login(authName, authPassword, through("203.0.113.7")...)
	r.want(a, http.StatusSeeOther)
	if a.cookie == nil || a.cookie.Name != "__Host-pipit_session" || !a.cookie.Secure {
		t.Errorf("%+v", a.cookie)
	}
	if s := r.a.Users.Sessions(access.Caller{}); len(s) != 1 || s[0].Addr != "203.0.113.7" {
		t.Errorf("%+v", s)
	}
	if !strings.Contains(r.logs.String(), `"remote":"203.0.113.7"`) {
		t.Error("not in the log:", r.logs)
	}
	for range login.MaxFailures {
		r.want(r.login(authName, "wrong horse", through("203.0.113.8")...), http.StatusUnauthorized)
	}
	r.want(r.login(authName, authPassword, through("203.0.113.8")...), http.StatusTooManyRequests)
	r.want(r.login(authName, authPassword, through("203.0.113.9")...), http.StatusSeeOther)

	r.addr = "192.0.2.1" // anybody
	if a = r.login(authName, authPassword, through("203.0.113.8")...); a.cookie == nil || a.cookie.Secure {
		t.Errorf("%+v", a)
	}
	for i := range login.MaxFailures {
		r.want(r.login(authName, "wrong horse", through(fmt.Sprint("203.0.113.", 10+i))...), http.StatusUnauthorized)
	}
	r.want(r.login(authName, authPassword, through("203.0.113.99")...), http.StatusTooManyRequests)
	if s := r.a.Users.Sessions(access.Caller{}); !slices.ContainsFunc(s, func(s access.Session) bool { return s.Addr == "192.0.2.1" }) {
		t.Errorf("%+v", s)
	}
}

// By a name that is not this server's, nobody comes in on the loopback: not for a page, the API or a token, and not
// before the set-up.
func TestHosts(t *testing.T) {
	r := newAuthRig(t, false, func(o *admin.Options) {
		o.Hosts, o.Origin, o.PublicURL = []string{"machine", "alias.example.com"}, "https://admin.example.com", "https://MQ.example.com:8443/x"
		o.HasName = func(name string) bool { return name == "cert.example.com" }
	})
	host := func(h string) tweak { return func(r *http.Request) { r.Host = h } }
	_, port, _ := strings.Cut(strings.TrimPrefix(r.server.URL, "http://"), ":")
	check := func(path string, taken int, change ...tweak) {
		t.Helper()
		for _, h := range []string{"127.0.0.1", "127.0.0.1:" + port, "[::1]:1", "[fe80::1%25eth0]", "10.1.2.3", "localhost", "LOCALHOST:80", "localhost.", "pipit.localhost",
			"machine", "Machine:443", "alias.example.com", "admin.example.com", "mq.example.com", "mq.example.com:1", "cert.example.com", ""} {
			if a := r.call("GET", path, "", append(change, host(h))...); a.status != taken {
				t.Errorf("%s of %q: %d %.300s", path, h, a.status, a.body)
			}
		}
		for _, h := range []string{"evil.example", "evil.example:" + port, "127.0.0.1.evil.example", "localhost.evil.example", "x.machine", "machine.evil.example", "2130706433", "0x7f.1"} {
			a := r.call("GET", path, "", append(change, host(h), withHeader("X-Forwarded-Host", "localhost"))...)
			if a.status != http.StatusMisdirectedRequest || !strings.Contains(a.body, "http.hosts") || !strings.Contains(a.body, "http.public_url") {
				t.Errorf("%s of %q: %d %.300s", path, h, a.status, a.body)
			}
		}
	}
	check(gate.V1+"/topics", http.StatusForbidden) // not set up
	r.account()
	check("/admin/login", http.StatusOK)
	token := r.newToken(r.signedIn(), "script", gate.ScopeRead, "")
	check(gate.V1+"/topics", http.StatusOK, withToken(token.Token))
	r.wantProblem(r.call("GET", gate.V1+"/topics", "", host("evil.example")), http.StatusMisdirectedRequest, "misdirected")

	// Other addresses of this machine are reached by any name.
	for addr, status := range map[string]int{"192.0.2.1": 200, "::1": 421, "127.0.0.2": 421, "::ffff:127.0.0.1": 421} {
		req := from("192.0.2.7")
		req.URL.Path, req.Host = "/admin/login", "evil.example"
		w := httptest.NewRecorder()
		r.a.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(addr)})))
		if w.Code != status {
			t.Errorf("at %s: %d", addr, w.Code)
		}
	}
}

// Whoever came through TLS is to come so again: where a trusted proxy or the configuration says so.
func TestStrictTransport(t *testing.T) {
	proxies, err := forwarded.Parse([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		options admin.Options
		host    string
		proto   string
		strict  bool
	}{
		{"in the clear", admin.Options{}, "", "", false},
		{"any proxy", admin.Options{}, "", "https", false},
		{"trusted proxy", admin.Options{Proxies: proxies}, "", "https", true},
		{"trusted proxy, in the clear", admin.Options{Proxies: proxies}, "", "http", false},
		{"public URL", admin.Options{PublicURL: "https://mq.example.com"}, "", "", true},
		{"public URL in the clear", admin.Options{PublicURL: "http://mq.example.com"}, "", "", false},
		{"public URL of other listeners", admin.Options{Wire: "http://127.0.0.1:1", PublicURL: "https://mq.example.com"}, "", "", false},
		{"origin", admin.Options{Origin: "https://admin.example.com"}, "", "", true},
		{"localhost", admin.Options{Proxies: proxies}, "localhost", "https", false},
	} {
		r := newAuthRig(t, false, func(o *admin.Options) {
			tt.options.Logger = o.Logger
			*o = tt.options
		})
		r.account()
		change := []tweak{withHeader("X-Forwarded-Proto", tt.proto), func(r *http.Request) { r.Host = tt.host }}
		secure := tt.strict || tt.host != ""
		if c := r.login(authName, authPassword, change...).cookie; c == nil || c.Secure != secure || (c.Name == "__Host-pipit_session") != secure {
			t.Errorf("%s: %+v", tt.name, c)
		}
		want := ""
		if tt.strict {
			want = "max-age=2592000"
		}
		for _, path := range []string{"/admin/login", gate.V1 + "/topics", "/admin/nothing"} {
			if got := r.call("GET", path, "", change...).header.Get("Strict-Transport-Security"); got != want {
				t.Errorf("%s: %s: %q", tt.name, path, got)
			}
		}
		r.close()
	}
}

func TestOrigin(t *testing.T) {
	r := newAuthRig(t, false, func(o *admin.Options) { o.Origin = "http://admin.example.com" })
	r.account()
	c := r.signedIn()
	for origin, status := range map[string]int{"http://admin.example.com": 201, "https://admin.example.com": 403, "http://evil.example": 403} {
		a := r.call("POST", gate.V1+"/topics", `{"name": "/of/`+origin[len(origin)-3:]+`"}`, withCookie(c), withHeader("Origin", origin))
		if a.status != status {
			t.Errorf("%s: %d %s", origin, a.status, a.body)
		}
	}
	if _, err := admin.New(r.b, admin.Options{Origin: "admin.example.com"}); err == nil {
		t.Error("an origin without a scheme is taken")
	}
}

// Every path that the pages name has the prefix, whether the proxy leaves it in or cuts it off.
func TestPathPrefix(t *testing.T) {
	const prefix = "/pipit"
	r := newAuthRig(t, false, func(o *admin.Options) { o.PathPrefix = prefix })
	r.account()
	a := r.call("GET", prefix+"/admin/topics?search=x", "", asBrowser)
	if to := a.header.Get("Location"); to != prefix+"/admin/login?next=%2Fadmin%2Ftopics%3Fsearch%3Dx" {
		t.Error(to)
	}
	for _, path := range []string{prefix, prefix + "/", prefix + "/admin", "/admin"} {
		if to := r.call("GET", path, "", asBrowser).header.Get("Location"); to != prefix+"/admin/" {
			t.Error(path, "leads to", to)
		}
	}
	r.want(r.call("GET", "/pipit-other/admin/login", "", asBrowser), http.StatusNotFound)
	c := r.signedIn()
	if c.Path != prefix+"/admin/" {
		t.Error(c.Path)
	}
	made := r.call("POST", prefix+gate.V1+"/topics", `{"name": "/a b"}`, withCookie(c))
	if to := made.header.Get("Location"); made.status != 201 || to != prefix+gate.V1+"/topics/%2Fa%20b" {
		t.Error(made.status, to)
	}
	r.want(r.call("GET", made.header.Get("Location"), "", withCookie(c)), 200)
	r.want(r.call("POST", gate.V1+"/clients", `{"username": "crm", "password": "crm"}`, withCookie(c)), 201)
	r.want(r.call("POST", gate.V1+"/producers", `{"client": "crm", "topic": "/a b"}`, withCookie(c)), 201)
	r.want(r.call("POST", gate.V1+"/consumers", `{"client": "crm", "topic": "/a b"}`, withCookie(c)), 201)

	// A walk over all pages.
	link := regexp.MustCompile(`(?:href|src|action|data-[a-z]+)="([/?][^"]*)"`)
	seen := map[string]bool{}
	for next := []string{prefix + "/admin/"}; len(next) > 0 && len(seen) < 500; next = next[1:] {
		path, _, _ := strings.Cut(next[0], "#")
		if seen[path] {
			continue
		}
		seen[path] = true
		page := r.call("GET", path, "", withCookie(c), asBrowser)
		if page.status != 200 && page.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d %s", path, page.status, page.header)
		}
		if !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(page.body, -1) {
			to := html.UnescapeString(m[1])
			switch {
			case to[0] == '?':
			case !strings.HasPrefix(to, prefix+"/admin/"):
				t.Errorf("%s has %s", path, m[0])
			case strings.HasPrefix(to, prefix+"/admin/live"), strings.HasPrefix(to, prefix+"/admin/history"): // for scripts
			default:
				next = append(next, to)
			}
		}
	}
	if len(seen) < 30 {
		t.Errorf("%d pages", len(seen))
	}
	if n := r.a.Monitor.Situation(0).Attention; slices.ContainsFunc(n, func(x monitor.Attention) bool { return !strings.HasPrefix(x.Link, prefix) }) {
		t.Error(n)
	}
}
