package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
	"pipit/broker/store"
)

// TestMixedExpirations: of messages that expire between others nothing is kept, and sweeping them
// changes no more queues than it has to, whether most consumers lag or keep up.
func TestMixedExpirations(t *testing.T) {
	const messages, consumers = 2000, 40
	for name, up := range map[string]int{"all lag": 0, "one lags": consumers - 1, "half lag": consumers / 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newFaultyRig(t)
				topic := topicDef("/t")
				topic.Expiration = property.Off
				for i := range consumers {
					r.define(topic, consumerDef("/t", fmt.Sprint("key-", i)))
				}
				p, _ := r.Publisher(r.crm, "/t")
				pubs := make([]broker.Publication, messages)
				for i := range pubs {
					if pubs[i] = text(fmt.Sprint(i)); i%2 == 0 {
						pubs[i].Expiration = 1 + int64(i%7)
					}
				}
				if _, err := p.PublishBatch(pubs); err != nil {
					t.Fatal(err)
				}
				for i := range up {
					for len(r.receive("/t", fmt.Sprint("key-", i), broker.ReceiveOptions{Max: 1000, Ack: true})) > 0 {
					}
				}
				var cursors, spans, most int
				s.fail(func(b *store.Batch) error {
					n := len(b.Cursors)
					for _, c := range b.Cursors {
						spans += len(c.Cursor.Spans)
					}
					cursors += n
					most = max(most, n)
					return nil
				})
				time.Sleep(20 * time.Second)
				s.fail(nil)
				if limit := min(up, consumers-up); most > limit || spans > 0 {
					t.Errorf("a sweep stored %d cursors with %d spans in all (%d of them in one commit), want at most %d", cursors, spans, most, limit)
				}
				for i := range consumers {
					want := int64(messages / 2)
					if i < up {
						want = 0
					}
					if q := r.queue(fmt.Sprint("key-", i)); q.Backlog != want {
						t.Errorf("consumer %d has a backlog of %d, want %d", i, q.Backlog, want)
					}
				}
				lags := fmt.Sprint("key-", consumers-1)
				for want := messages / 2; want > 0; want -= 500 {
					if got := r.receive("/t", lags, broker.ReceiveOptions{Max: 500}); len(got) != 500 {
						t.Fatalf("%d messages, want 500", len(got))
					} else {
						r.ack(t, lags, got...)
					}
				}
				// The floor jumps over what expired.
				img, expiries, _, _ := r.image()
				for _, c := range img.Cursors {
					if len(c.Cursor.Spans) > 0 {
						t.Errorf("%+v", c)
					}
				}
				if expiries != 0 {
					t.Errorf("%d entries of the expiry index are left", expiries)
				}
			})
		})
	}
}

