package callback

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/signing"
	"pipit/broker/store"
)

func secretOf(key string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(key))
}

// What is signed is known to be by an independent implementation, with each of two secrets, and with no other; and nothing
// of it can be changed.
func TestSignatures(t *testing.T) {
	before, after, other := secretOf(strings.Repeat("a", 24)), secretOf(strings.Repeat("\x00\xff", 32)), secretOf(strings.Repeat("c", 24))
	knows := func(secret string, head http.Header, body string) bool {
		w, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		return w.Verify([]byte(body), head) == nil
	}
	for _, format := range []string{broker.FormatJSON, broker.FormatXML, broker.FormatRaw, broker.FormatCloudEvents} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, func(c *broker.Consumer) {
				c.CallbackFormat = format
				c.CallbackSecret = before + " " + after
			})
			if _, err := r.b.Publish(context.Background(), "/t", []byte("\x00\xfe\nžluť"), broker.WithID("žluťoučký. kůň")); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			c := r.r.all()[0]
			if !knows(before, c.head, c.body) || !knows(after, c.head, c.body) || knows(other, c.head, c.body) || knows(after, c.head, c.body+" ") {
				t.Errorf("%s: %v", format, c.head)
			}
			if id := c.head.Get("Webhook-Id"); strings.ContainsFunc(id, func(r rune) bool { return r == '.' || r <= ' ' || r > '~' }) {
				t.Errorf("webhook-id %q", id)
			}
			c.head.Set("Webhook-Id", "another")
			if knows(after, c.head, c.body) {
				t.Error("the id is not signed")
			}
		})
	}
	for _, bad := range []string{"", "whsec_", secretOf(strings.Repeat("a", 23)), secretOf(strings.Repeat("a", 65)), strings.Repeat("a", 32),
		before + "  " + after, before + " " + after + " " + other, before + " ", before[:len(before)-1]} {
		if _, err := signing.Keys(bad); err == nil {
			t.Errorf("%q is a secret", bad)
		}
	}
}

// A secret is made where there is none, stays over an edit that says nothing of it, and is a good one.
func TestSecretIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, raw)
		made := r.consumer().CallbackSecret
		if _, err := standardwebhooks.NewWebhook(made); err != nil || len(made) < 40 {
			t.Errorf("%q: %v", made, err)
		}
		r.edit(func(c *broker.Consumer) { c.CallbackSecret, c.MaxDepth = "", 7 })
		if got := r.consumer().CallbackSecret; got != made {
			t.Errorf("%q became %q", made, got)
		}
	})
}

// The same webhook-id is never that of two messages that one receiver could get.
func TestWebhookID(t *testing.T) {
	const made = "K05DD3YFNE4SG592VQBF23ECVD02"
	m := func(topic, id string) broker.Message { return broker.Message{Topic: topic, ID: id} }
	seen := map[string]int{}
	for i, msgs := range [][]broker.Message{{m("/a", made)}, {m("/a", "1")}, {m("/b", "1")}, {m("/a", "1"), m("/a", "2")}, {m("/a", "2"), m("/a", "1")}, {m("/a", "12")}, {m("/a1", "2")}} {
		id := webhookID(msgs)
		if before, ok := seen[id]; ok {
			t.Errorf("%d and %d have %s", before, i, id)
		}
		seen[id] = i
	}
	if webhookID([]broker.Message{m("/a", made)}) != made {
		t.Error("an ID of the broker's own is not the webhook-id")
	}
}

// full is a message with all that one can have.
func full() broker.Message {
	at := time.Date(2026, 1, 9, 9, 21, 56, 867151000, time.UTC)
	return broker.Message{
		ID: "K05DD3YFNE4SG592VQBF23ECVD02", Topic: "/účty", Created: at, Expiration: 60, ExpireAt: at.Add(time.Minute), Producer: "Müller & Söhne 100%",
		Priority: 9, MIMEType: "application/json", DeliveryCount: 3, Payload: []byte(`{"a": 1}`), CorrelationID: " x ", ReplyTo: "/answers",
		Attributes: []broker.Attribute{{Name: "ce-type", Value: `com.example "x"`}, {Name: "ce-subject", Value: "s"}, {Name: "color", Value: "red\nX-Evil: 1"},
			{Name: "traceparent", Value: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}},
		DeadLetter: &store.DeadLetter{Topic: "/orders", Consumer: "erp", Reason: "rejected", Count: 5, At: at},
	}
}

