package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker"
)

// maxSessionRows is how many sessions their page shows.
const maxSessionRows = 200

// accessPages are the pages of administrators, their sessions, and tokens.
type accessPages struct{ *Site }

func (ap accessPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/system/access", ap.pageAccess, gate.Admin),
		gate.Post("/admin/system/administrators", ap.postAdministrator, gate.Admin),
		gate.Get("/admin/system/administrators/:name", ap.pageAdministrator, gate.Admin),
		gate.Post("/admin/system/administrators/:name/password", ap.postAdministratorPassword, gate.Admin),
		gate.Post("/admin/system/administrators/:name/delete", ap.postAdministratorDelete, gate.Admin),
		gate.Post("/admin/system/administrators/:name/sign-out", ap.postSignOutEverywhere, gate.Admin),
		gate.Post("/admin/system/sessions/:id/delete", ap.postSessionDelete, gate.Admin),
		gate.Post("/admin/system/tokens", ap.postToken, gate.Admin),
		gate.Post("/admin/system/tokens/:id/delete", ap.postTokenDelete, gate.Admin),
	}
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
		currentPassword).besides()
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
		password).besides()
}

func (ap accessPages) pageAccess(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	var page accessPage
	if made, ok := shelvedOf[access.Token](&ap.once, access.CallerOf(r.Context()).SessionID(), r.URL.Query().Get("made")); ok {
		page.Made = &made
	}
	return ap.renderAccess(w, r, http.StatusOK, page)
}

// renderAccess fills in what p does not have yet.
func (ap accessPages) renderAccess(w http.ResponseWriter, r *http.Request, status int, p accessPage) error {
	var err error
	if p.Administrators, err = ap.Users.Administrators(); err != nil {
		return err
	}
	who := access.CallerOf(r.Context())
	p.Me = who.Name
	p.Sessions = ap.Users.Sessions(who)
	if n := len(p.Sessions); n > maxSessionRows {
		p.Sessions, p.MoreSessions = p.Sessions[:maxSessionRows], n-maxSessionRows
	}
	p.Idle, p.Life = ap.Users.SessionLives()
	tokens, owns := ap.Users.Tokens(), map[string]bool{}
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
	p.Example = `curl -H "Authorization: Bearer $TOKEN" ` + shell.Quote(ap.bases(r).Admin+gate.APIPath+"v1/stats")
	if p.NewAdministrator == nil {
		p.NewAdministrator = newAdministratorForm()
	}
	if p.NewToken == nil {
		p.NewToken = newTokenForm()
	}
	return ap.render(w, r, "access", status, view{Title: "Access", Nav: "system", Data: p})
}

