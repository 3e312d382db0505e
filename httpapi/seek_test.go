package httpapi_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
)

const seek = "/zato/pubsub/seek//customer/created/"

// retained is a server whose topics keep for an hour what everyone is done with.
func retained(t *testing.T, change ...func(*setup)) *rig {
	t.Helper()
	return newServer(t, append(change, func(s *setup) {
		s.topic = func(t *broker.Topic) { t.Retention, t.Expiration = time.Hour, 3600 }
	})...)
}

// TestSeek: each form of a place, at each spelling of the URL, brings the consumer there, and others notice nothing.
func TestSeek(t *testing.T) {
	r := retained(t)
	for _, payload := range []string{"1", "2", "3"} {
		r.publish(created, payload)
	}
	second := r.wantPayloads(queue+"?ack=true", "1", "2", "3").Results[1].Metadata
	const bare = "/zato/pubsub/seek//customer/created"
	for _, c := range []struct {
		path, body, backlog string
		want                []string
	}{
		{seek, `{"to": "oldest"}`, "3", []string{"1", "2", "3"}},
		{seek, `"oldest"`, "3", []string{"1", "2", "3"}},
		{seek, "\ufeff" + `{"to": "oldest"}`, "3", []string{"1", "2", "3"}},
		{seek, `{"to": "newest"}`, "0", nil},
		{bare, `{"to": "` + second.Created + `"}`, "2", []string{"2", "3"}},
		{"/zato/pubsub/seek/%2Fcustomer%2Fcreated/", `{"to": "` + second.Created + `Z"}`, "2", []string{"2", "3"}},
		{"/zato/pubsub/seek/customer/created/", `{"to": "2015-01-09T09:21:56"}`, "3", []string{"1", "2", "3"}},
		{seek, `{"to": "9999-01-01T00:00:00"}`, "0", nil},
		{seek + "?_=1", `{"msg_id": "` + second.ID + `"}`, "2", []string{"2", "3"}},
	} {
		r.want(200, `{"status": "ZATO_OK", "backlog": `+c.backlog+`}`, "POST", c.path, erp, c.body, "X-Zato-PubSub-Key", key)
		for _, m := range r.wantPayloads(queue+"?ack=true", c.want...).Results {
			if m.Metadata.Deliveries != 1 {
				t.Errorf("%s: %+v", c.body, m)
			}
		}
	}
	a := r.do("POST", seek+"?format=xml", erp, `{"to": "oldest"}`, "X-Zato-PubSub-Key", key)
	if a.status != 200 || !strings.HasSuffix(a.body, "<data><status>ZATO_OK</status><backlog>3</backlog></data>") {
		t.Errorf("as XML: %d %s", a.status, a.body)
	}
	if got := r.parsed(r.do("POST", queue, bob, "", "X-Zato-PubSub-Key", "bobs-own-key")); got.Count != 3 {
		t.Errorf("another consumer: %+v", got)
	}
}

