package broker_test

import (
	"bytes"
	"fmt"
	"testing"

	"pipit/broker"
)

// TestReleaseMany releases what waits, is in flight and deferred, for all consumers or one, more than go into one commit.
func TestReleaseMany(t *testing.T) {
	r := newRig(t, broker.Options{})
	a := consumerDef("/t", "a")
	a.MaxInFlight = 1000
	r.define(topicDef("/t"), a, consumerDef("/t", "b"))
	var some []string
	for i := range 300 {
		some = append(some, r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i)}))
	}
	for range 3 { // together more than one commit takes
		some = append(some, r.publish("/t", broker.Publication{Payload: bytes.Repeat([]byte("x"), 1<<20), Delay: 1000}))
	}
	some = append(some, "nope", some[302])
	got := r.receive("/t", "a", broker.ReceiveOptions{Max: 300})
	r.settle("a", broker.Settlement{Reject: ids(got[:10]...), Delay: 600})
	r.receive("/t", "b", broker.ReceiveOptions{Max: 5})

	n, err := broker.Release{IDs: some[:20], Consumer: r.id("b")}.Run(ctx, r.Broker, "/t")
	if err != nil || n != 5 {
		t.Errorf("of one consumer: %d %v", n, err)
	}
	n, err = broker.Release{IDs: some}.Run(ctx, r.Broker, "/t", note("released"))
	if err != nil || n != 303 {
		t.Errorf("%d %v", n, err)
	}
	r.wantNote("released", true)
	if topic, _ := r.Topic("/t"); topic.Delayed != 0 || topic.Depth != 303 {
		t.Errorf("%+v", topic)
	}
	if got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000}); len(got) < 300 {
		t.Errorf("%d messages", len(got))
	}
	for code, release := range map[broker.Code]func() (int, error){
		broker.Invalid:  func() (int, error) { return broker.Release{}.Run(ctx, r.Broker, "/t") },
		broker.NotFound: func() (int, error) { return broker.Release{IDs: some}.Run(ctx, r.Broker, "/none") },
	} {
		_, err := release()
		wantCode(t, err, code)
	}
	_, err = broker.Release{IDs: some, Consumer: 999}.Run(ctx, r.Broker, "/t")
	wantCode(t, err, broker.NotFound)
}
