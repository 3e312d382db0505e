// Package webhook tells of a call whether it is what the sender of a webhook has sent: by its signature, as shops, payment
// services and code hosts make one, each in its own way. It also knows where each of them says which delivery it is.
//
// A signature is an HMAC over the body, or over a time and the body, with a secret that the sender and the webhook share.
// Where there are two secrets, or a sender gives several signatures, as both do while a secret changes, one that is right
// will do. All are compared in a time that does not depend on what is in them.
package webhook

import (
	"crypto/hmac"
	"crypto/sha1" // #nosec G505 -- what some senders sign with; an HMAC of it is not broken
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/signing"
)

// Tolerance is how far the time of a signature may be from ours, either way.
const Tolerance = 5 * time.Minute

// maxSignatures bounds how many signatures of one call are looked at.
const maxSignatures = 16

// Headers of senders.
const (
	standardID        = "Webhook-Id"
	standardTime      = "Webhook-Timestamp"
	standardSignature = "Webhook-Signature"

	githubSignature = "X-Hub-Signature-256"
	gitlabToken     = "X-Gitlab-Token" // #nosec G101 -- the name of a header
	stripeSignature = "Stripe-Signature"
	shopifyHMAC     = "X-Shopify-Hmac-Sha256"
	slackSignature  = "X-Slack-Signature"
	slackTime       = "X-Slack-Request-Timestamp"
)

// Verify returns nil where a call is its sender's, as the webhook's Verify says, and else an error that is
// broker.Unauthorized, whose Reason is for the log alone. With VerifyNone every call is.
func Verify(w *broker.Webhook, h http.Header, body []byte, now time.Time) error {
	var reason string
	switch w.Verify {
	case broker.VerifyStandard:
		reason = verifyStandard(w, h, body, now)
	case broker.VerifyGitHub:
		reason = verifyHMAC(w, h, body, hmacRule{githubSignature, sha256.New, hex.DecodeString, "sha256="})
	case broker.VerifyShopify:
		reason = verifyHMAC(w, h, body, hmacRule{shopifyHMAC, sha256.New, base64.StdEncoding.DecodeString, ""})
	case broker.VerifyStripe:
		reason = verifyStripe(w, h, body, now)
	case broker.VerifySlack:
		reason = verifySlack(w, h, body, now)
	case broker.VerifyHMAC:
		reason = verifyHMAC(w, h, body, ruleOf(w))
	case broker.VerifyGitLab:
		reason = verifyToken(w, h, gitlabToken)
	case broker.VerifyToken:
		reason = verifyToken(w, h, w.Header)
	case broker.VerifyNone:
	default:
		reason = fmt.Sprintf("verify %q is unknown", w.Verify)
	}
	if reason == "" {
		return nil
	}
	return &broker.Error{Code: broker.Unauthorized, Message: "The call is not verified", Reason: reason}
}

// Why a signature is refused.
const (
	noSignature    = "the signature is not one of its secrets"
	noToken        = "the token is not one of its secrets" // #nosec G101 -- says that it is wrong
	manySignatures = "the header has too many signatures"
)

// one returns the value of a header that is to be there once, or why not.
func one(h http.Header, name string) (value, reason string) {
	values := h.Values(name)
	switch {
	case len(values) == 1 && values[0] != "":
		return values[0], ""
	case len(values) > 1:
		return "", "the header " + name + " is there more than once"
	}
	return "", "the header " + name + " is missing"
}

// fresh returns why a time, in seconds, is not that of a call of now.
func fresh(seconds string, now time.Time) string {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return fmt.Sprintf("its time %q is no number of seconds", clip.Input(seconds))
	}
	if n < now.Add(-Tolerance).Unix() || n > now.Add(Tolerance).Unix() {
		return fmt.Sprintf("its time %d is more than %s from ours, which is %d", n, Tolerance, now.Unix())
	}
	return ""
}

// verifyStandard is for https://www.standardwebhooks.com: v1, and in base64 the HMAC of "id.time.body", of each signature
// that a blank divides from the next. Those of other versions are left out of account.
func verifyStandard(w *broker.Webhook, h http.Header, body []byte, now time.Time) string {
	id, reason := one(h, standardID)
	if reason != "" {
		return reason
	}
	seconds, reason := one(h, standardTime)
	if reason != "" {
		return reason
	}
	given, reason := one(h, standardSignature)
	if reason != "" {
		return reason
	}
	if reason := fresh(seconds, now); reason != "" {
		return reason
	}
	signatures, ok := StandardSignatures(given)
	if !ok {
		return manySignatures
	}
	for _, secret := range w.Secret.All() {
		if key, err := signing.StandardSecret(secret); err == nil && anyIs(signatures, mac(sha256.New, key, id+"."+seconds+".", body)) {
			return ""
		}
	}
	return noSignature
}

// StandardSignatures returns the signatures of version 1 in a header of Standard Webhooks. It is false where there are too
// many.
func StandardSignatures(header string) (signatures [][]byte, ok bool) {
	n := 0
	for part := range strings.SplitSeq(header, " ") {
		version, text, _ := strings.Cut(part, ",")
		if n++; n > maxSignatures {
			return nil, false
		}
		if version != "v1" {
			continue
		}
		if sum, err := base64.StdEncoding.DecodeString(text); err == nil {
			signatures = append(signatures, sum)
		}
	}
	return signatures, true
}

