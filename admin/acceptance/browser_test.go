package acceptance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/callback"
)

// The tests of files browser_*_test.go drive the pages in a real Chromium without a window. There is
// one browser for all of them, and for each test a profile and a tab of its own. Whatever a page
// should not do fails the test, whichever it is: an exception, a word on the console, a violation
// of the Content-Security-Policy, a request to somewhere else.

// browsers are the programs that can be it, the first one that is there. The shell without windows has the engine of the others,
// and takes half the time: they draw a window, with its bars, around each page.
var browsers = []string{"chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"}

// chromium is the browser of this test binary.
var chromium struct {
	once sync.Once
	ctx  context.Context
	stop context.CancelFunc
	err  error
}

// actionTime bounds what is done in a tab. It is much more than is needed on a machine that is not busy.
const actionTime = 30 * time.Second

var errNoChromium = errors.New("none of " + strings.Join(browsers, ", ") + " is in PATH")

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.stop != nil {
		chromium.stop()
	}
	os.Exit(code)
}

// startChromium starts the browser.
func startChromium() {
	program := ""
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		chromium.err = errNoChromium
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("no-proxy-server", true))
	if os.Geteuid() == 0 { // the sandbox is not for root
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stopAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, stop := chromedp.NewContext(allocator)
	chromium.ctx, chromium.stop = ctx, func() { stop(); stopAllocator() }
	if err := chromedp.Do(ctx); err != nil {
		chromium.err = fmt.Errorf("%s does not start: %w", program, err)
	}
}

// browses says that a test needs the browser. It runs beside others of its kind.
func browses(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("short: the browser tests run without -short")
	}
	chromium.once.Do(startChromium)
	if errors.Is(chromium.err, errNoChromium) && os.Getenv("CI") == "" {
		t.Skip(chromium.err)
	}
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	t.Parallel()
}

// site is a broker over a file, served on a port of its own: the protocol and the pages.
type site struct {
	testing.TB
	b   *broker.Broker
	a   *admin.Admin
	url string

	sender *callback.Service
}

// The administrator of a site.
const (
	adaName     = "ada"
	adaPassword = "correct horse battery"
)

// newSite starts a site, with an administrator or not set up yet.
func newSite(t testing.TB, setUp bool, change ...func(*admin.Options)) *site {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := db.Open(filepath.Join(t.TempDir(), "pipit.db"), db.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{Logger: quiet})
	if err != nil {
		t.Fatal(errors.Join(err, store.Close()))
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	if setUp {
		if err := access.CreateAdministrator(t.Context(), b, adaName, adaPassword); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	options := admin.Options{
		Version:   "1.2.3",
		Addresses: []string{address},
		Settings:  []gate.Setting{{Name: "http.listen", Value: `["` + listener.Addr().String() + `"]`}, {Name: "client.0.password", Value: "••••••"}},
		Logger:    slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError})),
	}
	sender, err := callback.New(b, callback.Options{Logger: quiet})
	if err != nil {
		listener.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sender.Stop(); err != nil {
			t.Error(err)
		}
	})
	options.Callbacks = sender
	for _, f := range change {
		f(&options)
	}
	wire := httpapi.New(b, httpapi.Options{Logger: quiet})
	options.Refusals = wire.Refusals()
	a, err := admin.New(b, options)
	if err != nil {
		listener.Close()
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	srv := httpapi.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, options.PathPrefix+"/admin/") {
			a.ServeHTTP(w, r)
		} else {
			wire.ServeHTTP(w, r)
		}
	}), 0)
	srv.RegisterOnShutdown(b.Drain)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(listener) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), actionTime)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		serving.Wait()
	})
	return &site{t, b, a, address, sender}
}

// in is the site for a part of the test.
func (s *site) in(t *testing.T) *site {
	part := *s
	part.TB = t
	return &part
}

// define creates what a test begins with.
func (s *site) define(def broker.Definition) {
	s.Helper()
	if _, err := s.b.Apply(s.Context(), def); err != nil {
		s.Fatal(err)
	}
}

// example is a topic /orders with the producer crm and the consumer erp, whose ID it returns.
func (s *site) example() uint32 {
	s.Helper()
	s.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Name: "CRM", Password: "p1"}, {Username: "erp", Name: "ERP", Password: "p2"}},
		Topics:    []broker.Topic{{Name: "/orders", MaxDepth: 1000, Expiration: 3600, DedupWindow: time.Minute}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/orders"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/orders", SubKey: "key-of-erp", MaxDepth: 1000, MaxInFlight: 100, AckTimeout: 10 * time.Minute}},
	})
	return s.b.Consumers()[0].ID
}

