package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/login"
	"pipit/broker/store"
	"pipit/db"
)

const (
	authName     = "ann"
	authPassword = "correct horse"
	authHash     = "$2a$04$MtmvVB8ge7ReTafm2mIRBOLos30OmQX98w2840MApSE/nRDHD2.qW" // of it, at the least cost
)

// authRig is an Admin over a broker over a real file. Requests pass a real server, but in a bubble of
// fake time, where there is no network.
type authRig struct {
	t       *testing.T
	path    string
	options admin.Options
	b       *broker.Broker
	store   *authStore
	a       *admin.Admin
	server  *httptest.Server // nil in a bubble
	bubble  bool
	logs    *authLog
	addr    string // of the caller, in a bubble
}

// authStore is a store whose disk can be full, and tells the same size of it on every machine.
type authStore struct {
	*db.Store
	full atomic.Bool
}

func (s *authStore) Commit(b *store.Batch) error {
	if s.full.Load() {
		return store.ErrNoSpace
	}
	return s.Store.Commit(b)
}

func (s *authStore) Stats() store.Stats {
	st := s.Store.Stats()
	st.DiskTotal, st.DiskFree = 100<<30, 60<<30
	return st
}

type authLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *authLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *authLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func newAuthRig(t *testing.T, bubble bool, change ...func(*admin.Options)) *authRig {
	t.Helper()
	r := &authRig{t: t, path: filepath.Join(t.TempDir(), "pipit.db"), bubble: bubble, logs: &authLog{}, addr: "192.0.2.1"}
	r.options = admin.Options{
		Version:   "1.2.3",
		Addresses: []string{"http://pipit.test"},
		Logger:    slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Access:    true,
	}
	for _, f := range change {
		f(&r.options)
	}
	r.open()
	t.Cleanup(r.close)
	return r
}

func (r *authRig) open() {
	r.t.Helper()
	store, err := db.Open(r.path, db.Options{Logger: r.options.Logger})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store = &authStore{Store: store}
	if r.b, err = broker.Open(r.store, broker.Options{Logger: r.options.Logger}); err != nil {
		store.Close()
		r.t.Fatal(err)
	}
	if r.a, err = admin.New(r.b, r.options); err != nil {
		r.b.Close()
		r.t.Fatal(err)
	}
	if !r.bubble {
		r.server = httptest.NewServer(r.a)
	}
}

func (r *authRig) close() {
	r.t.Helper()
	if r.server != nil {
		r.server.Close()
		r.server = nil
	}
	if r.a == nil {
		return
	}
	r.a.Close()
	if err := r.b.Close(); err != nil {
		r.t.Error(err)
	}
	r.a = nil
}

func (r *authRig) restart() {
	r.t.Helper()
	r.close()
	r.open()
}

// storedAdministrator is an administrator as it is stored.
func storedAdministrator(name, hash string) broker.Document {
	return broker.Document{Kind: "administrator", Key: name,
		Value: fmt.Appendf(nil, `{"hash":%q,"created":%q,"changed":%[2]q}`, hash, time.Now().Format(time.RFC3339Nano))}
}

// account creates the administrator of most tests.
func (r *authRig) account() {
	r.t.Helper()
	if err := r.b.PutDocuments(context.Background(), storedAdministrator(authName, authHash)); err != nil {
		r.t.Fatal(err)
	}
}

// answer is what came back.
type authAnswer struct {
	status int
	header http.Header
	body   string
	cookie *http.Cookie // of the session
}

func (a authAnswer) code() string {
	var p gate.Problem
	_ = json.Unmarshal([]byte(a.body), &p)
	return p.Code
}

// tweak changes a request.
type tweak func(*http.Request)

func withHeader(name, value string) tweak {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func withCookie(c *http.Cookie) tweak {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) }
}

func withToken(text string) tweak { return withHeader("Authorization", "Bearer "+text) }

