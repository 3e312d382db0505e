package acceptance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/broker"
	"pipit/broker/property"
)

// What somebody might name a thing, or publish, who means no good.
const (
	hostileTopic   = `/"'><script>window.xss="topic"</script><img src=x onerror=window.xss="topic">{{.}}`
	hostileClient  = `"'><script>window.xss="client"</script><img src=x onerror=window.xss="client">`
	hostileName    = `"'><script>window.xss="name"</script>`
	hostilePayload = `{"x": "</code></pre></textarea><script>window.xss='payload'</script><svg onload=window.xss='payload'>"}`
)

// hostileSite is a site with objects and messages of all kinds, whose names and payloads would run
// scripts if they could. It returns the paths of its pages, with the status that each is expected to have.
func hostileSite(t *testing.T) (*site, map[string]int) {
	s := newSite(t, true, func(o *admin.Options) { o.Cluster = threeNodes() })
	s.example()
	s.define(broker.Definition{
		Clients: []broker.Client{{Username: hostileClient, Name: hostileName, Password: "p"}, {Username: "idle", Name: "Idle", Password: "p", Inactive: true}},
		Topics: []broker.Topic{{Name: hostileTopic, MaxDepth: 10, Expiration: 3600, DedupWindow: time.Minute},
			{Name: "/empty", Inactive: true, MaxDepth: 10, DedupWindow: time.Minute},
			{Name: "/" + strings.Repeat("long-without-a-break", 20), MaxDepth: 10, DedupWindow: time.Minute}},
		Producers: []broker.Producer{{Client: hostileClient, Topic: hostileTopic}, {Client: "idle", Topic: "/empty", Inactive: true}},
		Consumers: []broker.Consumer{
			{Client: hostileClient, Topic: hostileTopic, SubKey: "hostile", MaxDepth: 10, MaxInFlight: 10, AckTimeout: time.Minute},
			{Client: "idle", Topic: "/orders", SubKey: "idle", Inactive: true, MaxDepth: 1000, MaxInFlight: 10, AckTimeout: time.Minute},
			{Client: "idle", Topic: "/orders", Name: "sent", Inactive: true, DeliveryMode: broker.DeliveryCallback, CallbackURL: hostileReceiver(t)}},
		Webhooks: []broker.Webhook{{Name: "shop", Topic: hostileTopic, Client: hostileClient, Verify: broker.VerifyHMAC, Header: "X-Signature",
			Secret: property.TextsOf("a secret of the shop"), Prefix: `"><b>`}},
	})
	for _, c := range s.b.Consumers() {
		if c.Name == "sent" {
			if _, err := s.sender.Test(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.a.Alerts.Adjust(alert.Options{URL: hostileReceiver(t)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.a.Alerts.Test(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := access.CreateAdministrator(t.Context(), s.b, hostileName, adaPassword); err != nil {
		t.Fatal(err)
	}
	hostile := s.publish(hostileTopic, hostilePayload, broker.WithMIMEType(`text/html"><script>window.xss="mime"</script>`), broker.WithProducer(hostileName))
	for range 8 { // nearly full
		s.publish(hostileTopic, hostilePayload, broker.WithMIMEType("application/json"))
	}
	s.publish("/orders", "in flight", broker.WithPriority(9))
	s.publish("/orders", "rejected", broker.WithPriority(8))
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 2 {
		t.Fatalf("received %v", m)
	} else if status, _ := s.call("POST", "/zato/pubsub/ack/", `{"reject": ["`+m[1].ID+`"], "delay": 3600}`, asClient("erp", "p2", "key-of-erp")); status != http.StatusOK {
		t.Fatalf("rejecting: %d", status)
	}
	gone := s.publish("/orders", "gone", broker.WithCorrelationID(`"><script>window.xss="correlation"</script>`))
	if _, err := s.b.DeleteMessages(t.Context(), "/orders", []string{gone}); err != nil {
		t.Fatal(err)
	}
	xml := s.publish("/orders", "<a><b>1</b><!-- "+hostilePayload+" --></a>", broker.WithMIMEType("application/xml"))
	binary := s.publish("/orders", "\x00\x01\xff<script>window.xss='binary'</script>")
	long := s.publish("/orders", strings.Repeat("one long word", 30_000))
	empty := s.publish("/orders", "")
	delayed := s.publish("/orders", "later", broker.WithDelay(3600))
	for i := range 60 { // more than a page
		s.publish("/orders", fmt.Sprint("order ", i))
	}

	seg := url.PathEscape
	pages := map[string]int{
		"/admin/":             200,
		"/admin/?range=day":   200,
		"/admin/connect":      200,
		"/admin/topics":       200,
		"/admin/topics?new=1": 200,
		"/admin/search":       200, "/admin/search?q=e": 200, "/admin/search?q=" + url.QueryEscape(hostileTopic[1:5]): 200, "/admin/search?q=none+at+all": 200,
		"/admin/topics?search=none":                                     200,
		"/admin/topics?search=" + url.QueryEscape(hostileTopic):         200,
		"/admin/topics?sort=depth&desc=1":                               200,
		"/admin/topics/" + seg(hostileTopic):                            200,
		"/admin/topics/%2Fempty":                                        200,
		"/admin/topics/" + seg(hostileTopic) + "/edit":                  200,
		"/admin/topics/" + seg(hostileTopic) + "/delete":                200,
		"/admin/topics/" + seg(hostileTopic) + "/publish":               200,
		"/admin/topics/" + seg(hostileTopic+"/none"):                    404,
		"/admin/clients":                                                200,
		"/admin/clients?new=1":                                          200,
		"/admin/clients/" + seg(hostileClient):                          200,
		"/admin/clients/idle":                                           200,
		"/admin/clients/" + seg(hostileClient) + "/edit":                200,
		"/admin/clients/" + seg(hostileClient) + "/delete":              200,
		"/admin/producers":                                              200,
		"/admin/producers?new=1":                                        200,
		"/admin/producers?client=" + url.QueryEscape(hostileClient):     200,
		"/admin/consumers":                                              200,
		"/admin/consumers?new=1&topic=" + url.QueryEscape(hostileTopic): 200,
		"/admin/consumers?topic=" + url.QueryEscape(hostileTopic):       200,
		"/admin/consumers/999999":                                       404,
		"/admin/webhooks":                                               200,
		"/admin/topics/" + seg(hostileTopic) + "/redrive":               200,
		"/admin/webhooks?new=1":                                         200,
		"/admin/webhooks/shop":                                          200,
		"/admin/webhooks/shop/edit":                                     200,
		"/admin/webhooks/shop/delete":                                   200,
		"/admin/messages":                                               200,
		"/admin/messages?topic=%2Forders":                               200,
		"/admin/messages?topic=%2Forders&text=nowhere":                  200,
		"/admin/messages?topic=%2Forders&state=delayed":                 200,
		"/admin/messages?topic=%2Fempty":                                200,
		"/admin/messages?topic=" + url.QueryEscape(hostileTopic):        200,
		"/admin/messages?text=x&topic=" + url.QueryEscape(hostileTopic+`"'><script>window.xss="query"</script>`): 422,
		"/admin/messages/%2Forders/" + xml:                                                     200,
		"/admin/messages/%2Forders/" + binary:                                                  200,
		"/admin/messages/%2Forders/" + long:                                                    200,
		"/admin/messages/%2Forders/" + empty:                                                   200,
		"/admin/messages/%2Forders/" + delayed:                                                 200,
		"/admin/messages/%2Forders/none":                                                       404,
		"/admin/messages/%2Forders/" + gone:                                                    404,
		"/admin/messages?id=" + url.QueryEscape(`"><script>window.xss="correlation"</script>`): 200,
		"/admin/messages/" + seg(hostileTopic) + "/" + hostile:                                 200,
		"/admin/messages/" + seg(hostileTopic) + "/" + hostile + "/publish":                    200,
		"/admin/messages/" + seg("/orders") + "/" + binary + "/publish":                        200,
		"/admin/system": 200, "/admin/system/cluster": 200,
		"/admin/system/access": 200,
		"/admin/system/audit":  200,
		"/admin/alerts":        200, "/admin/system/backups": 200, "/admin/system/definitions": 200,
		"/admin/system/administrators/" + seg(hostileName):               200,
		"/admin/system/administrators/ada":                               200,
		"/admin/nowhere/" + seg(`"'><script>window.xss="path"</script>`): 404,
	}
	s.define(broker.Definition{Webhooks: []broker.Webhook{{Name: "shop", Topic: hostileTopic, Client: hostileClient, Verify: broker.VerifyHMAC,
		Header: "X-Sig", Prefix: `"'><script>`, Secret: property.TextsOf("a long secret of it")}}})
	for _, page := range []string{"", "?new=1", "/shop", "/shop/edit", "/shop/delete"} {
		pages["/admin/webhooks"+page] = 200
	}
	for _, p := range s.b.Producers() {
		base := fmt.Sprint("/admin/producers/", p.ID)
		pages[base], pages[base+"/edit"], pages[base+"/delete"] = 200, 200, 200
	}
	for _, c := range s.b.Consumers() {
		base := consumerPage(c.ID)
		pages[base], pages[base+"/edit"], pages[base+"/delete"] = 200, 200, 200
		pages[base+"/replay?to=oldest"] = 200
		pages["/admin/connect/done?consumer="+base[len("/admin/consumers/"):]+"&sender="+url.QueryEscape(hostileClient)] = 200
		pages["/admin/messages?consumer="+base[len("/admin/consumers/"):]] = 200
	}
	return s, pages
}

// hostileReceiver is the URL of one that answers what is sent to it with a script.
func hostileReceiver(t *testing.T) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		_, _ = io.WriteString(w, hostilePayload)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestBrowserPages opens every page, with all that is folded, in the light and the dark scheme and as wide as a
// phone. None runs what is hostile, asks for anything from elsewhere, is hard to use for some, or
// has to be scrolled sideways.
func TestBrowserPages(t *testing.T) {
	browses(t)
	s, pages := hostileSite(t)
	groups := map[string][]string{}
	opened := []string{"/admin/login", "/admin/setup"} // below
	for path := range pages {
		kind := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '?' })[1:]
		if len(kind) == 0 || strings.Contains(kind[0], "=") {
			kind = []string{"overview"}
		}
		groups[kind[0]] = append(groups[kind[0]], path)
		opened = append(opened, path)
	}
	for kind, paths := range groups {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			tab := s.in(t).profile().signIn()
			for _, path := range slices.Sorted(slices.Values(paths)) {
				if status := tab.open(path); status != pages[path] {
					t.Errorf("%s: status %d, expected %d", path, status, pages[path])
				}
				if n := tab.weight(); n > maxWeight {
					t.Errorf("%s: %d bytes are fetched for it, at most %d are wanted", path, n, maxWeight)
				}
				tab.inspect(path)
			}
		})
	}
	for _, route := range pagePaths(s.a) {
		if !slices.ContainsFunc(opened, func(path string) bool { return matches(route, path) }) {
			t.Errorf("no page of %s is opened", route)
		}
	}
}

// maxWeight is how many bytes a page may need with an empty cache, as they are transferred.
const maxWeight = 100 << 10

// weight returns how many bytes the page and what it has loaded have, whether they came from the cache or not.
func (t *tab) weight() int {
	t.Helper()
	return eval[int](t, `() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].reduce((sum, e) => sum + e.encodedBodySize, 0)`)
}

// matches tells whether a path is one of a route.
func matches(route, path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return slices.EqualFunc(strings.Split(route, "/"), strings.Split(path, "/"), func(x, y string) bool {
		return x == y || strings.HasPrefix(x, ":") && y != ""
	})
}

// TestBrowserAnswers does with the pages that answer a form what TestBrowserPages does with the others.
func TestBrowserAnswers(t *testing.T) {
	browses(t)
	s, _ := hostileSite(t)
	tab := s.profile()
	topic := "/admin/topics/" + url.PathEscape(hostileTopic)
	refused := func(form string, status int) {
		t.Helper()
		if got := tab.send(form); got != status {
			t.Errorf("%s: status %d, expected %d", form, got, status)
		}
	}
	tab.ok("/admin/login?next=" + url.QueryEscape(`/admin/"><script>window.xss="next"</script>`))
	tab.inspect("signing in")
	tab.fill("#login", "name", hostileClient, "password", "wrong")
	refused("#login", http.StatusUnauthorized)
	tab.inspect("a wrong password")
	tab.signIn()

	tab.ok("/admin/system/access")
	tab.unfold("#token")
	tab.fill("#token", "name", hostileName)
	tab.save("#token")
	tab.inspect("a new token")
	tab.ok("/admin/clients?new=1")
	tab.fill("#client", "username", "<b>new</b>")
	tab.save("#client")
	tab.inspect("a new password")
	tab.ok("/admin/topics?new=1")
	tab.fill("#topic", "name", hostileTopic)
	refused("#topic", http.StatusConflict)
	tab.inspect("a name that is taken")
	tab.ok(topic + "/edit")
	now, _ := s.b.Topic(hostileTopic)
	now.MaxDepth++
	s.define(broker.Definition{Topics: []broker.Topic{now.Topic}})
	tab.fill("#topic", "expiration", "1")
	refused("#topic", http.StatusConflict)
	tab.inspect("a topic that was changed meanwhile")
	tab.ok(topic + "/publish")
	tab.fill("form#publish", "payload", hostilePayload)
	tab.save("form#publish")
	tab.inspect("what was published")
	tab.ok(topic + "/delete")
	tab.fill("#delete", "confirm", hostileTopic)
	tab.save("#delete")
	tab.inspect("a topic that was deleted")
	tab.ok("/admin/system/audit")
	tab.inspect("the audit log")
}

// TestBrowserEmpty does the same with a site that has nothing.
func TestBrowserEmpty(t *testing.T) {
	browses(t)
	s := newSite(t, false)
	link := s.a.SetupURLs()[0]
	tab := s.profile()
	tab.open("/admin/")
	tab.inspect("not set up")
	tab.ok(link)
	tab.inspect("the set-up")
	tab.fill("#setup", "name", adaName, "password", adaPassword)
	tab.save("#setup")
	for _, path := range []string{"/admin/", "/admin/topics", "/admin/clients", "/admin/producers", "/admin/consumers", "/admin/webhooks", "/admin/messages", "/admin/system/audit"} {
		tab.ok(path)
		tab.inspect("empty " + path)
	}
}

// TestBrowserChecks shows that what the other tests look for would be found.
func TestBrowserChecks(t *testing.T) {
	browses(t)
	tab := newSite(t, true).profile().signIn()
	eval[bool](tab, `() => {
		const image = document.createElement("img"), faint = document.createElement("p"), wide = document.createElement("div");
		image.src = "data:,";
		faint.textContent = "faint";
		faint.style.color = "light-dark(rgb(240 240 240), rgb(40 40 40))";
		wide.style.width = "500px";
		wide.textContent = "wide";
		document.querySelector("main").append(image, faint, wide);
		return true;
	}`)
	tab.loadAxe()
	for _, scheme := range []string{"light", "dark"} {
		found := map[string]string{}
		for _, f := range tab.findings(scheme) {
			found[f.ID] = f.Impact
		}
		if found["color-contrast"] != "serious" || scheme == "light" && found["image-alt"] != "critical" {
			t.Errorf("%s: found %v", scheme, found)
		}
	}
	if wide := tab.tooWide(); len(wide) != 1 || !strings.Contains(wide[0], "500px") {
		t.Errorf("too wide: %q", wide)
	}

	for _, bad := range []struct{ what, function string }{
		{"Content-Security-Policy", `() => { const e = document.createElement("script"); e.textContent = "window.xss = 1"; document.head.append(e); return true }`},
		{"Content-Security-Policy", `() => { document.body.insertAdjacentHTML("beforeend", "<a id=bad onclick='window.xss = 1'>x</a>"); document.querySelector("#bad").click(); return true }`},
		{"asks for", `() => { const e = new Image(); e.src = "http://127.0.0.1:9/elsewhere.png"; return true }`},
		{"exception", `() => { setTimeout(() => { throw new Error("thrown") }); return true }`},
		{"console", `() => { console.info("a word"); return true }`},
		{"status 404", `() => fetch("/admin/nowhere").then(() => true)`},
		{"dialog", `() => { setTimeout(() => alert("hello")); return true }`},
	} {
		eval[bool](tab, bad.function)
		ctx, cancel := context.WithTimeout(tab.ctx, actionTime)
		tick := time.NewTicker(10 * time.Millisecond)
		for found := false; !found; {
			tab.mu.Lock()
			found = slices.ContainsFunc(tab.faults, func(f string) bool { return strings.Contains(f, bad.what) })
			if found {
				tab.faults = nil
			}
			tab.mu.Unlock()
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("%s: nothing was noticed", bad.function)
			}
		}
		tick.Stop()
		cancel()
	}
	if xss := eval[string](tab, `() => String(window.xss)`); xss != "undefined" {
		t.Error("a script has run")
	}
}

// TestBrowserMoved clicks what moves away under the mouse.
func TestBrowserMoved(t *testing.T) {
	browses(t)
	tab := newSite(t, true).profile().signIn()
	tab.ok("/admin/topics")
	eval[bool](tab, `() => {
		const tall = document.createElement("div");
		tall.style.height = "200px";
		addEventListener("mousedown", () => document.querySelector("main").prepend(tall), { capture: true, once: true });
		return true;
	}`)
	tab.follow("#new")
	tab.at("/admin/topics?new=1")
}

// axe is the source of the script that finds what makes a page hard to use for some.
var axe = sync.OnceValues(func() (string, error) {
	b, err := os.ReadFile("testdata/axe-core/axe.min.js")
	return string(b), err
})

func (t *tab) loadAxe() {
	t.Helper()
	source, err := axe()
	if err != nil {
		t.Fatal(err)
	}
	t.do(chromedp.Evaluate[chromedp.Void](source))
}

// finding is what axe found.
type finding struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, Why string }
}

