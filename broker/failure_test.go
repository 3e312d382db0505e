package broker_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/stats"
	"pipit/broker/store"
)

// failing makes /t with a consumer "a" that sends what fails to /dead, which a consumer "d" reads.
func failing(t *testing.T, change func(*broker.Consumer)) *rig {
	r := newRig(t, broker.Options{})
	dead := topicDef("/dead")
	dead.Expiration = property.Off
	r.define(dead, consumerDef("/dead", "d"))
	c := consumerDef("/t", "a")
	c.DeadLetterTopic = "/dead"
	change(&c)
	r.define(topicDef("/t"), c)
	return r
}

// dead receives the dead letters that there are, as "payload reason count".
func (r *rig) dead() (s string) {
	r.t.Helper()
	for { // a second one of the same ID comes when the first is done
		list := r.receive("/dead", "d", broker.ReceiveOptions{Ack: true})
		if len(list) == 0 {
			return s
		}
		for _, m := range list {
			if m.DeadLetter == nil {
				r.t.Fatalf("%+v is no dead letter", m)
			}
			s += fmt.Sprintf("%s %s %d; ", m.Payload, m.DeadLetter.Reason, m.DeadLetter.Count)
		}
	}
}

func (r *rig) wantDead(want string) {
	r.t.Helper()
	if got := r.dead(); got != want {
		r.t.Errorf("dead letters: %q, want %q", got, want)
	}
}

func (r *rig) settle(key string, st broker.Settlement) broker.Settled {
	r.t.Helper()
	got, err := r.sub("", key).Settle(st)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func TestRejectForGoodMovesAtOnce(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) { c.Name = "first" })
	id := r.publish("/t", broker.Publication{Payload: []byte("x"), Priority: 7, MIMEType: "text/css", CorrelationID: "c", Expiration: 5})
	at := r.receive("/t", "a", broker.ReceiveOptions{})[0].Created
	if got := r.settle("a", broker.Settlement{DeadLetter: []string{id, "nobody"}}); got.DeadLettered != 1 || len(got.NotFound) != 1 {
		t.Fatalf("%+v", got)
	}
	got := r.receive("/dead", "d", broker.ReceiveOptions{})
	if len(got) != 1 {
		t.Fatalf("%d dead letters", len(got))
	}
	m, d := got[0], got[0].DeadLetter
	if m.ID != id || string(m.Payload) != "x" || m.Priority != 7 || m.MIMEType != "text/css" || m.CorrelationID != "c" || m.Producer != "CRM" ||
		m.Expiration != 0 || m.Created.Before(at) || m.DeliveryCount != 1 {
		t.Errorf("%+v", m)
	}
	if d == nil || d.Topic != "/t" || d.Consumer != "crm/first" || d.Reason != broker.ReasonRejected || d.Count != 1 || d.At.Before(at) {
		t.Errorf("%+v", d)
	}
	r.restart()
	if q := r.queue("a"); q.Backlog != 0 {
		t.Errorf("%+v", q)
	}
	r.wantDead("x rejected 1; ")
	if got := r.settle("a", broker.Settlement{Ack: []string{id}}); len(got.NotFound) != 1 {
		t.Errorf("acknowledged after it: %+v", got)
	}
}

func TestMaxDeliveriesAtAReject(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries = 2 })
	id := r.publish("/t", broker.Publication{Payload: []byte("x")})
	for range 2 {
		r.wantDead("")
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "x " {
			t.Fatalf("got %q", payloads(m))
		}
		if got := r.settle("a", broker.Settlement{Reject: []string{id}}); got.Rejected != 1 {
			t.Fatalf("%+v", got)
		}
	}
	r.wantDead("x max_deliveries 2; ")
	want := stats.Failures{MaxDeliveries: 1}
	if q, tp := r.queue("a"), r.topic("/t"); q.Backlog != 0 || q.DeadLettered != want || tp.DeadLettered != want || q.Redelivered != 1 || tp.Redelivered != 1 ||
		q.Dropped.Sum() != 0 || q.Acked != 0 || tp.Depth != 0 {
		t.Errorf("%+v\n%+v", q, tp)
	}
}

func TestMaxDeliveriesAtADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries, c.AckTimeout = 2, 5*time.Second })
		r.publish("/t", broker.Publication{Payload: []byte("x")})
		r.publish("/t", broker.Publication{Payload: []byte("y")})
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		time.Sleep(6 * time.Second)
		got := r.receive("/t", "a", broker.ReceiveOptions{})
		if payloads(got) != "x y " {
			t.Fatalf("got %q", payloads(got))
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		r.wantDead("x max_deliveries 2; ")
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "y " {
			t.Errorf("got %q", got)
		}
	})
}

// A delivery that was broken off does not count.
func TestAReleaseIsNoFailure(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) {
		c.MaxDeliveries, c.RetryBackoff = 1, property.DurationsOf(time.Hour)
	})
	r.publish("/t", broker.Publication{Payload: []byte("x")})
	for range 3 {
		m := r.receive("/t", "a", broker.ReceiveOptions{Hold: true})
		if payloads(m) != "x " || m[0].DeliveryCount != 1 {
			t.Fatalf("got %+v", m)
		}
		r.sub("/t", "a").Release(m)
	}
	r.wantDead("")
}

func TestWithoutADeadLetterTopicItIsDropped(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries, c.DeadLetterTopic = 1, "" })
	a := r.publish("/t", broker.Publication{Payload: []byte("x")})
	b := r.publish("/t", broker.Publication{Payload: []byte("y")})
	r.receive("/t", "a", broker.ReceiveOptions{})
	r.settle("a", broker.Settlement{Reject: []string{a}, DeadLetter: []string{b}})
	if q := r.queue("a"); q.Backlog != 0 || q.Dropped != (stats.Failures{MaxDeliveries: 1, Rejected: 1}) || q.DeadLettered.Sum() != 0 {
		t.Errorf("%+v", q)
	}
	r.wantDead("")
}

func TestDropsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := newRig(t, broker.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		c := consumerDef("/t", "a")
		c.MaxDeliveries = 1
		r.define(topicDef("/t"), c)
		for range 2 {
			for range 3 {
				r.publish("/t", broker.Publication{})
			}
			for _, m := range r.receive("/t", "a", broker.ReceiveOptions{}) {
				r.settle("a", broker.Settlement{Reject: []string{m.ID}})
			}
			time.Sleep(25 * time.Second)
			synctest.Wait()
		}
		r.close()
		if n := strings.Count(log.String(), "messages were dropped that failed for a consumer\" client=crm topic=/t name=a max_deliveries=3 rejected=0"); n != 2 {
			t.Errorf("%d such lines:\n%s", n, log.String())
		}
	})
}

// The count outlives the process: who kills its receiver is found.
func TestMaxDeliveriesOverRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries, c.AckTimeout = 3, 20*time.Second })
		id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 1000})
		r.receive("/t", "a", broker.ReceiveOptions{})
		r.settle("a", broker.Settlement{Reject: []string{id}})
		for _, want := range []int{2, 3} {
			if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 1 || m[0].DeliveryCount != want {
				t.Fatalf("%+v, want delivery %d", m, want)
			}
			time.Sleep(1500 * time.Millisecond) // the count is on disk within a second
			synctest.Wait()
			r.crash()()
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 0 {
			t.Fatalf("delivered again: %+v", m)
		}
		r.wantDead("")
		time.Sleep(21 * time.Second) // whoever has it had the time to acknowledge it
		synctest.Wait()
		r.wantDead("x max_deliveries 3; ")
		if got := r.settle("a", broker.Settlement{Ack: []string{id}}); got.Acked != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// With max_deliveries 1 the first delivery is kept too.
func TestOnlyDeliveryOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries = 1 })
		ids := []string{r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 1000}), r.publish("/t", broker.Publication{Payload: []byte("y"), ID: "own", Expiration: 1000})}
		r.receive("/t", "a", broker.ReceiveOptions{})
		r.restart()
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 0 {
			t.Fatalf("delivered again: %+v", m)
		}
		if got := r.settle("a", broker.Settlement{Ack: ids[1:]}); got.Acked != 1 { // before the restart
			t.Errorf("%+v", got)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		r.wantDead("x max_deliveries 1; ")
	})
}

