package acceptance

import (
	"context"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// watched is a rig with a client that publishes to a topic and one that consumes from it.
type watched struct {
	*authRig
	consumer broker.ConsumerInfo
}

const (
	watchedTopic = "/customer/created"
	watchedKey   = "K1"
	watchedHash  = "$2a$10$N7upEGPzocfGmT4H.lnSful.9ehej/hRkBRf3gg9EQXAjfZu7OF2e" // of "secret"
)

func newWatched(t *testing.T, bubble bool) *watched {
	t.Helper()
	w := &watched{authRig: newAuthRig(t, bubble)}
	w.account()
	w.define(broker.Definition{
		Clients:   []broker.Client{{Username: "crm", PasswordHash: watchedHash}, {Username: "erp", PasswordHash: watchedHash}},
		Topics:    []broker.Topic{w.topic(watchedTopic, 100)},
		Producers: []broker.Producer{{Client: "crm", Topic: watchedTopic}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: watchedTopic, SubKey: watchedKey, MaxDepth: 1000, MaxInFlight: 100, AckTimeout: time.Minute}},
	})
	w.consumer = w.b.Consumers()[0]
	return w
}

func (w *watched) topic(name string, depth int64) broker.Topic {
	return broker.Topic{Name: name, MaxDepth: depth, Expiration: property.Off, DedupWindow: property.Off}
}

func (w *watched) define(d broker.Definition) {
	w.t.Helper()
	if _, err := w.b.Change(context.Background(), broker.Change{Define: d}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) publish(topic string, n int, opts ...broker.PublishOption) {
	w.t.Helper()
	for range n {
		if _, err := w.b.Publish(context.Background(), topic, []byte("Hello"), opts...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// receive takes up to n messages and acknowledges them.
func (w *watched) receive(n int) {
	w.t.Helper()
	client := &broker.Client{Username: "erp"}
	sub, err := w.b.Subscription(client, watchedTopic, watchedKey)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := sub.Receive(context.Background(), broker.ReceiveOptions{Max: n, Ack: true}); err != nil {
		w.t.Fatal(err)
	}
}
