package acceptance

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// TestBrowseAllTopics: a text is looked for in all topics where none is named, in letters of any case unless asked for.
func TestBrowseAllTopics(t *testing.T) {
	d := newDesk(t)
	d.example()
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/b"}, {Name: "/c"}}})
	d.publish("/a", "Herr Müller, 4")
	id := d.publish("/c", "Frau MÜLLER, 4")
	d.publish("/b", "Meier")
	page := d.get("/admin/messages?text=m%C3%BCller")
	d.contains(page, "Herr Müller", "Frau MÜLLER", `<small class="name">/`, "3 of 3 looked at")
	d.lacks(page, "Meier", "Where messages are")
	page = d.get("/admin/messages?match_case=true&text=M%C3%BCller")
	d.contains(page, "Herr Müller")
	d.lacks(page, "Frau")
	d.contains(d.get("/admin/messages?text=nowhere"), "No such message", "In no topic. 3 looked at")
	d.contains(d.get("/admin/messages?match_case=true"), "Where messages are")

	// From a message, the way back is to what was found.
	d.contains(d.get("/admin/messages?text=frau"), `title="`+id+`"`, `/admin/messages/%2Fc/`+id+`?back=text%3Dfrau"`)
	d.contains(d.get("/admin/messages/%2Fc/"+id+"?back=text%3Dfrau"), `<a class="name" href="/admin/messages?text=frau">Messages</a>`)
	d.contains(d.get("/admin/messages/%2Fc/"+id+"?back=topic%3D/c%26priority%3D9"), `<a class="name" href="/admin/messages?priority=9&amp;topic=%2Fc">/c</a>`)
	d.contains(d.get("/admin/messages/%2Fc/"+id+"?back=%25"), `<a class="name" href="/admin/messages?topic=%2Fc">/c</a>`)
}

// TestBrowseTurns goes through the pages of a topic and back, either way round.
func TestBrowseTurns(t *testing.T) {
	d := newDesk(t)
	d.example()
	for i := range 130 {
		d.publish("/a", fmt.Sprintf("payload %03d", i))
	}
	shown := regexp.MustCompile(`>payload (\d+)<`)
	turn := func(page, id string) string {
		m := regexp.MustCompile(`id="` + id + `"[^>]* href="([^"]*)"`).FindStringSubmatch(page)
		if m == nil {
			return ""
		}
		return "/admin/messages" + html.UnescapeString(m[1])
	}
	for _, order := range []struct {
		query  string
		begins []string // of the pages
	}{{"", []string{"000", "050", "100"}}, {"&newest=true", []string{"129", "079", "029"}}} {
		var pages []string
		for path := "/admin/messages?topic=/a" + order.query; path != ""; path = turn(pages[len(pages)-1], "next") {
			pages = append(pages, d.get(path))
		}
		if len(pages) != len(order.begins) {
			t.Fatalf("%d pages", len(pages))
		}
		for i, page := range pages {
			if m := shown.FindStringSubmatch(page); m[1] != order.begins[i] {
				t.Errorf("page %d begins with %s", i, m[1])
			}
			d.contains(page, fmt.Sprintf("%d to %d of 130", 50*i+1, min(50*i+50, 130)))
			if prev := turn(page, "prev"); i > 0 && d.get(prev) != pages[i-1] || i == 0 && prev != "" {
				t.Errorf("page %d: the one before is not what it was", i)
			}
		}
	}
}

// TestBrowseZone: a time is in the zone that the form says, in UTC where it says none.
func TestBrowseZone(t *testing.T) {
	d := newDesk(t)
	d.example()
	id := d.publish("/a", "x")
	east := time.Now().UTC().Add(3 * time.Hour) // what a clock three hours ahead shows
	for _, c := range []struct {
		query string
		found bool
	}{
		{"since=" + east.Add(-time.Hour).Format("2006-01-02T15:04"), false},
		{"since_offset=180&since=" + east.Add(-time.Hour).Format("2006-01-02T15:04"), true},
		{"since_offset=180&since=" + east.Add(time.Hour).Format("2006-01-02T15:04"), false},
		{"until_offset=-60&until=" + east.Add(-3*time.Hour).Format("2006-01-02T15:04"), true},
	} {
		if got := strings.Contains(d.get("/admin/messages?topic=/a&"+c.query), id); got != c.found {
			t.Errorf("%s: found is %t", c.query, got)
		}
	}
	for _, bad := range []string{"x", "1441"} {
		if res := d.do("GET", "/admin/messages?since=2026-01-01T00:00&since_offset="+url.QueryEscape(bad), "", nil); res.status != http.StatusUnprocessableEntity {
			t.Errorf("an offset of %s: %d", bad, res.status)
		}
	}
}

