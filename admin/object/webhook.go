package object

import (
	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/change"
)

// Webhooks describes webhooks. An edit that gives no secret leaves it as it is; no answer has it.
func (o *Objects) Webhooks() *Noun[Webhook] {
	return marking(&Noun[Webhook]{
		o: o, Kind: change.Webhook, Path: "/webhooks", Param: "name", Filters: []string{"topic", "client"},
		Parts:    WebhookParts,
		Initial:  NewWebhook,
		List:     o.listWebhooks,
		find:     byName(func(name string) (broker.WebhookInfo, bool) { return o.b.Webhook(name) }, webhookOf),
		ref:      func(w *Webhook) change.Ref { return change.Ref{Kind: change.Webhook, Name: w.Name} },
		Name:     func(w *Webhook) string { return w.Name },
		Revision: func(w *Webhook) string { return w.Revision },
		Goes:     func(*Webhook) Deleted { return Deleted{} },
		define:   func(d *broker.Definition, w *Webhook) { d.Webhooks = append(d.Webhooks, w.Webhook) },
		fixed:    func(before, w *Webhook) error { return fixed(broker.WebhookFields, &before.Webhook, &w.Webhook) },
		diff: func(before, w *Webhook) FieldChanges {
			return differences(broker.WebhookFields, &before.Webhook, &w.Webhook)
		},
		Warnings: func(w *Webhook) *[]string { return &w.Warnings },
	}, func(v *Webhook) *bool { return &v.Declared })
}

// Refused is how many calls were refused, for any reason.
func (w *Webhook) Refused() uint64 {
	return w.RefusedSignature + w.RefusedAddress + w.RefusedFull + w.RefusedOther
}

// WebhookSorts are what lists of webhooks can be sorted by.
var WebhookSorts = gate.Sorts[broker.WebhookInfo]{
	{Key: "name", At: func(w *broker.WebhookInfo) gate.Place { return gate.Place{S: w.Name} }},
	{Key: "topic", At: func(w *broker.WebhookInfo) gate.Place { return gate.Place{S: gate.Key(w.Topic, w.Name)} }},
	{Key: "client", At: func(w *broker.WebhookInfo) gate.Place { return gate.Place{S: gate.Key(w.Client, w.Name)} }},
	{Key: "last_call", At: func(w *broker.WebhookInfo) gate.Place { return gate.Place{N: gate.Micros(w.LastCall), S: w.Name} }},
}

// webhookParts are those that lists of webhooks can be asked for.
var webhookParts = []gate.Part[broker.WebhookInfo]{
	{Key: "inactive", Label: "Inactive", Has: func(w *broker.WebhookInfo) bool { return w.Inactive }},
}

func (o *Objects) listWebhooks(q gate.Query) (gate.List[Webhook], error) {
	found := gate.Contains(q.Search)
	matches := func(w *broker.WebhookInfo) bool {
		return q.Owns(w.Topic, w.Client) && found(w.Name, w.Topic, w.Client)
	}
	return gate.PageOf(q, o.b.Webhooks(), WebhookSorts, matches, webhookOf, webhookParts...)
}

// webhooksOf is how many webhooks match.
func (o *Objects) webhooksOf(matches func(*broker.WebhookInfo) bool) (n int) {
	all := o.b.Webhooks()
	for i := range all {
		if matches(&all[i]) {
			n++
		}
	}
	return n
}

func webhookOf(i *broker.WebhookInfo) Webhook {
	return Webhook{
		Webhook:          i.Webhook,
		Revision:         i.Revision,
		Accepted:         i.Accepted,
		Duplicates:       i.Duplicates,
		RefusedSignature: i.Signature,
		RefusedAddress:   i.Address,
		RefusedFull:      i.Full,
		RefusedOther:     i.Other,
		LastCall:         gate.TimeOf(i.LastCall),
	}
}
