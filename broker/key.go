package broker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// storeKey is a random key that each store has. A digest made with it tells nothing to who does not have the key:
// nobody finds out a short secret by trying.
type storeKey [16]byte

// digest is one of a text. What is digested for one use says nothing of another.
func (k *storeKey) digest(use string, text []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	fmt.Fprintf(h, "%s %s", use, text)
	return h.Sum(nil)
}

// subKey is what is remembered of a declared sub_key. A leaked one, which an administrator
// replaced, is nowhere kept in the clear.
func (k *storeKey) subKey(subKey string) string {
	return hex.EncodeToString(k.digest("declared sub_key", []byte(subKey))[:16])
}

// revision returns what tells a definition from all others that its object ever had. It is shown to
// those who may not see all of the record, so nothing of that follows from it.
func (k *storeKey) revision(record any) string {
	return hex.EncodeToString(k.digest("revision", encode(record))[:8])
}
