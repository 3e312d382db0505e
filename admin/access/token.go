package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
)

// tokenKind is the kind of the documents of tokens, whose keys are the hashes of their secrets.
const tokenKind = "token"

// Limits of tokens.
const (
	defaultTokenLife = 90 * 24 * time.Hour
	maxTokenLife     = 10 * 365 * 24 * time.Hour
	maxTokens        = 1000
)

// Never is the Expires of a NewToken that does not expire.
const Never = "never"

// Token is what a script uses the API with.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Scope     string    `json:"scope"`
	Created   gate.Time `json:"created"`            // when it was made
	CreatedBy string    `json:"created_by"`         // who made it
	Owner     string    `json:"owner"`              // an administrator, or token NAME, with which it ends; or command line
	Expires   gate.Time `json:"expires,omitzero"`   // absent: never
	Expired   bool      `json:"expired"`            // it is not accepted any more
	LastUsed  gate.Time `json:"last_used,omitzero"` // absent: never
	Token     string    `json:"token,omitempty"`    // the secret, in the answer to its creation alone
}

// NewToken is what a token is made of.
type NewToken struct {
	Name  string `json:"name"`            // a name of its own
	Scope string `json:"scope,omitempty"` // default: read. In a session, admin takes current_password.
	// a time (RFC 3339) within the next ten years, or never; no later than the token ends that makes this one. Default: in 90 days, or when that token ends.
	Expires string `json:"expires,omitempty"`

	CurrentPassword string `json:"current_password,omitempty"` // the password of the administrator whose session asks, for the scope admin. A token has none.
}

