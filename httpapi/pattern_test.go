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
