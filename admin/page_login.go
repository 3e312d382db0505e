package admin

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/broker"
)

type loginPage struct {
	Name string
	Next string // path of the page to go to
}

func (a *Admin) pageLogin(w http.ResponseWriter, r *http.Request, _ params) error {
	next := nextPath(r.URL.Query().Get("next"))
	if actorOf(r.Context()).Name != "" {
		http.Redirect(w, r, next, http.StatusSeeOther) // #nosec G710 -- nextPath lets paths of ours pass alone
		return nil
	}
	return a.render(w, r, "login", http.StatusOK, view{Title: "Sign in", Data: loginPage{Next: next}})
}

func (a *Admin) postLogin(w http.ResponseWriter, r *http.Request, _ params) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	p := loginPage{f.Get("name"), nextPath(f.Get("next"))}
	if err := a.users.SignIn(r.Context(), w, r, p.Name, f.Get("password")); err != nil {
		return a.renderRefused(w, r, "login", "Sign in", p, err)
	}
	return a.done(w, r, p.Next, "")
}

func (a *Admin) postLogout(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := a.users.SignOut(w, r); err != nil {
		return err
	}
	return a.done(w, r, gate.LoginPath, "You are signed out.")
}

type setupPage struct{ Key, Name string }

// MinPassword and Hint are what its form says of a password.
func (setupPage) MinPassword() int { return access.MinPassword }
func (setupPage) Hint() string     { return passwordHint }

func (a *Admin) pageSetup(w http.ResponseWriter, r *http.Request, _ params) error {
	key := r.URL.Query().Get("key")
	if err := a.users.CheckSetupKey(r.Context(), actor{Via: "web", Addr: a.reach.Addr(r)}, key); err != nil {
		return err
	}
	return a.render(w, r, "setup", http.StatusOK, view{Title: "Set up", Data: setupPage{Key: key}})
}

func (a *Admin) postSetup(w http.ResponseWriter, r *http.Request, _ params) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	p := setupPage{f.Get("key"), f.Get("name")}
	switch err := a.users.SetUp(r.Context(), w, r, p.Key, p.Name, f.Get("password")); broker.CodeOf(err) {
	case broker.Invalid, broker.Unavailable, broker.DiskFull:
		return a.renderRefused(w, r, "setup", "Set up", p, err)
	default:
		if err != nil {
			return err
		}
	}
	return a.done(w, r, rootPath, "Welcome, "+p.Name+". Pipit is yours.")
}

// renderRefused answers with the form again, and why it was refused. What is internal is returned.
func (a *Admin) renderRefused(w http.ResponseWriter, r *http.Request, name, title string, data any, err error) error {
	f := failureOf(err)
	if f.Status == http.StatusInternalServerError {
		return err
	}
	retryAfter(w, f.After)
	return a.render(w, r, name, f.Status, view{Title: title, Error: f.Message, Data: data})
}

// nextPath returns the path of a page of ours that a reader wanted to see: the overview, where it
// is anything else.
func nextPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(s, rootPath) ||
		strings.Contains(s, `\`) || strings.HasPrefix(s, gate.APIPath) || strings.HasPrefix(s, gate.LoginPath) || strings.HasPrefix(s, gate.SetupPath) {
		return rootPath
	}
	return s
}