// tokenRecord is a token as it is stored.
type tokenRecord struct {
	Name      string    `json:"name"`
	Scope     string    `json:"scope"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Owner     string    `json:"owner,omitempty"` // empty in those of releases without the scope admin: CreatedBy
	Expires   time.Time `json:"expires,omitzero"`
	Used      time.Time `json:"used,omitzero"`
}

// token is a token in memory. All but owner, used and stored does not change.
type token struct {
	hash        secretHash
	name, scope string
	created     time.Time
	createdBy   string
	owner       string       // name of the actor that it ends with; guarded by tokens.mu, changes with Users.changing held, too
	expires     time.Time    // zero: never
	used        atomic.Int64 // unix nanoseconds; 0: never
	stored      int64        // used as it is stored; guarded by Users.changing
}

// tokens are all tokens, by their hashes.
type tokens struct {
	mu     sync.RWMutex
	byHash map[secretHash]*token // guarded by mu
}

// document is the token as it is stored when it has an owner.
func (t *token) document(owner string) broker.Document {
	return broker.Document{Kind: tokenKind, Key: t.hash.String(), Value: gate.Encode(tokenRecord{
		t.name, t.scope, t.created.UTC(), t.createdBy, owner, t.expires.UTC(), t.lastUsed().UTC()})}
}

// loadToken returns a stored token. old tells that a release without the scope admin has stored it.
func loadToken(d broker.Document) (t *token, old bool, err error) {
	var r tokenRecord
	hash, ok := parseSecretHash(d.Key)
	if !ok {
		return nil, false, errors.New("the key is no hash")
	}
	if err := json.Unmarshal(d.Value, &r); err != nil {
		return nil, false, err
	}
	t = &token{hash: hash, name: r.Name, scope: r.Scope, created: r.Created, createdBy: r.CreatedBy,
		owner: cmp.Or(r.Owner, r.CreatedBy), expires: r.Expires}
	if !r.Used.IsZero() {
		t.stored = r.Used.UnixNano()
		t.used.Store(t.stored)
	}
	return t, r.Owner == "", nil
}

// loadTokens takes the tokens into memory, and logs what a person has to know of old ones.
func (u *Users) loadTokens() error {
	var lesser []string // write tokens that could do more
	err := gate.EachDocument(u.b, tokenKind, func(d broker.Document) error {
		t, old, err := loadToken(d)
		if err != nil {
			u.log.Error("a token cannot be read", "key", clip.Input(d.Key), "error", err)
			return nil
		}
		u.tokens.byHash[t.hash] = t
		if old && t.scope == gate.ScopeWrite {
			lesser = append(lesser, t.name)
		}
		return nil
	})
	if lesser != nil {
		u.log.Warn("tokens of the scope write, made by an earlier release, may change objects and messages alone: what needs administrators, tokens, sessions or the audit log takes a new one of scope admin", "tokens", lesser)
	}
	for _, t := range u.Tokens() {
		if is, err := u.exists(t.Owner); err == nil && !is {
			u.log.Warn("the maker of this token is gone: revoke it where nobody needs it", "token", t.Name, "maker", t.Owner)
		}
	}
	return err
}

// exists tells whether there is still an actor of a name.
func (u *Users) exists(name string) (bool, error) {
	if name == gate.CommandLine {
		return true, nil
	}
	if token, ok := strings.CutPrefix(name, gate.TokenPrefix); ok {
		return slices.ContainsFunc(u.Tokens(), func(t Token) bool { return t.Name == token }), nil
	}
	r, err := administrator(u.b, name)
	return r.Hash != "", err
}

func (t *token) lastUsed() time.Time {
	if used := t.used.Load(); used != 0 {
		return time.Unix(0, used)
	}
	return time.Time{}
}

func (t *token) expired(now time.Time) bool { return !t.expires.IsZero() && !now.Before(t.expires) }

// token returns the token of a secret, which is thereby used, nil where there is none or it has
// expired. It reads and writes memory alone.
func (u *Users) token(text string, now time.Time) *token {
	hash := sha256.Sum256([]byte(text))
	u.tokens.mu.RLock()
	t := u.tokens.byHash[hash]
	u.tokens.mu.RUnlock()
	if t == nil || t.expired(now) {
		return nil
	}
	t.used.Store(now.UnixNano())
	return t
}

// Tokens returns all tokens, by name.
func (u *Users) Tokens() []Token {
	now := time.Now()
	all := []Token{}
	u.tokens.mu.RLock()
	for _, t := range u.tokens.byHash {
		all = append(all, tokenOf(t, now))
	}
	u.tokens.mu.RUnlock()
	slices.SortFunc(all, func(x, y Token) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// tokenOf is a token as others see it. The caller holds tokens.mu, if others know t.
func tokenOf(t *token, now time.Time) Token {
	return Token{ID: t.hash.id(), Name: t.name, Scope: t.scope, Created: gate.TimeOf(t.created), CreatedBy: t.createdBy, Owner: t.owner,
		Expires: gate.TimeOf(t.expires), Expired: t.expired(now), LastUsed: gate.TimeOf(t.lastUsed())}
}

// CreateToken makes a token, which is returned with its secret: one of no larger scope and no longer life
// than the token that makes it. The errors are Invalid, Conflict where one has that name, gate.ErrNoSignIn where
// its maker has ended, TooMany after too many wrong passwords, until their window ends, Unavailable, and those of broker.PutDocuments.
func (u *Users) CreateToken(ctx context.Context, who Caller, n NewToken) (Token, error) {
	if err := cmp.Or(checkName(n.Name), checkShown(n.Name)); err != nil {
		return Token{}, err
	}
	scope := gate.AccessOf(n.Scope)
	if scope == gate.Public || scope > who.Access {
		return Token{}, gate.Invalid("scope", "scope %q: allowed are %s", clip.Input(n.Scope), strings.Join(gate.Scopes[gate.Read:who.Access+1], ", "))
	}
	now := time.Now()
	expires, err := n.end(who.token, now)
	if err != nil {
		return Token{}, err
	}
	if scope == gate.Admin {
		if err := u.confirm(ctx, who, n.CurrentPassword); err != nil {
			return Token{}, err
		}
	}
	text, hash := newSecret("pipit_")
	t := &token{hash: hash, name: n.Name, scope: n.Scope, created: now, createdBy: who.Name, owner: who.Name, expires: expires}

	u.changing.Lock()
	defer u.changing.Unlock()
	if err := u.present(who); err != nil {
		return Token{}, err
	}
	u.tokens.mu.RLock()
	count, taken := len(u.tokens.byHash), false
	for _, other := range u.tokens.byHash {
		taken = taken || other.name == t.name
	}
	u.tokens.mu.RUnlock()
	if taken {
		return Token{}, &broker.Error{Code: broker.Conflict, Message: fmt.Sprintf("Token %q exists", t.name), Field: "name"}
	}
	if count >= maxTokens {
		return Token{}, broker.Invalidf("tokens: allowed are at most %d", maxTokens)
	}
	detail := t.scope + ", does not expire"
	if !t.expires.IsZero() {
		detail = t.scope + ", expires " + gate.TimeOf(t.expires).String()
	}
	if err := u.b.PutDocuments(ctx, t.document(t.owner), u.trail.Entry(who.Actor, "token.create", t.name, detail)); err != nil {
		return Token{}, err
	}
	made := tokenOf(t, now)
	made.Token = text
	u.tokens.mu.Lock()
	u.tokens.byHash[hash] = t
	u.tokens.mu.Unlock()
	return made, nil
}

// end returns when the token is to expire, the zero time for never. by is the token that makes it, if one
// does: what that has no time left for is refused, or where nothing was asked for, cut short.
func (n *NewToken) end(by *token, now time.Time) (expires time.Time, err error) {
	switch n.Expires {
	case "":
		expires = now.Add(defaultTokenLife)
	case Never:
	default:
		expires, err = time.Parse(time.RFC3339, n.Expires)
		if err != nil || !expires.After(now) || expires.After(now.Add(maxTokenLife)) {
			return expires, gate.Invalid("expires", "expires %q: allowed are %s, and a time as %s within the next ten years",
				clip.Input(n.Expires), Never, now.Add(defaultTokenLife).UTC().Format(time.RFC3339))
		}
	}
	if by == nil || by.expires.IsZero() || !expires.IsZero() && !expires.After(by.expires) {
		return expires, nil
	}
	if n.Expires != "" {
		return expires, gate.Invalid("expires", "expires %q: allowed is at most %s, when the token ends that makes this one",
			clip.Input(n.Expires), by.expires.UTC().Format(time.RFC3339))
	}
	return by.expires, nil
}

// DeleteToken deletes a token. Those that it has made end, or who takes them over. The errors are
// NotFound, Invalid where who takes over goes as well, gate.ErrNoSignIn where it has gone, and those of broker.PutDocuments.
func (u *Users) DeleteToken(ctx context.Context, who Caller, id string, takeOver bool) error {
	u.changing.Lock()
	defer u.changing.Unlock()
	t := u.tokenByID(id)
	if t == nil {
		return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("There is no token %q", clip.Input(id))}
	}
	left, err := u.leave(who, gate.TokenPrefix+t.name, takeOver)
	if err != nil {
		return err
	}
	if err := u.b.PutDocuments(ctx, append(left.docs, broker.Document{Kind: tokenKind, Key: t.hash.String(), Secret: true},
		u.trail.Entry(who.Actor, "token.delete", t.name, ""))...); err != nil {
		return err
	}
	left.done()
	u.tokens.mu.Lock()
	delete(u.tokens.byHash, t.hash)
	u.tokens.mu.Unlock()
	return nil
}

// tokenByID returns a token, nil where there is none of that ID.
func (u *Users) tokenByID(id string) *token {
	u.tokens.mu.RLock()
	defer u.tokens.mu.RUnlock()
	for _, t := range u.tokens.byHash {
		if t.hash.id() == id {
			return t
		}
	}
	return nil
}

// EndsWith returns those of all tokens that end with their owner, an administrator or "token NAME": its
// own, and those that these own.
func EndsWith(all []Token, owner string) []Token {
	var end []Token
	for owners := []string{owner}; len(owners) > 0; {
		var next []string
		all = slices.DeleteFunc(slices.Clone(all), func(t Token) bool {
			ends := slices.Contains(owners, t.Owner) && gate.TokenPrefix+t.Name != owner
			if ends {
				end, next = append(end, t), append(next, gate.TokenPrefix+t.Name)
			}
			return ends
		})
		owners = next
	}
	return end
}

// left is what becomes of the tokens of an owner that goes: docs are to be committed with that, then done
// is called.
type left struct {
	docs []broker.Document
	done func()
}

// leave ends the tokens of an owner that goes, and those that they have made; or who takes over the first.
// The errors are Invalid where who goes as well, and gate.ErrNoSignIn where it has gone. The caller holds
// changing.
func (u *Users) leave(who Caller, owner string, takeOver bool) (left, error) {
	end := EndsWith(u.Tokens(), owner)
	action, detail := "token.delete", "it ends with "+owner
	if takeOver {
		if err := u.present(who); err != nil {
			return left{}, err
		}
		if who.Name == owner || slices.ContainsFunc(end, func(t Token) bool { return gate.TokenPrefix+t.Name == who.Name }) {
			return left{}, gate.Invalid("take_over", "take_over true: %q goes as well, allowed is false", who.Name)
		}
		end = slices.DeleteFunc(end, func(t Token) bool { return t.Owner != owner })
		action, detail = "token.take_over", "from "+owner
	}
	var l left
	var tokens []*token
	for _, e := range end {
		t := u.tokenByID(e.ID)
		doc := broker.Document{Kind: tokenKind, Key: t.hash.String(), Secret: true}
		if takeOver {
			doc = t.document(who.Name)
		}
		tokens = append(tokens, t)
		l.docs = append(l.docs, doc, u.trail.Entry(who.Actor, action, t.name, detail))
	}
	l.done = func() {
		u.tokens.mu.Lock()
		defer u.tokens.mu.Unlock()
		for _, t := range tokens {
			if takeOver {
				t.owner = who.Name
			} else {
				delete(u.tokens.byHash, t.hash)
			}
		}
	}
	return l, nil
}