// A dead-letter topic that is full, not active or not there makes the move wait: the message is neither delivered nor lost.
func TestDeadLettersWait(t *testing.T) {
	for name, broken := range map[string]func(*rig) (mend func()){
		"full": func(r *rig) func() {
			dead := topicDef("/dead")
			dead.MaxDepth, dead.Expiration = 1, property.Off
			r.define(dead)
			r.publish("/dead", broker.Publication{Payload: []byte("other")})
			return func() { r.receive("/dead", "d", broker.ReceiveOptions{Ack: true}) }
		},
		"not active": func(r *rig) func() {
			dead := topicDef("/dead")
			dead.Inactive, dead.Expiration = true, property.Off
			r.define(dead)
			return func() { dead.Inactive = false; r.define(dead) }
		},
		"not there": func(r *rig) func() {
			r.deleteTopic("/dead")
			return func() { r.define(topicDef("/dead"), consumerDef("/dead", "d")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries, c.AckTimeout = 3, 10*time.Second })
				mend := broken(r)
				id := r.publish("/t", broker.Publication{Payload: []byte("x")})
				r.receive("/t", "a", broker.ReceiveOptions{})
				r.settle("a", broker.Settlement{DeadLetter: []string{id}})
				r.settle("a", broker.Settlement{Reject: []string{id}})
				for range 2 {
					time.Sleep(2 * time.Second)
					synctest.Wait()
					if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) != 0 {
						t.Fatalf("delivered again: %+v", m)
					}
					if q := r.queue("a"); q.Backlog != 1 || q.Failed != 1 || q.InFlight != 0 || q.DeadLettered.Sum() != 0 {
						t.Fatalf("%+v", q)
					}
					r.restart() // the wish is kept
				}
				mend()
				time.Sleep(2 * time.Second)
				synctest.Wait()
				r.wantDead("x rejected 1; ")
				if q := r.queue("a"); q.Backlog != 0 || q.Failed != 0 {
					t.Errorf("%+v", q)
				}
			})
		})
	}
}

// What waits for a dead-letter topic can be acknowledged yet.
func TestAckOfWhatWaitsForItsDeadLetterTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		r.deleteTopic("/dead")
		id := r.publish("/t", broker.Publication{Payload: []byte("x")})
		r.receive("/t", "a", broker.ReceiveOptions{})
		r.settle("a", broker.Settlement{DeadLetter: []string{id}})
		if got := r.settle("a", broker.Settlement{Ack: []string{id}}); got.Acked != 1 {
			t.Fatalf("%+v", got)
		}
		r.define(topicDef("/dead"), consumerDef("/dead", "d"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantDead("")
		if q := r.queue("a"); q.Backlog != 0 || q.Failed != 0 || q.Acked != 1 {
			t.Errorf("%+v", q)
		}
	})
}

func TestRetryBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) {
			c.AckTimeout, c.RetryBackoff = 10*time.Second, property.DurationsOf(3*time.Second, 8*time.Second)
		})
		id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 1000})
		want := func(after time.Duration) {
			t.Helper()
			begin := time.Now()
			if m := r.receive("/t", "a", broker.ReceiveOptions{Wait: time.Minute}); len(m) != 1 || time.Since(begin) != after {
				t.Fatalf("%d messages after %s, want it after %s", len(m), time.Since(begin), after)
			}
		}
		reject := broker.Settlement{Reject: []string{id}}
		want(0)
		r.settle("a", reject)
		want(3 * time.Second)
		r.settle("a", reject)
		want(8 * time.Second)
		r.settle("a", reject)
		want(8 * time.Second) // the last stands for all that follow
		r.settle("a", broker.Settlement{Reject: []string{id}, Delay: 1})
		want(time.Second) // its own delay counts
		want(18 * time.Second)
	})
}

