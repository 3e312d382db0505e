package object

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/property"
)

// What can be set of a client, a topic, a producer, a consumer and a webhook stands in the tables of the broker. This file walks
// them for what a body sets, and for what an edit changes; json.go for what the API answers.

// ClientDefinition, TopicDefinition, ProducerDefinition, ConsumerDefinition and WebhookDefinition are what documents of definitions hold.
type (
	ClientDefinition   struct{ broker.Client }
	TopicDefinition    struct{ broker.Topic }
	ProducerDefinition struct{ broker.Producer }
	ConsumerDefinition struct{ broker.Consumer }
	WebhookDefinition  struct{ broker.Webhook }
)

func (d *ClientDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ClientFields, &d.Client, false)
}

func (c *Client) settings() map[string]bodyField {
	return settingsOf(broker.ClientFields, &c.Client, true)
}

func (d *TopicDefinition) settings() map[string]bodyField {
	return settingsOf(broker.TopicFields, &d.Topic, false)
}

func (t *Topic) settings() map[string]bodyField {
	return settingsOf(broker.TopicFields, &t.Topic, true)
}

func (d *ProducerDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ProducerFields, &d.Producer, false)
}

func (p *Producer) settings() map[string]bodyField {
	return settingsOf(broker.ProducerFields, &p.Producer, true)
}

func (d *ConsumerDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ConsumerFields, &d.Consumer, false)
}

func (c *Consumer) settings() map[string]bodyField {
	return settingsOf(broker.ConsumerFields, &c.Consumer, true)
}

func (d *WebhookDefinition) settings() map[string]bodyField {
	return settingsOf(broker.WebhookFields, &d.Webhook, false)
}

func (w *Webhook) settings() map[string]bodyField {
	return settingsOf(broker.WebhookFields, &w.Webhook, true)
}

// spelled is the value of a field as the API spells it.
func spelled(v any) any {
	if d, ok := v.(time.Duration); ok {
		return gate.Duration(d)
	}
	return v
}

// setField sets a field to what a body says, or says what is allowed and where it is not. Bounds are the broker's to check.
func setField[D any](in Node, f *property.Field[D], d *D) (at Node, allowed string) {
	v, at, allowed := valueOf(in, f.Value(d))
	at.secret = f.Secret
	if allowed == "" {
		f.Set(d, v)
	}
	return at, allowed
}

// valueOf returns what a body says as a value of the kind that another is of, or says what is allowed and where it is not:
// in, or an item of it.
func valueOf(in Node, like any) (v any, at Node, allowed string) {
	switch like.(type) {
	case string:
		v, ok := in.Value.(string)
		return v, in, unless(ok, "a text")
	case bool:
		v, ok := in.Value.(bool)
		return v, in, unless(ok, "true or false")
	case int64:
		n, ok := in.number64()
		return n, in, unless(ok, "a whole number")
	case property.Size:
		n, ok := in.number64()
		return property.Size(n), in, unless(ok, "a whole number of bytes")
	case time.Duration:
		s, ok := in.Value.(string)
		v, is := property.ParseDuration(s)
		return v, in, unless(ok && is, `a duration such as "30s", "1h30m" or "7d"`)
	case property.Durations:
		list, at, allowed := listOf(in, time.Duration(0), "a list of durations")
		return property.DurationsOf(list...), at, allowed
	case property.Texts:
		list, at, allowed := listOf(in, "", "a list of texts")
		return property.TextsOf(list...), at, allowed
	case property.Table:
		members, ok := in.Value.([]member)
		values := make(map[string]string, len(members))
		for _, m := range members {
			text, isText := m.Value.(string)
			if !isText {
				return nil, m.Node, "a text"
			}
			values[m.name] = text
		}
		return property.TableOf(values), in, unless(ok, "an object of texts")
	}
	panic(fmt.Sprintf("no way to read a %T", like))
}

// listOf returns the items of a list, which are of the kind that another is of.
func listOf[E any](in Node, like E, allowed string) (list []E, at Node, _ string) {
	items, ok := in.Value.([]Node)
	if !ok {
		return nil, in, allowed
	}
	for _, item := range items {
		v, at, allowed := valueOf(item, like)
		if allowed != "" {
			return nil, at, allowed
		}
		list = append(list, v.(E))
	}
	return list, in, ""
}

func unless(ok bool, allowed string) string {
	if ok {
		return ""
	}
	return allowed
}

// number64 returns the value as a whole number. It is false where it is none.
func (n Node) number64() (int64, bool) {
	number, ok := n.Value.(json.Number)
	v, err := strconv.ParseInt(number.String(), 10, 64)
	return v, ok && err == nil
}

// settable is an object with fields of a table, which a body sets.
type settable interface{ settings() map[string]bodyField }

// settingsOf returns the fields of a definition; with those that only a creation says, or without.
func settingsOf[D any](fields property.Fields[D], d *D, once bool) map[string]bodyField {
	all, byDefault := map[string]bodyField{}, fields.New()
	for i := range fields {
		f := &fields[i]
		if f.Once && !once {
			continue
		}
		all[f.Name] = bodyField{
			set:   func(in Node) (Node, string) { return setField(in, f, d) },
			reset: func() { f.Set(d, f.Value(&byDefault)) },
		}
	}
	return all
}

// differences returns the fields of a definition that differ. A password and its hash are one.
func differences[D any](fields property.Fields[D], from, to *D) FieldChanges {
	var list FieldChanges
	for i := range fields {
		f := &fields[i]
		v, w := spelled(f.Value(from)), spelled(f.Value(to))
		switch {
		case f.Once || v == w:
		case !f.Secret:
			list = append(list, FieldChange{f.Name, v, w})
		case f.Name != "password_hash":
			list = append(list, FieldChange{Field: f.Name})
		case len(list) == 0 || list[len(list)-1].Field != "password":
			list = append(list, FieldChange{Field: "password"})
		}
	}
	return list
}

// fixed refuses an edit of what is for good.
func fixed[D any](fields property.Fields[D], from, to *D) error {
	quoted := func(v any) string { return strconv.Quote(clip.Input(fmt.Sprint(v))) }
	for i := range fields {
		f := &fields[i]
		v, w := f.Value(from), f.Value(to)
		switch {
		case !f.Fixed || v == w:
		case f.Secret:
			return gate.Invalid(f.Name, "%s: it cannot be set, but rotated", f.Name)
		case f.Once:
			return gate.Invalid(f.Name, "%s %s: it is for new ones alone", f.Name, quoted(w))
		default:
			return gate.Invalid(f.Name, "%s %s: it is %s for good", f.Name, quoted(w), quoted(v))
		}
	}
	return nil
}
