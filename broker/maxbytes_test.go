package broker_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// TestMaxBytes: past max_bytes a publish is refused as a whole, until somebody acknowledges; so it is after a start, as soon as
// the sweeper knows what is stored; what is retained gives way.
func TestMaxBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		def := topicDef("/t")
		def.Expiration, def.MaxBytes = broker.Off, 10<<10
		r.define(def, consumerDef("/t", "a"))
		time.Sleep(2 * time.Second)
		publish := func(priority int) broker.Code {
			t.Helper()
			_, err := r.Publish(ctx, "/t", bytes.Repeat([]byte("x"), 1<<10-64), broker.WithPriority(priority))
			if err == nil {
				return -1
			}
			return broker.CodeOf(err)
		}
		fill := func(want int) {
			t.Helper()
			n := 0
			for publish(1+n%9) < 0 {
				n++
			}
			if n != want || publish(5) != broker.Full {
				t.Errorf("%d messages fit, want %d; then %v", n, want, publish(5))
			}
		}
		fill(10)
		if i := r.topic("/t"); i.Bytes != 10<<10 || i.Depth != 10 {
			t.Errorf("%+v", i)
		}
		r.receive("/t", "a", broker.ReceiveOptions{Max: 3, Ack: true})
		fill(3)
		r.restart()
		time.Sleep(2 * time.Second)
		fill(0)
		r.crash()()
		time.Sleep(2 * time.Second)
		fill(0)

		_, err := r.Publish(ctx, "/t", make([]byte, 10<<10-63))
		if broker.CodeOf(err) != broker.TooLarge {
			t.Errorf("one that never fits: %v", err)
		}
		retain := def
		retain.Retention = time.Hour
		r.define(retain)
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1000, Ack: true})
		time.Sleep(2 * time.Second)
		if i := r.topic("/t"); i.Depth != 0 || i.Retained != 9 {
			t.Errorf("retained below the bound: %+v", i)
		}
		if code := publish(5); code >= 0 {
			t.Errorf("beside what is retained: %v", code)
		}
		def.MaxBytes = 0
		r.define(def)
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1000, Ack: true})
		for range 20 {
			publish(5)
		}
		time.Sleep(2 * time.Second)
		if i := r.topic("/t"); i.Depth != 20 {
			t.Errorf("without a bound: %+v", i)
		}
	})
}
