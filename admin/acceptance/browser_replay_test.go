package acceptance

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"

	"pipit/broker"
)

// TestBrowserReplay: who was restored from a backup has the messages of an hour ago again, after they were counted.
func TestBrowserReplay(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	s.define(broker.Definition{Topics: []broker.Topic{{Name: "/kept", Retention: time.Hour, Expiration: 3600}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/kept", SubKey: "kept", MaxDepth: 5}}})
	for _, payload := range []string{"one", "two", "three"} {
		s.publish("/kept", payload)
	}
	tab := s.profile().signIn()
	tab.do(call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kathmandu"})) // 5:45 ahead of UTC
	tab.ok("/admin/consumers?search=kept")
	tab.follow("#consumers tbody a")
	page := tab.path()
	tab.unfold("#clear")
	tab.fill("#clear", "confirm", "/kept")
	tab.save("#clear")

	tab.follow("#replay")
	if tab.shows("#place-at") || tab.shows("#place-id") || tab.exists("#count") {
		t.Error("it asks for what is not needed")
	}
	if status := tab.send("#place"); status != http.StatusOK {
		t.Fatalf("counting: status %d", status)
	}
	tab.sees("3 messages would wait", "Now it has 0")
	tab.fill("#place", "to", "time")
	at := time.Now().UTC().Add(-time.Hour).Truncate(time.Minute)
	tab.sees("Time (Asia/Ka") // of either spelling
	there := at.Add(5*time.Hour + 45*time.Minute)
	tab.enter("#place-at", there.Format("2006-01-02T15:04"))
	tab.send("#place")
	tab.sees("3 messages would wait", "From "+there.Format(time.DateTime)+" on")
	if got := eval[string](tab, `() => document.querySelector("#place-at").value`); got != there.Format("2006-01-02T15:04") {
		t.Errorf("what was typed is shown as %s", got)
	}
	tab.inspect("a replay")
	tab.save("#go")
	tab.at(page)
	tab.sees("The consumer goes on there: 3 messages wait")
	if got := tab.text("#backlog"); !strings.HasPrefix(got, "3") {
		t.Errorf("the backlog is %q", got)
	}
	if m, _ := s.receive("erp", "p2", "/kept", "kept"); len(m) != 3 || m[0].Deliveries != 1 {
		t.Errorf("received %v", m)
	}

	// What cannot be is said at once.
	tab.unfold("#clear-in-flight")
	tab.fill("#clear-in-flight", "confirm", "/kept")
	tab.save("#clear-in-flight")
	for range 3 {
		s.publish("/kept", "more")
	}
	tab.follow("#replay")
	if status := tab.send("#place"); status != http.StatusTooManyRequests {
		t.Errorf("more than is allowed: status %d", status)
	}
	tab.sees("6 messages would wait", "max_depth of the consumer")
	tab.inspect("a replay that is refused")
	tab.fill("#place", "to", "message", "id", "none")
	if status := tab.send("#place"); status != http.StatusUnprocessableEntity || !tab.exists("#place-id[aria-invalid]") {
		t.Errorf("of no message: status %d", status)
	}
	s.publish("/orders", "an order")
	tab.ok(consumerPage(s.b.Consumers()[1].ID) + "/replay?to=newest")
	tab.sees("keeps nothing that everyone is done with", "Skip all that waits")
	tab.follow("#retention a")
	if !tab.shows("#topic-retention") {
		t.Error("retention cannot be set there")
	}
}

// enter gives a field a value that cannot be typed as it is.
func (t *tab) enter(field, value string) {
	t.Helper()
	eval[bool](t, `(s, v) => { const e = document.querySelector(s); e.value = v; e.dispatchEvent(new Event("input", {bubbles: true})); return true }`, field, value)
}