func asBrowser(r *http.Request) { r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8") }

// call sends a request. A body that begins with { is JSON, any other one a form.
func (r *authRig) call(method, path, body string, change ...tweak) authAnswer {
	r.t.Helper()
	base := "http://pipit.test"
	if r.server != nil {
		base = r.server.URL
	}
	req, err := http.NewRequest(method, base+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if body[0] == '{' {
			req.Header.Set("Content-Type", "application/json")
		}
	}
	for _, f := range change {
		f(req)
	}
	var resp *http.Response
	if r.server == nil {
		req.RemoteAddr = r.addr + ":4711"
		w := httptest.NewRecorder()
		r.a.ServeHTTP(w, req)
		resp = w.Result()
	} else if resp, err = r.server.Client().Transport.RoundTrip(req); err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := authAnswer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	for _, c := range resp.Cookies() {
		if strings.HasSuffix(c.Name, "pipit_session") {
			a.cookie = c
		}
	}
	return a
}

func (r *authRig) want(a authAnswer, status int) {
	r.t.Helper()
	if a.status != status {
		r.t.Fatalf("status %d, want %d: %.300s", a.status, status, a.body)
	}
}

// wantProblem checks a refusal of the API.
func (r *authRig) wantProblem(a authAnswer, status int, code string) {
	r.t.Helper()
	if a.status != status || a.code() != code || a.header.Get("Content-Type") != "application/problem+json" {
		r.t.Errorf("status %d %q, want %d %q: %.300s", a.status, a.code(), status, code, a.body)
	}
}

func (r *authRig) login(name, password string, change ...tweak) authAnswer {
	r.t.Helper()
	return r.call("POST", gate.LoginPath, url.Values{"name": {name}, "password": {password}}.Encode(), change...)
}

// signedIn begins a session and returns its cookie.
func (r *authRig) signedIn() *http.Cookie {
	r.t.Helper()
	a := r.login(authName, authPassword)
	r.want(a, http.StatusSeeOther)
	if a.cookie == nil {
		r.t.Fatal("no cookie")
	}
	return a.cookie
}

// newToken makes a token through the API.
func (r *authRig) newToken(c *http.Cookie, name, scope, expires string) access.Token {
	r.t.Helper()
	a := r.call("POST", gate.V1+"/tokens", string(gate.Encode(access.NewToken{Name: name, Scope: scope, Expires: expires, CurrentPassword: authPassword})), withCookie(c))
	r.want(a, http.StatusCreated)
	var t access.Token
	if err := json.Unmarshal([]byte(a.body), &t); err != nil {
		r.t.Fatal(err)
	}
	return t
}

// actions returns the actions of the audit log, the newest first.
func (r *authRig) actions() string {
	r.t.Helper()
	l, err := r.a.Trail.List(gate.Query{Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	var s []string
	for _, e := range l.Items {
		s = append(s, e.Action+"("+e.Object+" by "+e.Who+")")
	}
	return strings.Join(s, " ")
}

func setupKey(t *testing.T, r *authRig) string {
	t.Helper()
	links := r.a.SetupURLs()
	if len(links) != 1 {
		t.Fatal(links)
	}
	link := links[0]
	u, err := url.Parse(link)
	if err != nil || !strings.HasPrefix(link, "http://pipit.test/admin/setup?key=") {
		t.Fatal(link, err)
	}
	key := u.Query().Get("key")
	if len(key) != 43 {
		t.Fatalf("the key %q does not have 256 bits", key)
	}
	return key
}

func setupForm(key, name, password string) string {
	return url.Values{"key": {key}, "name": {name}, "password": {password}}.Encode()
}

func TestSetup(t *testing.T) {
	r := newAuthRig(t, false)
	old := setupKey(t, r)
	key := setupKey(t, r)

	for _, path := range []string{"/admin", "/admin/", "/admin/login", "/admin/system", "/admin/nothing", "/admin/topics", "/admin/logout"} {
		for _, method := range []string{"GET", "POST"} {
			if a := r.call(method, path, "", asBrowser); a.status != http.StatusNotFound || !strings.Contains(a.body, "not set up") {
				t.Errorf("%s %s: %d %.200s", method, path, a.status, a.body)
			}
		}
	}
	for _, path := range []string{gate.V1 + "/topics", gate.V1 + "/openapi.json", gate.V1 + "/nothing", "/admin/api/"} {
		r.wantProblem(r.call("GET", path, ""), http.StatusForbidden, "not_set_up")
		r.wantProblem(r.call("PUT", path, ""), http.StatusForbidden, "not_set_up")
	}
	for _, wrong := range []string{"", "?key=", "?key=" + old, "?key=" + key + "x", "?key=" + strings.ToLower(key)} {
		if a := r.call("GET", gate.SetupPath+wrong, ""); a.status != http.StatusNotFound {
			t.Errorf("%q: %d", wrong, a.status)
		}
	}
	if a := r.call("POST", gate.SetupPath, setupForm(old, authName, authPassword)); a.status != http.StatusNotFound || a.cookie != nil {
		t.Error(a.status, a.cookie)
	}

	a := r.call("GET", gate.SetupPath+"?key="+key, "")
	r.want(a, http.StatusOK)
	if a.header.Get("Cache-Control") != "no-store" {
		t.Error(a.header)
	}
	for _, bad := range []struct{ name, password string }{
		{"", authPassword}, {" ann", authPassword}, {"a\nb", authPassword}, {strings.Repeat("a", 65), authPassword}, {"..", authPassword},
		{"token x", authPassword}, {"command line", authPassword}, {"ann", ""}, {"ann", "123456789"}, {"ann", strings.Repeat("x", 73)}, {"ann-ann-ann", "ann-ann-ann"},
	} {
		if a := r.call("POST", gate.SetupPath, setupForm(key, bad.name, bad.password)); a.status != http.StatusUnprocessableEntity || a.cookie != nil {
			t.Errorf("%q: %d %.200s", bad, a.status, a.body)
		}
	}

	// Several at once: one of them.
	var done sync.WaitGroup
	answers := make([]authAnswer, 3)
	for i := range answers {
		done.Go(func() {
			answers[i] = r.call("POST", gate.SetupPath, setupForm(key, fmt.Sprint("ann", i), authPassword))
		})
	}
	done.Wait()
	var cookie *http.Cookie
	for _, a := range answers {
		if a.status == http.StatusSeeOther {
			if cookie != nil {
				t.Error("set up twice")
			}
			cookie = a.cookie
		}
	}
	if cookie == nil {
		t.Fatal(answers)
	}
	r.want(r.call("GET", gate.RootPath, "", withCookie(cookie)), http.StatusOK)
	for _, method := range []string{"GET", "POST"} {
		r.want(r.call(method, gate.SetupPath+"?key="+key, setupForm(key, "bob", authPassword)), http.StatusNotFound)
	}
	r.want(r.call("GET", gate.LoginPath, ""), http.StatusOK)
	if links := r.a.SetupURLs(); links != nil {
		t.Error(links)
	}
	if logs := r.logs.String(); strings.Contains(logs, key) || strings.Contains(logs, old) || strings.Contains(logs, authPassword) {
		t.Error("a secret is in the log")
	}
	if s := r.actions(); !strings.Contains(s, "administrator.create(ann") || !strings.Contains(s, "setup.refused( by )") {
		t.Error(s)
	}
	content, err := json.Marshal(r.logs.String())
	if err != nil || strings.Contains(string(content), cookie.Value) {
		t.Error("a cookie is in the log", err)
	}
}

func TestSetupRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		key := setupKey(t, r)
		time.Sleep(30*time.Minute - time.Second)
		r.want(r.call("GET", gate.SetupPath+"?key="+key, ""), http.StatusOK)
		if strings.Contains(r.logs.String(), "has run out") {
			t.Error("told too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.Contains(r.logs.String(), "the set-up link has run out: restart for another one") {
			t.Error(r.logs)
		}
		a := r.call("GET", gate.SetupPath+"?key="+key, "")
		if a.status != http.StatusNotFound || !strings.Contains(a.body, "run out") {
			t.Error(a.status, a.body)
		}
		r.want(r.call("POST", gate.SetupPath, setupForm(key, authName, authPassword)), http.StatusNotFound)
		if r.a.Users.IsSetUp() {
			t.Error("set up")
		}
		key = setupKey(t, r)
		r.want(r.call("POST", gate.SetupPath, setupForm(key, authName, authPassword)), http.StatusSeeOther)
	})
}

// What any page can have a browser send, such as an <img>, holds up nobody who has the link.
func TestWrongSetupKeysHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		key := setupKey(t, r)
		for range 2 * login.MaxFailuresOfNetwork {
			r.want(r.call("GET", gate.SetupPath+"?key=wrong", "", withHeader("Sec-Fetch-Site", "cross-site"), withHeader("Sec-Fetch-Dest", "image")), http.StatusNotFound)
			r.want(r.call("POST", gate.SetupPath, setupForm("wrong", authName, authPassword)), http.StatusNotFound)
		}
		r.want(r.call("GET", gate.SetupPath+"?key="+key, ""), http.StatusOK)
		r.want(r.call("POST", gate.SetupPath, setupForm(key, authName, authPassword)), http.StatusSeeOther)
		kept()
		if s := r.entries(audit.Refusal); s != fmt.Sprintf("setup.refused()x%d", 4*login.MaxFailuresOfNetwork) {
			t.Error(s)
		}
	})
}

