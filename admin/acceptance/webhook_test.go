package acceptance

import (
	"encoding/json"
	"strings"
	"testing"

	"pipit/admin/audit"
	"pipit/admin/object"
	"pipit/broker/property"
)

// TestWebhooks: a webhook is made, edited and deleted by the API as any object is. Its secret is taken and never told, but for
// an export; the audit log says what was done to it, and not to which.
func TestWebhooks(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	const secret, second = "the first secret 5d1f", "the second secret 8a02"
	body := jsonObject{"name": "shop", "topic": "/customer/created", "client": "crm", "verify": "shopify", "secret": []string{secret}, "headers": []string{"X-Shopify-Topic"}}
	made := r.ok(201, "POST", "/webhooks", body)
	if made.Header.Get("Location") != "/admin/api/v1/webhooks/shop" || strings.Contains(string(made.body), secret) {
		t.Errorf("%s %s", made.Header, made.body)
	}
	r.refused(409, "exists", "POST", "/webhooks", body)
	a := r.ok(200, "PATCH", "/webhooks/shop", jsonObject{"id_header": "X-Id", "allow_from": []string{"192.0.2.0/24"}})
	var w object.Webhook
	a.into(t, &w)
	if w.IDHeader != "X-Id" || w.AllowFrom != property.TextsOf("192.0.2.0/24") || w.Headers != property.TextsOf("X-Shopify-Topic") || !w.Secret.IsZero() {
		t.Errorf("%+v", w)
	}
	if hook, _ := r.b.Hook("shop"); hook.Secret != property.TextsOf(secret) {
		t.Errorf("the secret is %q after an edit of others", hook.Secret)
	}
	r.ok(200, "PATCH", "/webhooks/shop", jsonObject{"secret": []string{second, secret}, "topic": "/customer/created"})
	if hook, _ := r.b.Hook("shop"); hook.Secret != property.TextsOf(second, secret) {
		t.Errorf("the secret is %q", hook.Secret)
	}
	weak := r.ok(200, "PATCH", "/webhooks/shop", jsonObject{"secret": []string{"short"}})
	if weak.into(t, &w); len(w.Warnings) != 1 || w.Warnings[0] != `the secret of webhook "shop" is weak: it is shorter than 16 characters` {
		t.Errorf("%q", w.Warnings)
	}
	r.ok(200, "PATCH", "/webhooks/shop", jsonObject{"secret": []string{second}})

	for wrong, want := range map[string]string{
		`{"name": "other"}`:                        `name "other": it is "shop" for good`,
		`{"verify": "paypal"}`:                     `verify "paypal" of webhook "shop": allowed are github, `,
		`{"secret": "` + secret + `"}`:             `secret that is not shown: allowed is a list of texts`,
		`{"secret": ["` + secret + `", 7]}`:        `secret/1 that is not shown: allowed is a text`,
		`{"secret": ["a", "b", "c"]}`:              `secret of webhook "shop": allowed are at most 2, got 3`,
		`{"headers": ["X-Ok", "X Bad"]}`:           `headers[1] "X Bad" of webhook "shop": allowed are at most 64 of`,
		`{"verify": "none", "allow_from": []}`:     `without a signature it is needed`,
		`{"topic": "/none"}`:                       `topic "/none" of a webhook of client "crm": no such topic`,
		`{"allow_from": ["10.0.0.0/8", "10.0.0"]}`: `allow_from[1] "10.0.0" of webhook "shop": allowed are networks`,
	} {
		p := r.refused(422, "invalid", "PATCH", "/webhooks/shop", json.RawMessage(wrong))
		if got := p.Detail + " " + p.Errors[0].Detail; !strings.Contains(got, want) || strings.Contains(got, secret) {
			t.Errorf("%s: %s, want %s", wrong, got, want)
		}
	}

	export := r.ok(200, "GET", "/export", nil)
	var d struct{ Webhooks []struct{ Secret []string } }
	if export.into(t, &d); len(d.Webhooks) != 1 || len(d.Webhooks[0].Secret) != 1 || d.Webhooks[0].Secret[0] != second {
		t.Errorf("%s", export.body)
	}
	r.ok(200, "DELETE", "/webhooks/shop", nil)
	if done := r.imported("/import", export.body); done.Created != 1 {
		t.Errorf("%+v", done)
	}
	r.imported("/import", strings.Replace(string(export.body), second, secret, 1))
	secrets := string(r.ok(200, "GET", "/audit?kind="+audit.Secret, nil).body)
	if n := strings.Count(secrets, `"webhook.secret"`); n != 4 || !strings.Contains(secrets, `"1 by import"`) {
		t.Errorf("%d changes of the secret are among those of secrets: %s", n, secrets)
	}
	r.imported("/import", export.body)
	if again := r.ok(200, "GET", "/export", nil); string(again.body) != string(export.body) {
		t.Errorf("%s\nwanted %s", again.body, export.body)
	}
	deletion := r.ok(200, "GET", "/topics/%2Fcustomer%2Fcreated/deletion", nil)
	var goes object.Deleted
	if deletion.into(t, &goes); goes.Webhooks != 1 {
		t.Errorf("%+v", goes)
	}

	log := string(r.ok(200, "GET", "/audit", nil).body)
	for _, want := range []string{`"webhook.create"`, `"webhook.edit"`, `"webhook.delete"`, `id_header: \"\" → \"X-Id\", allow_from: [] → [\"192.0.2.0/24\"]`, `"secret"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the audit log does not have %s: %s", want, log)
		}
	}
	if strings.Contains(log, secret) || strings.Contains(log, second) || !strings.Contains(log, audit.Edit) {
		t.Error("the audit log tells a secret")
	}
}
