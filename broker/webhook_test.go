package broker_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/broker/store"
)

func webhookRef(name string) change.Ref { return change.Ref{Kind: change.Webhook, Name: name} }

// TestWebhooks: a webhook is what was said of it last, also after a restart; its secret stays where none is given, is told to
// nobody who looks, and is not on the disk when it has been replaced.
func TestWebhooks(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	const first, second = "the first secret 5d1f", "the second secret 8a02"
	w := broker.Webhook{Name: "shop", Topic: "/t", Client: "crm", Verify: broker.VerifyShopify, Secret: property.TextsOf(first), AllowFrom: property.TextsOf("192.0.2.0/24")}
	if done := r.change(broker.Change{Expect: []change.Expect{{Ref: webhookRef("shop")}}, Define: broker.Definition{Webhooks: []broker.Webhook{w}}}); len(done.Webhooks) != 1 || done.Webhooks[0].Action != change.Create {
		t.Errorf("%+v", done)
	}
	info := func() broker.WebhookInfo {
		t.Helper()
		i, ok := r.Webhook("shop")
		if all := r.Webhooks(); !ok || len(all) != 1 || all[0] != i || !i.Secret.IsZero() {
			t.Fatalf("%+v, of %+v", i, all)
		}
		return i
	}
	before := info()
	r.restart()
	if info().Revision != before.Revision {
		t.Error("the revision changes with a restart")
	}

	edited := info().Webhook // without the secret
	edited.IDHeader = "X-Id"
	if done := r.change(broker.Change{Expect: []change.Expect{{Ref: webhookRef("shop"), Revision: before.Revision}}, Define: broker.Definition{Webhooks: []broker.Webhook{edited}}}); done.Webhooks[0].Action != change.Update {
		t.Errorf("%+v", done)
	}
	if hook, ok := r.Hook("shop"); !ok || hook.Secret != property.TextsOf(first) || hook.IDHeader != "X-Id" {
		t.Errorf("%+v", hook)
	}
	if info().Revision == before.Revision {
		t.Error("the revision is that of before")
	}
	if done := r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{edited}}}); done.Webhooks[0].Action != change.Keep {
		t.Errorf("%+v", done)
	}
	if _, err := r.Change(ctx, broker.Change{Expect: []change.Expect{{Ref: webhookRef("shop"), Revision: before.Revision}}}); broker.CodeOf(err) != broker.Conflict {
		t.Error(err)
	}

	edited.Secret, edited.Inactive = property.TextsOf(second), true
	r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{edited}}})
	if _, ok := r.Hook("shop"); ok {
		t.Error("an inactive webhook can be called")
	}
	edited.Verify, edited.Secret = broker.VerifyNone, property.Texts{}
	r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{edited}}})
	if d := r.Definition(); len(d.Webhooks) != 1 || d.Webhooks[0] != edited {
		t.Errorf("%+v", d.Webhooks)
	}
	img, _, _, _ := r.image()
	if stored := objectsOf(img, store.Webhook); len(stored) != 1 || !bytes.Contains(stored[0].Value, []byte(`"Active":false`)) {
		t.Errorf("%v", stored)
	}
	r.close()
	file, err := os.ReadFile(r.path)
	if err != nil || bytes.Contains(file, []byte(first)) || bytes.Contains(file, []byte(second)) {
		t.Errorf("a secret is on the disk after it was replaced, %v", err)
	}
	r.open()

	r.change(broker.Change{Delete: []change.Ref{webhookRef("shop")}})
	r.restart()
	if all := r.Webhooks(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if _, err := r.Change(ctx, broker.Change{Delete: []change.Ref{webhookRef("shop")}}); broker.CodeOf(err) != broker.NotFound || err.Error() != `No webhook "shop"` {
		t.Error(err)
	}
}

