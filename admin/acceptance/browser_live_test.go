package acceptance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"pipit/broker"
)

// TestBrowserLivePages: the pages of lists and of objects bring their figures to what they are while somebody reads, without moving
// or reordering anything; what has the focus or is selected stays; who is signed out elsewhere is told so on any of them.
func TestBrowserLivePages(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	var d broker.Definition
	for i := range 30 {
		name := fmt.Sprintf("/many/%02d", i)
		d.Topics = append(d.Topics, broker.Topic{Name: name, MaxDepth: 1000})
		d.Consumers = append(d.Consumers, broker.Consumer{Client: "erp", Topic: name, MaxDepth: 1000, MaxInFlight: 1, AckTimeout: time.Minute})
	}
	s.define(d)
	for i := range 3 {
		s.publish(fmt.Sprintf("/many/%02d", i), "x")
	}
	tab := s.profile().signIn()
	live := `document.querySelector("#live").textContent === "Live"`
	figure := func(name string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("tbody tr")].find(tr => tr.innerText.includes("%s"))?.querySelector(".depth").firstChild.data.trim()`, name)
	}

	tab.ok("/admin/topics?sort=depth&desc=1")
	tab.until(live)
	order := `() => [...document.querySelectorAll("tbody th")].map(th => th.innerText).join(" ")`
	before := eval[string](tab, order)
	eval[bool](tab, `() => { scrollTo(0, 300); document.querySelectorAll("tbody a")[5].focus({ preventScroll: true }); return true }`)
	place := `() => document.querySelectorAll("tbody tr")[12].getBoundingClientRect().top`
	top, focus := eval[float64](tab, place), eval[string](tab, `() => document.activeElement.innerText`)
	for range 3 {
		s.publish("/many/20", "more")
	}
	tab.until(figure("/many/20") + ` === "3"`)
	if after := eval[string](tab, order); after != before {
		t.Errorf("the rows were\n%s\nand are\n%s", before, after)
	}
	if now := eval[float64](tab, place); now < top-1 || now > top+1 {
		t.Errorf("what is read has moved from %v to %v", top, now)
	}
	if now := eval[string](tab, `() => document.activeElement.innerText`); now != focus {
		t.Errorf("the focus was on %q and is on %q", focus, now)
	}

	tab.ok("/admin/consumers?search=many/01") // another one is looked for then
	tab.until(live)
	eval[bool](tab, `() => { const e = document.getElementById("search"); e.value = "many/29"; e.dispatchEvent(new Event("input")); return true }`)
	tab.until(figure("/many/29") + ` === "0"`)
	s.publish("/many/29", "more")
	tab.until(figure("/many/29") + ` === "1"`)

	tab.ok("/admin/topics/%2Forders")
	tab.until(live)
	eval[bool](tab, `() => { getSelection().selectAllChildren(document.querySelector("#depth")); return true }`)
	s.publish("/orders", "first")
	tab.until(`document.querySelector("#consumers td.num").innerText === "1"`)
	if got := eval[string](tab, `() => document.querySelector("#depth").firstChild.data`); got != "0" {
		t.Errorf("what is selected has changed to %q", got)
	}
	eval[bool](tab, `() => { getSelection().empty(); return true }`)
	tab.until(`document.querySelector("#depth").firstChild.data === "1"`)

	refused := `() => document.querySelector("#consumers").getBoundingClientRect().top`
	if tab.shows("#refusals") {
		t.Error("a refusal is shown before there is one")
	}
	eval[bool](tab, `() => { document.querySelector("#consumers").scrollIntoView(); return scrollY > 0 }`)
	top = eval[float64](tab, refused)
	s.receive("erp", "p2", "/orders", "wrong")
	tab.until(`/403 unknown sub_key/.test(document.querySelector("#refusals li")?.innerText)`)
	if now := eval[float64](tab, refused); now < top-1 || now > top+1 {
		t.Errorf("a refusal has moved what is read from %v to %v", top, now)
	}

	tab.follow("#consumers tbody a")
	tab.until(live)
	s.receive("erp", "p2", "/orders", "wrong")
	tab.until(`/×2/.test(document.querySelector("#refusals li")?.innerText)`)
	s.publish("/orders", "second")
	tab.until(`document.querySelector("#backlog").firstChild.data === "2"`)

	// The consumer's chart has what is going on, its latest values stand in the caption, and the time only where one is pointed at.
	legend := `[...document.querySelectorAll("#chart-backlog figcaption .u-series")].filter(tr => tr.offsetHeight).map(tr => [...tr.children].map(c => c.textContent).join(" ")).join("; ")`
	tab.until(legend + ` === "Backlog 2"`)
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 2 {
		t.Fatalf("received %v", m)
	}
	tab.until(`/^Delivered 0[.][0-9]+ Acknowledged 0$/.test([...document.querySelectorAll("#chart-rates figcaption .u-series")].filter(tr => tr.offsetHeight).map(tr => [...tr.children].map(c => c.textContent).join(" ")).join(" "))`)
	tab.do(chromedp.ScrollIntoView("#chart-backlog .u-over"))
	box := eval[struct{ X, Y float64 }](tab, `() => { const b = document.querySelector("#chart-backlog .u-over").getBoundingClientRect(); return { X: b.right - 3, Y: b.top + 20 } }`)
	tab.do(chromedp.MouseEvent("mouseMoved", box.X, box.Y))
	tab.until(`/Time [0-9:]+/.test(` + legend + `)`)
	if err := endSessions(t.Context(), s.a); err != nil {
		t.Fatal(err)
	}
	tab.until(`document.querySelector("#live.out")?.textContent === "You were signed out. Sign in again"`)
	tab.mu.Lock()
	tab.faults = slices.DeleteFunc(tab.faults, func(f string) bool {
		return strings.Contains(f, "/admin/live?") && strings.HasSuffix(f, ": status 401")
	}) // by that it knows
	tab.mu.Unlock()
}
