package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
)

func TestOrder(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"), consumerDef("/t", "b"))
	for i, prio := range []int{5, 9, 1, 5, 9} {
		r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: prio})
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "1 4 0 3 2 " {
		t.Errorf("fifo: %q", got)
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "" {
		t.Errorf("delivered twice: %q", got)
	}
	if got := payloads(r.receive("/t", "b", broker.ReceiveOptions{Order: broker.LIFO})); got != "4 1 3 0 2 " {
		t.Errorf("lifo: %q", got)
	}
}

func TestSettle(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	for i := range 6 {
		r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i)})
	}
	m := r.receive("/t", "a", broker.ReceiveOptions{Max: 4})
	got, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{m[0].ID, m[2].ID, "nope"}, Reject: []string{m[1].ID}})
	if err != nil || got.Acked != 2 || got.Rejected != 1 || len(got.NotFound) != 1 {
		t.Fatalf("settle: %+v, %v", got, err)
	}
	again := r.receive("/t", "a", broker.ReceiveOptions{})
	if payloads(again) != "1 4 5 " || again[0].DeliveryCount != 2 || again[1].DeliveryCount != 1 {
		t.Errorf("after reject: %q %+v", payloads(again), again)
	}
	r.restart()
	after := r.receive("/t", "a", broker.ReceiveOptions{})
	if payloads(after) != "1 3 4 5 " || after[0].DeliveryCount != 3 {
		t.Errorf("after restart: %q, count %d", payloads(after), after[0].DeliveryCount)
	}
	r.restart()
	// An acknowledgement of what was delivered before the restart is honoured, once.
	if got, err = r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{after[3].ID}}); err != nil || got.Acked != 1 {
		t.Errorf("ack after restart: %+v %v", got, err)
	}
	if got, err = r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{after[3].ID}}); err != nil || len(got.NotFound) != 1 {
		t.Errorf("second ack: %+v %v", got, err)
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "1 3 4 " {
		t.Errorf("after ack: %q", got)
	}
}

func TestTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", broker.Publication{Payload: []byte("short"), Expiration: 2})
		r.publish("/t", broker.Publication{Payload: []byte("long"), Expiration: 100})
		r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 10})
		time.Sleep(3 * time.Second)
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		if payloads(m) != "long " {
			t.Errorf("after 3 s: %q", payloads(m))
		}
		start := time.Now()
		m = r.receive("/t", "a", broker.ReceiveOptions{Wait: 20 * time.Second})
		if payloads(m) != "late " || time.Since(start).Round(100*time.Millisecond) != 7*time.Second {
			t.Errorf("%q after %s", payloads(m), time.Since(start))
		}
		if d := m[0].ExpireAt.Sub(m[0].Created); d != 70*time.Second {
			t.Errorf("expires after %s", d)
		}
		// The ack timeout of "long" ends while a long poll waits.
		m = r.receive("/t", "a", broker.ReceiveOptions{Wait: 60 * time.Second})
		if payloads(m) != "long " || m[0].DeliveryCount != 2 {
			t.Errorf("after the ack timeout: %q", payloads(m))
		}
	})
}

func TestDeliverAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		time.Sleep(123456 * time.Microsecond)
		start := time.Now()
		for _, c := range []struct{ ahead, want time.Duration }{
			{-time.Hour, 0},
			{0, 0},
			{1, time.Second},
			{time.Second, time.Second},
			{2500 * time.Millisecond, 3 * time.Second},
			{365 * 24 * time.Hour, 365 * 24 * time.Hour},
		} {
			pubs := []broker.Publication{{Payload: []byte("x"), DeliverAt: start.Add(c.ahead), Expiration: 1000}}
			p, _ := r.Publisher(r.crm, "/t")
			for range 2 { // a list that is published again means the same
				if _, err := p.PublishBatch(pubs); err != nil {
					t.Fatal(err)
				}
			}
			if c.want == 0 {
				if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{Ack: true})); got != "x x " {
					t.Errorf("%s ahead: %q at once", c.ahead, got)
				}
				continue
			}
			list := r.browse(browse.Options{Topic: "/t", State: browse.Delayed})
			m := list[len(list)-1]
			if due := m.Due.Sub(m.Created); due != c.want {
				t.Errorf("%s ahead: due after %s", c.ahead, due)
			}
		}
		if err := r.CheckPublication(&broker.Publication{DeliverAt: start.Add(365*24*time.Hour + time.Millisecond)}); broker.CodeOf(err) != broker.Invalid {
			t.Error("too far ahead:", err)
		}
		if err := r.CheckPublication(&broker.Publication{DeliverAt: start, Delay: 1}); broker.CodeOf(err) != broker.Invalid {
			t.Error("with a delay:", err)
		}
		time.Sleep(time.Until(start.Add(time.Second - time.Microsecond)))
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "" {
			t.Errorf("too soon: %q", got)
		}
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{Wait: time.Second})); got != "x x x x " {
			t.Errorf("when it is time: %q", got)
		}
	})
}

func TestDedup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		p, _ := r.Publisher(r.crm, "/t")
		for i := range 3 {
			rc, err := p.Publish(broker.Publication{Payload: []byte("x"), ID: "mine", Expiration: 1000})
			if err != nil || rc.ID != "mine" || rc.Duplicate != (i > 0) {
				t.Fatalf("publish %d: %+v %v", i, rc, err)
			}
		}
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		if len(m) != 1 || m[0].ID != "mine" {
			t.Fatalf("%+v", m)
		}
		if s, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{"mine"}}); err != nil || s.Acked != 1 {
			t.Fatalf("%+v %v", s, err)
		}
		rc, err := p.Publish(broker.Publication{ID: "mine"})
		if err != nil || !rc.Duplicate {
			t.Fatalf("after the ack: %+v %v", rc, err)
		}
		time.Sleep(6 * time.Minute)
		if rc, err = p.Publish(broker.Publication{ID: "mine"}); err != nil || rc.Duplicate {
			t.Fatalf("after the window: %+v %v", rc, err)
		}
	})
}

// TestForeignID publishes messages under IDs that the broker has made, in another topic and in the
// same one: they are settled like any other.
func TestForeignID(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.DedupWindow = property.Off
	r.define(topicDef("/u"), consumerDef("/u", "b"))
	r.define(topic, consumerDef("/t", "a"))
	made := []string{r.publish("/u", text("0")), r.publish("/t", text("1"))}
	for _, id := range made {
		r.publish("/t", broker.Publication{Payload: []byte("again"), ID: id})
	}
	m := r.receive("/t", "a", broker.ReceiveOptions{})
	if payloads(m) != "1 again again " {
		t.Fatalf("got %q", payloads(m))
	}
	s := r.sub("/t", "a")
	s.Release(m)
	r.receive("/t", "a", broker.ReceiveOptions{})
	for _, st := range []broker.Settlement{{Reject: ids(m...)}, {Ack: ids(m...)}} {
		if done, err := s.Settle(st); err != nil || done.Acked+done.Rejected != 3 {
			t.Errorf("settle %+v: %+v %v", st, done, err)
		}
		if len(st.Reject) > 0 {
			r.receive("/t", "a", broker.ReceiveOptions{})
		}
	}
	if done, err := s.Settle(broker.Settlement{Ack: ids(m...)}); err != nil || len(done.NotFound) != 3 {
		t.Errorf("second ack: %+v %v", done, err)
	}
	if c, ok := r.Consumer(r.id("a")); !ok || c.Backlog != 0 {
		t.Errorf("%+v", c)
	}
}

func TestLimits(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.MaxDepth = 3
	c := consumerDef("/t", "a")
	c.MaxInFlight = 2
	r.define(topic, c)
	for range 3 {
		r.publish("/t", broker.Publication{Payload: []byte("x")})
	}
	p, _ := r.Publisher(r.crm, "/t")
	_, err := p.Publish(broker.Publication{})
	wantCode(t, err, broker.Full)
	m := r.receive("/t", "a", broker.ReceiveOptions{})
	if len(m) != 2 {
		t.Fatalf("%d in flight", len(m))
	}
	_, err = r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{})
	wantCode(t, err, broker.Full)
	if _, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{m[0].ID}}); err != nil {
		t.Fatal(err)
	}
	r.publish("/t", broker.Publication{})
	_, err = p.Publish(broker.Publication{})
	wantCode(t, err, broker.Full)
}