func TestDeadLetterTopicIsChecked(t *testing.T) {
	r := newRig(t, broker.Options{})
	r.define(topicDef("/t"))
	for name, want := range map[string]string{"/t": "another topic than its own", "/nowhere": "no such topic", "/a/": "no slash at the end"} {
		c := consumerDef("/t", "a")
		c.DeadLetterTopic = name
		_, err := r.Apply(ctx, broker.Definition{Consumers: []broker.Consumer{c}})
		wantCode(t, err, broker.Invalid)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Large payloads, which are kept apart, and more of them than go into one commit.
func TestManyLargeDeadLetters(t *testing.T) {
	r := failing(t, func(*broker.Consumer) {})
	var ids []string
	for i := range 12 {
		ids = append(ids, r.publish("/t", broker.Publication{Payload: make([]byte, 300_000+i)}))
	}
	r.receive("/t", "a", broker.ReceiveOptions{})
	if got := r.settle("a", broker.Settlement{DeadLetter: ids}); got.DeadLettered != 12 {
		t.Fatalf("%+v", got)
	}
	for i, m := range r.receive("/dead", "d", broker.ReceiveOptions{}) {
		if len(m.Payload) != 300_000+i || m.ID != ids[i] {
			t.Errorf("%d: %d bytes", i, len(m.Payload))
		}
	}
	if q := r.queue("a"); q.Backlog != 0 || q.DeadLettered.Rejected != 12 || r.queue("d").Backlog != 12 {
		t.Errorf("%+v", q)
	}
}

// Dead letters of a dead-letter topic go on to the next.
func TestDeadLettersFailAgain(t *testing.T) {
	r := failing(t, func(*broker.Consumer) {})
	again := consumerDef("/dead", "again")
	again.DeadLetterTopic = "/t"
	r.define(topicDef("/dead"), again)
	id := r.publish("/t", broker.Publication{Payload: []byte("x")})
	r.receive("/t", "a", broker.ReceiveOptions{})
	r.settle("a", broker.Settlement{DeadLetter: []string{id}})
	r.receive("/dead", "again", broker.ReceiveOptions{})
	r.settle("again", broker.Settlement{DeadLetter: []string{id}})
	m := r.receive("/t", "a", broker.ReceiveOptions{})
	if len(m) != 1 || m[0].DeadLetter.Topic != "/dead" || m[0].DeadLetter.Consumer != "crm/again" || m[0].ID != id {
		t.Errorf("%+v", m)
	}
	r.wantDead("x rejected 1; ")
}

func TestOnExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.OnExpiry = broker.ExpiryDeadLetter })
		r.define(topicDef("/t"), consumerDef("/t", "drops"))
		other := consumerDef("/t", "too")
		other.OnExpiry, other.DeadLetterTopic = broker.ExpiryDeadLetter, "/dead"
		r.define(topicDef("/t"), other)
		var ids []string
		for i := range 6 {
			ids = append(ids, r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: int64(5 + i/3), Priority: 5 + i%2}))
		}
		r.receive("/t", "a", broker.ReceiveOptions{Max: 4}) // 1 3 5 0
		r.settle("a", broker.Settlement{Ack: ids[1:2], Reject: ids[3:4]})
		r.receive("/t", "too", broker.ReceiveOptions{Ack: true, Max: 3}) // 1 3 5
		time.Sleep(8 * time.Second)
		synctest.Wait()
		// 0 and 5 are in flight for "a", and what is behind 0 in its range waits with it.
		r.settle("a", broker.Settlement{Ack: ids[5:]})
		time.Sleep(40 * time.Second)
		synctest.Wait()
		got := strings.Split(r.dead(), "; ")
		slices.Sort(got)
		if want := []string{"", "0 expired 0", "0 expired 1", "2 expired 0", "2 expired 0", "3 expired 1", "4 expired 0", "4 expired 0"}; !slices.Equal(got, want) {
			t.Errorf("dead letters: %q, want %q", got, want)
		}
		for _, key := range []string{"a", "drops", "too"} {
			if q := r.queue(key); q.Backlog != 0 || q.DeadLettered.Expired != map[string]uint64{"a": 4, "too": 3}[key] || q.Dropped.Sum() != 0 {
				t.Errorf("%s: %+v", key, q)
			}
		}
		if tp := r.topic("/t"); tp.Depth != 0 {
			t.Errorf("%+v", tp)
		}
	})
}

