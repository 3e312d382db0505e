package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// authenticator checks usernames and passwords. Its methods may be called from any goroutine.
//
// Passwords are kept as bcrypt hashes. One costs about 50 ms, so a pair of username and password
// is hashed once: after that it is known by a keyed digest in memory, which a request pays in
// well under a microsecond, and neither waits for anything nor counts. All others pass the limit of
// failures, then share the slow hashes that may run at once. Whatever is refused costs as much as the slowest
// hash of a client: the time does not tell whether there is a client, nor anything about it.
type authenticator struct {
	key     [32]byte // random, made with the process: digests mean nothing outside of it
	compare comparer
	costs   hashCosts // of clients

	mu       sync.RWMutex
	verified map[string]credential // by username; guarded by mu

	// The fields below belong to the slow path. The two locks are never held together.
	flights struct {
		sync.Mutex
		byKey map[flightKey]*flight // guarded by the Mutex
	}
	logins *Logins
}

// credential is a pair that was verified against a hash. When the client's hash is another one,
// the pair has to be verified again.
type credential struct {
	digest [sha256.Size]byte
	hash   string
}

// flight is one slow hash, and all who wait for its outcome.
type flight struct {
	done      chan struct{} // closed when the fields below are final
	right     bool
	err       error
	abandoned bool // its leader left before there was an outcome
}

type flightKey struct {
	digest [sha256.Size]byte
	login  Login
	hash   string // empty: there is no such client
	active bool
}

func newAuthenticator() *authenticator {
	a := &authenticator{
		compare:  bcrypt.CompareHashAndPassword,
		verified: map[string]credential{},
		logins:   newLogins(),
	}
	rand.Read(a.key[:]) // never fails
	a.flights.byKey = map[flightKey]*flight{}
	a.costs.replace("", "")
	return a
}

// authenticate tells whether password is that of the client c, which is nil where there is none
// of that username, and whether that took a slow hash, after which c may be out of date. addr is the caller's
// IP address. The errors are Unauthorized; TooMany, after too many failures, until their window ends; and
// Unavailable, where too many wait for a slow hash or ctx ends.
func (a *authenticator) authenticate(ctx context.Context, c *Client, username, password, addr string) (waited bool, err error) {
	digest := a.digest(username, password)
	if a.remembers(c, &digest) {
		return false, nil
	}
	right, err := a.verify(ctx, c, password, flightKey{digest: digest, login: LoginOf(ClientLogin, username, addr)})
	if err != nil {
		return true, err
	}
	var reason string
	switch {
	case c == nil:
		reason = "unknown user"
	case !right:
		reason = "wrong password"
	case !c.Active:
		reason = "inactive client"
	default:
		return true, nil
	}
	return true, unauthorized(reason)
}

func unauthorized(reason string) error {
	return &Error{Code: Unauthorized, Message: "Invalid credentials", Reason: reason}
}

// trust remembers a pair as verified against hash.
func (a *authenticator) trust(username, password, hash string) {
	c := credential{a.digest(username, password), hash}
	a.mu.Lock()
	a.verified[username] = c
	a.mu.Unlock()
}

// forget drops what is remembered of a username.
func (a *authenticator) forget(username string) {
	a.mu.Lock()
	delete(a.verified, username)
	a.mu.Unlock()
}

// remembers tells whether a pair was verified for a client as it is now. It is for none that is inactive.
func (a *authenticator) remembers(c *Client, digest *[sha256.Size]byte) bool {
	if c == nil || !c.Active {
		return false
	}
	a.mu.RLock()
	known, ok := a.verified[c.Username]
	a.mu.RUnlock()
	return ok && known.hash == c.PasswordHash && subtle.ConstantTimeCompare(known.digest[:], digest[:]) == 1
}

// verify runs the slow hash, or waits for one of the same pair that is on its way.
func (a *authenticator) verify(ctx context.Context, c *Client, password string, key flightKey) (bool, error) {
	if c != nil {
		key.hash, key.active = c.PasswordHash, c.Active
	}
	fl := &a.flights
	for {
		fl.Lock()
		f := fl.byKey[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			fl.byKey[key] = f
			fl.Unlock()
			a.lead(ctx, f, c, password, key)
			fl.Lock()
			delete(fl.byKey, key)
			fl.Unlock()
			close(f.done)
			return f.right, f.err
		}
		fl.Unlock()
		select {
		case <-f.done:
			if !f.abandoned {
				return f.right, f.err
			}
		case <-ctx.Done():
			return false, gone(ctx)
		}
	}
}

// lead waits for its turn and runs the slow hash of a flight.
func (a *authenticator) lead(ctx context.Context, f *flight, c *Client, password string, key flightKey) {
	done, err := a.logins.Begin(ctx, key.login)
	if err != nil {
		f.abandoned, f.err = ctx.Err() != nil, err
		return
	}
	defer done()
	if a.remembers(c, &key.digest) { // while this one waited, others have settled it
		f.right = true
		return
	}
	f.right = a.compare.right(key.hash, password)
	if f.right && key.active {
		a.mu.Lock()
		a.verified[c.Username] = credential{key.digest, key.hash}
		a.mu.Unlock()
		a.logins.Succeeded(key.login, time.Now())
		return
	}
	a.compare.topUp(key.hash, password, int(a.costs.most.Load()))
	a.logins.Failed(key.login, time.Now())
}

func gone(ctx context.Context) error {
	return &Error{Code: Unavailable, Message: "The request ended", RetryAfter: time.Second, Err: context.Cause(ctx)}
}

// digest is a keyed digest of a pair. It does not allocate for what can be right.
func (a *authenticator) digest(username, password string) [sha256.Size]byte {
	var room [sha256.Size + 8 + MaxUsername + MaxPassword]byte
	b := append(room[:0], a.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(username)))
	b = append(b, username...)
	b = append(b, password...)
	return sha256.Sum256(b)
}