// findings returns what axe finds in a scheme, or cannot tell: in the dark one, only what colours do. It names no selectors of what it
// finds, which takes most of its time, since the elements themselves are quoted.
func (t *tab) findings(scheme string) []finding {
	t.Helper()
	t.scheme(scheme)
	return eval[[]finding](t, `async dark => {
		const found = await axe.run(document, { resultTypes: ["violations", "incomplete"], selectors: false, ...(dark && { runOnly: ["color-contrast", "link-in-text-block"] }) });
		for (const v of found.incomplete) v.nodes = v.nodes.filter(n => !n.html.includes('class="none"')); // it is over a canvas
		return [...found.violations, ...found.incomplete.filter(v => v.nodes.length)].map(v => ({
			ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map(n => ({ HTML: n.html, Why: n.failureSummary })),
		}));
	}`, scheme == "dark")
}

// tooWide returns what makes the page wider than a small phone, a tablet or a large screen.
func (t *tab) tooWide() (wide []string) {
	t.Helper()
	for _, width := range []int64{320, 768, 1920} {
		t.do(chromedp.EmulateViewport(width, 740))
		if wide = append(wide, t.wide()...); len(wide) > 0 {
			break
		}
	}
	t.do(chromedp.EmulateViewport(1280, 900))
	return wide
}

