package httpapi_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/broker/browse"
)

const ndjson = "application/x-ndjson"

func TestBatch(t *testing.T) {
	r := newServer(t)
	body := `{"payload": "low", "priority": 1}` + "\n" +
		`{"payload": "\u017c\n\"", "mime_type": "text/xml", "expiration": 1000, "msg_id": "own"}` + "\r\n" +
		`{"encoding": "base64", "payload": "` + base64.StdEncoding.EncodeToString([]byte("\xff\x00")) + `", "priority": 9}` + "\n" +
		`{"payload": "later", "delay": 31536000}` + "\n" +
		`{"payload": "again", "msg_id": "own"}` + "\n"
	a := r.do("POST", created+"?batch=true", crm, body, "Content-Type", ndjson)
	const id = `"(K[0-9A-Za-z]{27})"`
	m := regexp.MustCompile(`^\{"status": "ZATO_OK", "msg_ids": \[` + id + `, "own", ` + id + `, ` + id + `, "own"\]\}$`).FindStringSubmatch(a.body)
	if a.status != 200 || m == nil || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Zato-Duplicate") != "true" {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	got := r.receive(queue)
	if got.Count != 3 {
		t.Fatalf("%q", got.payloads())
	}
	first, second, third := got.Results[0], got.Results[1], got.Results[2]
	if decoded(t, first) != "\xff\x00" || first.Metadata.ID != m[2] || first.Metadata.Priority != 9 || first.Metadata.MIMEType != "text/plain" {
		t.Errorf("%+v", first)
	}
	if second.Payload != "ż\n\"" || second.Metadata.ID != "own" || second.Metadata.MIMEType != "text/xml" || second.Metadata.Expiration != 1000 {
		t.Errorf("%+v", second)
	}
	if third.Payload != "low" || third.Metadata.ID != m[1] || third.Metadata.Priority != 1 || third.Metadata.Expiration != 60 {
		t.Errorf("%+v", third)
	}
	// Without a repeated ID there is no such header; parameters of the type do not matter.
	a = r.do("POST", created+"?batch=true", crm, `{"payload": "x"}`, "Content-Type", "Application/X-NDJSON; charset=utf-8")
	if a.status != 200 || a.header.Get("X-Zato-Duplicate") != "" || !regexp.MustCompile(`^\{"status": "ZATO_OK", "msg_ids": \[`+id+`\]\}$`).MatchString(a.body) {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
}

// TestDeliverAt: a message waits until the time that it names, in each of its forms, and one that is past is there at once.
func TestDeliverAt(t *testing.T) {
	r := newServer(t)
	for _, past := range []string{"2015-01-09T09:21:56", "2015-01-09T09:21:56.867151Z", "0", "1420795316", ""} {
		r.publish(created+"?deliver_at="+past, "now "+past)
		r.wantPayloads(queue+"?ack=true", "now "+past)
	}
	at := time.Now().UTC().Add(time.Hour).Truncate(time.Second)
	const layout = "2006-01-02T15:04:05"
	r.publish(created+"?deliver_at="+at.Format(layout), "0")
	r.publish(created+"?deliver_at="+fmt.Sprint(at.Unix()), "0")
	lines := fmt.Sprintf(`{"payload": "0", "deliver_at": "%sZ"}`+"\n"+`{"payload": "0", "deliver_at": %d}`+"\n"+`{"payload": "now", "deliver_at": 5}`, at.Format(layout), at.Unix())
	if a := r.do("POST", created+"?batch=true", crm, lines, "Content-Type", ndjson); a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	r.wantPayloads(queue, "now")
	page, err := r.b.Browse(ctx, browse.Options{Topic: "/customer/created", State: browse.Delayed})
	if err != nil || len(page.Messages) != 4 {
		t.Fatalf("%+v %v", page, err)
	}
	for _, m := range page.Messages {
		if m.Due.Before(at) || m.Due.Sub(at) >= time.Second {
			t.Errorf("due at %s, want %s", m.Due, at)
		}
	}
}

// TestByteOrderMark: a mark in front of a batch or of a list of IDs moves no line; a payload is what was sent.
func TestByteOrderMark(t *testing.T) {
	r := newServer(t)
	const mark = "\ufeff"
	batch := func(body string) reply {
		return r.do("POST", created+"?batch=true", crm, mark+body, "Content-Type", ndjson)
	}
	if a := batch(`{"payload": "1", "msg_id": "one"}`); a.status != 200 {
		t.Fatal(a.status, a.body)
	}
	r.refuse(400, "line 2: payload: it is missing", "POST", created+"?batch=true", crm, mark+`{"payload": "1"}`+"\n{}", "Content-Type", ndjson)
	r.refuse(400, "batch of 0 lines: allowed are 1 to 10000", "POST", created+"?batch=true", crm, mark+"\r\n", "Content-Type", ndjson)
	r.publish(created, mark+"2")
	r.wantPayloads(queue, "1", mark+"2")
	if a := r.do("POST", ackMany, erp, mark+`{"ack": ["one"]}`, "X-Zato-PubSub-Key", key); a.status != 200 {
		t.Error(a.status, a.body)
	}
}

// TestBatchOrder: the messages of a batch keep the order of their lines, as do its IDs.
func TestBatchOrder(t *testing.T) {
	r := newServer(t)
	var body strings.Builder
	var want []string
	for i := range 1000 {
		want = append(want, fmt.Sprint(i))
		fmt.Fprintf(&body, "{\"payload\": \"%d\"}\n", i)
	}
	var reply struct {
		Status string   `json:"status"`
		IDs    []string `json:"msg_ids"`
	}
	decodeJSON(t, r.do("POST", created+"?batch=true", crm, body.String(), "Content-Type", ndjson).body, &reply)
	got := r.wantPayloads(queue+"?max=1000", want...)
	if len(reply.IDs) != len(got.Results) {
		t.Fatalf("%d ids", len(reply.IDs))
	}
	for i, m := range got.Results {
		if m.Metadata.ID != reply.IDs[i] {
			t.Fatalf("message %d has ID %s, the reply says %s", i, m.Metadata.ID, reply.IDs[i])
		}
	}
}

func manyAttributes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"n%d": "", `, i)
	}
	return b.String()
}

// TestBadBatch: a bad line is named by its number, and nothing of the batch is stored.
func TestBadBatch(t *testing.T) {
	r := newServer(t)
	const good = `{"payload": "` + marked + `"}` + "\n"
	const form = `not a JSON object with "payload", a string, and perhaps priority, expiration, mime_type, msg_id, delay, deliver_at, correlation_id, reply_to, attributes, encoding`
	for _, c := range []struct{ line, details string }{
		{``, form},
		{`{`, form},
		{`null`, form},
		{`[]`, form},
		{`"` + marked + `"`, form},
		{marked, form},
		{`{"payload": "x"}{"payload": "y"}`, form},
		{`{"payload": "x",}`, form},
		{`{'payload': 'x'}`, form},
		{`{}`, "payload: it is missing"},
		{`{"priority": 5}`, "payload: it is missing"},
		{`{"payload": 5}`, "payload: allowed is a JSON string"},
		{`{"payload": null}`, "payload: allowed is a JSON string"},
		{`{"payload": {"a": 1}}`, "payload: allowed is a JSON string"},
		{`{"payload": "\ud800"}`, "payload: allowed is a JSON string"},
		{"{\"payload\": \"\xff\"}", "payload: allowed is a JSON string"},
		{`{"payload": "*", "encoding": "base64"}`, "payload: not base64, as its encoding says"},
		{`{"payload": "x", "encoding": "hex"}`, `encoding "hex": allowed is base64`},
		{`{"payload": "x", "attributes": ["a"]}`, "attributes: allowed is a JSON object whose values are strings"},
		{`{"payload": "x", "attributes": {"a": null}}`, "attributes: allowed is a JSON object whose values are strings"},
		{`{"payload": "x", "attributes": {"a": "1", "A": "2"}}`, `attribute "a": given more than once`},
		{`{"payload": "x", "attributes": {` + strings.TrimSuffix(manyAttributes(40), ", ") + `}}`, "33 attributes: allowed are at most 32"},
		{`{"payload": "x", "reply_to": "a\tb"}`, `reply_to "a\tb": allowed are at most 256 characters, none of them a control character`},
		{`{"payload": "x", "priority": 10}`, "priority 10: allowed are 1 to 9"},
		{`{"payload": "x", "priority": "5"}`, "priority: allowed are whole numbers"},
		{`{"payload": "x", "priority": true}`, "priority: allowed are whole numbers"},
		{`{"payload": "x", "expiration": -1}`, "expiration -1: allowed are 1 to 3153600000 seconds"},
		{`{"payload": "x", "delay": -1}`, "delay -1: allowed are 0 to 31536000 seconds"},
		{`{"payload": "x", "deliver_at": true}`, "deliver_at: allowed are a JSON string, a UTC time such as 2026-11-23T09:00:00, and a whole number, Unix seconds"},
		{`{"payload": "x", "deliver_at": "09:00"}`, `deliver_at "09:00": allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds`},
		{`{"payload": "x", "deliver_at": 253402300799}`, "deliver_at 9999-12-31T23:59:59: allowed are at most 31536000 seconds from now"},
		{`{"payload": "x", "deliver_at": 1, "delay": 1}`, "deliver_at with delay 1: allowed is one of them"},
		{`{"payload": "x", "mime_type": "\n"}`, `mime_type "\n": allowed are 1 to 255 bytes without control characters`},
		{`{"payload": "x", "msg_id": "a\tb"}`, `msg_id "a\tb": allowed are 1 to 200 characters, none of them a control character`},
		{`{"payload": "x", "payload": "y"}`, `key "payload": given twice`},
		{`{"payload": "x", "prio": 1}`, `key "prio": allowed are payload, priority, expiration, mime_type, msg_id, delay, deliver_at, correlation_id, reply_to, attributes, encoding`},
		{`{"Payload": "x"}`, `key "Payload": allowed are payload, priority, expiration, mime_type, msg_id, delay, deliver_at, correlation_id, reply_to, attributes, encoding`},
	} {
		r.refuse(400, "line 3: "+c.details, "POST", created+"?batch=true", crm, good+good+c.line+"\n"+good, "Content-Type", ndjson)
	}
	for _, body := range []string{"", "\n", "\r\n"} {
		r.refuse(400, "batch of 0 lines: allowed are 1 to 10000", "POST", created+"?batch=true", crm, body, "Content-Type", ndjson)
	}
	r.refuse(400, "batch of 10001 lines: allowed are 1 to 10000", "POST", created+"?batch=true", crm, strings.Repeat(good, 10_001), "Content-Type", ndjson)
	for _, contentType := range []string{"", "application/json", "application/x-www-form-urlencoded", "application/x-ndjsonx", ";"} {
		r.refuse(400, `header Content-Type "`+contentType+`": a batch is application/x-ndjson`, "POST", created+"?batch=true", crm, good, "Content-Type", contentType)
	}
	for _, name := range []string{"priority", "expiration", "mime_type", "msg_id", "delay", "deliver_at"} {
		r.refuse(400, `parameter "`+name+`": in a batch it belongs into the lines`, "POST", created+"?batch=true&"+name+"=1", crm, good, "Content-Type", ndjson)
	}
	r.refuse(403, "Permission denied", "POST", created+"?batch=true", erp, good, "Content-Type", ndjson)
	r.wantPayloads(queue)
	// The same type without the parameter is one message.
	r.publish(created, "{\"payload\": \"a\"}\n", "Content-Type", ndjson)
	r.wantPayloads(queue, "{\"payload\": \"a\"}\n")
}

func TestLargestBatch(t *testing.T) {
	r := newServer(t)
	a := r.do("POST", created+"?batch=true", crm, strings.Repeat("{\"payload\": \"\"}\n", 10_000), "Content-Type", ndjson)
	if n := strings.Count(a.body, `"K`); a.status != 200 || n != 10_000 {
		t.Errorf("%d: %d ids", a.status, n)
	}
}
