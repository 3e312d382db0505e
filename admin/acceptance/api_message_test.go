package acceptance

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/admin/api"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker/limit"
)

// fileOf returns the name under which a browser would save an answer.
func fileOf(a apiAnswer) string {
	_, p, _ := mime.ParseMediaType(a.Header.Get("Content-Disposition"))
	return p["filename"]
}

// TestPayloadName: an ID of any characters is a name of a file.
func TestPayloadName(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	id := "ž \"; a\\b"
	r.publish(jsonObject{"payload": "x", "msg_id": id})
	if a := r.ok(200, "GET", "/messages/%2Fcustomer%2Fcreated/"+url.PathEscape(id)+"/payload", nil); fileOf(a) != id+".bin" {
		t.Errorf("%v", a.Header)
	}
}

const apiTopic = "/topics/%2Fcustomer%2Fcreated"

// publish publishes a message to /customer/created and returns its ID.
func (r *apiRig) publish(body jsonObject) string {
	r.t.Helper()
	return r.ok(201, "POST", apiTopic+"/messages", body).field(r.t, "msg_id").(string)
}

// messages returns a page of them.
func (r *apiRig) messages(query string) api.MessagePage {
	r.t.Helper()
	var page api.MessagePage
	r.ok(200, "GET", "/messages?"+query, nil).into(r.t, &page)
	return page
}

func ids(page api.MessagePage) []string {
	var list []string
	for _, m := range page.Items {
		list = append(list, m.ID)
	}
	return list
}

func TestPublish(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	binary := []byte{0, 1, 0xff, 0xfe}
	for i, tt := range []struct {
		body jsonObject
		want object.Message
	}{
		{jsonObject{"payload": "Hello"}, object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte("Hello")}},
		{jsonObject{"payload": ""}, object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte{}}},
		{jsonObject{"payload": "<b>&\u2028</b>\x00"}, object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte("<b>&\u2028</b>\x00")}},
		{jsonObject{"payload_base64": base64.StdEncoding.EncodeToString(binary), "mime_type": "application/x-thing", "priority": 9, "expiration": 3600, "msg_id": "my-own.1"},
			object.Message{ID: "my-own.1", Priority: 9, MIMEType: "application/x-thing", Expiration: 3600, Payload: binary}},
		{jsonObject{"payload": "x", "correlation_id": "c-1", "reply_to": "/r", "attributes": jsonObject{"Kind": "order", "b": ""}},
			object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte("x"), CorrelationID: "c-1", ReplyTo: "/r", Attributes: map[string]string{"kind": "order", "b": ""}}},
		{jsonObject{"payload": "later", "delay": 600, "priority": nil, "payload_base64": nil}, object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte("later"), State: "delayed"}},
		{jsonObject{"payload": "later", "deliver_at": time.Now().Add(10 * time.Minute).UTC().Format(time.RFC3339Nano)},
			object.Message{Priority: 5, MIMEType: "text/plain", Expiration: 60, Payload: []byte("later"), State: "delayed"}},
	} {
		a := r.ok(201, "POST", apiTopic+"/messages", tt.body)
		id := a.field(t, "msg_id").(string)
		if tt.want.ID != "" && id != tt.want.ID {
			t.Errorf("%d: msg_id %q", i, id)
		}
		var got api.MessageDetail
		r.ok(200, "GET", strings.TrimPrefix(a.Header.Get("Location"), gate.V1), nil).into(t, &got)
		m := got.Message
		if m.ID != id || m.Topic != "/customer/created" || m.Priority != tt.want.Priority || m.MIMEType != tt.want.MIMEType || m.Expiration != tt.want.Expiration ||
			m.CorrelationID != tt.want.CorrelationID || m.ReplyTo != tt.want.ReplyTo || !maps.Equal(m.Attributes, tt.want.Attributes) ||
			!bytes.Equal(m.Payload, tt.want.Payload) || m.Size != len(tt.want.Payload) || m.Producer != "admin token boss" || m.Truncated {
			t.Errorf("%d: %+v", i, m)
		}
		if time.Since(m.Created.Time) > time.Minute || m.ExpireAt.Sub(m.Due.Time) != time.Duration(m.Expiration)*time.Second || tt.want.State == "delayed" && m.Due.Sub(m.Created.Time) != 10*time.Minute {
			t.Errorf("%d: times of %+v", i, m)
		}
		if tt.want.State == "" && (len(got.Standings) != 1 || got.Standings[0].Consumer != c.ID || got.Standings[0].State != "waiting" || got.Standings[0].Client != "erp") {
			t.Errorf("%d: standings %+v", i, got.Standings)
		}
	}
	// What a Publication marshals to is a body.
	r.ok(201, "POST", apiTopic+"/messages", object.Publication{Payload: binary, Priority: 3})
	r.ok(201, "POST", apiTopic+"/messages", object.Publication{Payload: []byte("text")})
}

