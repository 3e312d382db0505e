package admin_test

import (
	"net/http"
	"strings"
	"testing"
)

// What was typed is there again after the session has ended, and after the page was left; no secret is kept, and nothing of what was done.
func TestBrowserDrafts(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	value := func(selector string) string {
		return eval[string](tab, `s => document.querySelector(s).value`, selector)
	}
	stored := func() string { return eval[string](tab, `() => JSON.stringify(sessionStorage)`) }

	tab.ok("/admin/topics/%2Forders/publish")
	tab.fill("form#publish", "payload", "typed for an hour", "correlation_id", "c-1", "priority", "9")
	if err := s.a.EndSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	tab.send("form#publish")
	tab.sees("You were signed out, and nothing was changed. What you typed is kept.")
	tab.fill("#login", "name", adaName, "password", adaPassword)
	tab.save("#login")
	tab.at("/admin/topics/%2Forders/publish")
	tab.sees("What you typed before is here again, and not sent yet.")
	tab.inspect("a draft")
	if p, c, n := value(`[name="payload"]`), value(`[name="correlation_id"]`), value(`[name="priority"]`); p != "typed for an hour" || c != "c-1" || n != "9" {
		t.Fatalf("%q, %q, %q", p, c, n)
	}
	tab.save("form#publish")
	if m, status := s.receive("erp", "p2", "/orders", "key-of-erp"); status != http.StatusOK || len(m) != 1 || m[0].Payload != "typed for an hour" {
		t.Fatal(status, m)
	}
	if kept := stored(); strings.Contains(kept, "typed") {
		t.Error("what was done is still kept:", kept)
	}
	tab.ok("/admin/topics/%2Forders/publish")
	tab.seesNot("here again")

	// A page that is left and opened again; passwords are not kept, and a draft can be thrown away.
	tab.ok("/admin/clients?new=1")
	tab.fill("#client", "username", "shop", "password", "a secret of it")
	if kept := stored(); strings.Contains(kept, "a secret") || !strings.Contains(kept, "shop") {
		t.Error(kept)
	}
	tab.ok("/admin/")
	tab.ok("/admin/clients?new=1")
	if u, p := value(`[name="username"]`), value(`[name="password"]`); u != "shop" || p != "" {
		t.Errorf("%q, %q", u, p)
	}
	tab.press("#client .restored button")
	if u := value(`[name="username"]`); u != "" {
		t.Errorf("%q", u)
	}
	tab.ok("/admin/clients?new=1")
	tab.seesNot("here again")
}

// While a form is on its way its button says so, and is off.
func TestBrowserBusy(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	tab.ok("/admin/topics/%2Forders/publish")
	got := eval[string](tab, `async () => {
		const form = document.querySelector("form#publish");
		form.dispatchEvent(new SubmitEvent("submit", {cancelable: true})); // which sends nothing: as if the answer took its time
		await new Promise(r => setTimeout(r));
		const b = form.querySelector("button:not([type=button])");
		return [form.getAttribute("aria-busy"), b.disabled, b.textContent].join(" ");
	}`)
	if got != "true true Publish…" {
		t.Error(got)
	}
}