// verifyStripe is for https://docs.stripe.com/webhooks/signature: "t=TIME,v1=SIGNATURE", where the signature is in hexadecimal
// the HMAC of "time.body". There are several v1 while a secret changes; other schemes are left out of account.
func verifyStripe(w *broker.Webhook, h http.Header, body []byte, now time.Time) string {
	given, reason := one(h, stripeSignature)
	if reason != "" {
		return reason
	}
	seconds, signatures, ok := StripeSignatures(given)
	if !ok {
		return manySignatures
	}
	if reason := fresh(seconds, now); reason != "" {
		return reason
	}
	return verifySecrets(w, signatures, seconds+".", body)
}

// StripeSignatures returns the time and the signatures of version 1 in a header of Stripe. It is false where there are too
// many, or several times.
func StripeSignatures(header string) (seconds string, signatures [][]byte, ok bool) {
	n, times := 0, 0
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		if n++; n > maxSignatures {
			return "", nil, false
		}
		switch strings.TrimSpace(name) {
		case "t":
			seconds = value
			times++
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil {
				signatures = append(signatures, sum)
			}
		}
	}
	return seconds, signatures, times <= 1
}

// verifySlack is for https://docs.slack.dev/authentication/verifying-requests-from-slack: "v0=" and in hexadecimal the HMAC of
// "v0:time:body".
func verifySlack(w *broker.Webhook, h http.Header, body []byte, now time.Time) string {
	seconds, reason := one(h, slackTime)
	if reason != "" {
		return reason
	}
	given, reason := one(h, slackSignature)
	if reason != "" {
		return reason
	}
	if reason := fresh(seconds, now); reason != "" {
		return reason
	}
	text, ok := strings.CutPrefix(given, "v0=")
	sum, err := hex.DecodeString(text)
	if !ok || err != nil {
		return "the header " + slackSignature + " is not v0= and hexadecimal digits"
	}
	return verifySecrets(w, [][]byte{sum}, "v0:"+seconds+":", body)
}

// hmacRule says where the HMAC of a body is, and how it is written.
type hmacRule struct {
	header string
	hash   func() hash.Hash
	decode func(string) ([]byte, error)
	prefix string
}

// ruleOf returns that of VerifyHMAC.
func ruleOf(w *broker.Webhook) hmacRule {
	r := hmacRule{w.Header, sha256.New, hex.DecodeString, w.Prefix}
	switch w.Algorithm {
	case "sha1":
		r.hash = sha1.New
	case "sha512":
		r.hash = sha512.New
	}
	if w.Encoding == "base64" {
		r.decode = decodeBase64
	}
	return r
}

// decodeBase64 reads any of the four ways in which base64 is written.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}

// verifyHMAC is for a signature that is an HMAC of the body alone.
func verifyHMAC(w *broker.Webhook, h http.Header, body []byte, r hmacRule) string {
	given, reason := one(h, r.header)
	if reason != "" {
		return reason
	}
	text, ok := strings.CutPrefix(given, r.prefix)
	if !ok {
		return fmt.Sprintf("the header %s does not begin with %s", r.header, r.prefix)
	}
	sum, err := r.decode(text)
	if err != nil {
		return fmt.Sprintf("the header %s is not encoded as it should be", r.header)
	}
	for _, secret := range w.Secret.All() {
		if hmac.Equal(sum, mac(r.hash, []byte(secret), "", body)) {
			return ""
		}
	}
	return noSignature
}

// verifyToken is for a secret that the sender sends as it is, which the header Authorization has behind Bearer.
func verifyToken(w *broker.Webhook, h http.Header, header string) string {
	if header == "" {
		header = "Authorization"
	}
	given, reason := one(h, header)
	if reason != "" {
		return reason
	}
	if scheme, token, ok := strings.Cut(given, " "); ok && strings.EqualFold(header, "Authorization") && strings.EqualFold(scheme, "Bearer") {
		given = strings.TrimLeft(token, " ")
	}
	sum := sha256.Sum256([]byte(given)) // so that the time does not tell how long a secret is
	found := 0
	for _, secret := range w.Secret.All() {
		own := sha256.Sum256([]byte(secret))
		found |= subtle.ConstantTimeCompare(sum[:], own[:])
	}
	if found == 0 {
		return noToken
	}
	return ""
}

// verifySecrets tells whether one of the signatures is the HMAC-SHA256 of prefix and body with one of the secrets.
func verifySecrets(w *broker.Webhook, signatures [][]byte, prefix string, body []byte) string {
	for _, secret := range w.Secret.All() {
		if anyIs(signatures, mac(sha256.New, []byte(secret), prefix, body)) {
			return ""
		}
	}
	return noSignature
}

func anyIs(signatures [][]byte, sum []byte) bool {
	for _, s := range signatures {
		if hmac.Equal(s, sum) {
			return true
		}
	}
	return false
}

func mac(h func() hash.Hash, key []byte, prefix string, body []byte) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(prefix))
	m.Write(body)
	return m.Sum(nil)
}