// TestSeekRefused: what is no place, or not the caller's, is refused, and the consumer stays where it is.
func TestSeekRefused(t *testing.T) {
	r := retained(t, func(s *setup) { s.consume = func(c *broker.Consumer) { c.MaxDepth = 2 } })
	for _, payload := range []string{"1", "2", "3"} {
		r.publish(created, payload)
		r.wantPayloads(queue+"?ack=true", payload)
		r.do("POST", queue+"?ack=true", bob, "", "X-Zato-PubSub-Key", "bobs-own-key")
	}
	const form = `not a JSON object with "to", which is "oldest", "newest" or a UTC time, or with "msg_id"`
	const to = `to "%": allowed are oldest, newest and a UTC time such as 2026-11-23T09:00:00`
	for _, c := range []struct {
		status        int
		body, details string
	}{
		{400, ``, form}, {400, `{}`, form}, {400, `null`, form}, {400, `{"to": 5}`, form}, {400, `{"to": "oldest", "msg_id": "x"}`, form}, {400, `{"to": "oldest"} x`, form},
		{400, `{"to": "first"}`, strings.Replace(to, "%", "first", 1)},
		{400, `{"to": "2026-11-23T09:00:00+01:00"}`, strings.Replace(to, "%", "2026-11-23T09:00:00+01:00", 1)},
		{400, `{"msg_id": ""}`, `msg_id "": allowed are 1 to 200 characters, none of them a control character`},
		{404, `{"msg_id": "none"}`, "Message not found `none`"},
		{413, strings.Repeat(" ", 4097), "body: allowed are at most 4096 bytes"},
		{429, `{"to": "oldest"}`, "3 messages would wait: allowed by max_depth of the consumer are 2"},
	} {
		r.refuse(c.status, c.details, "POST", seek, erp, c.body, "X-Zato-PubSub-Key", key)
	}
	const oldest = `{"to": "oldest"}`
	r.refuse(400, `parameter "to": allowed are format`, "POST", seek+"?to=oldest", erp, oldest, "X-Zato-PubSub-Key", key)
	r.refuse(400, "Header X-Zato-PubSub-Key: exactly one is needed, the consumer's sub_key", "POST", seek, erp, oldest)
	r.refuse(401, "Invalid credentials", "POST", seek, "", oldest, "X-Zato-PubSub-Key", key)
	for _, path := range []string{"/zato/pubsub/seek//none/", "/zato/pubsub/seek/orders/"} {
		r.refuse(403, "Permission denied", "POST", path, erp, oldest, "X-Zato-PubSub-Key", key)
	}
	r.refuse(403, "Permission denied", "POST", seek, erp, oldest, "X-Zato-PubSub-Key", "bobs-own-key")
	r.refuse(404, "No such route: a topic name is missing", "POST", "/zato/pubsub/seek/", erp, oldest, "X-Zato-PubSub-Key", key)
	if a := r.do("GET", seek, erp, "", "X-Zato-PubSub-Key", key); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", a.status, a.header)
	}
	r.wantPayloads(queue)
}

// TestSeekPattern: at the URL of its pattern a consumer seeks in all topics of it, at that of one of them in that one.
func TestSeekPattern(t *testing.T) {
	r := retained(t)
	topic := func(name string) broker.Topic {
		return broker.Topic{Name: name, Retention: time.Hour, MaxDepth: limit.DefaultMaxDepth}
	}
	_, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{
		Topics:    []broker.Topic{topic("/eu/lv/order"), topic("/eu/ee/order")},
		Producers: []broker.Producer{{Client: "crm", Topic: "/eu/**"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/eu/*/order", SubKey: "pattern-key"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i, name := range []string{"lv", "ee", "lv", "ee"} {
		ids = append(ids, r.publish("/zato/pubsub/topic//eu/"+name+"/order/", string(rune('1'+i))))
	}
	const all = "/eu/*/order/"
	receive := func(want string) {
		t.Helper()
		if got := strings.Join(r.receive("/zato/pubsub/msg/"+all+"?ack=true", "pattern-key").payloads(), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	receive("1 2 3 4")
	for _, c := range []struct{ path, body, backlog, want string }{
		{all, `{"to": "oldest"}`, "4", "1 2 3 4"},
		{url.PathEscape("/eu/*/order"), `{"to": "oldest"}`, "4", "1 2 3 4"},
		{"/eu/ee/order/", `{"to": "oldest"}`, "2", "2 4"},
		{all, `{"to": "newest"}`, "0", ""},
		{all, `{"msg_id": "` + ids[2] + `"}`, "2", "3 4"},
		{all, `{"msg_id": "` + ids[1] + `"}`, "3", "2 3 4"},
		{"/eu/lv/order/", `{"msg_id": "` + ids[2] + `"}`, "1", "3"},
	} {
		r.want(200, `{"status": "ZATO_OK", "backlog": `+c.backlog+`}`, "POST", "/zato/pubsub/seek/"+c.path, erp, c.body, "X-Zato-PubSub-Key", "pattern-key")
		receive(c.want)
	}
	r.refuse(404, "Message not found `none`", "POST", "/zato/pubsub/seek/"+all, erp, `{"msg_id": "none"}`, "X-Zato-PubSub-Key", "pattern-key")
	r.refuse(404, "Message not found `"+ids[1]+"`", "POST", "/zato/pubsub/seek//eu/lv/order/", erp, `{"msg_id": "`+ids[1]+`"}`, "X-Zato-PubSub-Key", "pattern-key")
}