// wide returns what makes the page wider than it is shown.
func (t *tab) wide() []string {
	t.Helper()
	return eval[[]string](t, `async () => {
		await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))); // charts follow the width
		const root = document.documentElement;
		if (root.scrollWidth <= innerWidth) return [];
		const scrolls = e => e && (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
		const wide = [...document.body.querySelectorAll("*")].filter(e => e.getBoundingClientRect().right > root.clientWidth + 1 && !scrolls(e.parentElement));
		return wide.length ? wide.slice(0, 5).map(e => e.cloneNode(false).outerHTML.slice(0, 200)) : ["something"];
	}`)
}

// inspect looks at the page that is open.
func (t *tab) inspect(what string) {
	t.Helper()
	t.until(`[...document.querySelectorAll(".chart .plot")].every(p => p.querySelector("canvas"))`)
	eval[bool](t, `() => { for (const d of document.querySelectorAll("details")) d.open = true; return true }`)
	t.loadAxe()
	for _, scheme := range []string{"dark", "light"} {
		for _, f := range t.findings(scheme) {
			report := t.Logf
			if f.Impact == "serious" || f.Impact == "critical" {
				report = t.Errorf
			}
			for _, n := range f.Nodes[:min(len(f.Nodes), 3)] {
				report("%s, %s: %s: %s (%s)\n%s\n%s", what, scheme, f.Impact, f.Help, f.ID, n.HTML, n.Why)
			}
		}
	}
	if wide := t.tooWide(); len(wide) > 0 {
		t.Errorf("%s: it has to be scrolled sideways, because of\n%s", what, strings.Join(wide, "\n"))
	}
}

