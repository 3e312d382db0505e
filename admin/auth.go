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

	"pipit/broker"
)

// actor is who does something, for permissions and the audit log.
type actor struct {
	Name  string // administrator, or "token NAME"; empty: nobody has signed in
	Via   string // "web", "api" or "file"
	Addr  string // IP address
	Write bool
}

// Names of actors that are no administrators. No administrator can have one of these.
const (
	tokenPrefix = "token "
	commandLine = "command line"
)

// caller is who a request comes from.
type caller struct {
	actor
	session *session // nil where there is none
}

// callerKey is that of the caller in a request's context.
type callerKey struct{}

// callerOf returns who a request comes from.
func callerOf(ctx context.Context) caller {
	who, _ := ctx.Value(callerKey{}).(caller)
	return who
}

// actorOf returns who a request comes from.
func actorOf(ctx context.Context) actor { return callerOf(ctx).actor }

// localKey is that of a mark in a request's context: it came through Local.
type localKey struct{}

// Local returns the handler for who has the database file in hand: nobody has to sign in. It must
// not be served to anybody else.
func (a *Admin) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), localKey{}, true)))
	})
}

func isLocal(r *http.Request) bool { return r.Context().Value(localKey{}) != nil }

// identify returns who a request comes from, by its token or its session; nobody, where it has
// neither. The errors are errNoSignIn for a token that is not valid, TooMany for too many of these,
// and errForeign for a change that a page of another origin sends: it could have no token.
func (a *Admin) identify(r *http.Request) (caller, error) {
	who := caller{actor: actor{Via: "web", Addr: a.addr(r)}}
	if isLocal(r) {
		who.actor = actor{Name: commandLine, Via: "file", Write: true}
		return who, nil
	}
	now := time.Now()
	if isAPI(r) {
		who.Via = "api"
		if text, ok := bearer(r); ok {
			t := a.token(text, now)
			if t == nil {
				return who, a.wrongToken(r.Context(), who.actor, now)
			}
			who.Name, who.Write = tokenPrefix+t.name, t.scope == ScopeWrite
			return who, nil
		}
	}
	if err := a.foreign.Check(r); err != nil {
		return who, errForeign
	}
	if s := a.session(r, now); s != nil {
		who.Name, who.Write, who.session = s.administrator, true, s
	}
	return who, nil
}

// bearer returns the token that a request carries.
func bearer(r *http.Request) (string, bool) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(text), strings.EqualFold(scheme, "Bearer")
}

// maxGuesses is how many wrong tokens, and how many wrong set-up keys, may come from one network within
// broker.FailureWindow.
const maxGuesses = 50

// wrongToken counts a token that is not valid.
func (a *Admin) wrongToken(ctx context.Context, who actor, now time.Time) error {
	k := broker.ThrottleKeyOf("token", broker.Network(who.Addr))
	if err := a.guesses.Check(k, now); err != nil {
		return err
	}
	a.guesses.Add(k, now)
	a.auditDenied(ctx, who, "token.refused", "")
	return errNoSignIn
}

// maxSignIns is how many sign-ins wait for the one slow hash that they may run at a time.
const maxSignIns = 64

// signIn begins a session of an administrator, whose cookie it sets. The errors are Unauthorized;
// TooMany, after too many failures, until their window ends; and Unavailable.
func (a *Admin) signIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name, password string) error {
	who := actor{Via: "web", Addr: a.addr(r)}
	login := broker.LoginOf("administrator", name, who.Addr)
	if err := a.b.Logins().Check(login, time.Now()); err != nil {
		return err
	}
	done, err := a.slowHash(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := a.b.Logins().Check(login, time.Now()); err != nil { // others may have failed while this one waited
		return err
	}
	account, err := administrator(a.b, name)
	if err != nil {
		return err
	}
	right, err := a.b.CheckPassword(ctx, account.Hash, password)
	if err != nil {
		return err
	}
	if !right {
		a.b.Logins().Failed(login, time.Now())
		if account.Hash == "" {
			name = "" // perhaps a password, in the wrong field
		}
		a.auditDenied(ctx, who, "session.refused", name)
		return &broker.Error{Code: broker.Unauthorized, Message: "Wrong name or password"}
	}
	who.Name = name

	a.changing.Lock()
	defer a.changing.Unlock()
	if now, err := administrator(a.b, name); err != nil || now.Hash != account.Hash {
		return &broker.Error{Code: broker.Unauthorized, Message: "Wrong name or password", Reason: "changed meanwhile", Err: err}
	}
	return a.startSession(ctx, w, r, who)
}

// slowHash waits for the turn to run a slow hash. The caller calls done.
func (a *Admin) slowHash(ctx context.Context) (done func(), err error) {
	defer a.waiting.Add(-1)
	if a.waiting.Add(1) > maxSignIns {
		return nil, &broker.Error{Code: broker.Unavailable, Message: "Overloaded, try again",
			Reason: "too many wait for their password check", RetryAfter: time.Second}
	}
	select {
	case a.hashing <- struct{}{}:
		return func() { <-a.hashing }, nil
	case <-ctx.Done():
		return nil, &broker.Error{Code: broker.Unavailable, Message: "The request ended", RetryAfter: time.Second, Err: context.Cause(ctx)}
	}
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
		return invalid("name", "name %q: allowed are 1 to %d printable characters without a blank at either end", clip(name), maxName)
	}
	return nil
}