// TestWebhooksGo: a webhook goes with its client, and with its topic.
func TestWebhooksGo(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	r.define(topicDef("/u"))
	hook := func(name, topic, client string) broker.Webhook {
		return broker.Webhook{Name: name, Topic: topic, Client: client, Verify: broker.VerifyToken, Secret: property.TextsOf("secret")}
	}
	r.change(broker.Change{Define: broker.Definition{
		Clients:  []broker.Client{{Username: "erp", PasswordHash: hash}},
		Webhooks: []broker.Webhook{hook("a", "/t", "crm"), hook("b", "/u", "crm"), hook("c", "/u", "erp"), hook("d", "/u", "crm")}, // erp is new, too
	}})
	want := func(names string) {
		t.Helper()
		var list []string
		for _, w := range r.Webhooks() {
			list = append(list, w.Name)
		}
		if got := strings.Join(list, " "); got != names {
			t.Errorf("%s, want %s", got, names)
		}
	}
	want("a b c d")
	done := r.change(broker.Change{Delete: []change.Ref{topicRef("/t")}})
	if len(done.Deleted) != 3 { // its producer, too
		t.Errorf("%+v", done.Deleted)
	}
	want("b c d")
	r.change(broker.Change{Delete: []change.Ref{clientRef("erp"), webhookRef("b")}})
	r.restart()
	want("d")
	for what, list := range map[string][]broker.Webhook{
		`client "nobody" of a webhook of topic "/u": no such client`:    {hook("e", "/u", "nobody")},
		`topic "/t" of a webhook of client "crm": no such topic`:        {hook("e", "/t", "crm")},
		`topic "/u/*" of webhook "e": allowed is one topic, no pattern`: {hook("e", "/u/*", "crm")},
		`webhook "e" is given twice`:                                    {hook("e", "/u", "crm"), hook("e", "/u", "crm")},
		`secret of webhook "e": it is missing`:                          {{Name: "e", Topic: "/u", Client: "crm", Verify: broker.VerifyGitHub}},
	} {
		_, err := r.Change(ctx, broker.Change{Define: broker.Definition{Webhooks: list}})
		if err == nil || err.Error() != what {
			t.Errorf("%v, want %s", err, what)
		}
	}
	want("d")
}

// TestWebhookRefused: what its fields may be, and what they ask of each other.
func TestWebhookRefused(t *testing.T) {
	const of = ` of webhook "w": `
	for i, tt := range []struct {
		change func(*broker.Webhook)
		want   string // empty: it is allowed
	}{
		{func(*broker.Webhook) {}, ""},
		{func(w *broker.Webhook) {
			w.Verify, w.Secret = broker.VerifyStandard, property.TextsOf("whsec_a2V5", "a2V5")
		}, ""},
		{func(w *broker.Webhook) {
			w.Verify, w.Secret = broker.VerifyStandard, property.TextsOf("whsec_a2V5", "k!")
		},
			"secret" + of + "item 2: allowed is whsec_ and the key in base64"},
		{func(w *broker.Webhook) { w.Verify, w.Secret = broker.VerifyStandard, property.TextsOf("whsec_") },
			"secret" + of + "item 1: allowed is whsec_ and the key in base64"},
		{func(w *broker.Webhook) { w.Verify, w.Header = broker.VerifyHMAC, "X-Signature" }, ""},
		{func(w *broker.Webhook) { w.Verify = broker.VerifyHMAC }, "header" + of + "it is missing: which has the signature"},
		{func(w *broker.Webhook) { w.Verify = "" },
			"verify" + of + "it is missing, allowed are github, gitlab, hmac, none, shopify, slack, standard-webhooks, stripe, token"},
		{func(w *broker.Webhook) { w.Secret = property.Texts{} }, "secret" + of + "it is missing"},
		{func(w *broker.Webhook) { w.Verify, w.Secret = broker.VerifyNone, property.Texts{} },
			"allow_from" + of + "without a signature it is needed: networks that may call"},
		{func(w *broker.Webhook) { w.Verify, w.AllowFrom = broker.VerifyNone, property.TextsOf("::1") },
			"secret" + of + "allowed is none, since nothing is verified by it"},
		{func(w *broker.Webhook) { w.AllowFrom = property.TextsOf("192.0.2.0/24", "192.0.2.300") },
			"allowed are networks such as 192.0.2.0/24, or addresses"},
		{func(w *broker.Webhook) { w.Name = ".w" },
			`webhook name ".w": allowed are 1 to 64 of A-Z a-z 0-9 . _ -, no dot in front`},
		{func(w *broker.Webhook) { w.IDHeader = "X Id" }, `id_header "X Id"` + of + "allowed are at most 64 of A-Z a-z 0-9 . _ -"},
		{func(w *broker.Webhook) { w.Prefix = "a\x00" }, "allowed are at most 32 bytes without control characters"},
		{func(w *broker.Webhook) { w.Prefix = strings.Repeat("x", 33) }, "allowed are at most 32 bytes without control characters"},
		{func(w *broker.Webhook) { w.Encoding = "base32" }, `encoding "base32"` + of + "allowed are base64, hex"},
	} {
		w := broker.WebhookFields.New()
		w.Name, w.Topic, w.Client, w.Verify, w.Secret = "w", "/t", "crm", broker.VerifyGitHub, property.TextsOf("5ecret")
		tt.change(&w)
		err := w.Validate()
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%d: %v", i, err)
		case tt.want != "" && (broker.CodeOf(err) != broker.Invalid || !strings.HasSuffix(err.Error(), tt.want)):
			t.Errorf("%d: %v, want %s", i, err, tt.want)
		case err != nil && strings.Contains(err.Error(), "5ecret"):
			t.Errorf("%d: the error shows the secret: %v", i, err)
		}
	}
	if p, err := property.ParseNetwork("192.0.2.7/24"); err != nil || p.String() != "192.0.2.0/24" {
		t.Errorf("%v %v", p, err)
	}
	if p, err := property.ParseNetwork("::ffff:192.0.2.7"); err != nil || p.String() != "192.0.2.7/32" {
		t.Errorf("%v %v", p, err)
	}
}

