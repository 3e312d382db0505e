package httpapi

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// TestDeadLetterMetadata: where a dead letter failed is the last of the metadata.
func TestDeadLetterMetadata(t *testing.T) {
	m := broker.Message{ID: "i", DeliveryCount: 1, ReplyTo: "/r", Attributes: []broker.Attribute{{Name: "a", Value: "1"}},
		DeadLetter: &broker.DeadLetter{Topic: "/t ž", Consumer: "erp", Reason: "rejected", Count: 5, At: time.UnixMicro(1_777_000_000_123_456)}}
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
		if !json.Valid(trimMark(body)) || broker.CheckMessageID(m.ID) != nil || broker.CheckMIMEType(m.MIMEType) != nil || broker.CheckAttributes(m.Attributes) != nil || len(m.Payload) > len(body) {
			t.Fatalf("%q: %+v", body, m)
		}
	})
}

func trimMark(b []byte) []byte { return []byte(strings.TrimPrefix(string(b), string(byteOrderMark))) }
