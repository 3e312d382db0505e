package object

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/property"
)

// How objects are written and read as JSON. What can be set is written by the table of the broker, what is beside it by
// the struct. A list has up to a thousand objects: each is appended to the same text, without an encoder of its own,
// whose result would be gone through once more.

// codec writes and reads objects of a type T, whose settings are a D.
type codec[T, D any] struct {
	fields   property.Fields[D]
	settings func(*T) *D
	members  []objectMember // in the order of T
}

// objectMember is a field of T: one that is read alone, or, where it has no name, all settings.
type objectMember struct {
	name      string
	index     int
	omitEmpty bool
}

var (
	clientJSON   = codecOf(broker.ClientFields, func(c *Client) *broker.Client { return &c.Client })
	topicJSON    = codecOf(broker.TopicFields, func(t *Topic) *broker.Topic { return &t.Topic })
	producerJSON = codecOf(broker.ProducerFields, func(p *Producer) *broker.Producer { return &p.Producer })
	consumerJSON = codecOf(broker.ConsumerFields, func(c *Consumer) *broker.Consumer { return &c.Consumer })
	webhookJSON  = codecOf(broker.WebhookFields, func(w *Webhook) *broker.Webhook { return &w.Webhook })

	clientDefinitionJSON   = codecOf(broker.ClientFields, func(d *ClientDefinition) *broker.Client { return &d.Client })
	topicDefinitionJSON    = codecOf(broker.TopicFields, func(d *TopicDefinition) *broker.Topic { return &d.Topic })
	producerDefinitionJSON = codecOf(broker.ProducerFields, func(d *ProducerDefinition) *broker.Producer { return &d.Producer })
	consumerDefinitionJSON = codecOf(broker.ConsumerFields, func(d *ConsumerDefinition) *broker.Consumer { return &d.Consumer })
	webhookDefinitionJSON  = codecOf(broker.WebhookFields, func(d *WebhookDefinition) *broker.Webhook { return &d.Webhook })
)

func (c *Client) AppendJSON(b []byte) ([]byte, error)   { return clientJSON.append(b, c) }
func (t *Topic) AppendJSON(b []byte) ([]byte, error)    { return topicJSON.append(b, t) }
func (p *Producer) AppendJSON(b []byte) ([]byte, error) { return producerJSON.append(b, p) }
func (c *Consumer) AppendJSON(b []byte) ([]byte, error) { return consumerJSON.append(b, c) }
func (w *Webhook) AppendJSON(b []byte) ([]byte, error)  { return webhookJSON.append(b, w) }

func (c Client) MarshalJSON() ([]byte, error)   { return clientJSON.append(nil, &c) }
func (t Topic) MarshalJSON() ([]byte, error)    { return topicJSON.append(nil, &t) }
func (p Producer) MarshalJSON() ([]byte, error) { return producerJSON.append(nil, &p) }
func (c Consumer) MarshalJSON() ([]byte, error) { return consumerJSON.append(nil, &c) }
func (w Webhook) MarshalJSON() ([]byte, error)  { return webhookJSON.append(nil, &w) }

func (c *Client) UnmarshalJSON(b []byte) error   { return clientJSON.read(b, c) }
func (t *Topic) UnmarshalJSON(b []byte) error    { return topicJSON.read(b, t) }
func (p *Producer) UnmarshalJSON(b []byte) error { return producerJSON.read(b, p) }
func (c *Consumer) UnmarshalJSON(b []byte) error { return consumerJSON.read(b, c) }
func (w *Webhook) UnmarshalJSON(b []byte) error  { return webhookJSON.read(b, w) }

func (d ClientDefinition) MarshalJSON() ([]byte, error) { return clientDefinitionJSON.append(nil, &d) }
func (d TopicDefinition) MarshalJSON() ([]byte, error)  { return topicDefinitionJSON.append(nil, &d) }
func (d ProducerDefinition) MarshalJSON() ([]byte, error) {
	return producerDefinitionJSON.append(nil, &d)
}
func (d ConsumerDefinition) MarshalJSON() ([]byte, error) {
	return consumerDefinitionJSON.append(nil, &d)
}

