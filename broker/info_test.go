package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/stats"
)

func (r *rig) topic(name string) broker.TopicInfo {
	r.t.Helper()
	info, ok := r.Topic(name)
	if !ok {
		r.t.Fatalf("no topic %q", name)
	}
	return info
}

// queue returns the consumer with a sub_key.
func (r *rig) queue(key string) broker.ConsumerInfo {
	r.t.Helper()
	for _, c := range r.Consumers() {
		if c.SubKey == key {
			return c
		}
	}
	r.t.Fatalf("no consumer %q", key)
	return broker.ConsumerInfo{}
}

func TestInfos(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/b"))
		r.define(topicDef("/a"), consumerDef("/a", "k2"), consumerDef("/a", "k1"))
		if c, ok := r.Client("crm"); !ok || c.Username != "crm" || c.PasswordHash != "" || c.Producers != 2 || c.Consumers != 2 || !c.LastSeen.IsZero() || len(c.Revision) != 16 {
			t.Errorf("client: %+v %t", c, ok)
		}
		if l := r.Clients(); len(l) != 1 || l[0].Producers != 2 || l[0].Consumers != 2 || l[0].PasswordHash != "" {
			t.Errorf("clients: %+v", l)
		}
		if l := r.Topics(); len(l) != 2 || l[0].Name != "/a" || l[1].Name != "/b" || l[0].Consumers != 2 || l[0].Producers != 1 || l[1].Consumers != 0 || l[0].Revision == l[1].Revision {
			t.Errorf("topics: %+v", l)
		}
		if l := r.Producers(); len(l) != 2 || l[0].Topic != "/a" || l[1].Topic != "/b" || l[0].Client != "crm" || l[0].ID == l[1].ID {
			t.Errorf("producers: %+v", l)
		}
		if l := r.Consumers(); len(l) != 2 || l[0].SubKey != "k2" || l[1].SubKey != "k1" || l[0].ID >= l[1].ID || l[0].Start != "" || l[0].New {
			t.Errorf("consumers: %+v", l)
		}
		for _, ok := range []bool{second(r.Client("nobody")), second(r.Topic("/none")), second(r.Producer(1)), second(r.Consumer(1)), second(r.Consumer(0))} {
			if ok {
				t.Error("found what is not there")
			}
		}

		time.Sleep(time.Second)
		for i := range 5 {
			r.publish("/a", text(fmt.Sprint(i)))
		}
		r.publish("/a", broker.Publication{Delay: 30})
		r.publish("/a", broker.Publication{ID: "once", Expiration: 3})
		r.publish("/a", broker.Publication{ID: "once"})
		published := time.Now()
		if _, err := r.Publish(ctx, "/b", nil); err != nil {
			t.Fatal(err)
		}
		got := r.receive("/a", "k1", broker.ReceiveOptions{Max: 4})
		r.receive("/a", "k2", broker.ReceiveOptions{Max: 2, Ack: true})
		if _, err := r.sub("/a", "k1").Settle(broker.Settlement{Ack: []string{got[0].ID}, Reject: []string{got[1].ID}, Delay: 5}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.sub("/a", "k1").Settle(broker.Settlement{Reject: []string{got[2].ID}}); err != nil {
			t.Fatal(err)
		}
		topic := r.topic("/a")
		if topic.Depth != 5 || topic.Delayed != 1 || !topic.LastPublish.Equal(published.Truncate(time.Microsecond)) ||
			topic.Counters != (stats.Counters{Published: 7, Delivered: 6, Acked: 3, Rejected: 2}) {
			t.Errorf("%+v", topic)
		}
		if b := r.topic("/b"); b.Depth != 1 || b.LastPublish.IsZero() || b.Published != 1 {
			t.Errorf("%+v", b)
		}
		k1, k2 := r.queue("k1"), r.queue("k2")
		if k1.Backlog != 5 || k1.InFlight != 1 || k1.Deferred != 1 || k1.Waiting != 0 || k1.LastSeen.IsZero() || k1.Counters != (stats.Counters{Published: 7, Delivered: 4, Acked: 1, Rejected: 2}) {
			t.Errorf("%+v", k1)
		}
		if k2.Backlog != 4 || k2.InFlight != 0 || k2.Deferred != 0 || k2.Counters != (stats.Counters{Published: 7, Delivered: 2, Acked: 2}) {
			t.Errorf("%+v", k2)
		}
		if p := r.Producers()[0]; p.Published != 7 || !p.LastSeen.Equal(topic.LastPublish) {
			t.Errorf("%+v", p)
		}
		if c, _ := r.Client("crm"); !c.LastSeen.Equal(k1.LastSeen) {
			t.Errorf("%+v", c)
		}
		if sum, want := r.Totals(), (stats.Totals{Clients: 1, Topics: 2, Producers: 2, Consumers: 2, Depth: 6, Delayed: 1, Backlog: 9, InFlight: 1,
			Counters: stats.Counters{Published: 8, Delivered: 6, Acked: 3, Rejected: 2}}); sum != want {
			t.Errorf("totals: %+v, want %+v", sum, want)
		}

		// "once" expires for both; that it is done already for one more does not count.
		time.Sleep(5500 * time.Millisecond)
		if topic := r.topic("/a"); topic.Expired != 2 || topic.Depth != 4 {
			t.Errorf("%+v", topic)
		}
		if k1 := r.queue("k1"); k1.Expired != 1 || k1.Backlog != 4 || k1.Deferred != 0 {
			t.Errorf("%+v", k1)
		}
		// A consumer that begins later counts from then on; the last publish is known after a restart.
		if _, err := r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{consumerDef("/a", "k3")}}); err != nil {
			t.Fatal(err)
		}
		r.publish("/a", text("for all"))
		if k3 := r.queue("k3"); k3.Published != 1 || k3.Backlog != 1 {
			t.Errorf("%+v", k3)
		}
		before, revision, last := r.topic("/a"), r.queue("k1").Revision, r.Producers()[0].LastSeen
		r.restart()
		if after := r.topic("/a"); after.Depth != before.Depth || after.Delayed != 1 || !after.LastPublish.Equal(last) || after.Counters != before.Counters || after.Revision != before.Revision {
			t.Errorf("%+v, before %+v", after, before)
		}
		if k1 := r.queue("k1"); k1.Revision != revision || k1.Backlog != 5 || k1.InFlight != 0 {
			t.Errorf("%+v", k1)
		}
		if p, ok := r.Producer(r.Producers()[0].ID); !ok || p.Topic != "/a" {
			t.Errorf("%+v %t", p, ok)
		}
		if c, ok := r.Consumer(r.queue("k3").ID); !ok || c.SubKey != "k3" {
			t.Errorf("%+v %t", c, ok)
		}
		if st := r.StoreStats(); st.Path != r.path || st.Size <= 0 {
			t.Errorf("%+v", st)
		}
	})
}

