package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// TestDeadLetterMetadata: where a dead letter failed is the last of the metadata.
func TestDeadLetterMetadata(t *testing.T) {
	m := broker.Message{ID: "i", DeliveryCount: 1, ReplyTo: "/r", Attributes: []broker.Attribute{{Name: "a", Value: "1"}},
		DeadLetter: &store.DeadLetter{Topic: "/t ž", Consumer: "erp", Reason: "rejected", Count: 5, At: time.UnixMicro(1_777_000_000_123_456)}}
	var p pieces
	p.message(&m)
	const inJSON = `"delivery_count": 1, "reply_to": "/r", "attributes": {"a": "1"}, "dead_letter": {"topic": "/t \u017e", "consumer": "erp", "reason": "rejected", "delivery_count": 5, "time_utc": "2026-04-24T03:06:40.123456"}}}`
	if !json.Valid(p.b) || !strings.HasSuffix(string(p.b), inJSON) {
		t.Errorf("%s", p.b)
	}
	p = pieces{}
	p.item(&m)
	const inXML = `<reply_to>/r</reply_to><attributes><a>1</a></attributes><dead_letter><topic>/t ž</topic><consumer>erp</consumer><reason>rejected</reason><delivery_count>5</delivery_count><time_utc>2026-04-24T03:06:40.123456</time_utc></dead_letter></metadata></item>`
	if !strings.HasSuffix(string(p.b), inXML) {
		t.Errorf("%s", p.b)
	}
}

// TestLargeEvent: what no attribute can be, and more of them than a message has, costs little beside the reading of the body.
func TestLargeEvent(t *testing.T) {
	const head = `{"specversion": "1.0", "id": "i", "source": "/s", "type": "t", "x`
	nested := []byte(head + `": [` + strings.Repeat("[],", 100_000) + `[]]}`)
	many := []byte(head + `": 1`)
	for i := range 10_000 {
		many = fmt.Appendf(many, `, "x%d": 1`, i)
	}
	many = append(many, '}')
	for details, body := range map[string][]byte{
		"CloudEvent: x: allowed are texts, whole numbers and booleans": nested,
		"33 attributes: allowed are at most 32":                        many,
	} {
		var read map[string]json.RawMessage
		reading := testing.AllocsPerRun(1, func() {
			if err := json.Unmarshal(body, &read); err != nil {
				t.Fatal(err)
			}
			read = nil
		})
		var err error
		if n := testing.AllocsPerRun(1, func() { err = parseEvent(body, &broker.Publication{}) }); n > reading+2000 {
			t.Errorf("%.0f allocations, of which %.0f for reading: %s", n, reading, details)
		}
		if err == nil || err.Error() != details {
			t.Errorf("%v, want %s", err, details)
		}
	}
}

// FuzzEvent: whatever a body is, it is refused as invalid or a publication within its limits.
func FuzzEvent(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}`, `{"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data_base64": "aGk=", "x": true, "y": 7, "datacontenttype": "text/plain"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var m broker.Publication
		err := parseEvent(body, &m)
		if err != nil {
			if broker.CodeOf(err) != broker.Invalid {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !json.Valid(trimMark(body)) || limit.CheckMessageID(m.ID) != nil || limit.CheckMIMEType(m.MIMEType) != nil || limit.CheckAttributes(m.Attributes) != nil || len(m.Payload) > len(body) {
			t.Fatalf("%q: %+v", body, m)
		}
	})
}

func trimMark(b []byte) []byte { return []byte(strings.TrimPrefix(string(b), string(byteOrderMark))) }
