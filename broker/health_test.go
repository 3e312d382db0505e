package broker_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/store"
)

// roomFor is a disk on which a commit of most bytes of payload fits.
func roomFor(most int) func(*store.Batch) error {
	return func(b *store.Batch) error {
		n := 0
		for _, r := range slices.Concat(b.Append, b.Delay) {
			n += len(r.Payload)
		}
		for _, d := range b.Put {
			n += len(d.Value)
		}
		if n > most {
			return fmt.Errorf("write: %w", store.ErrNoSpace)
		}
		return nil
	}
}

// wantHealth waits until the broker has looked, and compares what it found.
func (r *rig) wantHealth(when string, want error) {
	r.t.Helper()
	time.Sleep(5 * time.Second)
	if err := r.Health(); !errors.Is(err, want) || (err == nil) != (want == nil) {
		r.t.Errorf("%s: health %v, want %v", when, err, want)
	}
}

// TestHealth: small writes that still fit do not make a full disk healthy, and room does without a publish.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		big := broker.Publication{Payload: make([]byte, 300_000), Expiration: 600}
		r.publish("/t", big)
		r.publish("/t", text("small"))
		before := s.count()
		r.wantHealth("at first", nil)
		if n := s.count() - before; n > 2 { // last-seen times
			t.Errorf("%d commits of a healthy broker", n)
		}
		s.fail(roomFor(200_000))
		wantCode(t, r.mayPublish(big), broker.DiskFull)
		if err := r.Health(); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("full: health %v", err)
		}
		got := r.receive("/t", "a", broker.ReceiveOptions{})
		if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID}}); err != nil || done.Acked != 1 {
			t.Errorf("settle: %+v %v", done, err)
		}
		r.wantHealth("after an acknowledgement", store.ErrNoSpace)
		r.publish("/t", text("small"))
		r.wantHealth("after a small publish", store.ErrNoSpace)
		r.receive("/t", "a", broker.ReceiveOptions{})
		time.Sleep(10 * time.Second)
		r.wantHealth("after last-seen times were stored", store.ErrNoSpace)
		s.fail(roomFor(299_999))
		r.wantHealth("with less room than was needed", store.ErrNoSpace)
		s.fail(roomFor(300_000))
		r.wantHealth("with room", nil)
		r.publish("/t", big)
		if docs, err := r.Documents("probe", "", false, 100); len(docs) > 0 || err != nil {
			t.Errorf("%d documents are left, %v", len(docs), err)
		}
		before = s.count()
		r.wantHealth("at last", nil)
		if n := s.count() - before; n > 2 {
			t.Errorf("%d commits of a healthy broker", n)
		}
	})
}

// TestProbeBounds: after a small publish was refused, a publish of ordinary size has to fit, and after
// a huge one no more than that.
func TestProbeBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{MaxPayload: 8 << 20})
		s := r.faulty()
		r.define(topicDef("/t"))
		for _, tt := range []struct{ payload, least int }{{1, 64 << 10}, {4 << 20, 1 << 20}} {
			s.fail(roomFor(0))
			wantCode(t, r.mayPublish(broker.Publication{Payload: make([]byte, tt.payload)}), broker.DiskFull)
			s.fail(roomFor(tt.least - 1))
			r.wantHealth(fmt.Sprint(tt, " too little"), store.ErrNoSpace)
			s.fail(roomFor(tt.least))
			r.wantHealth(fmt.Sprint(tt, " enough"), nil)
		}
	})
}

// TestNotStored: after an error that certainly stored nothing the broker goes on, and is healthy again
// when the disk is.
func TestNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", text("0"))
		got := r.receive("/t", "a", broker.ReceiveOptions{})
		cause := errors.New("input/output error")
		s.fail(func(*store.Batch) error { return fmt.Errorf("%w: %w", store.ErrNotStored, cause) })
		err := r.mayPublish(broker.Publication{Payload: []byte("x"), ID: "own"})
		wantCode(t, err, broker.Unavailable)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("publish: %v", err)
		}
		_, err = r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID}})
		wantCode(t, err, broker.Unavailable)
		r.wantHealth("failing", cause)
		s.fail(nil)
		r.wantHealth("well", nil)
		if done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID}}); err != nil || done.Acked != 1 {
			t.Errorf("settle: %+v %v", done, err)
		}
		r.publish("/t", broker.Publication{Payload: []byte("x"), ID: "own"})
		r.restart()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "x " {
			t.Errorf("after a restart: %q", payloads(m))
		}
	})
}