func TestPublishRefused(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	long := strings.Repeat("x", 300)
	for _, tt := range []struct {
		body    string
		status  int
		code    string
		pointer string
	}{
		{`{}`, 422, "invalid", "/payload"},
		{`{"payload": null}`, 422, "invalid", "/payload"},
		{`{"payload": "a", "payload_base64": "YQ=="}`, 422, "invalid", "/payload_base64"},
		{`{"payload_base64": "!"}`, 422, "invalid", "/payload_base64"},
		{`{"payload_base64": "YQ"}`, 422, "invalid", "/payload_base64"},
		{`{"payload": 7}`, 422, "invalid", "/payload"},
		{`{"payload": "a", "priority": 0}`, 422, "invalid", "/priority"},
		{`{"payload": "a", "priority": 10}`, 422, "invalid", "/priority"},
		{`{"payload": "a", "priority": 4294967301}`, 422, "invalid", "/priority"},
		{`{"payload": "a", "expiration": 0}`, 422, "invalid", "/expiration"},
		{`{"payload": "a", "expiration": 99999999999}`, 422, "invalid", "/expiration"},
		{`{"payload": "a", "delay": -1}`, 422, "invalid", "/delay"},
		{`{"payload": "a", "delay": 99999999}`, 422, "invalid", "/delay"},
		{`{"payload": "a", "deliver_at": ""}`, 422, "invalid", "/deliver_at"},
		{`{"payload": "a", "deliver_at": "tomorrow"}`, 422, "invalid", "/deliver_at"},
		{`{"payload": "a", "deliver_at": "9999-01-01T00:00:00"}`, 422, "invalid", "/deliver_at"},
		{`{"payload": "a", "deliver_at": "1700000000", "delay": 1}`, 422, "invalid", "/deliver_at"},
		{`{"payload": "a", "mime_type": ""}`, 422, "invalid", "/mime_type"},
		{`{"payload": "a", "mime_type": "` + long + `"}`, 422, "invalid", "/mime_type"},
		{`{"payload": "a", "msg_id": ""}`, 422, "invalid", "/msg_id"},
		{`{"payload": "a", "msg_id": "a\tb"}`, 422, "invalid", "/msg_id"},
		{`{"payload": "a", "correlation_id": "` + long + `"}`, 422, "invalid", "/correlation_id"},
		{`{"payload": "a", "reply_to": "\n"}`, 422, "invalid", "/reply_to"},
		{`{"payload": "a", "attributes": ["a"]}`, 422, "invalid", "/attributes"},
		{`{"payload": "a", "attributes": {"a": 1}}`, 422, "invalid", "/attributes"},
		{`{"payload": "a", "attributes": {"a b": "1"}}`, 422, "invalid", "/attributes"},
		{`{"payload": "a", "attributes": {"a": "1", "A": "1"}}`, 422, "invalid", "/attributes"},
		{`{"payload": "a", "topic": "/x"}`, 422, "invalid", "/topic"},
		{`"a"`, 400, "malformed", ""},
		{`{"payload": "` + strings.Repeat("x", limit.DefaultMaxPayload+1) + `"}`, 413, "too_large", ""},
	} {
		p := r.refused(tt.status, tt.code, "POST", apiTopic+"/messages", tt.body)
		if tt.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != tt.pointer) {
			t.Errorf("%.80s: errors %v", tt.body, p.Errors)
		}
	}
	r.refused(404, "not_found", "POST", "/topics/%2Fnone/messages", `{"payload": "a"}`)
	r.ok(200, "PATCH", apiTopic, `{"is_active": false}`)
	r.refused(409, "inactive", "POST", apiTopic+"/messages", `{"payload": "a"}`)
	r.ok(200, "PATCH", apiTopic, `{"is_active": true, "max_depth": 1}`)
	r.publish(jsonObject{"payload": "the one"})
	a := r.do("POST", apiTopic+"/messages", jsonObject{"payload": "one more"})
	var p gate.Problem
	a.into(t, &p)
	if a.StatusCode != 429 || p.Code != "full" || a.Header.Get("Retry-After") == "" {
		t.Errorf("a full topic: %s %s", a.Status, a.body)
	}
	if n := len(r.messages("topic=/customer/created").Items); n != 1 {
		t.Errorf("%d messages", n)
	}
	// A payload of the largest size is taken in either way of writing.
	r.ok(200, "PATCH", apiTopic, `{"max_depth": 9}`)
	r.publish(jsonObject{"payload": strings.Repeat("x", limit.DefaultMaxPayload)})
	r.publish(jsonObject{"payload_base64": bytes.Repeat([]byte{0xff}, limit.DefaultMaxPayload)})
}

