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

// hashAll gives each client that has a Password the PasswordHash of it: the one that current
// returns for its username, where that is right, else a new one. current may return "" and is
// called from several goroutines. All cores work on it. On an error some are done.
func hashAll(ctx context.Context, clients []Client, current func(username string) string) error {
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
				err := context.Cause(ctx)
				if err == nil {
					err = rehash(&clients[i], current)
				}
				if err != nil {
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

func rehash(c *Client, current func(username string) string) error {
	if c.Password == "" {
		return nil
	}
	if h := current(c.Username); h != "" && bcrypt.CompareHashAndPassword([]byte(h), []byte(c.Password)) == nil {
		c.PasswordHash = h
		return nil
	}
	hash, err := HashPassword(c.Password)
	if err != nil {
		return err
	}
	c.PasswordHash = hash
	return nil
}
