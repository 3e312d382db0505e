package broker

import (
	"strings"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// Attribute is a name and a value that travel with a message. Names are of letters, digits and - _ . and are kept in lower
// case, as those of headers are the same in any; values are UTF-8 without control characters.
type Attribute = store.Attribute

// attribute returns the value of one of the attributes, which are in order. name is in lower case.
func attribute(list []Attribute, name string) (value string, ok bool) {
	for i := range list { // there are few
		if list[i].Name == name {
			return list[i].Value, true
		}
	}
	return "", false
}

// Attribute returns the value of an attribute, and whether the message has it.
func (m *Message) Attribute(name string) (value string, ok bool) {
	return attribute(m.Attributes, strings.ToLower(name))
}

// extraSize returns about how many bytes a record has beside its payload that its publisher chose freely.
func extraSize(r *store.Record) int {
	if r.Extra == nil {
		return 0
	}
	n := len(r.Extra.CorrelationID) + len(r.Extra.ReplyTo)
	for i := range r.Extra.Attributes {
		n += len(r.Extra.Attributes[i].Name) + len(r.Extra.Attributes[i].Value)
	}
	return n
}

// validateExtra checks what few publications have, and makes the attributes what is kept of them.
func (p *Publication) validateExtra() (err error) {
	if p.CorrelationID != "" {
		if err := limit.CheckCorrelationID(p.CorrelationID); err != nil {
			return ours(err)
		}
	}
	if p.ReplyTo != "" {
		if err := limit.CheckReplyTo(p.ReplyTo); err != nil {
			return ours(err)
		}
	}
	p.Attributes, err = limit.KeptAttributes(p.Attributes)
	return ours(err)
}

// extra returns what a valid publication has beside what every message has, nil for nothing.
func (p *Publication) extra() *store.Extra {
	if p.CorrelationID == "" && p.ReplyTo == "" && len(p.Attributes) == 0 {
		return nil
	}
	return &store.Extra{CorrelationID: p.CorrelationID, ReplyTo: p.ReplyTo, Attributes: p.Attributes}
}

// setExtra gives a message what its record has of that.
func (m *Message) setExtra(x *store.Extra) {
	if x != nil {
		m.CorrelationID, m.ReplyTo, m.Attributes, m.DeadLetter = x.CorrelationID, x.ReplyTo, x.Attributes, x.DeadLetter
	}
}
