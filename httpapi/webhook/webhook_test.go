package webhook_test

import (
	"bytes"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/httpapi/webhook"
)

// body and sent are what the vectors were made of, by other programs than this one.
const body = `{"id":"evt_1","type":"order.paid","amount":1299,"name":"Šárka"}`

var sent = time.Unix(1790000000, 0)

// vector is a call as its sender signs it.
type vector struct {
	name    string
	webhook broker.Webhook
	header  map[string]string
	timed   bool // its signature is over a time, too
}

var vectors = []vector{
	// npm standardwebhooks 1.1.1: new Webhook(secret).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", new Date(1790000000000), body)
	{"standard", broker.Webhook{Verify: broker.VerifyStandard, Secret: property.TextsOf("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")},
		map[string]string{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1790000000", "webhook-signature": "v1,UU6DkSKwr00edmuFXf5BG0UVO5MvSpl+E3Yn+Hn9NVk="}, true},
	{"standard, 32 bytes, among others", broker.Webhook{Verify: broker.VerifyStandard, Secret: property.TextsOf("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")},
		map[string]string{"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1790000000", "webhook-signature": "v1a,eA== v1,eA== v1,AKihO6mKrsJlp1IQiU2wRYnjidQkbA1V4mFchOdYGLQ="}, true},
	// npm @octokit/webhooks 14.2.0: await new Webhooks({secret}).sign(body); @octokit/webhooks-methods 6.0.0: await sign(secret, body)
	{"github", broker.Webhook{Verify: broker.VerifyGitHub, Secret: property.TextsOf("It's a Secret to Everybody")},
		map[string]string{"X-Hub-Signature-256": "sha256=55771fcb79ede58cb5eefe6213f7540cee55278037dc9ca655c3ff4874d5479f"}, false},
	// npm stripe 23.1.0: new Stripe("sk_test_x").webhooks.generateTestHeaderString({payload: body, secret, timestamp: 1790000000})
	{"stripe", broker.Webhook{Verify: broker.VerifyStripe, Secret: property.TextsOf("whsec_test_secret_of_stripe")},
		map[string]string{"Stripe-Signature": "t=1790000000,v1=99e36a654b3ec7228835a2097b51fbe219d24a23abbcf914974c1eeb8ce11b04"}, true},
	{"stripe, among others", broker.Webhook{Verify: broker.VerifyStripe, Secret: property.TextsOf("whsec_test_secret_of_stripe")},
		map[string]string{"Stripe-Signature": "t=1790000000,v0=00,v1=00,v1=99e36a654b3ec7228835a2097b51fbe219d24a23abbcf914974c1eeb8ce11b04"}, true},
	// openssl 3.0.19: printf %s "$body" | openssl dgst -sha256 -hmac hush-shopify -binary | base64
	{"shopify", broker.Webhook{Verify: broker.VerifyShopify, Secret: property.TextsOf("hush-shopify")},
		map[string]string{"X-Shopify-Hmac-Sha256": "TVqPhj492I/13Xnh+hvb5KRenagkREwMCbmiDc7xTYw="}, false},
	// openssl 3.0.19: printf %s "v0:1790000000:$body" | openssl dgst -sha256 -hmac 8f742231b10e8888abcd99yyyzzz85a5
	{"slack", broker.Webhook{Verify: broker.VerifySlack, Secret: property.TextsOf("8f742231b10e8888abcd99yyyzzz85a5")},
		map[string]string{"X-Slack-Request-Timestamp": "1790000000", "X-Slack-Signature": "v0=faaed722a0aac5d25c4662e0c96599820f8d98ed0eef0050cfad8cfb0a878dbb"}, true},
	// openssl 3.0.19: printf %s "$body" | openssl dgst -sha256 -hmac key-of-hmac, and so on
	{"hmac", broker.Webhook{Verify: broker.VerifyHMAC, Secret: property.TextsOf("key-of-hmac"), Header: "X-Sig"},
		map[string]string{"X-Sig": "0e03d3b25af4c1a215d541f39f55cb5de67c6ea5983346cd6bffa283895cd55a"}, false},
	{"hmac, sha256 in base64", broker.Webhook{Verify: broker.VerifyHMAC, Secret: property.TextsOf("key-of-hmac"), Header: "x-sig", Algorithm: "sha256", Encoding: "base64"},
		map[string]string{"X-Sig": "DgPTslr0waIV1UHzn1XLXeZ8bqWYM0bNa/+ig4lc1Vo="}, false},
	{"hmac, without padding, for URLs", broker.Webhook{Verify: broker.VerifyHMAC, Secret: property.TextsOf("key-of-hmac"), Header: "x-sig", Algorithm: "sha256", Encoding: "base64"},
		map[string]string{"X-Sig": "DgPTslr0waIV1UHzn1XLXeZ8bqWYM0bNa_-ig4lc1Vo"}, false},
	{"hmac, sha1 with a prefix", broker.Webhook{Verify: broker.VerifyHMAC, Secret: property.TextsOf("key-of-hmac"), Header: "X-Hub-Signature", Algorithm: "sha1", Encoding: "hex", Prefix: "sha1="},
		map[string]string{"X-Hub-Signature": "sha1=aca5cfc0c13fbaba4bb0a7811ebd7f3ccb1a5fb6"}, false},
	{"hmac, sha512 in base64", broker.Webhook{Verify: broker.VerifyHMAC, Secret: property.TextsOf("key-of-hmac"), Header: "X-Sig", Algorithm: "sha512", Encoding: "base64"},
		map[string]string{"X-Sig": "agb4WSuF1hNdnZogl8JcqjWSjudodtNPqPFwTNpaRT/vkSoYIvF6HOGqJGeCccDOzKnTHfo7f3uxri7Lw67j+Q=="}, false},
	{"gitlab", broker.Webhook{Verify: broker.VerifyGitLab, Secret: property.TextsOf("token of gitlab")}, map[string]string{"X-Gitlab-Token": "token of gitlab"}, false},
	{"token", broker.Webhook{Verify: broker.VerifyToken, Secret: property.TextsOf("a token"), Header: "X-Token"}, map[string]string{"X-Token": "a token"}, false},
	{"bearer", broker.Webhook{Verify: broker.VerifyToken, Secret: property.TextsOf("a-token")}, map[string]string{"Authorization": "bearer a-token"}, false},
}

func headerOf(values map[string]string) http.Header {
	h := http.Header{}
	for name, value := range values {
		h.Set(name, value)
	}
	return h
}

// Each scheme takes what an independent implementation has signed, and nothing that is not quite that.
func TestVerify(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			verify := func(w broker.Webhook, h http.Header, body string, now time.Time) error {
				return webhook.Verify(&w, h, []byte(body), now)
			}
			good := func(what string, w broker.Webhook, h http.Header, now time.Time) {
				t.Helper()
				if err := verify(w, h, body, now); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			bad := func(what string, w broker.Webhook, h http.Header, body string, now time.Time) {
				t.Helper()
				if err := verify(w, h, body, now); broker.CodeOf(err) != broker.Unauthorized || !w.Secret.IsZero() && strings.Contains(err.Error(), w.Secret.String()) {
					t.Errorf("%s: %v", what, err)
				}
			}
			h, w := headerOf(v.header), v.webhook
			good("as it was sent", w, h, sent)

			secret := w.Secret.List()[0]
			other := "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
			w.Secret = property.TextsOf(other, secret)
			good("with a new secret in front", w, h, sent)
			w.Secret = property.TextsOf(secret, other)
			good("with a new secret behind", w, h, sent)
			w.Secret = property.TextsOf(other)
			bad("with another secret", w, h, body, sent)
			w.Secret = property.Texts{}
			bad("without a secret", w, h, body, sent)

			w = v.webhook
			if v.timed || w.Verify != broker.VerifyGitLab && w.Verify != broker.VerifyToken {
				bad("with another body", w, h, strings.Replace(body, "1299", "1298", 1), sent)
				bad("without a body", w, h, "", sent)
			}
			good("at the end of its time", w, h, sent.Add(webhook.Tolerance))
			good("from a clock that is fast", w, h, sent.Add(-webhook.Tolerance))
			if v.timed {
				bad("replayed", w, h, body, sent.Add(webhook.Tolerance+time.Second))
				bad("from the future", w, h, body, sent.Add(-webhook.Tolerance-time.Second))
			}
			for name := range v.header {
				h := headerOf(v.header)
				h.Del(name)
				bad("without "+name, w, h, body, sent)
				h.Set(name, "")
				bad("with an empty "+name, w, h, body, sent)
				h = headerOf(v.header)
				h.Add(name, h.Get(name))
				bad("with "+name+" twice", w, h, body, sent)
				h = headerOf(v.header)
				h.Set(name, h.Get(name)[:len(h.Get(name))-4])
				bad("with a shorter "+name, w, h, body, sent)
			}
		})
	}
}

