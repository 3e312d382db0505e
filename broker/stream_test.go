package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// streamed is a stream and what it does, checked.
type streamed struct {
	*broker.Stream
	t testing.TB
}

func (r *rig) stream(topic, key, after string, o broker.ReceiveOptions) *streamed {
	r.t.Helper()
	st, err := r.sub(topic, key).Stream(o, after)
	if err != nil {
		r.t.Fatal(err)
	}
	return &streamed{st, r.t}
}

// next returns what comes next, and has it written.
func (s *streamed) next(wait time.Duration) []broker.Message {
	s.t.Helper()
	msgs, err := s.Receive(ctx, wait, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Written(msgs)
	return msgs
}

// TestStreamSlowReader: a stream never has more in flight than it may, so who works off slowly, but
// within the ack timeout what it has, gets every message once.
func TestStreamSlowReader(t *testing.T) {
	for _, most := range []int{1, 4} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, broker.Options{})
			c := consumerDef("/t", "a")
			c.AckTimeout = 4 * time.Second
			r.define(topicDef("/t"), c)
			for i := range 30 {
				r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 1000})
			}
			work := make(chan broker.Message, 100)
			var worker sync.WaitGroup
			worker.Go(func() {
				for m := range work {
					time.Sleep(500 * time.Millisecond)
					r.ack(t, "a", m)
				}
			})
			st := r.stream("/t", "a", "", broker.ReceiveOptions{Max: most})
			deliveries := 0
			for {
				msgs := st.next(20 * time.Second)
				if len(msgs) == 0 {
					break
				}
				for _, m := range msgs {
					if deliveries++; m.DeliveryCount != 1 {
						t.Errorf("delivery %d of %s", m.DeliveryCount, m.Payload)
					}
					work <- m
				}
				if len(work) > most {
					t.Errorf("%d messages at a time", len(work))
				}
			}
			if deliveries != 30 {
				t.Errorf("%d deliveries", deliveries)
			}
			close(work)
			worker.Wait()
			st.Close()
		})
	}
}

// TestStreamFree: whatever ends a delivery makes room for another one, and nothing else does.
func TestStreamFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		c := consumerDef("/t", "a")
		c.AckTimeout = 30 * time.Second
		r.define(topicDef("/t"), c)
		for i := range 6 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 1000})
		}
		st := r.stream("/t", "a", "", broker.ReceiveOptions{Max: 2})
		defer st.Close()
		first := st.next(0)
		if payloads(first) != "0 1 " {
			t.Fatalf("%q", payloads(first))
		}
		if got := payloads(st.next(5 * time.Second)); got != "" {
			t.Errorf("too many: %q", got)
		}
		settle := func(s broker.Settlement) {
			if _, err := r.sub("/t", "a").Settle(s); err != nil {
				t.Fatal(err)
			}
		}
		settle(broker.Settlement{Extend: []broker.Extension{{ID: first[1].ID, Seconds: 100}}})
		if got := payloads(st.next(time.Second)); got != "" {
			t.Errorf("after an extension: %q", got)
		}
		// An acknowledgement, while it waits.
		got := make(chan string, 1)
		go func() { got <- payloads(st.next(60 * time.Second)) }()
		synctest.Wait()
		settle(broker.Settlement{Ack: []string{first[0].ID}})
		if got := <-got; got != "2 " {
			t.Errorf("after an acknowledgement: %q", got)
		}
		// A rejection.
		settle(broker.Settlement{Reject: []string{first[1].ID}, Delay: 1000})
		if got := payloads(st.next(0)); got != "3 " {
			t.Errorf("after a rejection: %q", got)
		}
		// Their time: others may have them then, as this stream.
		if got := payloads(st.next(60 * time.Second)); got != "2 3 " {
			t.Errorf("after the ack timeout: %q", got)
		}
	})
}

