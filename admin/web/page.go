package web

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker/clip"
)

//go:embed templates assets
var files embed.FS

// view is what a page shows. Its template gets a page, which has all of it.
type view struct {
	Title  string
	Nav    string // which item of the menu is current: overview, topics, producers, consumers, webhooks, clients, messages, alerts, system
	Notice string // what went well
	Error  string // what did not
	Live   string // URL of its live stream; empty: it has none
	Data   any    // the page's own
}

// page is what templates are executed with.
type page struct {
	view
	User    string // who is signed in; empty: nobody
	Version string
	Now     time.Time // by the server's clock
	Needs   int       // how much needs attention
	Undo    *object.Undo
	Cluster bool // it is a node of one
}

// Limits of pages.
const (
	noticeTime = 30 * time.Second
	maxNotice  = 1000 // bytes
	noticeName = "pipit_notice"

	attentionAge = 10 * time.Second // of the number of what needs attention
)

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
func (s *Site) render(w http.ResponseWriter, r *http.Request, name string, status int, v view) error {
	t := templates()[name]
	if t == nil {
		return fmt.Errorf("no template %q", name)
	}
	p := page{view: v, User: gate.ActorOf(r.Context()).Name, Version: s.Version, Now: time.Now().UTC(), Cluster: s.Cluster != nil}
	if key := r.URL.Query().Get("undo"); key != "" && gate.ActorOf(r.Context()).Access >= gate.Write {
		p.Undo = s.Objects.Undoable(key)
	}
	if p.User != "" {
		p.Needs = s.Monitor.Situation(attentionAge).Number
	}
	if p.Notice == "" && r.Method != http.MethodHead { // it is shown once
		p.Notice = s.takeNotice(w, r)
	}
	var buf bytes.Buffer
	if err := t.ExecuteTemplate(&buf, "layout", &p); err != nil {
		return fmt.Errorf("template %s: %w", name, err)
	}
	html := text.ShowHidden(prefixed(buf.String(), s.Reach.PathPrefix))
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	if compressed[name] {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			h.Set("Content-Encoding", "gzip")
			html = compress(html)
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(html)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, html) // the reader has left: nobody to tell
	}
	return nil
}

// prefixed puts a prefix in front of the paths in the attributes of a page. It needs no parser: the
// templates escape quotes in all that they show, so only they themselves can write an attribute.
func prefixed(page, prefix string) string {
	if prefix == "" {
		return page
	}
	var pairs []string
	for _, attr := range []string{"href", "src", "action", "data-live", "data-chart", "data-await", "data-propose"} {
		pairs = append(pairs, " "+attr+`="`+gate.RootPath, " "+attr+`="`+prefix+gate.RootPath)
	}
	return strings.NewReplacer(pairs...).Replace(page)
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
func (s *Site) done(w http.ResponseWriter, r *http.Request, to, notice string) error {
	if notice != "" {
		s.setNotice(w, r, base64.RawURLEncoding.EncodeToString([]byte(clip.To(notice, maxNotice))), int(noticeTime/time.Second))
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, to, http.StatusSeeOther) // #nosec G710 -- callers give paths of ours, those of a request through nextPath
	return nil
}

func (s *Site) setNotice(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{ // #nosec G124 -- Secure where the request came through TLS
		Name: noticeName, Value: value, Path: s.Reach.PathPrefix + gate.RootPath, MaxAge: maxAge,
		HttpOnly: true, Secure: s.Reach.Secure(r), SameSite: http.SameSiteStrictMode,
	})
}

// takeNotice returns the notice that done left, and takes it back.
func (s *Site) takeNotice(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(noticeName)
	if err != nil || c.Value == "" {
		return ""
	}
	s.setNotice(w, r, "", -1)
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
	More    *link         // where to look instead, beside the overview; nil: nowhere
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
	f := failure{p.Status, headings[p.Status], sentence(p.Detail), after, nil}
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
		f.Message += " Try again in " + text.Wait(after) + "."
	}
	return f
}

// ErrorPage answers with an error as a page.
func (s *Site) ErrorPage(w http.ResponseWriter, r *http.Request, err error) {
	f := failureOf(err)
	if gate.ActorOf(r.Context()).Name == "" && s.Users.IsSetUp() { // the router has found nothing, so nobody has looked who asks
		if who, err := s.Users.Identify(r); err == nil {
			r = r.WithContext(who.In(r.Context()))
		}
	}
	retryAfter(w, f.After)
	if err := s.render(w, r, "error", f.Status, view{Title: f.Heading, Nav: navOf(r.URL.Path), Data: f}); err != nil {
		http.Error(w, f.Heading, f.Status)
	}
}

// retryAfter says when it makes sense to try again, where it does.
func retryAfter(w http.ResponseWriter, after time.Duration) {
	if after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(text.WholeSeconds(after)))
	}
}

// navOf returns the item of the menu that a path belongs to.
func navOf(p string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(p, gate.RootPath), "/")
	if first == "" {
		return "overview"
	}
	return first
}
