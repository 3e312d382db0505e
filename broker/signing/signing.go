// Package signing is the secrets that callbacks are signed with and calls of webhooks are verified by, as Standard Webhooks spells them.
package signing

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Lengths of the key of a CallbackSecret in bytes, as Standard Webhooks has them, and what each begins with.
const (
	minSecret    = 24
	madeSecret   = 32
	maxSecret    = 64
	secretPrefix = "whsec_"
)

// MaxSecret is the length of the longest secret.
const MaxSecret = len(secretPrefix) + (maxSecret+2)/3*4

// Keys returns the keys of a secret as Standard Webhooks spells it, or of two with a blank between. The error
// says what is allowed.
func Keys(secret string) (keys [][]byte, err error) {
	for s := range strings.SplitSeq(secret, " ") {
		text, ok := strings.CutPrefix(s, secretPrefix)
		key, err := base64.StdEncoding.Strict().DecodeString(text)
		if !ok || err != nil || len(key) < minSecret || len(key) > maxSecret || len(keys) == 2 {
			return nil, fmt.Errorf("allowed is %s and %d to %d bytes in base64, or two of these with a blank between", secretPrefix, minSecret, maxSecret)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// New makes a CallbackSecret, as Standard Webhooks spells it.
func New() string {
	key := make([]byte, madeSecret)
	rand.Read(key) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(key)
}

// StandardSecret returns the key in a secret of Standard Webhooks: in base64, behind whsec_ or alone.
func StandardSecret(s string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, "whsec_"))
	if err != nil || len(key) == 0 {
		return nil, errors.New("allowed is whsec_ and the key in base64")
	}
	return key, nil
}