func TestSignInAndOut(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()

	a := r.call("GET", "/admin/topics?search=x", "", asBrowser)
	r.want(a, http.StatusSeeOther)
	if to := a.header.Get("Location"); to != "/admin/login?next=%2Fadmin%2Ftopics%3Fsearch%3Dx" {
		t.Error(to)
	}
	a = r.call("POST", "/admin/topics", "name=x", asBrowser)
	r.want(a, http.StatusSeeOther)
	if to := a.header.Get("Location"); to != gate.LoginPath {
		t.Error(to)
	}
	for referer, want := range map[string]string{
		r.server.URL + "/admin/topics?new=1": "/admin/login?next=%2Fadmin%2Ftopics%3Fnew%3D1&sent=1",
		"://":                                gate.LoginPath,
	} {
		a = r.call("POST", "/admin/topics", "name=x", asBrowser, func(q *http.Request) { q.Header.Set("Referer", referer) })
		if to := a.header.Get("Location"); to != want {
			t.Errorf("typed at %s: %s, want %s", referer, to, want)
		}
	}
	if page := r.call("GET", "/admin/login?next=%2Fadmin%2Ftopics%3Fnew%3D1&sent=1", "", asBrowser); !strings.Contains(page.body, "You were signed out") {
		t.Error(page.body)
	}
	r.want(r.call("GET", "/admin/topics", ""), http.StatusUnauthorized) // a script
	r.want(r.call("GET", "/admin", "", asBrowser), http.StatusSeeOther)

	unknown, wrong := r.login("bob", authPassword), r.login(authName, "wrong horse")
	if unknown.status != http.StatusUnauthorized || wrong.status != http.StatusUnauthorized || unknown.cookie != nil || wrong.cookie != nil {
		t.Error(unknown.status, wrong.status)
	}
	r.want(r.login(authName, strings.Repeat("x", 100)), http.StatusUnauthorized)
	r.want(r.login("", ""), http.StatusUnauthorized)

	a = r.login(authName, authPassword)
	r.want(a, http.StatusSeeOther)
	c := a.cookie
	if c.Name != "pipit_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/admin/" || c.Secure || c.MaxAge != 0 || c.Domain != "" || len(c.Value) != 43 {
		t.Errorf("%+v", c)
	}
	r.want(r.call("GET", gate.RootPath, "", withCookie(c)), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
	r.want(r.call("GET", gate.LoginPath, "", withCookie(c)), http.StatusSeeOther)

	// Another sign-in ends the session that it comes with.
	second := r.login(authName, authPassword, withCookie(c)).cookie
	r.wantProblem(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusUnauthorized, "unauthorized")
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(second)), http.StatusOK)

	third := r.signedIn()
	a = r.call("POST", "/admin/logout", "", withCookie(second))
	r.want(a, http.StatusSeeOther)
	if a.cookie == nil || a.cookie.MaxAge >= 0 || a.cookie.Value != "" || a.cookie.Path != "/admin/" {
		t.Errorf("%+v", a.cookie)
	}
	r.wantProblem(r.call("GET", gate.V1+"/system", "", withCookie(second)), http.StatusUnauthorized, "unauthorized")
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(third)), http.StatusOK)

	fourth := r.signedIn()
	a = r.call("DELETE", gate.V1+"/sessions?administrator="+authName, "", withCookie(third))
	r.want(a, http.StatusOK)
	if strings.TrimSpace(a.body) != `{"sessions":2}` {
		t.Error(a.body)
	}
	r.wantProblem(r.call("GET", gate.V1+"/system", "", withCookie(third)), http.StatusUnauthorized, "unauthorized")
	r.wantProblem(r.call("GET", gate.V1+"/system", "", withCookie(fourth)), http.StatusUnauthorized, "unauthorized")

	want := "session.end_all(ann by ann) session.start(ann by ann) session.end(ann by ann) session.start(ann by ann)" +
		" session.start(ann by ann) session.start(ann by ann)"
	if s := r.actions(); !strings.HasPrefix(s, want+" session.refused(") {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	logs := r.logs.String()
	for _, secret := range []string{authPassword, "wrong horse", c.Value, second.Value} {
		if strings.Contains(logs, secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if !strings.Contains(logs, `"msg":"refused","method":"POST","path":"/admin/login"`) {
		t.Error("a refused sign-in is not in the log")
	}
}

func TestCookieUnderTLS(t *testing.T) {
	r := newAuthRig(t, false, func(o *admin.Options) { o.Origin = "https://pipit.test" })
	r.account()
	c := r.signedIn()
	if c.Name != "__Host-pipit_session" || !c.Secure || !c.HttpOnly || c.Path != "/" || c.SameSite != http.SameSiteStrictMode || c.Domain != "" {
		t.Errorf("%+v", c)
	}
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
	c.Name = "pipit_session" // as another host of the domain could set it
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusUnauthorized)
}

func TestSignInThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		c := r.signedIn()
		for range login.MaxFailures {
			r.want(r.login(authName, "wrong horse"), http.StatusUnauthorized)
		}
		a := r.login(authName, authPassword)
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "60" || a.cookie != nil {
			t.Error(a.status, a.header)
		}
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK) // who is in, stays
		r.want(r.login("bob", authPassword), http.StatusUnauthorized)              // another name
		r.addr = "192.0.2.2"
		r.want(r.login(authName, authPassword), http.StatusSeeOther) // another address
		r.addr = "192.0.2.1"
		time.Sleep(login.FailureWindow - time.Second)
		r.want(r.login(authName, authPassword), http.StatusTooManyRequests)
		time.Sleep(time.Second)
		r.want(r.login(authName, authPassword), http.StatusSeeOther)
		kept()
		if s := r.entries(audit.Refusal); s != fmt.Sprintf("session.refused()x1 session.refused(ann)x%d", login.MaxFailures) {
			t.Error(s)
		}

		// Many names from one address, which is a network of IPv6.
		for i := range login.MaxFailuresOfNetwork {
			r.b.Logins().Failed(login.CallerOf(login.Administrator, fmt.Sprint("name", i), fmt.Sprintf("2001:db8::%x", i)), time.Now())
		}
		r.addr = "[2001:db8::ffff]"
		r.want(r.login(authName, authPassword), http.StatusTooManyRequests)
		r.addr = "[2001:db8:0:1::1]"
		r.want(r.login(authName, authPassword), http.StatusSeeOther)
	})
}

