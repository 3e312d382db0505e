package acceptance

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/admin"
	"pipit/admin/access"
	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/login"
)

// admit creates an administrator with the password of all.
func (r *authRig) admit(name string) {
	r.t.Helper()
	if err := r.b.PutDocuments(context.Background(), storedAdministrator(name, authHash)); err != nil {
		r.t.Fatal(err)
	}
}

// hashOf is the hash that a session or token of a secret is stored by.
func hashOf(secret string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(secret))) }

// commandLine is who acts through the functions of package access.
var commandLine = gate.Actor{Name: gate.CommandLine, Via: "file"}

// made makes a token by another one.
func (r *authRig) made(by access.Token, name, scope, expires string) access.Token {
	r.t.Helper()
	a := r.call("POST", gate.V1+"/tokens", string(gate.Encode(access.NewToken{Name: name, Scope: scope, Expires: expires})), withToken(by.Token))
	r.want(a, http.StatusCreated)
	var t access.Token
	if err := json.Unmarshal([]byte(a.body), &t); err != nil {
		r.t.Fatal(err)
	}
	return t
}

// holds tells which tokens are accepted.
func (r *authRig) holds(tokens ...access.Token) string {
	r.t.Helper()
	var names []string
	for _, t := range tokens {
		switch a := r.call("GET", gate.V1+"/topics", "", withToken(t.Token)); a.status {
		case http.StatusOK:
			names = append(names, t.Name)
		case http.StatusUnauthorized:
		default:
			r.t.Errorf("token %s: %d %s", t.Name, a.status, a.body)
		}
	}
	return strings.Join(names, " ")
}

// A token ends with the administrator or the token that has made it, however far down.
func TestTokenEndsWithItsMaker(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			r := newAuthRig(t, false)
			r.account()
			r.admit("bob")
			ann := withCookie(r.signedIn())
			bob := r.login("bob", authPassword).cookie
			mine := r.newToken(r.signedIn(), "mine", gate.ScopeAdmin, "")
			one := r.newToken(bob, "one", gate.ScopeAdmin, "")
			two := r.made(one, "two", gate.ScopeAdmin, "")
			three := r.made(two, "three", gate.ScopeRead, "")
			other := r.made(one, "other", gate.ScopeWrite, "")
			if restart {
				r.restart()
			}
			if got := r.holds(mine, one, two, three, other); got != "mine one two three other" {
				t.Fatal(got)
			}
			r.want(r.call("DELETE", gate.V1+"/tokens/"+two.ID, "", ann), http.StatusNoContent)
			if got := r.holds(mine, one, two, three, other); got != "mine one other" {
				t.Error("after two has ended:", got)
			}
			r.want(r.call("DELETE", gate.V1+"/administrators/bob", "", ann), http.StatusNoContent)
			if got := r.holds(mine, one, two, three, other); got != "mine" {
				t.Error("after bob has ended:", got)
			}
			r.restart()
			if got := r.holds(mine, one, two, three, other); got != "mine" {
				t.Error("after a restart:", got)
			}
			for _, entry := range []string{"token.delete(three by ann)", "token.delete(other by ann)", "administrator.delete(bob by ann)"} {
				if s := r.actions(); !strings.Contains(s, entry) {
					t.Errorf("no %s in %s", entry, s)
				}
			}
		})
	}
}

