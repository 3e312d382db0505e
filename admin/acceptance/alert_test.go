package acceptance

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"pipit/admin/alert"
	"pipit/admin/api"
)

// TestAPIAlerts: who may look sees who is told and what came of it, never a secret; a test takes the scope write, and says what the
// receiver answered.
func TestAPIAlerts(t *testing.T) {
	r := newAPIRig(t)
	var all api.Alerts
	if r.ok(200, "GET", "/alerts", nil).into(t, &all); len(all.Receivers)+len(all.Firing)+len(all.Sent) > 0 {
		t.Errorf("%+v", all)
	}
	r.refused(409, "inactive", "POST", "/alerts/test", nil)
	r.refused(403, "forbidden", "POST", "/alerts/test", nil, "Authorization", "Bearer "+r.readToken)
	r.refused(422, "invalid", "GET", "/alerts?limit=1", nil)
	r.refused(422, "invalid", "POST", "/alerts/test?to=webhook", nil)

	var bodies atomic.Value
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies.Store(string(body))
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout"+strings.Repeat(".", 1<<20))
	}))
	defer hook.Close()
	if err := r.a.Alerts.Adjust(alert.Options{URL: hook.URL + "/s3cret?token=s3cret"}); err != nil {
		t.Fatal(err)
	}
	var tested api.AlertTest
	r.ok(200, "POST", "/alerts/test", nil, "Authorization", "Bearer "+r.writeToken).into(t, &tested)
	if x := tested.Items[0]; len(tested.Items) != 1 || x.Receiver != alert.Webhook || x.Target != hook.URL || x.Status != 418 || x.Error != "418 I'm a teapot" || !strings.HasPrefix(x.Answer, "short and stout") || len(x.Answer) > 1<<10 {
		t.Errorf("%+v", tested)
	}
	if body, _ := bodies.Load().(string); !strings.Contains(body, `"alertname":"test"`) {
		t.Errorf("%q was posted", body)
	}
	a := r.ok(200, "GET", "/alerts", nil)
	if a.into(t, &all); len(all.Sent) != 1 || !all.Sent[0].Test || all.Sent[0].Error == "" || all.Receivers[0].Target != hook.URL {
		t.Errorf("%+v", all)
	}
	if strings.Contains(string(a.body), "s3cret") {
		t.Errorf("a secret: %s", a.body)
	}
	if trail := string(r.ok(200, "GET", "/audit", nil).body); !strings.Contains(trail, "alert.test") {
		t.Error("the test is not in the audit log")
	}
}

// TestAlertsPage: the page says so where nobody is told, and what a test came to.
func TestAlertsPage(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	get := func() string {
		t.Helper()
		a := w.call("GET", "/admin/alerts", "", asBrowser, withCookie(cookie))
		if a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		return a.body
	}
	if body := get(); !strings.Contains(body, "Nobody is told") || strings.Contains(body, "alert-test") {
		t.Error(body)
	}
	if a := w.call("POST", "/admin/alerts/test", "", asBrowser, withCookie(cookie)); a.status != 409 || !strings.Contains(a.body, "There is nobody to alert") {
		t.Errorf("%d %s", a.status, a.body)
	}
	var status atomic.Int32
	status.Store(500)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "<b>hello</b>")
	}))
	defer hook.Close()
	if err := w.a.Alerts.Adjust(alert.Options{URL: hook.URL + "/s3cret"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int32
		want   string
	}{{500, "The test failed. webhook to " + hook.URL + ": 500 Internal Server Error"}, {200, "The test was sent."}} {
		status.Store(c.status)
		a := w.call("POST", "/admin/alerts/test", "", asBrowser, withCookie(cookie))
		if a.status != 200 || !strings.Contains(a.body, c.want) || !strings.Contains(a.body, "&lt;b&gt;hello&lt;/b&gt;") || strings.Contains(a.body, "s3cret") {
			t.Errorf("%d: %d %s", c.status, a.status, a.body)
		}
	}
	if body := get(); strings.Count(body, "<td>test</td>") != 2 || strings.Contains(body, "s3cret") {
		t.Error(body)
	}
}