// What a receiver gets of each format, over the network.
func TestFormats(t *testing.T) {
	got := make(chan received, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- received{head: r.Header, body: string(body)}
	}))
	defer srv.Close()
	s := &Service{log: slog.New(slog.DiscardHandler)}
	if err := s.Adjust(Options{UserAgent: "Pipit/1"}); err != nil {
		t.Fatal(err)
	}
	defer s.client.Load().CloseIdleConnections()
	call := func(format string, msgs ...broker.Message) received {
		agent := "Pipit/1"
		c := broker.ConsumerFields.New()
		c.CallbackURL, c.CallbackFormat, c.CallbackSecret = srv.URL, format, secretOf(strings.Repeat("a", 24))
		c.CallbackHeaders = property.TableOf(map[string]string{"Authorization": "Bearer 5eCr3t", "x-tenant": "7"})
		if format == broker.FormatXML {
			c.CallbackHeaders = property.TableOf(map[string]string{"Authorization": "Bearer 5eCr3t", "x-tenant": "7", "user-agent": "Own/2"})
			agent = "Own/2"
		}
		if a := s.call(context.Background(), &c, msgs, false); a.Error != "" {
			t.Fatal(a.Error)
		}
		in := <-got
		if in.head.Get("Authorization") != "Bearer 5eCr3t" || in.head.Get("X-Tenant") != "7" || in.head.Get("User-Agent") != agent {
			t.Errorf("%s: %v", format, in.head)
		}
		return in
	}
	wantHeaders := func(in received, want map[string]string) {
		t.Helper()
		for name, value := range want {
			if in.head.Get(name) != value {
				t.Errorf("%s is %q, want %q", name, in.head.Get(name), value)
			}
		}
	}
	common := map[string]string{
		"Content-Type": "application/json", "X-Zato-Msg-Id": "K05DD3YFNE4SG592VQBF23ECVD02", "X-Zato-Topic": "/%C3%BA%C4%8Dty", "X-Zato-Priority": "9",
		"X-Zato-Delivery-Count": "3", "X-Zato-Creation-Time": "2026-01-09T09:21:56.867151", "X-Zato-Producer": "M%C3%BCller & S%C3%B6hne 100%25",
		"X-Zato-Correlation-Id": "%20x%20", "X-Zato-Reply-To": "/answers", "X-Zato-PubSub-Attr-Color": "red%0AX-Evil: 1", "X-Evil": "",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "X-Zato-Dead-Letter-Reason": "rejected",
		"X-Zato-Dead-Letter-Topic": "/orders", "X-Zato-Dead-Letter-Consumer": "erp",
	}
	in := call(broker.FormatRaw, full())
	wantHeaders(in, common)
	wantHeaders(in, map[string]string{"X-Zato-PubSub-Attr-Ce-Subject": "s", "Ce-Id": ""})
	if in.body != `{"a": 1}` {
		t.Errorf("raw: %s", in.body)
	}
	in = call(broker.FormatCloudEvents, full())
	wantHeaders(in, common)
	wantHeaders(in, map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "K05DD3YFNE4SG592VQBF23ECVD02", "Ce-Source": "/%C3%BA%C4%8Dty", "Ce-Type": "com.example%20%22x%22",
		"Ce-Subject": "s", "Ce-Time": "2026-01-09T09:21:56.867151Z", "X-Zato-PubSub-Attr-Ce-Subject": ""})
	plain := full()
	plain.Attributes = nil
	wantHeaders(call(broker.FormatCloudEvents, plain), map[string]string{"Ce-Type": "pipit.message"})

	second := full()
	second.Payload = []byte("\xff")
	in = call(broker.FormatJSON, full(), second)
	var doc struct {
		Status  string
		Count   int `json:"results_count"`
		Results []struct {
			Payload  string
			Metadata map[string]any
		}
	}
	if err := json.Unmarshal([]byte(in.body), &doc); err != nil || doc.Count != 2 || doc.Results[0].Payload != `{"a": 1}` || doc.Results[1].Metadata["encoding"] != "base64" ||
		doc.Results[0].Metadata["delivery_count"] != 3.0 || in.head.Get("Content-Type") != "application/json" {
		t.Errorf("json: %s, %v", in.body, err)
	}
	in = call(broker.FormatXML, full(), second)
	var data struct {
		Items []struct {
			Payload string `xml:"payload"`
		} `xml:"results>item"`
	}
	if err := xml.Unmarshal([]byte(in.body), &data); err != nil || len(data.Items) != 2 || data.Items[0].Payload != `{"a": 1}` || in.head.Get("Content-Type") != "application/xml" {
		t.Errorf("xml: %s, %v", in.body, err)
	}
}

// A call has no more messages than callback_batch says, and no more than callBytes of them.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *broker.Consumer) { c.CallbackBatch = 3; c.Inactive = true })
		for i := range 7 {
			r.publish(fmt.Sprint(i))
		}
		for range 6 {
			r.publish(strings.Repeat("x", 1<<20))
		}
		r.edit(func(c *broker.Consumer) { c.Inactive = false })
		synctest.Wait()
		var counts []string
		for _, c := range r.r.all() {
			_, after, _ := strings.Cut(c.body, `"results_count": `)
			counts = append(counts, after[:1])
		}
		if got := strings.Join(counts, ""); got != "333"+"31" {
			t.Errorf("calls of %s messages", got)
		}
		r.edit(func(c *broker.Consumer) { c.CallbackBatch = 1000; c.Inactive = true })
		for range 6 {
			r.publish(strings.Repeat("x", 1<<20))
		}
		n := len(r.r.all())
		r.edit(func(c *broker.Consumer) { c.Inactive = false })
		synctest.Wait()
		for i, c := range r.r.all()[n:] {
			if len(c.body) > callBytes+4096 {
				t.Errorf("call %d has %d bytes", i, len(c.body))
			}
		}
		if r.consumer().Backlog != 0 {
			t.Errorf("%+v", r.consumer())
		}
	})
}
