package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// fits checks that exactly n more messages fit.
func (r *rig) fits(t *testing.T, n int) {
	t.Helper()
	p, err := r.Publisher(r.crm, "/t")
	if err != nil {
		t.Fatal(err)
	}
	full := broker.Full
	if d, _ := r.Topic("/t"); int64(n) == d.MaxDepth {
		full = broker.Invalid // it never fits
	}
	if _, err := p.PublishBatch(make([]broker.Publication, n+1)); broker.CodeOf(err) != full {
		t.Errorf("%d more messages: %v, want Full", n+1, err)
	}
	if _, err := p.PublishBatch(make([]broker.Publication, n)); err != nil {
		t.Errorf("%d more messages: %v", n, err)
	}
}

func (r *rig) ack(t *testing.T, key string, msgs ...broker.Message) {
	t.Helper()
	var st broker.Settlement
	for _, m := range msgs {
		st.Ack = append(st.Ack, m.ID)
	}
	if done, err := r.sub("/t", key).Settle(st); err != nil || done.Acked != len(msgs) {
		t.Fatalf("settle: %+v %v", done, err)
	}
}

// TestDepth: what all consumers are done with does not count once the sweeper was there, whatever
// was done in which order, and whatever came in between.
func TestDepth(t *testing.T) {
	for name, between := range map[string]func(*testing.T, *rig, *faultyStore){
		"nothing": func(*testing.T, *rig, *faultyStore) {},
		"restart": func(_ *testing.T, r *rig, _ *faultyStore) { r.restart() },
		"crash":   func(_ *testing.T, r *rig, _ *faultyStore) { r.crash()() },
		"a full disk": func(_ *testing.T, _ *rig, s *faultyStore) {
			s.fail(func(*store.Batch) error { return store.ErrNoSpace })
			time.Sleep(3 * time.Second)
			s.fail(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, s := newFaultyRig(t)
				topic := topicDef("/t")
				topic.MaxDepth, topic.Expiration = 10, property.Off
				r.define(topic, consumerDef("/t", "a"), consumerDef("/t", "b"))
				for i := range 10 {
					r.publish("/t", text(fmt.Sprint(i)))
				}
				a := r.receive("/t", "a", broker.ReceiveOptions{})
				b := r.receive("/t", "b", broker.ReceiveOptions{})
				r.ack(t, "a", a[:6]...)             // in order: its floor passes
				r.ack(t, "b", b[2], b[3], b[5])     // out of order
				r.ack(t, "a", a[8], a[9], a[7])     // 6 is left
				r.ack(t, "b", b[8], b[9], b[0])     // 1, 4, 6, 7 are left
				between(t, r, s)                    // somebody needs 1, 4, 6, 7
				time.Sleep(2100 * time.Millisecond) // two sweeps
				r.fits(t, 6)
			})
		})
	}
}

// TestDepthMany frees more at once than one commit removes, and the commit of the rest finds the disk full.
func TestDepthMany(t *testing.T) {
	const n = 10_500
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		topic, c := topicDef("/t"), consumerDef("/t", "a")
		topic.MaxDepth, topic.Expiration, c.MaxInFlight = n, property.Off, n
		r.define(topic, c)
		p, err := r.Publisher(r.crm, "/t")
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{limit.MaxBatch, n - limit.MaxBatch} {
			if _, err := p.PublishBatch(make([]broker.Publication, size)); err != nil {
				t.Fatal(err)
			}
		}
		var got []broker.Message
		for len(got) < n {
			got = append(got, r.receive("/t", "a", broker.ReceiveOptions{Max: limit.MaxReceive})...)
		}
		r.ack(t, "a", got[1:limit.MaxSettle]...)
		r.ack(t, "a", got[limit.MaxSettle:]...)
		r.ack(t, "a", got[0])
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		time.Sleep(2100 * time.Millisecond)
		s.fail(nil)
		time.Sleep(2100 * time.Millisecond)
		if _, err := p.PublishBatch(make([]broker.Publication, limit.MaxBatch)); err != nil {
			t.Error(err)
		}
		r.fits(t, n-limit.MaxBatch)
	})
}

// TestDepthManyHoles leaves more holes than one pass of the sweeper closes, and after them another lane.
func TestDepthManyHoles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		topic := topicDef("/t")
		topic.MaxDepth, topic.Expiration = 2610, property.Off
		r.define(topic, consumerDef("/t", "a"))
		pubs := make([]broker.Publication, 2610)
		for i := range pubs[2600:] {
			pubs[2600+i].Priority = 1
		}
		p, err := r.Publisher(r.crm, "/t")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.PublishBatch(pubs); err != nil {
			t.Fatal(err)
		}
		var got []broker.Message
		for range 3 {
			got = append(got, r.receive("/t", "a", broker.ReceiveOptions{Max: limit.MaxReceive})...)
		}
		var odd []broker.Message
		for i := 1; i < 2600; i += 2 {
			odd = append(odd, got[i])
		}
		r.ack(t, "a", odd...)
		r.ack(t, "a", got[2601:]...)
		time.Sleep(2100 * time.Millisecond)
		r.fits(t, 1300+9)
	})
}

// TestLimitGivesBack: where the in-flight limit is reached, what was given back is still delivered
// again, also before what it came after.
func TestLimitGivesBack(t *testing.T) {
	r := newRig(t, broker.Options{})
	c := consumerDef("/t", "a")
	c.MaxInFlight = 2
	r.define(topicDef("/t"), c)
	for i := range 5 {
		r.publish("/t", text(fmt.Sprint(i)))
	}
	m := r.receive("/t", "a", broker.ReceiveOptions{Order: broker.LIFO})
	if payloads(m) != "4 3 " {
		t.Fatalf("lifo: %q", payloads(m))
	}
	if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: []string{m[0].ID, m[1].ID}}); err != nil {
		t.Fatal(err)
	}
	m = r.receive("/t", "a", broker.ReceiveOptions{})
	if payloads(m) != "3 4 " {
		t.Fatalf("given back: %q", payloads(m))
	}
	_, err := r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{})
	wantCode(t, err, broker.Full)
	r.ack(t, "a", m...)
	if m = r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 1 " {
		t.Errorf("afterwards: %q", payloads(m))
	}
}

// TestRejectAfterRestart: a rejection is no delivery.
func TestRejectAfterRestart(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	id := r.publish("/t", text("x"))
	reject := func() {
		t.Helper()
		if done, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: []string{id}}); err != nil || done.Rejected != 1 {
			t.Fatalf("reject: %+v %v", done, err)
		}
	}
	for n := 1; n <= 5; n++ {
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 1 || m[0].DeliveryCount != n {
			t.Fatalf("delivery %d: %+v", n, m)
		}
		if n >= 2 {
			r.restart()
		}
		reject()
	}
}
