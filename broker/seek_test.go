package broker_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/browse"
)

// wantSeek seeks and checks how many messages wait then, for a preview, in the answer and in what an administrator sees.
func (r *rig) wantSeek(topic, key string, to broker.Seek, want int64) {
	r.t.Helper()
	if n, err := r.SeekPreview(ctx, r.id(key), to); err != nil || n != want {
		r.t.Errorf("preview of %+v: %d %v, want %d", to, n, err, want)
	}
	n, err := r.sub(topic, key).Seek(ctx, to)
	if err != nil || n != want {
		r.t.Errorf("seek %+v: %d %v, want %d", to, n, err, want)
	}
	if q := r.queue(key); q.Backlog != want {
		r.t.Errorf("after seek %+v: %+v, want %d", to, q, want)
	}
}

func TestSeek(t *testing.T) {
	for name, between := range map[string]func(*rig){"at once": func(*rig) {}, "restart": (*rig).restart, "crash": func(r *rig) { r.crash()() }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, broker.Options{})
				r.define(retaining("/t", 24*time.Hour, 0), consumerDef("/t", "a"), consumerDef("/t", "b"))
				start := time.Now()
				var all []string
				for i := range 10 { // one a minute; 3 expires, 7 is deleted
					pub := broker.Publication{Payload: fmt.Append(nil, i), Priority: 4 + i%2}
					if i == 3 {
						pub.Expiration = 5
					}
					all = append(all, r.publish("/t", pub))
					time.Sleep(time.Minute)
				}
				r.publish("/t", broker.Publication{Payload: []byte("late"), Delay: 3600})
				r.remove("/t", 1, all[7])
				r.use("/t", "a")
				r.use("/t", "b")
				at := func(i int) broker.Seek { return broker.Seek{Time: start.Add(time.Duration(i) * time.Minute)} }
				check := func(to broker.Seek, want string, n int64) {
					t.Helper()
					between(r)
					r.wantSeek("/t", "a", to, n)
					between(r)
					got := r.receive("/t", "a", broker.ReceiveOptions{})
					if payloads(got) != want {
						t.Errorf("after seek %+v: %q, want %q", to, payloads(got), want)
					}
					for _, m := range got {
						if m.DeliveryCount != 1 {
							t.Errorf("delivery count %d of %s", m.DeliveryCount, m.Payload)
						}
					}
					if len(got) > 0 {
						r.ack(t, "a", got...)
					}
					if q := r.queue("b"); q.Backlog != 0 {
						t.Errorf("b: %+v", q)
					}
				}
				check(broker.Seek{Oldest: true}, "1 5 9 0 2 4 6 8 ", 8)
				check(broker.Seek{Newest: true}, "", 0)
				check(at(4), "5 9 4 6 8 ", 5)
				check(at(7), "9 8 ", 2)
				check(at(-1), "1 5 9 0 2 4 6 8 ", 8)
				check(at(60), "", 0)
				check(broker.Seek{MessageID: all[5]}, "5 9 6 8 ", 4)
				check(broker.Seek{MessageID: all[8]}, "9 8 ", 2)
				time.Sleep(time.Hour + time.Second)
				r.use("/t", "b")
				check(broker.Seek{Time: time.Now().Add(-30 * time.Minute)}, "late ", 1)
				_, err := r.sub("/t", "a").Seek(ctx, broker.Seek{MessageID: all[7]})
				wantCode(t, err, broker.NotFound)
				_, err = r.sub("/t", "a").Seek(ctx, broker.Seek{})
				wantCode(t, err, broker.Invalid)
				time.Sleep(25 * time.Hour)
				check(broker.Seek{Oldest: true}, "", 0)
			})
		})
	}
}

// What is in flight behind the place stays so, and its acknowledgement is of it alone; what is before it is done.
func TestSeekInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
		r.fill("/t", 10)
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 6})
		r.ack(t, "a", got[0], got[1], got[2], got[3])
		s := r.sub("/t", "a")
		if _, err := s.Settle(broker.Settlement{Reject: ids(got[5]), Delay: 60}); err != nil {
			t.Fatal(err)
		}
		r.wantSeek("/t", "a", broker.Seek{MessageID: got[2].ID}, 8)
		if again := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(again) != "2 3 6 7 8 9 " {
			t.Errorf("beside what is in flight: %q", payloads(again))
		}
		r.ack(t, "a", got[4])
		if q := r.queue("a"); q.Backlog != 7 || q.InFlight != 6 || q.Deferred != 1 {
			t.Errorf("%+v", q)
		}
		r.wantSeek("/t", "a", broker.Seek{Oldest: true}, 10)
		if again := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(again) != "0 1 4 " {
			t.Errorf("from the oldest: %q", payloads(again))
		}
		r.wantSeek("/t", "a", broker.Seek{MessageID: got[5].ID}, 5)
		if done, err := s.Settle(broker.Settlement{Ack: ids(got[0], got[2])}); err != nil || len(done.NotFound) != 2 {
			t.Errorf("ack of what is before the place: %+v %v", done, err)
		}
		if q := r.queue("a"); q.Backlog != 5 || q.InFlight != 4 || q.Deferred != 1 {
			t.Errorf("%+v", q)
		}
		time.Sleep(2 * time.Minute)
		if again := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(again) != "5 6 7 8 9 " || again[0].DeliveryCount != 2 {
			t.Errorf("later: %q", payloads(again))
		}
	})
}

