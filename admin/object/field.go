package object

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/clip"
)

// What can be set of a client, a topic, a producer and a consumer stands in the tables of the broker. This file walks
// them for what the API answers and reads, and for what an edit changes.

// ClientDefinition, TopicDefinition, ProducerDefinition and ConsumerDefinition are what documents of definitions hold.
type (
	ClientDefinition   struct{ broker.Client }
	TopicDefinition    struct{ broker.Topic }
	ProducerDefinition struct{ broker.Producer }
	ConsumerDefinition struct{ broker.Consumer }
)

// The rest of an object is what is beside its fields.
type (
	clientRest   Client
	topicRest    Topic
	producerRest Producer
	consumerRest Consumer
)

func (d ClientDefinition) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ClientFields, &d.Client, nil)
}

func (d *ClientDefinition) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ClientFields, &d.Client, nil)
}

func (d *ClientDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ClientFields, &d.Client, false)
}

func (c Client) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ClientFields, &c.Client, (*clientRest)(&c))
}

func (c *Client) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ClientFields, &c.Client, (*clientRest)(c))
}

func (c *Client) settings() map[string]bodyField {
	return settingsOf(broker.ClientFields, &c.Client, true)
}

func (d TopicDefinition) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.TopicFields, &d.Topic, nil)
}

func (d *TopicDefinition) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.TopicFields, &d.Topic, nil)
}

func (d *TopicDefinition) settings() map[string]bodyField {
	return settingsOf(broker.TopicFields, &d.Topic, false)
}

func (t Topic) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.TopicFields, &t.Topic, (*topicRest)(&t))
}

func (t *Topic) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.TopicFields, &t.Topic, (*topicRest)(t))
}

func (t *Topic) settings() map[string]bodyField {
	return settingsOf(broker.TopicFields, &t.Topic, true)
}

func (d ProducerDefinition) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ProducerFields, &d.Producer, nil)
}

func (d *ProducerDefinition) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ProducerFields, &d.Producer, nil)
}

func (d *ProducerDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ProducerFields, &d.Producer, false)
}

func (p Producer) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ProducerFields, &p.Producer, (*producerRest)(&p))
}

func (p *Producer) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ProducerFields, &p.Producer, (*producerRest)(p))
}

func (p *Producer) settings() map[string]bodyField {
	return settingsOf(broker.ProducerFields, &p.Producer, true)
}

func (d ConsumerDefinition) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ConsumerFields, &d.Consumer, nil)
}

func (d *ConsumerDefinition) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ConsumerFields, &d.Consumer, nil)
}

func (d *ConsumerDefinition) settings() map[string]bodyField {
	return settingsOf(broker.ConsumerFields, &d.Consumer, false)
}

func (c Consumer) MarshalJSON() ([]byte, error) {
	return marshalFields(broker.ConsumerFields, &c.Consumer, (*consumerRest)(&c))
}

func (c *Consumer) UnmarshalJSON(b []byte) error {
	return unmarshalFields(b, broker.ConsumerFields, &c.Consumer, (*consumerRest)(c))
}

func (c *Consumer) settings() map[string]bodyField {
	return settingsOf(broker.ConsumerFields, &c.Consumer, true)
}

// marshalFields writes the fields of a definition between the ID and the rest of an object. A text is left out where
// it is empty and a secret, or for good and not required. What only a creation says is never there.
func marshalFields[D any](fields broker.Fields[D], d *D, rest any) ([]byte, error) {
	b, behind := append(make([]byte, 0, 512), '{'), []byte(nil)
	if rest != nil {
		text, err := gate.Marshal(rest)
		if err != nil {
			return nil, err
		}
		behind = text[1 : len(text)-1]
		if bytes.HasPrefix(behind, []byte(`"id":`)) {
			id, after, _ := bytes.Cut(behind, []byte{','})
			b, behind = append(append(b, id...), ','), after
		}
	}
	for i := range fields {
		f := &fields[i]
		v := f.Value(d)
		if f.Once || v == "" && isLeftOut(f) {
			continue
		}
		b = append(append(append(b, '"'), f.Name...), `":`...)
		switch v := v.(type) {
		case bool:
			b = strconv.AppendBool(b, v)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case time.Duration:
			b = append(append(append(b, '"'), v.String()...), '"')
		case string:
			var err error
			if b, err = appendText(b, v); err != nil {
				return nil, err
			}
		}
		b = append(b, ',')
	}
	b = bytes.TrimSuffix(append(b, behind...), []byte{','})
	return append(b, '}'), nil
}

// appendText writes a text. Few need an encoder, and one for each would take a quarter of the time of a list.
func appendText(b []byte, s string) ([]byte, error) {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(b, '"'), s...), '"'), nil
	}
	text, err := gate.Marshal(s)
	return append(b, text...), err
}

// isLeftOut tells whether a text is left out where it is empty.
func isLeftOut[D any](f *broker.Field[D]) bool { return f.Secret || f.Fixed && !f.Required }

// spelled is the value of a field as the API spells it.
func spelled(v any) any {
	if d, ok := v.(time.Duration); ok {
		return gate.Duration(d)
	}
	return v
}

// unmarshalFields is the opposite of marshalFields.
func unmarshalFields[D any](b []byte, fields broker.Fields[D], d *D, rest any) error {
	if rest != nil {
		if err := json.Unmarshal(b, rest); err != nil {
			return err
		}
	}
	in, err := Parse(b)
	if err != nil {
		return err
	}
	for i := range fields {
		f := &fields[i]
		if v, given := in.Member(f.Name); given {
			if allowed := setField(v, f, d); allowed != "" {
				return gate.FieldErrors{v.Fail(allowed)}
			}
		}
	}
	return nil
}

// setField sets a field to what a body says, or says what is allowed. Bounds are the broker's to check.
func setField[D any](in Node, f *broker.Field[D], d *D) (allowed string) {
	switch f.Value(d).(type) {
	case string:
		s, ok := in.Value.(string)
		if !ok {
			return "a text"
		}
		f.Set(d, s)
	case bool:
		on, ok := in.Value.(bool)
		if !ok {
			return "true or false"
		}
		f.Set(d, on)
	case int64:
		number, ok := in.Value.(json.Number)
		n, err := strconv.ParseInt(number.String(), 10, 64)
		if !ok || err != nil {
			return "a whole number"
		}
		f.Set(d, n)
	case time.Duration:
		s, ok := in.Value.(string)
		v, err := time.ParseDuration(s)
		if !ok || err != nil {
			return `a duration such as "30s" or "1h30m"`
		}
		f.Set(d, v)
	}
	return ""
}

// settable is an object with fields of a table, which a body sets.
type settable interface{ settings() map[string]bodyField }

// settingsOf returns the fields of a definition; with those that only a creation says, or without.
func settingsOf[D any](fields broker.Fields[D], d *D, once bool) map[string]bodyField {
	all, byDefault := map[string]bodyField{}, fields.New()
	for i := range fields {
		f := &fields[i]
		if f.Once && !once {
			continue
		}
		all[f.Name] = bodyField{
			set:   func(in Node) string { return setField(in, f, d) },
			reset: func() { f.Set(d, f.Value(&byDefault)) },
		}
	}
	return all
}

// differences returns the fields of a definition that differ. A password and its hash are one.
func differences[D any](fields broker.Fields[D], from, to *D) FieldChanges {
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
func fixed[D any](fields broker.Fields[D], from, to *D) error {
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
