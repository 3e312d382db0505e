package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
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

	flights singleflight.Group // slow hashes that wait for their turn or run
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

// NewAuthenticator returns an Authenticator that knows of no account yet.
func NewAuthenticator() *Authenticator {
	a := &Authenticator{
		compare:  bcrypt.CompareHashAndPassword,
		verified: map[string]verified{},
		limiter:  newLimiter(),
	}
	rand.Read(a.key[:]) // never fails
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
	right, err := a.verify(ctx, account, password, digest, CallerOf(Client, account.Name, addr))
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

// verify runs the slow hash, or waits for one of the same pair that is on its way. It goes on where whoever began
// it leaves: others may wait for it by then, and what it finds counts.
func (a *Authenticator) verify(ctx context.Context, account Account, password string, digest [sha256.Size]byte, who Caller) (bool, error) {
	key := string(digest[:]) + string(who.name[:]) + strconv.FormatBool(account.Active) + account.Hash
	flight := a.flights.DoChan(key, func() (any, error) {
		return a.hash(context.WithoutCancel(ctx), account, password, digest, who)
	})
	select {
	case result := <-flight:
		return result.Val.(bool), result.Err
	case <-ctx.Done():
		return false, callerLeft(ctx)
	}
}

// hash waits for its turn and runs the slow hash.
func (a *Authenticator) hash(ctx context.Context, account Account, password string, digest [sha256.Size]byte, who Caller) (right bool, err error) {
	done, err := a.limiter.Begin(ctx, who)
	if err != nil {
		return false, err
	}
	defer done()
	if a.remembers(account, &digest) { // while this one waited, others have settled it
		return true, nil
	}
	right = a.compare.right(account.Hash, password)
	if right && account.Active {
		a.mu.Lock()
		a.verified[account.Name] = verified{digest, account.Hash}
		a.mu.Unlock()
		a.limiter.Succeeded(who, time.Now())
		return true, nil
	}
	a.compare.topUp(account.Hash, password, int(a.costs.most.Load()))
	a.limiter.Failed(who, time.Now())
	return right, nil
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