// A lease that skipped what was done has its message alone once that waits again.
func TestSeekSpans(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
	r.fill("/t", 6)
	got := r.receive("/t", "a", broker.ReceiveOptions{})
	r.ack(t, "a", got[1], got[2], got[3])
	r.restart()
	got = r.receive("/t", "a", broker.ReceiveOptions{}) // 0 4 5
	r.wantSeek("/t", "a", broker.Seek{Oldest: true}, 6)
	r.ack(t, "a", got...)
	if again := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(again) != "1 2 3 " {
		t.Errorf("got %q", payloads(again))
	}
	if q := r.queue("a"); q.Backlog != 3 {
		t.Errorf("%+v", q)
	}
}

func TestSeekLimits(t *testing.T) {
	r := newRig(t, broker.Options{})
	topic, c := retaining("/t", time.Hour, 0), consumerDef("/t", "a")
	topic.MaxDepth, c.MaxDepth = 10, 5
	r.define(topic, c)
	var all []string
	for range 8 {
		all = append(all, r.publish("/t", broker.Publication{}))
		r.use("/t", "a")
	}
	s := r.sub("/t", "a")
	_, err := s.Seek(ctx, broker.Seek{Oldest: true})
	wantCode(t, err, broker.Full)
	r.wantSeek("/t", "a", broker.Seek{MessageID: all[4]}, 4)
	r.fill("/t", 1)
	if err := r.mayPublish(broker.Publication{}); broker.CodeOf(err) != broker.Full {
		t.Errorf("a sixth: %v", err)
	}
	r.deleteConsumer("a")
	_, err = s.Seek(ctx, broker.Seek{Oldest: true})
	wantCode(t, err, broker.Denied)
}

// A new consumer begins where it says.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
		start := time.Now().UTC()
		for i := range 6 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Priority: 4 + i%2})
			time.Sleep(time.Minute)
		}
		r.use("/t", "a")
		add := func(key, start string, want int64) {
			t.Helper()
			def := consumerDef("/t", key)
			def.Start = start
			if _, err := r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{def}}); err != nil {
				t.Fatal(err)
			}
			if q := r.queue(key); q.Backlog != want {
				t.Errorf("start %q: %+v, want %d", start, q, want)
			}
		}
		add("none", "", 0)
		add("new", "new", 0)
		add("tail", "tail", 0)
		add("oldest", "oldest", 6)
		add("time", start.Add(2*time.Minute).Format("2006-01-02T15:04:05"), 4)
		add("utc", start.Add(150*time.Second).Format("2006-01-02T15:04:05.000000Z"), 3)
		add("ever", "1999-01-01T00:00:00Z", 6)
		add("later", start.Add(time.Hour).Format(time.RFC3339), 0)
		r.restart()
		if got := r.use("/t", "utc"); got != "3 5 4 " {
			t.Errorf("got %q", got)
		}
		for _, key := range []string{"a", "none", "new", "tail", "oldest", "time", "utc", "ever", "later"} {
			r.deleteConsumer(key)
		}
		add("first", start.Add(4*time.Minute).Format(time.RFC3339), 2)
		r.deleteConsumer("first")
		add("first", "new", 6)
		def := consumerDef("/t", "bad")
		for _, start := range []string{"yesterday", "2026-01-01", "2026-01-01T00:00:00+01:00", "NEW"} {
			def.Start = start
			if err := def.Validate(); broker.CodeOf(err) != broker.Invalid {
				t.Errorf("start %q: %v", start, err)
			}
		}
	})
}