// However many strangers' logins of clients wait and fail, also from the same network, an administrator signs in.
func TestClientsDoNotHoldUpAdministrators(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	for i := range login.MaxFailuresOfNetwork {
		r.b.Logins().Failed(login.CallerOf(login.Client, fmt.Sprint(i), "127.0.0.1"), time.Now())
	}
	ctx, leave := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	defer crowd.Wait()
	defer leave()
	const many = 130
	taken := make(chan struct{}, many) // some may have their turn when the test ends
	for i := range many {
		crowd.Go(func() {
			if done, err := r.b.Logins().Turn(ctx, login.CallerOf(login.Client, fmt.Sprint(i), "127.0.0.1")); err == nil {
				taken <- struct{}{}
				<-ctx.Done() // its slow hash does not end
				done()
			}
		})
	}
	<-taken
	r.want(r.login(authName, authPassword), http.StatusSeeOther)
	r.want(r.login(authName, "wrong horse"), http.StatusUnauthorized)
}

// Who has signed in from a network is not held up by those who fail there, also after a restart.
func TestKnownAdministrator(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	fail := func() {
		for i := range login.MaxFailuresOfNetwork {
			r.b.Logins().Failed(login.CallerOf(login.Administrator, fmt.Sprint(i), "127.0.0.1"), time.Now())
		}
	}
	fail()
	r.want(r.login(authName, authPassword), http.StatusTooManyRequests) // nobody knows it yet
	r.restart()
	r.signedIn()
	fail()
	r.want(r.login(authName, authPassword), http.StatusSeeOther)
	r.restart() // its sessions tell
	fail()
	r.want(r.login(authName, authPassword), http.StatusSeeOther)
	r.want(r.login("bob", authPassword), http.StatusTooManyRequests)
}

func TestSessionTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		system := func(c *http.Cookie) int { return r.call("GET", gate.V1+"/system", "", withCookie(c)).status }

		idle := r.signedIn()
		time.Sleep(access.DefaultSessionIdle - time.Second)
		if s := system(idle); s != http.StatusOK {
			t.Error("over too early", s)
		}
		time.Sleep(access.DefaultSessionIdle)
		if s := system(idle); s != http.StatusUnauthorized {
			t.Error("not over without use", s)
		}
		time.Sleep(keepInterval)
		synctest.Wait()
		if docs, err := r.b.Documents("session", "", false, 10); err != nil || len(docs) != 0 {
			t.Error("a session that is over is stored", docs, err)
		}

		busy := r.signedIn()
		const step = access.DefaultSessionIdle / 2
		for range int(access.DefaultSessionLife/step) - 1 {
			time.Sleep(step)
			if s := system(busy); s != http.StatusOK {
				t.Fatal("over too early", s)
			}
		}
		time.Sleep(step)
		if s := system(busy); s != http.StatusUnauthorized {
			t.Error("not over after its life", s)
		}
	})
}

func TestRestartKeepsSessionsAndTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		c := r.signedIn()
		token := r.newToken(c, "script", gate.ScopeRead, "")
		time.Sleep(20 * time.Minute)
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
		r.want(r.call("GET", gate.V1+"/system", "", withToken(token.Token)), http.StatusOK)
		used := gate.TimeOf(time.Now()).String()
		r.restart()
		time.Sleep(20 * time.Minute) // not idle, as it was used before the restart
		a := r.call("GET", gate.V1+"/sessions", "", withCookie(c))
		r.want(a, http.StatusOK)
		r.want(r.call("GET", gate.V1+"/system", "", withToken(token.Token)), http.StatusOK)
		r.restart()
		a = r.call("GET", gate.V1+"/tokens", "", withCookie(c))
		if a.status != http.StatusOK || strings.Contains(a.body, used) || !strings.Contains(a.body, `"last_used":"`+gate.TimeOf(time.Now()).String()) {
			t.Error(a.status, a.body)
		}
		time.Sleep(access.DefaultSessionIdle)
		r.restart()
		r.want(r.call("GET", gate.V1+"/sessions", "", withCookie(c)), http.StatusUnauthorized)
	})
}

