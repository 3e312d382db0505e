package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/login"
)

// caller is who a request comes from.
type caller struct {
	gate.Actor
	session *session // nil where there is none
	token   *token   // likewise
}

// callerKey is that of the caller in a request's context.
type callerKey struct{}

// in returns the context of a request that comes from who.
func (who caller) in(ctx context.Context) context.Context {
	return gate.WithActor(context.WithValue(ctx, callerKey{}, who), who.Actor)
}

// callerOf returns who a request comes from.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// identify returns who a request comes from, by its token or its session; nobody, where it has
// neither. The errors are gate.ErrNoSignIn for a token that is not valid, which nobody can guess and nothing counts, and
// gate.ErrForeign for a change that a page of another origin sends: it could have no token.
func (u *Users) identify(r *http.Request) (caller, error) {
	who := caller{Actor: actor{Via: "web", Addr: u.reach.Addr(r)}}
	if isLocal(r) {
		who.Actor = actor{Name: gate.CommandLine, Via: "file", Access: admin}
		return who, nil
	}
	now := time.Now()
	if gate.IsAPI(r) {
		who.Via = "api"
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
		who.Name, who.Access, who.session = s.administrator, admin, s
	}
	return who, nil
}

// bearer returns the token that a request carries.
func bearer(r *http.Request) (string, bool) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(text), strings.EqualFold(scheme, "Bearer")
}

// signIn begins a session of an administrator, whose cookie it sets. The errors are Unauthorized;
// TooMany, after too many failures, until their window ends; and Unavailable.
func (u *Users) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name, password string) error {
	who := actor{Via: "web", Addr: u.reach.Addr(r)}
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
		return administratorRecord{}, false, broker.LoginError(err)
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
func (u *Users) confirm(ctx context.Context, who caller, password string) error {
	if who.session == nil {
		return nil
	}
	if password == "" {
		return invalid("current_password", "current_password: this takes the password of administrator %q once more", who.Name)
	}
	_, right, err := u.checkPassword(ctx, who.Name, password, who.Addr)
	if err == nil && !right {
		u.trail.Note(ctx, who.Actor, "password.refused", who.Name)
		err = invalid("current_password", "current_password: this is not the password of administrator %q", who.Name)
	}
	return err
}

// present returns gate.ErrNoSignIn where the session or token that who acts with has ended since the request
// began. The caller holds changing.
func (u *Users) present(who caller) error {
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
func (u *Users) slowHash(ctx context.Context, who actor) (done func(), err error) {
	done, err = u.b.Logins().Turn(ctx, login.CallerOf(login.Administrator, who.Name, who.Addr))
	return done, broker.LoginError(err)
}

// secretHash is how a session's or token's secret is kept and found. It is random enough for a fast
// hash, and looking for the hash tells nothing of the secret by the time it takes.
type secretHash [sha256.Size]byte

// newSecret makes a secret of 256 random bits.
func newSecret(prefix string) (string, secretHash) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	text := prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, sha256.Sum256([]byte(text))
}

// String is the key of its document.
func (h secretHash) String() string { return hex.EncodeToString(h[:]) }

// id tells a session or token from others in public.
func (h secretHash) id() string { return hex.EncodeToString(h[:8]) }

func parseSecretHash(key string) (h secretHash, ok bool) {
	if len(key) != hex.EncodedLen(len(h)) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(key))
	return h, err == nil
}

// Limits of the names of administrators and tokens, in characters.
const maxName = 64

// checkName returns an Invalid error unless a name is one that an administrator or token can have.
func checkName(name string) error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) ||
		strings.TrimSpace(name) != name || name == "." || name == ".." {
		return invalid("name", "name %q: allowed are 1 to %d printable characters without a blank at either end", clip.Input(name), maxName)
	}
	return nil
}
