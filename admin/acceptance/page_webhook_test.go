package acceptance

import (
	"net/http"
	"testing"

	"pipit/broker"
	"pipit/broker/property"
)

// TestWebhookPages: a webhook is made and changed by its forms, of which none has its secret, and none that is left empty takes
// it away; its page counts its calls.
func TestWebhookPages(t *testing.T) {
	d := newDesk(t)
	if _, err := d.b.Change(t.Context(), broker.Change{Define: broker.Definition{
		Clients:   []broker.Client{{Username: "crm", Password: "a password of crm"}},
		Topics:    []broker.Topic{{Name: "/paid"}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/paid"}},
	}}); err != nil {
		t.Fatal(err)
	}
	d.contains(d.get("/admin/webhooks"), "No webhooks yet")
	const secret, second = "the first secret 5d1f", "the second secret 8a02"
	given := []string{"name", "shop", "topic", "/paid", "client", "crm", "verify", "token", "secret", secret, "is_active", "true", "headers", "X-Kind\r\n\r\n X-Shop ", "header", "X-Token"}
	page := d.refused(http.StatusUnprocessableEntity, "allow_from[1]", "/admin/webhooks", append(given, "allow_from", "127.0.0.0/8\r\n10.0.0")...)
	d.contains(page, "127.0.0.0/8\r\n10.0.0")
	d.lacks(page, secret)
	d.refused(http.StatusUnprocessableEntity, "There is no topic of that name", "/admin/webhooks", append(given[:2:2], "topic", "/none", "client", "crm", "verify", "token", "secret", secret)...)
	page = d.done("/admin/webhooks", given...)
	d.contains(page, "The webhook was created", "/hook/shop</code>", "X-Kind\nX-Shop", "everywhere", "a secret in a header")
	d.lacks(page, secret)

	for _, token := range []string{secret, "wrong", "wrong"} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.url+"/hook/shop", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Token", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	d.contains(d.get("/admin/webhooks/shop"), "<dt>Accepted</dt><dd>1<", "<dt>Not verified</dt><dd>2<")
	d.contains(d.get("/admin/webhooks"), `href="/admin/webhooks/shop"`, `<td class="num">1</td><td class="num">2</td>`)

	edit := d.get("/admin/webhooks/shop/edit")
	d.contains(edit, "X-Kind\nX-Shop</textarea>", "Empty: it stays as it is")
	d.lacks(edit, secret)
	changed := []string{"topic", "/paid", "client", "crm", "verify", "token", "header", "X-Token", "algorithm", "sha256", "encoding", "hex", "is_active", "true", "allow_from", "192.0.2.0/24", "headers", "", "secret", ""}
	d.contains(d.done("/admin/webhooks/shop/edit", changed...), "The webhook was saved", "192.0.2.0/24")
	if hook, _ := d.b.Hook("shop"); hook.Secret != property.TextsOf(secret) || !hook.Headers.IsZero() {
		t.Errorf("%+v", *hook.Webhook)
	}
	d.lacks(d.done("/admin/webhooks/shop/edit", append(changed[:len(changed)-1:len(changed)-1], second+"\r\n"+secret)...), secret, second)
	if hook, _ := d.b.Hook("shop"); hook.Secret != property.TextsOf(second, secret) {
		t.Errorf("%q", hook.Secret)
	}
	// It goes where nothing is verified by it any more.
	d.done("/admin/webhooks/shop/edit", "topic", "/paid", "client", "crm", "verify", "none", "is_active", "true", "allow_from", "192.0.2.0/24")
	if hook, _ := d.b.Hook("shop"); !hook.Secret.IsZero() || hook.Verify != broker.VerifyNone {
		t.Errorf("%+v", *hook.Webhook)
	}
	d.contains(d.get("/admin/topics/%2Fpaid/delete"), "1 webhook")
	d.contains(d.done("/admin/webhooks/shop/delete"), "The webhook shop was deleted", "No webhooks yet")
}
