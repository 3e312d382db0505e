package acceptance

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pipit/admin"
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
	if err := endSessions(t.Context(), s.a); err != nil {
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

// While a server takes its time the button that was clicked says so, all of the form are off, and a second click sends nothing.
func TestBrowserBusy(t *testing.T) {
	browses(t)
	target, busy := &url.URL{}, make(chan struct{})
	answer := sync.OnceFunc(func() { close(busy) })
	var sent atomic.Int32
	slow := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		if r.In.Method == http.MethodPost && strings.HasSuffix(r.In.URL.Path, "/publish") {
			sent.Add(1)
			<-busy
		} else if r.In.URL.RawQuery == "q=answer" {
			answer()
		}
		r.SetURL(target)
	}})
	t.Cleanup(slow.Close)
	t.Cleanup(answer)
	s := newSite(t, true, func(o *admin.Options) { o.Origin = slow.URL })
	*target = url.URL{Scheme: "http", Host: s.url[len("http://"):]}
	s.example()
	s.url = slow.URL

	tab := s.profile().signIn()
	tab.ok("/admin/topics/%2Forders/publish")
	tab.fill("form#publish", "payload", "once")
	eval[bool](tab, `() => { // which is asked nothing while it is on its way elsewhere
		const form = document.querySelector("form#publish");
		window.state = () => [form.getAttribute("aria-busy"), ...[...form.querySelectorAll("button:not([type=button])")].map(b => b.textContent + (b.disabled ? " off" : ""))].join(", ");
		form.addEventListener("submit", () => setTimeout(async () => {
			sessionStorage.setItem("seen", window.state());
			form.querySelector("button.primary").click();
			form.requestSubmit(); // as Enter and Ctrl+Enter do
			await fetch("/admin/search?q=answer");
		}), { once: true });
		return true;
	}`)
	tab.follow("form#publish button.primary")
	tab.sees("Published as")
	if got := eval[string](tab, `() => sessionStorage.getItem("seen")`); got != "true, Publish… off, Publish, and another one off" {
		t.Errorf("on its way: %s", got)
	}
	if n := sent.Load(); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 1 {
		t.Errorf("received %v", m)
	}
}