// What a request changes of a session or token is written at most once a minute.
func TestRequestsWriteNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		c := r.signedIn()
		token := r.newToken(c, "script", gate.ScopeRead, "")
		stored := func() string {
			var s string
			for _, kind := range []string{"session", "token"} {
				docs, err := r.b.Documents(kind, "", false, 10)
				if err != nil || len(docs) != 1 {
					t.Fatal(docs, err)
				}
				s += string(docs[0].Value)
			}
			return s
		}
		time.Sleep(keepInterval)
		synctest.Wait()
		before := stored()
		for range 5 {
			time.Sleep(time.Second)
			r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
			r.want(r.call("GET", gate.V1+"/system", "", withToken(token.Token)), http.StatusOK)
			if stored() != before {
				t.Fatal("a request has written")
			}
		}
		time.Sleep(keepInterval)
		synctest.Wait()
		if stored() == before {
			t.Error("not written within a minute")
		}
		if strings.Contains(before, c.Value) || strings.Contains(before, token.Token) {
			t.Error("a secret is stored")
		}
	})
}

func TestAdministrators(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	c := r.signedIn()
	as := withCookie(c)
	path := gate.V1 + "/administrators"

	r.wantProblem(r.call("DELETE", path+"/ann", "", as), http.StatusConflict, "last_administrator")
	a := r.call("POST", path, `{"name": "Bob / Ünal", "password": "battery staple", "current_password": "`+authPassword+`"}`, as)
	r.want(a, http.StatusCreated)
	if to := a.header.Get("Location"); to != path+"/Bob%20%2F%20%C3%9Cnal" || strings.Contains(a.body, "battery") {
		t.Error(to, a.body)
	}
	bob := path + "/Bob%20%2F%20%C3%9Cnal"
	r.wantProblem(r.call("POST", path, `{"name": "Bob / Ünal", "password": "battery staple", "current_password": "`+authPassword+`"}`, as), http.StatusConflict, "exists")
	r.wantProblem(r.call("POST", path, `{"name": "bob", "password": "short"}`, as), http.StatusUnprocessableEntity, "invalid")
	r.wantProblem(r.call("POST", path, `{"name": "bob"}`, as), http.StatusUnprocessableEntity, "invalid")
	r.wantProblem(r.call("POST", path, `{"name": "bob", "passwort": "battery staple"}`, as), http.StatusUnprocessableEntity, "invalid")
	r.wantProblem(r.call("POST", path, `{"name": `, as), http.StatusBadRequest, "malformed")
	r.wantProblem(r.call("PATCH", path+"/nobody", `{"password": "battery staple"}`, as), http.StatusNotFound, "not_found")
	r.wantProblem(r.call("DELETE", path+"/nobody", "", as), http.StatusNotFound, "not_found")

	bobs := r.login("Bob / Ünal", "battery staple").cookie
	a = r.call("GET", path, "", as)
	r.want(a, http.StatusOK)
	var l gate.List[access.Administrator]
	if err := json.Unmarshal([]byte(a.body), &l); err == nil && (l.Total != 2 || l.Items[0].Name != "Bob / Ünal" || l.Items[0].Sessions != 1) {
		t.Error(a.body)
	}

	// A new password ends the sessions, but for that of who changes it.
	other := r.signedIn()
	r.want(r.call("PATCH", path+"/ann", `{"password": "a new password", "current_password": "`+authPassword+`"}`, as), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/system", "", as), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(other)), http.StatusUnauthorized)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(bobs)), http.StatusOK)
	r.want(r.login(authName, authPassword), http.StatusUnauthorized)
	r.want(r.login(authName, "a new password"), http.StatusSeeOther)

	r.want(r.call("PATCH", bob, `{"password": "new battery staple", "current_password": "a new password"}`, as), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(bobs)), http.StatusUnauthorized)
	bobs = r.login("Bob / Ünal", "new battery staple").cookie
	r.want(r.call("DELETE", bob, "", as), http.StatusNoContent)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(bobs)), http.StatusUnauthorized)
	r.want(r.login("Bob / Ünal", "new battery staple"), http.StatusUnauthorized)

	r.restart()
	r.want(r.call("GET", gate.V1+"/system", "", as), http.StatusOK)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(other)), http.StatusUnauthorized)
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(bobs)), http.StatusUnauthorized)
	if s := r.actions(); !strings.HasPrefix(s, "session.refused( by ) administrator.delete(Bob / Ünal by ann)") || !strings.Contains(s, "administrator.password(ann by ann)") {
		t.Error(s)
	}
}

// The functions for a file without a server.
func TestAdministratorsOfFile(t *testing.T) {
	r := newAuthRig(t, false)
	ctx := context.Background()
	r.account()
	c := r.signedIn()
	if err := access.CreateAdministrator(ctx, r.b, authName, authPassword); broker.CodeOf(err) != broker.Conflict {
		t.Error(err)
	}
	if err := access.SetAdministratorPassword(ctx, r.b, "bob", authPassword); broker.CodeOf(err) != broker.NotFound {
		t.Error(err)
	}
	if err := access.SetAdministratorPassword(ctx, r.b, authName, "short"); broker.CodeOf(err) != broker.Invalid {
		t.Error(err)
	}
	r.a.Close()
	if err := access.SetAdministratorPassword(ctx, r.b, authName, "a new password"); err != nil {
		t.Error(err)
	}
	r.restart()
	r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusUnauthorized)
	r.want(r.login(authName, "a new password"), http.StatusSeeOther)
}

// Who has to make room on a full disk can sign in, and out.
func TestSignInOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		before := r.signedIn()
		r.store.full.Store(true)
		c := r.signedIn()
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
		r.want(r.call("POST", "/admin/logout", "", withCookie(before)), http.StatusSeeOther)
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(before)), http.StatusUnauthorized)
		r.wantProblem(r.call("POST", gate.V1+"/tokens", `{"name": "x"}`, withCookie(c)), http.StatusInsufficientStorage, "disk_full")
		time.Sleep(keepInterval)
		synctest.Wait()
		r.store.full.Store(false)
		time.Sleep(keepInterval)
		synctest.Wait()
		r.restart()
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
		r.want(r.call("GET", gate.V1+"/system", "", withCookie(before)), http.StatusUnauthorized)
	})
}

