package admin

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"

	"pipit/admin/access"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
)

// Bounds of the system's pages.
const (
	maxSessionRows = 200
	auditRows      = 100
)

type systemPage struct {
	Go, OS   string
	Started  time.Time
	Uptime   time.Duration
	Address  string
	Store    broker.StoreStats
	Problem  string // why messages cannot be stored; empty where they can
	Totals   broker.Totals
	Settings []gate.Setting
}

func (a *Admin) pageSystem(w http.ResponseWriter, r *http.Request, _ params) error {
	problem := ""
	if err := a.b.Health(); err != nil {
		problem = monitor.Reason(err)
	}
	return a.render(w, r, "system", http.StatusOK, view{Title: "System", Nav: "system", Data: systemPage{
		Go:       runtime.Version(),
		OS:       runtime.GOOS + "/" + runtime.GOARCH,
		Started:  a.started,
		Uptime:   time.Since(a.started),
		Address:  a.bases(r).admin,
		Store:    a.b.StoreStats(),
		Problem:  problem,
		Totals:   a.b.Totals(),
		Settings: a.adjusted.Load().settings,
	}})
}

type accessPage struct {
	Me               string
	Administrators   []access.Administrator
	NewAdministrator *form
	Sessions         []access.Session
	MoreSessions     int           // that are not shown
	Idle, Life       time.Duration // of sessions
	Tokens           []tokenRow
	NewToken         *form
	Made             *access.Token // just now, with its secret
	Example          string        // call of the API
}

// tokenRow is a token in the list of them.
type tokenRow struct {
	access.Token
	Ask   string // whether to revoke it
	Makes bool   // it has made others, which end with it or are taken over
}

func newAdministratorForm() *form {
	return newForm("administrator", "/admin/system/administrators", "Create administrator",
		field{Name: "name", Label: "Name", Required: true},
		field{Name: "password", Label: "Password", Type: "password", Required: true, Hint: passwordHint},
		currentPassword)
}

var passwordHint = fmt.Sprintf("At least %d characters, none of the commonest passwords.", access.MinPassword)

// currentPassword is the field of what takes the password of who is signed in once more.
var currentPassword = field{Name: "current_password", Label: "Your own password", Type: "password", Required: true, Hint: "The one that you signed in with."}

// tokenLives are the choices of when a token expires, in days.
var tokenLives = []option{{"30", "in 30 days"}, {"90", "in 90 days"}, {"365", "in a year"}, {access.Never, "never"}}

func newTokenForm() *form {
	password := currentPassword
	password.Required, password.Hint = false, "For the scope admin: the one that you signed in with."
	return newForm("token", "/admin/system/tokens", "Create token",
		field{Name: "name", Label: "Name", Required: true, Hint: "What it is for. The audit log has it."},
		field{Name: "scope", Label: "Scope", Type: "select", Value: gate.ScopeRead, Options: []option{
			{gate.ScopeRead, "read"}, {gate.ScopeWrite, "write: objects and messages"}, {gate.ScopeAdmin, "admin: administrators and tokens, too"}}},
		field{Name: "expires", Label: "Expires", Type: "select", Value: "90", Options: tokenLives},
		password)
}

func (a *Admin) pageAccess(w http.ResponseWriter, r *http.Request, _ params) error {
	return a.renderAccess(w, r, http.StatusOK, accessPage{})
}

