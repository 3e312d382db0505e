package broker_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pipit/broker"
)

// overflowing makes /t with a consumer "a" that holds 3 messages and then does as overflow says, and one that holds all.
func overflowing(t *testing.T, overflow string) *rig {
	r := failing(t, func(c *broker.Consumer) { c.MaxDepth, c.Overflow = 3, overflow })
	r.define(topicDef("/t"), consumerDef("/t", "all"))
	return r
}

func (r *rig) fillWith(payloads string, prio int) (ids []string) {
	r.t.Helper()
	for _, p := range strings.Fields(payloads) {
		ids = append(ids, r.publish("/t", broker.Publication{Payload: []byte(p), Priority: prio}))
	}
	return ids
}

func TestOverflowDropsTheOldest(t *testing.T) {
	r := overflowing(t, broker.OverflowDropOldest)
	r.fillWith("0 1", 9)
	r.fillWith("2 3 4", 1)
	r.fillWith("5", 5)
	for range 2 {
		r.wantBacklog(map[string]int64{"a": 3, "all": 6})
		r.restart()
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "5 3 4 " {
		t.Errorf("got %q", got)
	}
	r.wantDead("")
	r.fillWith("6", 5) // all are in flight: the oldest of them goes
	if q := r.queue("a"); q.Backlog != 3 || q.InFlight != 2 || q.Dropped.Overflow != 4 {
		t.Errorf("%+v", q)
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "6 " {
		t.Errorf("got %q", got)
	}
	if got := payloads(r.receive("/t", "all", broker.ReceiveOptions{Ack: true})); got != "0 1 5 6 2 3 4 " {
		t.Errorf("all got %q", got)
	}
}

// What is in flight stays as long as something waits; what was put back waits.
func TestOverflowLeavesWhatIsInFlight(t *testing.T) {
	r := overflowing(t, broker.OverflowDropOldest)
	ids := r.fillWith("0 1", 0)
	r.receive("/t", "a", broker.ReceiveOptions{})
	r.settle("a", broker.Settlement{Reject: ids[1:], Delay: 1000})
	r.fillWith("2 3", 0)
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "2 3 " {
		t.Errorf("got %q", got)
	}
	if got := r.settle("a", broker.Settlement{Ack: ids}); got.Acked != 1 || got.NotFound[0] != ids[1] {
		t.Errorf("%+v", got)
	}
	r.wantBacklog(map[string]int64{"a": 2})
}

func TestOverflowMovesTheOldest(t *testing.T) {
	r := overflowing(t, broker.OverflowDeadLetter)
	r.fillWith("0 1 2", 0)
	r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
	r.fillWith("3 4", 4)
	r.wantBacklog(map[string]int64{"a": 3, "all": 5, "d": 2})
	r.wantDead("1 overflow 0; 2 overflow 0; ")
	if q := r.queue("a"); q.DeadLettered.Overflow != 2 || q.Dropped.Sum() != 0 {
		t.Errorf("%+v", q)
	}
	// No room there: the publisher is refused, and nothing has changed.
	dead := topicDef("/dead")
	dead.MaxDepth = 1
	r.define(dead)
	r.fillWith("5", 0)
	door, err := r.Publisher(r.crm, "/t")
	if err != nil {
		t.Fatal(err)
	}
	_, err = door.Publish(broker.Publication{})
	wantCode(t, err, broker.Full)
	r.wantBacklog(map[string]int64{"a": 3, "all": 6, "d": 1})
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "5 4 " {
		t.Errorf("got %q", got)
	}
	r.wantDead("3 overflow 0; ")
	r.restart()
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "0 5 4 " {
		t.Errorf("got %q", got)
	}
}

func TestOverflowOfBatches(t *testing.T) {
	for _, overflow := range []string{broker.OverflowDropOldest, broker.OverflowDeadLetter} {
		r := overflowing(t, overflow)
		door, err := r.Publisher(r.crm, "/t")
		if err != nil {
			t.Fatal(err)
		}
		batch := func(list string) error {
			var pubs []broker.Publication
			for i, p := range strings.Fields(list) {
				pubs = append(pubs, broker.Publication{Payload: []byte(p), Priority: 5 + i%2})
			}
			_, err := door.PublishBatch(pubs)
			return err
		}
		if err := errors.Join(batch("0 1"), batch("2 3"), batch("4 5 6")); err != nil {
			t.Fatal(err)
		}
		wantCode(t, batch("7 8 9 10"), broker.Invalid)
		r.wantBacklog(map[string]int64{"a": 3, "all": 7})
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "5 4 6 " {
			t.Errorf("%s: got %q", overflow, got)
		}
	}
}

// Many publishes in one commit make each other go.
func TestOverflowOfManyAtOnce(t *testing.T) {
	for _, overflow := range []string{broker.OverflowDropOldest, broker.OverflowDeadLetter} {
		r := overflowing(t, overflow)
		const clients, each = 64, 20
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := range each {
					r.publish("/t", broker.Publication{Payload: fmt.Append(nil, c*each+i), Priority: 1 + (c+i)%3})
				}
			})
		}
		wg.Wait()
		q := r.queue("a")
		if q.Backlog != 3 || q.Dropped.Overflow+q.DeadLettered.Overflow != clients*each-3 {
			t.Errorf("%s: %+v", overflow, q)
		}
		seen := map[string]int{}
		for _, from := range []struct{ topic, key string }{{"/t", "a"}, {"/dead", "d"}} {
			for n := 1; n > 0; {
				list := r.receive(from.topic, from.key, broker.ReceiveOptions{Ack: true, Max: 1000})
				n = len(list)
				for _, m := range list {
					seen[string(m.Payload)]++
				}
			}
		}
		want := clients * each
		if overflow == broker.OverflowDropOldest {
			want = 3
		}
		if len(seen) != want {
			t.Errorf("%s: %d messages, want %d", overflow, len(seen), want)
		}
		for p, n := range seen {
			if n != 1 {
				t.Errorf("%s: %d of %s", overflow, n, p)
			}
		}
	}
}