func (d WebhookDefinition) MarshalJSON() ([]byte, error) {
	return webhookDefinitionJSON.append(nil, &d)
}

func codecOf[T, D any](fields property.Fields[D], settings func(*T) *D) *codec[T, D] {
	c := &codec[T, D]{fields: fields, settings: settings}
	of := reflect.TypeFor[T]()
	for i := range of.NumField() {
		f := of.Field(i)
		m := objectMember{index: i}
		if !f.Anonymous {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			m.name, m.omitEmpty = name, options != ""
		}
		c.members = append(c.members, m)
	}
	return c
}

// append writes an object at the end of b.
func (c *codec[T, D]) append(b []byte, v *T) (_ []byte, err error) {
	b = append(b, '{')
	of := reflect.ValueOf(v).Elem()
	for _, m := range c.members {
		if m.name == "" {
			if b, err = appendSettings(b, c.fields, c.settings(v)); err != nil {
				return nil, err
			}
			continue
		}
		f := of.Field(m.index)
		if m.omitEmpty && f.IsZero() {
			continue
		}
		b = appendName(b, m.name)
		if b, err = appendMember(b, f.Addr().Interface()); err != nil {
			return nil, err
		}
		b = append(b, ',')
	}
	b[len(b)-1] = '}' // in place of a comma: no object is empty
	return b, nil
}

// appendSettings writes what can be set. A text or list is left out where it is empty and a secret, or for good and not
// required. What only a creation says is never there.
func appendSettings[D any](b []byte, fields property.Fields[D], d *D) (_ []byte, err error) {
	for i := range fields {
		f := &fields[i]
		v := f.Value(d)
		if f.Once || f.IsEmpty(d) && isLeftOut(f) {
			continue
		}
		b = appendName(b, f.Name)
		switch v := v.(type) {
		case bool:
			b = strconv.AppendBool(b, v)
		case int64:
			b = strconv.AppendInt(b, v, 10)
		case time.Duration:
			b = append(append(append(b, '"'), v.String()...), '"')
		case string:
			if b, err = appendText(b, v); err != nil {
				return nil, err
			}
		case property.Size:
			b = strconv.AppendInt(b, int64(v), 10)
		default:
			text, err := gate.Marshal(v)
			if err != nil {
				return nil, err
			}
			b = append(b, text...)
		}
		b = append(b, ',')
	}
	return b, nil
}

// appendMember writes what a pointer to a field points to.
func appendMember(b []byte, field any) ([]byte, error) {
	switch v := field.(type) {
	case *int:
		return strconv.AppendInt(b, int64(*v), 10), nil
	case *int64:
		return strconv.AppendInt(b, *v, 10), nil
	case *uint32:
		return strconv.AppendUint(b, uint64(*v), 10), nil
	case *uint64:
		return strconv.AppendUint(b, *v, 10), nil
	case *string:
		return appendText(b, *v)
	case *gate.Time:
		return v.AppendJSON(b), nil
	}
	text, err := gate.Marshal(field)
	return append(b, text...), err
}

func appendName(b []byte, name string) []byte {
	return append(append(append(b, '"'), name...), `":`...)
}

// appendText writes a text. Few need an encoder.
func appendText(b []byte, s string) ([]byte, error) {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(b, '"'), s...), '"'), nil
	}
	text, err := gate.Marshal(s)
	return append(b, text...), err
}

// isLeftOut tells whether a text or list is left out where it is empty.
func isLeftOut[D any](f *property.Field[D]) bool { return f.Secret || f.Fixed && !f.Required }

// read is the opposite of append.
func (c *codec[T, D]) read(b []byte, v *T) error {
	var in map[string]json.RawMessage
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	of := reflect.ValueOf(v).Elem()
	for _, m := range c.members {
		if text, given := in[m.name]; given {
			if err := json.Unmarshal(text, of.Field(m.index).Addr().Interface()); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	for i := range c.fields {
		f := &c.fields[i]
		text, given := in[f.Name]
		if !given {
			continue
		}
		value, err := Parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if _, allowed := setField(value, f, c.settings(v)); allowed != "" {
			return fmt.Errorf("%s: allowed is %s", f.Name, allowed)
		}
	}
	return nil
}