// TestSlowReadHoldsUpNobody: while a consumer's receive reads from a disk that does not answer, everybody
// else publishes, acknowledges and receives, also to the topic and of the queue that is read.
func TestSlowReadHoldsUpNobody(t *testing.T) {
	r, s := newFaultyRig(t)
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.define(topicDef("/cold"), consumerDef("/cold", "c"), consumerDef("/cold", "d"))
	for range 10 {
		r.publish("/cold", text("x"))
	}
	m := r.receive("/cold", "c", broker.ReceiveOptions{Max: 2})
	entered, release := make(chan bool, 1), make(chan bool)
	var slow atomic.Bool
	s.scan = func(store.Lane) error {
		if slow.CompareAndSwap(false, true) {
			entered <- true
			<-release
		}
		return nil
	}
	got := make(chan int)
	go func() {
		msgs, _ := r.sub("/cold", "c").Receive(ctx, broker.ReceiveOptions{Max: 3, Wait: 30 * time.Second})
		got <- len(msgs)
	}()
	<-entered
	done := make(chan bool)
	go func() {
		r.publish("/t", text("elsewhere"))
		r.publish("/cold", text("to the topic that is read"))
		r.ack(t, "a", r.receive("/t", "a", broker.ReceiveOptions{})...)
		if s, err := r.sub("/cold", "c").Settle(broker.Settlement{Ack: ids(m[0]), Reject: ids(m[1])}); err != nil || s.Acked != 1 || s.Rejected != 1 {
			t.Errorf("%+v %v", s, err)
		}
		if n := len(r.receive("/cold", "d", broker.ReceiveOptions{})); n != 11 {
			t.Errorf("the other consumer got %d messages", n)
		}
		if q := r.queue("c"); q.Backlog != 10 {
			t.Errorf("%+v", q)
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("one consumer's read held up the others")
	}
	close(release)
	if n := <-got; n != 3 {
		t.Errorf("the receive got %d messages, want 3", n)
	}
}

// TestTimeIsTakenWhenUsed: behind a slow receive nothing is handed out past its time, nor with a lease
// that is over already.
func TestTimeIsTakenWhenUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		c := consumerDef("/t", "a")
		c.AckTimeout = time.Second
		r.define(topicDef("/t"), c)
		r.publish("/t", broker.Publication{Payload: []byte("first"), Priority: 9})
		r.publish("/t", broker.Publication{Payload: []byte("short"), Expiration: 1})
		r.publish("/t", broker.Publication{Payload: []byte("long"), Expiration: 60})
		var once sync.Once
		s.scan = func(store.Lane) error { once.Do(func() { time.Sleep(2 * time.Second) }); return nil }
		sub := r.sub("/t", "a")
		first := make(chan string)
		go func() {
			got, _ := sub.Receive(ctx, broker.ReceiveOptions{Max: 1})
			first <- payloads(got)
		}()
		synctest.Wait() // it reads
		second := make(chan []broker.Message)
		go func() {
			got, _ := sub.Receive(ctx, broker.ReceiveOptions{Max: 2})
			second <- got
		}()
		if got := <-first; got != "first " {
			t.Errorf("first: %q", got)
		}
		if got := <-second; payloads(got) != "long " {
			t.Errorf("second: %q", payloads(got))
		}
		if again, _ := sub.Receive(ctx, broker.ReceiveOptions{Max: 2}); len(again) > 0 {
			t.Errorf("delivered again at once: %s", payloads(again))
		}
	})
}

// TestReleaseIsOfItsOwnDelivery: a broken reply gives back nothing that another request has by then, and
// what it gives back was not delivered.
func TestReleaseIsOfItsOwnDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.AckTimeout = time.Second
		r.define(topicDef("/t"), c)
		r.publish("/t", text("x"))
		sub := r.sub("/t", "a")
		first := r.receive("/t", "a", broker.ReceiveOptions{})
		time.Sleep(1100 * time.Millisecond)
		second := r.receive("/t", "a", broker.ReceiveOptions{})
		sub.Release(first)
		sub.Written(first)
		if third := r.receive("/t", "a", broker.ReceiveOptions{}); len(third) > 0 {
			t.Fatalf("in flight to the second request, and delivered to a third: %+v", third)
		}
		sub.Release(second)
		third := r.receive("/t", "a", broker.ReceiveOptions{})
		if len(third) != 1 || third[0].DeliveryCount != 2 {
			t.Fatalf("%+v, want a delivery count of 2: the second never left", third)
		}
		sub.Release(second)
		sub.Release(first)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); len(got) > 0 {
			t.Errorf("an old delivery gave back a new one: %+v", got)
		}
		r.ack(t, "a", third...)
	})
}

// TestDeadlineBeginsWhenWritten: however long a reply takes, what is in it is nobody else's, and its
// deadline begins at the end.
func TestDeadlineBeginsWhenWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.AckTimeout = 2 * time.Second
		r.define(topicDef("/t"), c)
		r.publish("/t", text("x"))
		sub := r.sub("/t", "a")
		held := r.receive("/t", "a", broker.ReceiveOptions{Hold: true})
		time.Sleep(50 * time.Second)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); len(got) > 0 {
			t.Errorf("%q while it is being written to another", payloads(got))
		}
		if m, standings, err := r.Message("/t", held[0].ID); err != nil || m.State != browse.InFlight || !standings[0].Until.IsZero() {
			t.Errorf("%+v %+v %v", m, standings, err)
		}
		sub.Written(held)
		time.Sleep(1900 * time.Millisecond)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); len(got) > 0 {
			t.Errorf("%q before the deadline", payloads(got))
		}
		time.Sleep(200 * time.Millisecond)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(got) != "x " {
			t.Errorf("%q after the deadline", payloads(got))
		}
	})
}

