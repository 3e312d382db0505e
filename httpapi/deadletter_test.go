package httpapi_test

import (
	"testing"

	"pipit/broker"
	"pipit/broker/stats"
)

// withDeadLetters sends what fails at /customer/created to orders.
func withDeadLetters(s *setup) {
	s.consume = func(c *broker.Consumer) {
		if c.Topic == "/customer/created" {
			c.DeadLetterTopic, c.MaxDeliveries = "orders", 2
		}
	}
}

func TestRejectForGood(t *testing.T) {
	r := newServer(t, withDeadLetters)
	a, b := r.publish(created, "a"), r.publish(created, "b")
	c, d := r.publish(created, "c"), r.publish(created, "d")
	r.wantPayloads(queue, "a", "b", "c", "d")
	r.settle(a, "reject=true&dead_letter=true")
	r.notFound(a, "ack=true")
	r.want(200, `{"status": "ZATO_OK", "acked": 1, "rejected": 1, "extended": 0, "dead_lettered": 1, "not_found": ["nope"]}`, "POST", ackMany, erp,
		`{"dead_letter": ["`+b+`", "nope"], "ack": ["`+c+`"], "reject": ["`+d+`"]}`, "X-Zato-PubSub-Key", key)
	r.wantPayloads(queue, "d")
	r.settle(d, "reject=true") // it was delivered twice
	r.wantPayloads(queue)
	for _, info := range r.b.Consumers() {
		if info.SubKey == key && (info.Backlog != 0 || info.DeadLettered != stats.Failures{MaxDeliveries: 1, Rejected: 2}) {
			t.Errorf("%+v", info)
		}
	}
	if top, _ := r.b.Topic("orders"); top.Depth != 3 {
		t.Errorf("%d dead letters", top.Depth)
	}

	for query, details := range map[string]string{
		"ack=true&dead_letter=true":             `dead_letter "true": allowed with reject=true alone`,
		"extend=5&dead_letter=1":                `dead_letter "1": allowed with reject=true alone`,
		"reject=true&dead_letter=true&delay=30": `delay "30": allowed with reject=true alone`,
		"reject=true&dead_letter=maybe":         `dead_letter "maybe": allowed are true, 1, yes, on, t, y and false, 0, no, off, f, n`,
	} {
		r.refuse(400, details, "DELETE", "/zato/pubsub/msg/"+a+"/?"+query, erp, "", "X-Zato-PubSub-Key", key)
	}
	r.refuse(400, `msg_id "K1": given twice`, "POST", ackMany, erp, `{"dead_letter": ["K1"], "reject": ["K1"]}`, "X-Zato-PubSub-Key", key)
}
