package httpapi_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/httpapi/forwarded"
)

const hookSecret = "hook-secret-of-the-sender"

// hooks adds webhooks, which publish to /customer/created as crm unless they say otherwise.
func (r *rig) hooks(list ...broker.Webhook) {
	r.t.Helper()
	for i := range list {
		w := &list[i]
		if w.Topic == "" {
			w.Topic = "/customer/created"
		}
		if w.Client == "" {
			w.Client = "crm"
		}
		if w.Secret.IsZero() && w.Verify != broker.VerifyNone {
			w.Secret = property.TextsOf(hookSecret)
		}
	}
	if _, err := r.b.Apply(ctx, broker.Definition{Webhooks: list}); err != nil {
		r.t.Fatal(err)
	}
}

// signed returns the header of a call that GitHub would sign so.
func signed(body, id string) []string {
	m := hmac.New(sha256.New, []byte(hookSecret))
	m.Write([]byte(body))
	return []string{"X-Hub-Signature-256", "sha256=" + hex.EncodeToString(m.Sum(nil)), "X-GitHub-Delivery", id}
}

// taken returns the oldest message of the queue.
func (r *rig) taken() broker.Message {
	r.t.Helper()
	sub, err := r.b.Subscription(&broker.Client{Username: "erp"}, "/customer/created", key)
	if err != nil {
		r.t.Fatal(err)
	}
	got, err := sub.Receive(ctx, broker.ReceiveOptions{Max: 1})
	if err != nil || len(got) != 1 {
		r.t.Fatalf("%+v, %v", got, err)
	}
	return got[0]
}

// refuseLike is refuse where the details are long.
func (r *rig) refuseLike(status int, details string, method, path, sent string, header ...string) {
	r.t.Helper()
	if a := r.do(method, path, "", sent, header...); a.status != status || !strings.Contains(a.body, details) {
		r.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.status, a.body, status, details)
	}
}

func (r *rig) wantCounts(name string, want stats.HookCounts) {
	r.t.Helper()
	w, ok := r.b.Webhook(name)
	if !ok || w.HookCounts != want || !w.Secret.IsZero() || w.LastCall.IsZero() != (want.Accepted+want.Duplicates == 0) {
		r.t.Errorf("%+v, want %+v", w, want)
	}
}

// TestHook: what a sender signs is published as one of the webhook's client, once however often it is sent, with the headers
// that are asked for; what is not signed so is refused, counted, and logged with the reason.
func TestHook(t *testing.T) {
	r := newServer(t)
	r.hooks(broker.Webhook{Name: "code.host-1", Verify: broker.VerifyGitHub, Headers: property.TextsOf("X-GitHub-Event", "X-None")},
		broker.Webhook{Name: "off", Verify: broker.VerifyGitHub, Inactive: true})
	body := `{"action": "` + marked + ` ž"}`
	call := append(signed(body, "72d3162e-cc78-11e3-81ab-4c9367dc0958"), "Content-Type", "application/json; x=1", "X-GitHub-Event", "push", "Traceparent", "00-a-b-01")
	const ok = `{"status": "ZATO_OK", "msg_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958"}`
	a := r.want(200, ok, "POST", "/hook/code.host-1", "", body, call...)
	if a.header.Get("X-Zato-Duplicate") != "" {
		t.Error("the first call is a duplicate")
	}
	a = r.want(200, ok, "POST", "/hook/code.host-1/", "", body, call...)
	if a.header.Get("X-Zato-Duplicate") != "true" {
		t.Error("the second call is none")
	}
	m := r.taken()
	want := []broker.Attribute{{Name: "traceparent", Value: "00-a-b-01"}, {Name: "x-github-event", Value: "push"}}
	if string(m.Payload) != body || m.Producer != "CRM" || m.MIMEType != "application/json; x=1" || !reflect.DeepEqual(m.Attributes, want) {
		t.Errorf("%+v", m)
	}

	const refused = "The call is not verified"
	r.refuse(401, refused, "POST", "/hook/code.host-1", "", body+" ", call...)
	r.refuse(401, refused, "POST", "/hook/code.host-1", "", body)
	r.refuse(401, refused, "POST", "/hook/code.host-1", crm, body)
	for range 100 { // who is wrong is not locked out
		if a := r.do("POST", "/hook/code.host-1", "", "x"); a.status != 401 {
			t.Fatal(a.status)
		}
	}
	r.want(200, strings.Replace(ok, "72d3162e-cc78-11e3-81ab-4c9367dc0958", "other", 1), "POST", "/hook/code.host-1", "", "x", signed("x", "other")...)
	for _, path := range []string{"/hook/off", "/hook/none", "/hook/", "/hook/code.host-1/x", "/hook//code.host-1", "/hook/CODE.HOST-1"} {
		r.refuse(404, "No such webhook", "POST", path, "", body, call...)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		if a := r.do(method, "/hook/code.host-1", "", ""); a.status != 405 || a.header.Get("Allow") != "POST" {
			t.Errorf("%s: %d %v", method, a.status, a.header)
		}
	}
	r.refuseLike(400, "msg_id", "POST", "/hook/code.host-1", "x", signed("x", strings.Repeat("x", 201))...)
	r.wantCounts("code.host-1", stats.HookCounts{Accepted: 2, Duplicates: 1, Signature: 103, Other: 1})
	if logs := r.logs.String(); !strings.Contains(logs, `"webhook":"code.host-1"`) || !strings.Contains(logs, "the signature is not one of its secrets") || strings.Contains(logs, hookSecret) {
		t.Error("the log does not say which webhook and why, or too much")
	}
}

