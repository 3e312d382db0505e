package acceptance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"pipit/broker"
)

// A message is found by a text within three clicks from the overview, whatever its topic and the case of its letters, and
// what happened to it, when it is gone, by its ID within two.
func TestBrowserFind(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	s.define(broker.Definition{Topics: []broker.Topic{{Name: "/other"}}})
	s.publish("/orders", "Herr Maier")
	id := s.publish("/other", "Frau MÜLLER")
	gone := s.publish("/orders", "Herr Müller")
	if _, err := s.b.DeleteMessages(t.Context(), "/orders", []string{gone}); err != nil {
		t.Fatal(err)
	}
	tab := s.profile().signIn()
	clicks := 0
	click := func(selector string) int {
		clicks++
		return tab.click(selector)
	}
	click("#nav-messages")
	tab.fill("#find", "text", "müller")
	click("#find button")
	tab.sees("Frau MÜLLER", "/other", "2 of 2 looked at")
	tab.seesNot("Maier")
	tab.inspect("what was found")
	click("#messages tbody th a")
	tab.at("/admin/messages/%2Fother/" + id + "?back=text%3Dm%25C3%25BCller")
	if clicks > 3 {
		t.Errorf("%d clicks to find by text", clicks)
	}
	tab.follow(".crumbs a")
	tab.sees("Frau MÜLLER")
	tab.seesNot("Maier")

	tab.ok("/admin/")
	clicks = 0
	click("#nav-messages")
	tab.fill("#find", "id", gone)
	click("#find button")
	tab.sees("The message is gone", "deleted by an administrator")
	if clicks > 2 {
		t.Errorf("%d clicks to trace", clicks)
	}
}

// Times are typed in the zone of whoever looks, whatever the zone of whoever has sent the link.
func TestBrowserFindTimes(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	id := s.publish("/orders", "x")
	tab := s.profile().signIn()
	tab.do(call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "America/Phoenix"})) // 7 hours behind UTC, summer and winter
	tab.ok("/admin/messages?topic=%2Forders&since_offset=120&since=2001-01-01T12:00")
	tab.sees("Since (America/Phoenix)")
	if got := eval[string](tab, `() => document.querySelector("#find-since").value`); got != "2001-01-01T03:00" {
		t.Errorf("shown is %s", got)
	}
	there := time.Now().UTC().Add(-7 * time.Hour)
	tab.enter("#find-since", there.Add(time.Hour).Format("2006-01-02T15:04"))
	tab.save("#find")
	tab.sees("No such message")
	tab.enter("#find-since", there.Add(-time.Hour).Format("2006-01-02T15:04"))
	tab.save("#find")
	if !strings.Contains(tab.path(), "since_offset=-420") {
		t.Errorf("it is at %s", tab.path())
	}

	// The table fits, its IDs can be copied whole.
	tab.do(call(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: 1280, Height: 900, DeviceScaleFactor: 1}))
	tab.sees("…" + id[len(id)-8:])
	if cut := eval[float64](tab, `() => { const t = document.querySelector("#messages").parentElement; return t.scrollWidth - t.clientWidth; }`); cut > 0 {
		t.Errorf("%v px of the table are cut off", cut)
	}
	eval[bool](tab, `() => { navigator.clipboard.writeText = async text => { window.copied = text; }; return true; }`)
	tab.press("#messages .copier")
	tab.until(`window.copied === "` + id + `"`)
}

// Names beyond those of the page are proposed for what is typed.
func TestBrowserProposals(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	const hash = "$2a$10$yFZ4eQfDD6fd3MAbpn8fseOLqQXDR2KlQ9Z9sSyGnIaU1JyQUtvnG" // of none
	var def broker.Definition
	for i := range 210 {
		def.Topics = append(def.Topics, broker.Topic{Name: fmt.Sprintf("/t/%03d", i)})
		def.Clients = append(def.Clients, broker.Client{Username: fmt.Sprintf("c%03d", i), PasswordHash: hash})
	}
	s.define(def)
	tab := s.profile().signIn()
	tab.ok("/admin/messages")
	tab.enter("#find-topic", "t/20")
	tab.until(`[...document.querySelector("#find-topic").list.options].map(o => o.value).join() === "/t/200,/t/201,/t/202,/t/203,/t/204,/t/205,/t/206,/t/207,/t/208,/t/209"`)
	tab.ok("/admin/connect")
	for _, field := range []string{"#connect-sender", "#connect-receiver"} {
		tab.enter(field, "c20")
		tab.until(`[...document.querySelector("` + field + `").list.options].map(o => o.value).join() === "c200,c201,c202,c203,c204,c205,c206,c207,c208,c209"`)
	}
}

// The type of what is typed is proposed a moment later, which moves no button that somebody is about to press, and Ctrl+Enter
// publishes it.
func TestBrowserPublishType(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	for _, width := range []int64{360, 1280} {
		tab.do(chromedp.EmulateViewport(width, 900))
		tab.ok("/admin/topics/%2Forders/publish")
		place := `() => document.querySelector("form#publish > .buttons").getBoundingClientRect().top + scrollY`
		before := eval[float64](tab, place)
		tab.enter("#publish-payload", `{"order": 1}`)
		tab.until(`document.querySelector("#use-type")?.textContent === "Use application/json"`)
		if after := eval[float64](tab, place); after != before {
			t.Errorf("%d wide: the button moves from %v to %v", width, before, after)
		}
	}
	tab.inspect("a type that is proposed")
	tab.press("#use-type")
	tab.until(`document.querySelector("#publish-mime_type").value === "application/json" && !document.querySelector("#use-type")`)
	tab.arrive("Ctrl+Enter", chromedp.Evaluate[chromedp.Void](`document.querySelector("#publish-payload").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", ctrlKey: true, bubbles: true })); undefined`))
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 1 || m[0].Payload != `{"order": 1}` {
		t.Errorf("received %v", m)
	}
}