// TestHook: it publishes as its client, as long as that may, and counts its calls, also those that are under way as it is
// defined anew.
func TestHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		w := broker.Webhook{Name: "shop", Topic: "/t", Client: "crm", Verify: broker.VerifyToken, Secret: property.TextsOf("secret")}
		r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{w}}})
		hook, ok := r.Hook("shop")
		if !ok {
			t.Fatal("no hook")
		}
		p, err := hook.Publisher()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Publish(text("paid")); err != nil {
			t.Fatal(err)
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "paid " || m[0].Producer != "CRM" {
			t.Errorf("%+v", m)
		}
		at := time.Now()
		hook.Accepted(false)
		hook.Accepted(true)
		hook.Accepted(true)
		w.IDHeader = "X-Id"
		r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{w}}})
		time.Sleep(time.Minute)
		for n, err := range []error{
			&broker.Error{Code: broker.Unauthorized},
			fmt.Errorf("a call: %w", &broker.Error{Code: broker.Denied, Field: "allow_from"}),
			&broker.Error{Code: broker.Full},
			&broker.Error{Code: broker.Denied}, &broker.Error{Code: broker.Invalid}, errors.New("other"), nil,
		} {
			for range min(n, 3) + 1 {
				hook.Refused(err)
			}
		}
		info, _ := r.Webhook("shop")
		if want := (stats.HookCounts{Accepted: 1, Duplicates: 2, Signature: 1, Address: 2, Full: 3, Other: 16}); info.HookCounts != want {
			t.Errorf("%+v, want %+v", info.HookCounts, want)
		}
		if info.IDHeader != "X-Id" || !info.LastCall.Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("%+v, last call at %s", info, at)
		}

		refused := func(what string) {
			t.Helper()
			if _, err := hook.Publisher(); broker.CodeOf(err) != broker.Denied || !strings.Contains(err.Error(), what) {
				t.Errorf("%v, want %s", err, what)
			}
		}
		topic := topicDef("/t")
		topic.Inactive = true
		r.change(broker.Change{Define: broker.Definition{Topics: []broker.Topic{topic}}})
		refused("/t")
		r.change(broker.Change{Delete: []change.Ref{clientRef("crm")}})
		refused(`no client "crm"`)
		if _, ok := r.Webhook("shop"); ok {
			t.Error("the webhook outlives its client")
		}
		if _, ok := r.Hook("shop"); ok {
			t.Error("who calls finds it")
		}
	})
}

// TestWebhookBothWays: what is given and deleted at once is refused, and so is what a topic that is deleted had.
func TestWebhookBothWays(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	w := broker.Webhook{Name: "w", Topic: "/t", Client: "crm", Verify: broker.VerifyToken, Secret: property.TextsOf("secret")}
	r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{w}}})
	_, err := r.Change(ctx, broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{w}}, Delete: []change.Ref{webhookRef("w")}})
	if wantCode(t, err, broker.Invalid); err.Error() != `webhook "w" is both given and deleted` {
		t.Error(err)
	}
	if _, ok := r.Hook("w"); !ok {
		t.Error("it is gone")
	}
}
