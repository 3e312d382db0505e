package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"strconv"
	"unicode/utf8"

	"pipit/broker"
)

// appendMessagesXML appends the reply of a receive as XML: root data, list members item. A payload
// that XML cannot hold is in base64, and the metadata says so.
func appendMessagesXML(b []byte, msgs []broker.Message) []byte {
	w := bytes.NewBuffer(b)
	w.WriteString(xml.Header + "<data><status>ZATO_OK</status>")
	element(w, "results_count", strconv.Itoa(len(msgs)))
	w.WriteString("<results>")
	for i := range msgs {
		m := &msgs[i]
		text := xmlText(m.Payload)
		w.WriteString("<item><payload>")
		if text {
			_ = xml.EscapeText(w, m.Payload)
		} else {
			w.WriteString(base64.StdEncoding.EncodeToString(m.Payload))
		}
		w.WriteString("</payload><metadata>")
		element(w, "msg_id", m.ID)
		element(w, "topic", m.Topic)
		element(w, "creation_time_utc", string(appendTime(nil, m.Created)))
		element(w, "expiration", strconv.FormatInt(m.Expiration, 10))
		element(w, "expire_at_utc", string(appendTime(nil, m.ExpireAt)))
		element(w, "producer", m.Producer)
		element(w, "priority", strconv.Itoa(m.Priority))
		element(w, "mime_type", m.MIMEType)
		element(w, "delivery_count", strconv.Itoa(m.DeliveryCount))
		if !text {
			element(w, "encoding", "base64")
		}
		w.WriteString("</metadata></item>")
	}
	w.WriteString("</results></data>")
	return w.Bytes()
}

func element(w *bytes.Buffer, name, value string) {
	w.WriteString("<" + name + ">")
	_ = xml.EscapeText(w, []byte(value))
	w.WriteString("</" + name + ">")
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