func (s *site) publish(topic, payload string, opts ...broker.PublishOption) string {
	s.Helper()
	id, err := s.b.Publish(s.Context(), topic, []byte(payload), opts...)
	if err != nil {
		s.Fatal(err)
	}
	return id
}

// call sends a request of the protocol or the API, and returns the status and what was answered.
func (s *site) call(method, path, body string, change ...func(*http.Request)) (int, map[string]any) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for _, c := range change {
		c(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	var answer map[string]any
	_ = json.NewDecoder(res.Body).Decode(&answer) // not everything that is refused is answered in JSON
	return res.StatusCode, answer
}

// asClient sends a request as a client, and where subKey is not empty, as its consumer.
func asClient(username, password, subKey string) func(*http.Request) {
	return func(r *http.Request) {
		r.SetBasicAuth(username, password)
		if subKey != "" {
			r.Header.Set("X-Zato-PubSub-Key", subKey)
		}
	}
}

// received is a message that a consumer got.
type received struct {
	ID, Payload string
	Deliveries  int
}

// receive receives over HTTP as a client does. status is that of the reply.
func (s *site) receive(username, password, topic, subKey string) (messages []received, status int) {
	s.Helper()
	status, answer := s.call("POST", "/zato/pubsub/msg/"+topic+"/", "", asClient(username, password, subKey))
	results, _ := answer["results"].([]any)
	for _, x := range results {
		m := x.(map[string]any)
		meta := m["metadata"].(map[string]any)
		messages = append(messages, received{meta["msg_id"].(string), m["payload"].(string), int(meta["delivery_count"].(float64))})
	}
	return messages, status
}

// tab is a tab of the browser at a site.
type tab struct {
	testing.TB
	ctx context.Context
	url string // of the site

	mu     sync.Mutex
	faults []string // what the pages did and should not
	agree  bool     // to the question that a page asks next
}

// profile opens a tab in a new profile of the browser, which shares nothing with others.
func (s *site) profile() *tab {
	s.Helper()
	return openTab(s.TB, s.url, chromium.ctx, chromedp.WithNewBrowserContext())
}

// another opens another tab of the same profile.
func (t *tab) another() *tab {
	t.Helper()
	return openTab(t.TB, t.url, t.ctx)
}

func openTab(tt testing.TB, url string, parent context.Context, options ...chromedp.ContextOption) *tab {
	tt.Helper()
	t := &tab{TB: tt, url: url}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(t.event))...)
	t.ctx = ctx
	tt.Cleanup(func() {
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, f := range t.faults {
			tt.Error(f)
		}
	})
	if err := chromedp.Do(ctx); err != nil { // the tab lives as long as the context that opens it
		tt.Fatal(err)
	}
	t.do(
		call(network.Enable, network.EnableParams{}),
		call(runtime.AddBinding, runtime.AddBindingParams{Name: "reportViolation"}),
		call(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: `
			addEventListener("securitypolicyviolation", e => reportViolation(e.violatedDirective + " " + e.blockedURI + " " + e.sample));`}),
		call(emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}),
		chromedp.EmulateViewport(1280, 900),
	)
	t.scheme("light")
	return t
}

// call is a command of the protocol as an action.
func call[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, cmd, params)
		return err
	})
}

// event notes what a page does and should not.
func (t *tab) event(ev any) {
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			text += " " + e.Description
		}
		t.fault("%s: exception: %s", ev.ExceptionDetails.URL, text)
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, a := range ev.Args {
			words = append(words, string(a.Value)+a.Description)
		}
		t.fault("console.%s: %s", ev.Type, strings.Join(words, " "))
	case *runtime.EventBindingCalled:
		t.fault("violates the Content-Security-Policy: %s", ev.Payload)
	case *log.EventEntryAdded:
		// Statuses are below. Less than a warning is not the page's fault: a click that comes before an autofocus is told as info.
		if ev.Entry.Source != log.EntrySourceNetwork && (ev.Entry.Level == log.EntryLevelWarning || ev.Entry.Level == log.EntryLevelError) {
			t.fault("%s: %s %s: %s", ev.Entry.URL, ev.Entry.Source, ev.Entry.Level, ev.Entry.Text)
		}
	case *network.EventRequestWillBeSent:
		if u := ev.Request.URL; !strings.HasPrefix(u, t.url+"/") && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			t.fault("%s asks for %s", ev.DocumentURL, u)
		}
	case *network.EventResponseReceived:
		if s := ev.Response.Status; s >= 500 || s >= 400 && ev.Type != network.ResourceTypeDocument {
			t.fault("%s: status %d", ev.Response.URL, s)
		}
	case *page.EventJavascriptDialogOpening:
		t.mu.Lock()
		agreed := t.agree && ev.Type == page.DialogTypeConfirm
		t.agree = false
		t.mu.Unlock()
		if !agreed {
			t.fault("%s opens a dialog: %s", ev.URL, ev.Message)
		}
		go func() { // commands have to wait until this returns
			_, _ = chromedp.Call(t.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: agreed})
		}()
	}
}

