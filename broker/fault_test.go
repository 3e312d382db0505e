package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/store"
)

// faultyStore is the real store, but for what a test wants to go wrong.
type faultyStore struct {
	store.Store
	mu      sync.Mutex
	commit  func(*store.Batch) error // nil: nothing goes wrong
	scan    func(store.Lane) error
	look    func() // before Expired
	viewed  func() // after View
	expired error  // of Expired
	findID  error  // of FindID
	reading error  // of all that reads messages
	finds   atomic.Int64
	commits int
}

func (s *faultyStore) fail(commit func(*store.Batch) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commit = commit
}

func (s *faultyStore) Commit(b *store.Batch) error {
	s.mu.Lock()
	s.commits++
	commit := s.commit
	s.mu.Unlock()
	if commit != nil {
		if err := commit(b); err != nil {
			return err
		}
	}
	return s.Store.Commit(b)
}

func (s *faultyStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commits
}

func (s *faultyStore) View(fn func(store.Reader) error) error {
	s.mu.Lock()
	f := faultyReader{scan: s.scan, look: s.look, expired: s.expired, findID: s.findID, reading: s.reading, finds: &s.finds}
	viewed := s.viewed
	s.mu.Unlock()
	err := s.Store.View(func(r store.Reader) error {
		f.Reader = r
		return fn(f)
	})
	if viewed != nil {
		viewed()
	}
	return err
}

type faultyReader struct {
	store.Reader
	scan    func(store.Lane) error
	look    func()
	expired error
	findID  error
	reading error
	finds   *atomic.Int64
}

// failReads lets all that reads messages fail, with nil no more.
func (s *faultyStore) failReads(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = err
}

func (r faultyReader) Stored(l store.Lane, span store.Span, fn func(uint64) bool) error {
	if r.reading != nil {
		return r.reading
	}
	return r.Reader.Stored(l, span, fn)
}

func (r faultyReader) FindID(topic uint32, id string) ([]store.Sighting, error) {
	r.finds.Add(1)
	if r.findID != nil {
		return nil, r.findID
	}
	return r.Reader.FindID(topic, id)
}

func (r faultyReader) Expired(now time.Time, limit int) ([]store.Expiry, error) {
	if r.look != nil {
		r.look()
	}
	if r.expired != nil {
		return nil, r.expired
	}
	return r.Reader.Expired(now, limit)
}