func TestBrowserSchemes(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile().signIn()
	// brightness of the text, 0 to 255 × 3
	bright := func() int {
		t.Helper()
		return eval[int](tab, `() => getComputedStyle(document.body).color.match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)`)
	}
	light := bright()
	tab.scheme("dark")
	dark := bright()
	if light > 200 || dark < 500 {
		t.Fatalf("the brightness of the text is %d in the light scheme, %d in the dark one", light, dark)
	}
	tab.press("#theme") // the other one, from now on
	if bright() != light {
		t.Error("the button does not change the scheme")
	}
	tab.follow("#nav-topics")
	if bright() != light {
		t.Error("the choice is gone on the next page")
	}
}

func TestBrowserTimes(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	id := s.publish("/orders", "x")
	tab := s.profile().signIn()
	tab.do(call(emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "Asia/Kathmandu"})) // 5:45 ahead of UTC
	tab.ok("/admin/messages/%2Forders/" + id)
	type shown struct{ At, Text, Title string }
	got := eval[shown](tab, `() => {
		const e = [...document.querySelectorAll("#metadata time")].find(e => !("ago" in e.dataset));
		return { At: e.dateTime, Text: e.innerText, Title: e.title };
	}`)
	at, err := time.Parse(time.RFC3339, got.At)
	if err != nil {
		t.Fatal(err)
	}
	if want := at.UTC().Add(5*time.Hour + 45*time.Minute).Format(time.DateTime); got.Text != want {
		t.Errorf("shown is %s, expected %s", got.Text, want)
	}
	if want := at.UTC().Format(time.DateTime); !strings.Contains(got.Title, want) || !strings.Contains(got.Title, "UTC") {
		t.Errorf("the title is %q, expected %s UTC", got.Title, want)
	}
}

