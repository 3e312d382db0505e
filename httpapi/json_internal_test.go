package httpapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pipit/broker"
)

var sampleTime = time.Date(2015, 1, 9, 9, 21, 56, 867151000, time.UTC)

func sample(payload string) broker.Message {
	return broker.Message{ID: "K07XAM7FSMV092YB410XMXDDDYN3", Topic: "/customer/created", Created: sampleTime, Expiration: 60,
		ExpireAt: sampleTime.Add(time.Minute), Producer: "CRM", Priority: 5, MIMEType: "text/plain", DeliveryCount: 1, Payload: []byte(payload)}
}

// encoded is what a method of pieces writes of v.
func encoded[T any](encode func(*pieces, T), v T) string {
	var out strings.Builder
	p := pieces{w: &out}
	encode(&p, v)
	p.flush()
	return out.String()
}

// TestPieces: a long text is cut nowhere within a character, its length is known before it is written,
// and its buffer stays small.
func TestPieces(t *testing.T) {
	for _, payload := range []string{
		strings.Repeat("\x01", 1<<20), "x" + strings.Repeat("ż€😀", 200_000), strings.Repeat("<\xff", 500_000), strings.Repeat("\xf0\x9f\x98", 100_000),
		strings.Repeat("a", partSize) + "€", strings.Repeat("a", partSize-1) + "€", strings.Repeat("a", partSize-2) + "😀", strings.Repeat("a", 2*pieceSize),
	} {
		msgs := []broker.Message{sample("first"), sample(payload), sample("last")}
		for _, e := range []format{jsonFormat, xmlFormat} {
			count := pieces{}
			e.messages(&count, msgs)
			count.flush()
			if cap(count.b) > 3*pieceSize {
				t.Errorf("a buffer of %d bytes", cap(count.b))
			}
			text := encoded(e.messages, msgs)
			if int64(len(text)) != count.n {
				t.Errorf("%d bytes, counted %d", len(text), count.n)
			}
			var payloads, encodings []string
			if e.contentType[0] == "application/json" {
				var doc struct{ Results []decodedMessage }
				if err := json.Unmarshal([]byte(text), &doc); err != nil {
					t.Fatal(err)
				}
				for _, m := range doc.Results {
					payloads, encodings = append(payloads, m.Payload), append(encodings, m.Metadata.Encoding)
				}
			} else {
				var doc struct {
					Items []struct {
						Payload  string `xml:"payload"`
						Encoding string `xml:"metadata>encoding"`
					} `xml:"results>item"`
				}
				if err := xml.Unmarshal([]byte(text), &doc); err != nil {
					t.Fatal(err)
				}
				for _, m := range doc.Items {
					payloads, encodings = append(payloads, m.Payload), append(encodings, m.Encoding)
				}
			}
			for i, m := range msgs {
				got := payloads[i]
				if encodings[i] == "base64" {
					b, err := base64.StdEncoding.DecodeString(got)
					if err != nil {
						t.Fatal(err)
					}
					got = string(b)
				}
				if got != string(m.Payload) {
					t.Errorf("%s: a payload of %d bytes came back as one of %d", e.contentType, len(m.Payload), len(got))
				}
			}
		}
	}
}

func TestAppendMessages(t *testing.T) {
	const meta = `"metadata": {"msg_id": "K07XAM7FSMV092YB410XMXDDDYN3", "topic": "/customer/created", "creation_time_utc": "2015-01-09T09:21:56.867151", ` +
		`"expiration": 60, "expire_at_utc": "2015-01-09T09:22:56.867151", "producer": "CRM", "priority": 5, "mime_type": "text/plain", "delivery_count": 1`
	for _, c := range []struct {
		msgs []broker.Message
		want string
	}{
		{nil, `{"status": "ZATO_OK", "results_count": 0, "results": []}`},
		{[]broker.Message{sample("Hello")}, `{"status": "ZATO_OK", "results_count": 1, "results": [{"payload": "Hello", ` + meta + `}}]}`},
		{[]broker.Message{sample(""), sample("\xff"), sample("\"\\/\n\r\t\x00\x1f\x7fż")},
			`{"status": "ZATO_OK", "results_count": 3, "results": [{"payload": "", ` + meta + `}}, {"payload": "/w==", ` + meta +
				`, "encoding": "base64"}}, {"payload": "\"\\/\n\r\t\u0000\u001f` + "\x7f" + `\u017c", ` + meta + `}}]}`},
	} {
		if got := encoded((*pieces).messages, c.msgs); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	// All six digits, UTC, and nothing where there is no time.
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Date(2015, 1, 9, 9, 21, 56, 0, time.UTC), "2015-01-09T09:21:56.000000"},
		{time.Date(2015, 1, 9, 9, 21, 56, 100_000_999, time.UTC), "2015-01-09T09:21:56.100000"},
		{time.Date(2015, 1, 9, 10, 21, 56, 867151000, time.FixedZone("CET", 3600)), "2015-01-09T09:21:56.867151"},
		{time.Time{}, ""},
	} {
		if got := string(appendTime(nil, c.at)); got != c.want {
			t.Errorf("%s: %q, want %q", c.at, got, c.want)
		}
	}
	for s, want := range map[string]string{
		"ž": `"\u017e"`, "€": `"\u20ac"`, "😀": `"\ud83d\ude00"`, "\u2028": `"\u2028"`, "\uffff": `"\uffff"`, "\U0010ffff": `"\udbff\udfff"`,
		"12345678ž": `"12345678\u017e"`, "1234567ž8": `"1234567\u017e8"`, "\xff": `"\ufffd"`,
	} {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

// decodedMessage is a message as encoding/json reads it.
type decodedMessage struct {
	Payload  string `json:"payload"`
	Metadata struct {
		ID         string `json:"msg_id"`
		Topic      string `json:"topic"`
		Created    string `json:"creation_time_utc"`
		Expiration int64  `json:"expiration"`
		ExpireAt   string `json:"expire_at_utc"`
		Producer   string `json:"producer"`
		Priority   int    `json:"priority"`
		MIMEType   string `json:"mime_type"`
		Deliveries int    `json:"delivery_count"`
		Encoding   string `json:"encoding"`
	} `json:"metadata"`
}

func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "Hello", "\x00\x1f\x7f\"\\", "ż€😀\u2028", "\xff", "a\xed\xa0\x80b", strings.Repeat("x", 100) + "\n", "12345678\"", "1234567\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b := appendString(nil, in)
		if !bytes.Equal(b, appendString(nil, string(in))) {
			t.Fatalf("%q: string and bytes differ", in)
		}
		if bytes.ContainsAny(b, "\n\r") {
			t.Fatalf("%q: more than one line: %q", in, b)
		}
		if bytes.ContainsFunc(b, func(r rune) bool { return r >= utf8.RuneSelf }) {
			t.Fatalf("%q: not ASCII: %s", in, b)
		}
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v: %s", in, err, b)
		}
		if want := string([]rune(string(in))); got != want {
			t.Fatalf("%q came back as %q", in, got)
		}
	})
}