func (r faultyReader) Scan(l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error {
	if r.reading != nil {
		return r.reading
	}
	if r.scan != nil {
		if err := r.scan(l); err != nil {
			return err
		}
	}
	return r.Reader.Scan(l, from, down, fn)
}

// newFaultyRig returns a rig whose store a test can let fail; a restart gives it the real one.
func newFaultyRig(t *testing.T) (*rig, *faultyStore) {
	t.Helper()
	r := newRig(t, broker.Options{})
	return r, r.faulty()
}

// faulty gives the rig a store that a test can let fail.
func (r *rig) faulty() *faultyStore {
	r.t.Helper()
	if err := r.Close(); err != nil {
		r.t.Fatal(err)
	}
	real := r.openStore()
	s := &faultyStore{Store: real}
	var err error
	if r.Broker, err = broker.Open(s, r.opts); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// noSpace is a disk on which nothing fits that stores messages.
func noSpace(b *store.Batch) error {
	if len(b.Append)+len(b.Delay) > 0 {
		return fmt.Errorf("write: %w", store.ErrNoSpace)
	}
	return nil
}

func (r *rig) mayPublish(pub broker.Publication) error {
	p, err := r.Publisher(r.crm, "/t")
	if err == nil {
		_, err = p.Publish(pub)
	}
	return err
}

func text(s string) broker.Publication { return broker.Publication{Payload: []byte(s)} }

// TestDiskFull lets a commit of publishes and acknowledgements find the disk full: the publishes are
// refused and leave nothing behind, the acknowledgements go on.
func TestDiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		topic := topicDef("/t")
		topic.MaxDepth, topic.Expiration = 5, property.Off
		r.define(topic, consumerDef("/t", "a"))
		for i := range 3 {
			r.publish("/t", text(fmt.Sprint(i)))
		}
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 2})

		// The disk holds on to one commit, while the next ones gather.
		proceed := make(chan struct{})
		s.fail(func(*store.Batch) error { <-proceed; return nil })
		var wg sync.WaitGroup
		wg.Go(func() { r.publish("/t", text("3")) })
		synctest.Wait()
		refused := map[string]error{}
		var mu sync.Mutex
		for _, p := range []broker.Publication{text("x"), {Payload: []byte("y"), ID: "own"}, {Payload: []byte("z"), Delay: 1}} {
			wg.Go(func() {
				err := r.mayPublish(p)
				mu.Lock()
				refused[string(p.Payload)] = err
				mu.Unlock()
			})
		}
		var settled broker.Settled
		var settleErr error
		wg.Go(func() { settled, settleErr = r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID}}) })
		synctest.Wait()
		var batches []string
		s.fail(func(b *store.Batch) error {
			batches = append(batches, fmt.Sprintf("%d+%d messages, %d cursors", len(b.Append), len(b.Delay), len(b.Cursors)))
			return noSpace(b)
		})
		close(proceed)
		wg.Wait()
		// Two of the three fit the topic's five; together with the acknowledgement they were one batch.
		full, disk := 0, 0
		for name, err := range refused {
			switch broker.CodeOf(err) {
			case broker.DiskFull:
				disk++
			case broker.Full:
				full++
			default:
				t.Errorf("publish %s: %v", name, err)
			}
		}
		if disk+full != 3 || disk < 1 {
			t.Errorf("%d refused for the disk, %d for the topic: %v", disk, full, refused)
		}
		if settleErr != nil || settled.Acked != 1 {
			t.Errorf("settle: %+v %v", settled, settleErr)
		}
		if len(batches) != 2 || batches[1] != "0+0 messages, 1 cursors" {
			t.Errorf("batches: %q", batches)
		}
		if err := r.Health(); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("health: %v", err)
		}

		// Nothing of it is there, and there is room again without a restart.
		s.fail(nil)
		time.Sleep(2 * time.Second)
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "2 3 " {
			t.Errorf("after the failure: %q", payloads(m))
		}
		for _, name := range []string{"own", "4"} { // the ID was not remembered
			p := text(name)
			if name == "own" {
				p.ID = "own"
			}
			r.publish("/t", p)
		}
		if err := r.Health(); err != nil {
			t.Errorf("health afterwards: %v", err)
		}
		wantCode(t, r.mayPublish(text("too much")), broker.Full) // 1, 2, 3, own, 4
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "own 4 " {
			t.Errorf("after the recovery: %q", payloads(m))
		}
		r.restart()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "1 2 3 own 4 " {
			t.Errorf("after a restart: %q", payloads(m))
		}
	})
}

// TestDiskFullForAll is a disk on which not even acknowledgements fit.
func TestDiskFullForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		for i := range 4 {
			r.publish("/t", text(fmt.Sprint(i)))
		}
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 3})
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		_, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID, got[1].ID}, Reject: []string{got[2].ID}})
		wantCode(t, err, broker.DiskFull)
		_, err = r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{Ack: true})
		wantCode(t, err, broker.DiskFull)
		wantCode(t, r.mayPublish(text("x")), broker.DiskFull)
		wantCode(t, r.mayPublish(broker.Publication{ID: "own"}), broker.DiskFull)
		_, err = r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{consumerDef("/t", "b")}})
		wantCode(t, err, broker.DiskFull)
		if _, err := r.Subscription(r.crm, "/t", "b"); broker.CodeOf(err) != broker.Denied {
			t.Errorf("a consumer that was not stored is there: %v", err)
		}
		s.fail(nil)
		// What was to be acknowledged is in flight as before; what was to be acknowledged as it was
		// returned is there again.
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "3 " {
			t.Errorf("after the failure: %q", payloads(m))
		}
		done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID, got[1].ID}})
		if err != nil || done.Acked != 2 {
			t.Errorf("settle: %+v %v", done, err)
		}
		r.restart()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "2 3 " {
			t.Errorf("after a restart: %q", payloads(m))
		}
	})
}

