package httpapi

import (
	"encoding/xml"
	"strconv"
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
	p.b = append(p.b, "</metadata></item>"...)
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
