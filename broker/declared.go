package broker

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// A configuration declares passwords in the clear at every start, and a slow hash of each would
// make a start with 1,000 clients last half a minute. So the store keeps one slow hash over all of
// them together, and the hashes that they have: where it matches, no password has changed and no
// stored hash was replaced, and each hash is known to be that of its password.

// declaredDigest returns a digest of the usernames, passwords and password hashes of all clients
// that have a password, in any order. It is short enough for HashPassword, not to be stored as
// it is.
func declaredDigest(clients []Client) string {
	var with []*Client
	for i := range clients {
		if clients[i].Password != "" {
			with = append(with, &clients[i])
		}
	}
	slices.SortFunc(with, func(a, b *Client) int { return cmp.Compare(a.Username, b.Username) })
	h := sha256.New()
	var room []byte
	for _, c := range with {
		for _, s := range []string{c.Username, c.Password, c.PasswordHash} {
			room = append(binary.BigEndian.AppendUint64(room[:0], uint64(len(s))), s...)
			h.Write(room)
		}
	}
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil))
}

// hashDeclared returns what is to be stored for declaredMatches.
func hashDeclared(clients []Client) (string, error) { return HashPassword(declaredDigest(clients)) }

// declaredMatches tells whether stored is the hashDeclared of exactly these clients, with the
// hashes that they have now. It costs one slow hash.
func declaredMatches(stored string, clients []Client) bool {
	return stored != "" && bcrypt.CompareHashAndPassword([]byte(stored), []byte(declaredDigest(clients))) == nil
}

// withPassword returns the clients that have a Password.
func withPassword(clients []Client) (plain []Client) {
	for i := range clients {
		if clients[i].Password != "" {
			plain = append(plain, clients[i])
		}
	}
	return plain
}

// setHashes gives each client that has a Password the PasswordHash of it, in its place: those of plain,
// which are these clients in their order.
func setHashes(clients, plain []Client) {
	for i := range clients {
		if c := &clients[i]; c.Password != "" {
			c.Password, c.PasswordHash, plain = "", plain[0].PasswordHash, plain[1:]
		}
	}
}

// changeLine is where the passwords of changes wait for their turns.
var changeLine = ThrottleKeyOf("change")

// hashed returns clients with a PasswordHash in place of each Password, and those that had one, with
// both. The error is Unavailable, where ctx ends first.
func (b *Broker) hashed(ctx context.Context, clients []Client) (all, plain []Client, err error) {
	plain = withPassword(clients)
	turn := func() (done func(), err error) { return b.auth.logins.turns[ClientLogin].take(ctx, changeLine, true) }
	if err := hashAll(ctx, plain, b.passwordHash, turn); err != nil {
		return nil, nil, err
	}
	all = slices.Clone(clients)
	setHashes(all, plain)
	return all, plain, nil
}

// passwordHash returns the one that a client has so far, empty where there is no such client.
func (b *Broker) passwordHash(username string) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if c := b.clients[username]; c != nil {
		return c.PasswordHash
	}
	return ""
}

// hashAll gives each client that has a Password the PasswordHash of it: the one that current
// returns for its username, where that is right, else a new one. current may return "" and is
// called from several goroutines. Each waits for its turn to run a slow hash; where turn is nil, all cores
// work on it. On an error, Unavailable where ctx ends, some are done.
func hashAll(ctx context.Context, clients []Client, current func(username string) string, turn func() (done func(), err error)) error {
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error // guarded by mu
	)
	for range min(runtime.GOMAXPROCS(0), len(clients)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(clients) {
					return
				}
				if err := rehash(ctx, &clients[i], current, turn); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("hash the password of client %q: %w", clients[i].Username, err)
					}
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return first
}

// rehash is hashAll for one client. What is compared and then hashed takes two turns.
func rehash(ctx context.Context, c *Client, current func(username string) string, turn func() (done func(), err error)) error {
	if c.Password == "" {
		return nil
	}
	slow := func(hash func()) error {
		if ctx.Err() != nil {
			return gone(ctx)
		}
		if turn != nil {
			done, err := turn()
			if err != nil {
				return err
			}
			defer done()
		}
		hash()
		return nil
	}
	h, same := current(c.Username), false
	if h != "" {
		if err := slow(func() { same = bcrypt.CompareHashAndPassword([]byte(h), []byte(c.Password)) == nil }); err != nil {
			return err
		}
	}
	if same {
		c.PasswordHash = h
		return nil
	}
	var failed error
	err := slow(func() { c.PasswordHash, failed = HashPassword(c.Password) })
	return cmp.Or(err, failed)
}
