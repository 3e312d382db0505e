package acceptance

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// The ways in which a form asks once more.
const (
	asksNothing = "nothing"
	asksButton  = "a red button, in what unfolds or alone on its page"
	asksName    = "a name or number to be typed"
	asksLater   = "nothing yet: the page that it leads to does"
)

// asking is how the form of each route asks: what loses nothing does not.
var asking = map[string]string{
	"/admin/topics/:name/delete": asksName, "/admin/clients/:username/delete": asksName, "/admin/consumers/:id/delete": asksName,
	"/admin/consumers/:id/clear": asksName, "/admin/consumers/:id/clear-in-flight": asksName, "/admin/system/administrators/:name/delete": asksName,
	"/admin/producers/:id/delete": asksButton, "/admin/webhooks/:name/delete": asksButton, "/admin/messages/:topic/:id/delete": asksButton, "/admin/system/tokens/:id/delete": asksButton,
	"/admin/consumers/:id/rotate": asksButton, "/admin/consumers/:id/end-overlap": asksButton,
	"/admin/bulk/topics": asksLater, "/admin/bulk/clients": asksLater, "/admin/bulk/producers": asksLater, "/admin/bulk/consumers": asksLater, "/admin/bulk/webhooks": asksLater,
	"/admin/messages": asksLater, "/admin/system/cluster/leave": asksButton,
	"/admin/system/cluster/verify": asksNothing, "/admin/system/cluster/transfer": asksNothing, "/admin/system/cluster/nodes": asksNothing, "/admin/system/cluster/replace": asksNothing,

	"/admin/first-steps": asksNothing, "/admin/connect": asksNothing, "/admin/connect/done": asksNothing, "/admin/login": asksNothing, "/admin/logout": asksNothing,
	"/admin/setup": asksNothing, "/admin/topics": asksNothing, "/admin/topics/:name/edit": asksNothing, "/admin/clients": asksNothing, "/admin/clients/:username/edit": asksNothing,
	"/admin/producers": asksNothing, "/admin/producers/:id/edit": asksNothing, "/admin/consumers": asksNothing, "/admin/consumers/:id/edit": asksNothing,
	"/admin/webhooks": asksNothing, "/admin/webhooks/:name/edit": asksNothing, "/admin/consumers/:id/reveal": asksNothing, "/admin/consumers/:id/release": asksNothing,
	"/admin/consumers/:id/test-call": asksNothing, "/admin/consumers/:id/replay": asksNothing, "/admin/messages/:topic/:id/release": asksNothing,
	"/admin/messages/:topic/:id/publish": asksNothing, "/admin/messages/:topic/:id/redrive": asksNothing, "/admin/topics/:name/redrive": asksNothing,
	"/admin/topics/:name/publish": asksNothing, "/admin/system/compact": asksNothing, "/admin/system/backups": asksNothing, "/admin/alerts/test": asksNothing, "/admin/system/definitions/import": asksNothing,
	"/admin/system/definitions/apply": asksNothing, "/admin/undo": asksNothing, "/admin/system/administrators": asksNothing,
	"/admin/system/administrators/:name/password": asksNothing, "/admin/system/administrators/:name/sign-out": asksNothing, "/admin/system/sessions/:id/delete": asksNothing,
	"/admin/system/tokens": asksNothing,
}

// noForm are routes of which the site of TestAsking has no form.
var noForm = []string{"/admin/system/backups/:name/delete"}

// TestAsking walks all forms of all pages: each asks as its route is said to, and there is no other way.
func TestAsking(t *testing.T) {
	s, pages := hostileSite(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{t, s.b, s.url, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	d.post("/admin/login", "name", adaName, "password", adaPassword)
	d.done("/admin/system/tokens", "name", "script", "scope", "read", "expires", "30")
	var full broker.ConsumerInfo
	for _, c := range s.b.Consumers() {
		if c.Backlog > full.Backlog && !strings.Contains(c.Topic, "<") {
			full = c
		}
	}
	if _, err := s.b.Change(t.Context(), broker.Change{Rotate: []uint32{full.ID}, Overlap: time.Hour}); err != nil {
		t.Fatal(err)
	}

	seen := map[string]bool{}
	forms := regexp.MustCompile(`(?s)<form[^>]* method="post" action="([^"?]*)[^"]*".*?</form>`)
	look := func(page, body string, expect map[string]string) {
		t.Helper()
		found := forms.FindAllStringSubmatchIndex(body, -1)
		for _, at := range found {
			html, action := body[at[0]:at[1]], body[at[2]:at[3]]
			before := body[:at[0]]
			folded := strings.Count(before, "<details") > strings.Count(before, "</details>")
			red := strings.Contains(html, `danger"`)
			way := asksNothing
			switch {
			case strings.Contains(html, ` id="bulk"`) && !strings.Contains(html, ` class="form`): // of a list
				way = asksLater
			case strings.Contains(html, ` name="confirm"`) && red:
				way = asksName
			case red && (folded || len(found) == 1):
				way = asksButton
			case red:
				way = "a red button that asks nothing"
			}
			want := ""
			for route, asks := range asking {
				if matches(route, action) && (want == "" || !strings.Contains(route, ":")) {
					seen[route], want = true, asks
				}
			}
			if e := expect[action]; e != "" {
				want = e
			}
			if way != want {
				t.Errorf("%s: the form to %s asks: %s; it should be: %s", page, action, way, want)
			}
		}
	}
	for path, status := range pages {
		if status == http.StatusOK {
			look(path, d.get(path), nil)
		}
	}
	id := fmt.Sprint(full.ID)
	replay := consumerPage(full.ID) + "/replay"
	look("skipping", d.get(replay+"?to=newest"), map[string]string{replay: asksName})
	look("clearing several", d.post("/admin/bulk/consumers", "do", "clear", "key", id).body, map[string]string{"/admin/bulk/consumers": asksName})
	look("several made inactive", d.post("/admin/bulk/consumers", "do", "off", "key", id).body, map[string]string{"/admin/bulk/consumers": asksButton})
	look("deleting several", d.post("/admin/messages", "do", "delete", "key", "%2Forders/x").body, map[string]string{"/admin/messages": asksButton})
	look("all that match", d.get("/admin/messages?topic=%2Forders&all=true"), map[string]string{"/admin/messages": asksName})
	d.refused(http.StatusUnprocessableEntity, "not the name", replay, "to", "newest", "confirm", "no")
	d.refused(http.StatusUnprocessableEntity, "not the name", consumerPage(full.ID)+"/clear-in-flight")
	if c, _ := s.b.Consumer(full.ID); c.Backlog != full.Backlog || c.InFlight != full.InFlight {
		t.Errorf("of %d messages, %d are left", full.Backlog, c.Backlog)
	}

	for route, asks := range asking {
		if asks != asksNothing && !seen[route] {
			t.Errorf("no form to %s was seen", route)
		}
	}
	for _, route := range postPaths(s.a) {
		if _, known := asking[route]; !known && !strings.Contains(strings.Join(noForm, " "), route) {
			t.Errorf("how does the form to %s ask?", route)
		}
	}
}