// TestHookPermission: a webhook may what its client may, and nobody calls it from elsewhere.
func TestHookPermission(t *testing.T) {
	r := newServer(t, func(s *setup) {
		s.api.Proxies = forwarded.Proxies{netip.MustParsePrefix("127.0.0.1/32")}
	})
	r.hooks(broker.Webhook{Name: "inactive-producer", Verify: broker.VerifyGitHub, Topic: "/other"},
		broker.Webhook{Name: "no-producer", Verify: broker.VerifyGitHub, Client: "bob"},
		broker.Webhook{Name: "inactive-client", Verify: broker.VerifyGitHub, Client: "off"},
		broker.Webhook{Name: "inactive-topic", Verify: broker.VerifyGitHub, Topic: "/off"},
		broker.Webhook{Name: "lan", Verify: broker.VerifyNone, AllowFrom: property.TextsOf("192.0.2.0/24", "2001:db8::7")})
	for _, name := range []string{"inactive-producer", "no-producer", "inactive-client", "inactive-topic"} {
		r.refuse(401, "The call is not verified", "POST", "/hook/"+name, "", "x")
		r.refuse(403, "Permission denied", "POST", "/hook/"+name, "", "x", signed("x", "1")...)
		r.wantCounts(name, stats.HookCounts{Signature: 1, Other: 1})
	}
	for _, from := range []string{"", "192.0.3.1", "2001:db8::8", "nonsense"} {
		for _, method := range []string{"POST", "OPTIONS"} {
			r.refuse(403, "Permission denied", method, "/hook/lan", "", "x", "X-Forwarded-For", from, "WebHook-Request-Origin", "x")
		}
	}
	for i, from := range []string{"192.0.2.1", "10.0.0.1, 192.0.2.255", "2001:db8::7"} {
		r.want(200, fmt.Sprintf(`{"status": "ZATO_OK", "msg_id": "event-%d"}`, i), "POST", "/hook/lan", "", "x", "X-Forwarded-For", from,
			"Ce-Id", fmt.Sprintf("event-%d", i), "Ce-Type", "paid%21", "Ce-Source", "/shop", "Ce-Specversion", "1.0")
	}
	r.wantCounts("lan", stats.HookCounts{Accepted: 3, Address: 8})
	want := []broker.Attribute{{Name: "ce-id", Value: "event-0"}, {Name: "ce-source", Value: "/shop"}, {Name: "ce-specversion", Value: "1.0"}, {Name: "ce-type", Value: "paid!"}}
	if m := r.taken(); m.ID != "event-0" || !reflect.DeepEqual(m.Attributes, want) {
		t.Errorf("%+v", m)
	}
}

