package acceptance

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/change"
)

// streamOf returns the URL of the live stream that a page has.
func streamOf(t *testing.T, page string) string {
	t.Helper()
	m := regexp.MustCompile(`data-live="([^"]*)"`).FindStringSubmatch(page)
	if m == nil {
		t.Fatal("the page has no stream:\n" + page)
	}
	return html.UnescapeString(m[1])
}

// TestLivePages checks that the pages of objects and of lists tell what has changed since they were loaded, of what they show and of
// nothing else, as they themselves would show it.
func TestLivePages(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	w.define(broker.Definition{
		Topics:    []broker.Topic{w.topic("/other", 100)},
		Producers: []broker.Producer{{Client: "crm", Topic: "/other"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/other", MaxDepth: 1000, MaxInFlight: 100}},
	})
	consumer := "/admin/consumers/" + fmt.Sprint(w.consumer.ID)
	for _, test := range []struct {
		page  string
		parts int      // of the page
		tells []string // after three messages were published, and one was acknowledged
		not   string
	}{
		{"/admin/topics/" + text.Segment(watchedTopic), 4, []string{`<dd id="depth">2<`, "3 in all", `<td class="num">2</td>`}, "/other"},
		{consumer, 3, []string{`<dd id="backlog">2<`, "of 4 delivered", "check-messages"}, "/other"},
		{"/admin/clients/erp", 4, []string{"<dt>Last seen</dt>", `<td class="num">2</td>`}, ""},
		{"/admin/topics?search=created", 1, []string{`at most 100">2<`, "<time data-ago"}, "/other"},
		{"/admin/consumers?search=created", 1, []string{`at most 1,000">2<`}, "/other"},
		{"/admin/producers?topic=" + watchedTopic, 1, []string{`<td class="num">0</td>`}, "/other"},
		{"/admin/clients?search=erp", 1, []string{"<time data-ago"}, "crm"},
	} {
		path := test.page
		page := w.call("GET", path, "", withCookie(cookie))
		w.want(page, http.StatusOK)
		from := streamOf(t, page.body)
		w.publish(watchedTopic, 3)
		w.receive(1)
		_, body := streamAt(t, w.authRig, cookie, from)
		var f struct {
			Parts  map[string]string
			Number *int
		}
		if err := json.Unmarshal([]byte(next(t, body)), &f); err != nil {
			t.Fatal(err)
		}
		all := ""
		for name, part := range f.Parts {
			if !strings.Contains(page.body, `data-part="`+name+`"`) {
				t.Errorf("%s does not show %q", path, name)
			}
			all += part
		}
		if len(f.Parts) != test.parts || f.Number == nil {
			t.Errorf("%s: %d parts", path, len(f.Parts))
		}
		for _, tells := range test.tells {
			if !strings.Contains(all, tells) {
				t.Errorf("%s does not tell %q:\n%s", path, tells, all)
			}
		}
		if test.not != "" && strings.Contains(all, test.not) {
			t.Errorf("%s tells of %s:\n%s", path, test.not, all)
		}
		w.receive(100)
	}
}

// TestLivePagesRefuse checks what has no stream.
func TestLivePagesRefuse(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	for query, want := range map[string]int{
		"?topic=/none": 404, "?consumer=99": 404, "?consumer=x": 404, "?client=nobody": 404,
		"?list=messages": 422, "?x=y": 422, "?list=topics&rows=" + strings.Repeat("t1.", 100): 422,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			if a := w.call(method, "/admin/live"+query, "", withCookie(cookie)); a.status != want {
				t.Errorf("%s %s: %d", method, query, a.status)
			}
		}
	}
	if a := w.call("HEAD", "/admin/live?list=topics&rows=t1.c9.p9.u1..", "", withCookie(cookie)); a.status != 200 {
		t.Error("rows that there are not:", a.status)
	}
	watchAll(w)
	if a := w.call("GET", "/admin/live?list=topics", "", withCookie(cookie)); a.status != http.StatusServiceUnavailable {
		t.Error("a hundred watch already:", a.status)
	}
}

// TestLivePageEnds checks that the stream of what was deleted ends.
func TestLivePageEnds(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	_, body := streamAt(t, w.authRig, cookie, "/admin/live?consumer="+fmt.Sprint(w.consumer.ID))
	next(t, body)
	if _, err := w.b.Change(t.Context(), broker.Change{Delete: []change.Ref{{Kind: change.Consumer, ID: w.consumer.ID}}}); err != nil {
		t.Fatal(err)
	}
	for {
		if line, err := body.ReadString('\n'); err != nil {
			if line != "" {
				t.Errorf("it ends within %q", line)
			}
			break
		}
	}
}
