package admin

import (
	"bytes"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pipit/admin/gate"
	"pipit/broker/clip"
)

//go:embed templates assets
var files embed.FS

// view is what a page shows. Its template gets a page, which has all of it.
type view struct {
	Title  string
	Nav    string // which item of the menu is current: overview, topics, producers, consumers, clients, messages, system
	Notice string // what went well
	Error  string // what did not
	Data   any    // the page's own
}

// page is what templates are executed with.
type page struct {
	view
	User    string // who is signed in; empty: nobody
	Version string
	Now     string // by the server's clock
}

// Limits of pages.
const (
	noticeTime = 30 * time.Second
	maxNotice  = 1000 // bytes
	noticeName = "pipit_notice"
)

// pageRoutes are the routes of the web pages.
func (a *Admin) pageRoutes() []route {
	templates() // a fault in what is embedded shows at the start
	assets()
	return append([]route{
		gate.Get("/admin/", a.pageOverview, read),
		gate.Get("/admin/live", a.pageLive, read),
		gate.Get("/admin/history", a.pageHistory, read),
		gate.Get("/admin/assets/*file", a.pageAsset, public),
		gate.Get("/admin/login", a.pageLogin, public),
		gate.Post("/admin/login", a.postLogin, public),
		gate.Post("/admin/logout", a.postLogout, public),
		gate.Get("/admin/setup", a.pageSetup, public),
		gate.Post("/admin/setup", a.postSetup, public),
		gate.Get("/admin/system", a.pageSystem, read),
		gate.Get("/admin/system/access", a.pageAccess, admin),
		gate.Get("/admin/system/audit", a.pageAudit, admin),
		gate.Post("/admin/system/administrators", a.postAdministrator, admin),
		gate.Get("/admin/system/administrators/:name", a.pageAdministrator, admin),
		gate.Post("/admin/system/administrators/:name/password", a.postAdministratorPassword, admin),
		gate.Post("/admin/system/administrators/:name/delete", a.postAdministratorDelete, admin),
		gate.Post("/admin/system/administrators/:name/sign-out", a.postSignOutEverywhere, admin),
		gate.Post("/admin/system/sessions/:id/delete", a.postSessionDelete, admin),
		gate.Post("/admin/system/tokens", a.postToken, admin),
		gate.Post("/admin/system/tokens/:id/delete", a.postTokenDelete, admin),
	}, a.objectRoutes()...)
}

// templates are the pages by name, each with the layout and the parts that pages share, which are
// in the files whose names begin with "part_".
var templates = sync.OnceValue(func() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(files, "templates/layout.html", "templates/part_*.html"))
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		panic(err)
	}
	pages := map[string]*template.Template{}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name != "layout" && !strings.HasPrefix(name, "part_") {
			pages[name] = template.Must(template.Must(base.Clone()).ParseFS(files, file))
		}
	}
	return pages
})

// render writes templates/<name>.html within the layout. An error comes before anything is written.
func (a *Admin) render(w http.ResponseWriter, r *http.Request, name string, status int, v view) error {
	t := templates()[name]
	if t == nil {
		return fmt.Errorf("no template %q", name)
	}
	p := page{view: v, User: actorOf(r.Context()).Name, Version: a.o.Version, Now: time.Now().UTC().Format(time.RFC3339Nano)}
	if x, ok := w.(*call); ok && p.User == "" {
		p.User = x.who.Name
	}
	if p.Notice == "" && r.Method != http.MethodHead { // it is shown once
		p.Notice = a.takeNotice(w, r)
	}
	var buf bytes.Buffer
	if err := t.ExecuteTemplate(&buf, "layout", &p); err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	html := showHidden(a.links.Replace(buf.String()))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(html)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, html) // the reader has left: nobody to tell
	}
	return nil
}

// warned is what a notice says of warnings.
func warned(warnings []string) string {
	var b strings.Builder
	for _, w := range warnings {
		b.WriteString(". Warning: " + w)
	}
	return b.String()
}

// done answers a POST that went well: on to a page, which shows notice once.
func (a *Admin) done(w http.ResponseWriter, r *http.Request, to, notice string) error {
	if notice != "" {
		a.setNotice(w, r, base64.RawURLEncoding.EncodeToString([]byte(clip.To(notice, maxNotice))), int(noticeTime/time.Second))
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther) // #nosec G710 -- callers give paths of ours, those of a request through nextPath
	return nil
}

func (a *Admin) setNotice(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- Secure where the request came through TLS
		Name: noticeName, Value: value, Path: a.o.PathPrefix + rootPath, MaxAge: maxAge,
		HttpOnly: true, Secure: a.reach.Secure(r), SameSite: http.SameSiteStrictMode,
	})
}

