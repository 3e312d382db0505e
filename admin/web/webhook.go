package web

import (
	"net/http"
	"net/url"
	"slices"

	"pipit/admin/object"
	"pipit/broker"
)

// webhookPages are the pages of webhooks.
type webhookPages struct{ *Site }

// pages describes what they have in common with those of other nouns.
func (wp webhookPages) pages() *pages[object.Webhook] {
	return &pages[object.Webhook]{
		Noun: wp.Objects.Webhooks(),
		site: wp.Site,
		orders: []order{
			{Key: "name", Label: "Webhook"},
			{Key: "topic", Label: "Topic"},
			{Key: "client", Label: "Client"},
			{Label: "State"},
			{Label: "Accepted", Number: true},
			{Label: "Refused", Number: true},
			{Key: "last_call", Label: "Last call", Down: true},
		},
		inactive: func(w *object.Webhook) *bool { return &w.Inactive },
		example:  `{"name": "shop", "topic": "/order/paid", "client": "crm", "verify": "shopify", "secret": ["SECRET"]}`,
		lead:     "A webhook lets a sender that knows no topics, such as a shop or a code host, publish to one: it calls /hook/NAME, and each call is verified.",
		newFields: func(proposed url.Values) []field {
			w := object.NewWebhook()
			w.Name = proposed.Get("name")
			fields := wp.proposePair(webhookFields(&w, true), proposed)
			for i := range fields {
				fields[i].Focus = fields[i].Name == "name"
			}
			return fields
		},
		editFields: func(w *object.Webhook) []field {
			return wp.proposePair(webhookFields(w, false), url.Values{"client": {w.Client}, "topic": {w.Topic}})
		},
		exists: wp.checkPair,
		read:   func(f *form, w *object.Webhook) error { return readSettings(f, broker.WebhookFields, &w.Webhook) },
		show:   wp.pageWebhook,
		deletes: func(w *object.Webhook) deletion {
			return deletion{
				lead: "Calls of the webhook " + w.Name + " are answered with 404 from then on. What it has published stays.",
				to:   "/admin/webhooks", called: w.Name,
			}
		},
	}
}

// webhookFields are the fields of a form, the secret beside what it is for.
func webhookFields(w *object.Webhook, isNew bool) []field {
	fields := settingFields(broker.WebhookFields, &w.Webhook, isNew)
	from := slices.IndexFunc(fields, func(x field) bool { return x.Name == "secret" })
	secret := fields[from]
	fields = slices.Delete(fields, from, from+1)
	return slices.Insert(fields, 1+slices.IndexFunc(fields, func(x field) bool { return x.Name == "verify" }), secret)
}

type webhookPage struct {
	object.Webhook
	Back     link
	URL      string // for the sender
	Settings []setting
}

func (wp webhookPages) pageWebhook(w http.ResponseWriter, r *http.Request, v *object.Webhook) error {
	list := settings(broker.WebhookFields, &v.Webhook, wp.isPattern)
	for i := range list {
		if s := &list[i]; s.Name == "allow_from" && s.Text == "" {
			s.Text = "everywhere"
		}
	}
	return wp.render(w, r, "webhook", http.StatusOK, view{
		Title: "Webhook " + v.Name, Nav: "webhooks",
		Data: webhookPage{*v, link{"/admin/webhooks", "Webhooks"}, wp.bases(r).Wire + "/hook/" + v.Name, list},
	})
}