// A commit that fails leaves everything as it was.
func TestOverflowOfAFailedCommit(t *testing.T) {
	for _, overflow := range []string{broker.OverflowDropOldest, broker.OverflowDeadLetter} {
		r := overflowing(t, overflow)
		ids := r.fillWith("0 1 2", 0)
		f := r.faulty()
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		r.settle("a", broker.Settlement{Reject: ids[:1], Delay: 3600})
		r.receive("/t", "a", broker.ReceiveOptions{Max: 1})
		before := r.queue("a")
		f.fail(noSpace)
		if err := r.mayPublish(broker.Publication{Payload: []byte("never")}); err == nil {
			t.Fatal("stored")
		}
		f.fail(nil)
		if q := r.queue("a"); q.Backlog != before.Backlog || q.InFlight != before.InFlight || q.Deferred != before.Deferred || q.Dropped != before.Dropped {
			t.Errorf("%+v, was %+v", q, before)
		}
		r.fillWith("3", 0)
		if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "2 3 " {
			t.Errorf("got %q", got)
		}
		if got := r.settle("a", broker.Settlement{Ack: ids}); got.Acked != 2 || len(got.NotFound) != 1 || got.NotFound[0] != ids[0] {
			t.Errorf("%+v", got)
		}
	}
}

// What the filter does not let through makes nothing go.
func TestOverflowByWhatTheFilterLetsThrough(t *testing.T) {
	r := failing(t, func(c *broker.Consumer) {
		c.MaxDepth, c.Overflow, c.Filter = 3, broker.OverflowDropOldest, `country = "LV"`
	})
	r.countries("LV0 LV1 LV2 LT EE")
	p, err := r.Publisher(r.crm, "/t")
	if err == nil {
		_, err = p.PublishBatch(make([]broker.Publication, 5)) // more than max_depth
	}
	if err != nil {
		t.Fatal(err)
	}
	r.countries("LV3")
	if q := r.queue("a"); q.Backlog != 3 || q.Dropped.Overflow != 1 {
		t.Errorf("%+v", q)
	}
	if got := payloads(r.receive("/t", "a", broker.ReceiveOptions{})); got != "LV1 LV2 LV3 " {
		t.Errorf("got %q", got)
	}
}
