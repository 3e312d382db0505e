package acceptance

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"pipit/broker"
)

// TestBrowserSearch goes to what it looks for from any page by the keyboard alone.
func TestBrowserSearch(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	s.define(broker.Definition{Topics: []broker.Topic{{Name: "/orders/new"}}})
	id := s.publish("/orders", "x")
	tab := s.profile().signIn()
	tab.do(chromedp.KeyEvent("/"))
	tab.until(`document.activeElement.id === "search-all"`)
	tab.do(chromedp.KeyEvent("ORD"))
	tab.until(`document.querySelectorAll("#found [role=option]").length >= 2`)
	if got := eval[string](tab, `() => document.getElementById("search-all").getAttribute("aria-expanded")`); got != "true" {
		t.Errorf("aria-expanded is %s", got)
	}
	eval[bool](tab, `() => { for (const s of ["main", "#menu", ".who"]) document.querySelector(s).hidden = true; return true }`) // contrasts below it cannot be told
	tab.inspect("what is found")
	eval[bool](tab, `() => { for (const s of ["main", "#menu", ".who"]) document.querySelector(s).hidden = false; return true }`)
	tab.do(chromedp.KeyEvent(kb.Escape))
	if tab.shows("#found") {
		t.Error("Escape does not close it")
	}
	tab.do(chromedp.KeyEvent("ers/n"))
	tab.until(`document.querySelectorAll("#found [role=option]").length === 1`)
	tab.do(chromedp.KeyEvent(kb.ArrowDown))
	if got := eval[string](tab, `() => document.getElementById(document.getElementById("search-all").getAttribute("aria-activedescendant")).innerText`); got == "" {
		t.Error("none is chosen")
	}
	tab.arrive("Enter", chromedp.KeyEvent(kb.Enter))
	tab.at("/admin/topics/%2Forders%2Fnew")

	// The ID of a message leads to its page, without a choice.
	tab.ok("/admin/system")
	tab.do(chromedp.KeyEvent("k", chromedp.KeyModifiers(2))) // with Ctrl
	tab.until(`document.activeElement.id === "search-all"`)
	tab.do(chromedp.KeyEvent(id))
	tab.arrive("Enter", chromedp.KeyEvent(kb.Enter))
	tab.at("/admin/messages/%2Forders/" + id)
}

// TestBrowserFilter filters a list while it types, and chooses all rows of it.
func TestBrowserFilter(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	var def broker.Definition
	for i := range 60 {
		def.Topics = append(def.Topics, broker.Topic{Name: fmt.Sprintf("/t/%02d", i)})
	}
	s.define(def)
	tab := s.profile().signIn()
	tab.ok("/admin/topics")
	if tab.shows(".bulk") {
		t.Error("none is chosen, and there is something to do with them")
	}
	eval[bool](tab, `() => { document.getElementById("search").focus(); return true }`)
	tab.do(chromedp.KeyEvent("t/1"))
	tab.until(`document.querySelectorAll("#topics tbody tr").length === 10`)
	tab.at("/admin/topics?search=t%2F1&sort=name")
	if got := eval[string](tab, `() => document.activeElement.id`); got != "search" {
		t.Errorf("the focus is at %s", got)
	}
	tab.press("#pick-all")
	tab.until(`document.querySelector("[data-chosen]").innerText === "10 selected"`)
	tab.follow(`.bulk [value="off"]`)
	tab.sees("This makes 10 topics inactive")
	tab.inspect("the question")
	tab.save("#bulk")
	tab.at("/admin/topics?search=t%2F1&sort=name")
	tab.sees("Made inactive: 10 topics")
	if topic, _ := s.b.Topic("/t/10"); !topic.Inactive {
		t.Error("it is active")
	}
}
