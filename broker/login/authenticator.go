package login

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

// Authenticator checks names and passwords of clients. Its methods may be called from any goroutine.
//
// Passwords are kept as bcrypt hashes. One costs about 50 ms, so a pair of name and password
// is hashed once: after that it is known by a keyed digest in memory, which a request pays in
// well under a microsecond, and neither waits for anything nor counts. All others pass the limit of
// failures, then share the slow hashes that may run at once. Whatever is refused costs as much as the slowest
// hash of a client: the time does not tell whether there is a client, nor anything about it.
type Authenticator struct {
	key     [32]byte // random, made with the process: digests mean nothing outside of it
	compare comparer
	costs   hashCosts // of accounts

	mu       sync.RWMutex
	verified map[string]verified // by name; guarded by mu

	// The fields below belong to the slow path. The two locks are never held together.
	flights struct {
		sync.Mutex
		byKey map[flightKey]*flight // guarded by the Mutex
	}
	limiter *Limiter
}

// Account is what is known of a name when its password is checked.
type Account struct {
	Name   string
	Hash   string // of its password; empty where there is no such account
	Active bool   // else it is refused, though the password is right
}

// verified is a pair that was verified against a hash. When the account's hash is another one,
// the pair has to be verified again.
type verified struct {
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
	login  Caller
	hash   string // empty: there is no such account
	active bool
}

// NewAuthenticator returns an Authenticator that knows of no account yet.
func NewAuthenticator() *Authenticator {
	a := &Authenticator{
		compare:  bcrypt.CompareHashAndPassword,
		verified: map[string]verified{},
		limiter:  newLimiter(),
	}
	rand.Read(a.key[:]) // never fails
	a.flights.byKey = map[flightKey]*flight{}
	a.costs.replace("", "")
	return a
}

// Limiter is that of all doors.
func (a *Authenticator) Limiter() *Limiter { return a.limiter }

// Authenticate tells whether password is that of an account, and whether that took a slow hash, after which
// account may be out of date. addr is the caller's IP address. The errors are Unauthorized; TooMany, after too
// many failures, until their window ends; and Unavailable, where too many wait for a slow hash or ctx ends.
func (a *Authenticator) Authenticate(ctx context.Context, account Account, password, addr string) (waited bool, err error) {
	digest := a.digest(account.Name, password)
	if a.remembers(account, &digest) {
		return false, nil
	}
	right, err := a.verify(ctx, account, password, flightKey{digest: digest, login: CallerOf(Client, account.Name, addr)})
	if err != nil {
		return true, err
	}
	switch {
	case account.Hash == "":
		err = unauthorized("unknown user")
	case !right:
		err = unauthorized("wrong password")
	case !account.Active:
		err = unauthorized("inactive client")
	}
	return true, err
}

// Replace tells of an account that takes the place of another of its name. The zero Hash stands for no account, before as
// after. It is not called by two at once.
func (a *Authenticator) Replace(before, after Account) {
	if before.Hash != after.Hash || !after.Active {
		a.mu.Lock()
		delete(a.verified, after.Name)
		a.mu.Unlock()
	}
	a.costs.replace(before.Hash, after.Hash)
}

// Trust remembers a pair as verified against hash.
func (a *Authenticator) Trust(name, password, hash string) {
	v := verified{a.digest(name, password), hash}
	a.mu.Lock()
	a.verified[name] = v
	a.mu.Unlock()
}

// remembers tells whether a pair was verified for an account as it is now. It is for none that is inactive.
func (a *Authenticator) remembers(account Account, digest *[sha256.Size]byte) bool {
	if !account.Active {
		return false
	}
	a.mu.RLock()
	known, ok := a.verified[account.Name]
	a.mu.RUnlock()
	return ok && known.hash == account.Hash && subtle.ConstantTimeCompare(known.digest[:], digest[:]) == 1
}

// verify runs the slow hash, or waits for one of the same pair that is on its way.
func (a *Authenticator) verify(ctx context.Context, account Account, password string, key flightKey) (bool, error) {
	key.hash, key.active = account.Hash, account.Active
	fl := &a.flights
	for {
		fl.Lock()
		f := fl.byKey[key]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			fl.byKey[key] = f
			fl.Unlock()
			a.lead(ctx, f, account, password, key)
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
func (a *Authenticator) lead(ctx context.Context, f *flight, account Account, password string, key flightKey) {
	done, err := a.limiter.Begin(ctx, key.login)
	if err != nil {
		f.abandoned, f.err = ctx.Err() != nil, err
		return
	}
	defer done()
	if a.remembers(account, &key.digest) { // while this one waited, others have settled it
		f.right = true
		return
	}
	f.right = a.compare.right(key.hash, password)
	if f.right && key.active {
		a.mu.Lock()
		a.verified[account.Name] = verified{key.digest, key.hash}
		a.mu.Unlock()
		a.limiter.Succeeded(key.login, time.Now())
		return
	}
	a.compare.topUp(key.hash, password, int(a.costs.most.Load()))
	a.limiter.Failed(key.login, time.Now())
}

// digest is a keyed digest of a pair. It does not allocate for what can be right.
func (a *Authenticator) digest(name, password string) [sha256.Size]byte {
	const longName = 128 // bytes: longer than those of accounts
	var room [sha256.Size + 8 + longName + MaxPassword]byte
	b := append(room[:0], a.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(len(name)))
	b = append(b, name...)
	b = append(b, password...)
	return sha256.Sum256(b)
}