// TestDiskFullSweep: on a full disk delayed messages wait, what has expired is cleared away all the
// same, and nobody tries again without a pause.
func TestDiskFullSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		topic := topicDef("/t")
		topic.MaxDepth = 2
		r.define(topic, consumerDef("/t", "a"))
		r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 3, Expiration: 600})
		r.publish("/t", broker.Publication{Payload: []byte("short"), Expiration: 4})
		s.fail(noSpace)
		before := s.count()
		time.Sleep(10*time.Second + time.Millisecond)
		if n := s.count() - before; n < 2 || n > 30 {
			t.Errorf("%d commits in 10 s", n)
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
			t.Errorf("on a full disk: %q", payloads(m))
		}
		wantCode(t, r.mayPublish(text("x")), broker.DiskFull) // not Full: "short" has been cleared away
		s.fail(nil)
		m := r.receive("/t", "a", broker.ReceiveOptions{Wait: 5 * time.Second})
		if payloads(m) != "late " {
			t.Errorf("with room again: %q", payloads(m))
		}
		r.publish("/t", text("x"))
		wantCode(t, r.mayPublish(text("y")), broker.Full)
	})
}

// TestDeliveryCountKept: a count that could not be stored is stored by a later pass.
func TestDeliveryCountKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 600})
		for range 3 {
			m := r.receive("/t", "a", broker.ReceiveOptions{})
			if _, err := r.sub("/t", "a").Settle(broker.Settlement{Reject: []string{m[0].ID}}); err != nil {
				t.Fatal(err)
			}
		}
		s.fail(func(*store.Batch) error { return store.ErrNoSpace })
		time.Sleep(3 * time.Second)
		s.fail(nil)
		time.Sleep(3 * time.Second)
		r.restart()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 1 || m[0].DeliveryCount != 4 {
			t.Errorf("after a restart: %+v", m)
		}
	})
}

// TestReadFails lets reading fail in the midst of a receive: what it had taken is given back.
func TestReadFails(t *testing.T) {
	r, s := newFaultyRig(t)
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	for i := range 6 {
		r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: 9 - i/2})
	}
	cause := errors.New("input/output error")
	s.scan = func(l store.Lane) error {
		if l.Priority < 8 {
			return cause
		}
		return nil
	}
	for _, o := range []broker.ReceiveOptions{{}, {Order: broker.LIFO}, {Ack: true}} {
		if m, err := r.sub("/t", "a").Receive(ctx, o); len(m) > 0 || !errors.Is(err, cause) {
			t.Fatalf("receive: %q %v", payloads(m), err)
		}
	}
	s.scan = nil
	if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 1 2 3 4 5 " {
		t.Errorf("after the failure: %q", payloads(m))
	}
}

// TestSettleFails lets an ID not be found, as reading fails, behind others that were: nothing is acknowledged, and all
// are in flight as before.
func TestSettleFails(t *testing.T) {
	const n = 300 // more than are looked up at once
	r, s := newFaultyRig(t)
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	for range n {
		r.publish("/t", text("x"))
	}
	acks := ids(r.receive("/t", "a", broker.ReceiveOptions{Max: n})...)
	cause := errors.New("input/output error")
	set := func(err error) {
		s.mu.Lock()
		s.findID = err
		s.mu.Unlock()
	}
	set(cause)
	for name, st := range map[string]broker.Settlement{"ack": {Ack: append(acks, "own")}, "reject": {Reject: []string{"own"}}, "extend": {Extend: []broker.Extension{{ID: "own", Seconds: 1}}}} {
		if done, err := r.sub("/t", "a").Settle(st); !errors.Is(err, cause) || done.Acked+done.Rejected+done.Extended > 0 {
			t.Errorf("%s: %+v %v", name, done, err)
		}
	}
	set(nil)
	if q := r.queue("a"); q.InFlight != n || q.Backlog != n {
		t.Errorf("%+v", q)
	}
	if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: append(acks, "own")}); err != nil || done.Acked != n || len(done.NotFound) != 1 {
		t.Errorf("%d acked, not found %q: %v", done.Acked, done.NotFound, err)
	}
}

