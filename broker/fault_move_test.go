package broker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/property"
	"pipit/broker/store"
)

// What moves messages within the broker, on a disk that fails: nothing is half done, and it is done when the disk is well.

var errInput = errors.New("input/output error")

// faults are ways in which a store fails, and how the failure ends.
var faults = map[string]func(*faultyStore) (mend func()){
	"disk full": func(s *faultyStore) func() { s.fail(noSpace); return func() { s.fail(nil) } },
	"reading":   func(s *faultyStore) func() { s.failReads(errInput); return func() { s.failReads(nil) } },
	"both": func(s *faultyStore) func() {
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		s.failReads(errInput)
		return func() { s.fail(nil); s.failReads(nil) }
	},
}

// withFaults runs a test with each of the faults, in fake time.
func withFaults(t *testing.T, test func(t *testing.T, fault func(*faultyStore) func())) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, fault) })
		})
	}
}

// TestBurialFails: what is to be a dead letter waits, neither delivered nor lost.
func TestBurialFails(t *testing.T) {
	withFaults(t, func(t *testing.T, fault func(*faultyStore) func()) {
		r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries, c.AckTimeout = 1, 10*time.Second })
		s := r.faulty()
		var all []string
		for i := range 3 {
			all = append(all, r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 3600}))
		}
		r.receive("/t", "a", broker.ReceiveOptions{})
		mend := fault(s)
		r.settle("a", broker.Settlement{DeadLetter: all[:2]})
		time.Sleep(20 * time.Second) // the ack timeout of the third
		synctest.Wait()
		if q := r.queue("a"); q.Backlog != 3 || q.Failed != 3 || q.InFlight != 0 || q.DeadLettered.Sum() != 0 {
			t.Errorf("while it fails: %+v", q)
		}
		if depth := r.topic("/dead").Depth; depth != 0 {
			t.Errorf("%d dead letters", depth)
		}
		mend()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
			t.Errorf("delivered again: %q", payloads(m))
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.wantDead("0 rejected 1; 1 rejected 1; 2 max_deliveries 1; ")
		if q := r.queue("a"); q.Backlog != 0 || q.Failed != 0 || q.DeadLettered.Sum() != 3 {
			t.Errorf("afterwards: %+v", q)
		}
		r.restart()
		r.wantDead("")
	})
}

// TestOnExpiryFails: what has expired and is to be a dead letter waits, and comes once.
func TestOnExpiryFails(t *testing.T) {
	withFaults(t, func(t *testing.T, fault func(*faultyStore) func()) {
		r := failing(t, func(c *broker.Consumer) { c.OnExpiry = broker.ExpiryDeadLetter })
		s := r.faulty()
		for i := range 3 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 5})
		}
		mend := fault(s)
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if q := r.queue("a"); q.Backlog != 3 || q.DeadLettered.Sum() != 0 || q.Expired != 0 {
			t.Errorf("while it fails: %+v", q)
		}
		mend()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		r.wantDead("0 expired 0; 1 expired 0; 2 expired 0; ")
		if q := r.queue("a"); q.Backlog != 0 || q.DeadLettered.Expired != 3 || q.Expired != 3 {
			t.Errorf("afterwards: %+v", q)
		}
		r.restart()
		r.wantDead("")
	})
}

// TestOverflowReadFails: a publish for which the oldest message cannot be read is refused, and that stays.
func TestOverflowReadFails(t *testing.T) {
	for _, overflow := range []string{broker.OverflowDropOldest, broker.OverflowDeadLetter} {
		r := overflowing(t, overflow)
		s := r.faulty()
		r.fillWith("0 1 2", 0)
		s.failReads(errInput)
		if err := r.mayPublish(text("never")); !errors.Is(err, errInput) {
			t.Errorf("%s: %v", overflow, err)
		}
		if q := r.queue("a"); q.Backlog != 3 || q.InFlight != 0 || q.Dropped.Sum()+q.DeadLettered.Sum() != 0 {
			t.Errorf("%s: %+v", overflow, q)
		}
		s.failReads(nil)
		r.fillWith("3", 0)
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "1 2 3 " {
			t.Errorf("%s: %q", overflow, got)
		}
		r.wantDead(map[string]string{broker.OverflowDeadLetter: "0 overflow 0; "}[overflow])
	}
}

// TestOverflowBesideAnother: of two publishes of one commit, the second finds no room for the first one's message in the
// dead-letter topic: it alone is refused.
func TestOverflowBesideAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.MaxDepth, c.Overflow = 1, broker.OverflowDeadLetter })
		dead := topicDef("/dead")
		dead.MaxDepth, dead.Expiration = 1, property.Off
		r.define(dead)
		s := r.faulty()
		r.fillWith("0", 0)
		var first, second error
		s.queued(r, nil, func() { first = r.mayPublish(text("1")) }, func() { second = r.mayPublish(text("2")) })
		if first != nil {
			t.Errorf("the first: %v", first)
		}
		wantCode(t, second, broker.Full)
		if q := r.queue("a"); q.Backlog != 1 || q.DeadLettered.Overflow != 1 {
			t.Errorf("%+v", q)
		}
		r.wantDead("0 overflow 0; ")
		r.fillWith("3", 0)
		r.wantDead("1 overflow 0; ")
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "3 " {
			t.Errorf("got %q", got)
		}
	})
}