func TestBrowse(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	var low, high []string
	for i := range 5 {
		low = append(low, r.publish(jsonObject{"payload": fmt.Sprintf("low %d ü", i), "priority": 2}))
		high = append(high, r.publish(jsonObject{"payload": fmt.Sprintf("high %d", i), "priority": 8}))
	}
	later := r.publish(jsonObject{"payload": "later", "delay": 600})
	all := slices.Concat(high, low)
	of := "topic=/customer/created"
	for _, tt := range []struct {
		query string
		want  []string
	}{
		{of, all},
		{fmt.Sprintf("consumer=%d", c.ID), all},
		{of + fmt.Sprintf("&consumer=%d", c.ID), all},
		{of + "&priority=2", low},
		{of + "&text=HIGH", high},
		{of + "&text=HIGH&match_case=true", nil},
		{of + "&text=high&match_case=true", high},
		{"text=HIGH", high},
		{"", all},
		{"priority=2&newest=true", []string{low[4], low[3], low[2], low[1], low[0]}},
		{of + "&text=%C3%BC", low},
		{of + "&text=nowhere", nil},
		{of + "&state=delayed", []string{later}},
		{of + "&state=in_flight", nil},
		{of + "&state=waiting", all},
		{of + "&since=2001-01-01T00:00:00Z", all},
		{of + "&until=2001-01-01T00:00:00Z", nil},
		{of + "&since=2101-01-01T00:00:00%2B02:00", nil},
	} {
		if got := ids(r.messages(tt.query)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.query, got, tt.want)
		}
	}
	if page := r.messages("text=nowhere"); page.Scanned != 10 || page.Total != 10 {
		t.Errorf("%d of %d looked at", page.Scanned, page.Total)
	}
	// Pages.
	var got []string
	cursor := ""
	for pages := 0; ; pages++ {
		page := r.messages(of + "&limit=3" + cursor)
		got = append(got, ids(page)...)
		if page.Next == "" {
			break
		}
		if pages > 10 || len(page.Items) > 3 {
			t.Fatalf("page %d has %d messages", pages, len(page.Items))
		}
		cursor = "&cursor=" + url.QueryEscape(page.Next)
	}
	if !slices.Equal(got, all) {
		t.Errorf("in pages: %q, want %q", got, all)
	}
	// Payloads.
	for _, tt := range []struct {
		query   string
		payload []byte
		cut     bool
	}{
		{"", []byte("low 0 ü"), false},
		{"&payload=0", nil, false},
		{"&payload=3", []byte("low"), true},
		{"&payload=7", []byte("low 0 "), true}, // not half of a character
		{"&payload=65536", []byte("low 0 ü"), false},
	} {
		m := r.messages(of + "&priority=2&limit=1" + tt.query).Items[0]
		if !bytes.Equal(m.Payload, tt.payload) || (m.Payload == nil) != (tt.payload == nil) || m.Truncated != tt.cut || m.Size != 8 {
			t.Errorf("%s: %q, truncated %t, size %d", tt.query, m.Payload, m.Truncated, m.Size)
		}
	}
	// Nothing of it was a delivery.
	if got := r.ok(200, "GET", fmt.Sprintf("/consumers/%d", c.ID), nil); got.field(t, "in_flight") != 0.0 || got.field(t, "delivered") != 0.0 || got.field(t, "backlog") != 10.0 || got.field(t, "oldest") == nil {
		t.Errorf("after browsing: %s", got.body)
	}

	for _, tt := range []struct{ query, parameter string }{
		{"topic=", "topic"}, {"newest=x", "newest"}, {"match_case=2", "match_case"},
		{of + "&state=done", "state"}, {of + "&state=", "state"}, {of + "&priority=0", "priority"}, {of + "&priority=x", "priority"},
		{of + "&limit=1001", "limit"}, {of + "&limit=0", "limit"}, {of + "&payload=-1", "payload"}, {of + "&payload=65537", "payload"},
		{of + "&payload=65536&limit=1000", "payload"}, {of + "&since=yesterday", "since"}, {of + "&until=2001-01-01", "until"},
		{"consumer=x", "consumer"}, {"consumer=0", "consumer"}, {of + "&colour=red", "colour"},
		{of + "&cursor=x", "cursor"}, {of + "&text=" + strings.Repeat("x", 257), "text"},
	} {
		p := r.refused(422, "invalid", "GET", "/messages?"+tt.query, nil)
		if len(p.Errors) != 1 || p.Errors[0].Parameter != tt.parameter {
			t.Errorf("%s: errors %v", tt.query, p.Errors)
		}
	}
	r.refused(404, "not_found", "GET", "/messages?topic=/none", nil)
	r.refused(404, "not_found", "GET", "/messages?consumer=4711", nil)
}

