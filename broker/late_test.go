package broker_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/store"
)

// A late acknowledgement comes while its expired message is on its way to the dead-letter topic: it is acknowledged, or a dead
// letter and the acknowledgement does not find it.
func TestLateAckWhileItsMessageMoves(t *testing.T) {
	for name, late := range map[string]bool{"in the same commit": false, "behind that commit": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := failing(t, func(c *broker.Consumer) { c.OnExpiry, c.AckTimeout = broker.ExpiryDeadLetter, time.Second })
				s := r.faulty()
				id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 5})
				r.define(topicDef("/other"))
				r.receive("/t", "a", broker.ReceiveOptions{})
				time.Sleep(4900 * time.Millisecond)
				var once atomic.Bool
				answer := make(chan broker.Settled, 1)
				s.fail(func(b *store.Batch) error {
					isLetter := len(b.Append) == 1 && b.Append[0].Extra != nil
					if len(b.Append) == 1 && isLetter == late && once.CompareAndSwap(false, true) {
						time.Sleep(2 * time.Second) // the sweeper comes by, and waits for this commit
						go func() { answer <- r.settle("a", broker.Settlement{Ack: []string{id}}) }()
						synctest.Wait()
					}
					return nil
				})
				r.publish("/other", text("other"))
				time.Sleep(15 * time.Second)
				synctest.Wait()
				got, q := <-answer, r.queue("a")
				if q.Backlog != 0 || got.Acked+len(got.NotFound) != 1 || int(q.Acked) != got.Acked || int(q.DeadLettered.Expired) != 1-got.Acked {
					t.Errorf("%+v %+v", got, q)
				}
				if late && got.Acked != 0 || !late && got.Acked != 1 {
					t.Errorf("%+v", got)
				}
				r.wantDead([]string{"x expired 1; ", ""}[got.Acked])
			})
		})
	}
}

// The same of an acknowledgement of a dead letter that is redriven meanwhile.
func TestAckWhileItsDeadLetterIsRedriven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		s := r.faulty()
		id := r.publish("/t", text("x"))
		r.receive("/t", "a", broker.ReceiveOptions{})
		r.settle("a", broker.Settlement{DeadLetter: []string{id}})
		r.receive("/dead", "d", broker.ReceiveOptions{})
		late := make(chan broker.Settled, 1)
		s.fail(func(b *store.Batch) error {
			s.fail(nil)
			go func() { late <- r.settle("d", broker.Settlement{Ack: []string{id}}) }()
			synctest.Wait()
			return nil
		})
		if got := r.redrive(broker.Redrive{}); got.Moved != 1 {
			t.Errorf("%+v", got)
		}
		if got := <-late; got.Acked != 0 || len(got.NotFound) != 1 {
			t.Errorf("%+v", got)
		}
		r.wantBacklog(map[string]int64{"a": 1, "d": 0})
	})
}
