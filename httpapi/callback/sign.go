package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
	"pipit/broker/signing"
)

// sign signs a body as Standard Webhooks 1.0 says (https://www.standardwebhooks.com), once with each key of a secret.
func sign(h http.Header, secret, id string, at time.Time, body []byte) {
	stamp := strconv.FormatInt(at.Unix(), 10)
	keys, _ := signing.Keys(secret) // checked with the consumer
	signatures := make([]byte, 0, 128)
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + stamp + "."))
		mac.Write(body)
		if len(signatures) > 0 {
			signatures = append(signatures, ' ')
		}
		signatures = base64.StdEncoding.AppendEncode(append(signatures, "v1,"...), mac.Sum(nil))
	}
	h["Webhook-Id"], h["Webhook-Timestamp"], h["Webhook-Signature"] = []string{id}, []string{stamp}, []string{string(signatures)}
}

// webhookID is what a receiver knows a repeated call by: the same for the same messages. The ID that the broker made of a
// message will do. One of its publisher need not be alone in the world, and has any characters.
func webhookID(msgs []broker.Message) string {
	if len(msgs) == 1 && ownID(msgs[0].ID) {
		return msgs[0].ID
	}
	sum, prefix := sha256.New(), "msg_"
	if len(msgs) > 1 {
		prefix = "batch_"
	}
	for i := range msgs {
		sum.Write([]byte(msgs[i].Topic + "\x00" + msgs[i].ID + "\x00"))
	}
	return prefix + hex.EncodeToString(sum.Sum(nil)[:16])
}

// ownID tells whether an ID looks like one that the broker makes: K and 27 letters and digits.
func ownID(id string) bool {
	if len(id) != 28 || id[0] != 'K' {
		return false
	}
	for _, c := range []byte(id) {
		if !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z') {
			return false
		}
	}
	return true
}