func TestMessage(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	receive := func(n float64) {
		t.Helper()
		a := r.ok(200, "POST", "//zato/pubsub/msg//customer/created", nil, "Authorization", "Basic ZXJwOmVycA==", "X-Zato-PubSub-Key", c.SubKey)
		if got := a.field(t, "results_count"); got != n {
			t.Errorf("%v received, want %v", got, n)
		}
	}
	id := r.publish(jsonObject{"payload_base64": "AAECAw==", "mime_type": "text/html"})
	one := "/messages/%2Fcustomer%2Fcreated/" + id
	a := r.ok(200, "GET", one+"/payload", nil)
	if a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("X-Content-Type-Options") != "nosniff" ||
		fileOf(a) != id+".bin" || !bytes.Equal(a.body, []byte{0, 1, 2, 3}) {
		t.Errorf("payload: %q %v", a.body, a.Header)
	}
	for _, tt := range []struct{ query, want string }{{"", `"payload":"\u0000\u0001\u0002\u0003"`}, {"?payload=2", `"payload":"\u0000\u0001"`}, {"?payload=99", `\u0003"`}} {
		if a := r.ok(200, "GET", one+tt.query, nil); !strings.Contains(string(a.body), tt.want) {
			t.Errorf("%s: %s", tt.query, a.body)
		}
	}
	if a := r.ok(200, "GET", one+"?payload=0", nil); strings.Contains(string(a.body), `"payload"`) {
		t.Errorf("without the payload: %s", a.body)
	}
	receive(1)
	var got api.MessageDetail
	r.ok(200, "GET", one, nil).into(t, &got)
	if s := got.Standings[0]; s.State != "in_flight" || s.Deliveries != 1 || s.Until.IsZero() {
		t.Errorf("in flight: %+v", s)
	}
	receive(0)
	if a := r.ok(200, "POST", one+fmt.Sprintf("/release?consumer=%d", c.ID), nil); a.field(t, "released") != true {
		t.Errorf("released: %s", a.body)
	}
	if a := r.ok(200, "POST", one+"/release", nil); a.field(t, "released") != false {
		t.Errorf("released again: %s", a.body)
	}
	receive(1)
	consumer := fmt.Sprintf("/consumers/%d", c.ID)
	for _, tt := range []struct {
		action string
		n      float64
		left   float64
	}{{"/release", 1, 1}, {"/release", 0, 1}, {"", 0, 0}, {"/clear-in-flight", 1, 0}, {"/clear-in-flight", 0, 0}, {"/clear", 0, 0}} {
		if tt.action == "" {
			receive(1)
			continue
		}
		if a := r.ok(200, "POST", consumer+tt.action, nil); a.field(t, "messages") != tt.n {
			t.Errorf("%s: %s", tt.action, a.body)
		}
		if left := r.ok(200, "GET", consumer, nil).field(t, "backlog"); left != tt.left {
			t.Errorf("%s: %v messages are left", tt.action, left)
		}
	}
	for range 3 {
		r.publish(jsonObject{"payload": "x"})
	}
	receive(3)
	r.publish(jsonObject{"payload": "y"})
	if a := r.ok(200, "POST", consumer+"/clear", nil); a.field(t, "messages") != 4.0 {
		t.Errorf("clear: %s", a.body)
	}

	later := r.publish(jsonObject{"payload": "later", "delay": 600})
	receive(0)
	if a := r.ok(200, "POST", "/messages/%2Fcustomer%2Fcreated/"+later+"/release", nil); a.field(t, "released") != true {
		t.Errorf("released: %s", a.body)
	}
	receive(1)

	var list []string
	for range 4 {
		list = append(list, r.publish(jsonObject{"payload": "x"}))
	}
	if a := r.ok(200, "DELETE", "/messages/%2Fcustomer%2Fcreated/"+list[0], nil); a.field(t, "messages") != 1.0 {
		t.Errorf("deleted: %s", a.body)
	}
	if a := r.ok(200, "POST", apiTopic+"/messages/delete", jsonObject{"ids": append(list, "nobody")}); a.field(t, "messages") != 3.0 {
		t.Errorf("deleted: %s", a.body)
	}
	receive(0)
	r.refused(404, "not_found", "DELETE", "/messages/%2Fcustomer%2Fcreated/"+list[0], nil)
	for _, path := range []string{"/messages/%2Fcustomer%2Fcreated/nobody", "/messages/%2Fnone/" + id} {
		r.refused(404, "not_found", "GET", path, nil)
		r.refused(404, "not_found", "GET", path+"/payload", nil)
		r.refused(404, "not_found", "POST", path+"/release", nil)
		r.refused(404, "not_found", "DELETE", path, nil)
	}
	r.refused(404, "not_found", "POST", "/topics/%2Fnone/messages/delete", jsonObject{"ids": []string{"a"}})
	for body, pointer := range map[string]string{`{}`: "/ids", `{"ids": []}`: "/ids", `{"ids": "a"}`: "/ids", `{"ids": [1]}`: "/ids", `{"list": ["a"]}`: "/list"} {
		if p := r.refused(422, "invalid", "POST", apiTopic+"/messages/delete", body); len(p.Errors) != 1 || p.Errors[0].Pointer != pointer {
			t.Errorf("%s: errors %v", body, p.Errors)
		}
	}
	if p := r.refused(422, "invalid", "POST", apiTopic+"/messages/delete", jsonObject{"ids": slices.Repeat([]string{"a"}, limit.MaxSettle+1)}); len(p.Errors) != 1 {
		t.Errorf("errors %v", p.Errors)
	}
	r.refused(422, "invalid", "POST", one+"/release?consumer=x", nil)
	for _, action := range []string{"/clear", "/clear-in-flight", "/release"} {
		r.refused(404, "not_found", "POST", "/consumers/4711"+action, nil)
		r.refused(422, "invalid", "POST", consumer+action+"?force=true", nil)
	}

	got2 := actions(t, r)
	for _, want := range []string{"message.delete", "message.release", "consumer.clear", "consumer.clear_in_flight", "consumer.release"} {
		if !slices.Contains(got2, want) {
			t.Errorf("%s is not in the audit log", want)
		}
	}
}

