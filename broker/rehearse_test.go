package broker_test

import (
	"fmt"
	"testing"

	"pipit/broker"
	"pipit/broker/store"
)

// stored returns what a broker finds that opens the rig's file, which is closed.
func (r *rig) stored() *store.Image {
	r.t.Helper()
	s := r.openStore()
	defer s.Close()
	image, err := s.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	return image
}

// TestRehearse: it refuses what Apply does, in the same words, over what is stored.
func TestRehearse(t *testing.T) {
	r := newRig(t, broker.Options{})
	kept := consumerDef("/t", "key")
	kept.DeadLetterTopic = "/dead"
	r.define(topicDef("/dead"))
	r.define(topicDef("/t"), kept)
	r.change(broker.Change{Define: broker.Definition{Clients: []broker.Client{{Username: "erp", PasswordHash: hash}}}})
	consumer := func(change func(*broker.Consumer)) broker.Definition {
		c := consumerDef("/t", "key")
		change(&c)
		return broker.Definition{Consumers: []broker.Consumer{c}}
	}
	definitions := []broker.Definition{
		{},
		{Clients: []broker.Client{{Username: "new", Password: "a password"}}, Topics: []broker.Topic{topicDef("/new")},
			Producers: []broker.Producer{{Client: "new", Topic: "/new"}, {Client: "erp", Topic: "/t"}}},
		consumer(func(c *broker.Consumer) { c.MaxDepth = 7 }),
		consumer(func(c *broker.Consumer) { c.DeadLetterTopic = "/none" }),
		consumer(func(c *broker.Consumer) { c.DeadLetterTopic = "/t" }),
		consumer(func(c *broker.Consumer) { c.Client = "erp" }), // the sub_key is another's
		consumer(func(c *broker.Consumer) { c.Topic = "/none" }),
		{Producers: []broker.Producer{{Client: "nobody", Topic: "/t"}}},
		{Clients: []broker.Client{{Username: "new", Password: string(make([]byte, 73))}}},
		{Clients: []broker.Client{{Username: "other"}}}, // no password
		{Webhooks: []broker.Webhook{{Name: "w", Topic: "/t", Client: "crm", Verify: broker.VerifyGitHub}}},
	}
	r.close()
	image := r.stored()
	var rehearsed []error
	for _, d := range definitions {
		rehearsed = append(rehearsed, d.Rehearse(image))
	}
	if d := definitions[1].Clients[0]; d.Password != "a password" || d.PasswordHash != "" {
		t.Errorf("it has changed what it was given: %+v", d)
	}
	r.open()
	refused := 0
	for i, d := range definitions {
		_, err := r.Apply(ctx, d)
		if fmt.Sprint(err) != fmt.Sprint(rehearsed[i]) || broker.CodeOf(err) != broker.CodeOf(rehearsed[i]) {
			t.Errorf("%d: %v, rehearsed: %v", i, err, rehearsed[i])
		}
		if err != nil {
			refused++
		}
	}
	if refused != len(definitions)-3 {
		t.Errorf("%d of %d are refused", refused, len(definitions))
	}

	image.Objects[0].Value = []byte("{")
	if err := (broker.Definition{}).Rehearse(image); err == nil {
		t.Error("a damaged store is taken for a good one")
	}
}
