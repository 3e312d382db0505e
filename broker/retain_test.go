package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
	"pipit/broker/store"
)

// retained returns what a topic has for a consumer that begins at the oldest, which it makes and deletes.
func (r *rig) retained(topic string) string {
	r.t.Helper()
	def := consumerDef(topic, "looks")
	def.Start = broker.StartOldest
	if _, err := r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{def}}); err != nil {
		r.t.Fatal(err)
	}
	defer r.deleteConsumer("looks")
	return payloads(r.receive(topic, "looks", broker.ReceiveOptions{Max: 1000}))
}

// use receives and acknowledges what a consumer has.
func (r *rig) use(topic, key string) string {
	r.t.Helper()
	return payloads(r.receive(topic, key, broker.ReceiveOptions{Max: 1000, Ack: true}))
}

func retaining(name string, age time.Duration, bytes property.Size) broker.Topic {
	t := topicDef(name)
	t.Expiration, t.Retention, t.RetentionBytes = property.Off, age, bytes
	return t
}

func TestRetention(t *testing.T) {
	for name, between := range map[string]func(*rig){"at once": func(*rig) {}, "restart": (*rig).restart, "crash": func(r *rig) { r.crash()() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"), consumerDef("/t", "b"))
				for i := range 6 {
					r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: 4 + i%2})
					time.Sleep(10 * time.Minute)
				}
				r.publish("/t", broker.Publication{Payload: []byte("brief"), Expiration: 5})
				if got := r.use("/t", "a"); got != "1 3 5 brief 0 2 4 " {
					t.Errorf("a got %q", got)
				}
				time.Sleep(time.Minute) // 0 is past the retention, but b needs it
				between(r)
				if got := r.retained("/t"); got != "1 3 5 0 2 4 " {
					t.Errorf("after 61 minutes: %q", got)
				}
				if i := r.topic("/t"); i.Depth != 6 || i.Retained != 0 {
					t.Errorf("%+v", i)
				}
				if got := r.use("/t", "b"); got != "1 3 5 0 2 4 " {
					t.Errorf("b got %q", got)
				}
				between(r)
				time.Sleep(2 * time.Second)
				if i := r.topic("/t"); i.Depth != 0 || i.Retained != 5 {
					t.Errorf("%+v", i)
				}
				if got := r.retained("/t"); got != "1 3 5 2 4 " {
					t.Errorf("when all are done: %q", got)
				}
				time.Sleep(20 * time.Minute)
				if got := r.retained("/t"); got != "3 5 4 " {
					t.Errorf("after 81 minutes: %q", got)
				}
				off := retaining("/t", property.Off, property.Off)
				r.define(off)
				time.Sleep(2 * time.Second)
				if got := r.retained("/t"); got != "" {
					t.Errorf("without retention: %q", got)
				}
				if i := r.topic("/t"); i.Depth != 0 || i.Retained != 0 {
					t.Errorf("%+v", i)
				}
			})
		})
	}
}

// A longer retention finds again what a shorter one had given up and somebody needs yet, and done out of order counts as done.
func TestRetentionChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(retaining("/t", time.Minute, 0), consumerDef("/t", "a"))
		r.fill("/t", 5)
		got := r.receive("/t", "a", broker.ReceiveOptions{})
		r.ack(t, "a", got[0], got[2], got[4])
		time.Sleep(2 * time.Minute)
		if i := r.topic("/t"); i.Depth != 2 || i.Retained != 0 {
			t.Errorf("past the retention: %+v", i)
		}
		r.define(retaining("/t", time.Hour, 0))
		r.use("/t", "a")
		time.Sleep(2 * time.Second)
		if i := r.topic("/t"); i.Depth != 0 || i.Retained != 2 {
			t.Errorf("with a longer one: %+v", i)
		}
		r.deleteConsumer("a")
		time.Sleep(2 * time.Second)
		if i := r.topic("/t"); i.Depth != 0 || i.Retained != 2 {
			t.Errorf("without a consumer: %+v", i)
		}
		time.Sleep(time.Hour)
		if i := r.topic("/t"); i.Depth != 0 || i.Retained != 0 {
			t.Errorf("without a consumer, past the retention: %+v", i)
		}
	})
}

func TestRetentionBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		size := property.Size((&store.Record{Payload: []byte("0")}).Size())
		r.define(retaining("/t", 0, 4*size), consumerDef("/t", "a"), consumerDef("/t", "b"))
		check := func(when, want string, needed, retained int64) {
			t.Helper()
			time.Sleep(2 * time.Second)
			if i := r.topic("/t"); i.Depth != needed || i.Retained != retained || i.Bytes != int64(size)*(needed+retained) {
				t.Errorf("%s: %d needed, %d retained, %d bytes, want %d, %d, %d", when, i.Depth, i.Retained, i.Bytes, needed, retained, int64(size)*(needed+retained))
			}
			if got := r.retained("/t"); got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		publish := func(i int) {
			time.Sleep(time.Millisecond)
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: 4 + i%2})
		}
		for i := range 6 {
			publish(i)
		}
		three := r.browse(browse.Options{Topic: "/t"})[1].ID
		r.use("/t", "a")
		check("b needs all", "1 3 5 0 2 4 ", 6, 0)
		r.use("/t", "b")
		check("nobody needs any", "3 5 2 4 ", 0, 4)
		r.restart()
		check("after a restart", "3 5 2 4 ", 0, 4)
		publish(6)
		r.use("/t", "a")
		check("the newest is needed", "3 5 4 6 ", 1, 3)
		r.remove("/t", 1, three)
		check("one is deleted", "5 4 6 ", 1, 2)
		r.use("/t", "b")
		r.restart()
		publish(7)
		publish(8)
		r.use("/t", "a")
		r.use("/t", "b")
		check("oldest first", "5 7 6 8 ", 0, 4)
		r.define(retaining("/t", 0, size))
		check("a lower bound", "8 ", 0, 1)
		r.define(retaining("/t", 3*time.Second, 100*size))
		publish(9)
		r.use("/t", "a")
		r.use("/t", "b")
		check("both", "9 ", 0, 1)
	})
}

// max_depth bounds what somebody needs.
func TestRetentionDepth(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := retaining("/t", time.Hour, 0)
	topic.MaxDepth = 3
	r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
	for range 4 {
		r.fits(t, 3) // and puts them there
		r.use("/t", "a")
		if err := r.mayPublish(broker.Publication{}); broker.CodeOf(err) != broker.Full {
			t.Errorf("beyond max_depth: %v", err)
		}
		r.use("/t", "b")
	}
	if i := r.topic("/t"); i.Depth != 0 || i.Retained != 12 {
		t.Errorf("%+v", i)
	}
	r.restart()
	r.fits(t, 3)
	r.use("/t", "a")
	r.deleteConsumer("a")
	r.deleteConsumer("b")
	for range 5 {
		r.fill("/t", 1)
	}
	if i := r.topic("/t"); i.Depth != 0 || i.Retained != 20 {
		t.Errorf("%+v", i)
	}
}