// TestNoRoom has every change refused while the disk is full, and reads go on.
func TestNoRoom(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	id := r.publish(jsonObject{"payload": "x", "delay": 60})
	before := r.ok(200, "GET", "/export", nil).body
	r.store.full.Store(true)
	consumer := fmt.Sprintf("/consumers/%d", c.ID)
	for _, tt := range []struct {
		method, path string
		body         any
	}{
		{"POST", "/topics", jsonObject{"name": "/x"}},
		{"PATCH", apiTopic, jsonObject{"max_depth": 3}},
		{"DELETE", apiTopic, nil},
		{"POST", apiTopic + "/messages", jsonObject{"payload": "x"}},
		{"POST", consumer + "/rotate", nil},
		{"POST", "/messages/%2Fcustomer%2Fcreated/" + id + "/release", nil},
		{"DELETE", "/messages/%2Fcustomer%2Fcreated/" + id, nil},
		{"POST", "/import", jsonObject{"version": 1, "topics": []jsonObject{{"name": "/y"}}}},
		{"POST", "/tokens", jsonObject{"name": "one"}},
	} {
		r.refused(507, "disk_full", tt.method, tt.path, tt.body)
	}
	if after := r.ok(200, "GET", "/export", nil).body; !bytes.Equal(before, after) {
		t.Errorf("something was changed: %s", after)
	}
	if a := r.ok(200, "GET", "/stats", nil); !strings.Contains(string(a.body), "write_failed") || !strings.Contains(string(a.body), "the test says") {
		t.Errorf("stats: %s", a.body)
	}
	r.store.full.Store(false)
	r.ok(200, "DELETE", apiTopic, nil)
}