// TestExtendedBeforeWritten: a receiver that is so fast that it extends a lease before the server knows that the reply has arrived has
// it for that long.
func TestExtendedBeforeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.AckTimeout = 2 * time.Second
		r.define(topicDef("/t"), c)
		r.publish("/t", text("x"))
		held := r.receive("/t", "a", broker.ReceiveOptions{Hold: true})
		if done := r.settle("a", broker.Settlement{Extend: []broker.Extension{{ID: held[0].ID, Seconds: 10}}}); done.Extended != 1 {
			t.Fatalf("%+v", done)
		}
		r.sub("/t", "a").Written(held)
		time.Sleep(9900 * time.Millisecond)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); len(got) > 0 {
			t.Errorf("%q before the time that it was extended by", payloads(got))
		}
		time.Sleep(200 * time.Millisecond)
		if got := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(got) != "x " {
			t.Errorf("%q after it", payloads(got))
		}
	})
}

// TestSameIDInFlight: of messages that share an ID of their publisher's, one at a time is in flight, so
// that an acknowledgement means the one that was delivered.
func TestSameIDInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.DedupWindow = property.Off
		c := consumerDef("/t", "a")
		c.AckTimeout = time.Second
		r.define(topic, c)
		for _, s := range []string{"A", "B", "C"} {
			r.publish("/t", broker.Publication{ID: "order-7", Payload: []byte(s)})
		}
		want := func(want string) []broker.Message {
			t.Helper()
			got := r.receive("/t", "a", broker.ReceiveOptions{})
			if payloads(got) != want {
				t.Fatalf("got %q, want %q", payloads(got), want)
			}
			return got
		}
		want("A ")
		want("")
		time.Sleep(1200 * time.Millisecond) // whoever had A crashed
		a := want("A ")
		r.ack(t, "a", a...)
		b := want("B ")
		if done, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: ids(b...), Delay: 5}); err != nil || done.Rejected != 1 {
			t.Fatalf("%+v %v", done, err)
		}
		r.ack(t, "a", want("C ")...)
		time.Sleep(6 * time.Second)
		r.ack(t, "a", want("B ")...)
		if q := r.queue("a"); q.Backlog != 0 || q.InFlight != 0 {
			t.Errorf("%+v", q)
		}
	})
}

// TestDueTogether: delayed messages that are due in one moment become commits that are no larger than
// others.
func TestDueTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		payload := make([]byte, 1<<20)
		for range 40 {
			r.publish("/t", broker.Publication{Payload: payload, Delay: 10})
		}
		var most atomic.Int64
		s.fail(func(b *store.Batch) error {
			n := int64(0)
			for _, rec := range b.Append {
				n += int64(len(rec.Payload))
			}
			most.Store(max(most.Load(), n))
			return nil
		})
		time.Sleep(10*time.Second + 500*time.Millisecond)
		if q := r.queue("a"); q.Backlog != 40 {
			t.Errorf("half a second after they were due: %+v", q)
		}
		if n := most.Load(); n > 17<<20 {
			t.Errorf("a commit of %d MiB", n>>20)
		}
	})
}

// TestNeverFits: a batch that no empty queue would take is no case for another try, and a message that
// the topic has is no case for a full one.
func TestNeverFits(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic, c := topicDef("/t"), consumerDef("/t", "a")
	topic.MaxDepth, c.MaxDepth = 5, 3
	r.define(topic, c)
	p, _ := r.Publisher(r.crm, "/t")
	_, err := p.PublishBatch(make([]broker.Publication, 4))
	wantCode(t, err, broker.Invalid)
	for i := range 3 {
		r.publish("/t", broker.Publication{ID: fmt.Sprint(i)})
	}
	_, err = p.PublishBatch(make([]broker.Publication, 4))
	wantCode(t, err, broker.Invalid)
	_, err = p.PublishBatch(make([]broker.Publication, 3))
	wantCode(t, err, broker.Full)
	// All in one commit, as far as that can be had: a refusal beside duplicates.
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			rc, err := p.Publish(broker.Publication{ID: fmt.Sprint(i % 5)})
			if i%5 < 3 && (err != nil || !rc.Duplicate) || i%5 >= 3 && broker.CodeOf(err) != broker.Full {
				t.Errorf("%d: %+v %v", i%5, rc, err)
			}
		})
	}
	all.Wait()
}

