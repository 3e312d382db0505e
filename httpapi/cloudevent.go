package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// typeEvent is a CloudEvent in structured mode (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
const typeEvent = "application/cloudevents+json"

// publishEvent takes a body that is a CloudEvent apart into what m is, and the attributes that it has already.
func (s *server) publishEvent(r *http.Request, p params, body []byte, m *broker.Publication) (done func(), err error) {
	for _, name := range []string{"msg_id", "mime_type"} {
		if p.given(name) {
			return nil, broker.Invalidf("parameter %q: with cloudevents the event says it", name)
		}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != typeEvent {
		return nil, broker.Invalidf("header Content-Type %q: with cloudevents, allowed is %s", clip.Input(r.Header.Get("Content-Type")), typeEvent)
	}
	done, err = s.b.Reserve(2 * int64(len(body))) // what its data is, as it stands there and as it is meant
	if err != nil {
		return nil, err
	}
	if err := parseEvent(body, m); err != nil {
		done()
		return nil, err
	}
	return done, nil
}

// parseEvent makes a publication of a CloudEvent: its data the payload, its id the ID, its datacontenttype the MIME type, and
// the rest attributes whose names begin with ce-.
func parseEvent(body []byte, m *broker.Publication) error {
	body = bytes.TrimPrefix(body, byteOrderMark)
	var event map[string]json.RawMessage
	if !utf8.Valid(body) || json.Unmarshal(body, &event) != nil || event == nil {
		return broker.Invalidf("not a CloudEvent: allowed is one JSON object in UTF-8")
	}
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if v, err := eventText(name, event[name]); err != nil {
			return err
		} else if v == "" {
			return broker.Invalidf("CloudEvent: %s is missing", name)
		}
	}
	m.MIMEType = "application/json" // what an event in JSON that does not say has
	for name, raw := range event {
		if name == "data" || name == "data_base64" {
			continue
		}
		v, err := eventText(name, raw)
		if err != nil {
			return err
		}
		switch {
		case string(raw) == "null":
		case name == "id":
			m.ID = v
		case name == "datacontenttype":
			m.MIMEType = v
		case name == "specversion" && v != "1.0":
			return broker.Invalidf("CloudEvent: specversion %q: allowed is 1.0", clip.Input(v))
		default:
			if len(m.Attributes) > limit.MaxAttributes { // not to be read, however many there are
				return limit.CheckAttributes(m.Attributes)
			}
			m.Attributes = append(m.Attributes, broker.Attribute{Name: "ce-" + name, Value: v})
		}
	}
	if err := limit.CheckMIMEType(m.MIMEType); err != nil {
		return broker.Invalidf("CloudEvent: datacontenttype: %v", err)
	}
	if err := limit.CheckMessageID(m.ID); err != nil {
		return broker.Invalidf("CloudEvent: id: %v", err)
	}
	if err := limit.CheckAttributes(m.Attributes); err != nil {
		return err
	}
	return eventData(event, m)
}

// eventText returns the value of an attribute of a CloudEvent, which is a text, a whole number or a boolean. It is empty where it is
// not there, or null.
func eventText(name string, raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", nil
	}
	wrong := func() error {
		return broker.Invalidf("CloudEvent: %s: allowed are texts, whole numbers and booleans", clip.Input(name))
	}
	if raw[0] == '{' || raw[0] == '[' { // not to be read: it could be of any size
		return "", wrong()
	}
	var v any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return "", wrong()
	}
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return strconv.FormatInt(n, 10), nil
		}
	case nil:
		return "", nil
	}
	return "", wrong()
}

// eventData sets the payload: bytes in base64, a value of JSON as it stands, or, where the MIME type is not one of JSON, the text of a string.
func eventData(event map[string]json.RawMessage, m *broker.Publication) error {
	data, hasData := event["data"]
	packed, hasPacked := event["data_base64"]
	if hasPacked && string(packed) != "null" {
		if hasData && string(data) != "null" {
			return broker.Invalidf("CloudEvent: allowed is one of data and data_base64")
		}
		var text string
		if json.Unmarshal(packed, &text) != nil {
			return broker.Invalidf("CloudEvent: data_base64: allowed is a text")
		}
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return broker.Invalidf("CloudEvent: data_base64: allowed is base64, padded, of the characters A-Z a-z 0-9 + /")
		}
		m.Payload = b
		return nil
	}
	if !hasData || string(data) == "null" && !isJSON(m.MIMEType) {
		m.Payload = []byte{}
		return nil
	}
	m.Payload = data
	var text string
	if !isJSON(m.MIMEType) && json.Unmarshal(data, &text) == nil {
		m.Payload = []byte(text)
	}
	return nil
}

// isJSON tells whether a MIME type is one of JSON.
func isJSON(mimeType string) bool {
	t, _, err := mime.ParseMediaType(mimeType)
	return err == nil && (strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json"))
}
