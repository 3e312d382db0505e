package broker_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
)

// overlap gives a consumer another sub_key with an overlap, and returns it.
func (r *rig) overlap(key string, d time.Duration) (now string) {
	r.t.Helper()
	return r.change(broker.Change{Rotate: []uint32{r.queue(key).ID}, Overlap: d}).Made[0].SubKey
}

// wantKey fails unless a sub_key opens /t, or is refused for a reason that holds a text.
func (r *rig) wantKey(key, reason string) {
	r.t.Helper()
	_, err := r.Subscription(r.crm, "/t", key)
	if reason == "" {
		if err != nil {
			r.t.Errorf("sub_key %s: %v", key, err)
		}
		return
	}
	if broker.CodeOf(err) != broker.Denied {
		r.t.Errorf("sub_key %s: %v", key, err)
	}
	if e, ok := err.(*broker.Error); !ok || !strings.Contains(e.Reason, reason) {
		r.t.Errorf("sub_key %s: %+v, want %q", key, err, reason)
	}
	if n := r.Broker.NamedBy("crm", key); n.Topic != "/t" {
		r.t.Errorf("whose the refused sub_key %s was is not told: %+v", key, n)
	}
}

// An old sub_key opens the queue until its overlap ends, through a restart and whatever is declared; who has it then is told
// of as such, and it has left the disk.
func TestOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		first := consumerDef("/t", "the-first-key")
		first.Name = ""
		r.define(topicDef("/t"), first)
		key := r.overlap("the-first-key", time.Hour)
		until := time.Now().Add(time.Hour)
		if c := r.queue(key); c.Old != (broker.OldKey{SubKey: "the-first-key", Until: until.UTC().Round(0)}) || !c.OldSeen.IsZero() {
			t.Fatalf("%+v", c)
		}
		r.publish("/t", text("1"))
		got := r.receive("/t", "the-first-key", broker.ReceiveOptions{})
		if s, err := r.sub("/t", key).Settle(broker.Settlement{Ack: []string{got[0].ID}}); err != nil || s.Acked != 1 {
			t.Fatalf("acknowledged with the new sub_key: %+v %v", s, err)
		}
		if c := r.queue(key); !c.OldSeen.Equal(time.Now()) {
			t.Errorf("used last %v", c.OldSeen)
		}
		time.Sleep(30 * time.Minute)
		r.restart()
		if _, err := r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{first}}); err != nil {
			t.Fatal(err)
		}
		other := first
		other.Name = "another"
		_, err := r.Change(ctx, broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{other}}})
		wantCode(t, err, broker.Invalid)
		edited := r.queue(key).Consumer
		edited.MaxInFlight = 7
		edited.Old = broker.OldKey{}
		r.change(broker.Change{Define: broker.Definition{Consumers: []broker.Consumer{edited}}})
		r.wantKey("the-first-key", "")

		// A long poll with the old key ends with it.
		sub, done := r.sub("/t", "the-first-key"), make(chan error)
		time.Sleep(29*time.Minute + 50*time.Second)
		go func() {
			_, err := sub.Receive(ctx, broker.ReceiveOptions{Wait: time.Minute})
			done <- err
		}()
		time.Sleep(9 * time.Second)
		r.wantKey("the-first-key", "")
		wantCode(t, <-done, broker.Denied)
		if now := time.Now(); now.Before(until) || now.After(until.Add(5*time.Second)) {
			t.Errorf("ended at %s, want %s", now, until)
		}
		r.wantKey("the-first-key", "an old sub_key")
		if c := r.queue(key); c.Old != (broker.OldKey{}) || c.MaxInFlight != 7 {
			t.Errorf("%+v", c)
		}
		r.close()
		if raw, err := os.ReadFile(r.path); err != nil || bytes.Contains(raw, []byte("the-first-key")) {
			t.Errorf("the old sub_key is in the file: %v", err)
		}
		r.open()
		r.wantKey("the-first-key", "an old sub_key")
		r.wantKey(key, "")
	})
}

// One rotation has one old sub_key: the next ends it, at once where it is without an overlap.
func TestOverlapEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		second := r.overlap("a", time.Hour)
		third := r.overlap(second, time.Hour)
		r.wantKey(second, "")
		if _, err := r.Subscription(r.crm, "/t", "a"); broker.CodeOf(err) != broker.Denied {
			t.Errorf("the sub_key before the last: %v", err)
		}
		end := broker.Change{EndOverlap: []uint32{r.queue(third).ID}}
		r.change(end)
		r.wantKey(second, "an old sub_key")
		_, err := r.Change(ctx, end)
		wantCode(t, err, broker.Invalid)
		fourth := r.overlap(third, time.Hour)
		fifth := r.overlap(fourth, 0)
		r.wantKey(fourth, "an old sub_key")
		r.wantKey(fifth, "")
		for _, wrong := range []time.Duration{-1, limit.MaxOverlap + 1} {
			_, err := r.Change(ctx, broker.Change{Rotate: []uint32{r.queue(fifth).ID}, Overlap: wrong})
			wantCode(t, err, broker.Invalid)
		}
		r.overlap(fifth, time.Hour)
		r.deleteConsumer(r.Consumers()[0].SubKey)
		_, err = r.Subscription(r.crm, "/t", fifth)
		wantCode(t, err, broker.Denied)
	})
}