func TestBrowserLive(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	s.publish("/orders", "first")
	tab := s.profile().signIn()
	tab.until(`document.querySelector("#live").textContent === "Live"`)
	eval[bool](tab, `() => window.loadedOnce = true`)
	if got := tab.text(`[data-tile="backlog"]`); got != "1" {
		t.Errorf("the backlog is %s", got)
	}
	s.publish("/orders", "second")
	tab.until(`document.querySelector('[data-tile="backlog"]').textContent === "2"`)
	if m, _ := s.receive("erp", "p2", "/orders", "key-of-erp"); len(m) != 2 {
		t.Fatalf("received %v", m)
	}
	tab.until(`document.querySelector('[data-tile="in-flight"]').textContent === "2"`)
	if !eval[bool](tab, `() => window.loadedOnce === true`) {
		t.Error("the page was loaded again")
	}
}

// TestBrowserKeyboard signs in and creates a topic without a mouse.
func TestBrowserKeyboard(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	tab := s.profile()
	// to presses Tab until an element has the focus, which has to be seen.
	to := func(selector string) {
		t.Helper()
		for range 40 {
			if eval[bool](tab, `s => document.activeElement.matches(s)`, selector) {
				if !eval[bool](tab, `() => document.activeElement.matches(":focus-visible") && getComputedStyle(document.activeElement).outlineStyle !== "none"`) {
					t.Errorf("it is not seen that %s has the focus", selector)
				}
				return
			}
			tab.do(chromedp.KeyEvent(kb.Tab))
		}
		t.Fatalf("Tab does not lead to %s", selector)
	}
	write := func(text string) {
		t.Helper()
		tab.do(call(input.InsertText, input.InsertTextParams{Text: text}))
	}
	enter := func() {
		t.Helper()
		if status := tab.arrive("Enter", chromedp.KeyEvent(kb.Enter)); status != http.StatusOK {
			t.Fatalf("status %d\n%s", status, tab.text("main"))
		}
	}
	tab.ok("/admin/login")
	to("#name")
	write(adaName)
	to("#password")
	write(adaPassword)
	to("#sign-in")
	enter()
	tab.at("/admin/")
	to("a.skip")
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until(`document.activeElement.matches("main")`)

	tab.ok("/admin/")
	to("#nav-topics")
	enter()
	to("#new")
	enter()
	tab.until(`document.activeElement.matches("#topic-name")`)
	write("/by/keyboard")
	to("#topic-is_active")
	tab.do(chromedp.KeyEvent(" "))
	to("#topic > .button")
	enter()
	tab.at("/admin/topics/%2Fby%2Fkeyboard")
	tab.sees("The topic was created", "The topic is inactive")
}
