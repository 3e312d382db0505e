package httpapi

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pipit/broker"
	"pipit/broker/limit"
)

// strictLine is a line of a batch as encoding/json reads it.
type strictLine struct {
	Payload    *string `json:"payload"`
	Priority   *int64  `json:"priority"`
	Expiration *int64  `json:"expiration"`
	MIMEType   *string `json:"mime_type"`
	ID         *string `json:"msg_id"`
	Delay      *int64  `json:"delay"`
	Encoding   *string `json:"encoding"`
	DeliverAt  any     `json:"deliver_at"`

	CorrelationID *string           `json:"correlation_id"`
	ReplyTo       *string           `json:"reply_to"`
	Attributes    map[string]string `json:"attributes"`
}

// strict decodes a line with encoding/json: one object with known keys alone.
func strict(line []byte) (l strictLine, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(&l); err != nil {
		return l, err
	}
	if len(bytes.TrimLeft(line[d.InputOffset():], " \t\r\n")) > 0 {
		return l, errors.New("something follows")
	}
	return l, nil
}

// keysOf returns the keys of a JSON object, in order, also those given twice.
func keysOf(line []byte) (keys []string, nulls bool) {
	d := json.NewDecoder(bytes.NewReader(line))
	depth, isKey := 0, false
	for {
		token, err := d.Token()
		if err != nil {
			return keys, nulls
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
				isKey = v == '{'
			} else {
				depth--
			}
		case nil:
			nulls, isKey = true, true
		case string:
			if isKey && depth == 1 {
				keys = append(keys, v)
			}
			isKey = !isKey
		default:
			isKey = true
		}
	}
}

// publication returns what a strict line means, and whether it is within all limits.
func (l strictLine) publication() (m broker.Publication, ok bool) {
	if l.Payload == nil {
		return m, false
	}
	m.Payload = []byte(*l.Payload)
	if l.Encoding != nil {
		b, err := base64.StdEncoding.DecodeString(*l.Payload)
		if err != nil || *l.Encoding != "base64" {
			return m, false
		}
		m.Payload = b
	}
	ok = true
	number := func(v *int64, check func(int64) error) int64 {
		if v == nil {
			return 0
		}
		ok = ok && (*v == 0 || check(*v) == nil)
		return *v
	}
	text := func(v *string, check func(string) error) string {
		if v == nil {
			return ""
		}
		ok = ok && (*v == "" || check(*v) == nil)
		return *v
	}
	m.Priority = int(number(l.Priority, limit.CheckPriority))
	m.Expiration = number(l.Expiration, limit.CheckExpiration)
	m.Delay = number(l.Delay, limit.CheckDelay)
	m.MIMEType = text(l.MIMEType, limit.CheckMIMEType)
	m.ID = text(l.ID, limit.CheckMessageID)
	m.CorrelationID = text(l.CorrelationID, limit.CheckCorrelationID)
	m.ReplyTo = text(l.ReplyTo, limit.CheckReplyTo)
	switch at := fmt.Sprint(l.DeliverAt); {
	case l.DeliverAt == nil, l.DeliverAt == "":
	case l.DeliverAt == json.Number("-0"):
		m.DeliverAt = time.Unix(0, 0)
	default:
		var err error
		m.DeliverAt, err = limit.ParseDeliverAt(at)
		ok = ok && err == nil
	}
	for _, name := range slices.Sorted(maps.Keys(l.Attributes)) {
		m.Attributes = append(m.Attributes, broker.Attribute{Name: name, Value: l.Attributes[name]})
	}
	return m, ok && limit.CheckAttributes(m.Attributes) == nil
}

func same(a, b *broker.Publication) bool {
	return bytes.Equal(a.Payload, b.Payload) && a.Priority == b.Priority && a.Expiration == b.Expiration &&
		a.MIMEType == b.MIMEType && a.ID == b.ID && a.Delay == b.Delay && a.DeliverAt.Equal(b.DeliverAt) && a.CorrelationID == b.CorrelationID && a.ReplyTo == b.ReplyTo &&
		slices.Equal(byName(a.Attributes), byName(b.Attributes))
}

