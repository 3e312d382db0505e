package broker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// records are objects as they are stored, each with the number it has for life.
type records struct {
	clients   []clientRecord
	topics    []topicRecord
	producers []producerRecord
	consumers []consumerRecord
	webhooks  []webhookRecord
	queues    []queueRecord
	declared  string // see store.Batch
}

type (
	clientRecord  struct{ Client }
	webhookRecord struct{ Webhook }
	topicRecord   struct {
		Topic
		ID       uint32
		Template string `json:",omitempty"` // the name of the template that made it
	}
	producerRecord struct {
		Producer
		ID uint32
	}
	consumerRecord struct {
		Consumer
		ID       uint32
		Declared string `json:",omitempty"` // what the configuration said of it last: see match.go
		Replaced string `json:",omitempty"` // digest of the SubKey that it had before this one
	}
)

// queueRecord is one of several queues of a consumer.
type queueRecord struct {
	ID       uint32
	Consumer uint32 // its number
	Topic    uint32 // its number
}

// key returns what no other queue has.
func (q queueRecord) key() string { return fmt.Sprintf("%d %d", q.Consumer, q.Topic) }

// object returns the record for the store.
func (q queueRecord) object() store.Object {
	return store.Object{Kind: store.Queue, Key: q.key(), ID: q.ID, Value: encode(q)}
}

// record returns the queue, one of several, as it is stored.
func (q *queue) record() queueRecord { return queueRecord{q.id, q.of.id, q.topic.id} }

// key returns what no other producer has.
func (p *Producer) key() string { return p.Client + "\x00" + p.Topic }

func (r *records) isEmpty() bool {
	return len(r.clients)+len(r.topics)+len(r.producers)+len(r.consumers)+len(r.queues)+len(r.webhooks) == 0 && r.declared == ""
}

// objects returns the records for the store. b has the objects as they are so far. The caller holds defining.
func (r *records) objects(b *Broker) []store.Object {
	list := make([]store.Object, 0, len(r.clients)+len(r.topics)+len(r.producers)+len(r.consumers)+len(r.queues)+len(r.webhooks))
	for i := range r.clients {
		c := &r.clients[i]
		old := b.clients[c.Username]
		newHash := old != nil && old.PasswordHash != c.PasswordHash
		list = append(list, store.Object{Kind: store.Client, Key: c.Username, Value: encode(c), Secret: newHash})
	}
	for i := range r.topics {
		t := &r.topics[i]
		list = append(list, store.Object{Kind: store.Topic, Key: t.Name, ID: t.ID, Value: encode(t)})
	}
	for i := range r.producers {
		p := &r.producers[i]
		list = append(list, store.Object{Kind: store.Producer, Key: p.key(), ID: p.ID, Value: encode(p)})
	}
	for i := range r.consumers {
		c := &r.consumers[i]
		old := b.consumers[c.ID]
		newSecret := old != nil && old.def.Load().hasOther(&c.Consumer)
		list = append(list, store.Object{Kind: store.Consumer, Key: c.SubKey, ID: c.ID, Value: encode(c), Secret: newSecret})
	}
	for i := range r.webhooks {
		w := &r.webhooks[i]
		old := b.webhooks.byName[w.Name]
		newSecret := old != nil && old.def.Load().Secret != w.Secret
		list = append(list, store.Object{Kind: store.Webhook, Key: w.Name, Value: encode(w), Secret: newSecret})
	}
	for _, q := range r.queues {
		list = append(list, q.object())
	}
	return list
}

// hasOther tells whether a consumer has a secret that another version of it has not.
func (c *Consumer) hasOther(o *Consumer) bool {
	return c.SubKey != o.SubKey || c.Old != o.Old || c.CallbackSecret != o.CallbackSecret || c.CallbackHeaders != o.CallbackHeaders
}

// encode returns a record as it is stored.
func encode(record any) []byte {
	text, err := json.Marshal(record)
	if err != nil {
		panic(err) // of strings, numbers and flags alone
	}
	return text
}