// TestRoomWakesLongPoll: an acknowledgement that makes room within max_in_flight wakes who waits.
func TestRoomWakesLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.MaxInFlight = 1
		r.define(topicDef("/t"), c)
		r.publish("/t", text("1"))
		m := r.receive("/t", "a", broker.ReceiveOptions{})
		type result struct {
			got string
			err error
			at  time.Time
		}
		out := make(chan result, 2)
		for range 2 {
			sub := r.sub("/t", "a")
			go func() {
				msgs, err := sub.Receive(ctx, broker.ReceiveOptions{Wait: 25 * time.Second})
				out <- result{payloads(msgs), err, time.Now()}
			}()
		}
		synctest.Wait()
		r.publish("/t", text("2"))
		if first := <-out; broker.CodeOf(first.err) != broker.Full {
			t.Errorf("%+v", first)
		}
		time.Sleep(time.Second)
		acked := time.Now()
		r.ack(t, "a", m...)
		if second := <-out; second.err != nil || second.got != "2 " || second.at.Sub(acked) > time.Second {
			t.Errorf("%+v, acknowledged at %s", second, acked)
		}
	})
}

// TestNoRoomAgain: a receive that has no room for a message which came back does not look for it again and again: it is
// refused, and a long poll looks ten times a second.
func TestNoRoomAgain(t *testing.T) {
	for _, order := range []broker.Order{broker.FIFO, broker.LIFO} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, broker.Options{})
			c := consumerDef("/t", "a")
			c.MaxInFlight = 1
			r.define(topicDef("/t"), c)
			r.publish("/t", text("1"))
			sub := r.sub("/t", "a")
			m := r.receive("/t", "a", broker.ReceiveOptions{})
			sub.Release(m)
			looks := 0
			o := broker.ReceiveOptions{Order: order, Room: func(int) bool { looks++; return looks > 11 }}
			_, err := sub.Receive(ctx, o)
			if wantCode(t, err, broker.Unavailable); looks != 1 {
				t.Errorf("it looked %d times", looks)
			}
			begin := time.Now()
			o.Wait = time.Minute
			msgs, err := sub.Receive(ctx, o)
			if took := time.Since(begin); err != nil || payloads(msgs) != "1 " || took != time.Second {
				t.Errorf("%q after %s, %v", payloads(msgs), took, err)
			}
		})
	}
}

// TestManyLeasesEndTogether: they all come back, in order, however many that are.
func TestManyLeasesEndTogether(t *testing.T) {
	const n = 9000
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		p, _ := r.Publisher(r.crm, "/t")
		pubs := make([]broker.Publication, n)
		for i := range pubs {
			pubs[i] = text(fmt.Sprint(i))
			pubs[i].Expiration = 1000
		}
		if _, err := p.PublishBatch(pubs); err != nil {
			t.Fatal(err)
		}
		for range n / 1000 {
			r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
		}
		time.Sleep(31 * time.Second)
		if q := r.queue("a"); q.InFlight != 0 || q.Backlog != n {
			t.Errorf("%+v", q)
		}
		for i := 0; i < n; i += 1000 {
			got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000})
			if len(got) != 1000 || string(got[0].Payload) != fmt.Sprint(i) || string(got[999].Payload) != fmt.Sprint(i+999) || got[0].DeliveryCount != 2 {
				t.Fatalf("%d messages", len(got))
			}
			r.ack(t, "a", got...)
		}
	})
}

// TestExpiryIndexForgets: of messages that were acknowledged out of order and removed, nothing is left in
// the index of what expires.
func TestExpiryIndexForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.Expiration = 365 * 24 * 3600
		r.define(topic, consumerDef("/t", "a"))
		r.publish("/t", text("slow one"))
		slow := r.receive("/t", "a", broker.ReceiveOptions{Hold: true})
		for range 20 {
			for range 4 {
				r.publish("/t", text("x"))
			}
			m := r.receive("/t", "a", broker.ReceiveOptions{})
			r.ack(t, "a", m[1], m[2])
			time.Sleep(1300 * time.Millisecond) // the sweeper removes them
			r.ack(t, "a", m[0], m[3])
			time.Sleep(1300 * time.Millisecond)
		}
		r.ack(t, "a", slow...)
		time.Sleep(2 * time.Second)
		if _, expiries, _, _ := r.image(); expiries != 0 {
			t.Errorf("the topic is empty, yet %d entries of the expiry index stay for a year", expiries)
		}
	})
}