// Seeks beside everything: what is counted is counted right, nothing is in flight twice, and nothing is lost.
func TestSeekBeside(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"), consumerDef("/t", "b"))
	r.fill("/t", 2000, 4, 5)
	r.use("/t", "b")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; i < 50; i++ {
			r.fill("/t", 20)
		}
		close(stop)
	})
	for range 2 {
		wg.Go(func() {
			s := r.sub("/t", "a")
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				got, err := s.Receive(ctx, broker.ReceiveOptions{Max: 50})
				if err != nil {
					t.Error(err)
					return
				}
				if len(got) > 0 {
					if _, err := s.Settle(broker.Settlement{Ack: ids(got[:len(got)*(n%3)/2]...), Reject: ids(got[len(got)-1])}); err != nil && broker.CodeOf(err) != broker.Invalid {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Go(func() {
		s := r.sub("/t", "a")
		marks := r.browse(browse.Options{Topic: "/t"})
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			to := []broker.Seek{{MessageID: marks[i%len(marks)].ID}, {Oldest: true}, {Newest: true}}[i%3]
			if _, err := s.Seek(ctx, to); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Wait()
	if n, err := r.Seek(ctx, r.id("a"), broker.Seek{Oldest: true}); err != nil || n != 3000 {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := r.ReleaseInFlight(ctx, r.id("a")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for {
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 1000, Ack: true})
		if len(got) == 0 {
			break
		}
		for _, m := range got {
			if seen[m.ID] {
				t.Errorf("twice: %s", m.ID)
			}
			seen[m.ID] = true
		}
	}
	if q := r.queue("a"); len(seen) != 3000 || q.Backlog != 0 {
		t.Errorf("%d of 3000, %+v", len(seen), q)
	}
}

// A consumer of a pattern goes to another place in all of its topics, or in one.
func TestSeekPattern(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(retaining("/t/1", time.Hour, 0))
	r.define(retaining("/t/2", time.Hour, 0))
	r.define(retaining("/other", time.Hour, 0), consumerDef("/t/*", "p"))
	var second string
	for i := range 6 {
		id := r.publish([]string{"/t/1", "/t/2"}[i%2], broker.Publication{Payload: fmt.Append(nil, i)})
		if i == 3 {
			second = id
		}
	}
	if got := r.use("/t/*", "p"); got != "0 1 2 3 4 5 " {
		t.Errorf("got %q", got)
	}
	r.wantSeek("/t/*", "p", broker.Seek{Oldest: true}, 6)
	if got := r.use("/t/*", "p"); got != "0 1 2 3 4 5 " {
		t.Errorf("from the oldest: %q", got)
	}
	r.wantSeek("/t/*", "p", broker.Seek{Newest: true}, 0)
	if n, err := r.sub("/t/2", "p").Seek(ctx, broker.Seek{MessageID: second}); err != nil || n != 2 {
		t.Errorf("at one topic: %d %v", n, err)
	}
	if got := r.use("/t/*", "p"); got != "3 5 " {
		t.Errorf("from a message of one topic: %q", got)
	}
}

// The limit of a topic is that of what waits in it, not in all topics of a pattern.
func TestSeekPatternDepth(t *testing.T) {
	r := newRig(t, broker.Options{})
	for _, name := range []string{"/t/1", "/t/2"} {
		topic := retaining(name, time.Hour, 0)
		topic.MaxDepth = 3
		r.define(topic)
	}
	r.define(retaining("/other", time.Hour, 0), consumerDef("/t/*", "p"))
	for i := range 4 {
		r.publish([]string{"/t/1", "/t/2"}[i%2], broker.Publication{Payload: fmt.Append(nil, i)})
	}
	r.use("/t/*", "p")
	r.wantSeek("/t/*", "p", broker.Seek{Oldest: true}, 4)
	r.use("/t/*", "p")
	for range 2 {
		r.publish("/t/1", broker.Publication{})
		r.use("/t/*", "p")
	}
	_, err := r.SeekPreview(ctx, r.id("p"), broker.Seek{Oldest: true})
	wantCode(t, err, broker.Full)
	_, err = r.sub("/t/*", "p").Seek(ctx, broker.Seek{Oldest: true})
	wantCode(t, err, broker.Full)
}

// What is in flight and has expired may be settled after a seek, which counts for nothing; it does not come back.
func TestSeekExpiredInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(retaining("/t", time.Hour, 0), consumerDef("/t", "a"))
		r.fill("/t", 1)
		for range 3 {
			r.publish("/t", broker.Publication{Payload: []byte("short"), Expiration: 2})
		}
		r.fill("/t", 2)
		got := r.receive("/t", "a", broker.ReceiveOptions{Max: 5})
		time.Sleep(5 * time.Second)
		r.wantSeek("/t", "a", broker.Seek{Oldest: true}, 3)
		done, err := r.sub("/t", "a").Settle(broker.Settlement{Ack: ids(got[1]), Reject: ids(got[2])})
		if err != nil || done.Acked != 1 || done.Rejected != 1 {
			t.Errorf("%+v %v", done, err)
		}
		check := func(inFlight int64) {
			t.Helper()
			if q := r.queue("a"); q.Backlog != 3 || q.InFlight != inFlight || q.Acked != 0 {
				t.Errorf("%+v", q)
			}
		}
		check(3)
		time.Sleep(time.Minute)
		check(0)
		if again := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(again) != "0 0 1 " {
			t.Errorf("%q", payloads(again))
		}
		check(3)
	})
}
