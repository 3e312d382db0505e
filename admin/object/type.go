package object

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
)

// The types of this file are the objects as the API spells them, and as the pages show them. What can
// be set of each is the broker's, under the names of its table (see field.go); what is beside it is read alone,
// which the tag api:"-" says.

// Client is somebody who may call the broker: the user of HTTP Basic authentication.
type Client struct {
	broker.Client `json:"-"`
	Revision      string    `json:"revision,omitempty" api:"-"` // it changes with the definition
	Producers     int       `json:"producers" api:"-"`          // how many topics the client may publish to
	Consumers     int       `json:"consumers" api:"-"`          // how many queues the client has
	LastSeen      gate.Time `json:"last_seen,omitzero" api:"-"` // when one of its producers or consumers was last here; absent: never

	Warnings []string `json:"warnings,omitempty" api:"-"` // what is weak about a password, in the answer to the request that set it alone

	Declared bool `json:"declared,omitempty" api:"-"` // the configuration file declares it, and the next start brings back what that says; absent: it does not
}

// Topic is what producers publish to, or a template of topics: see auto_create.
type Topic struct {
	broker.Topic `json:"-"`
	Revision     string    `json:"revision,omitempty" api:"-"`    // it changes with the definition
	Depth        int64     `json:"depth" api:"-"`                 // messages stored that somebody may still need, without the delayed ones
	Retained     int64     `json:"retained" api:"-"`              // messages that stay though nobody needs them, for retention and retention_bytes
	Bytes        int64     `json:"bytes,omitempty" api:"-"`       // what depth and retained count for retention_bytes; absent without it, where there are none, and after a start until it is known
	Delayed      int64     `json:"delayed" api:"-"`               // messages that wait for their delay
	Producers    int       `json:"producers" api:"-"`             // how many clients may publish
	Consumers    int       `json:"consumers" api:"-"`             // how many queues there are
	Template     string    `json:"template,omitempty" api:"-"`    // name of the template that made it; absent where none did
	Made         int       `json:"made,omitempty" api:"-"`        // of a template: topics it has made that exist; absent: none
	LastPublish  gate.Time `json:"last_publish,omitzero" api:"-"` // when a message was last published; absent: never, as far as is known
	Published    uint64    `json:"published" api:"-"`             // messages stored, counted over restarts like all counters of one topic
	Delivered    uint64    `json:"delivered" api:"-"`             // deliveries to consumers, also repeated ones
	Acked        uint64    `json:"acked" api:"-"`                 // acknowledgements, by each consumer
	// messages that expired before a consumer was done with them, for each such consumer
	Expired uint64 `json:"expired" api:"-"`

	Redelivered  uint64   `json:"redelivered" api:"-"`   // deliveries that were not the first of their message to the consumer
	DeadLettered Failures `json:"dead_lettered" api:"-"` // messages moved to dead-letter topics, for each consumer, by reason
	Dropped      Failures `json:"dropped" api:"-"`       // messages that failed and had no dead-letter topic, for each consumer, by reason

	Declared bool `json:"declared,omitempty" api:"-"` // the configuration file declares it, and the next start brings back what that says; absent: it does not
}

// Failures is how many messages a consumer was done with though it had not acknowledged them, by reason.
type Failures struct {
	MaxDeliveries uint64 `json:"max_deliveries"` // delivered as often as the consumer allows
	Rejected      uint64 `json:"rejected"`       // rejected for good
	Expired       uint64 `json:"expired"`        // expired before the consumer was done with them
	Overflow      uint64 `json:"overflow"`       // the oldest of a backlog that was full
}

// Producer is a client's permission to publish to a topic.
type Producer struct {
	ID              uint32 `json:"id,omitempty" api:"-"` // number for life
	broker.Producer `json:"-"`
	Revision        string    `json:"revision,omitempty" api:"-"` // it changes with the definition
	LastSeen        gate.Time `json:"last_seen,omitzero" api:"-"` // the last accepted publish; absent: never
	Published       uint64    `json:"published" api:"-"`          // messages stored

	Declared bool `json:"declared,omitempty" api:"-"` // the configuration file declares it, and the next start brings back what that says; absent: it does not
}