// Who deletes may take over: then the tokens are its own, in this run and the next ones. Who goes as well
// takes over nothing.
func TestTokenIsTakenOver(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	r.admit("bob")
	ann := r.signedIn()
	bob := r.login("bob", authPassword).cookie
	one := r.newToken(bob, "one", gate.ScopeAdmin, "")
	two := r.made(one, "two", gate.ScopeAdmin, "")
	three := r.made(two, "three", gate.ScopeRead, "")

	path := gate.V1 + "/administrators/bob"
	for name, how := range map[string]tweak{"bob": withCookie(bob), "one": withToken(one.Token), "two": withToken(two.Token)} {
		a := r.call("DELETE", path+"?take_over=true", "", how)
		r.wantProblem(a, http.StatusUnprocessableEntity, "invalid")
		if !strings.Contains(a.body, `"parameter":"take_over"`) || !strings.Contains(a.body, "goes as well") {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	r.wantProblem(r.call("DELETE", path+"?take_over=yes", "", withCookie(ann)), http.StatusUnprocessableEntity, "invalid")
	if got := r.holds(one, two, three); got != "one two three" {
		t.Fatal("what was refused has ended some:", got)
	}

	r.want(r.call("DELETE", path+"?take_over=true", "", withCookie(ann)), http.StatusNoContent)
	if page := r.call("GET", accessURL, "", withCookie(ann)).body; !strings.Contains(page, "The tokens that it has made end with it: two, three.") {
		t.Error(page)
	}
	owners := func() string {
		var s []string
		for _, t := range r.a.Users.Tokens() {
			s = append(s, t.Name+" of "+t.Owner+" by "+t.CreatedBy)
		}
		return strings.Join(s, ", ")
	}
	const want = "one of ann by bob, three of token two by token two, two of token one by token one"
	if got := owners(); got != want {
		t.Error(got)
	}
	r.restart()
	if got := owners(); got != want || r.holds(one, two, three) != "one two three" {
		t.Error("after a restart:", got)
	}
	if s := r.actions(); !strings.Contains(s, "token.take_over(one by ann)") || strings.Contains(s, "token.take_over(two") {
		t.Error(s)
	}
	r.want(r.call("DELETE", gate.V1+"/tokens/"+one.ID+"?take_over=true", "", withCookie(ann)), http.StatusNoContent)
	if got := r.holds(one, two, three); got != "two three" {
		t.Error(got)
	}

	const box = `name="take_over"`
	if page := r.call("GET", accessURL, "", withCookie(ann)).body; strings.Count(page, box) != 1 {
		t.Error("not one token that has made others:", page)
	}
	r.want(r.call("POST", "/admin/system/tokens/"+two.ID+"/delete", "take_over=true", withCookie(ann), asBrowser,
		withHeader("Content-Type", "application/x-www-form-urlencoded")), http.StatusSeeOther)
	if got := owners(); got != "three of ann by token two" || r.holds(two, three) != "three" {
		t.Error("with the box of the page:", got)
	}
	if page := r.call("GET", accessURL, "", withCookie(ann)).body; strings.Contains(page, box) {
		t.Error("a box where there is nothing to take over:", page)
	}
}

// A token that was being made when its maker ended is not made.
func TestTokenOfWhoHasEnded(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	req := httptest.NewRequest("GET", "/", nil)
	req.AddCookie(r.signedIn())
	who, err := r.a.Users.Identify(req)
	if err != nil || who.Name != authName || who.SessionID() == "" {
		t.Fatal(who, err)
	}
	if _, err := r.a.Users.CreateToken(t.Context(), who, access.NewToken{Name: "before", Scope: gate.ScopeRead}); err != nil {
		t.Fatal(err)
	}
	if err := r.a.Users.EndSession(t.Context(), commandLine, who.SessionID()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.a.Users.CreateToken(t.Context(), who, access.NewToken{Name: "after", Scope: gate.ScopeRead}); !errors.Is(err, gate.ErrNoSignIn) {
		t.Error(err)
	}
}

// A token makes none that lasts longer than it does itself.
func TestTokenLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		c := r.signedIn()
		ever := r.newToken(c, "ever", gate.ScopeAdmin, access.Never)
		end := time.Now().Add(24 * time.Hour).Truncate(time.Second)
		at := func(d time.Duration) string { return end.Add(d).UTC().Format(time.RFC3339) }
		brief := r.newToken(c, "brief", gate.ScopeAdmin, at(0))
		for _, longer := range []string{access.Never, at(time.Second), at(24 * time.Hour)} {
			a := r.call("POST", gate.V1+"/tokens", string(gate.Encode(access.NewToken{Name: "x", Expires: longer})), withToken(brief.Token))
			r.wantProblem(a, http.StatusUnprocessableEntity, "invalid")
			if !strings.Contains(a.body, `"pointer":"/expires"`) || !strings.Contains(a.body, at(0)) {
				t.Error(a.body)
			}
		}
		for expires, want := range map[string]time.Time{"": end, at(0): end, at(-time.Hour): end.Add(-time.Hour)} {
			if made := r.made(brief, "child"+expires, gate.ScopeAdmin, expires); !made.Expires.Equal(want) {
				t.Errorf("expires %q: %v, want %v", expires, made.Expires, want)
			}
		}
		if made := r.made(ever, "for ever", gate.ScopeAdmin, access.Never); !made.Expires.IsZero() || made.Owner != "token ever" {
			t.Errorf("%+v", made)
		}
	})
}

