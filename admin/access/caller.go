package access

import (
	"context"
	"net/http"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/login"
)

// Caller is who a request comes from.
type Caller struct {
	gate.Actor
	session *session // nil where there is none
	token   *token   // likewise
}

// SessionID is the ID of the session that who acts in, empty where there is none.
func (who Caller) SessionID() string {
	if who.session == nil {
		return ""
	}
	return who.session.hash.id()
}

// callerKey is that of the caller in a request's context.
type callerKey struct{}

// In returns the context of a request that comes from who.
func (who Caller) In(ctx context.Context) context.Context {
	return gate.WithActor(context.WithValue(ctx, callerKey{}, who), who.Actor)
}

// CallerOf returns who a request comes from.
func CallerOf(ctx context.Context) Caller {
	who, _ := ctx.Value(callerKey{}).(Caller)
	return who
}

// Identify returns who a request comes from, by its token or its session; nobody, where it has
// neither. The errors are gate.ErrNoSignIn for a token that is not valid, which nobody can guess and nothing counts, and
// gate.ErrForeign for a change that a page of another origin sends: it could have no token.
func (u *Users) Identify(r *http.Request) (Caller, error) {
	who := Caller{Actor: gate.Actor{Via: gate.Web, Addr: u.reach.Addr(r)}}
	if gate.IsLocal(r) {
		who.Actor = gate.Actor{Name: gate.CommandLine, Via: gate.File, Access: gate.Admin}
		return who, nil
	}
	now := time.Now()
	if gate.IsAPI(r) {
		who.Via = gate.API
		if text, ok := bearer(r); ok {
			t := u.token(text, now)
			if t == nil {
				u.trail.Note(r.Context(), who.Actor, "token.refused", "")
				return who, gate.ErrNoSignIn
			}
			who.Name, who.Access, who.token = gate.TokenPrefix+t.name, gate.AccessOf(t.scope), t
			return who, nil
		}
	}
	if err := u.foreign.Check(r); err != nil {
		return who, gate.ErrForeign
	}
	if s := u.session(r, now); s != nil {
		who.Name, who.Access, who.session = s.administrator, gate.Admin, s
	}
	return who, nil
}

// bearer returns the token that a request carries.
func bearer(r *http.Request) (string, bool) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(text), strings.EqualFold(scheme, "Bearer")
}

// SignIn begins a session of an administrator, whose cookie it sets. The errors are Unauthorized;
// TooMany, after too many failures, until their window ends; and Unavailable.
func (u *Users) SignIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name, password string) error {
	who := gate.Actor{Via: gate.Web, Addr: u.reach.Addr(r)}
	account, right, err := u.checkPassword(ctx, name, password, who.Addr)
	if err != nil {
		return err
	}
	if !right {
		if account.Hash == "" {
			name = "" // perhaps a password, in the wrong field
		}
		u.trail.Note(ctx, who, "session.refused", name)
		return &broker.Error{Code: broker.Unauthorized, Message: "Wrong name or password"}
	}
	who.Name = name

	u.changing.Lock()
	defer u.changing.Unlock()
	if now, err := administrator(u.b, name); err != nil || now.Hash != account.Hash {
		return &broker.Error{Code: broker.Unauthorized, Message: "Wrong name or password", Reason: "changed meanwhile", Err: err}
	}
	return u.startSession(ctx, w, r, who)
}

// checkPassword tells whether password is that of an administrator who comes from an IP address, and
// returns the administrator, the zero record where there is none of that name. The errors are TooMany, after too
// many failures, until their window ends; and Unavailable.
func (u *Users) checkPassword(ctx context.Context, name, password, addr string) (administratorRecord, bool, error) {
	logins, caller := u.b.Logins(), login.CallerOf(login.Administrator, name, addr)
	done, err := logins.Begin(ctx, caller)
	if err != nil {
		return administratorRecord{}, false, err
	}
	defer done()
	account, err := administrator(u.b, name)
	if err != nil {
		return account, false, err
	}
	right := login.CheckPassword(account.Hash, password)
	if right {
		logins.Succeeded(caller, time.Now())
	} else {
		logins.Failed(caller, time.Now())
	}
	return account, right, nil
}

// confirm returns an error unless password is that of the administrator whose session who acts in: a
// session that was left open, or stolen, is not enough for what outlives it. Tokens and the command line
// have no password: it took one to make a token that may, or the database file in hand. The errors are
// Invalid and those of checkPassword.
func (u *Users) confirm(ctx context.Context, who Caller, password string) error {
	if who.session == nil {
		return nil
	}
	if password == "" {
		return gate.Invalid("current_password", "current_password: this takes the password of administrator %q once more", who.Name)
	}
	_, right, err := u.checkPassword(ctx, who.Name, password, who.Addr)
	if err == nil && !right {
		u.trail.Note(ctx, who.Actor, "password.refused", who.Name)
		err = gate.Invalid("current_password", "current_password: this is not the password of administrator %q", who.Name)
	}
	return err
}

// present returns gate.ErrNoSignIn where the session or token that who acts with has ended since the request
// began. The caller holds changing.
func (u *Users) present(who Caller) error {
	u.sessions.mu.RLock()
	defer u.sessions.mu.RUnlock()
	u.tokens.mu.RLock()
	defer u.tokens.mu.RUnlock()
	if who.session != nil && u.sessions.byHash[who.session.hash] == nil || who.token != nil && u.tokens.byHash[who.token.hash] == nil {
		return gate.ErrNoSignIn
	}
	return nil
}

// slowHash waits for the turn of who acts to run a slow hash, which ends with done. The error is Unavailable.
func (u *Users) slowHash(ctx context.Context, who gate.Actor) (done func(), err error) {
	return u.b.Logins().Turn(ctx, login.CallerOf(login.Administrator, who.Name, who.Addr))
}