func (t *tab) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// within runs what takes a bounded time in a tab, and fails with what the page shows.
func within[T any](t *tab, what string, run func(context.Context) (T, error)) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, actionTime)
	defer cancel()
	v, err := run(ctx)
	if err != nil {
		ctx, cancel := context.WithTimeout(t.ctx, actionTime)
		defer cancel()
		shown, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
		t.Fatalf("%s: %v\nat %s", what, err, shown)
	}
	return v
}

func (t *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	within(t, "action", func(ctx context.Context) (chromedp.Void, error) {
		return chromedp.Void{}, chromedp.Do(ctx, actions...)
	})
}

// eval returns what a function of JavaScript does.
func eval[T any](t *tab, function string, args ...any) T {
	t.Helper()
	words := make([]string, len(args))
	for i, a := range args {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		words[i] = string(b)
	}
	expression := "(" + function + ")(" + strings.Join(words, ", ") + ")"
	return within(t, expression, func(ctx context.Context) (T, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	})
}

// until waits for an expression of JavaScript to be true.
func (t *tab) until(expression string) {
	t.Helper()
	within(t, "until "+expression, func(ctx context.Context) (bool, error) {
		return chromedp.Run(ctx, chromedp.Poll[bool](expression, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(actionTime)))
	})
}

// arrive does what leads to another page, waits for it, and returns its status.
func (t *tab) arrive(what string, action chromedp.Action[chromedp.Void]) int {
	t.Helper()
	res := within(t, what, func(ctx context.Context) (*network.Response, error) {
		return chromedp.RunResponse(ctx, action)
	})
	if xss := eval[string](t, `() => String(window.xss)`); xss != "undefined" {
		t.Fatalf("%s: a script has run: %s", res.URL, xss)
	}
	return int(res.Status)
}

// open opens a page by its path or its whole address.
func (t *tab) open(path string) int {
	t.Helper()
	if strings.HasPrefix(path, "/") {
		path = t.url + path
	}
	return t.arrive(path, chromedp.Navigate(path))
}

// ok opens a page that is expected to be there.
func (t *tab) ok(path string) {
	t.Helper()
	if status := t.open(path); status != http.StatusOK {
		t.Fatalf("%s: status %d", path, status)
	}
}

// hit clicks an element with the mouse. Where the element is, is asked for before: if the page moves it meanwhile, the click
// meets another or none, and is done again.
func hit(selector string) chromedp.Action[chromedp.Void] {
	quoted, _ := json.Marshal(selector)
	watch := fmt.Sprintf(`window.missed = true;
		addEventListener("click", e => { if (e.target.closest(%s)) window.missed = false }, { capture: true, once: true })`, quoted)
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for {
			steps := []chromedp.Action[chromedp.Void]{chromedp.WaitVisible(chromedp.CSS(selector)), chromedp.Evaluate[chromedp.Void](watch), chromedp.Click(chromedp.CSS(selector))}
			for _, step := range steps {
				if _, err := step(ctx, target); err != nil {
					return err
				}
			}
			missed, err := chromedp.Evaluate[bool](`window.missed === true`)(ctx, target)
			if err != nil && ctx.Err() == nil {
				return nil // the page is on its way out: by the click
			}
			if err != nil || !missed {
				return err
			}
		}
	})
}

// click clicks what leads to another page, and returns its status.
func (t *tab) click(selector string) int {
	t.Helper()
	return t.arrive("click "+selector, hit(selector))
}

// follow clicks what leads to a page that is expected to be there.
func (t *tab) follow(selector string) {
	t.Helper()
	if status := t.click(selector); status != http.StatusOK {
		t.Fatalf("click %s: status %d at %s", selector, status, t.path())
	}
}