// What expired in flight counts for max_in_flight until it is settled, and does not hide that another one waits.
func TestLimitOfExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.MaxInFlight = 2
		r.define(topicDef("/t"), c)
		r.publish("/t", broker.Publication{Expiration: 1})
		r.publish("/t", broker.Publication{Expiration: 1})
		r.receive("/t", "a", broker.ReceiveOptions{})
		time.Sleep(3 * time.Second)
		r.publish("/t", broker.Publication{})
		for _, order := range []broker.Order{broker.FIFO, broker.LIFO} {
			_, err := r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{Order: order})
			wantCode(t, err, broker.Full)
		}
	})
}

// What came back and has expired takes the place of none that waits behind it, where max_in_flight lets nothing else be read.
func TestLimitOfExpiredThatCameBack(t *testing.T) {
	for _, topics := range []string{"/t", "/*"} {
		for _, order := range []broker.Order{broker.FIFO, broker.LIFO} {
			t.Run(fmt.Sprint(topics, " ", order), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, broker.Options{})
					c := consumerDef(topics, "a")
					c.MaxInFlight, c.AckTimeout = 3, time.Second
					r.definePattern(c, "/t")
					time.Sleep(broker.SweepEvery / 2) // what expires does so between two sweeps
					for _, s := range []string{"expires", "stays", "expires"} {
						p := text(s)
						if s == "expires" {
							p.Expiration = 5
						}
						r.publish("/t", p)
					}
					if got := payloads(r.receive(topics, "a", broker.ReceiveOptions{})); got != "expires stays expires " {
						t.Fatal(got)
					}
					r.publish("/t", text("held back"))
					time.Sleep(5*time.Second + broker.SweepEvery/4)
					if got := payloads(r.receive(topics, "a", broker.ReceiveOptions{Order: order, Max: 1})); got != "stays " {
						t.Errorf("%q", got)
					}
				})
			})
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 64, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b, broker.Options{})
			r.define(topicDef("/t"), consumerDef("/t", "a"))
			pub := broker.Publication{Payload: make([]byte, 1024)}
			p, _ := r.Publisher(r.crm, "/t")
			b.ReportAllocs()
			b.SetParallelism(n / 2)
			if n == 1 {
				for b.Loop() {
					p.Publish(pub)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := p.Publish(pub); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkReceiveSettle counts messages: 100 are received and acknowledged at a time.
func BenchmarkReceiveSettle(b *testing.B) {
	r := newRig(b, broker.Options{})
	topic := topicDef("/t")
	topic.Expiration = property.Off
	r.define(topic, consumerDef("/t", "a"))
	p, _ := r.Publisher(r.crm, "/t")
	fill := func(n int) {
		pubs := make([]broker.Publication, 1000)
		for i := range pubs {
			pubs[i].Payload = make([]byte, 1024)
		}
		for ; n > 0; n -= len(pubs) {
			if _, err := p.PublishBatch(pubs); err != nil {
				b.Fatal(err)
			}
		}
	}
	const backlog = 100_000
	fill(backlog)
	s := r.sub("/t", "a")
	left := backlog
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 100 {
		msgs, err := s.Receive(ctx, broker.ReceiveOptions{})
		if err != nil || len(msgs) != 100 {
			b.Fatal(len(msgs), err)
		}
		ids := make([]string, len(msgs))
		for j := range msgs {
			ids[j] = msgs[j].ID
		}
		if done, err := s.Settle(broker.Settlement{Ack: ids}); err != nil || done.Acked != 100 {
			b.Fatal(done, err)
		}
		if left -= 100; left == 0 {
			b.StopTimer()
			fill(backlog)
			left = backlog
			b.StartTimer()
		}
	}
}
