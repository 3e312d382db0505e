package login

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/crypto/bcrypt"
)

// MaxPassword is how long a password can be, in bytes: bcrypt looks at no more.
const MaxPassword = 72

// Costs of bcrypt hashes: each more doubles the time.
const (
	hashCost = 10 // of those that are made, about 50 ms
	MinCost  = 10 // of those that are given
	MaxCost  = 13 // more would hold up everybody who waits for a slow hash

	maxStoredCost = bcrypt.MaxCost // of those that were stored before there were these bounds
)

// unknown is the salt and hash that the password of an unknown user is compared with, so that it costs
// the same. Nobody knows its password, and nothing depends on that.
const unknown = "JaU2PnG6hYHgLsqiPIUlrej2AosQY.ez8acMpd89pt4piytqq1D4q"

// dummyHash is a hash of a cost whose password nobody knows.
func dummyHash(cost int) string { return fmt.Sprintf("$2a$%02d$%s", cost, unknown) }

// HashPassword returns a hash of a password. The error is Invalid.
func HashPassword(password string) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", &Error{Code: Invalid, Message: fmt.Sprintf("password of %d bytes: allowed are 1 to %d", len(password), MaxPassword)}
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(hash), nil
}

// UnknownPassword returns a hash of which nobody knows the password. It costs no slow hash.
func UnknownPassword() string {
	var random [16 + 23]byte // salt and hash
	rand.Read(random[:])     // never fails
	return fmt.Sprintf("$2a$%02d$", hashCost) + bcryptBase64.EncodeToString(random[:16]) + bcryptBase64.EncodeToString(random[16:])
}

var bcryptBase64 = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").WithPadding(base64.NoPadding)

// CheckPassword tells whether password is that of hash, one of HashPassword. Without a hash it is not, and that
// costs the same: a slow hash, for which the caller has its turn from a Limiter.
func CheckPassword(hash, password string) bool {
	c := comparer(bcrypt.CompareHashAndPassword)
	right := c.right(hash, password)
	if !right {
		c.topUp(hash, password, hashCost)
	}
	return right
}

// HashLength is that of a hash of bcrypt: $2b$10$, then salt and hash.
const HashLength = 7 + len(unknown)

// CheckHash returns an error unless a hash is one of bcrypt, of a cost that may be given.
func CheckHash(hash string) error {
	if len(hash) != HashLength || hash[:2] != "$2" || !strings.ContainsRune("aby", rune(hash[2])) || hash[3] != '$' || hash[6] != '$' {
		return errNoHash
	}
	for _, r := range hash[7:] {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '/') {
			return errNoHash
		}
	}
	cost, err := strconv.Atoi(hash[4:6])
	if err != nil {
		return errNoHash
	}
	if !CostAllowed(hash) {
		return fmt.Errorf("bcrypt hash of cost %d: allowed are %d to %d", cost, MinCost, MaxCost)
	}
	return nil
}

var errNoHash = fmt.Errorf("not a bcrypt hash of cost %d to %d", MinCost, MaxCost)

// CostAllowed tells whether a hash of bcrypt is of a cost that may be given.
func CostAllowed(hash string) bool { cost := costOf(hash); return cost >= MinCost && cost <= MaxCost }

// costOf returns the cost of a hash, that of HashPassword for none.
func costOf(hash string) int {
	if cost, err := bcrypt.Cost([]byte(hash)); err == nil {
		return cost
	}
	return hashCost
}

// comparer is bcrypt.CompareHashAndPassword, or in its place in a test.
type comparer func(hash, password []byte) error

// right compares a password with a hash. Without one, and where the password is longer than any can
// be, of which bcrypt would compare the beginning, it is wrong and costs the same.
func (compare comparer) right(hash, password string) bool {
	can := hash != "" && len(password) <= MaxPassword
	if hash == "" {
		hash = dummyHash(hashCost)
	}
	return compare([]byte(hash), []byte(password[:min(len(password), MaxPassword)])) == nil && can
}

// topUp makes a comparison with a hash as slow as one with a hash of cost most. It compares with one of
// each cost between: 2^n + 2^n + 2^(n+1) + … + 2^(most-1) = 2^most.
func (compare comparer) topUp(hash, password string, most int) {
	for cost := costOf(hash); cost < most; cost++ {
		_ = compare([]byte(dummyHash(cost)), []byte(password[:min(len(password), MaxPassword)]))
	}
}

// hashCosts tells how slow the slowest hash is that somebody can log in with.
type hashCosts struct {
	of   [maxStoredCost + 1]int // how many; guarded by the lock of who calls replace
	most atomic.Int32
}

// replace counts a hash in the place of another; either may be empty.
func (c *hashCosts) replace(old, hash string) {
	if old != "" {
		c.of[costOf(old)]--
	}
	if hash != "" {
		c.of[costOf(hash)]++
	}
	most := maxStoredCost
	for most > hashCost && c.of[most] == 0 {
		most--
	}
	c.most.Store(int32(most))
}