// Consumer is a client's queue of a topic's messages.
type Consumer struct {
	ID              uint32 `json:"id,omitempty" api:"-"` // number for life
	broker.Consumer `json:"-"`
	Revision        string    `json:"revision,omitempty" api:"-"` // it changes with the definition
	Backlog         int64     `json:"backlog" api:"-"`            // messages that wait or are in flight
	InFlight        int64     `json:"in_flight" api:"-"`          // of the backlog, delivered and neither acknowledged nor given back
	Deferred        int64     `json:"deferred" api:"-"`           // of the backlog, rejected with a delay that is not over
	Failed          int64     `json:"failed" api:"-"`             // of the backlog, failed for good: they wait for room in the dead-letter topic
	Waiting         int       `json:"waiting" api:"-"`            // long polls and streams that wait for a message right now
	Oldest          gate.Time `json:"oldest,omitzero" api:"-"`    // when the oldest message of the backlog was created; absent where there is none
	LastSeen        gate.Time `json:"last_seen,omitzero" api:"-"` // the last receive or acknowledgement; absent: never
	Delivered       uint64    `json:"delivered" api:"-"`          // deliveries to consumers, also repeated ones
	Acked           uint64    `json:"acked" api:"-"`              // acknowledgements, by each consumer
	// messages that expired before a consumer was done with them, for each such consumer
	Expired uint64 `json:"expired" api:"-"`

	Redelivered  uint64   `json:"redelivered" api:"-"`   // deliveries that were not the first of their message to the consumer
	DeadLettered Failures `json:"dead_lettered" api:"-"` // messages moved to dead-letter topics, for each consumer, by reason
	Dropped      Failures `json:"dropped" api:"-"`       // messages that failed and had no dead-letter topic, for each consumer, by reason

	OldUntil gate.Time `json:"old_sub_key_until,omitzero" api:"-"` // until when the sub_key before the last rotation is valid as well; absent: it is not
	OldSeen  gate.Time `json:"old_sub_key_seen,omitzero" api:"-"`  // when that one was last used; absent: not yet

	Callback *CallbackState `json:"callback,omitempty" api:"-"` // how it fares, of one that is sent its messages

	Warnings []string `json:"warnings,omitempty" api:"-"` // what is weak about a sub_key of one's own, in the answer to the request that set it alone

	Declared bool `json:"declared,omitempty" api:"-"` // the configuration file declares it, and the next start brings back what that says; absent: it does not
}

// CallbackState tells how a consumer fares that is sent its messages.
type CallbackState struct {
	State    string    `json:"state"`                  // sending: the last call did not fail; failing; or paused: it is inactive, since nothing but failures came, or the receiver wants no more
	Failures int       `json:"failures"`               // calls that have failed in a row
	Since    gate.Time `json:"failing_since,omitzero"` // the first of them
	Next     gate.Time `json:"next_try,omitzero"`      // when the next call is made at the earliest
	Error    string    `json:"error,omitempty"`        // why the last one failed
	Paused   string    `json:"paused,omitempty"`       // why it was paused
}

// How a consumer fares.
const (
	CallbackSending = "sending"
	CallbackFailing = "failing"
	CallbackPaused  = "paused"
)

// callbackOf returns how a consumer fares, nil where it comes for its messages.
func callbackOf(i *broker.ConsumerInfo) *CallbackState {
	if i.DeliveryMode != broker.DeliveryCallback {
		return nil
	}
	c := &i.Callback
	s := CallbackState{State: CallbackSending, Failures: c.Failures, Since: gate.TimeOf(c.Since), Next: gate.TimeOf(c.Next), Error: c.Error, Paused: c.Paused}
	switch {
	case c.Paused != "":
		s.State = CallbackPaused
	case c.Failures > 0:
		s.State = CallbackFailing
	}
	return &s
}