// A receive that finds a message expired, before the sweeper does, leaves its count to its letter.
func TestExpiredLetterKeepsItsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.OnExpiry = broker.ExpiryDeadLetter })
		time.Sleep(500 * time.Millisecond)
		id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 3})
		r.receive("/t", "a", broker.ReceiveOptions{})
		r.settle("a", broker.Settlement{Reject: []string{id}})
		time.Sleep(3200 * time.Millisecond)
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
			t.Fatalf("%+v", m)
		}
		r.wantDead("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantDead("x expired 1; ")
	})
}

// What cannot go to its dead-letter topic yet holds up no other, and is not lost.
func TestOnExpiryWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.OnExpiry = broker.ExpiryDeadLetter })
		r.define(topicDef("/u"), consumerDef("/u", "u"))
		dead := topicDef("/dead")
		dead.MaxDepth, dead.Expiration = 2, property.Off
		r.define(dead)
		for i := range 5 {
			r.publish("/t", broker.Publication{Payload: fmt.Append(nil, i), Expiration: 5})
		}
		time.Sleep(8 * time.Second)
		r.publish("/u", broker.Publication{Expiration: 1})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if u, a := r.queue("u"), r.queue("a"); u.Backlog != 0 || a.Backlog != 3 {
			t.Errorf("u has %d, a has %d messages", u.Backlog, a.Backlog)
		}
		r.wantDead("0 expired 0; 1 expired 0; ")
		r.restart()
		time.Sleep(15 * time.Second)
		synctest.Wait()
		r.wantDead("2 expired 0; 3 expired 0; ")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		r.wantDead("4 expired 0; ")
		if a := r.queue("a"); a.Backlog != 0 || a.DeadLettered.Expired != 5 || a.Expired != 5 {
			t.Errorf("%+v", a)
		}
	})
}

// What failed and waits for its dead-letter topic does not expire.
func TestWhatFailedDoesNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		r.deleteTopic("/dead")
		id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 3})
		r.publish("/t", broker.Publication{Payload: []byte("y"), Expiration: 3})
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		r.settle("a", broker.Settlement{DeadLetter: []string{id}})
		time.Sleep(20 * time.Second)
		dead := topicDef("/dead")
		dead.Expiration = property.Off
		r.define(dead, consumerDef("/dead", "d"))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		r.wantDead("x rejected 1; ")
		if a := r.queue("a"); a.Backlog != 0 || a.Expired != 1 {
			t.Errorf("%+v", a)
		}
	})
}

// What waits like that is looked at again in time also while expiry is held back, since the clock has jumped ahead: for other
// consumers it has expired, and would count as waiting for as long as the clock has jumped.
func TestWhatFailedWhileExpiryIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		r.define(topicDef("/t"), consumerDef("/t", "other"))
		r.deleteTopic("/dead")
		r.JumpClock(20 * time.Minute)
		time.Sleep(3 * time.Second)
		r.JumpClock(-15 * time.Minute) // expiry is held back by 5 minutes, for 20
		id := r.publish("/t", broker.Publication{Payload: []byte("x"), Expiration: 3})
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		r.settle("a", broker.Settlement{DeadLetter: []string{id}})
		time.Sleep(5*time.Minute + 5*time.Second)
		dead := topicDef("/dead")
		dead.Expiration = property.Off
		r.define(dead, consumerDef("/dead", "d"))
		time.Sleep(12 * time.Second)
		synctest.Wait()
		r.wantDead("x rejected 1; ")
		if o := r.queue("other"); o.Backlog != 0 || o.Expired != 1 {
			t.Errorf("%+v", o)
		}
	})
}

