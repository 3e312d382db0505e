package login

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"runtime"
	"slices"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
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
func HashAll(ctx context.Context, all []Credential) error {
	return hashAll(ctx, all, func(context.Context) (done func(), err error) { return func() {}, nil })
}

// HashAll is the function of that name, in turn with the slow hashes of clients that log in.
func (l *Limiter) HashAll(ctx context.Context, all []Credential) error {
	return hashAll(ctx, all, func(ctx context.Context) (done func(), err error) {
		return l.turns[Client].take(ctx, changeLine, true)
	})
}

// hashAll is HashAll, where each waits for its turn to run a slow hash.
func hashAll(ctx context.Context, all []Credential, turn func(context.Context) (done func(), err error)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range all {
		g.Go(func() error { return rehash(ctx, &all[i], turn) })
	}
	return g.Wait()
}

// rehash is hashAll for one credential. What is compared and then hashed takes two turns.
func rehash(ctx context.Context, c *Credential, turn func(context.Context) (done func(), err error)) error {
	slow := func(hash func() error) error {
		if ctx.Err() != nil {
			return callerLeft(ctx)
		}
		done, err := turn(ctx)
		if err != nil {
			return err
		}
		defer done()
		return hash()
	}
	if c.Hash != "" {
		same := false
		if err := slow(func() error { same = CheckPassword(c.Hash, c.Password); return nil }); err != nil || same {
			return err
		}
	}
	return slow(func() (err error) { c.Hash, err = HashPassword(c.Password); return err })
}