// Webhook lets a sender that knows no topics publish to one, by POST /hook/NAME.
type Webhook struct {
	broker.Webhook   `json:"-"`
	Revision         string    `json:"revision,omitempty" api:"-"` // it changes with the definition
	Accepted         uint64    `json:"accepted" api:"-"`           // calls that were stored since the start of the process
	Duplicates       uint64    `json:"duplicates" api:"-"`         // calls since the start of the process of a delivery that was stored before
	RefusedSignature uint64    `json:"refused_signature" api:"-"`  // calls refused since the start of the process for their signature, token or time
	RefusedAddress   uint64    `json:"refused_address" api:"-"`    // calls refused since the start of the process for where they came from
	RefusedFull      uint64    `json:"refused_full" api:"-"`       // calls refused since the start of the process since the topic or a backlog was full
	RefusedOther     uint64    `json:"refused_other" api:"-"`      // calls refused since the start of the process for other reasons
	LastCall         gate.Time `json:"last_call,omitzero" api:"-"` // the last call that was accepted; absent: none since the start of the process
	Warnings         []string  `json:"warnings,omitempty" api:"-"` // what is weak about a secret, in the answer to the request that set it alone

	Declared bool `json:"declared,omitempty" api:"-"` // the configuration file declares it, and the next start brings back what that says; absent: it does not
}

// NewClient, NewTopic, NewProducer, NewConsumer and NewWebhook return what holds where a new one says nothing.
func NewClient() Client { return Client{Client: broker.ClientFields.New()} }

func NewTopic() Topic { return Topic{Topic: broker.TopicFields.New()} }

func NewProducer() Producer { return Producer{Producer: broker.ProducerFields.New()} }

func NewConsumer() Consumer { return Consumer{Consumer: broker.ConsumerFields.New()} }

func NewWebhook() Webhook { return Webhook{Webhook: broker.WebhookFields.New()} }

// Message is a message that is stored.
type Message struct {
	ID         string    `json:"msg_id"`              // id of the message
	Topic      string    `json:"topic"`               // name of the topic
	Priority   int       `json:"priority"`            // 9 is delivered first
	MIMEType   string    `json:"mime_type"`           // what its publisher says of the payload
	Producer   string    `json:"producer"`            // display name of who published it
	Created    gate.Time `json:"created"`             // when it was published
	Due        gate.Time `json:"due"`                 // when it can be delivered first
	Expiration int64     `json:"expiration"`          // seconds; 0: it does not expire
	ExpireAt   gate.Time `json:"expire_at,omitzero"`  // when it expires; absent where it does not
	State      string    `json:"state"`               // where it stands: with the consumer that was asked about, else with all
	Deliveries int       `json:"deliveries"`          // how often it was delivered to the consumer that was asked about
	Size       int       `json:"size"`                // bytes of the payload
	Truncated  bool      `json:"truncated,omitempty"` // the payload is the beginning alone

	CorrelationID string            `json:"correlation_id,omitempty"` // what consumers connect it with
	ReplyTo       string            `json:"reply_to,omitempty"`       // where an answer to it is expected
	Attributes    map[string]string `json:"attributes,omitempty"`     // what travels with it, by name
	DeadLetter    *DeadLetter       `json:"dead_letter,omitempty"`    // where it failed; absent where it is no dead letter

	// Payload is the field payload, absent where it is nil: a text where it is one, else in base64,
	// which the field encoding says.
	Payload []byte `json:"-"`
}

// DeadLetter says of a message that was moved to a dead-letter topic where it failed.
type DeadLetter struct {
	Topic    string    `json:"topic"`          // where it was published
	Consumer string    `json:"consumer"`       // for which it failed
	Reason   string    `json:"reason"`         // why it was moved
	Count    uint32    `json:"delivery_count"` // deliveries to that consumer
	At       gate.Time `json:"time"`           // when it was moved
}

type messageFields Message

// messageJSON is a Message as JSON has it.
type messageJSON struct {
	*messageFields
	Payload  *string `json:"payload,omitempty"`
	Encoding string  `json:"encoding,omitempty"`
}

