package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipit/httpapi/serve/servetest"
)

// fetch answers "200 " and the body, or "303 " and where to.
func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := client.Transport.RoundTrip(httptest.NewRequest("GET", url, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status[:4] + resp.Header.Get("Location") + string(body)
}

const noRoute = `404 {"status": "ZATO_ERROR", "details": "No such route"}`

// The first start prints a link that works, once; the next one another.
func TestSetupLink(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"PIPIT_LOG_ACCESS=true"}, anyPort...)
	p := start(t, dir, env, "-config", example(t))
	link := p.line(t, `^pipit: There is no administrator yet: .* (http://127\.0\.0\.1:\d+/admin/setup\?key=(\S+))$`)
	if !strings.HasPrefix(link[1], "http://"+p.addrs[0]+"/") && !strings.HasPrefix(link[1], "http://"+p.addrs[1]+"/") {
		t.Error(link[1], p.addrs)
	}
	if a := fetch(t, "http://"+p.addrs[1]+"/admin/"); !strings.HasPrefix(a, "404 ") || !strings.Contains(a, "not set up") {
		t.Error(a)
	}
	if a := fetch(t, link[1]); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, link[2]) != 1 || strings.Count(log, "/admin/setup") < 2 {
		t.Error("the key is in the log, or the request is not:", log)
	}

	p = start(t, dir, env, "-config", example(t))
	second := p.line(t, `There is no administrator yet: .* (http://\S+/admin/setup)\?key=(\S+)$`)
	if second[2] == link[2] {
		t.Error("the key is the same")
	}
	if a := fetch(t, second[1]+"?key="+link[2]); !strings.HasPrefix(a, "404 ") {
		t.Error("the first link still works")
	}
	resp, err := client.Transport.RoundTrip(form(t, second[1], url.Values{"key": {second[2]}, "name": {"ann"}, "password": {"correct horse"}}))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/admin/" {
		t.Error(resp.Status, resp.Header)
	}
	cookie := resp.Header.Get("Set-Cookie")
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "correct") {
		t.Error(code, log)
	}

	p = start(t, dir, env, "-config", example(t))
	req := httptest.NewRequest("GET", "http://"+p.addrs[0]+"/admin/", nil)
	req.Header.Set("Cookie", cookie[:strings.Index(cookie, ";")])
	if resp, err = client.Transport.RoundTrip(req); err != nil || resp.StatusCode != http.StatusOK {
		t.Error("not signed in after a restart", err, resp.Status)
	}
	resp.Body.Close()
	if a := fetch(t, "http://"+p.addrs[0]+"/admin"); a[:4] != "303 " || !strings.Contains(a, "/admin/") {
		t.Error(a)
	}
	if a := fetch(t, "http://"+p.addrs[0]+"//admin/"); a != noRoute {
		t.Error("a path was cleaned:", a)
	}
	if a := fetch(t, "http://"+p.addrs[0]+"/administrator"); a != noRoute {
		t.Error(a)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "There is no administrator yet") {
		t.Error(log)
	}
}

func form(t *testing.T, to string, values url.Values) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", to, strings.NewReader(values.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

func TestAdminDisabled(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_ENABLED=false"}, anyPort...), "-config", example(t))
	for _, path := range []string{"/admin", "/admin/", "/admin/setup", "/admin/api/v1/topics"} {
		if a := fetch(t, "http://"+p.addrs[0]+path); a != noRoute {
			t.Error(path, a)
		}
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "administrator") {
		t.Error(log)
	}
}