func TestSessions(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	first := r.login(authName, authPassword, withHeader("User-Agent", strings.Repeat("ä", 300))).cookie
	second := r.signedIn()
	sessions := func(c *http.Cookie) gate.List[access.Session] {
		a := r.call("GET", gate.V1+"/sessions", "", withCookie(c))
		r.want(a, http.StatusOK)
		var l struct {
			Items []struct {
				ID, Administrator, Addr, Agent string
				Current                        bool
			}
			Total int
		}
		if err := json.Unmarshal([]byte(a.body), &l); err != nil {
			t.Fatal(err)
		}
		out := gate.List[access.Session]{Total: l.Total}
		for _, s := range l.Items {
			out.Items = append(out.Items, access.Session{ID: s.ID, Administrator: s.Administrator, Addr: s.Addr, Agent: s.Agent, Current: s.Current})
		}
		return out
	}
	l := sessions(second)
	if l.Total != 2 || !l.Items[0].Current || l.Items[1].Current || l.Items[1].Administrator != authName || l.Items[1].Addr != "127.0.0.1" {
		t.Errorf("%+v", l)
	}
	if agent := l.Items[1].Agent; len(agent) > 200+len("…") || !strings.HasPrefix(agent, "ää") {
		t.Errorf("%q", agent)
	}
	r.wantProblem(r.call("DELETE", gate.V1+"/sessions/nothing", "", withCookie(second)), http.StatusNotFound, "not_found")
	r.want(r.call("DELETE", gate.V1+"/sessions/"+l.Items[1].ID, "", withCookie(second)), http.StatusNoContent)
	r.want(r.call("GET", gate.V1+"/sessions", "", withCookie(first)), http.StatusUnauthorized)

	// One more than an administrator may have takes the place of the oldest.
	const most = 100
	for range most {
		r.signedIn()
	}
	r.want(r.call("GET", gate.V1+"/sessions", "", withCookie(second)), http.StatusUnauthorized)
	if docs, err := r.b.Documents("session", "", false, 2*most); err != nil || len(docs) != most {
		t.Error(len(docs), err)
	}
	if n, err := r.a.Users.EndSessions(context.Background(), commandLine, ""); n != most || err != nil {
		t.Error(n, err)
	}
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		c := r.signedIn()
		reads := r.newToken(c, "reads", "", "")
		writes := r.newToken(c, "writes", gate.ScopeWrite, access.Never)
		brief := r.newToken(c, "brief", gate.ScopeWrite, time.Now().Add(time.Hour).Format(time.RFC3339))
		if reads.Scope != gate.ScopeRead || !strings.HasPrefix(reads.Token, "pipit_") || len(reads.Token) != 49 || reads.CreatedBy != authName ||
			!reads.Expires.Equal(time.Now().Add(90*24*time.Hour)) || !writes.Expires.IsZero() {
			t.Errorf("%+v %+v", reads, writes)
		}
		for _, bad := range []string{
			`{"name": "", "scope": "read"}`, `{"name": "a\tb"}`, `{"name": "x", "scope": "admin"}`, `{"name": "x", "scope": "all"}`, `{"name": "x", "expires": "tomorrow"}`,
			`{"name": "x", "expires": "2000-01-01T00:00:00Z"}`, `{"name": "x", "expires": "2200-01-01T00:00:00Z"}`, `{"name": "x", "days": 1}`,
		} {
			r.wantProblem(r.call("POST", gate.V1+"/tokens", bad, withCookie(c)), http.StatusUnprocessableEntity, "invalid")
		}
		r.wantProblem(r.call("POST", gate.V1+"/tokens", `{"name": "reads"}`, withCookie(c)), http.StatusConflict, "exists")

		topic := func(i int) string { return fmt.Sprintf(`{"name": "/topic/%d"}`, i) }
		for i, tt := range []struct {
			name        string
			how         tweak
			read, write int
			code        string
		}{
			{"none", func(*http.Request) {}, 401, 401, "unauthorized"},
			{"read", withToken(reads.Token), 200, 403, "forbidden"},
			{"write", withToken(writes.Token), 200, 201, ""},
			{"expiring", withToken(brief.Token), 200, 201, ""},
			{"other case of the scheme", withHeader("Authorization", "bearer "+writes.Token), 200, 201, ""},
			{"wrong", withToken(writes.Token + "x"), 401, 401, "unauthorized"},
			{"empty", withToken(""), 401, 401, "unauthorized"},
			{"basic", withHeader("Authorization", "Basic YW5uOmNvcnJlY3QgaG9yc2U="), 401, 401, "unauthorized"},
			{"hash", withToken(reads.ID), 401, 401, "unauthorized"},
			{"session", withCookie(c), 200, 201, ""},
			{"wrong session", withCookie(&http.Cookie{Name: c.Name, Value: "x"}), 401, 401, "unauthorized"},
			{"session and read: the token counts", func(r *http.Request) { withCookie(c)(r); withToken(reads.Token)(r) }, 200, 403, "forbidden"},
			{"session and wrong: the token counts", func(r *http.Request) { withCookie(c)(r); withToken("x")(r) }, 401, 401, "unauthorized"},
		} {
			a := r.call("GET", gate.V1+"/topics", "", tt.how)
			if a.status != tt.read {
				t.Errorf("%s: read %d: %s", tt.name, a.status, a.body)
			}
			if a.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s: %v", tt.name, a.header)
			}
			a = r.call("POST", gate.V1+"/topics", topic(i), tt.how)
			if a.status != tt.write || a.code() != tt.code {
				t.Errorf("%s: write %d: %s", tt.name, a.status, a.body)
			}
		}
		// A token is for the API.
		r.want(r.call("GET", "/admin/topics", "", withToken(writes.Token)), http.StatusUnauthorized)

		time.Sleep(time.Hour)
		c = r.signedIn()
		r.wantProblem(r.call("GET", gate.V1+"/topics", "", withToken(brief.Token)), http.StatusUnauthorized, "unauthorized")
		boss := r.newToken(c, "boss", gate.ScopeAdmin, "")
		a := r.call("GET", gate.V1+"/tokens", "", withToken(boss.Token))
		r.want(a, http.StatusOK)
		if strings.Contains(a.body, "pipit_") || !strings.Contains(a.body, `"expired":true`) {
			t.Error(a.body)
		}
		time.Sleep(time.Second)
		r.want(r.call("DELETE", gate.V1+"/tokens/"+writes.ID, "", withToken(boss.Token)), http.StatusNoContent)
		time.Sleep(time.Second)
		r.want(r.call("GET", gate.V1+"/topics", "", withToken(writes.Token)), http.StatusUnauthorized)
		r.wantProblem(r.call("DELETE", gate.V1+"/tokens/"+writes.ID, "", withCookie(c)), http.StatusNotFound, "not_found")
		r.want(r.call("GET", gate.V1+"/topics", "", withToken(reads.Token)), http.StatusOK)
		r.restart()
		r.want(r.call("GET", gate.V1+"/topics", "", withToken(writes.Token)), http.StatusUnauthorized)
		r.want(r.call("GET", gate.V1+"/topics", "", withToken(reads.Token)), http.StatusOK)

		if s := r.actions(); !strings.HasPrefix(s, "token.refused( by ) ") || !strings.Contains(s, " token.delete(writes by token boss) ") {
			t.Error(s)
		}
		for _, secret := range []string{reads.Token, writes.Token, brief.Token} {
			if strings.Contains(r.logs.String(), secret) {
				t.Error("a token is in the log")
			}
		}
	})
}

