package httpapi_test

import (
	"testing"
	"time"

	"pipit/broker"
	"pipit/httpapi/refused"
)

// TestRefusals: of each request that is refused is kept who asked, for what, and why. What the path and the sub_key tell of it
// counts as well where nobody is signed in.
func TestRefusals(t *testing.T) {
	r := newServer(t)
	var erpOrders, erpCreated uint32
	for _, c := range r.b.Consumers() {
		switch {
		case c.Client == "erp" && c.Topic == "orders":
			erpOrders = c.ID
		case c.Client == "erp" && c.Topic == "/customer/created":
			erpCreated = c.ID
		}
	}
	orders := "orders-erp-key"
	_, err := r.b.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{{Client: "bob", Topic: "orders", SubKey: "in-the-path", MaxDepth: 1, MaxInFlight: 1, AckTimeout: time.Hour}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path, auth, key string
		want                    refused.Refusal
	}{
		{"POST", created, "", "", refused.Refusal{Route: "/zato/pubsub/topic", Topic: "/customer/created", Status: 401, Reason: "Invalid credentials: no credentials"}},
		{"POST", created, "crm:wrong-password-1", "", refused.Refusal{Client: "crm", Known: true, Route: "/zato/pubsub/topic", Topic: "/customer/created", Status: 401, Reason: "Invalid credentials: wrong password"}},
		{"POST", created, "nobody:wrong-password-1", "", refused.Refusal{Client: "nobody", Route: "/zato/pubsub/topic", Topic: "/customer/created", Status: 401, Reason: "Invalid credentials: unknown user"}},
		{"POST", "/zato/pubsub/topic/orders", erp, "", refused.Refusal{Client: "erp", Known: true, SignedIn: true, Route: "/zato/pubsub/topic", Topic: "orders", Status: 403, Reason: `Permission denied: client "erp" is no producer of topic "orders"`}},
		{"POST", queue, erp, "no-such-key", refused.Refusal{Client: "erp", Known: true, SignedIn: true, Route: "/zato/pubsub/msg", Topic: "/customer/created", Status: 403, Reason: "Permission denied: unknown sub_key"}},
		{"POST", queue, crm, key, refused.Refusal{Client: "crm", Known: true, SignedIn: true, Route: "/zato/pubsub/msg", Topic: "/customer/created", Consumer: erpCreated, Status: 403, Reason: "Permission denied: the sub_key is another client's"}},
		{"POST", "/zato/pubsub/msg/orders", "erp:wrong-password-1", orders, refused.Refusal{Client: "erp", Known: true, Route: "/zato/pubsub/msg", Topic: "orders", Consumer: erpOrders, Status: 401, Reason: "Invalid credentials: wrong password"}},
		{"DELETE", "/zato/pubsub/msg/K1?ack=true", erp, orders, refused.Refusal{Client: "erp", Known: true, SignedIn: true, Route: "/zato/pubsub/msg", Topic: "orders", Consumer: erpOrders, Status: 404, Reason: "Message not found `K1`"}},
		{"POST", ackMany + "?max=1", erp, orders, refused.Refusal{Client: "erp", Known: true, SignedIn: true, Route: "/zato/pubsub/ack", Topic: "orders", Consumer: erpOrders, Status: 400, Reason: `parameter "max": allowed are format`}},
		{"POST", "/zato/pubsub/msg/in-the-path", bob, "", refused.Refusal{Client: "bob", Known: true, SignedIn: true, Route: "/zato/pubsub/msg", Topic: "orders", Status: 400, Reason: "the path has a sub_key in the place of a topic"}},
		{"GET", "/nothing", "", "", refused.Refusal{Status: 404, Reason: "No such route"}},
	} {
		var header []string
		if test.key != "" {
			header = []string{"X-Zato-PubSub-Key", test.key}
		}
		r.do(test.method, test.path, test.auth, marked, header...)
		got := r.wire.Refusals().List()[0]
		if got.At.IsZero() || got.Addr != "127.0.0.1" || got.Method != test.method {
			t.Errorf("%+v", got)
		}
		got.At, got.Addr, got.Method, got.Number = test.want.At, "", "", 0
		if got != test.want {
			t.Errorf("%s %s:\n%+v, want\n%+v", test.method, test.path, got, test.want)
		}
	}
	n := len(r.wire.Refusals().List())
	r.publish(created, "fine")
	r.wantPayloads(queue, "fine")
	if len(r.wire.Refusals().List()) != n {
		t.Error("what was not refused is kept")
	}
}
