package acceptance

import (
	"net/http"
	"testing"
)

// A sub_key is replaced within four clicks from the overview, the last of which shows the new one; who has the old one goes on,
// until that is refused by a button.
func TestBrowserRotate(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	page, old := consumerPage(s.b.Consumers()[0].ID), "key-of-erp"
	s.publish("/orders", "one")

	clicks := 0
	click := func(do func(string), selector string) {
		t.Helper()
		clicks++
		do(selector)
	}
	click(tab.follow, "#nav-consumers")
	click(tab.follow, `main a[href="`+page+`"]`)
	click(tab.press, "details:has(#rotate) > summary")
	click(tab.follow, "#rotate button")
	key := tab.text("#sub-key")
	if clicks > 4 {
		t.Errorf("%d clicks", clicks)
	}
	tab.sees("The old one is valid for 1d yet", "not used since it was replaced")
	tab.inspect("a consumer with a new sub_key")
	for _, k := range []string{key, old} {
		if _, status := s.receive("erp", "p2", "/orders", k); status != http.StatusOK {
			t.Errorf("sub_key %s: status %d", k, status)
		}
	}
	tab.ok(tab.path()) // shown again
	tab.sees(key, "used last")
	tab.ok(page)
	tab.seesNot(key)
	tab.unfold("#end-overlap")
	tab.save("#end-overlap")
	if _, status := s.receive("erp", "p2", "/orders", old); status != http.StatusForbidden {
		t.Errorf("the old sub_key: status %d", status)
	}
	tab.ok(page)
	tab.sees("an old sub_key")
}