// TestUncertain: where the outcome of a commit is not known, its tasks are told so, everything later is
// refused, nobody is delivered anything, and the store is not written any more.
func TestUncertain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/u"), consumerDef("/u", "b"))
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		for i := range 3 {
			r.publish("/t", text(fmt.Sprint(i)))
		}
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		polled := make(chan error)
		go func() {
			_, err := r.sub("/u", "b").Receive(context.Background(), broker.ReceiveOptions{Wait: time.Minute})
			polled <- err
		}()
		synctest.Wait()
		cause := errors.New("input/output error")
		s.fail(func(b *store.Batch) error { // as where the flush of the last page fails
			if err := s.Store.Commit(b); err != nil {
				t.Error(err)
			}
			return cause
		})
		own := broker.Publication{Payload: []byte("x"), ID: "own", Expiration: 600}
		err := r.mayPublish(own)
		wantCode(t, err, broker.Unavailable)
		if !errors.Is(err, cause) || !strings.Contains(err.Error(), "not known") || !strings.Contains(err.Error(), "the same msg_id") {
			t.Errorf("publish: %v", err)
		}
		select {
		case <-r.Failed():
		default:
			t.Error("it did not fail")
		}
		wantCode(t, <-polled, broker.Unavailable)
		if err := r.Health(); !errors.Is(err, cause) {
			t.Errorf("health: %v", err)
		}
		s.fail(nil) // it would work again, but what does it hold?
		before := s.count()
		err = r.mayPublish(text("y"))
		wantCode(t, err, broker.Unavailable)
		if !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("later: %v", err)
		}
		_, err = r.sub("/t", "a").Settle(broker.Settlement{Ack: []string{got[0].ID}})
		wantCode(t, err, broker.Unavailable)
		_, err = r.sub("/t", "a").Receive(ctx, broker.ReceiveOptions{})
		wantCode(t, err, broker.Unavailable)
		_, err = r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{consumerDef("/t", "c")}})
		wantCode(t, err, broker.Unavailable)
		r.wantHealth("afterwards", cause)
		if err := r.Close(); broker.CodeOf(err) != broker.Unavailable {
			t.Errorf("close: %v", err) // it tells that something was not stored
		}
		if n := s.count() - before; n != 0 {
			t.Errorf("%d commits after the failure", n)
		}
		r.open()
		if p, err := r.Publisher(r.crm, "/t"); err != nil {
			t.Error(err)
		} else if _, err := p.Publish(own); err != nil { // as the answer said
			t.Error(err)
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 1 2 x " {
			t.Errorf("after a restart: %q", payloads(m))
		}
	})
}

// TestCommitPanics: all that the commit had gathered is answered.
func TestCommitPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"))
		proceed := make(chan struct{})
		s.fail(func(*store.Batch) error { <-proceed; panic("swordfish") })
		answers := make(chan any)
		for range 3 {
			go func() {
				defer func() {
					if p := recover(); p != nil {
						answers <- p
					}
				}()
				answers <- r.mayPublish(text("x"))
			}()
			synctest.Wait() // the first one commits, the others wait
		}
		close(proceed)
		panicked := 0
		for range 3 {
			switch a := (<-answers).(type) {
			case string: // of whoever committed
				panicked++
			case error:
				if broker.CodeOf(a) != broker.Unavailable {
					t.Errorf("whoever waited: %v", a)
				}
			}
		}
		if panicked != 1 {
			t.Errorf("%d panics", panicked)
		}
		<-r.Failed()
		if err := r.Close(); broker.CodeOf(err) != broker.Unavailable {
			t.Errorf("close: %v", err)
		}
		r.open()
	})
}

// TestFileGone: the file is moved away under the broker, another one put in its place, and it is
// moved back.
func TestFileGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.onFile("it moves the file of one machine")
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", broker.Publication{Payload: []byte("0"), Expiration: 600})
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		r.wantHealth("at first", nil)
		do(os.Rename(r.path, r.path+".away"))
		r.wantHealth("moved away", store.ErrLost)
		err := r.mayPublish(text("lost"))
		wantCode(t, err, broker.Unavailable)
		if !errors.Is(err, store.ErrLost) || !strings.Contains(err.Error(), "nothing was stored") {
			t.Errorf("publish: %v", err)
		}
		do(os.WriteFile(r.path, []byte("another one"), 0o600))
		r.wantHealth("replaced", store.ErrLost)
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 " {
			t.Errorf("receive: %q", payloads(m))
		}
		do(os.Rename(r.path+".away", r.path))
		r.wantHealth("moved back", nil)
		r.publish("/t", text("1"))
	})
}

// roomyStore is a store whose disk has hardly any room, while low is set.
type roomyStore struct {
	store.Store
	low    atomic.Bool
	failed atomic.Bool // what was answered could not be stored
}