func second[T any](_ T, ok bool) bool { return ok }

// TestInfoExpired counts a message that expires only for those that are not done with it.
func TestInfoExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
		for range 4 {
			r.publish("/t", broker.Publication{Expiration: 5})
		}
		r.receive("/t", "a", broker.ReceiveOptions{Max: 3, Ack: true})
		m := r.receive("/t", "b", broker.ReceiveOptions{Max: 2})
		if _, err := r.sub("/t", "b").Settle(broker.Settlement{Ack: []string{m[1].ID}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if a, b, sum := r.queue("a").Expired, r.queue("b").Expired, r.topic("/t").Expired; a != 1 || b != 3 || sum != 4 {
			t.Errorf("a %d, b %d, topic %d", a, b, sum)
		}
		if sum := r.Totals(); sum.Backlog != 0 || sum.Depth != 0 || sum.Expired != 4 {
			t.Errorf("%+v", sum)
		}
	})
}

func TestInfoWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		for range 3 {
			go r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{Wait: 10 * time.Second})
		}
		synctest.Wait()
		if n := r.queue("a").Waiting; n != 3 {
			t.Errorf("%d wait", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := r.queue("a").Waiting; n != 0 {
			t.Errorf("%d wait", n)
		}
	})
}

// BenchmarkInfos lists 10,000 topics and 10,000 consumers.
func BenchmarkInfos(b *testing.B) {
	r := newRig(b, broker.Options{})
	var d broker.Definition
	d.Clients = []broker.Client{{Username: "crm", PasswordHash: hash}}
	for i := range 10_000 {
		name := fmt.Sprintf("/topic/%d", i)
		d.Topics = append(d.Topics, topicDef(name))
		d.Producers = append(d.Producers, broker.Producer{Client: "crm", Topic: name})
		d.Consumers = append(d.Consumers, consumerDef(name, fmt.Sprint("key", i)))
	}
	if _, err := r.Apply(ctx, d); err != nil {
		b.Fatal(err)
	}
	for name, list := range map[string]func() int{
		"topics":    func() int { return len(r.Topics()) },
		"consumers": func() int { return len(r.Consumers()) },
		"producers": func() int { return len(r.Producers()) },
		"totals":    func() int { return r.Totals().Topics },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if list() != 10_000 {
					b.Fatal("not all")
				}
			}
		})
	}
}