// What outlives a session takes the administrator's password once more, whatever door it comes by; wrong
// ones count as sign-ins.
func TestCurrentPassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true)
		defer r.close()
		r.account()
		r.admit("bob")
		c := r.signedIn()
		doors := []struct {
			method, path string
			fields       []string
			status       int
		}{
			{"POST", gate.V1 + "/administrators", []string{"name", "new1", "password", "battery staple"}, http.StatusCreated},
			{"PATCH", gate.V1 + "/administrators/bob", []string{"password", "battery staple"}, http.StatusOK},
			{"PATCH", gate.V1 + "/administrators/ann", []string{"password", authPassword}, http.StatusOK},
			{"POST", gate.V1 + "/tokens", []string{"name", "t1", "scope", "admin"}, http.StatusCreated},
			{"POST", "/admin/system/administrators", []string{"name", "new2", "password", "battery staple"}, http.StatusSeeOther},
			{"POST", "/admin/system/administrators/bob/password", []string{"password", "battery staple"}, http.StatusSeeOther},
			{"POST", "/admin/system/administrators/ann/password", []string{"password", authPassword}, http.StatusSeeOther},
			{"POST", "/admin/system/tokens", []string{"name", "t2", "scope", "admin", "expires", "30"}, http.StatusSeeOther},
		}
		body := func(path string, fields ...string) string {
			object, form := map[string]string{}, url.Values{}
			for i := 0; i < len(fields); i += 2 {
				object[fields[i]] = fields[i+1]
				form.Set(fields[i], fields[i+1])
			}
			if strings.HasPrefix(path, gate.APIPath) {
				return string(gate.Encode(object))
			}
			return form.Encode()
		}
		for _, d := range doors {
			ask := func(current ...string) authAnswer {
				return r.call(d.method, d.path, body(d.path, append(d.fields[:len(d.fields):len(d.fields)], current...)...), withCookie(c))
			}
			for _, a := range []authAnswer{ask(), ask("current_password", ""), ask("current_password", "battery staple")} {
				if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "current_password") {
					t.Errorf("%s %s: %d %s", d.method, d.path, a.status, a.body)
				}
				if strings.Contains(a.body, "battery") {
					t.Errorf("%s %s answers with a password", d.method, d.path)
				}
			}
			if a := ask("current_password", authPassword); a.status != d.status || strings.HasPrefix(a.header.Get("Location"), gate.LoginPath) {
				t.Errorf("%s %s: %d %s", d.method, d.path, a.status, a.body)
			}
		}
		r.want(r.call("POST", gate.V1+"/tokens", `{"name": "t3", "scope": "write"}`, withCookie(c)), http.StatusCreated)
		boss := r.newToken(c, "boss", gate.ScopeAdmin, "")
		r.want(r.call("POST", gate.V1+"/administrators", `{"name": "new3", "password": "battery staple"}`, withToken(boss.Token)), http.StatusCreated)

		time.Sleep(login.FailureWindow)
		const wrong = `{"password": "battery staple", "current_password": "wrong"}`
		for range login.MaxFailures {
			r.wantProblem(r.call("PATCH", gate.V1+"/administrators/ann", wrong, withCookie(c)), http.StatusUnprocessableEntity, "invalid")
		}
		r.wantProblem(r.call("PATCH", gate.V1+"/administrators/ann", wrong, withCookie(c)), http.StatusTooManyRequests, "too_many")
		r.want(r.login(authName, authPassword), http.StatusTooManyRequests)
		time.Sleep(login.FailureWindow)
		r.want(r.login(authName, authPassword), http.StatusSeeOther)
		if s := r.actions(); !strings.Contains(s, "password.refused(ann by ann)") || strings.Contains(r.logs.String(), "battery") {
			t.Error(s)
		}
	})
}

