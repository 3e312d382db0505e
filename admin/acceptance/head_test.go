package acceptance

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pipit/admin/gate"
)

// TestHead: wherever there is a GET, HEAD answers with the same status and header, at once and
// without a body.
func TestHead(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	as := withCookie(r.signedIn())
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "/1"}`, as), http.StatusCreated)
	parameter := regexp.MustCompile(`[:*][a-z]+`)
	found := 0
	for _, rt := range slices.Concat(r.a.Web.Routes(), r.a.API.Routes()) {
		if rt.Method != http.MethodGet {
			continue
		}
		path := parameter.ReplaceAllString(rt.Path, "%2F1")
		head := r.call("HEAD", path, "", as)
		if head.body != "" {
			t.Errorf("HEAD %s: a body", path)
		}
		if rt.Path == "/admin/live" { // a GET of it lasts
			if head.status != http.StatusOK || head.header.Get("Content-Type") != "text/event-stream" {
				t.Errorf("HEAD %s: %d %v", path, head.status, head.header)
			}
			continue
		}
		get := r.call("GET", path, "", as)
		if head.status != get.status || head.header.Get("Content-Type") != get.header.Get("Content-Type") || head.header.Get("Location") != get.header.Get("Location") ||
			head.header.Get("ETag") != get.header.Get("ETag") {
			t.Errorf("%s: HEAD %d %v, GET %d %v", path, head.status, head.header, get.status, get.header)
		}
		if get.status == http.StatusOK {
			found++
		}
		not := r.call("PUT", path, "", as)
		if allow := not.header.Get("Allow"); not.status != http.StatusMethodNotAllowed || !strings.Contains(allow, "GET, HEAD") {
			t.Errorf("PUT %s: %d, Allow %q", path, not.status, allow)
		}
	}
	if found < 20 {
		t.Errorf("%d routes have something", found)
	}
	r.want(r.call("HEAD", gate.V1+"/topics", ""), http.StatusUnauthorized)
	tag := r.call("HEAD", gate.V1+"/topics/%2F1", "", as).header.Get("ETag")
	r.want(r.call("HEAD", gate.V1+"/topics/%2F1", "", as, withHeader("If-None-Match", tag)), http.StatusNotModified)
}

// A page's notice is for whoever sees the page.
func TestHeadKeepsNotice(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	notice := withCookie(&http.Cookie{Name: noticeCookie, Value: "aGVsbG8"})
	for method, want := range map[string]bool{"HEAD": false, "GET": true} {
		a := r.call(method, gate.LoginPath, "", notice)
		if taken := strings.Contains(a.header.Get("Set-Cookie"), noticeCookie); taken != want {
			t.Errorf("%s: the notice is taken: %v", method, taken)
		}
	}
}
