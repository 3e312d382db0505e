package acceptance

import (
	"strings"
	"testing"

	"pipit/admin/api"
)

// TestTraces: what happened to a message is in the API and on its page also when it is gone, is found by its ID and its
// correlation ID, and a message that nobody knows says for how long it would be known.
func TestTraces(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	var m api.Published
	r.ok(201, "POST", "/topics/%2Fcustomer%2Fcreated/messages", jsonObject{"payload": "four", "correlation_id": "order-7"}).into(t, &m)
	wire := []string{"Authorization", "Basic ZXJwOmVycA==", "Content-Type", "application/json", "X-Zato-PubSub-Key", c.SubKey}
	r.ok(200, "POST", "//zato/pubsub/msg//customer/created", nil, wire...)
	r.ok(200, "POST", "//zato/pubsub/ack", jsonObject{"ack": []string{m.ID}}, wire...)

	for _, query := range []string{"id=" + m.ID, "correlation_id=order-7", "id=" + m.ID + "&topic=/customer/created"} {
		var got api.Traces
		r.ok(200, "GET", "/traces?"+query, nil).into(t, &got)
		if len(got.Items) != 1 || got.Items[0].ID != m.ID || got.Items[0].Stored || got.Items[0].Size != 4 || len(got.Items[0].Events) != 2 {
			t.Fatalf("%s: %+v", query, got)
		}
		if e := got.Items[0].Events[1]; e.What != "acknowledged" || e.Consumer != c.ID || e.Client != "erp" || e.Deliveries != 1 || e.Delivered.IsZero() {
			t.Errorf("%s: %+v", query, e)
		}
	}
	for _, query := range []string{"", "id=x&correlation_id=y", "nothing=1"} {
		r.ok(422, "GET", "/traces?"+query, nil)
	}
	if a := r.ok(404, "GET", "/traces?id=unknown", nil); !strings.Contains(string(a.body), "what happened is kept for 7d, of the last 100000 messages") {
		t.Errorf("%s", a.body)
	}
	r.ok(404, "GET", "/traces?topic=/none&id="+m.ID, nil)
}