// The pages are below a prefix too, and what they say is where they were reached.
func TestAdminPathPrefix(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_PATH_PREFIX=/pipit", "PIPIT_HTTP_PUBLIC_URL=http://mq.example.com/mq"}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* http://mq\.example\.com(/pipit/admin/setup\?key=\S+)$`)
	base := "http://" + p.addrs[0]
	for _, path := range []string{link[1], strings.TrimPrefix(link[1], "/pipit")} {
		if a := fetch(t, base+path); !strings.HasPrefix(a, "200 ") || !strings.Contains(a, `action="/pipit/admin/setup"`) {
			t.Error(path, a)
		}
	}
	for _, path := range []string{"/pipit", "/pipit/", "/pipit/admin", "/pipit/admin/topics", "/admin/topics"} {
		if a := fetch(t, base+path); !strings.Contains(a, "Pipit is not set up") {
			t.Error(path, a)
		}
	}
	for _, path := range []string{"/pipit/zato/ping", "/pipitadmin", "/pipit/administrator"} {
		if a := fetch(t, base+path); a != noRoute {
			t.Error(path, a)
		}
	}
	p.stop(t, syscall.SIGTERM)
}

// With listeners of its own, admin is there alone, and nothing else is.
func TestAdminListen(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* (http://(\S+)/admin/setup\?key=\S+)$`)
	for _, addr := range p.addrs {
		if a := fetch(t, "http://"+addr+"/admin/"); a != noRoute || addr == link[2] {
			t.Error(addr, a)
		}
	}
	if a := fetch(t, link[1]); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	for _, path := range []string{"/zato/ping", "/health", "/zato/pubsub/topic//customer/created/"} {
		if a := fetch(t, "http://"+link[2]+path); !strings.HasPrefix(a, "404 ") || strings.Contains(a, "ZATO") {
			t.Error(path, a)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := fetch(t, "http://"+link[2]+path); !strings.HasPrefix(a, "200 ") {
			t.Error(path, a)
		}
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, "listening for administrators") {
		t.Error(code, log)
	}
	if line := refuse(t, t.TempDir(), append([]string{"PIPIT_ADMIN_LISTEN=192.0.2.1:1"}, anyPort...)); !strings.Contains(line, `admin.listen "192.0.2.1:1"`) {
		t.Error(line)
	}
}

// A page whose name stands for this machine, as its owner can have it (DNS rebinding), does not get to admin, and what
// it has a browser publish is told by its headers.
func TestHosts(t *testing.T) {
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	servetest.Certificate(t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), 1)
	p := start(t, dir, append([]string{"PIPIT_HTTP_HOSTS=Alias.example.com,b.example.com", "PIPIT_HTTP_PUBLIC_URL=https://mq.example.com", "PIPIT_ADMIN_LISTEN=127.0.0.1:0",
		"PIPIT_HTTP_TLS_CERT=cert.pem", "PIPIT_HTTP_TLS_KEY=key.pem"}, anyPort...), "-config", example(t))
	own := p.line(t, `"msg":"listening for administrators","addr":"([^"]*)"`)[1]
	insecure := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	ask := func(method, addr, path, host, origin string) int {
		t.Helper()
		req, err := http.NewRequest(method, "https://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		if origin != "" {
			req.Header.Set("Origin", origin)
		}
		req.SetBasicAuth("crm", "crm")
		resp, err := insecure.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for host, status := range map[string]int{machine: 404, own: 404, "localhost": 404, "alias.example.com": 404, "b.example.com:1": 404, "mq.example.com": 404,
		"pipit.example.com": 404, "evil.example": 421, "x.pipit.example.com": 421} { // 404: not set up
		if got := ask("GET", own, "/admin/", host, ""); got != status {
			t.Errorf("admin of %q: %d, want %d", host, got, status)
		}
	}
	const topic = "/zato/pubsub/topic//customer/created/"
	for origin, status := range map[string]int{"": 200, "https://evil.example": 200, "https://mq.example.com": 200, "http://evil.example": 403, "https://b.example.com": 403} {
		if got := ask("POST", p.addrs[0], topic, "evil.example", origin); got != status {
			t.Errorf("publish by any name, from a page of %q: %d, want %d", origin, got, status)
		}
	}
}