func byName(list []broker.Attribute) []broker.Attribute {
	return slices.SortedFunc(slices.Values(list), func(a, b broker.Attribute) int { return strings.Compare(a.Name, b.Name) })
}

// checkLine compares parseLine with encoding/json.
func checkLine(t *testing.T, line []byte) {
	t.Helper()
	before := bytes.Clone(line)
	var got broker.Publication
	err := parseLine(line, &got)
	if !bytes.Equal(line, before) {
		t.Fatalf("%q was changed to %q", before, line)
	}
	l, strictErr := strict(line)
	want, valid := l.publication()
	if err == nil {
		if strictErr != nil || !valid {
			t.Fatalf("%q is accepted; encoding/json: %v, valid: %t", line, strictErr, valid)
		}
		if !same(&got, &want) {
			t.Fatalf("%q is read as %+v, not %+v", line, got, want)
		}
		if !utf8.Valid(line) {
			t.Fatalf("%q is accepted, which is not UTF-8", line)
		}
		return
	}
	if strictErr != nil || !valid {
		return
	}
	// What encoding/json takes and we do not.
	keys, nulls := keysOf(line)
	distinct := slices.Compact(slices.Sorted(slices.Values(keys)))
	exact := len(distinct) == len(keys) && !slices.ContainsFunc(keys, func(k string) bool { return lineKeys[k] == 0 })
	replaced := !utf8.Valid(line) || strings.ContainsRune(fmt.Sprint(string(want.Payload), want.MIMEType, want.CorrelationID, want.ReplyTo, want.Attributes), utf8.RuneError) // a lone surrogate
	twice := strings.Contains(err.Error(), "given more than once")                                                                                                            // a key of attributes
	if l.Encoding != nil {
		replaced = !utf8.Valid(line) || strings.ContainsRune(*l.Payload, utf8.RuneError)
	}
	if exact && !nulls && !replaced && !twice && !bytes.ContainsRune(line, '\n') {
		t.Fatalf("%q is refused: %v", line, err)
	}
}

