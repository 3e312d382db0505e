package admin_test

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
