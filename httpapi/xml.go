package httpapi

import (
	"encoding/xml"
	"strconv"
	"strings"
	"unicode/utf8"

	"pipit/broker"
)

// messagesXML appends the reply of a receive as XML: root data, list members item. A payload
// that XML cannot hold is in base64, and the metadata says so.
func (p *pieces) messagesXML(msgs []broker.Message) {
	p.b = append(p.b, xml.Header+"<data><status>ZATO_OK</status>"...)
	p.element("results_count", strconv.Itoa(len(msgs)))
	p.b = append(p.b, "<results>"...)
	for i := range msgs {
		p.item(&msgs[i])
		p.next()
	}
	p.b = append(p.b, "</results></data>"...)
}

func (p *pieces) item(m *broker.Message) {
	text := xmlText(m.Payload)
	p.b = append(p.b, "<item><payload>"...)
	if text {
		p.parts(m.Payload, true, appendXML[[]byte])
	} else {
		p.parts(m.Payload, false, appendBase64)
	}
	p.b = append(p.b, "</payload><metadata>"...)
	p.element("msg_id", m.ID)
	p.element("topic", m.Topic)
	p.element("creation_time_utc", string(appendTime(nil, m.Created)))
	p.element("expiration", strconv.FormatInt(m.Expiration, 10))
	p.element("expire_at_utc", string(appendTime(nil, m.ExpireAt)))
	p.element("producer", m.Producer)
	p.element("priority", strconv.Itoa(m.Priority))
	p.element("mime_type", m.MIMEType)
	p.element("delivery_count", strconv.Itoa(m.DeliveryCount))
	if !text {
		p.element("encoding", "base64")
	}
	p.extra(m)
	p.b = append(p.b, "</metadata></item>"...)
}

// extra appends what few messages have in their metadata. An attribute is an element of its name, or, where XML cannot have that, an
// item that tells it.
func (p *pieces) extra(m *broker.Message) {
	if m.CorrelationID != "" {
		p.element("correlation_id", m.CorrelationID)
	}
	if m.ReplyTo != "" {
		p.element("reply_to", m.ReplyTo)
	}
	if len(m.Attributes) > 0 {
		p.b = append(p.b, "<attributes>"...)
		for i := range m.Attributes {
			if a := &m.Attributes[i]; strings.IndexByte("0123456789.-", a.Name[0]) < 0 {
				p.element(a.Name, a.Value)
			} else {
				p.b = append(append(append(p.b, `<item name="`...), a.Name...), `">`...)
				p.b = append(appendXML(p.b, a.Value), "</item>"...)
			}
		}
		p.b = append(p.b, "</attributes>"...)
	}
	if d := m.DeadLetter; d != nil {
		p.b = append(p.b, "<dead_letter>"...)
		p.element("topic", d.Topic)
		p.element("consumer", d.Consumer)
		p.element("reason", d.Reason)
		p.element("delivery_count", strconv.FormatUint(uint64(d.Count), 10))
		p.element("time_utc", string(appendTime(nil, d.At)))
		p.b = append(p.b, "</dead_letter>"...)
	}
}

func (p *pieces) element(name, value string) {
	p.b = append(append(append(p.b, '<'), name...), '>')
	p.b = appendXML(p.b, value)
	p.b = append(append(append(p.b, "</"...), name...), '>')
}

// xmlText tells whether XML 1.0 can hold b (https://www.w3.org/TR/xml/#charsets).
func xmlText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return false
		}
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
		b = b[n:]
	}
	return true
}