// press clicks what stays on the page.
func (t *tab) press(selector string) {
	t.Helper()
	within(t, "press "+selector, func(ctx context.Context) (chromedp.Void, error) {
		return chromedp.Void{}, chromedp.Do(ctx, hit(selector))
	})
}

// unfold opens what is folded around an element, unless it is open.
func (t *tab) unfold(selector string) {
	t.Helper()
	if folded := "details:not([open]):has(" + selector + ")"; t.exists(folded) {
		t.press(folded + " > summary")
	}
	t.do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// fill types into the fields of a form, given as names and values. A checkbox is on or off.
func (t *tab) fill(form string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		field, value := form+` [name="`+pairs[i]+`"]`, pairs[i+1]
		t.do(chromedp.WaitReady(chromedp.CSS(field)))
		if fold := eval[string](t, `s => document.querySelector(s).closest("details:not([open])")?.id ?? ""`, field); fold != "" {
			t.press("#" + fold + " > summary")
		}
		t.do(chromedp.WaitVisible(chromedp.CSS(field)))
		switch eval[string](t, `s => document.querySelector(s).type`, field) {
		case "checkbox":
			if on := eval[bool](t, `s => document.querySelector(s).checked`, field); on != (value == "on") {
				t.press(field)
			}
		case "select-one":
			if !eval[bool](t, `(s, v) => { const e = document.querySelector(s); e.focus(); e.value = v; e.dispatchEvent(new Event("change", {bubbles: true})); return e.value === v }`, field, value) {
				t.Fatalf("%s has no option %q", field, value)
			}
		default:
			eval[bool](t, `s => { const e = document.querySelector(s); e.focus(); e.select(); return true }`, field)
			if value == "" {
				t.do(chromedp.KeyEvent("\b"))
			} else {
				t.do(call(input.InsertText, input.InsertTextParams{Text: value}))
			}
		}
	}
}

// send sends a form, and returns the status of what comes then.
func (t *tab) send(form string) int {
	t.Helper()
	return t.click(form + " button:not([type=button])")
}

// save sends a form that is expected to go well.
func (t *tab) save(form string) {
	t.Helper()
	if status := t.send(form); status >= 300 {
		t.Fatalf("%s: status %d\n%s", form, status, t.text("main"))
	}
}

// path returns where the tab is.
func (t *tab) path() string {
	t.Helper()
	return eval[string](t, `() => location.pathname + location.search`)
}

// at fails unless the tab is at a path.
func (t *tab) at(path string) {
	t.Helper()
	if got := t.path(); got != path {
		t.Fatalf("at %s, expected %s\n%s", got, path, t.text("main"))
	}
}

// text returns what an element shows.
func (t *tab) text(selector string) string {
	t.Helper()
	return eval[string](t, `s => document.querySelector(s)?.innerText ?? "(nothing is `+"`${s}`"+`)"`, selector)
}

func (t *tab) shows(selector string) bool {
	t.Helper()
	return eval[bool](t, `s => document.querySelector(s).checkVisibility()`, selector)
}

func (t *tab) exists(selector string) bool {
	t.Helper()
	return eval[bool](t, `s => document.querySelector(s) !== null`, selector)
}

// sees fails unless the page shows all of the texts.
func (t *tab) sees(texts ...string) {
	t.Helper()
	shown := t.text("body")
	for _, s := range texts {
		if !strings.Contains(shown, s) {
			t.Fatalf("%s does not show %q:\n%s", t.path(), s, shown)
		}
	}
}

func (t *tab) seesNot(texts ...string) {
	t.Helper()
	shown := t.text("body")
	for _, s := range texts {
		if strings.Contains(shown, s) {
			t.Fatalf("%s shows %q:\n%s", t.path(), s, shown)
		}
	}
}

// scheme sets the colours that the viewer prefers. Without motion, so that they are there at once.
func (t *tab) scheme(name string) {
	t.Helper()
	t.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}}))
}

// signIn signs the administrator in.
func (t *tab) signIn() *tab {
	t.Helper()
	t.ok("/admin/login")
	t.fill("#login", "name", adaName, "password", adaPassword)
	t.save("#login")
	t.at("/admin/")
	return t
}

// consumerPage is the path of a consumer's page.
func consumerPage(id uint32) string { return "/admin/consumers/" + strconv.FormatUint(uint64(id), 10) }
