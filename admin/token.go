package admin

import (
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

	"pipit/broker"
)

// tokenKind is the kind of the documents of tokens, whose keys are the hashes of their secrets.
const tokenKind = "token"

// Limits of tokens.
const (
	defaultTokenLife = 90 * 24 * time.Hour
	maxTokenLife     = 10 * 365 * 24 * time.Hour
	maxTokens        = 1000
)

// Scopes of tokens.
const (
	ScopeRead  = "read"
	ScopeWrite = "write"
)

// Never is the Expires of a NewToken that does not expire.
const Never = "never"

// Token is what a script uses the API with.
type Token struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Scope     string `json:"scope"`
	Created   Time   `json:"created"`
	CreatedBy string `json:"created_by"`
	Expires   Time   `json:"expires,omitzero"` // absent: never
	Expired   bool   `json:"expired"`
	LastUsed  Time   `json:"last_used,omitzero"`
	Token     string `json:"token,omitempty"` // the secret, in the answer to its creation alone
}

// NewToken is what a token is made of.
type NewToken struct {
	Name    string `json:"name"`
	Scope   string `json:"scope,omitempty"`   // default: read
	Expires string `json:"expires,omitempty"` // RFC 3339, or Never; default: in 90 days
}

// tokenRecord is a token as it is stored.
type tokenRecord struct {
	Name      string    `json:"name"`
	Scope     string    `json:"scope"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires,omitzero"`
	Used      time.Time `json:"used,omitzero"`
}

// token is a token in memory. All but used and stored does not change.
type token struct {
	hash        secretHash
	name, scope string
	created     time.Time
	createdBy   string
	expires     time.Time    // zero: never
	used        atomic.Int64 // unix nanoseconds; 0: never
	stored      int64        // used as it is stored; guarded by Admin.changing
}

// tokens are all tokens, by their hashes.
type tokens struct {
	mu     sync.RWMutex
	byHash map[secretHash]*token // guarded by mu
}

func (t *token) document() broker.Document {
	return broker.Document{Kind: tokenKind, Key: t.hash.String(), Value: encode(tokenRecord{
		t.name, t.scope, t.created.UTC(), t.createdBy, t.expires.UTC(), t.lastUsed().UTC()})}
}

func loadToken(d broker.Document) (*token, error) {
	var r tokenRecord
	hash, ok := parseSecretHash(d.Key)
	if !ok {
		return nil, errors.New("the key is no hash")
	}
	if err := json.Unmarshal(d.Value, &r); err != nil {
		return nil, err
	}
	t := &token{hash: hash, name: r.Name, scope: r.Scope, created: r.Created, createdBy: r.CreatedBy, expires: r.Expires}
	if !r.Used.IsZero() {
		t.stored = r.Used.UnixNano()
		t.used.Store(t.stored)
	}
	return t, nil
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
func (a *Admin) token(text string, now time.Time) *token {
	hash := sha256.Sum256([]byte(text))
	a.tokens.mu.RLock()
	t := a.tokens.byHash[hash]
	a.tokens.mu.RUnlock()
	if t == nil || t.expired(now) {
		return nil
	}
	t.used.Store(now.UnixNano())
	return t
}

// listTokens returns all tokens, by name.
func (a *Admin) listTokens() []Token {
	now := time.Now()
	all := []Token{}
	a.tokens.mu.RLock()
	for _, t := range a.tokens.byHash {
		all = append(all, tokenOf(t, now))
	}
	a.tokens.mu.RUnlock()
	slices.SortFunc(all, func(x, y Token) int { return strings.Compare(x.Name, y.Name) })
	return all
}

func tokenOf(t *token, now time.Time) Token {
	return Token{ID: t.hash.id(), Name: t.name, Scope: t.scope, Created: timeOf(t.created), CreatedBy: t.createdBy,
		Expires: timeOf(t.expires), Expired: t.expired(now), LastUsed: timeOf(t.lastUsed())}
}

// createToken makes a token, which is returned with its secret. The errors are Invalid, Conflict
// where one has that name, and those of broker.PutDocuments.
func (a *Admin) createToken(ctx context.Context, who actor, n NewToken) (Token, error) {
	if err := checkName(n.Name); err != nil {
		return Token{}, err
	}
	if n.Scope != ScopeRead && n.Scope != ScopeWrite {
		return Token{}, invalid("scope", "scope %q: allowed are %s and %s", clip(n.Scope), ScopeRead, ScopeWrite)
	}
	now := time.Now()
	expires := now.Add(defaultTokenLife)
	switch n.Expires {
	case "":
	case Never:
		expires = time.Time{}
	default:
		var err error
		expires, err = time.Parse(time.RFC3339, n.Expires)
		if err != nil || !expires.After(now) || expires.After(now.Add(maxTokenLife)) {
			return Token{}, invalid("expires", "expires %q: allowed are %s, and a time as %s within the next ten years",
				clip(n.Expires), Never, now.Add(defaultTokenLife).UTC().Format(time.RFC3339))
		}
	}
	text, hash := newSecret("pipit_")
	t := &token{hash: hash, name: n.Name, scope: n.Scope, created: now, createdBy: who.Name, expires: expires}

	a.changing.Lock()
	defer a.changing.Unlock()
	a.tokens.mu.RLock()
	count, taken := len(a.tokens.byHash), false
	for _, other := range a.tokens.byHash {
		taken = taken || other.name == t.name
	}
	a.tokens.mu.RUnlock()
	if taken {
		return Token{}, &broker.Error{Code: broker.Conflict, Message: fmt.Sprintf("Token %q exists", t.name), Field: "name"}
	}
	if count >= maxTokens {
		return Token{}, broker.Invalidf("tokens: allowed are at most %d", maxTokens)
	}
	detail := t.scope + ", does not expire"
	if !t.expires.IsZero() {
		detail = t.scope + ", expires " + timeOf(t.expires).String()
	}
	if err := a.b.PutDocuments(ctx, t.document(), a.audit(who, "token.create", t.name, detail)); err != nil {
		return Token{}, err
	}
	a.tokens.mu.Lock()
	a.tokens.byHash[hash] = t
	a.tokens.mu.Unlock()
	made := tokenOf(t, now)
	made.Token = text
	return made, nil
}

// deleteToken deletes a token. The errors are NotFound and those of broker.PutDocuments.
func (a *Admin) deleteToken(ctx context.Context, who actor, id string) error {
	a.changing.Lock()
	defer a.changing.Unlock()
	var t *token
	a.tokens.mu.RLock()
	for _, other := range a.tokens.byHash {
		if other.hash.id() == id {
			t = other
		}
	}
	a.tokens.mu.RUnlock()
	if t == nil {
		return &broker.Error{Code: broker.NotFound, Message: fmt.Sprintf("There is no token %q", clip(id))}
	}
	if err := a.b.PutDocuments(ctx, broker.Document{Kind: tokenKind, Key: t.hash.String(), Secret: true}, a.audit(who, "token.delete", t.name, "")); err != nil {
		return err
	}
	a.tokens.mu.Lock()
	delete(a.tokens.byHash, t.hash)
	a.tokens.mu.Unlock()
	return nil
}