// Tokens that are not valid, such as that of a job which nobody has told, hold up nobody.
func TestWrongTokensHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		cookie := r.signedIn()
		token := r.newToken(cookie, "script", gate.ScopeRead, "")
		expired := r.newToken(cookie, "brief", gate.ScopeRead, time.Now().Add(time.Second).UTC().Format(time.RFC3339))
		time.Sleep(2 * time.Second)
		r.addr = "192.0.2.7" // where nobody is known yet
		for range login.MaxFailuresOfNetwork {
			r.want(r.call("GET", gate.V1+"/topics", "", withToken("pipit_x")), http.StatusUnauthorized)
			r.want(r.call("GET", gate.V1+"/topics", "", withToken(expired.Token)), http.StatusUnauthorized)
		}
		r.want(r.call("GET", gate.V1+"/topics", "", withToken(token.Token)), http.StatusOK)
		r.want(r.login(authName, authPassword), http.StatusSeeOther)
		time.Sleep(login.FailureWindow)
		r.want(r.call("GET", gate.V1+"/topics", "", withToken("pipit_x")), http.StatusUnauthorized)
		if n := strings.Count(r.actions(), "token.refused"); n != 2 {
			t.Errorf("%d entries of one address in two minutes", n)
		}
	})
}

func TestOtherOriginsAreRefused(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	c := r.signedIn()
	token := r.newToken(c, "script", gate.ScopeWrite, "")
	own := strings.TrimPrefix(r.server.URL, "http://")
	for i, tt := range []struct {
		name   string
		change []tweak
		status int
	}{
		{"same origin", []tweak{withCookie(c), withHeader("Sec-Fetch-Site", "same-origin")}, 201},
		{"typed", []tweak{withCookie(c), withHeader("Sec-Fetch-Site", "none")}, 201},
		{"cross site", []tweak{withCookie(c), withHeader("Sec-Fetch-Site", "cross-site")}, 403},
		{"same site", []tweak{withCookie(c), withHeader("Sec-Fetch-Site", "same-site")}, 403},
		{"own Origin", []tweak{withCookie(c), withHeader("Origin", "http://"+own)}, 201},
		{"foreign Origin", []tweak{withCookie(c), withHeader("Origin", "http://evil.example")}, 403},
		{"other port", []tweak{withCookie(c), withHeader("Origin", "http://127.0.0.1:1")}, 403},
		{"hidden Origin", []tweak{withCookie(c), withHeader("Origin", "null")}, 403},
		{"token", []tweak{withToken(token.Token), withHeader("Sec-Fetch-Site", "cross-site"), withHeader("Origin", "http://evil.example")}, 201},
		{"cookie and token", []tweak{withCookie(c), withToken(token.Token), withHeader("Sec-Fetch-Site", "cross-site")}, 201},
		{"cookie and wrong token", []tweak{withCookie(c), withToken("x"), withHeader("Sec-Fetch-Site", "cross-site")}, 401},
	} {
		if a := r.call("POST", gate.V1+"/topics", fmt.Sprintf(`{"name": "/topic/%d"}`, i), tt.change...); a.status != tt.status {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		} else if a.status == 403 && a.code() != "cross_origin" {
			t.Errorf("%s: %s", tt.name, a.body)
		}
	}
	foreign := withHeader("Sec-Fetch-Site", "cross-site")
	for _, path := range []string{gate.LoginPath, "/admin/logout", "/admin/topics"} {
		r.want(r.call("POST", path, "name=ann&password=correct+horse", withCookie(c), foreign), http.StatusForbidden)
	}
	r.want(r.call("GET", gate.V1+"/topics", "", withCookie(c), foreign), http.StatusOK) // reading changes nothing
	r.want(r.call("GET", gate.V1+"/topics", "", withCookie(c)), http.StatusOK)          // still signed in
	if a := r.call("GET", gate.V1+"/topics", "", withCookie(c), foreign); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error(a.header)
	}
}

func TestHeaders(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	c := r.signedIn()
	for _, path := range []string{"/admin/", "/admin/login", "/admin/nothing", gate.V1 + "/topics", gate.V1 + "/nothing", "/admin/api/", "/admin"} {
		for _, change := range []tweak{withCookie(c), func(*http.Request) {}} {
			h := r.call("GET", path, "", change).header
			if h.Get("Content-Security-Policy") != policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "same-origin" ||
				h.Get("Cross-Origin-Opener-Policy") != "same-origin" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", path, h)
			}
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Error(policy)
	}
}