// renderAccess fills in what p does not have yet.
func (a *Admin) renderAccess(w http.ResponseWriter, r *http.Request, status int, p accessPage) error {
	var err error
	if p.Administrators, err = a.users.Administrators(); err != nil {
		return err
	}
	who := access.CallerOf(r.Context())
	p.Me = who.Name
	p.Sessions = a.users.Sessions(who)
	if n := len(p.Sessions); n > maxSessionRows {
		p.Sessions, p.MoreSessions = p.Sessions[:maxSessionRows], n-maxSessionRows
	}
	p.Idle, p.Life = a.users.SessionLives()
	tokens, owns := a.users.Tokens(), map[string]bool{}
	for _, t := range tokens {
		owns[t.Owner] = true
	}
	for _, t := range tokens {
		owner := gate.TokenPrefix + t.Name
		row := tokenRow{t, "Revoke this token? What uses it is refused from then on.", owns[owner]}
		if row.Makes {
			row.Ask += " The tokens that it has made end with it: " + tokenNames(access.EndsWith(tokens, owner)) + ". Or you take them over, where the box is ticked."
		}
		p.Tokens = append(p.Tokens, row)
	}
	p.Example = `curl -H "Authorization: Bearer $TOKEN" ` + shellQuote(a.bases(r).admin+gate.APIPath+"v1/stats")
	if p.NewAdministrator == nil {
		p.NewAdministrator = newAdministratorForm()
	}
	if p.NewToken == nil {
		p.NewToken = newTokenForm()
	}
	return a.render(w, r, "access", status, view{Title: "Access", Nav: "system", Data: p})
}

func tokenNames(tokens []access.Token) string {
	var names []string
	for _, t := range tokens {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

const accessPath = "/admin/system/access"

func (a *Admin) postAdministrator(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := newAdministratorForm()
	f.typed(v)
	made, err := a.users.CreateAdministrator(r.Context(), access.CallerOf(r.Context()), f.get("name"), f.get("password"), f.get("current_password"))
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderAccess(w, r, status, accessPage{NewAdministrator: f})
	}
	return a.done(w, r, accessPath, "Administrator "+made.Name+" is created.")
}

type administratorPage struct {
	access.Administrator
	Me               bool
	Last             bool           // there is no other
	Tokens           []access.Token // that end with it
	Password, Delete *form
}

func administratorPath(name string) string { return "/admin/system/administrators/" + segment(name) }

func passwordForm(name string) *form {
	return newForm("password", administratorPath(name)+"/password", "Change password",
		field{Name: "password", Label: "New password", Type: "password", Required: true, Hint: passwordHint + " It ends all other sessions."},
		currentPassword)
}

func deleteAdministratorForm(name string) *form {
	return confirm("delete", administratorPath(name)+"/delete", "Delete administrator", "Type the name to confirm", name,
		field{Name: "take_over", Label: "Take over the tokens that " + name + " has made, rather than end them", Type: "checkbox"})
}

func (a *Admin) pageAdministrator(w http.ResponseWriter, r *http.Request, p params) error {
	name := unsegment(p["name"])
	return a.renderAdministrator(w, r, http.StatusOK, name, passwordForm(name), deleteAdministratorForm(name))
}

func (a *Admin) renderAdministrator(w http.ResponseWriter, r *http.Request, status int, name string, password, del *form) error {
	found, err := a.users.Administrator(name)
	if err != nil {
		return err
	}
	last, err := a.users.OnlyOneAdministrator()
	if err != nil {
		return err
	}
	me, tokens := name == actorOf(r.Context()).Name, access.EndsWith(a.users.Tokens(), name)
	if me || tokens == nil { // nobody takes them over, or there are none
		del.drop("take_over")
	}
	return a.render(w, r, "administrator", status, view{Title: name, Nav: "system", Data: administratorPage{
		found, me, last, tokens, password, del}})
}

func (a *Admin) postAdministratorPassword(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	name := unsegment(p["name"])
	f := passwordForm(name)
	f.typed(v)
	if err := a.users.SetAdministratorPassword(r.Context(), access.CallerOf(r.Context()), name, f.get("password"), f.get("current_password")); err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderAdministrator(w, r, status, name, f, deleteAdministratorForm(name))
	}
	return a.done(w, r, administratorPath(name), "The password is changed.")
}

