package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// mostWhyClicks is how many clicks from the overview it takes at most to know why a consumer gets nothing.
const mostWhyClicks = 2

// TestBrowserWhy: whatever keeps messages from a consumer is in the overview, and its first click leads to where the cause stands.
func TestBrowserWhy(t *testing.T) {
	browses(t)
	for name, test := range map[string]struct {
		do     func(s *site, c broker.Consumer)
		row    string // part of the overview's row
		check  string // that fails
		wanted string // part of its text
	}{
		"inactive": {func(s *site, c broker.Consumer) {
			c.Inactive = true
			s.define(broker.Definition{Consumers: []broker.Consumer{c}})
		}, "is inactive", "consumer", "The consumer is inactive"},
		"never fetched": {func(*site, broker.Consumer) {}, "has never fetched", "fetch", "It has never fetched"},
		"wrong key": {func(s *site, _ broker.Consumer) {
			s.receive("erp", "p2", "/orders", "another-key")
		}, "Requests of erp are refused: 403 unknown sub_key, from 127.0.0.1", "refused", "unknown sub_key"},
		"wrong password": {func(s *site, c broker.Consumer) {
			s.receive("erp", "p3", "/orders", c.SubKey)
		}, "Requests of erp are refused: 401 wrong password", "refused", "wrong password"},
		"full": {func(s *site, c broker.Consumer) {
			s.receive("erp", "p2", "/orders", c.SubKey)
			c.MaxDepth = 3
			s.define(broker.Definition{Consumers: []broker.Consumer{c}})
		}, "The backlog of erp in /orders is 100 % full", "room", "Its backlog is full"},
		"in flight full": {func(s *site, c broker.Consumer) {
			c.MaxInFlight = 2
			s.define(broker.Definition{Consumers: []broker.Consumer{c}})
			for _, want := range []int{200, 429} {
				if _, status := s.receive("erp", "p2", "/orders", c.SubKey); status != want {
					s.Errorf("receive: %d, want %d", status, want)
				}
			}
		}, "2 of at most 2 messages are in flight", "in_flight", "2 of at most 2 messages are in flight"},
		"poison": {func(s *site, c broker.Consumer) {
			for range 5 {
				s.receive("erp", "p2", "/orders", c.SubKey)
				if _, err := s.b.ReleaseInFlight(s.Context(), s.b.Consumers()[0].ID, broker.Document{Kind: "test", Key: "of the test", Value: []byte("{}")}); err != nil {
					s.Error(err)
				}
			}
		}, "3 messages were delivered 5 times or more", "deliveries", "3 messages were delivered 5 times or more"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, true).in(t)
			id := s.example()
			for i := range 3 {
				s.publish("/orders", fmt.Sprint("message ", i))
			}
			test.do(s, s.b.Consumers()[0].Consumer)
			tab := s.profile().signIn()
			clicks := 0
			click := func(selector string) {
				tab.follow(selector)
				clicks++
			}
			rows := eval[[]string](tab, `() => [...document.querySelectorAll("#attention .text")].map(a => a.textContent.trim())`)
			at := -1
			for i, row := range rows {
				if strings.Contains(row, test.row) {
					at = i
				}
			}
			if at < 0 {
				t.Fatalf("rows: %q", rows)
			}
			click(fmt.Sprintf("#attention li:nth-child(%d) .text", at+1))
			tab.at(consumerPage(id))
			if got := tab.text("#check-" + test.check + ".wrong"); !strings.Contains(got, test.wanted) {
				t.Errorf("%q, want %q", got, test.wanted)
			}
			if clicks > mostWhyClicks {
				t.Errorf("%d clicks", clicks)
			}
		})
	}
}

// TestBrowserNeeds: how much needs attention is in the side bar, the title and the icon of each page, and changes while a page is
// live, without moving what is being read; who is signed out elsewhere is told so.
func TestBrowserNeeds(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	tab.until(`document.querySelector("#live").textContent === "Live"`)
	before := eval[int](tab, `() => document.getElementById("needs").hidden ? 0 : Number(document.getElementById("needs-number").textContent)`) // the disk of this machine
	eval[bool](tab, `() => { document.getElementById("charts").style.minHeight = "3000px"; scrollTo(0, 400); return true }`)
	top := eval[float64](tab, `() => document.getElementById("rates").getBoundingClientRect().top`)
	var d broker.Definition
	for i := range 8 {
		name := fmt.Sprint("client", i)
		d.Clients = append(d.Clients, broker.Client{Username: name, Password: "p1"})
		d.Consumers = append(d.Consumers, broker.Consumer{Client: name, Topic: "/orders", MaxDepth: 1000, MaxInFlight: 1, AckTimeout: time.Minute})
	}
	s.define(d)
	s.publish("/orders", "one")
	all := before + 9
	tab.until(fmt.Sprintf(`document.getElementById("needs-number").textContent === "%d" && document.title === "(%d) Overview · Pipit"`, all, all))
	if now := eval[float64](tab, `() => document.getElementById("rates").getBoundingClientRect().top`); now < top-2 || now > top+2 {
		t.Errorf("what is read has moved from %v to %v", top, now)
	}
	if open, more := eval[int](tab, `() => document.querySelectorAll("#attention-list li").length`), tab.text("#attention-rest"); open != 5 || more != fmt.Sprint(all-5) {
		t.Errorf("%d rows and %s more", open, more)
	}
	icon := `() => document.getElementById("favicon").href.endsWith("favicon-alert.svg")`
	if !eval[bool](tab, icon) {
		t.Error("the icon says nothing")
	}
	tab.ok("/admin/topics")
	if got := tab.text("#needs-number"); got != fmt.Sprint(all) || !eval[bool](tab, icon) || !eval[bool](tab, fmt.Sprintf(`() => document.title.startsWith("(%d) Topics")`, all)) {
		t.Errorf("on another page: %s", got)
	}

	tab.ok("/admin/")
	tab.until(`document.querySelector("#live").textContent === "Live"`)
	if err := endSessions(t.Context(), s.a); err != nil {
		t.Fatal(err)
	}
	tab.until(`document.querySelector("#live.out")?.textContent === "You were signed out. Sign in again"`)
	tab.mu.Lock()
	tab.faults = slices.DeleteFunc(tab.faults, func(f string) bool { return strings.HasSuffix(f, "/admin/live: status 401") }) // by that it knows
	tab.mu.Unlock()
	tab.follow("#live a")
	if got := tab.path(); !strings.HasPrefix(got, "/admin/login") {
		t.Errorf("at %s", got)
	}
}