// FuzzMessage: a message survives both formats, whatever is in it.
func FuzzMessage(f *testing.F) {
	f.Add([]byte("Hello"), "K1", "/t", "CRM", "text/plain")
	f.Add([]byte("\xff\x00<&>"), "\"", "a b", "ż\n", "]]>")
	f.Add([]byte("\ufffe\r\n\t\x0b"), "", "", "", "")
	f.Fuzz(func(t *testing.T, payload []byte, id, topic, producer, mimeType string) {
		m := sample(string(payload))
		m.ID, m.Topic, m.Producer, m.MIMEType = id, topic, producer, mimeType
		for _, s := range []*string{&m.ID, &m.Topic, &m.Producer, &m.MIMEType} {
			*s = string([]rune(*s))
		}
		back := func(s, encoding string) []byte {
			if encoding == "" {
				return []byte(s)
			}
			b, err := base64.StdEncoding.DecodeString(s)
			if err != nil || encoding != "base64" {
				t.Fatalf("%q: %v", encoding, err)
			}
			return b
		}
		var got decodedMessage
		d := json.NewDecoder(strings.NewReader(encoded((*pieces).message, &m)))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatal(err)
		}
		g := &got.Metadata
		if !bytes.Equal(back(got.Payload, g.Encoding), payload) || (g.Encoding == "") != utf8.Valid(payload) {
			t.Fatalf("payload %q came back as %q, encoding %q", payload, got.Payload, g.Encoding)
		}
		if g.ID != m.ID || g.Topic != m.Topic || g.Producer != m.Producer || g.MIMEType != m.MIMEType ||
			g.Created != "2015-01-09T09:21:56.867151" || g.ExpireAt != "2015-01-09T09:22:56.867151" || g.Expiration != 60 || g.Priority != 5 || g.Deliveries != 1 {
			t.Fatalf("%+v came back as %+v", m, got)
		}

		var doc struct {
			XMLName xml.Name `xml:"data"`
			Status  string   `xml:"status"`
			Count   int      `xml:"results_count"`
			Items   []struct {
				Payload    string `xml:"payload"`
				ID         string `xml:"metadata>msg_id"`
				Topic      string `xml:"metadata>topic"`
				Created    string `xml:"metadata>creation_time_utc"`
				Expiration int64  `xml:"metadata>expiration"`
				ExpireAt   string `xml:"metadata>expire_at_utc"`
				Producer   string `xml:"metadata>producer"`
				Priority   int    `xml:"metadata>priority"`
				MIMEType   string `xml:"metadata>mime_type"`
				Deliveries int    `xml:"metadata>delivery_count"`
				Encoding   string `xml:"metadata>encoding"`
			} `xml:"results>item"`
		}
		b := encoded((*pieces).messagesXML, []broker.Message{m, m})
		if err := xml.Unmarshal([]byte(b), &doc); err != nil {
			t.Fatalf("%v: %q", err, b)
		}
		if doc.Status != "ZATO_OK" || doc.Count != 2 || len(doc.Items) != 2 {
			t.Fatalf("%+v", doc)
		}
		for _, x := range doc.Items {
			if !bytes.Equal(back(x.Payload, x.Encoding), payload) {
				t.Fatalf("payload %q came back as %q, encoding %q", payload, x.Payload, x.Encoding)
			}
			if x.ID != xmlSafe(m.ID) || x.Topic != xmlSafe(m.Topic) || x.Producer != xmlSafe(m.Producer) || x.MIMEType != xmlSafe(m.MIMEType) ||
				x.Created != "2015-01-09T09:21:56.867151" || x.ExpireAt != "2015-01-09T09:22:56.867151" || x.Expiration != 60 || x.Priority != 5 || x.Deliveries != 1 {
				t.Fatalf("%+v came back as %+v", m, x)
			}
		}
	})
}

// xmlSafe replaces what XML 1.0 cannot hold.
func xmlSafe(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r != 0xFFFE && r != 0xFFFF {
			return r
		}
		return utf8.RuneError
	}, s)
}