func (a *Admin) postAdministratorDelete(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	name, who := unsegment(p["name"]), access.CallerOf(r.Context())
	f := deleteAdministratorForm(name)
	f.typed(v)
	err = f.confirmed(name)
	if err == nil {
		err = a.users.DeleteAdministrator(r.Context(), who, name, f.on("take_over"))
	}
	if fe := (*fieldError)(nil); errors.As(err, &fe) || broker.CodeOf(err) == broker.Invalid {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderAdministrator(w, r, status, name, passwordForm(name), f)
	}
	if err != nil {
		return err
	}
	if name == who.Name {
		a.users.ClearCookie(w, r)
		return a.done(w, r, gate.LoginPath, "Your account is deleted.")
	}
	return a.done(w, r, accessPath, "Administrator "+name+" is deleted.")
}

// postSignOutEverywhere ends all sessions of an administrator.
func (a *Admin) postSignOutEverywhere(w http.ResponseWriter, r *http.Request, p params) error {
	name, who := unsegment(p["name"]), actorOf(r.Context())
	if _, err := a.users.Administrator(name); err != nil {
		return err
	}
	n, err := a.users.EndSessions(r.Context(), who, name)
	if err != nil {
		return err
	}
	if name == who.Name {
		a.users.ClearCookie(w, r)
		return a.done(w, r, gate.LoginPath, "You are signed out everywhere.")
	}
	return a.done(w, r, administratorPath(name), count(int64(n), "session is", "sessions are")+" ended.")
}

func (a *Admin) postSessionDelete(w http.ResponseWriter, r *http.Request, p params) error {
	who := access.CallerOf(r.Context())
	if who.SessionID() == p["id"] {
		return a.postLogout(w, r, p)
	}
	if err := a.users.EndSession(r.Context(), who.Actor, p["id"]); err != nil {
		return err
	}
	return a.done(w, r, accessPath, "The session is ended.")
}

func (a *Admin) postToken(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := newTokenForm()
	f.typed(v)
	n := access.NewToken{Name: f.get("name"), Scope: f.get("scope"), Expires: f.get("expires"), CurrentPassword: f.get("current_password")}
	if days, err := f.number("expires", 90); err == nil && days > 0 && days <= 3650 {
		n.Expires = time.Now().AddDate(0, 0, int(days)).UTC().Format(time.RFC3339)
	}
	made, err := a.users.CreateToken(r.Context(), access.CallerOf(r.Context()), n)
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderAccess(w, r, status, accessPage{NewToken: f})
	}
	return a.renderAccess(w, r, http.StatusCreated, accessPage{Made: &made})
}

func (a *Admin) postTokenDelete(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := a.users.DeleteToken(r.Context(), access.CallerOf(r.Context()), p["id"], v.Get("take_over") == checked); err != nil {
		return err
	}
	return a.done(w, r, accessPath, "The token is revoked.")
}

type auditPage struct {
	Items       []audit.Entry
	Most        int // entries of a kind that are kept
	Kinds       []auditTab
	First, Next string // URLs; empty where there are none
}

// auditTab leads to the entries of a kind, or to all.
type auditTab struct {
	Name, Path string
	Current    bool
}

func auditPath(kind, cursor string) string {
	q := url.Values{}
	for key, value := range map[string]string{"kind": kind, "cursor": cursor} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return (&url.URL{Path: "/admin/system/audit", RawQuery: q.Encode()}).String()
}

func (a *Admin) pageAudit(w http.ResponseWriter, r *http.Request, _ params) error {
	cursor, kind := r.URL.Query().Get("cursor"), r.URL.Query().Get("kind")
	l, err := a.trail.List(query{Cursor: cursor, Limit: auditRows, Kind: kind})
	if err != nil {
		return err
	}
	p := auditPage{Items: l.Items, Most: audit.MaxEntries, Kinds: []auditTab{{"all", auditPath("", ""), kind == ""}}}
	for _, k := range audit.Kinds {
		p.Kinds = append(p.Kinds, auditTab{k, auditPath(k, ""), k == kind})
	}
	if cursor != "" {
		p.First = auditPath(kind, "")
	}
	if l.Next != "" {
		p.Next = auditPath(kind, l.Next)
	}
	return a.render(w, r, "audit", http.StatusOK, view{Title: "Audit log", Nav: "system", Data: p})
}