// TestStreamResumes: what a stream was sent behind the last event that its client has, and nobody
// acknowledged, comes first in the next one, whether the broken one is known to be broken or not.
func TestStreamResumes(t *testing.T) {
	for _, known := range []bool{true, false} {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		publish := func(i, priority int, id string) {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: priority, ID: id, Expiration: 1000})
		}
		publish(0, 9, "")
		publish(1, 5, "own-id")
		for i := 2; i < 6; i++ {
			publish(i, 5, "")
		}
		publish(6, 1, "")
		old := r.stream("/t", "a", "", broker.ReceiveOptions{Max: 7})
		sent := old.next(0)
		if payloads(sent) != "0 1 2 3 4 5 6 " {
			t.Fatalf("%q", payloads(sent))
		}
		r.ack(t, "a", sent[0], sent[1], sent[4]) // the last by somebody else
		if known {
			old.Close()
		}
		publish(7, 9, "") // more urgent, and yet not first
		other := r.stream("/t", "a", "", broker.ReceiveOptions{Max: 1})
		st := r.stream("/t", "a", "own-id", broker.ReceiveOptions{Max: 3})
		if got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1}); payloads(got) != "7 " {
			t.Errorf("somebody else got %q", payloads(got))
		}
		msgs := st.next(0)
		if payloads(msgs) != "2 3 5 " || msgs[0].DeliveryCount != 2 {
			t.Fatalf("%q %+v", payloads(msgs), msgs)
		}
		if got := payloads(st.next(0)); got != "" {
			t.Errorf("too many: %q", got)
		}
		r.ack(t, "a", msgs[0])
		if got := payloads(st.next(0)); got != "6 " {
			t.Errorf("the rest: %q", got)
		}
		if !known {
			if _, err := old.Receive(ctx, time.Minute, nil); broker.CodeOf(err) != broker.Conflict {
				t.Errorf("the old one goes on: %v", err)
			}
			old.Release(sent) // its connection is lost after all: they are no more its own
			old.Close()
			if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "" {
				t.Errorf("given back: %q", got)
			}
		}
		// An ID that no stream was sent takes nothing from anybody.
		st3 := r.stream("/t", "a", "nobody-knows", broker.ReceiveOptions{Max: 100})
		if got := payloads(st3.next(0)); got != "" {
			t.Errorf("taken away: %q", got)
		}
		// Nor does a stream that is closed before it has sent what it took over keep it.
		st4 := r.stream("/t", "a", msgs[1].ID, broker.ReceiveOptions{Max: 100})
		st4.Close()
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "5 6 " {
			t.Errorf("kept: %q", got)
		}
		for _, s := range []*streamed{other, st, st3} {
			s.Close()
		}
	}
}

// TestStreamTakenOverWhileItWaits: the old stream ends at once.
func TestStreamTakenOverWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "a"))
		for _, most := range []int{1, 2} { // it waits for room, and for messages
			id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 1000})
			old := r.stream("/t", "a", "", broker.ReceiveOptions{Max: most})
			if got := payloads(old.next(0)); got != "x " {
				t.Fatalf("%q", got)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := old.Receive(ctx, time.Minute, nil)
				ended <- err
			}()
			synctest.Wait()
			start := time.Now()
			st := r.stream("/t", "a", id, broker.ReceiveOptions{})
			if err := <-ended; broker.CodeOf(err) != broker.Conflict || time.Since(start) != 0 {
				t.Errorf("%v after %s", err, time.Since(start))
			}
			old.Close()
			st.Close()
			r.ack(t, "a", broker.Message{ID: id})
		}
	})
}

// TestStreamRoom: what was taken over waits for room as everything else does, and is not lost.
func TestStreamRoom(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"), consumerDef("/t", "a"))
	first := r.publish("/t", broker.Publication{Payload: []byte("0")})
	r.publish("/t", broker.Publication{Payload: []byte("1")})
	old := r.stream("/t", "a", "", broker.ReceiveOptions{})
	old.next(0)
	old.Close()
	st := r.stream("/t", "a", first, broker.ReceiveOptions{})
	defer st.Close()
	if _, err := st.Receive(ctx, 0, func(int) bool { return false }); broker.CodeOf(err) != broker.Unavailable {
		t.Errorf("%v", err)
	}
	if got := payloads(st.next(0)); got != "1 " {
		t.Errorf("%q", got)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if msgs, err := st.Receive(ended, time.Hour, nil); err != nil || len(msgs) > 0 {
		t.Errorf("%v %v", msgs, err)
	}
}
