package web

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/broker"
)

// loginPages let people in: signing in and out, and the set-up.
type loginPages struct{ *Site }

func (lp loginPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/login", lp.pageLogin, gate.Public),
		gate.Post("/admin/login", lp.postLogin, gate.Public),
		gate.Post("/admin/logout", lp.postLogout, gate.Public),
		gate.Get("/admin/setup", lp.pageSetup, gate.Public),
		gate.Post("/admin/setup", lp.postSetup, gate.Public),
	}
}

type loginPage struct {
	Name string
	Next string // path of the page to go to
	Sent bool   // a form was sent there, and the session was over
}

func (lp loginPages) pageLogin(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	next := nextPath(r.URL.Query().Get("next"))
	if gate.ActorOf(r.Context()).Name != "" {
		http.Redirect(w, r, next, http.StatusSeeOther) // #nosec G710 -- nextPath lets paths of ours pass alone
		return nil
	}
	return lp.render(w, r, "login", http.StatusOK, view{Title: "Sign in", Data: loginPage{Next: next, Sent: r.URL.Query().Has("sent")}})
}

func (lp loginPages) postLogin(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	p := loginPage{f.Get("name"), nextPath(f.Get("next")), f.Get("sent") != ""}
	if err := lp.Users.SignIn(r.Context(), w, r, p.Name, f.Get("password")); err != nil {
		return lp.renderRefused(w, r, "login", "Sign in", p, err)
	}
	return lp.done(w, r, p.Next, "")
}

func (lp loginPages) postLogout(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := lp.Users.SignOut(w, r); err != nil {
		return err
	}
	return lp.done(w, r, gate.LoginPath, "You are signed out.")
}

type setupPage struct{ Key, Name string }

// MinPassword and Hint are what its form says of a password.
func (setupPage) MinPassword() int { return access.MinPassword }
func (setupPage) Hint() string     { return passwordHint }

func (lp loginPages) pageSetup(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	key := r.URL.Query().Get("key")
	if err := lp.Users.CheckSetupKey(r.Context(), gate.Actor{Via: gate.Web, Addr: lp.Reach.Addr(r)}, key); err != nil {
		return err
	}
	return lp.render(w, r, "setup", http.StatusOK, view{Title: "Set up", Data: setupPage{Key: key}})
}

func (lp loginPages) postSetup(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	p := setupPage{f.Get("key"), f.Get("name")}
	switch err := lp.Users.SetUp(r.Context(), w, r, p.Key, p.Name, f.Get("password")); broker.CodeOf(err) {
	case broker.Invalid, broker.Unavailable, broker.DiskFull:
		return lp.renderRefused(w, r, "setup", "Set up", p, err)
	default:
		if err != nil {
			return err
		}
	}
	return lp.done(w, r, gate.RootPath, "Welcome, "+p.Name+". Pipit is yours.")
}

// renderRefused answers with the form again, and why it was refused. What is internal is returned.
func (lp loginPages) renderRefused(w http.ResponseWriter, r *http.Request, name, title string, data any, err error) error {
	f := failureOf(err)
	if f.Status == http.StatusInternalServerError {
		return err
	}
	retryAfter(w, f.After)
	return lp.render(w, r, name, f.Status, view{Title: title, Error: f.Message, Data: data})
}

// nextPath returns the path of a page of ours that a reader wanted to see: the overview, where it
// is anything else.
func nextPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(s, gate.RootPath) ||
		strings.Contains(s, `\`) || strings.HasPrefix(s, gate.APIPath) || strings.HasPrefix(s, gate.LoginPath) || strings.HasPrefix(s, gate.SetupPath) {
		return gate.RootPath
	}
	return s
}
