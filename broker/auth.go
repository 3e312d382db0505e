package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Passwords are kept as bcrypt hashes. One costs about 50 ms, so a pair of username and password
// is hashed once: after that it is known by a keyed digest in memory, which a request pays in
// well under a microsecond.
const (
	hashCost    = 10
	minHashCost = bcrypt.MinCost
	maxHashCost = 14 // about 1 s: more would hold up everybody who waits for a slow hash
)

// Limits of logins that need a slow hash.
const (
	maxSlowWaiting   = 256 // logins that wait for their slow hash
	maxSlowOfNetwork = 128 // of these, from one network: nobody fills the queue alone
)

// dummyHash is what the password of an unknown user is compared with, so that it costs the same.
// Nobody knows its password, and nothing depends on that.
const dummyHash = "$2a$10$JaU2PnG6hYHgLsqiPIUlrej2AosQY.ez8acMpd89pt4piytqq1D4q"

// HashPassword returns the hash of a password that Client.PasswordHash takes.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", Invalidf("password of %d bytes: allowed are 1 to %d", len(password), MaxPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(hash), nil
}

// CheckPassword tells whether password is that of hash. Without a hash it is not, and that costs the
// same. It shares with logins the slow hashes that may run at once, and waits for its turn: the
// error is Unavailable, where ctx ends first.
func (b *Broker) CheckPassword(ctx context.Context, hash, password string) (bool, error) {
	select {
	case b.auth.slots <- struct{}{}:
		defer func() { <-b.auth.slots }()
	case <-ctx.Done():
		return false, gone(ctx)
	}
	known := hash != "" && len(password) <= MaxPassword // of a longer one bcrypt would compare the beginning
	if !known {
		hash, password = dummyHash, password[:min(len(password), MaxPassword)]
	}
	return b.auth.compare([]byte(hash), []byte(password)) == nil && known, nil
}

// checkHash tells whether a hash is one of bcrypt, of a cost that a login can pay.
func checkHash(hash string) error {
	const salted = 53 // characters of salt and hash, after $2b$10$
	if len(hash) != 7+salted || hash[:2] != "$2" || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' || hash[6] != '$' {
		return fmt.Errorf("not a bcrypt hash")
	}
	for _, r := range hash[7:] {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '/') {
			return fmt.Errorf("not a bcrypt hash")
		}
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost > maxHashCost {
		return fmt.Errorf("bcrypt hash of a cost that is not %d to %d", minHashCost, maxHashCost)
	}
	return nil
}

// authenticator checks usernames and passwords. Its methods may be called from any goroutine.
//
// A pair that was verified before is found first, and neither waits for anything nor counts.
// All others pass the limit of failures, then share the slow hashes that may run at once.
type authenticator struct {
	key     [32]byte      // random, made with the process: digests mean nothing outside of it
	slots   chan struct{} // one token for each slow hash that runs
	compare func(hash, password []byte) error

	mu       sync.RWMutex
	verified map[string]credential // by username; guarded by mu

	// The fields below belong to the slow path. The two locks are never held together.
	flights struct {
		sync.Mutex
		byKey   map[flightKey]*flight // guarded by the Mutex, like the rest
		waiting int
		of      map[ThrottleKey]int // waiting, by network; no zero entries
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
	hash   string
}

func newAuthenticator() *authenticator {
	a := &authenticator{
		slots:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		compare:  bcrypt.CompareHashAndPassword,
		verified: map[string]credential{},
		logins:   newLogins(),
	}
	rand.Read(a.key[:]) // never fails
	a.flights.byKey = map[flightKey]*flight{}
	a.flights.of = map[ThrottleKey]int{}
	return a
}

// authenticate tells whether password is that of the client c, which is nil where there is none
// of that username. addr is the caller's IP address. The errors are Unauthorized; TooMany, after
// too many failures, until their window ends; and Unavailable, where too many wait
// for a slow hash or ctx ends.
func (a *authenticator) authenticate(ctx context.Context, c *Client, username, password, addr string) error {
	digest := a.digest(username, password)
	if c != nil && c.Active && a.remembers(c, &digest) {
		return nil
	}
	login := LoginOf("client", username, addr)
	if err := a.logins.Check(login, time.Now()); err != nil {
		return err
	}
	right, err := a.verify(ctx, c, password, flightKey{digest: digest, login: login})
	if err != nil {
		return err
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
		return nil
	}
	a.logins.Failed(login, time.Now())
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

func (a *authenticator) remembers(c *Client, digest *[sha256.Size]byte) bool {
	a.mu.RLock()
	known, ok := a.verified[c.Username]
	a.mu.RUnlock()
	return ok && known.hash == c.PasswordHash && subtle.ConstantTimeCompare(known.digest[:], digest[:]) == 1
}

// verify runs the slow hash, or waits for one of the same pair that is on its way.
func (a *authenticator) verify(ctx context.Context, c *Client, password string, key flightKey) (bool, error) {
	key.hash = dummyHash
	if c != nil {
		key.hash = c.PasswordHash
	}
	fl := &a.flights
	for {
		fl.Lock()
		f := fl.byKey[key]
		if f == nil {
			if fl.waiting >= maxSlowWaiting || fl.of[key.login.network] >= maxSlowOfNetwork {
				fl.Unlock()
				return false, &Error{Code: Unavailable, Message: "Overloaded, try again",
					Reason: "too many logins wait for their password check", RetryAfter: time.Second}
			}
			f = &flight{done: make(chan struct{})}
			fl.byKey[key] = f
			fl.waiting++
			fl.of[key.login.network]++
			fl.Unlock()
			a.lead(ctx, f, c, password, key)
			fl.Lock()
			delete(fl.byKey, key)
			fl.waiting--
			if fl.of[key.login.network]--; fl.of[key.login.network] == 0 {
				delete(fl.of, key.login.network)
			}
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

// lead waits for a slot and runs the slow hash of a flight.
func (a *authenticator) lead(ctx context.Context, f *flight, c *Client, password string, key flightKey) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		f.abandoned, f.err = true, gone(ctx)
		return
	}
	// While this one waited, others may have settled it.
	if c != nil && a.remembers(c, &key.digest) {
		f.right = true
		return
	}
	if f.err = a.logins.Check(key.login, time.Now()); f.err != nil {
		return
	}
	if len(password) > MaxPassword { // bcrypt would compare the first 72 bytes alone
		a.compare([]byte(dummyHash), []byte(password[:MaxPassword]))
		return
	}
	f.right = a.compare([]byte(key.hash), []byte(password)) == nil && c != nil
	if f.right {
		a.mu.Lock()
		a.verified[c.Username] = credential{key.digest, key.hash}
		a.mu.Unlock()
	}
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
