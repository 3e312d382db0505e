package broker

import (
	"slices"
	"strings"
	"unicode/utf8"

	"pipit/broker/clip"
	"pipit/broker/store"
)

// Limits of what travels with a message beside its payload.
const (
	MaxCorrelationID  = 256     // characters
	MaxReplyTo        = 256     // characters
	MaxAttributes     = 32      // of a message
	MaxAttributeName  = 64      // bytes
	MaxAttributeBytes = 8 << 10 // names and values of a message together
)

// Attribute is a name and a value that travel with a message. Names are of letters, digits and - _ . and are kept in lower
// case, as those of headers are the same in any; values are UTF-8 without control characters.
type Attribute = store.Attribute

// CheckCorrelationID tells whether s can be a message's correlation ID.
func CheckCorrelationID(s string) error { return checkShort("correlation_id", s, MaxCorrelationID) }

// CheckReplyTo tells whether s can be where a message is to be replied to.
func CheckReplyTo(s string) error { return checkShort("reply_to", s, MaxReplyTo) }

func checkShort(field, s string, most int) error {
	if utf8.RuneCountInString(s) > most || !printable(s) {
		return fieldErrorf(field, "%s %q: allowed are at most %d characters, none of them a control character", field, clip.Input(s), most)
	}
	return nil
}

// checkAttributeName tells whether s can be the name of an attribute, in any case.
func checkAttributeName(s string) error {
	if s == "" || len(s) > MaxAttributeName || strings.ContainsFunc(s, notKeyChar) {
		return fieldErrorf("attributes", "attribute %q: names have 1 to %d of A-Z a-z 0-9 . _ -", clip.Input(s), MaxAttributeName)
	}
	return nil
}

// CheckAttributes tells whether a message can have such attributes: in any order, each name once, whatever its case.
func CheckAttributes(list []store.Attribute) error {
	_, err := canonicalAttributes(list)
	return err
}

// canonicalAttributes returns attributes as they are kept: with names in lower case, in their order. It leaves list alone.
func canonicalAttributes(list []store.Attribute) ([]store.Attribute, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > MaxAttributes {
		return nil, fieldErrorf("attributes", "%d attributes: allowed are at most %d", len(list), MaxAttributes)
	}
	size := 0
	list = slices.Clone(list)
	for i := range list {
		a := &list[i]
		if err := checkAttributeName(a.Name); err != nil {
			return nil, err
		}
		if !printable(a.Value) {
			return nil, fieldErrorf("attributes", "attribute %q: its value %q is not UTF-8 without control characters", a.Name, clip.Input(a.Value))
		}
		a.Name = strings.ToLower(a.Name)
		size += len(a.Name) + len(a.Value)
	}
	if size > MaxAttributeBytes {
		return nil, fieldErrorf("attributes", "attributes of %d bytes: allowed are %d for names and values together", size, MaxAttributeBytes)
	}
	slices.SortFunc(list, func(a, b store.Attribute) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(list); i++ {
		if list[i].Name == list[i-1].Name {
			return nil, fieldErrorf("attributes", "attribute %q: given more than once", list[i].Name)
		}
	}
	return list, nil
}

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
		if err := CheckCorrelationID(p.CorrelationID); err != nil {
			return ours(err)
		}
	}
	if p.ReplyTo != "" {
		if err := CheckReplyTo(p.ReplyTo); err != nil {
			return ours(err)
		}
	}
	p.Attributes, err = canonicalAttributes(p.Attributes)
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
