package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// When the oldest message of a backlog was published is told anew each time that it is another one: since it was deleted, has expired, is
// acknowledged out of order or in it, or since the consumer goes back.
func TestOldestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{}.Sweeping(time.Hour))
		topic := topicDef("/t")
		topic.Retention = time.Hour
		r.define(topic, consumerDef("/t", "a"))
		var ids []string
		var at []time.Time
		for i := range 6 {
			pub := broker.Publication{Payload: []byte("x"), Priority: 5 + i%2, Expiration: 3600}
			if i == 1 {
				pub.Expiration = 60
			}
			at = append(at, time.Now().Truncate(time.Microsecond))
			ids = append(ids, r.publish("/t", pub))
			time.Sleep(time.Second)
		}
		want := func(i int) {
			t.Helper()
			for range 2 { // the second time it is known
				got, err := r.Oldest(r.id("a"))
				if one, ok := got[r.id("a")]; err != nil || !ok || !one.Equal(at[i]) {
					t.Fatalf("%v %v, want that of %d of %v", got, err, i, at)
				}
			}
		}
		want(0)
		if n, err := r.DeleteMessages(ctx, "/t", ids[:1]); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		want(1)
		time.Sleep(time.Minute)
		want(2)
		msgs := r.receive("/t", "a", broker.ReceiveOptions{Max: 10})
		if len(msgs) != 4 {
			t.Fatalf("%d messages", len(msgs))
		}
		q := r.sub("/t", "a")
		ack := func(list ...string) {
			t.Helper()
			if done, err := q.Settle(broker.Settlement{Ack: list}); err != nil || done.Acked != len(list) {
				t.Fatal(done, err)
			}
		}
		ack(ids[3])
		want(2)
		ack(ids[2])
		want(4)
		ack(ids[4])
		want(5)
		if _, err := q.Seek(ctx, broker.Seek{MessageID: ids[2]}); err != nil {
			t.Fatal(err)
		}
		want(2)
	})
}
