package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
)

// secretHash is how a session's or token's secret is kept and found. It is random enough for a fast
// hash, and looking for the hash tells nothing of the secret by the time it takes.
type secretHash [sha256.Size]byte

// newSecret makes a secret of 256 random bits.
func newSecret(prefix string) (string, secretHash) {
	var b [32]byte
	rand.Read(b[:]) // never fails
	text := prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, sha256.Sum256([]byte(text))
}

// String is the key of its document.
func (h secretHash) String() string { return hex.EncodeToString(h[:]) }

// id tells a session or token from others in public.
func (h secretHash) id() string { return hex.EncodeToString(h[:8]) }

func parseSecretHash(key string) (h secretHash, ok bool) {
	if len(key) != hex.EncodedLen(len(h)) {
		return h, false
	}
	_, err := hex.Decode(h[:], []byte(key))
	return h, err == nil
}
