package httpapi_test

import (
	"strings"
	"testing"

	"pipit/broker"
)

// TestPatternURLs publishes as a producer of a pattern, and receives at the URL of a pattern, spelled in each way, and at
// that of a topic of it.
func TestPatternURLs(t *testing.T) {
	r := newServer(t)
	_, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{
		Topics:    []broker.Topic{{Name: "/eu/lv/order"}, {Name: "/eu/ee/order"}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/eu/**"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/eu/*/order", SubKey: "pattern-key"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const msg = "/zato/pubsub/msg/"
	for _, pattern := range []string{"/eu/*/order/", "/eu/*/order", "/eu/%2A/order/", "%2Feu%2F*%2Forder"} {
		r.publish("/zato/pubsub/topic//eu/lv/order/", "1")
		r.publish("/zato/pubsub/topic//eu/ee/order/", "2")
		if got := r.receive(msg+"/eu/ee/order/?ack=true", "pattern-key"); strings.Join(got.payloads(), "|") != "2" {
			t.Errorf("of a topic: %q", got.payloads())
		}
		r.publish("/zato/pubsub/topic//eu/ee/order/", "3")
		got := r.receive(msg+pattern, "pattern-key")
		if strings.Join(got.payloads(), "|") != "1|3" || got.Results[0].Metadata.Topic != "/eu/lv/order" || got.Results[1].Metadata.Topic != "/eu/ee/order" {
			t.Fatalf("of %s: %+v", pattern, got)
		}
		r.want(200, `{"status": "ZATO_OK", "acked": 2, "rejected": 0, "extended": 0, "not_found": []}`, "POST", "/zato/pubsub/ack/", erp,
			`{"ack": ["`+got.Results[0].Metadata.ID+`", "`+got.Results[1].Metadata.ID+`"]}`, "X-Zato-PubSub-Key", "pattern-key")
	}
	for _, path := range []string{"/eu/*/", "/eu/**", "/customer/created/"} {
		r.refuse(403, "Permission denied", "POST", msg+path, erp, "", "X-Zato-PubSub-Key", "pattern-key")
	}
	r.refuse(403, "Permission denied", "POST", "/zato/pubsub/topic//eu/*/order/", crm, marked)
}

// TestTemplateURLs publishes to names that no topic has yet, alone, in a batch and by paths whose slashes a proxy has merged.
func TestTemplateURLs(t *testing.T) {
	r := newServer(t)
	_, err := r.b.Change(ctx, broker.Change{Define: broker.Definition{
		Topics: []broker.Topic{{Name: "/eu/*", AutoCreate: true, MaxTopics: 3}, {Name: "/eu/off", AutoCreate: false, Inactive: true}, {Name: "/eu/no/**", AutoCreate: true, Inactive: true},
			{Name: "bare/*", AutoCreate: true}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/eu/**"}, {Client: "crm", Topic: "bare/*"}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/eu/*", SubKey: "pattern-key"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const topic = "/zato/pubsub/topic/"
	r.publish(topic+"/eu/lv/", "1")
	if a := r.do("POST", topic+"/eu/ee?batch=true", crm, `{"payload": "2"}`+"\n"+`{"payload": "3"}`, "Content-Type", "application/x-ndjson"); a.status != 200 {
		t.Fatalf("batch: %+v", a)
	}
	r.publish(topic+"eu/lt/", "4")
	r.publish(topic+"eu/lt/", "5")
	r.publish(topic+"bare/x", "6")
	got := r.receive("/zato/pubsub/msg//eu/*/", "pattern-key")
	if strings.Join(got.payloads(), "|") != "1|2|3|4|5" || got.Results[4].Metadata.Topic != "/eu/lt" || !r.b.HasTopic("bare/x") {
		t.Errorf("%+v", got)
	}
	full := r.refuse(429, "topic \"/eu/pl\": template \"/eu/*\" has made 3 topics, which is its max_topics", "POST", topic+"/eu/pl/", crm, marked)
	if full.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.refuse(429, "topic \"/eu/pl\": template \"/eu/*\" has made 3 topics, which is its max_topics", "POST", topic+"/eu/pl?batch=true", crm, `{"payload": "2"}`, "Content-Type", "application/x-ndjson")
	r.refuse(400, `topic name "/eu/*": a new topic has no * in its name, which is for patterns, unless auto_create makes it a template`, "POST", topic+"/eu/*/", crm, marked)
	for _, path := range []string{"/eu/a/b", "/eu/off", "/eu/no/a", "/us/a", "us/a"} {
		r.refuse(403, "Permission denied", "POST", topic+path, crm, marked)
	}
	r.refuse(403, "Permission denied", "POST", topic+"/eu/lv/", erp, marked)
	r.refuse(403, "Permission denied", "POST", topic+"/eu/new/", erp, marked)
	if n := len(r.b.Topics()); n != 5+1+4 {
		t.Errorf("%d topics", n)
	}
}
