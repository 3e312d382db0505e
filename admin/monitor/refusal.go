package monitor

import (
	"strings"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/httpapi/refused"
)

// Refusal is a request of the wire protocol that was refused.
type Refusal struct {
	Number   uint64    `json:"number"` // 1 for the first since the start of the process
	Time     gate.Time `json:"time"`
	Client   string    `json:"client,omitempty"`   // username that was given, of a client or not
	Known    bool      `json:"known"`              // there is a client of that name
	SignedIn bool      `json:"signed_in"`          // with the right password
	Addr     string    `json:"addr"`               // IP address that it came from
	Method   string    `json:"method"`             // of the request
	Route    string    `json:"route,omitempty"`    // path without the name of a topic, a message or a webhook; absent where there is no such route
	Topic    string    `json:"topic,omitempty"`    // name in the path, existing or not, or that of the consumer's topic
	Consumer uint32    `json:"consumer,omitempty"` // id of the consumer that the sub_key opens
	Webhook  string    `json:"webhook,omitempty"`  // name of the webhook that was called
	Status   int       `json:"status"`             // of the reply
	Reason   string    `json:"reason"`             // why, as the log has it; it is more than the client is told
}

// RefusalFilter says which refusals are wanted. The zero value of a field stands for all.
type RefusalFilter struct {
	Client   string
	Topic    string
	Consumer uint32 // those by its sub_key, and those of its client that were about receiving from its topic with no key that is known
	Status   int
}

// Refusals returns the last requests that were refused, the newest first.
func (m *Monitor) Refusals(f RefusalFilter) []Refusal {
	of, _ := m.b.Consumer(f.Consumer)
	list := []Refusal{}
	for _, x := range m.Refused.List() {
		r := refusalOf(&x)
		if f.Client != "" && f.Client != r.Client || f.Topic != "" && f.Topic != r.Topic || f.Status != 0 && f.Status != r.Status ||
			f.Consumer != 0 && r.Consumer != f.Consumer && !r.seeks(&of) {
			continue
		}
		list = append(list, r)
	}
	return list
}

func refusalOf(x *refused.Refusal) Refusal {
	return Refusal{x.Number, gate.TimeOf(x.At), x.Client, x.Known, x.SignedIn, x.Addr, x.Method, x.Route, x.Topic, x.Consumer, x.Webhook, x.Status, x.Reason}
}

// seeks tells whether a request whose sub_key is of no consumer may have been meant for this one.
func (r *Refusal) seeks(c *broker.ConsumerInfo) bool {
	if r.Consumer != 0 || r.Client == "" || r.Client != c.Client || !r.receives() {
		return false
	}
	prefix, _, pattern := strings.Cut(c.Topic, "*")
	return r.Topic == "" || r.Topic == c.Topic || pattern && strings.HasPrefix(r.Topic, prefix)
}

// receives tells whether a request was one of a receiver.
func (r *Refusal) receives() bool {
	switch r.Route {
	case "/zato/pubsub/msg", "/zato/pubsub/ack", "/zato/pubsub/seek":
		return true
	}
	return false
}
