package acceptance

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pipit/admin/gate"
)

// A weak password or sub_key of one's own is taken, and warned about where it is set: in the answer, on the
// page and in the log, none of which tells it.
func TestWeakSecretsAreWarnedAbout(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	as := withCookie(r.signedIn())
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "/t"}`, as), http.StatusCreated)

	const password, key = "opensesame", "open-sesame"
	for i, tt := range []struct {
		method, path, body string
		warning            string // a part of it; empty: none
	}{
		{"POST", "/clients", `{"username": "a", "password": "%[1]s"}`, `client "a" is weak: it is shorter than 12 characters`},
		{"POST", "/clients", `{"username": "b", "password": "a long password"}`, ""},
		{"GET", "/clients/a", "", ""},
		{"PATCH", "/clients/a", `{"name": "A"}`, ""},
		{"PATCH", "/clients/b", `{"password": "%[1]s"}`, `client "b" is weak`},
		{"PATCH", "/clients/b", `{"password": "another long one"}`, ""},
		{"POST", "/consumers", `{"client": "a", "topic": "/t", "sub_key": "%[2]s"}`, `consumer "a" of topic "/t" is weak: it is shorter than 16 characters`},
		{"POST", "/consumers", `{"client": "a", "topic": "/t", "sub_key": "sixteen--letters"}`, ""},
		{"POST", "/consumers", `{"client": "a", "topic": "/t"}`, ""},
		{"POST", "/import?dry_run=true", `{"version": 1, "clients": [{"username": "c", "password": "%[1]s"}]}`, `client "c" is weak`},
		{"POST", "/import", `{"version": 1, "consumers": [{"client": "b", "topic": "/t", "sub_key": "%[2]s2"}]}`, `consumer "b" of topic "/t" is weak`},
		{"POST", "/import", `{"version": 1, "consumers": [{"client": "b", "topic": "/t", "sub_key": "%[2]s2"}]}`, ""},
	} {
		body := tt.body
		if strings.Contains(body, "%") {
			body = strings.NewReplacer("%[1]s", password, "%[2]s", key).Replace(body)
		}
		logged := strings.Count(r.logs.String(), "is weak")
		a := r.call(tt.method, gate.V1+tt.path, body, as)
		var answer struct{ Warnings []string }
		if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.status >= 300 {
			t.Fatalf("%d: %d %s", i, a.status, a.body)
		}
		got := strings.Join(answer.Warnings, " ")
		if (got == "") != (tt.warning == "") || !strings.Contains(got, tt.warning) || len(answer.Warnings) > 1 || strings.Contains(got, "sesame") {
			t.Errorf("%d: warnings %q, want %q", i, got, tt.warning)
		}
		want := logged
		if tt.warning != "" && !strings.Contains(tt.path, "dry_run") {
			want++
		}
		if n := strings.Count(r.logs.String(), "is weak"); n != want {
			t.Errorf("%d: %d lines in the log, want %d", i, n, want)
		}
	}
	for path, form := range map[string]url.Values{
		"/clients":        {"username": {"d"}, "password": {password}, "is_active": {"true"}},
		"/clients/e/edit": {"name": {"E"}, "password": {"e"}, "is_active": {"true"}},
		"/consumers":      {"client": {"a"}, "topic": {"/t"}, "sub_key": {key + "3"}, "is_active": {"true"}},
	} {
		if path == "/clients/e/edit" {
			r.call("POST", gate.V1+"/clients", `{"username": "e", "password": "a long password"}`, as)
		}
		a := r.call("POST", "/admin"+path, form.Encode(), as, asBrowser, withHeader("Content-Type", "application/x-www-form-urlencoded"))
		r.want(a, http.StatusSeeOther)
		text, err := base64.RawURLEncoding.DecodeString(noticeOf(a))
		if err != nil {
			t.Fatal(err)
		}
		notice := string(text)
		if !strings.Contains(notice, "Warning: the ") || !strings.Contains(notice, " is weak: it is ") || strings.Contains(notice, "sesame") {
			t.Errorf("%s: the notice is %q", path, notice)
		}
	}
	if log := r.logs.String(); strings.Contains(log, "sesame") {
		t.Errorf("the log tells a secret: %s", log)
	}
}

// noticeOf returns what the cookie of an answer keeps for the next page.
func noticeOf(a authAnswer) string {
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == noticeCookie {
			return c.Value
		}
	}
	return ""
}
