package broker_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// TestAttributes: what travels with a message is there at its delivery, in order of names, after a restart and a delay, and
// for who looks without receiving.
func TestAttributes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		given := []broker.Attribute{{Name: "Kind", Value: "order ž"}, {Name: "ce-Type", Value: ""}, {Name: "a.b_c-9", Value: "x"}}
		want := []broker.Attribute{{Name: "a.b_c-9", Value: "x"}, {Name: "ce-type", Value: ""}, {Name: "kind", Value: "order ž"}}
		ctx := t.Context()
		options := []broker.PublishOption{broker.WithCorrelationID("c-1"), broker.WithReplyTo("/replies"), broker.WithAttributes(given[:1]...), broker.WithAttributes(given[1:]...)}
		id, err := r.Publish(ctx, "/t", []byte("at once"), options...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Publish(ctx, "/t", []byte("later"), append(options, broker.WithDelay(5), broker.WithExpiration(1000))...); err != nil {
			t.Fatal(err)
		}
		r.publish("/t", broker.Publication{Payload: []byte("plain")})
		if given[0].Name != "Kind" {
			t.Error("the publisher's attributes were changed")
		}
		r.restart()
		if m, _, err := r.Message("/t", id); err != nil || m.Extra == nil || m.Extra.ReplyTo != "/replies" || !reflect.DeepEqual(m.Extra.Attributes, want) {
			t.Errorf("looked at: %+v %v", m, err)
		}
		time.Sleep(6 * time.Second)
		for _, m := range r.receive("/t", "a", broker.ReceiveOptions{}) {
			if string(m.Payload) == "plain" {
				if m.CorrelationID != "" || m.ReplyTo != "" || m.Attributes != nil || m.DeadLetter != nil {
					t.Errorf("%+v", m)
				}
				continue
			}
			if m.CorrelationID != "c-1" || m.ReplyTo != "/replies" || !reflect.DeepEqual(m.Attributes, want) {
				t.Errorf("%+v", m)
			}
			if v, ok := m.Attribute("KIND"); !ok || v != "order ž" {
				t.Errorf("kind: %q %t", v, ok)
			}
			if _, ok := m.Attribute("none"); ok {
				t.Error("it has an attribute that nobody gave it")
			}
		}
	})
}

func TestAttributesRefused(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	many := func(n, size int) (list []broker.Attribute) {
		for i := range n {
			list = append(list, broker.Attribute{Name: fmt.Sprintf("n%02d", i), Value: strings.Repeat("x", size)})
		}
		return list
	}
	one := func(name, value string) broker.PublishOption {
		return broker.WithAttributes(broker.Attribute{Name: name, Value: value})
	}
	for name, c := range map[string]struct {
		option broker.PublishOption
		err    string
	}{
		"as many as can be": {broker.WithAttributes(many(32, 253)...), ""},
		"too many":          {broker.WithAttributes(many(33, 1)...), "33 attributes: allowed are at most 32"},
		"too large":         {broker.WithAttributes(many(32, 254)...), "attributes of 8224 bytes: allowed are 8192"},
		"longest name":      {one(strings.Repeat("n", 64), ""), ""},
		"too long a name":   {one(strings.Repeat("n", 65), ""), "names have 1 to 64 of"},
		"no name":           {one("", "x"), `attribute "": names have`},
		"a name with a sp":  {one("a b", "x"), `attribute "a b": names have`},
		"a control char":    {one("a", "x\ny"), `attribute "a": its value "x\ny" is not`},
		"no UTF-8":          {one("a", "\xff"), `its value "\xff" is not UTF-8`},
		"twice":             {broker.WithAttributes(broker.Attribute{Name: "A"}, broker.Attribute{Name: "b"}, broker.Attribute{Name: "a"}), `attribute "a": given more than once`},
		"correlation":       {broker.WithCorrelationID(strings.Repeat("ž", 256)), ""},
		"long correlation":  {broker.WithCorrelationID(strings.Repeat("ž", 257)), "correlation_id"},
		"bad correlation":   {broker.WithCorrelationID("a\x00"), `correlation_id "a\x00": allowed are at most 256 characters`},
		"bad reply_to":      {broker.WithReplyTo("\n"), `reply_to "\n": allowed are`},
	} {
		_, err := r.Publish(t.Context(), "/t", nil, c.option)
		if c.err == "" && err != nil || c.err != "" && (broker.CodeOf(err) != broker.Invalid || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