// TestDraining has what comes too late refused.
func TestDraining(t *testing.T) {
	r := newAPIRig(t)
	r.example()
	if err := r.b.Close(); err != nil {
		t.Fatal(err)
	}
	a := r.do("POST", "/topics", jsonObject{"name": "/x"})
	if a.StatusCode != 503 || a.Header.Get("Retry-After") == "" || a.field(t, "code") != "unavailable" {
		t.Errorf("after the end: %s %s", a.Status, a.body)
	}
}

func TestStats(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	r.ok(200, "PATCH", apiTopic, jsonObject{"max_depth": 5})
	for range 4 {
		r.publish(jsonObject{"payload": "x"})
	}
	r.publish(jsonObject{"payload": "x", "delay": 60})
	var s api.Stats
	a := r.ok(200, "GET", "/stats", nil)
	a.into(t, &s)
	if s.Topics != 1 || s.Clients != 2 || s.Producers != 1 || s.Consumers != 1 || s.Depth != 4 || s.Delayed != 1 || s.Backlog != 4 || s.Published != 5 || s.Oldest.IsZero() || s.Database.Size == 0 {
		t.Errorf("stats: %s", a.body)
	}
	codes := map[string]string{}
	for _, n := range s.Attention {
		codes[n.Code] = n.Key
	}
	if codes["topic_full"] != "/customer/created" || codes["consumer_away"] != fmt.Sprint(c.ID) {
		t.Errorf("attention: %s", a.body)
	}
	for _, query := range []string{"", "?range=hour", "?range=day", "?range=hour&topic=/customer/created"} {
		r.ok(200, "GET", "/stats/history"+query, nil)
	}
	r.refused(422, "invalid", "GET", "/stats/history?range=year", nil)
	r.refused(422, "invalid", "GET", "/stats?verbose=1", nil)
	r.refused(404, "not_found", "GET", "/stats/history?topic=/none", nil)
	a = r.ok(200, "GET", "/openapi.json", nil)
	if document, err := os.ReadFile("../api/openapi.json"); err != nil || !bytes.Equal(a.body, document) {
		t.Error("the document is another one", err)
	}
	r.ok(304, "GET", "/openapi.json", nil, "If-None-Match", a.Header.Get("ETag"))
}