// A consumer that is given a dead-letter topic while its messages are about to be dropped: they go there whole, or not.
func TestDeadLetterTopicAppearsMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(c *broker.Consumer) { c.DeadLetterTopic = "" })
		s := r.faulty()
		id := r.publish("/t", text("x"))
		r.receive("/t", "a", broker.ReceiveOptions{})
		var changed atomic.Bool
		s.scan = func(store.Lane) error {
			if changed.CompareAndSwap(false, true) {
				c := consumerDef("/t", "a")
				c.DeadLetterTopic = "/dead"
				r.define(topicDef("/t"), c)
			}
			return nil
		}
		r.settle("a", broker.Settlement{DeadLetter: []string{id}})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantDead("x rejected 1; ")
		if q := r.queue("a"); q.Backlog != 0 || q.Failed != 0 || q.Dropped.Sum() != 0 || q.DeadLettered.Rejected != 1 {
			t.Errorf("%+v", q)
		}
	})
}

// The commit that moves dead letters fails: they wait, are in no topic twice, and the next pass moves them.
func TestMoveOfAFailedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := failing(t, func(*broker.Consumer) {})
		s := r.faulty()
		var st broker.Settlement
		for i := range 3 {
			st.DeadLetter = append(st.DeadLetter, r.publish("/t", text(fmt.Sprint(i))))
		}
		r.receive("/t", "a", broker.ReceiveOptions{})
		s.fail(noSpace)
		if got := r.settle("a", st); got.DeadLettered != 3 {
			t.Errorf("%+v", got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if q := r.queue("a"); q.Backlog != 3 || q.Failed != 3 || q.InFlight != 0 || q.DeadLettered.Sum() != 0 || r.queue("d").Backlog != 0 {
			t.Errorf("while the disk is full: %+v", q)
		}
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); len(m) > 0 {
			t.Errorf("delivered again: %q", payloads(m))
		}
		s.fail(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.wantDead("0 rejected 1; 1 rejected 1; 2 rejected 1; ")
		if q, tp := r.queue("a"), r.topic("/t"); q.Backlog != 0 || q.Failed != 0 || q.DeadLettered.Rejected != 3 || tp.Depth != 0 {
			t.Errorf("%+v\n%+v", q, tp)
		}
	})
}

// What an administrator releases can be delivered, though it was in flight for the last time.
func TestReleaseOfALastDelivery(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) { c.MaxDeliveries = 2 })
	ids := []string{r.publish("/t", text("0")), r.publish("/t", text("1"))}
	r.receive("/t", "a", broker.ReceiveOptions{})
	r.settle("a", broker.Settlement{Reject: ids})
	for range 2 {
		if m := r.receive("/t", "a", broker.ReceiveOptions{}); payloads(m) != "0 1 " || m[0].DeliveryCount != 2 {
			t.Fatalf("%+v", m)
		}
		if n, err := r.ReleaseInFlight(ctx, r.id("a")); n != 2 || err != nil {
			t.Errorf("released %d: %v", n, err)
		}
		r.receive("/t", "a", broker.ReceiveOptions{})
		for _, id := range ids {
			if ok, err := r.ReleaseMessage(ctx, "/t", id, 0); !ok || err != nil {
				t.Errorf("released %t: %v", ok, err)
			}
		}
	}
	r.wantDead("")
	r.receive("/t", "a", broker.ReceiveOptions{})
	r.settle("a", broker.Settlement{Reject: ids})
	r.wantDead("0 max_deliveries 2; 1 max_deliveries 2; ")
}