func (m Message) MarshalJSON() ([]byte, error) {
	out := messageJSON{messageFields: (*messageFields)(&m)}
	if m.Payload != nil {
		text, encoding := textOf(m.Payload)
		out.Payload, out.Encoding = &text, encoding
	}
	return gate.Marshal(out)
}

func (m *Message) UnmarshalJSON(b []byte) error {
	in := messageJSON{messageFields: (*messageFields)(m)}
	if err := json.Unmarshal(b, &in); err != nil || in.Payload == nil {
		return err
	}
	var err error
	m.Payload, err = payloadOf(*in.Payload, in.Encoding)
	return err
}

// MessageOf makes a Message, whose payload is nil where none of it was asked for.
func MessageOf(s *browse.Stored, payload bool) Message {
	m := Message{
		ID: s.ID, Topic: s.Topic, Priority: s.Priority, MIMEType: s.MIMEType, Producer: s.Producer,
		Created: gate.TimeOf(s.Created), Due: gate.TimeOf(s.Due), Expiration: s.Expiration, ExpireAt: gate.TimeOf(s.ExpireAt),
		State: string(s.State), Deliveries: s.Deliveries, Size: s.Size,
	}
	if x := s.Extra; x != nil {
		m.CorrelationID, m.ReplyTo = x.CorrelationID, x.ReplyTo
		for _, a := range x.Attributes {
			if m.Attributes == nil {
				m.Attributes = map[string]string{}
			}
			m.Attributes[a.Name] = a.Value
		}
		if d := x.DeadLetter; d != nil {
			m.DeadLetter = &DeadLetter{d.Topic, d.Consumer, d.Reason, d.Count, gate.TimeOf(d.At)}
		}
	}
	if payload {
		m.Payload, m.Truncated = s.Payload, len(s.Payload) < s.Size
		if m.Truncated {
			m.Payload = WholeRunes(m.Payload)
		}
		if m.Payload == nil {
			m.Payload = []byte{}
		}
	}
	return m
}

// WholeRunes cuts the character at the end of a text of which a part is missing.
func WholeRunes(b []byte) []byte {
	for i := len(b) - 1; i >= 0 && i >= len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return b[:i]
			}
			break
		}
	}
	return b
}

// Standing is where a message stands with one consumer.
type Standing struct {
	Consumer   uint32    `json:"consumer"` // id of the consumer
	Client     string    `json:"client"`   // username of the consumer's client
	State      string    `json:"state"`
	Deliveries int       `json:"deliveries"`     // how often the message was delivered to it, as far as is known
	Until      gate.Time `json:"until,omitzero"` // when the message is delivered again: of the states in_flight and deferred
}

// Held tells whether the message can be released for the consumer.
func (s Standing) Held() bool {
	return s.State == string(browse.InFlight) || s.State == string(browse.Deferred)
}

