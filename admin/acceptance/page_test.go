package acceptance

import (
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/login"
)

// noticeCookie is the cookie that keeps what the next page tells, and accessURL the page of who may in.
const (
	noticeCookie = "pipit_notice"
	accessURL    = "/admin/system/access"
)

// sticky are names that a page must not take for anything but text.
var sticky = []string{
	`<script>alert(1)</script>`,
	`"><img src=x onerror=alert(1)>`,
	`' onfocus='alert(1)`,
	`{{.Version}}`,
	`javascript:alert(1)`,
	`/../../etc`,
	`..`,
	"\u05e9\u05dc\u05d5\u05dd /\u0627\u0644",
	strings.Repeat("long", 32),
	"a b&c=d?e#f%2F%",
}

// forbidden is what no page may have: script, style or handlers within it, and anything of elsewhere.
var forbidden = []*regexp.Regexp{
	regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<]`),
	regexp.MustCompile(`(?i)<script(?:>|\s+(?:[^s]|s[^r]))`),
	regexp.MustCompile(`(?i)<style`),
	regexp.MustCompile(`(?i)<[a-z][^>"]*(?:"[^"]*"[^>"]*)*\sstyle\s*=`),
	regexp.MustCompile(`(?i)<[a-z][^>"]*(?:"[^"]*"[^>"]*)*\son[a-z]+\s*=`),
	regexp.MustCompile(`(?i)(?:href|src|action)\s*=\s*"?\s*(?:javascript|data):`),
	regexp.MustCompile(`(?i)(?:src|action|srcset|<link[^>]*href)\s*=\s*"(?:https?:)?//`),
	regexp.MustCompile(`ZgotmplZ|&lt;no value&gt;|%!\w?\(`),
}

func TestTemplatesAreStrict(t *testing.T) {
	files := os.DirFS("../web")
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		content, err := fs.ReadFile(files, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, re := range forbidden {
			if found := re.Find(content); found != nil {
				t.Errorf("%s has %q", name, found)
			}
		}
	}
	for _, bad := range []string{`<p style="x">`, `<a title="y" onclick = "x">`, `<script>x</script>`, `<script type="module">x`, `<style>`, `<a href="javascript:x">`, `<img src="//x">`, `<link rel="stylesheet" href="https://x">`} {
		caught := false
		for _, re := range forbidden {
			caught = caught || re.MatchString(bad)
		}
		if !caught {
			t.Errorf("%s is not caught", bad)
		}
	}
	for _, name := range []string{"assets/admin.js", "assets/theme.js"} {
		content, _ := fs.ReadFile(files, name)
		if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://`).Find(content); m != nil {
			t.Errorf("%s has %q", name, m)
		}
	}
}

// TestStickyNames has every page of objects whose names are meant to break it.
func TestStickyNames(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	paths := []string{"/admin/", "/admin/?range=day", "/admin/topics", "/admin/clients", "/admin/producers", "/admin/consumers", "/admin/messages",
		"/admin/topics?new=1", "/admin/consumers?new=1", "/admin/system", "/admin/system/access", "/admin/system/audit"}
	for i, name := range sticky {
		who := access.Caller{Actor: gate.Actor{Name: name, Via: "web", Addr: "192.0.2.1", Access: gate.Admin}}
		username := strings.ReplaceAll(name, ":", ";") // the one character that it cannot have
		w.define(broker.Definition{
			Clients:   []broker.Client{{Username: username, Name: name, PasswordHash: watchedHash, Inactive: i%2 != 0}},
			Topics:    []broker.Topic{w.topic(name, 1)},
			Producers: []broker.Producer{{Client: username, Topic: name}},
			Consumers: []broker.Consumer{{Client: username, Topic: name, SubKey: fmt.Sprint("sticky-", i), MaxDepth: 10, MaxInFlight: 10, AckTimeout: time.Minute}},
		})
		w.publish(name, 1, broker.WithProducer(name), broker.WithMIMEType("text/html"))
		if _, err := w.a.Users.CreateAdministrator(t.Context(), who, name, "correct horse", ""); err == nil {
			paths = append(paths, "/admin/system/administrators/"+text.Segment(name))
		} else if broker.CodeOf(err) != broker.Invalid { // not every name is one for administrators
			t.Fatal(err)
		}
		if _, err := w.a.Users.CreateToken(t.Context(), who, access.NewToken{Name: name}); err != nil && broker.CodeOf(err) != broker.Invalid {
			t.Fatal(err)
		}
		paths = append(paths, "/admin/topics/"+text.Segment(name), "/admin/topics/"+text.Segment(name)+"/edit", "/admin/topics/"+text.Segment(name)+"/delete", "/admin/topics/"+text.Segment(name)+"/publish",
			"/admin/clients/"+text.Segment(username), "/admin/messages?topic="+url.QueryEscape(name), "/admin/topics?search="+url.QueryEscape(name))
	}
	for _, c := range w.b.Consumers() {
		paths = append(paths, fmt.Sprintf("/admin/consumers/%d", c.ID))
	}
	for _, p := range w.b.Producers() {
		paths = append(paths, fmt.Sprintf("/admin/producers/%d", p.ID))
	}
	for _, path := range paths {
		a := w.call("GET", path, "", withCookie(cookie), asBrowser)
		if a.status != http.StatusOK {
			t.Errorf("%s: %d %.300s", path, a.status, a.body)
			continue
		}
		checkPage(t, path, a)
	}
	if a := w.call("GET", "/admin/", "", withCookie(cookie)); !strings.Contains(a.body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the overview does not show the names")
	}
}

// checkPage checks what holds for every page.
func checkPage(t *testing.T, path string, a authAnswer) {
	t.Helper()
	csp := a.header.Get("Content-Security-Policy")
	if csp == "" || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("%s: policy %q", path, csp)
	}
	if a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v", path, a.header)
	}
	for _, re := range forbidden {
		if found := re.FindString(a.body); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
	for what, want := range map[string]int{"<h1": 1, "<main": 1, "<title>": 1} {
		if n := strings.Count(a.body, what); n != want {
			t.Errorf("%s: %d times %s", path, n, what)
		}
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(`\sid="([^"]*)"`).FindAllStringSubmatch(a.body, -1) {
		if ids[m[1]] {
			t.Errorf("%s: id %q twice", path, m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`\s(?:for|aria-labelledby|list)="([^"]+)"`).FindAllStringSubmatch(a.body, -1) {
		if !ids[m[1]] {
			t.Errorf("%s: nothing has the id %q", path, m[1])
		}
	}
}

func TestAssets(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	hash := regexp.MustCompile(`/admin/assets/([^/"]+)/admin\.css"`).FindStringSubmatch(r.call("GET", gate.LoginPath, "").body)[1]
	for name, want := range map[string]string{
		"admin.css":               "text/css; charset=utf-8",
		"admin.js":                "text/javascript; charset=utf-8",
		"theme.js":                "text/javascript; charset=utf-8",
		"favicon.svg":             "image/svg+xml",
		"uplot/uPlot.iife.min.js": "text/javascript; charset=utf-8",
		"uplot/uPlot.min.css":     "text/css; charset=utf-8",
		"uplot/LICENSE":           "text/plain; charset=utf-8",
	} {
		content, err := os.ReadFile("../web/assets/" + name)
		if err != nil {
			t.Fatal(err)
		}
		link := "/admin/assets/" + hash + "/" + name
		a := r.call("GET", link, "", withHeader("Accept-Encoding", "identity"))
		r.want(a, http.StatusOK)
		if a.body != string(content) || a.header.Get("Content-Type") != want || a.header.Get("Cache-Control") != "public, max-age=31536000, immutable" || a.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", name, a.header)
		}
		a = r.call("GET", link, "", withHeader("Accept-Encoding", "br, gzip"))
		zipped, err := gzip.NewReader(strings.NewReader(a.body))
		if err != nil || a.header.Get("Content-Encoding") != "gzip" {
			t.Fatal(name, err, a.header)
		}
		if text, err := io.ReadAll(zipped); err != nil || string(text) != string(content) {
			t.Error(name, err)
		}
		// What a page of before an upgrade asks for is there, but nobody is to keep it.
		a = r.call("GET", "/admin/assets/0123456789abcdef/"+name, "")
		if a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
	}
	for _, path := range []string{"", hash, hash + "/", hash + "/nothing.css", hash + "/../web.go", hash + "/%2e%2e/web.go", hash + "/uplot", "admin.css"} {
		if a := r.call("GET", gate.AssetsPath+path, ""); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

func TestNotice(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	a := r.login(authName, authPassword)
	out := r.call("POST", "/admin/logout", "", withCookie(a.cookie))
	r.want(out, http.StatusSeeOther)
	var notice *http.Cookie
	for _, c := range (&http.Response{Header: out.header}).Cookies() {
		if c.Name == noticeCookie {
			notice = c
		}
	}
	if notice == nil || !notice.HttpOnly || notice.SameSite != http.SameSiteStrictMode || notice.MaxAge != 30 {
		t.Fatal(notice)
	}
	page := r.call("GET", gate.LoginPath, "", withCookie(notice))
	if !strings.Contains(page.body, "You are signed out.") || !strings.Contains(strings.Join(page.header.Values("Set-Cookie"), " "), noticeCookie+"=; Path=/admin/; Max-Age=0") {
		t.Error(page.header, page.body)
	}
	for _, value := range []string{"!", "_w", strings.Repeat("QUJD", 1000)} {
		page := r.call("GET", gate.LoginPath, "", withCookie(&http.Cookie{Name: noticeCookie, Value: value}))
		r.want(page, http.StatusOK)
		if len(page.body) > 10_000 {
			t.Error("as much as it likes")
		}
	}
}

func TestErrorPages(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	in := w.call("GET", "/admin/nothing", "", withCookie(cookie), asBrowser)
	w.want(in, http.StatusNotFound)
	checkPage(t, "/admin/nothing", in)
	if !strings.Contains(in.body, `id="menu"`) || !strings.Contains(in.body, "There is nothing here.") {
		t.Error(in.body)
	}
	out := w.call("GET", "/admin/nothing", "", asBrowser)
	w.want(out, http.StatusNotFound)
	if strings.Contains(out.body, `id="menu"`) {
		t.Error("a menu for nobody")
	}
}

func TestLoginPage(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	page := r.call("GET", "/admin/login?next=%2Fadmin%2Ftopics", "", asBrowser)
	checkPage(t, gate.LoginPath, page)
	if !strings.Contains(page.body, `name="next" value="/admin/topics"`) {
		t.Error(page.body)
	}
	form := url.Values{"name": {authName}, "password": {"wrong"}, "next": {"/admin/topics"}}
	refused := r.call("POST", gate.LoginPath, form.Encode(), asBrowser)
	r.want(refused, http.StatusUnauthorized)
	checkPage(t, gate.LoginPath, refused)
	if !strings.Contains(refused.body, `role="alert"`) || !strings.Contains(refused.body, "Wrong name or password.") || !strings.Contains(refused.body, `value="`+authName+`"`) || strings.Contains(refused.body, `value="wrong"`) {
		t.Error(refused.body)
	}
	form.Set("password", authPassword)
	in := r.call("POST", gate.LoginPath, form.Encode(), asBrowser)
	r.want(in, http.StatusSeeOther)
	if to := in.header.Get("Location"); to != "/admin/topics" {
		t.Error(to)
	}
	if again := r.call("GET", "/admin/login?next=%2Fadmin%2Fsystem", "", withCookie(in.cookie)); again.header.Get("Location") != "/admin/system" {
		t.Error(again.header)
	}
	form.Set("password", "wrong")
	var last authAnswer
	for range login.MaxFailures {
		last = r.call("POST", gate.LoginPath, form.Encode(), asBrowser)
	}
	if m := regexp.MustCompile(`Try again in \d+ seconds\.`); last.status != http.StatusTooManyRequests || !m.MatchString(last.body) || last.header.Get("Retry-After") == "" {
		t.Error(last.status, last.body)
	}
}

func TestSetupPage(t *testing.T) {
	r := newAuthRig(t, false)
	if a := r.call("GET", "/admin/", "", asBrowser); a.status != http.StatusNotFound || !strings.Contains(a.body, "pipit admin create") {
		t.Error(a.status, a.body)
	}
	key := setupKey(t, r)
	page := r.call("GET", gate.SetupPath+"?key="+key, "", asBrowser)
	checkPage(t, gate.SetupPath, page)
	short := r.call("POST", gate.SetupPath, setupForm(key, authName, "short"), asBrowser)
	r.want(short, http.StatusUnprocessableEntity)
	checkPage(t, gate.SetupPath, short)
	if !strings.Contains(short.body, "at least 12 characters") || !strings.Contains(short.body, key) || !strings.Contains(short.body, `value="`+authName+`"`) {
		t.Error(short.body)
	}
	done := r.call("POST", gate.SetupPath, setupForm(key, authName, authPassword), asBrowser)
	r.want(done, http.StatusSeeOther)
	if done.header.Get("Location") != "/admin/" || done.cookie == nil {
		t.Error(done.header)
	}
}

func TestFirstSteps(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	cookie := r.signedIn()
	empty := r.call("GET", "/admin/", "", withCookie(cookie), asBrowser)
	checkPage(t, "/admin/", empty)
	for _, want := range []string{`id="first-steps"`, `/admin/topics?new`, `curl -H &#34;Authorization: Bearer $TOKEN&#34;`, r.server.URL + "/admin/api/v1/consumers", "Nothing. All is well."} {
		if !strings.Contains(empty.body, want) {
			t.Errorf("no %s in %s", want, empty.body)
		}
	}

	w := newWatched(t, false)
	cookie = w.signedIn()
	ready := w.call("GET", "/admin/", "", withCookie(cookie), asBrowser)
	for _, want := range []string{`class="done"`, "/zato/pubsub/topic//customer/created/", "/zato/pubsub/msg//customer/created/"} {
		if !strings.Contains(ready.body, want) {
			t.Errorf("no %s in %s", want, ready.body)
		}
	}
	w.publish(watchedTopic, 1)
	steps := func() bool {
		return strings.Contains(w.call("GET", "/admin/", "", withCookie(cookie), asBrowser).body, `id="first-steps"`)
	}
	if !steps() {
		t.Error("no first steps before anything was acknowledged")
	}
	w.receive(1)
	if steps() {
		t.Error("first steps where something was acknowledged")
	}
	w.restart()
	if steps() {
		t.Error("first steps where messages were received before")
	}
}

// The first steps go for good when somebody does not want to see them.
func TestFirstStepsDismissed(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	cookie := r.signedIn()
	overview := func() string { return r.call("GET", "/admin/", "", withCookie(cookie), asBrowser).body }
	if !strings.Contains(overview(), `action="/admin/first-steps"`) {
		t.Error(overview())
	}
	r.want(r.call("POST", "/admin/first-steps", "", withCookie(cookie), asBrowser), http.StatusSeeOther)
	if strings.Contains(overview(), "first-steps") {
		t.Error("they are still there")
	}
}

func TestSystemPages(t *testing.T) {
	r := newAuthRig(t, false, func(o *admin.Options) {
		o.Settings = []gate.Setting{{Name: "http.listen", Value: "127.0.0.1:1"}, {Name: "http.tls_key"}}
	})
	r.account()
	cookie := r.signedIn()
	get := func(path string) string {
		t.Helper()
		a := r.call("GET", path, "", withCookie(cookie), asBrowser)
		r.want(a, http.StatusOK)
		checkPage(t, path, a)
		return a.body
	}
	post := func(path string, pairs ...string) authAnswer {
		t.Helper()
		v := url.Values{"": {""}} // so that it is a form
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		return r.call("POST", path, v.Encode(), withCookie(cookie), asBrowser)
	}
	done := func(a authAnswer, to string) {
		t.Helper()
		if a.status != http.StatusSeeOther || a.header.Get("Location") != to {
			t.Fatalf("%d to %q, want %q: %.500s", a.status, a.header.Get("Location"), to, a.body)
		}
	}
	has := func(page string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(page, text) {
				t.Errorf("no %q in %s", text, page)
			}
		}
	}

	has(get("/admin/system"), "1.2.3", ">http://", "127.0.0.1:1", "stores messages")

	// Administrators.
	short := post("/admin/system/administrators", "name", "bob", "password", "short")
	r.want(short, http.StatusUnprocessableEntity)
	has(short.body, "at least 12 characters", `value="bob"`, `aria-invalid="true"`, "<details class=\"more\" open>")
	done(post("/admin/system/administrators", "name", "bob", "password", "battery staple", "current_password", authPassword), accessURL)
	twice := post("/admin/system/administrators", "name", "bob", "password", "battery staple", "current_password", authPassword)
	r.want(twice, http.StatusConflict)
	has(get(accessURL), ">bob</a>", `<span class="badge">you</span>`)

	// A new password ends the sessions, but for one's own.
	bob := r.login("bob", "battery staple").cookie
	done(post("/admin/system/administrators/bob/password", "password", "battery staple 2", "current_password", authPassword), "/admin/system/administrators/bob")
	if a := r.call("GET", "/admin/system", "", withCookie(bob), asBrowser); a.status != http.StatusSeeOther {
		t.Error("a session has outlived its password:", a.status)
	}
	r.want(post("/admin/system/administrators/bob/password", "password", "x"), http.StatusUnprocessableEntity)
	r.want(post("/admin/system/administrators/eve/password", "password", "battery staple", "current_password", authPassword), http.StatusNotFound)
	done(post("/admin/system/administrators/"+authName+"/password", "password", "correct horse 2", "current_password", authPassword), "/admin/system/administrators/"+authName)
	has(get("/admin/system/administrators/"+authName), "Sign out everywhere")

	// Sessions.
	r.login("bob", "battery staple 2")
	id := ""
	for _, s := range r.a.Users.Sessions(access.Caller{}) {
		if s.Administrator == "bob" {
			id = s.ID
		}
	}
	done(post("/admin/system/sessions/"+id+"/delete"), accessURL)
	r.want(post("/admin/system/sessions/"+id+"/delete"), http.StatusNotFound)
	r.login("bob", "battery staple 2")
	done(post("/admin/system/administrators/bob/sign-out"), "/admin/system/administrators/bob")
	if n := len(r.a.Users.Sessions(access.Caller{})); n != 1 {
		t.Error("sessions:", n)
	}
	r.want(post("/admin/system/administrators/eve/sign-out"), http.StatusNotFound)

	// Tokens: shown once, by a page that can be loaded again.
	made := post("/admin/system/tokens", "name", "deploy <b>", "scope", "write", "expires", "30")
	r.want(made, http.StatusSeeOther)
	to := made.header.Get("Location")
	made = r.call("GET", to, "", withCookie(cookie), asBrowser)
	checkPage(t, accessURL, made)
	secret := regexp.MustCompile(`pipit_[\w-]{43}`).FindString(made.body)
	if again := get(to); !strings.Contains(again, secret) {
		t.Error("not shown again to the same session")
	}
	if secret == "" || strings.Contains(get(accessURL), secret) {
		t.Error("the token is not shown once")
	}
	if a := r.call("GET", gate.V1+"/stats", "", withToken(secret)); a.status != http.StatusOK {
		t.Error(a.status, a.body)
	}
	tokens := r.a.Users.Tokens()
	if d := time.Until(tokens[0].Expires.Time); tokens[0].Scope != gate.ScopeWrite || d < 29*24*time.Hour || d > 31*24*time.Hour {
		t.Error(tokens, d)
	}
	r.want(post("/admin/system/tokens", "name", "deploy <b>", "scope", "read", "expires", access.Never), http.StatusConflict)
	r.want(post("/admin/system/tokens", "name", "other", "scope", "all", "expires", access.Never), http.StatusUnprocessableEntity)
	r.want(post("/admin/system/tokens", "name", "other", "scope", "read", "expires", "99999"), http.StatusUnprocessableEntity)
	r.want(post("/admin/system/tokens", "name", "", "scope", "read", "expires", access.Never), http.StatusUnprocessableEntity)
	r.want(post("/admin/system/tokens", "name", "forever", "scope", "read", "expires", access.Never), http.StatusSeeOther)
	for _, token := range r.a.Users.Tokens() {
		done(post("/admin/system/tokens/"+token.ID+"/delete"), accessURL)
	}
	r.want(post("/admin/system/tokens/"+tokens[0].ID+"/delete"), http.StatusNotFound)

	// Deleting asks for the name.
	wrong := post("/admin/system/administrators/bob/delete", "confirm", "bop")
	r.want(wrong, http.StatusUnprocessableEntity)
	has(wrong.body, "Nothing was done")
	done(post("/admin/system/administrators/bob/delete", "confirm", "bob"), accessURL)
	r.want(r.call("GET", "/admin/system/administrators/bob", "", withCookie(cookie), asBrowser), http.StatusNotFound)
	has(get("/admin/system/administrators/"+authName), "The last administrator cannot be deleted.")
	if last := post("/admin/system/administrators/"+authName+"/delete", "confirm", authName); last.status < 400 {
		t.Error("the last administrator is deleted:", last.status)
	}

	// The audit log, newest first, in pages.
	log := get("/admin/system/audit")
	has(log, "administrator.delete", "token.create", "session.end", "deploy &lt;b&gt;")
	if strings.Contains(log, secret) || strings.Contains(log, "battery") {
		t.Error("a secret in the audit log")
	}
	for range 100 { // as many as a page has
		if err := r.b.PutDocuments(t.Context(), r.a.Trail.Entry(gate.Actor{Name: "filler"}, "test.fill", "", "")); err != nil {
			t.Fatal(err)
		}
	}
	first := get("/admin/system/audit")
	older := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindStringSubmatch(first)
	if older == nil || strings.Contains(first, "token.create") {
		t.Fatal(first)
	}
	has(get(strings.ReplaceAll(older[1], "&amp;", "&")), "token.create", "Newest")

	// Signing out everywhere ends one's own session as well.
	done(post("/admin/system/administrators/"+authName+"/sign-out"), gate.LoginPath)
	if a := r.call("GET", "/admin/system", "", withCookie(cookie), asBrowser); a.status != http.StatusSeeOther {
		t.Error(a.status)
	}
}
