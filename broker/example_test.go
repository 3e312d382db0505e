package broker_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
	"pipit/db"
)

// A program opens a store and a broker on it, says what topics and clients there are, and publishes
// and receives.
func Example() {
	dir, err := os.MkdirTemp("", "pipit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	store, err := db.Open(filepath.Join(dir, "pipit.db"), db.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{ServiceName: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close() // closes the store too

	// Apply can be called at every start: what is there already stays as it is. What is left out has its default, so that
	// a topic is its name; Off is for a number that is to be 0, here for messages that never expire.
	ctx := context.Background()
	_, err = b.Apply(ctx, broker.Definition{
		Clients:   []broker.Client{{Username: "erp", Name: "ERP", Password: "secret"}},
		Topics:    []broker.Topic{{Name: "/order/created", Expiration: property.Off}},
		Consumers: []broker.Consumer{{Client: "erp", Topic: "/order/created", AckTimeout: time.Minute}},
	})
	if err != nil {
		log.Fatal(err)
	}

	// When Publish returns, the message is on disk for every consumer.
	for i := range 3 {
		if _, err := b.Publish(ctx, "/order/created", fmt.Appendf(nil, "order %d", i)); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := b.Publish(ctx, "/order/created", []byte("rush order"), broker.WithPriority(9)); err != nil {
		log.Fatal(err)
	}

	// A consumer has a queue of its own. Within the program nobody asks for its password; over HTTP that is needed.
	queue, err := b.Queue("erp", "/order/created", "")
	if err != nil {
		log.Fatal(err)
	}
	msgs, err := queue.Receive(ctx, broker.ReceiveOptions{Wait: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	var done broker.Settlement
	for _, m := range msgs {
		fmt.Printf("%s from %s, delivery %d\n", m.Payload, m.Producer, m.DeliveryCount)
		done.Ack = append(done.Ack, m.ID)
	}

	// When Settle returns, none of them is ever delivered to this consumer again.
	settled, err := queue.Settle(done)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(settled.Acked, "acknowledged")

	// Output:
	// rush order from orders, delivery 1
	// order 0 from orders, delivery 1
	// order 1 from orders, delivery 1
	// order 2 from orders, delivery 1
	// 4 acknowledged
}

// One call publishes. With an ID of its own a message can be published again where the first
// answer was lost: it is stored once.
func ExampleBroker_Publish() {
	dir, err := os.MkdirTemp("", "pipit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := db.Open(filepath.Join(dir, "pipit.db"), db.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	if _, err := b.Apply(ctx, broker.Definition{Topics: []broker.Topic{{Name: "/invoice", MaxDepth: 1,
		DedupWindow: time.Hour}}}); err != nil {
		log.Fatal(err)
	}

	for range 2 {
		id, err := b.Publish(ctx, "/invoice", []byte(`{"total": 100}`),
			broker.WithID("invoice-1"), broker.WithMIMEType("application/json"), broker.WithExpiration(3600))
		fmt.Println(id, err)
	}
	_, err = b.Publish(ctx, "/invoice", []byte(`{"total": 200}`))
	fmt.Println(broker.CodeOf(err) == broker.Full)
	_, err = b.Publish(ctx, "/nowhere", nil)
	fmt.Println(err)

	// Output:
	// invoice-1 <nil>
	// invoice-1 <nil>
	// true
	// No topic "/nowhere"
}

// Objects are edited and deleted by a change: all of it in one commit, or nothing.
func ExampleBroker_Change() {
	dir, err := os.MkdirTemp("", "pipit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := db.Open(filepath.Join(dir, "pipit.db"), db.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	if _, err := b.Apply(ctx, broker.Definition{Topics: []broker.Topic{{Name: "/invoice"}, {Name: "/old"}}}); err != nil {
		log.Fatal(err)
	}

	info, ok := b.Topic("/invoice")
	if !ok {
		log.Fatal("no topic /invoice")
	}
	invoice := info.Topic
	invoice.MaxDepth = 500
	_, err = b.Change(ctx, broker.Change{
		Define: broker.Definition{Topics: []broker.Topic{invoice}},
		Delete: []change.Ref{{Kind: change.Topic, Name: "/old"}},
	})
	fmt.Println(err)
	_, err = b.Change(ctx, broker.Change{Delete: []change.Ref{{Kind: change.Topic, Name: "/old"}}})
	fmt.Println(broker.CodeOf(err))

	// Output:
	// <nil>
	// NotFound
}

// What cannot be handled goes back to its queue, and comes again at once, after a delay, or as the consumer says.
func ExampleSubscription_Settle() {
	dir, err := os.MkdirTemp("", "pipit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := db.Open(filepath.Join(dir, "pipit.db"), db.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	ctx := context.Background()
	if _, err := b.Apply(ctx, broker.Definition{
		Clients:   []broker.Client{{Username: "stock", Password: "a long password"}},
		Topics:    []broker.Topic{{Name: "/order"}},
		Consumers: []broker.Consumer{{Client: "stock", Topic: "/order"}},
	}); err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, "/order", []byte("17"), broker.WithID("order-17")); err != nil {
		log.Fatal(err)
	}
	queue, err := b.Queue("stock", "/order", "")
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		msgs, err := queue.Receive(ctx, broker.ReceiveOptions{Max: 1, Wait: time.Minute})
		if err != nil {
			log.Fatal(err)
		}
		var done broker.Settlement
		for _, m := range msgs {
			fmt.Printf("%s, delivery %d\n", m.ID, m.DeliveryCount)
			if m.DeliveryCount == 1 {
				done.Reject = append(done.Reject, m.ID)
			} else {
				done.Ack = append(done.Ack, m.ID)
			}
		}
		settled, err := queue.Settle(done)
		fmt.Println(settled.Acked, "acknowledged,", settled.Rejected, "rejected", err)
	}

	// Output:
	// order-17, delivery 1
	// 0 acknowledged, 1 rejected <nil>
	// order-17, delivery 2
	// 1 acknowledged, 0 rejected <nil>
}