// TestDeletedWhileRead deletes a message between a receive's look at the store and its leases: it is not delivered.
func TestDeletedWhileRead(t *testing.T) {
	for _, order := range []broker.Order{broker.FIFO, broker.LIFO} {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		var published []string
		for i := range 3 {
			published = append(published, r.publish("/t", text(fmt.Sprint(i))))
		}
		var deleted atomic.Bool
		s.scan = func(store.Lane) error {
			if deleted.CompareAndSwap(false, true) {
				r.remove("/t", 1, published[1])
			}
			return nil
		}
		want := map[broker.Order]string{broker.FIFO: "0 2 ", broker.LIFO: "2 0 "}[order]
		got := r.receive("/t", "a", broker.ReceiveOptions{Order: order})
		if payloads(got) != want {
			t.Errorf("got %q, want %q", payloads(got), want)
		}
		if q := r.queue("a"); q.InFlight != 2 || q.Backlog != 2 {
			t.Errorf("%+v", q)
		}
		r.ack(t, "a", got...)
		if q := r.queue("a"); q.InFlight != 0 || q.Backlog != 0 {
			t.Errorf("after all: %+v", q)
		}
	}
}

// TestDeletedWhileExpiring takes a message away between the sweeper's look at the store, which sees it, and the commit
// that would remove it as expired: it is counted once.
func TestDeletedWhileExpiring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		s := r.faulty()
		dead := topicDef("/dead")
		var sent []string
		for _, dead.Expiration = range []int64{2, 1000} {
			r.define(dead)
			sent = append(sent, r.publish("/t", text("x")))
			r.receive("/t", "a", broker.ReceiveOptions{})
			r.settle("a", broker.Settlement{DeadLetter: sent[len(sent)-1:]})
		}
		opened := time.Now()
		var taken atomic.Bool
		s.mu.Lock()
		s.look = func() {
			if time.Since(opened) >= 2*time.Second && taken.CompareAndSwap(false, true) {
				if done := r.redrive(broker.Redrive{IDs: sent[:1]}); done.Moved != 1 {
					t.Errorf("%+v", done)
				}
			}
		}
		s.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !taken.Load() {
			t.Fatal("never looked")
		}
		if q, tp := r.queue("d"), r.topic("/dead"); q.Backlog != 1 || q.Expired != 0 || tp.Depth != 1 {
			t.Errorf("%+v\n%+v", q, tp)
		}
	})
}

// imageStore is a real store of which a test changes what it loads.
type imageStore struct {
	store.Store
	change func(*store.Image) error
}

func (s imageStore) Load() (*store.Image, error) {
	image, err := s.Store.Load()
	if err == nil {
		err = s.change(image)
	}
	return image, err
}

// TestOpenFails opens a broker on what no broker has stored: it is refused, and the store left open.
func TestOpenFails(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	r.close()
	for want, change := range map[string]func(*store.Image) error{
		"input/output error":                  func(*store.Image) error { return errors.New("input/output error") },
		`object of unknown kind "thing"`:      func(i *store.Image) error { i.Objects[0].Kind = "thing"; return nil },
		`the store is damaged: client "crm":`: func(i *store.Image) error { i.Objects[0].Value = []byte("{"); return nil },
		"last-seen time of unknown kind":      func(i *store.Image) error { i.Seen = []store.Seen{{Kind: 'x', ID: 1}}; return nil },
	} {
		real := r.openStore()
		if _, err := broker.Open(imageStore{real, change}, r.opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if err := real.Close(); err != nil {
			t.Error(err)
		}
	}
	r.open()
	r.queue("a")
}
