package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"pipit/broker"
)

// Each code prints its name, so that what a program logs says more than a number.
func TestCodesPrint(t *testing.T) {
	seen := map[string]broker.Code{}
	for c := broker.Internal; c <= broker.Conflict; c++ {
		name := fmt.Sprint(c)
		if former, ok := seen[name]; ok || name == "" || name[0] == 'C' && c != broker.Conflict {
			t.Errorf("code %d prints %q, as %d does", int(c), name, int(former))
		}
		seen[name] = c
	}
	if got := fmt.Sprint(broker.Code(99), broker.Code(-1)); got != "Code(99) Code(-1)" {
		t.Error(got)
	}
}

// A program that embeds a broker needs neither password nor sub_key to receive, and the door is as good as one of a client.
func TestQueueInProcess(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
	queue, err := r.Broker.Queue("crm", "/t", "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Broker.Publish(ctx, "/t", []byte("one")); err != nil {
		t.Fatal(err)
	}
	// Another password is nobody's business here.
	if _, err := r.Apply(ctx, broker.Definition{Clients: []broker.Client{{Username: "crm", Password: "another one"}}}); err != nil {
		t.Fatal(err)
	}
	msgs, err := queue.Receive(ctx, broker.ReceiveOptions{})
	if err != nil || payloads(msgs) != "one " {
		t.Fatal(payloads(msgs), err)
	}
	if done, err := queue.Settle(broker.Settlement{Ack: []string{msgs[0].ID}}); err != nil || done.Acked != 1 {
		t.Error(done, err)
	}
	if got := payloads(r.receive("/t", "b", broker.ReceiveOptions{})); got != "one " {
		t.Errorf("the other consumer has %q", got)
	}
	for _, c := range [][3]string{{"crm", "/t", "c"}, {"crm", "/u", "a"}, {"erp", "/t", "a"}} {
		if _, err := r.Broker.Queue(c[0], c[1], c[2]); broker.CodeOf(err) != broker.NotFound {
			t.Errorf("%q: %v", c, err)
		}
	}
	if _, err := r.Apply(ctx, broker.Definition{Clients: []broker.Client{{Username: "crm", Inactive: true}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Broker.Queue("crm", "/t", "a"); broker.CodeOf(err) != broker.Denied {
		t.Errorf("of a client that is not active: %v", err)
	}
}

// A context that has ended is no fault of the broker: the message was not stored, and the error says why.
func TestPublishAfterTheEnd(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	over, cancel := context.WithCancelCause(ctx)
	cause := errors.New("the user has gone home")
	cancel(cause)
	if _, err := r.Broker.Publish(over, "/t", nil); broker.CodeOf(err) != broker.Unavailable || !errors.Is(err, cause) {
		t.Errorf("%v, of code %v", err, broker.CodeOf(err))
	}
	if got := r.receive("/t", "a", broker.ReceiveOptions{}); len(got) != 0 {
		t.Errorf("stored: %q", payloads(got))
	}
}

// Where nobody has signed in there is an error, and no panic.
func TestNilClient(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	if _, err := r.Broker.Publisher(nil, "/t"); broker.CodeOf(err) != broker.Unauthorized {
		t.Error(err)
	}
	if _, err := r.Broker.Subscription(nil, "/t", "a"); broker.CodeOf(err) != broker.Unauthorized {
		t.Error(err)
	}
	nobody := r.Subscriber(nil, "/t", "127.0.0.1")
	if _, err := nobody.Subscribe(ctx); broker.CodeOf(err) != broker.Denied {
		t.Error(err)
	}
	if _, err := nobody.Subscribed(); broker.CodeOf(err) != broker.Denied {
		t.Error(err)
	}
	if err := nobody.Unsubscribe(ctx); broker.CodeOf(err) != broker.Denied {
		t.Error(err)
	}
}