// decode makes records of what is stored.
func decode(image *store.Image) (*records, error) {
	r := &records{declared: image.Declared}
	for i := range image.Objects {
		o := &image.Objects[i]
		var err error
		switch o.Kind {
		case store.Client:
			r.clients, err = decodeTo(r.clients, o)
		case store.Topic:
			r.topics, err = decodeTo(r.topics, o)
		case store.Producer:
			r.producers, err = decodeTo(r.producers, o)
		case store.Consumer:
			r.consumers, err = decodeTo(r.consumers, o)
		case store.Webhook:
			r.webhooks, err = decodeTo(r.webhooks, o)
		case store.Queue:
			r.queues, err = decodeTo(r.queues, o)
		default:
			err = fmt.Errorf("object of unknown kind %q", o.Kind)
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func decodeTo[T any](list []T, o *store.Object) ([]T, error) {
	var record T
	if err := json.Unmarshal(o.Value, &record); err != nil {
		return nil, fmt.Errorf("the store is damaged: %s %q: %w", o.Kind, o.Key, err)
	}
	return append(list, record), nil
}

// A record says whether its object is active, and 0 of what is Off: so do those that older versions have stored.

func (r clientRecord) MarshalJSON() ([]byte, error) {
	type fields clientRecord
	return json.Marshal(struct {
		fields
		Active bool
	}{fields(r), !r.Inactive})
}

func (r *clientRecord) UnmarshalJSON(text []byte) error {
	type fields clientRecord
	in := struct {
		*fields
		Active bool
	}{(*fields)(r), true}
	err := json.Unmarshal(text, &in)
	r.Inactive = !in.Active
	return err
}

func (r topicRecord) MarshalJSON() ([]byte, error) {
	type fields topicRecord
	if r.MaxTopics == limit.DefaultMaxTopics {
		r.MaxTopics = 0
	}
	return json.Marshal(struct {
		fields
		Active         bool
		Expiration     int64
		DedupWindow    time.Duration
		Retention      time.Duration `json:",omitempty"`
		RetentionBytes int64         `json:",omitempty"`
	}{fields(r), !r.Inactive, property.Told(r.Expiration), time.Duration(property.Told(int64(r.DedupWindow))),
		time.Duration(property.Told(int64(r.Retention))), property.Told(int64(r.RetentionBytes))})
}

func (r *topicRecord) UnmarshalJSON(text []byte) error {
	type fields topicRecord
	in := struct {
		*fields
		Active bool
	}{(*fields)(r), true}
	err := json.Unmarshal(text, &in)
	r.Inactive = !in.Active
	r.Expiration, r.DedupWindow = property.Kept(r.Expiration), time.Duration(property.Kept(int64(r.DedupWindow)))
	r.Retention, r.RetentionBytes = time.Duration(property.Kept(int64(r.Retention))), property.Size(property.Kept(int64(r.RetentionBytes)))
	r.MaxTopics = cmp.Or(r.MaxTopics, limit.DefaultMaxTopics)
	return err
}

func (r producerRecord) MarshalJSON() ([]byte, error) {
	type fields producerRecord
	return json.Marshal(struct {
		fields
		Active bool
	}{fields(r), !r.Inactive})
}

func (r *producerRecord) UnmarshalJSON(text []byte) error {
	type fields producerRecord
	in := struct {
		*fields
		Active bool
	}{(*fields)(r), true}
	err := json.Unmarshal(text, &in)
	r.Inactive = !in.Active
	return err
}

func (r consumerRecord) MarshalJSON() ([]byte, error) {
	type fields consumerRecord
	ConsumerFields.Strip(&r.Consumer, "max_depth", "max_in_flight", "ack_timeout") // most have nothing of the others
	return json.Marshal(struct {
		fields
		Active bool
	}{fields(r), !r.Inactive})
}

func (r *consumerRecord) UnmarshalJSON(text []byte) error {
	type fields consumerRecord
	in := struct {
		*fields
		Active bool
	}{(*fields)(r), true}
	err := json.Unmarshal(text, &in)
	r.Inactive = !in.Active
	ConsumerFields.Complete(&r.Consumer)
	return err
}

func (r webhookRecord) MarshalJSON() ([]byte, error) {
	type fields webhookRecord
	return json.Marshal(struct {
		fields
		Active bool
	}{fields(r), !r.Inactive})
}

func (r *webhookRecord) UnmarshalJSON(text []byte) error {
	type fields webhookRecord
	in := struct {
		*fields
		Active bool
	}{(*fields)(r), true}
	err := json.Unmarshal(text, &in)
	r.Inactive = !in.Active
	return err
}