// Publication is a message to be published. The zero value of a field stands for its default.
type Publication struct {
	Payload    []byte `json:"-"` // the field payload, or payload_base64 where it is no text
	MIMEType   string `json:"mime_type,omitempty"`
	Priority   int    `json:"priority,omitempty"`
	Expiration int64  `json:"expiration,omitempty"` // seconds
	Delay      int64  `json:"delay,omitempty"`      // seconds
	DeliverAt  string `json:"deliver_at,omitempty"` // in place of delay: a UTC time, or Unix seconds
	ID         string `json:"msg_id,omitempty"`

	CorrelationID string            `json:"correlation_id,omitempty"`
	ReplyTo       string            `json:"reply_to,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
}

// attributes are those of a publication as the broker takes them.
func (p *Publication) attributes() (list []broker.Attribute) {
	for _, name := range slices.Sorted(maps.Keys(p.Attributes)) {
		list = append(list, broker.Attribute{Name: name, Value: p.Attributes[name]})
	}
	return list
}

func (p Publication) MarshalJSON() ([]byte, error) {
	type fields Publication
	out := struct {
		Text   *string `json:"payload,omitempty"`
		Base64 []byte  `json:"payload_base64,omitempty"`
		fields
	}{fields: fields(p)}
	if utf8.Valid(p.Payload) {
		text := string(p.Payload)
		out.Text = &text
	} else {
		out.Base64 = p.Payload
	}
	return gate.Marshal(out)
}

// Deleted is what goes with an object that is deleted.
type Deleted struct {
	Producers int   `json:"producers"` // producers that go with it
	Consumers int   `json:"consumers"` // consumers that go with it
	Webhooks  int   `json:"webhooks"`  // webhooks that go with it
	Messages  int64 `json:"messages"`  // messages that are lost: of a topic those stored, of consumers their backlogs
}

func clientOf(i *broker.ClientInfo) Client {
	return Client{
		Client:    i.Client,
		Revision:  i.Revision,
		Producers: i.Producers,
		Consumers: i.Consumers,
		LastSeen:  gate.TimeOf(i.LastSeen),
	}
}

func topicOf(i *broker.TopicInfo) Topic {
	return Topic{
		Topic:       i.Topic,
		Revision:    i.Revision,
		Depth:       i.Depth,
		Retained:    i.Retained,
		Bytes:       max(i.Bytes, 0),
		Delayed:     i.Delayed,
		Producers:   i.Producers,
		Consumers:   i.Consumers,
		Template:    i.Template,
		Made:        i.Made,
		LastPublish: gate.TimeOf(i.LastPublish),
		Published:   i.Published,
		Delivered:   i.Delivered,
		Acked:       i.Acked,
		Expired:     i.Expired,
		Redelivered: i.Redelivered, DeadLettered: Failures(i.DeadLettered), Dropped: Failures(i.Dropped),
	}
}

func producerOf(i *broker.ProducerInfo) Producer {
	return Producer{
		ID:        i.ID,
		Producer:  i.Producer,
		Revision:  i.Revision,
		LastSeen:  gate.TimeOf(i.LastSeen),
		Published: i.Published,
	}
}

func consumerOf(i *broker.ConsumerInfo) Consumer {
	return Consumer{
		ID:          i.ID,
		Consumer:    i.Consumer,
		Revision:    i.Revision,
		Backlog:     i.Backlog,
		InFlight:    i.InFlight,
		Deferred:    i.Deferred,
		Failed:      i.Failed,
		Waiting:     i.Waiting,
		LastSeen:    gate.TimeOf(i.LastSeen),
		Delivered:   i.Delivered,
		Acked:       i.Acked,
		Expired:     i.Expired,
		Redelivered: i.Redelivered, DeadLettered: Failures(i.DeadLettered), Dropped: Failures(i.Dropped),
		OldUntil: gate.TimeOf(i.Old.Until), OldSeen: gate.TimeOf(i.OldSeen),
		Callback: callbackOf(i),
	}
}

// FieldChange is a field of a definition that becomes another. Of a secret, from and to are absent.
type FieldChange struct {
	Field string `json:"field"`
	From  any    `json:"from,omitempty"` // absent where it is a secret
	To    any    `json:"to,omitempty"`   // absent where it is a secret
}

type FieldChanges []FieldChange

// hasSecret tells whether a secret is among them.
func (l FieldChanges) hasSecret() bool {
	return slices.ContainsFunc(l, func(c FieldChange) bool { return c.From == nil && c.To == nil })
}

// String is what the audit log says.
func (l FieldChanges) String() string {
	var s []string
	for _, c := range l {
		if c.From == nil && c.To == nil {
			s = append(s, c.Field)
		} else {
			s = append(s, fmt.Sprintf("%s: %s → %s", c.Field, shown(c.From), shown(c.To)))
		}
	}
	return strings.Join(s, ", ")
}

func shown(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case property.Texts:
		return fmt.Sprintf("%q", v.List())
	case property.Durations:
		return fmt.Sprint(v.List())
	case property.Table:
		return strings.TrimPrefix(fmt.Sprintf("%q", v.Map()), "map")
	}
	return fmt.Sprint(v)
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
