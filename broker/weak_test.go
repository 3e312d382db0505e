package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/segmentio/ksuid"

	"pipit/broker"
	"pipit/broker/property"
)

func TestWeakDefinition(t *testing.T) {
	var d broker.Definition
	if weak := d.Weak(); len(weak) != 0 {
		t.Error(weak)
	}
	d.Clients = []broker.Client{{Username: "hashed", PasswordHash: hash}, {Username: "good", Password: "a long password"}}
	d.Consumers = []broker.Consumer{{Client: "a", Topic: "/t"}, {Client: "a", Topic: "/t", SubKey: "sixteen--letters"}, {Client: "a", Topic: "/t", SubKey: "fifteen-letters"}}
	for i := range 12 {
		d.Clients = append(d.Clients, broker.Client{Username: fmt.Sprint("c", i), Password: "secret"})
	}
	got := strings.Join(d.Weak(), "\n")
	want := `the passwords of 12 clients are weak: "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9" and 2 more
the sub_key of consumer "a" of topic "/t" is weak: it is shorter than 16 characters`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Dead letters that expire before anybody looks are warned about.
func TestWarnsOfLettersThatExpire(t *testing.T) {
	d := broker.Definition{
		Topics: []broker.Topic{{Name: "/t"}, {Name: "/dead"}, {Name: "/kept", Expiration: property.Off}, {Name: "/day", Expiration: 24 * 60 * 60}},
		Consumers: []broker.Consumer{{Client: "a", Topic: "/t"}, {Client: "b", Topic: "/t", DeadLetterTopic: "/dead"},
			{Client: "c", Topic: "/t", DeadLetterTopic: "/kept"}, {Client: "d", Topic: "/t", DeadLetterTopic: "/day"}, {Client: "e", Topic: "/t", DeadLetterTopic: "/elsewhere"}},
	}
	want := `the dead letters of consumer "b" of topic "/t" are lost soon: "/dead" has them expire after 60 seconds, expiration = 0 keeps them`
	if got := strings.Join(d.Weak(), "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d.Topics[1].Expiration = 90
	d.Consumers[2].DeadLetterTopic = "/dead"
	want = `the dead letters of 2 consumers are lost soon, since their topics have them expire: "b" of topic "/t", "c" of topic "/t"`
	if got := strings.Join(d.Weak(), "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A sub_key that is made is never a weak one: each of its 128 bits behind the time is by chance.
func TestMadeKeys(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	var d broker.Definition
	for range 64 {
		c := consumerDef("/t", "")
		c.New = true
		d.Consumers = append(d.Consumers, c)
	}
	made := r.change(broker.Change{Define: d}).Made
	var ones, zeros [16]byte
	for _, c := range made {
		if broker.WeakSubKey(c.SubKey) != "" {
			t.Errorf("%s is weak", c.SubKey)
		}
		id, err := ksuid.Parse(strings.TrimPrefix(c.SubKey, "K"))
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range id.Payload() {
			ones[i] |= b
			zeros[i] |= ^b
		}
	}
	for i := range ones { // in 64 keys a bit of chance is one and zero, but once in 2^56 runs
		if ones[i] != 0xff || zeros[i] != 0xff {
			t.Errorf("byte %d: bits %08b are never 1, %08b never 0", i, ^ones[i], ^zeros[i])
		}
	}
	if len(made) != 64 {
		t.Errorf("%d keys", len(made))
	}
}