// TestHookHandshakes: senders that try whether somebody listens are answered, and nothing is published.
func TestHookHandshakes(t *testing.T) {
	r := newServer(t)
	r.hooks(broker.Webhook{Name: "slack", Verify: broker.VerifySlack}, broker.Webhook{Name: "events", Verify: broker.VerifyToken})
	body := `{"token":"x","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}`
	now := fmt.Sprint(time.Now().Unix())
	m := hmac.New(sha256.New, []byte(hookSecret))
	m.Write([]byte("v0:" + now + ":" + body))
	call := []string{"X-Slack-Request-Timestamp", now, "X-Slack-Signature", "v0=" + hex.EncodeToString(m.Sum(nil))}
	r.want(200, "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "POST", "/hook/slack", "", body, call...)
	r.refuse(401, "The call is not verified", "POST", "/hook/slack", "", body)

	a := r.want(200, `{"status": "ZATO_OK", "details": ""}`, "OPTIONS", "/hook/events", "", "", "WebHook-Request-Origin", "eventgrid.example", "WebHook-Request-Rate", "100")
	if a.header.Get("WebHook-Allowed-Origin") != "eventgrid.example" || a.header.Get("WebHook-Allowed-Rate") != "*" {
		t.Errorf("%v", a.header)
	}
	r.refuseLike(405, "Method OPTIONS", "OPTIONS", "/hook/events", "")
	r.refuse(404, "No such webhook", "OPTIONS", "/hook/none", "", "", "WebHook-Request-Origin", "x")
	r.wantPayloads(queue)

	const structured = `{"specversion": "1.0", "id": "e-1", "source": "/shop", "type": "paid", "data": {"order": 1}}`
	token := []string{"Authorization", "Bearer " + hookSecret, "Content-Type", "application/cloudevents+json"}
	r.want(200, `{"status": "ZATO_OK", "msg_id": "e-1"}`, "POST", "/hook/events?cloudevents=true&shop=1", "", structured, token...)
	if m := r.taken(); string(m.Payload) != `{"order": 1}` || m.MIMEType != "application/json" || len(m.Attributes) != 3 {
		t.Errorf("%+v", m)
	}
	r.refuseLike(400, "not a CloudEvent", "POST", "/hook/events?cloudevents=true", "x", token...)
	r.wantCounts("slack", stats.HookCounts{Signature: 1})
}

// TestHookLimits: a payload that is too large is refused before it is read, and a full topic says when to come again.
func TestHookLimits(t *testing.T) {
	r := newServer(t, func(s *setup) {
		s.broker.MaxPayload, s.api.MaxPayload = 1000, 1000
		s.topic = func(t *broker.Topic) { t.MaxDepth = 1 }
	})
	r.hooks(broker.Webhook{Name: "w", Verify: broker.VerifyToken}, broker.Webhook{Name: "std", Verify: broker.VerifyStandard, Secret: property.TextsOf("whsec_" + base64.StdEncoding.EncodeToString([]byte(hookSecret)))})
	token := []string{"Authorization", "Bearer " + hookSecret}
	r.refuse(413, "payload: allowed are at most 1000 bytes", "POST", "/hook/w", "", strings.Repeat("x", 1001), token...)
	now := fmt.Sprint(time.Now().Unix())
	m := hmac.New(sha256.New, []byte(hookSecret))
	m.Write([]byte("msg_1." + now + ".x"))
	call := []string{"webhook-id", "msg_1", "webhook-timestamp", now, "webhook-signature", "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))}
	r.want(200, `{"status": "ZATO_OK", "msg_id": "msg_1"}`, "POST", "/hook/std", "", "x", call...)
	r.refuseLike(429, "is full", "POST", "/hook/w", "x", token...)
	r.want(200, `{"status": "ZATO_OK", "msg_id": "msg_1"}`, "POST", "/hook/std", "", "x", call...)
	r.wantCounts("w", stats.HookCounts{Full: 1, Other: 1})
	r.wantCounts("std", stats.HookCounts{Accepted: 1, Duplicates: 1})
}

// TestHookRoom: who announces a large body and sends it slowly leaves room for others, and has no more of it for himself.
func TestHookRoom(t *testing.T) {
	for name, header := range map[string]string{
		"announced": fmt.Sprintf("Content-Length: %d", 40<<20), "chunked": "Transfer-Encoding: chunked", "packed": "Content-Length: 1000\r\nContent-Encoding: gzip",
	} {
		t.Run(name, func(t *testing.T) { checkHookRoom(t, header) })
	}
}

// checkHookRoom has a slow sender announce a body that may become 40 MiB.
func checkHookRoom(t *testing.T, header string) {
	r := newServer(t, func(s *setup) {
		s.broker.MaxPayload, s.api.MaxPayload = 40<<20, 40<<20
		s.api.Proxies = forwarded.Proxies{netip.MustParsePrefix("127.0.0.1/32")}
	})
	r.hooks(broker.Webhook{Name: "w", Verify: broker.VerifyToken})
	slow, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "POST /hook/w HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n%s\r\nExpect: 100-continue\r\n\r\n", header)
	if line, err := bufio.NewReader(slow).ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	token := []string{"Authorization", "Bearer " + hookSecret}
	r.refuse(503, "Overloaded, try again", "POST", "/hook/w", "", "x", append(token, "X-Forwarded-For", "192.0.2.1")...)
	if a := r.do("POST", "/hook/w", "", "x", append(token, "X-Forwarded-For", "192.0.2.2")...); a.status != 200 {
		t.Errorf("another address: %d %s", a.status, a.body)
	}
	r.publish(created, "a client")
}