// A time that is moved is not what was signed, and one header with countless signatures costs nothing.
func TestForged(t *testing.T) {
	for _, v := range vectors {
		h := headerOf(v.header)
		for _, moved := range []func(){
			func() { h.Set("Webhook-Timestamp", "1790001000") },
			func() { h.Set("X-Slack-Request-Timestamp", "1790001000") },
			func() {
				h.Set("Stripe-Signature", strings.Replace(h.Get("Stripe-Signature"), "1790000000", "1790001000", 1))
			},
		} {
			moved()
		}
		if err := webhook.Verify(&v.webhook, h, []byte(body), sent.Add(1000*time.Second)); v.timed && broker.CodeOf(err) != broker.Unauthorized {
			t.Errorf("%s: %v", v.name, err)
		}
	}
	for i, name := range map[int]string{0: "Webhook-Signature", 3: "Stripe-Signature"} {
		v := vectors[i]
		h, one := headerOf(v.header), map[int]string{0: "v1,eA== ", 3: "v1=00,"}[i]
		h.Set(name, strings.Repeat(one, 1000)+h.Get(name))
		err := webhook.Verify(&v.webhook, h, []byte(body), sent)
		if err == nil || !strings.Contains(err.Error(), "too many") {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

func TestDeliveryID(t *testing.T) {
	header := http.Header{
		"Webhook-Id": {"msg_1"}, "X-Github-Delivery": {"uuid"}, "Idempotency-Key": {"gitlab"}, "X-Shopify-Webhook-Id": {"shop"}, "X-Own": {"own"}, "Ce-Id": {"ce"},
	}
	for verify, want := range map[string]string{
		broker.VerifyStandard: "msg_1", broker.VerifyGitHub: "uuid", broker.VerifyGitLab: "gitlab", broker.VerifyShopify: "shop",
		broker.VerifyStripe: "evt_1", broker.VerifySlack: "Ev08", broker.VerifyHMAC: "ce", broker.VerifyToken: "ce", broker.VerifyNone: "ce",
	} {
		w := &broker.Webhook{Verify: verify}
		event := []byte(`{"id":"evt_1","event_id":"Ev08","type":"event_callback"}`)
		if got := webhook.DeliveryID(w, header, event); got != want {
			t.Errorf("%s: %q, want %q", verify, got, want)
		}
		if got := webhook.DeliveryID(w, http.Header{}, []byte("no JSON")); got != "" {
			t.Errorf("%s: %q of nothing", verify, got)
		}
		w.IDHeader = "x-own"
		if got := webhook.DeliveryID(w, header, event); got != "own" {
			t.Errorf("%s: %q, want that of the header", verify, got)
		}
	}
}

func TestAttributes(t *testing.T) {
	h := http.Header{
		"X-Github-Event": {"push"}, "X-Many": {"a", "b"}, "X-Other": {"none"}, "X-Odd": {"order\tpaid \xff"},
	}
	w := &broker.Webhook{Headers: property.TextsOf("x-github-event", "X-Many", "X-Odd", "X-Missing")}
	want := []broker.Attribute{{Name: "x-github-event", Value: "push"}, {Name: "x-many", Value: "a, b"}, {Name: "x-odd", Value: "order paid  "}}
	if got := webhook.Attributes(w, h); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestCheckAddress(t *testing.T) {
	w := &broker.Webhook{AllowFrom: property.TextsOf("192.0.2.0/24", "2001:db8::1", "127.0.0.1")}
	for remote, want := range map[string]bool{
		"192.0.2.77": true, "::ffff:192.0.2.77": true, "192.0.3.1": false, "2001:db8::1": true, "2001:db8::2": false, "127.0.0.1": true, "": false, "@": false,
	} {
		if err := webhook.CheckAddress(w, remote); (err == nil) != want || err != nil && broker.CodeOf(err) != broker.Denied {
			t.Errorf("%s: %v", remote, err)
		}
		if err := webhook.CheckAddress(&broker.Webhook{}, remote); err != nil {
			t.Error(err)
		}
	}
}

// FuzzVerify: no header makes the reading of one panic, and none is taken that was not signed.
func FuzzVerify(f *testing.F) {
	for i, v := range vectors {
		for _, value := range v.header {
			f.Add(i, value, "1790000000", body)
		}
	}
	f.Add(0, strings.Repeat("v1,", 100), "-1", "")
	f.Add(3, "t=1790000000,t=1790000000,v1=", "x", "")
	f.Fuzz(func(t *testing.T, i int, value, seconds, given string) {
		v := vectors[uint(i)%uint(len(vectors))]
		h := http.Header{}
		same := given == body
		for name, original := range v.header {
			switch {
			case strings.HasSuffix(strings.ToLower(name), "timestamp"):
				h.Set(name, seconds)
			case strings.HasSuffix(strings.ToLower(name), "-id"):
				h.Set(name, original)
			default:
				h.Set(name, value)
			}
		}
		signed := strings.Contains(v.webhook.Verify, "token") || v.webhook.Verify == broker.VerifyGitLab
		if err := webhook.Verify(&v.webhook, h, []byte(given), sent); err == nil && !signed && !same {
			t.Errorf("%s: %q is taken with %q", v.name, given, value)
		}
		webhook.DeliveryID(&v.webhook, h, bytes.Clone([]byte(given)))
		webhook.Challenge(&v.webhook, []byte(given))
		webhook.Attributes(&v.webhook, h)
	})
}
