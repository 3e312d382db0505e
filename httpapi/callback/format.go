package callback

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/httpapi"
)

// Types of bodies.
const (
	typeJSON = "application/json"
	typeXML  = "application/xml"
)

// single tells whether a format has one message a call.
func single(format string) bool {
	return format == broker.FormatRaw || format == broker.FormatCloudEvents
}

// write returns the body of a call, and sets the headers that a format has.
func write(h http.Header, format string, msgs []broker.Message) []byte {
	switch format {
	case broker.FormatRaw:
		h.Set("Content-Type", escaped(msgs[0].MIMEType, false))
		rawHeaders(h, &msgs[0], none)
		return msgs[0].Payload
	case broker.FormatCloudEvents:
		h.Set("Content-Type", escaped(msgs[0].MIMEType, false))
		cloudEvent(h, &msgs[0])
		return msgs[0].Payload
	case broker.FormatXML:
		h.Set("Content-Type", typeXML)
		return httpapi.AppendMessages(nil, msgs, true)
	}
	h.Set("Content-Type", typeJSON)
	return httpapi.AppendMessages(nil, msgs, false)
}

// rawHeaders sets the metadata of a message, but for attributes that skip tells.
func rawHeaders(h http.Header, m *broker.Message, skip func(name string) bool) {
	set := func(name, value string) {
		if value != "" {
			h.Set(name, escaped(value, false))
		}
	}
	set("X-Zato-Msg-Id", m.ID)
	set("X-Zato-Topic", m.Topic)
	set("X-Zato-Priority", strconv.Itoa(m.Priority))
	set("X-Zato-Delivery-Count", strconv.Itoa(m.DeliveryCount))
	set("X-Zato-Creation-Time", m.Created.UTC().Format("2006-01-02T15:04:05.000000"))
	set("X-Zato-Producer", m.Producer)
	set("X-Zato-Correlation-Id", m.CorrelationID)
	set("X-Zato-Reply-To", m.ReplyTo)
	if d := m.DeadLetter; d != nil {
		set("X-Zato-Dead-Letter-Topic", d.Topic)
		set("X-Zato-Dead-Letter-Consumer", d.Consumer)
		set("X-Zato-Dead-Letter-Reason", d.Reason)
	}
	for _, a := range m.Attributes {
		switch {
		case skip(a.Name):
		case a.Name == "traceparent" || a.Name == "tracestate":
			set(a.Name, a.Value)
		default:
			h.Set("X-Zato-PubSub-Attr-"+a.Name, escaped(a.Value, false))
		}
	}
}

func none(string) bool { return false }

// eventType is the type of an event whose publisher gave it none.
const eventType = "pipit.message"

// cloudEvent sets the attributes of a message in the binary mode of CloudEvents 1.0: those of the event that it was
// published as, if it was one.
func cloudEvent(h http.Header, m *broker.Message) {
	set := func(name, value string) { h.Set(name, escaped(value, true)) }
	set("ce-type", eventType)
	set("ce-source", m.Topic)
	set("ce-time", m.Created.UTC().Format(time.RFC3339Nano))
	rawHeaders(h, m, isEvent)
	for _, a := range m.Attributes {
		if isEvent(a.Name) {
			set(a.Name, a.Value)
		}
	}
	set("ce-id", m.ID)
	set("ce-specversion", "1.0")
}

func isEvent(name string) bool { return strings.HasPrefix(name, "ce-") }

// escaped percent-encodes what cannot be in the value of a header, as CloudEvents says: what is not printable ASCII, and
// the percent sign; blanks and quotes too where strict, else blanks at the ends alone, which would be lost.
func escaped(s string, strict bool) string {
	const hexDigits = "0123456789ABCDEF"
	plain := func(i int) bool {
		c := s[i]
		switch {
		case c == ' ':
			return !strict && i > 0 && i < len(s)-1
		case c == '"':
			return !strict
		}
		return c > ' ' && c < 0x7f && c != '%'
	}
	n := 0
	for n < len(s) && plain(n) {
		n++
	}
	if n == len(s) {
		return s
	}
	var b strings.Builder
	b.WriteString(s[:n])
	for i := n; i < len(s); i++ {
		if plain(i) {
			b.WriteByte(s[i])
		} else {
			b.Write([]byte{'%', hexDigits[s[i]>>4], hexDigits[s[i]&15]})
		}
	}
	return b.String()
}