// takeNotice returns the notice that done left, and takes it back.
func (a *Admin) takeNotice(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(noticeName)
	if err != nil || c.Value == "" {
		return ""
	}
	a.setNotice(w, r, "", -1)
	text, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || !utf8.Valid(text) {
		return ""
	}
	return clip.To(string(text), maxNotice)
}

// failure is an error as people read it.
type failure struct {
	Status  int
	Heading string
	Message string
	After   time.Duration // when it makes sense to try again; 0 where it does not
}

// headings are the titles of error pages, where the problem has none for people.
var headings = map[int]string{
	http.StatusUnauthorized:       "Sign in first",
	http.StatusForbidden:          "Not allowed",
	http.StatusNotFound:           "Not found",
	http.StatusServiceUnavailable: "Not available right now",
}

// failureOf returns how an error is shown. What is internal is for the log alone.
func failureOf(err error) failure {
	p, after := gate.ProblemOf(err)
	f := failure{p.Status, headings[p.Status], sentence(p.Detail), after}
	switch {
	case p.Status == http.StatusInternalServerError:
		f.Heading, f.Message = "Something went wrong", "The fault is on this side. The log says what it is."
	case f.Heading == "":
		f.Heading = p.Title
	}
	if f.Message != "" && !strings.HasSuffix(f.Message, ".") {
		f.Message += "."
	}
	if after > 0 {
		f.Message += " Try again in " + waitText(after) + "."
	}
	return f
}

// errorPage answers with an error as a page.
func (a *Admin) errorPage(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	if actorOf(r.Context()).Name == "" && a.users.IsSetUp() { // the router has found nothing, so nobody has looked who asks
		if who, err := a.users.Identify(r); err == nil {
			r = r.WithContext(who.In(r.Context()))
		}
	}
	retryAfter(w, f.After)
	if err := a.render(w, r, "error", f.Status, view{Title: f.Heading, Nav: navOf(r.URL.Path), Data: f}); err != nil {
		http.Error(w, f.Heading, f.Status)
	}
}

// retryAfter says when it makes sense to try again, where it does.
func retryAfter(w http.ResponseWriter, after time.Duration) {
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(wholeSeconds(after)))
	}
}

// navOf returns the item of the menu that a path belongs to.
func navOf(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, rootPath), "/")
	if first == "" {
		return "overview"
	}
	return first
}

// functions are those of templates.
var functions = template.FuncMap{
	"num":       num,
	"bytes":     size,
	"time":      timeTag,
	"ago":       ago,
	"dur":       func(d any) string { return duration(time.Duration(reflect.ValueOf(d).Int())) },
	"esc":       segment,
	"adminpath": administratorPath,
	"rate":      rate,
	"asset":     assetURL,
	"icon":      icon,
	"pct":       percent,
	"short":     clip.To,
	"dict":      dict,
}

// moment is a time.Time or a Time.
type moment interface {
	IsZero() bool
	UTC() time.Time
}

// timeTag writes a time in UTC; the script shows it in the viewer's zone.
func timeTag(m moment) template.HTML {
	if m.IsZero() {
		return `<span class="muted">never</span>`
	}
	t := m.UTC()
	text := t.Format("2006-01-02 15:04:05")
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339Nano) + `" title="` + text + ` UTC">` + text + ` UTC</time>`) // #nosec G203 -- formatted times alone
}

// ago writes how long ago a time is, which the script keeps true.
func ago(m moment) template.HTML {
	if m.IsZero() {
		return `<span class="muted">never</span>`
	}
	t := m.UTC()
	text := "now"
	switch d := time.Since(t); {
	case d >= time.Second:
		text = duration(d) + " ago"
	case d <= -time.Second:
		text = "in " + duration(-d)
	}
	return template.HTML(`<time data-ago datetime="` + t.Format(time.RFC3339Nano) + `" title="` + t.Format("2006-01-02 15:04:05") + ` UTC">` + text + `</time>`) // #nosec G203 -- formatted times alone
}

// dict makes a map of keys and values, for a template that takes more than one argument.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a key without a value")
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is not a text", pairs[i])
		}
		m[key] = pairs[i+1]
	}
	return m, nil
}

// prefixer puts a prefix in front of the paths in the attributes of a page. It needs no parser: the
// templates escape quotes in all that they show, so only they themselves can write an attribute.
func prefixer(prefix string) *strings.Replacer {
	var pairs []string
	if prefix != "" {
		for _, attr := range []string{"href", "src", "action", "data-live", "data-chart"} {
			pairs = append(pairs, " "+attr+`="`+rootPath, " "+attr+`="`+prefix+rootPath)
		}
	}
	return strings.NewReplacer(pairs...)
}