func tokenNames(tokens []access.Token) string {
	var names []string
	for _, t := range tokens {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

const accessPath = "/admin/system/access"

func (ap accessPages) postAdministrator(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := newAdministratorForm()
	f.typed(v)
	made, err := ap.Users.CreateAdministrator(r.Context(), access.CallerOf(r.Context()), f.get("name"), f.get("password"), f.get("current_password"))
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return ap.renderAccess(w, r, status, accessPage{NewAdministrator: f})
	}
	return ap.done(w, r, accessPath, "Administrator "+made.Name+" is created.")
}

type administratorPage struct {
	access.Administrator
	Me               bool
	Last             bool           // there is no other
	Tokens           []access.Token // that end with it
	Password, Delete *form
}

func administratorPath(name string) string {
	return "/admin/system/administrators/" + text.Segment(name)
}

func passwordForm(name string) *form {
	return newForm("password", administratorPath(name)+"/password", "Change password",
		field{Name: "password", Label: "New password", Type: "password", Required: true, Hint: passwordHint + " It ends all other sessions."},
		currentPassword)
}

func deleteAdministratorForm(name string) *form {
	return confirm("delete", administratorPath(name)+"/delete", "Delete administrator", "Type the name to confirm", name,
		field{Name: "take_over", Label: "Take over the tokens that " + name + " has made, rather than end them", Type: "checkbox"})
}

func (ap accessPages) pageAdministrator(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	name := text.Unsegment(p["name"])
	return ap.renderAdministrator(w, r, http.StatusOK, name, passwordForm(name), deleteAdministratorForm(name))
}

func (ap accessPages) renderAdministrator(w http.ResponseWriter, r *http.Request, status int, name string, password, del *form) error {
	found, err := ap.Users.Administrator(name)
	if err != nil {
		return err
	}
	last, err := ap.Users.OnlyOneAdministrator()
	if err != nil {
		return err
	}
	me, tokens := name == gate.ActorOf(r.Context()).Name, access.EndsWith(ap.Users.Tokens(), name)
	if me || tokens == nil { // nobody takes them over, or there are none
		del.drop("take_over")
	}
	return ap.render(w, r, "administrator", status, view{Title: name, Nav: "system", Data: administratorPage{
		found, me, last, tokens, password, del}})
}

func (ap accessPages) postAdministratorPassword(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	name := text.Unsegment(p["name"])
	f := passwordForm(name)
	f.typed(v)
	if err := ap.Users.SetAdministratorPassword(r.Context(), access.CallerOf(r.Context()), name, f.get("password"), f.get("current_password")); err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return ap.renderAdministrator(w, r, status, name, f, deleteAdministratorForm(name))
	}
	return ap.done(w, r, administratorPath(name), "The password is changed.")
}

func (ap accessPages) postAdministratorDelete(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	name, who := text.Unsegment(p["name"]), access.CallerOf(r.Context())
	f := deleteAdministratorForm(name)
	f.typed(v)
	err = f.confirmed(name)
	if err == nil {
		err = ap.Users.DeleteAdministrator(r.Context(), who, name, f.on("take_over"))
	}
	if fe := (*fieldError)(nil); errors.As(err, &fe) || broker.CodeOf(err) == broker.Invalid {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return ap.renderAdministrator(w, r, status, name, passwordForm(name), f)
	}
	if err != nil {
		return err
	}
	if name == who.Name {
		ap.Users.ClearCookie(w, r)
		return ap.done(w, r, gate.LoginPath, "Your account is deleted.")
	}
	return ap.done(w, r, accessPath, "Administrator "+name+" is deleted.")
}

// postSignOutEverywhere ends all sessions of an administrator.
func (ap accessPages) postSignOutEverywhere(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	name, who := text.Unsegment(p["name"]), gate.ActorOf(r.Context())
	if _, err := ap.Users.Administrator(name); err != nil {
		return err
	}
	n, err := ap.Users.EndSessions(r.Context(), who, name)
	if err != nil {
		return err
	}
	if name == who.Name {
		ap.Users.ClearCookie(w, r)
		return ap.done(w, r, gate.LoginPath, "You are signed out everywhere.")
	}
	return ap.done(w, r, administratorPath(name), text.Count(int64(n), "session is", "sessions are")+" ended.")
}

func (ap accessPages) postSessionDelete(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	who := access.CallerOf(r.Context())
	if who.SessionID() == p["id"] {
		return loginPages(ap).postLogout(w, r, p)
	}
	if err := ap.Users.EndSession(r.Context(), who.Actor, p["id"]); err != nil {
		return err
	}
	return ap.done(w, r, accessPath, "The session is ended.")
}

func (ap accessPages) postToken(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
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
	made, err := ap.Users.CreateToken(r.Context(), access.CallerOf(r.Context()), n)
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return ap.renderAccess(w, r, status, accessPage{NewToken: f})
	}
	once := ap.once.put(access.CallerOf(r.Context()).SessionID(), made)
	return ap.done(w, r, accessPath+"?"+url.Values{"made": {once}}.Encode(), "")
}

func (ap accessPages) postTokenDelete(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	if err := ap.Users.DeleteToken(r.Context(), access.CallerOf(r.Context()), p["id"], v.Get("take_over") == checked); err != nil {
		return err
	}
	return ap.done(w, r, accessPath, "The token is revoked.")
}
