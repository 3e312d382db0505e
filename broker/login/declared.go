package login

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

// Credential is a name with its password in the clear, and the hash of it, as far as that is known.
type Credential struct {
	Name, Password, Hash string
}

// declaredDigest returns a digest of credentials, in any order. It is short enough for HashPassword, not to be
// stored as it is.
func declaredDigest(all []Credential) string {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b Credential) int { return cmp.Compare(a.Name, b.Name) })
	h := sha256.New()
	var room []byte
	for _, c := range all {
		for _, s := range []string{c.Name, c.Password, c.Hash} {
			room = append(binary.BigEndian.AppendUint64(room[:0], uint64(len(s))), s...)
			h.Write(room)
		}
	}
	return base64.RawStdEncoding.EncodeToString(h.Sum(nil))
}

// HashDeclared returns what is to be stored for DeclaredMatches.
func HashDeclared(all []Credential) (string, error) { return HashPassword(declaredDigest(all)) }

// DeclaredMatches tells whether stored is the HashDeclared of exactly these credentials, with the
// hashes that they have now. It costs one slow hash.
func DeclaredMatches(stored string, all []Credential) bool {
	return stored != "" && bcrypt.CompareHashAndPassword([]byte(stored), []byte(declaredDigest(all))) == nil
}

// changeLine is where the passwords of changes wait for their turns.
var changeLine = digestOf("change")

// HashAll gives each credential the Hash of its Password: the one that it has, where that is right, else a new
// one. All cores work on it. On an error, Unavailable where ctx ends, some are done.
func HashAll(ctx context.Context, all []Credential) error { return hashAll(ctx, all, nil) }

// HashAll is the function of that name, in turn with the slow hashes of clients that log in.
func (l *Limiter) HashAll(ctx context.Context, all []Credential) error {
	return hashAll(ctx, all, func() (done func(), err error) { return l.turns[Client].take(ctx, changeLine, true) })
}

// hashAll is HashAll. Each waits for its turn to run a slow hash, where turn is not nil.
func hashAll(ctx context.Context, all []Credential, turn func() (done func(), err error)) error {
	var (
		next  atomic.Int64
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error // guarded by mu
	)
	for range min(runtime.GOMAXPROCS(0), len(all)) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				if err := rehash(ctx, &all[i], turn); err != nil {
					mu.Lock()
					if first == nil {
						first = fmt.Errorf("hash the password of %q: %w", all[i].Name, err)
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

// rehash is hashAll for one credential. What is compared and then hashed takes two turns.
func rehash(ctx context.Context, c *Credential, turn func() (done func(), err error)) error {
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
	same := false
	if c.Hash != "" {
		if err := slow(func() { same = bcrypt.CompareHashAndPassword([]byte(c.Hash), []byte(c.Password)) == nil }); err != nil {
			return err
		}
	}
	if same {
		return nil
	}
	var failed error
	err := slow(func() { c.Hash, failed = HashPassword(c.Password) })
	return cmp.Or(err, failed)
}