var lines = []string{
	`{"payload": "Hello"}`,
	`{"payload":"Hello","priority":9,"expiration":60,"mime_type":"text/xml","msg_id":"a.b_c-1","delay":0}`,
	" \t{ \"payload\" : \"x\" , \"delay\" : 31536000 } \r",
	`{"payload": ""}`,
	`{"payload": "\"\\\/\b\f\n\r\t\u0041\u017c\ud83d\ude00\u0000"}`,
	`{"payload": "ż€😀` + "\u2028\x7f" + `"}`,
	`{"payload": "AP8=", "encoding": "base64"}`,
	`{"payload": "A\u0050\u0038=", "encoding": "base64"}`,
	`{"encoding": "base64", "payload": "/w=="}`,
	`{"p\u0061yload": "x"}`,
	`{"payload": "x", "priority": -0, "delay": -0}`,
	`{"payload": "x", "delay": -0}`,
	`{"payload": "x", "priority": 0, "expiration": 0, "mime_type": "", "msg_id": ""}`,
	`{"payload": "x", "msg_id": "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"}`,
	`{"payload": "x", "msg_id": "{GUID} ż/"}`,
	`{"payload": "A\nP8=", "encoding": "base64"}`, // lines of base64 are usual
	`{"payload": "x", "correlation_id": "c", "reply_to": "/r", "attributes": {"Kind": "order", "ce-type": "", "\u0061": "\u017c"}}`,
	`{"payload": "x", "correlation_id": "", "reply_to": "", "attributes": {}}`,
	`{"payload": "x", "attributes": null}`,
	`{"payload": "x", "deliver_at": "2026-11-23T09:00:00.5"}`, `{"payload": "x", "deliver_at": 1795424400}`, `{"payload": "x", "deliver_at": "1795424400"}`,
	`{"payload": "x", "deliver_at": -0}`, `{"payload": "x", "deliver_at": ""}`,
	// Not accepted.
	`{"payload": "x", "deliver_at": -1}`, `{"payload": "x", "deliver_at": 1.5}`, `{"payload": "x", "deliver_at": 253402300800}`, `{"payload": "x", "deliver_at": "tomorrow"}`,
	`{"payload": "x", "deliver_at": "2026-11-23T09:00:00+01:00"}`, `{"payload": "x", "deliver_at": null}`, `{"payload": "x", "deliver_at": true}`, `{"payload": "x", "deliver_at": "+5"}`,
	`{"payload": "x", "attributes": []}`, `{"payload": "x", "attributes": "a"}`, `{"payload": "x", "attributes": {"a": 1}}`, `{"payload": "x", "attributes": {"a b": "1"}}`,
	`{"payload": "x", "attributes": {"a": "1", "A": "2"}}`, `{"payload": "x", "attributes": {"a": {}}}`, `{"payload": "x", "attributes": {"a": "\n"}}`, `{"payload": "x", "correlation_id": "\n"}`, `{"payload": "x", "reply_to": 1}`,
	``, `{`, `{}`, `null`, `[]`, `"x"`, `{"payload": "x"`, `{"payload": "x",}`, `{,"payload": "x"}`, `{"payload": "x"} x`, `{"payload": "x"}{}`,
	`{"payload" "x"}`, `{"payload": x}`, `{"payload": 1}`, `{"payload": null}`, `{"payload": {}}`, `{"payload": "x" "priority": 1}`,
	`{"payload": "x", "priority": 10}`, `{"payload": "x", "priority": "5"}`, `{"payload": "x", "priority": 05}`,
	`{"payload": "x", "priority": 5.0}`, `{"payload": "x", "priority": 5e0}`, `{"payload": "x", "priority": +5}`, `{"payload": "x", "priority": -}`,
	`{"payload": "x", "priority": }`, `{"payload": "x", "priority": 99999999999999999999}`, `{"payload": "x", "expiration": -1}`, `{"payload": "x", "delay": -1}`,
	`{"payload": "x", "delay": 4294967297}`, `{"payload": "x", "priority": 4294967301}`,
	`{"payload": "x", "mime_type": "\n"}`, `{"payload": "x", "msg_id": "a\tb"}`, `{"payload": "x", "encoding": "hex"}`,
	`{"payload": "%", "encoding": "base64"}`, `{"payload": "x", "payload": "y"}`, `{"payload": "x", "Priority": 1}`, `{"PAYLOAD": "x"}`, `{"priority": 1}`,
	`{"payload": "x", "topic": "/other"}`, `{"payload": "\ud83d"}`, `{"payload": "\ude00"}`, `{"payload": "\ud83d\u0041"}`, `{"payload": "\x"}`, `{"payload": "\u00g0"}`,
	`{"payload": "\u12`, `{"payload": "\`, `{"payload": "x`, "{\"payload\": \"\xff\"}", "{\"payload\": \"a\\n\xff\"}", "{\"payload\": \"\x01\"}", "{\"payload\": \"a\\n\x01\"}",
	"{\"payload\": \"tab\there\"}", "\ufeff{\"payload\": \"x\"}", "{\"payload\": \"x\"\v}",
	`{"payload": "\u+041"}`, `{"payload": "\u 041"}`, `{"payload": "\u0_41"}`, `{"payload": "\U0041"}`,
}

func TestParseLine(t *testing.T) {
	for i, line := range lines {
		checkLine(t, []byte(line))
		var m broker.Publication
		if err := parseLine([]byte(line), &m); (err == nil) != (i < 24) {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestParseBatch(t *testing.T) {
	all := func(*broker.Publication) error { return nil }
	for _, c := range []struct {
		body, payloads, err string
	}{
		{"{\"payload\": \"a\"}", "a", ""},
		{"{\"payload\": \"a\"}\n", "a", ""},
		{"{\"payload\": \"a\"}\r\n{\"payload\": \"b\"}\r\n", "a b", ""},
		{"{\"payload\": \"a\"}\n{\"payload\": \"b\"}", "a b", ""},
		{"", "", "batch of 0 lines: allowed are 1 to 10000"},
		{"\n", "", "batch of 0 lines: allowed are 1 to 10000"},
		{"\r\n", "", "batch of 0 lines: allowed are 1 to 10000"},
		{"{\"payload\": \"a\"}\n\n", "", "line 2: " + errSyntax.Error()},
		{"\n{\"payload\": \"a\"}", "", "line 1: " + errSyntax.Error()},
		{"{\"payload\": \"a\"}\n\n{\"payload\": \"b\"}", "", "line 2: " + errSyntax.Error()},
		{"{\"payload\": \"a\"}\n{\"payload\": 1}", "", "line 2: payload: allowed is a JSON string"},
		{"{\"payload\": \"a\"}\n{\"payload\": \"b\", \"priority\": 10}", "", "line 2: priority 10: allowed are 1 to 9"},
		{strings.Repeat("{\"payload\": \"\"}\n", 10_001), "", "batch of 10001 lines: allowed are 1 to 10000"},
		{strings.Repeat("\n", 100_000), "", "batch of 100000 lines: allowed are 1 to 10000"},
	} {
		pubs, err := parseBatch([]byte(c.body), all)
		var payloads []string
		for _, m := range pubs {
			payloads = append(payloads, string(m.Payload))
		}
		if got := strings.Join(payloads, " "); got != c.payloads || (err == nil) != (c.err == "") || err != nil && (err.Error() != c.err || broker.CodeOf(err) != broker.Invalid) {
			t.Errorf("%.60q: %q, %v, want %q, %s", c.body, got, err, c.payloads, c.err)
		}
	}
	if pubs, err := parseBatch([]byte(strings.Repeat("{\"payload\": \"\"}\n", 10_000)), all); err != nil || len(pubs) != 10_000 {
		t.Errorf("%d lines: %v", len(pubs), err)
	}
	_, err := parseBatch([]byte(`{"payload": "x"}`), func(*broker.Publication) error { return &broker.Error{Code: broker.TooLarge, Message: "too large"} })
	if broker.CodeOf(err) != broker.TooLarge || err.Error() != "line 1: too large" {
		t.Error(err)
	}
}

func FuzzBatch(f *testing.F) {
	for _, line := range lines {
		f.Add([]byte(line))
	}
	f.Add([]byte("{\"payload\": \"a\"}\r\n{\"payload\": \"b\"}\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		pubs, err := parseBatch(body, func(*broker.Publication) error { return nil })
		trimmed := bytes.TrimSuffix(bytes.TrimSuffix(bytes.TrimPrefix(body, byteOrderMark), []byte("\n")), []byte("\r"))
		split := bytes.Split(trimmed, []byte("\n"))
		good := len(trimmed) > 0 && len(split) <= limit.MaxBatch
		for i, line := range split {
			checkLine(t, line)
			var m broker.Publication
			if good && parseLine(line, &m) != nil {
				good = false
			}
			if err == nil && !same(&m, &pubs[i]) {
				t.Fatalf("line %d is read as %+v and %+v", i+1, m, pubs[i])
			}
		}
		if good != (err == nil) || err == nil && len(pubs) != len(split) {
			t.Fatalf("%q: %d messages of %d lines, %v", body, len(pubs), len(split), err)
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{"", "max=1", "max=1&max=2", "max=%31", "dir=lifo&ack=true&wait=60", "ack", "=", "&", "a;b", "%zz", "max=+1", "max=-0", "max=9223372036854775808", "max=-9223372036854775809", "max=0", "max=1001", "max=&dir=&ack=", "DIR=FIFO", "dir=LIFO&ack=Yes", "ack=oN", "_=1&_=2", "_x", "format=XML", "format=yaml", "%66ormat=xml", "x=1"} {
		f.Add(s)
	}
	allowed := []string{"max", "dir", "wait", "ack"}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := parseParams(query, allowed...)
		values, bad := url.ParseQuery(query)
		fine := bad == nil
		for name, v := range values {
			format := strings.ToLower(v[0])
			known := slices.Contains(allowed, name) || name == "format" && (format == "" || format == "json" || format == "xml")
			fine = fine && (strings.HasPrefix(name, "_") || known && len(v) == 1)
		}
		if wantsXML(query) && (err == nil) && p["format"] == "" {
			t.Fatalf("%q is taken for one that wants XML", query)
		}
		if fine != (err == nil) {
			t.Fatalf("%q: %v", query, err)
		}
		if err != nil {
			if broker.CodeOf(err) != broker.Invalid {
				t.Fatalf("%q: %v", query, err)
			}
			return
		}
		for _, name := range allowed {
			if v, given := p[name]; given != values.Has(name) || v != values.Get(name) {
				t.Fatalf("%q: %s is %q", query, name, v)
			}
		}
		if o, err := receiveOptions(p); err == nil {
			n, bad := strconv.Atoi(cmp.Or(p["max"], "100"))
			if errors.Is(bad, strconv.ErrRange) {
				bad = nil
			}
			if n = min(n, limit.MaxReceive); n == 0 {
				n = 100
			}
			on := slices.Contains([]string{"true", "1", "yes", "on", "t", "y"}, strings.ToLower(p["ack"]))
			if bad != nil || o.Max != n || n < 1 || (o.Order == broker.LIFO) != strings.EqualFold(p["dir"], "lifo") || o.Ack != on || o.Wait != 0 {
				t.Fatalf("%q: %+v", query, o)
			}
		}
	})
}

func FuzzSettlement(f *testing.F) {
	for _, s := range []string{`{"ack": ["K1"]}`, `{"ack": ["a", "b"], "reject": ["c"], "delay": 30}`, `{}`, `null`, `[]`, ``, `{"ack": ["a"]} x`, `{"ack": ["a", "a"]}`,
		`{"ack": null, "reject": ["x"]}`, `{"reject": ["x"], "delay": -1}`, `{"extend": {"K1": 120, "K2": 43200}, "ack": ["x"]}`, `{"extend": {"K1": 0}}`, `{"extend": {"K1": 1, "K1": 2}}`, `{"extend": null}`, `{"ACK": ["x"]}`, `{"ack": ["x"], "ack": ["y"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		st, err := parseSettlement(body)
		if err != nil {
			if broker.CodeOf(err) != broker.Invalid {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q is accepted", body)
		}
		ids := slices.Concat(st.Ack, st.Reject)
		extend := map[string]int64{}
		for _, e := range st.Extend {
			ids, extend[e.ID] = append(ids, e.ID), e.Seconds
			if limit.CheckExtend(e.Seconds) != nil {
				t.Fatalf("%q: %+v", body, st)
			}
		}
		if len(ids) < 1 || len(ids) > limit.MaxSettle || limit.CheckDelay(st.Delay) != nil {
			t.Fatalf("%q: %+v", body, st)
		}
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] || limit.CheckMessageID(id) != nil {
				t.Fatalf("%q: %q", body, id)
			}
			seen[id] = true
		}
		again, err := json.Marshal(map[string]any{"ack": st.Ack, "reject": st.Reject, "delay": st.Delay, "extend": extend})
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseSettlement(again)
		if err != nil || !slices.Equal(back.Ack, st.Ack) || !slices.Equal(back.Reject, st.Reject) || len(back.Extend) != len(extend) || back.Delay != st.Delay {
			t.Fatalf("%q: %+v came back as %+v, %v", body, st, back, err)
		}
	})
}