// TestActPages does things to chosen messages and to all that match, which are counted first, without a script.
func TestActPages(t *testing.T) {
	d := newDesk(t)
	d.example()
	d.define(broker.Definition{Topics: []broker.Topic{{Name: "/b c"}}})
	one := d.publish("/a", "needle 1")
	two := d.publish("/b c", "needle 2", broker.WithDelay(600))
	three := d.publish("/a", "hay")
	depth := func(want int64) {
		t.Helper()
		if got := d.b.Totals(); got.Depth+got.Delayed != want {
			t.Errorf("%d messages, want %d", got.Depth+got.Delayed, want)
		}
	}
	keys := []string{"back", "text=needle", "key", "%2Fa/" + one, "key", "%2Fb%20c/" + two, "key", "%2Fa/nothing"}
	d.contains(d.get("/admin/messages?text=needle"), `name="key" value="%2Fa/`+one+`"`, "All that match…")
	d.contains(d.done("/admin/messages", append(keys, "do", "release")...), "Released: 1 message", "needle 2")
	d.contains(d.done("/admin/messages", append(keys, "do", "copy")...), "Copies published: 2 messages")
	depth(5)
	d.contains(d.done("/admin/messages", append(keys, "do", "redrive")...), "Moved back: 0 messages")
	if res := d.post("/admin/messages", append(keys, "do", "delete")...); res.status != http.StatusOK || !strings.Contains(res.body, "This deletes 3 messages") {
		t.Errorf("%d %s", res.status, res.body)
	}
	depth(5)
	d.contains(d.done("/admin/messages", append(keys, "do", "delete", "sure", "true")...), "Deleted: 2 messages")
	depth(3)
	d.contains(d.done("/admin/messages", "do", "delete"), "No message was chosen")
	d.refused(http.StatusUnprocessableEntity, "allowed are delete", "/admin/messages", append(keys, "do", "burn")...)

	// All that match.
	d.contains(d.get("/admin/messages?text=needle&all=true"), "2 messages match: text &#34;needle&#34;</p>", "Type how many they are")
	d.contains(d.get("/admin/messages?topic=/a&since=2001-02-03T04:05&since_offset=60&state=waiting&newest=true&all=true"), "match: topic /a, state waiting, since 2001-02-03 03:05 UTC</p>")
	all := []string{"all", "true", "text", "needle", "count", "2"}
	d.refused(http.StatusUnprocessableEntity, "This is not how many they are", "/admin/messages", append(all, "do", "delete", "confirm", "3")...)
	d.contains(d.done("/admin/messages", append(all, "do", "delete", "confirm", "2")...), "Deleted: 2 messages", "No such message")
	depth(1)
	d.contains(d.get("/admin/messages?topic=/a"), three)
}

// TestPublishDoubts: what is hardly meant so is published where that is said, and one can publish one after another.
func TestPublishDoubts(t *testing.T) {
	d := newDesk(t)
	d.example()
	const to = "/admin/topics/%2Fa/publish"
	for _, c := range []struct{ says, payload, kind string }{
		{"The payload is empty", "", ""}, {"This is no JSON", `{"a": `, "application/json"}, {"This is no JSON", "x", "application/json; charset=utf-8"},
	} {
		page := d.refused(http.StatusUnprocessableEntity, c.says, to, "payload", c.payload, "mime_type", c.kind)
		d.contains(page, "Publish it as it is")
		d.done(to, "payload", c.payload, "mime_type", c.kind, "as_is", "true")
	}
	d.contains(d.done(to, "payload", "1", "mime_type", "application/json", "another", "true"), "Published: K", `action="`+to+`"`)
	if topic, _ := d.b.Topic("/a"); topic.Depth != 4 {
		t.Errorf("%d messages", topic.Depth)
	}
}

// TestUnknownMessage: who looks for a message of which nothing is known hears what may have become of it, and where to look.
func TestUnknownMessage(t *testing.T) {
	d := newDesk(t)
	d.example()
	res := d.do("GET", "/admin/messages/%2Fa/K3MfKTRUDxDxThSM4KomL7xoDl1W", "", nil)
	d.contains(res.body, "All of its consumers may be done with it", `href="/admin/messages?topic=%2Fa">Messages of /a`)
	if res.status != http.StatusNotFound {
		t.Errorf("status %d", res.status)
	}
	if res := d.do("GET", "/admin/messages/%2Fnone/x", "", nil); res.status != http.StatusNotFound || strings.Contains(res.body, "Messages of") {
		t.Errorf("status %d", res.status)
	}
}
