package broker_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"pipit/broker"
	"pipit/broker/store"
)

func webhookRef(name string) broker.Ref { return broker.Ref{Kind: broker.KindWebhook, Name: name} }

// TestWebhooks: a webhook is what was said of it last, also after a restart; its secret stays where none is given, is told to
// nobody who looks, and is not on the disk when it has been replaced.
func TestWebhooks(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	const first, second = "the first secret 5d1f", "the second secret 8a02"
	w := broker.Webhook{Name: "shop", Topic: "/t", Client: "crm", Verify: broker.VerifyShopify, Secret: broker.TextsOf(first), AllowFrom: broker.TextsOf("192.0.2.0/24")}
	if done := r.change(broker.Change{Expect: []broker.Expect{{Ref: webhookRef("shop")}}, Define: broker.Definition{Webhooks: []broker.Webhook{w}}}); len(done.Webhooks) != 1 || done.Webhooks[0].Action != broker.Create {
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
	if done := r.change(broker.Change{Expect: []broker.Expect{{Ref: webhookRef("shop"), Revision: before.Revision}}, Define: broker.Definition{Webhooks: []broker.Webhook{edited}}}); done.Webhooks[0].Action != broker.Update {
		t.Errorf("%+v", done)
	}
	if hook, ok := r.Hook("shop"); !ok || hook.Secret != broker.TextsOf(first) || hook.IDHeader != "X-Id" {
		t.Errorf("%+v", hook)
	}
	if info().Revision == before.Revision {
		t.Error("the revision is that of before")
	}
	if done := r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{edited}}}); done.Webhooks[0].Action != broker.Keep {
		t.Errorf("%+v", done)
	}
	if _, err := r.Change(ctx, broker.Change{Expect: []broker.Expect{{Ref: webhookRef("shop"), Revision: before.Revision}}}); broker.CodeOf(err) != broker.Conflict {
		t.Error(err)
	}

	edited.Secret, edited.Inactive = broker.TextsOf(second), true
	r.change(broker.Change{Define: broker.Definition{Webhooks: []broker.Webhook{edited}}})
	if _, ok := r.Hook("shop"); ok {
		t.Error("an inactive webhook can be called")
	}
	edited.Verify, edited.Secret = broker.VerifyNone, broker.Texts{}
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

	r.change(broker.Change{Delete: []broker.Ref{webhookRef("shop")}})
	r.restart()
	if all := r.Webhooks(); len(all) != 0 {
		t.Errorf("%+v", all)
	}
	if _, err := r.Change(ctx, broker.Change{Delete: []broker.Ref{webhookRef("shop")}}); broker.CodeOf(err) != broker.NotFound || err.Error() != `No webhook "shop"` {
		t.Error(err)
	}
}

// TestWebhooksGo: a webhook goes with its client, and with its topic.
func TestWebhooksGo(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	r.define(topicDef("/u"))
	hook := func(name, topic, client string) broker.Webhook {
		return broker.Webhook{Name: name, Topic: topic, Client: client, Verify: broker.VerifyToken, Secret: broker.TextsOf("secret")}
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
	done := r.change(broker.Change{Delete: []broker.Ref{topicRef("/t")}})
	if len(done.Deleted) != 3 { // its producer, too
		t.Errorf("%+v", done.Deleted)
	}
	want("b c d")
	r.change(broker.Change{Delete: []broker.Ref{clientRef("erp"), webhookRef("b")}})
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