// TestSeekFails: a seek that fails leaves the consumer where it was.
func TestSeekFails(t *testing.T) {
	r, s := newFaultyRig(t)
	r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
	r.fill("/t", 10)
	id := r.browse(browse.Options{Topic: "/t"})[4].ID
	r.use("/t", "a")
	door := r.sub("/t", "a")
	want := func(to broker.Seek, code broker.Code) {
		t.Helper()
		if _, err := door.Seek(ctx, to); err == nil || broker.CodeOf(err) != code {
			t.Errorf("%s: %v", to, err)
		}
		if q := r.queue("a"); q.Backlog != 0 {
			t.Errorf("%s: %+v", to, q)
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
			t.Errorf("%s: %q", to, payloads(m))
		}
	}
	s.fail(func(*store.Batch) error { return store.ErrNoSpace })
	for _, to := range []broker.Seek{{Oldest: true}, {MessageID: id}, {Time: time.Now().Add(-time.Minute)}} {
		want(to, broker.DiskFull)
	}
	s.fail(nil)
	s.failReads(errInput)
	for _, to := range []broker.Seek{{MessageID: id}, {Time: time.Now().Add(-time.Minute)}} {
		if _, err := door.Seek(ctx, to); !errors.Is(err, errInput) {
			t.Errorf("%s: %v", to, err)
		}
	}
	s.failReads(nil)
	gone, leave := context.WithCancel(ctx)
	leave()
	if _, err := door.Seek(gone, broker.Seek{MessageID: id}); broker.CodeOf(err) != broker.Unavailable {
		t.Error(err)
	}
	if _, err := r.SeekPreview(gone, r.id("a"), broker.Seek{Oldest: true}); broker.CodeOf(err) != broker.Unavailable {
		t.Error(err)
	}
	if _, err := r.SeekPreview(ctx, 9999, broker.Seek{Oldest: true}); broker.CodeOf(err) != broker.NotFound {
		t.Error(err)
	}
	want(broker.Seek{Newest: true, Oldest: true}, broker.Invalid)
	want(broker.Seek{MessageID: "nope"}, broker.NotFound)
	r.wantSeek("/t", "a", broker.Seek{MessageID: id}, 6)
	if got := r.use("/t", "a"); got != "4 5 6 7 8 9 " {
		t.Errorf("afterwards: %q", got)
	}
	r.deleteConsumer("a")
	if _, err := door.Seek(ctx, broker.Seek{Oldest: true}); broker.CodeOf(err) != broker.Denied {
		t.Error(err)
	}
}

// TestSiftFails: what a new filter does not let through stays in the backlog as long as it cannot be looked at, and is not
// delivered.
func TestSiftFails(t *testing.T) {
	withFaults(t, func(t *testing.T, fault func(*faultyStore) func()) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.countries("LV1 LT1 LV2 LT2 EE1")
		r.define(topicDef("/t"), filtered("a", `country = "LV"`))
		mend := fault(s)
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if q := r.queue("a"); q.Backlog != 5 {
			t.Errorf("while it fails: %+v", q)
		}
		mend()
		s.fail(nil)
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "LV1 LV2 " {
			t.Errorf("delivered: %q", got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if q := r.queue("a"); q.Backlog != 2 || q.InFlight != 2 {
			t.Errorf("afterwards: %+v", q)
		}
		r.restart()
		if q := r.queue("a"); q.Backlog != 2 {
			t.Errorf("after a restart: %+v", q)
		}
	})
}

// TestRetentionReadFails: what is past the retention stays as long as nobody can look, and goes then; so does what is too
// much, whose bytes are not known before.
func TestRetentionReadFails(t *testing.T) {
	size := property.Size((&store.Record{Payload: []byte("0")}).Size())
	for name, topic := range map[string]broker.Topic{"age": retaining("/t", 10*time.Second, 0), "bytes": retaining("/t", 0, size)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
				r.fill("/t", 5)
				r.use("/t", "a")
				time.Sleep(20 * time.Second)
				r.publish("/t", broker.Publication{Payload: []byte("5")})
				r.use("/t", "a")
				s := r.faulty()
				s.failReads(errInput)
				r.define(topic)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				if i := r.topic("/t"); i.Retained != 6 {
					t.Errorf("while it fails: %+v", i)
				}
				s.failReads(nil)
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if i := r.topic("/t"); i.Retained != 1 {
					t.Errorf("afterwards: %+v", i)
				}
				if got := r.retained("/t"); got != "5 " {
					t.Errorf("afterwards: %q", got)
				}
			})
		})
	}
}

// TestRedriveFails: what a redrive could not move is a dead letter as before, and nobody has it twice.
func TestRedriveFails(t *testing.T) {
	r, ids := redriving(t)
	s := r.faulty()
	before := r.queue("a").Backlog
	for _, o := range []broker.Redrive{{}, {IDs: ids[:1]}} {
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		done, err := o.Run(ctx, r.Broker, "/dead")
		if wantCode(t, err, broker.DiskFull); done.Moved != 0 {
			t.Errorf("%+v: %+v", o, done)
		}
		s.fail(nil)
		s.failReads(errInput)
		if done, err := o.Run(ctx, r.Broker, "/dead"); !errors.Is(err, errInput) || done.Moved != 0 {
			t.Errorf("%+v: %+v %v", o, done, err)
		}
		s.failReads(nil)
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	_, err := (broker.Redrive{}).Run(gone, r.Broker, "/dead")
	wantCode(t, err, broker.Unavailable)
	_, err = (broker.Redrive{}).Run(ctx, r.Broker, "/none")
	wantCode(t, err, broker.NotFound)
	if q, dead := r.queue("a").Backlog, r.topic("/dead").Depth; q != before || dead != 6 {
		t.Errorf("%d messages, was %d; %d dead letters", q, before, dead)
	}
	if done := r.redrive(broker.Redrive{}); done.Moved != 6 {
		t.Errorf("%+v", done)
	}
	if q, dead := r.queue("a").Backlog, r.topic("/dead").Depth; q != before+4 || dead != 0 {
		t.Errorf("%d messages, was %d; %d dead letters", q, before, dead)
	}
}