// New passwords have a length, and are not what is tried first. What is there already holds.
func TestNewPasswords(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	short, err := login.HashPassword("short")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.b.PutDocuments(t.Context(), storedAdministrator("elder", short)); err != nil {
		t.Fatal(err)
	}
	r.want(r.login("elder", "short"), http.StatusSeeOther)
	c := withCookie(r.signedIn())
	for password, want := range map[string]string{
		"elevenchars": "at least 12 characters",
		"ääääääääääääääääääää":  "", // 40 bytes
		strings.Repeat("ä", 37): "at most 72 bytes",
		"password1234":          "among the commonest",
		"PassWord1234":          "among the commonest",
		"long enough ann":       "",
		"A Name As Password":    "is the name",
	} {
		a := r.call("POST", gate.V1+"/administrators", string(gate.Encode(api.NewAdministrator{Name: "a name as password", Password: password, CurrentPassword: authPassword})), c)
		if want == "" {
			r.want(a, http.StatusCreated)
			r.want(r.call("DELETE", gate.V1+"/administrators/a%20name%20as%20password", "", c), http.StatusNoContent)
			continue
		}
		r.wantProblem(a, http.StatusUnprocessableEntity, "invalid")
		if !strings.Contains(a.body, want) || !strings.Contains(a.body, `"pointer":"/password"`) {
			t.Errorf("%q: %s", password, a.body)
		}
	}
}

// Tokens of a release without the scope admin keep their scope, by its name, and end with who has made them.
func TestTokensOfEarlierRelease(t *testing.T) {
	r := newAuthRig(t, false)
	r.account()
	r.admit("bob")
	made := map[string]string{} // secrets, by name
	for name, by := range map[string]string{"deploy": "bob", "child": "token deploy", "stray": "carol"} {
		made[name] = "pipit_secret-of-" + name
		if err := r.b.PutDocuments(t.Context(), broker.Document{Kind: "token", Key: hashOf(made[name]),
			Value: fmt.Appendf(nil, `{"name":%q,"scope":"write","created":"2026-11-24T12:00:00Z","created_by":%q}`, name, by)}); err != nil {
			t.Fatal(err)
		}
	}
	r.restart()
	for _, line := range []string{`"msg":"tokens of the scope write, made by an earlier release`, `"token":"stray","maker":"carol"`} {
		if s := r.logs.String(); strings.Count(s, line) != 1 {
			t.Errorf("%d times %s in %s", strings.Count(s, line), line, s)
		}
	}
	r.want(r.call("POST", gate.V1+"/topics", `{"name": "/a"}`, withToken(made["deploy"])), http.StatusCreated)
	for _, path := range []string{"/administrators", "/tokens", "/sessions", "/audit"} {
		r.wantProblem(r.call("GET", gate.V1+path, "", withToken(made["deploy"])), http.StatusForbidden, "forbidden")
	}
	r.want(r.call("DELETE", gate.V1+"/administrators/bob", "", withCookie(r.signedIn())), http.StatusNoContent)
	if got := r.holds(access.Token{Name: "deploy", Token: made["deploy"]}, access.Token{Name: "child", Token: made["child"]}, access.Token{Name: "stray", Token: made["stray"]}); got != "stray" {
		t.Error(got)
	}
}

// How long sessions last is an option, which counts for those that have begun.
func TestSessionOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newAuthRig(t, true, func(o *admin.Options) { o.SessionIdle, o.SessionLife = 10*time.Minute, time.Hour })
		defer r.close()
		r.account()
		status := func(c *http.Cookie) int { return r.call("GET", gate.V1+"/system", "", withCookie(c)).status }
		c := r.signedIn()
		if a := r.call("GET", accessURL, "", withCookie(c), asBrowser); !strings.Contains(a.body, "A session ends after 10m without a request, after 1h in any case.") {
			t.Error(a.body)
		}
		time.Sleep(10*time.Minute - time.Second)
		if s := status(c); s != http.StatusOK {
			t.Error("over too early:", s)
		}
		r.options.SessionIdle = 5 * time.Minute
		r.a.Adjust(r.options)
		time.Sleep(5 * time.Minute)
		if s := status(c); s != http.StatusUnauthorized {
			t.Error("not over after what holds now:", s)
		}
		c = r.signedIn()
		for range 14 {
			time.Sleep(4 * time.Minute)
			r.want(r.call("GET", gate.V1+"/system", "", withCookie(c)), http.StatusOK)
		}
		time.Sleep(4 * time.Minute)
		if s := status(c); s != http.StatusUnauthorized {
			t.Error("not over after its life:", s)
		}
	})
}