func (s *roomyStore) CheckFile() error {
	if s.failed.Load() {
		return store.ErrFailed
	}
	if s.low.Load() {
		return fmt.Errorf("little is left: %w", store.ErrNoSpace)
	}
	return nil
}

// TestLittleRoom: before the disk is full nothing is published any more, while what makes room goes on; after a write that failed
// nothing does.
func TestLittleRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		r.publish("/t", text("0"))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		real := r.openStore()
		s := &roomyStore{Store: real}
		var err error
		if r.Broker, err = broker.Open(s, r.opts); err != nil {
			t.Fatal(err)
		}
		s.low.Store(true)
		r.wantHealth("little room", store.ErrNoSpace)
		wantCode(t, r.mayPublish(text("lost")), broker.DiskFull)
		if m := r.receive("/t", "a", broker.ReceiveOptions{Ack: true}); payloads(m) != "0 " {
			t.Errorf("receive: %q", payloads(m))
		}
		s.low.Store(false)
		r.wantHealth("room again", nil)
		r.publish("/t", text("1"))
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "1 " {
			t.Errorf("receive: %q", payloads(m))
		}
		s.failed.Store(true)
		r.wantHealth("what was answered was not stored", store.ErrFailed)
		select {
		case <-r.Failed():
		default:
			t.Error("the broker goes on")
		}
		wantCode(t, r.mayPublish(text("lost")), broker.Unavailable)
		if err := r.Close(); broker.CodeOf(err) != broker.Unavailable {
			t.Errorf("close: %v", err)
		}
		r.open()
	})
}

// TestReadingFails: what the sweeper cannot read is not healthy.
func TestReadingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		cause := errors.New("input/output error")
		s.mu.Lock()
		s.expired = cause
		s.mu.Unlock()
		r.wantHealth("failing", cause)
		s.mu.Lock()
		s.expired = nil
		s.mu.Unlock()
		r.wantHealth("well", nil)
	})
}

// TestClockHoldsSweeper: after the clock jumped ahead, what the new time says has expired stays for as
// long as it jumped, unless it was put right meanwhile.
func TestClockHoldsSweeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		wantDepth := func(when string, want int64) {
			t.Helper()
			if n := r.topic("/t").Depth; n != want {
				t.Errorf("%s: %d messages instead of %d", when, n, want)
			}
		}
		r.publish("/t", text("0")) // expires after 60 s
		time.Sleep(30 * time.Second)
		r.JumpClock(10 * time.Minute)
		time.Sleep(9 * time.Minute)
		wantDepth("after 9 minutes", 1)
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 " {
			t.Errorf("received: %q", payloads(m))
		}
		if _, _, err := r.Message("/t", r.browse(browse.Options{Topic: "/t"})[0].ID); err != nil {
			t.Errorf("browsed: %v", err)
		}
		time.Sleep(62 * time.Second)
		wantDepth("after 10 minutes", 0)

		r.publish("/t", text("1"))
		r.JumpClock(10 * time.Minute)
		time.Sleep(90 * time.Second)
		wantDepth("jumped again", 1)
		r.JumpClock(-10 * time.Minute)
		time.Sleep(2 * time.Second)
		wantDepth("put right", 0)
	})
}

// TestAlive: a watchdog hears as long as commits go on, also while the disk is full, and nothing once one hangs; asking stores nothing.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, s := newFaultyRig(t)
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		before := s.count()
		if err := r.Broker.Alive(); err != nil || s.count() != before {
			t.Errorf("%v, %d commits", err, s.count()-before)
		}
		s.fail(roomFor(0))
		wantCode(t, r.mayPublish(text("x")), broker.DiskFull)
		if err := r.Broker.Alive(); err != nil {
			t.Error("full:", err)
		}
		release := make(chan bool)
		s.fail(func(*store.Batch) error { <-release; return nil })
		published, alive := make(chan error, 1), make(chan error, 1)
		go func() { published <- r.mayPublish(text("x")) }()
		synctest.Wait()
		go func() { alive <- r.Broker.Alive() }()
		time.Sleep(time.Hour)
		select {
		case err := <-alive:
			t.Error("commits hang, and it is alive:", err)
		default:
		}
		close(release)
		if err, lives := <-published, <-alive; err != nil || lives != nil {
			t.Error(err, lives)
		}
		s.fail(func(*store.Batch) error { return errors.New("input/output error") })
		_ = r.mayPublish(text("x"))
		wantCode(t, r.Broker.Alive(), broker.Unavailable)
		_ = r.Close()
		r.open()
	})
}