// No path is cleaned, and an escaped slash belongs to a name.
func TestPaths(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	as := withCookie(r.signedIn())
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "/customer/created"}`, as), http.StatusCreated)
	r.want(r.call("GET", gate.V1+"/topics/%2Fcustomer%2Fcreated", "", as), http.StatusOK)
	for _, path := range []string{gate.V1 + "/topics//customer/created", gate.V1 + "/topics/", gate.V1 + "//topics", gate.V1 + "/x/../topics", gate.V1 + "/t%6fpics", "/admin/%61pi/v1/topics"} {
		if a := r.call("GET", path, "", as); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	a := r.call("PUT", gate.V1+"/topics", "", as)
	r.wantProblem(a, http.StatusMethodNotAllowed, "method_not_allowed")
	if allow := a.header.Get("Allow"); allow != "GET, HEAD, POST" {
		t.Error(allow)
	}
	r.want(r.call("PUT", "/admin/system", "", as), http.StatusMethodNotAllowed)
	r.wantProblem(r.call("POST", gate.V1+"/topics", `{"name": "/`+strings.Repeat("x", maxBody)+`"}`, as), http.StatusRequestEntityTooLarge, "too_large")
}

func TestPanicIsAnswered(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	as := withCookie(r.signedIn())
	settings := func() []gate.Setting { panic("swordfish") }
	r.a.API.Settings, r.a.Web.Settings = settings, settings
	for i, path := range []string{gate.V1 + "/system", "/admin/system"} {
		a := r.call("GET", path, "", as)
		r.want(a, http.StatusInternalServerError)
		if strings.Contains(a.body, "swordfish") || strings.Count(r.logs.String(), `"panic":"swordfish"`) != i+1 {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

func TestAuditIsTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		var docs []broker.Document
		for i := range audit.MaxEntries + 200 {
			docs = append(docs, r.a.Trail.Entry(commandLine, "test", fmt.Sprint(i), strings.Repeat("x", 2000)))
			time.Sleep(time.Microsecond)
			if len(docs) == 1000 {
				if err := r.b.PutDocuments(t.Context(), docs...); err != nil {
					t.Fatal(err)
				}
				docs = nil
			}
		}
		if err := r.b.PutDocuments(t.Context(), docs...); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keepInterval)
		synctest.Wait()
		n, last := 0, ""
		if err := gate.EachDocument(r.b, "audit", func(d broker.Document) error {
			var e struct{ Object, Detail string }
			if n == 0 {
				if err := json.Unmarshal(d.Value, &e); err != nil || e.Object != fmt.Sprint(200) || len(e.Detail) > 1024+len("…") {
					t.Errorf("the oldest is %+v %v", e, err)
				}
			}
			if d.Key <= last {
				t.Errorf("%s is not behind %s", d.Key, last)
			}
			last = d.Key
			n++
			return nil
		}); err != nil || n != audit.MaxEntries {
			t.Error(n, err)
		}
		if n := r.a.Trail.Len(audit.Edit); n != audit.MaxEntries {
			t.Error(n)
		}
		r.restart()
		if n := r.a.Trail.Len(audit.Edit); n != audit.MaxEntries {
			t.Error(n)
		}
	})
}

func TestAuditPages(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	as := withCookie(r.signedIn())
	for i := range 5 {
		r.want(r.call("POST", gate.V1+"/tokens", fmt.Sprintf(`{"name": "t%d"}`, i), as), http.StatusCreated)
	}
	var seen []string
	for cursor := ""; ; {
		a := r.call("GET", gate.V1+"/audit?limit=3&cursor="+cursor, "", as)
		r.want(a, http.StatusOK)
		var l struct {
			Items []struct{ Action, Object, Who, Via, Addr, At string }
			Next  string
			Total int
		}
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || l.Total != 6 {
			t.Fatal(err, a.body)
		}
		for _, e := range l.Items {
			seen = append(seen, e.Action+" "+e.Object)
			if e.Action == "token.create" && (e.Who != authName || e.Via != "api" || e.Addr != "127.0.0.1" || e.At == "") {
				t.Errorf("%+v", e)
			}
		}
		if cursor = l.Next; cursor == "" {
			break
		}
	}
	if got := strings.Join(seen, ", "); got != "token.create t4, token.create t3, token.create t2, token.create t1, token.create t0, session.start ann" {
		t.Error(got)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "cursor=x", "sort=x"} {
		r.wantProblem(r.call("GET", gate.V1+"/audit?"+bad, "", as), http.StatusUnprocessableEntity, "invalid")
	}
}

func TestSystem(t *testing.T) {
	r := newAuthRig(t, false, func(o *admin.Options) { o.Settings = []gate.Setting{{Name: "http.listen", Value: "x"}} })
	r.account()
	a := r.call("GET", gate.V1+"/system", "", withCookie(r.signedIn()))
	r.want(a, http.StatusOK)
	var s struct {
		Version  string
		Healthy  bool
		Settings []gate.Setting
		Database api.Database
	}
	if err := json.Unmarshal([]byte(a.body), &s); err != nil || s.Version != "1.2.3" || !s.Healthy || len(s.Settings) != 1 || s.Database.File != r.path || s.Database.Size == 0 {
		t.Error(err, a.body)
	}
}

func TestLocal(t *testing.T) {
	r := newAuthRig(t, false)
	local := httptest.NewServer(r.a.Local())
	defer local.Close()
	resp, err := local.Client().Post(local.URL+gate.V1+"/topics", "application/json", strings.NewReader(`{"name": "/x"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Error(resp.Status)
	}
	if s := r.actions(); s != "topic.create(/x by command line)" {
		t.Error(s)
	}
	r.wantProblem(r.call("GET", gate.V1+"/topics", ""), http.StatusForbidden, "not_set_up")
}
