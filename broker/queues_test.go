package broker_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// The queues of a consumer of a pattern are told by topic, the fullest first, and no more than were asked for.
func TestQueues(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.definePattern(consumerDef("/a/*", "k"), "/a/x", "/a/y", "/a/z", "/b")
		for i, topic := range []string{"/a/y", "/a/y", "/a/y", "/a/x", "/b"} {
			r.publish(topic, broker.Publication{Payload: fmt.Append(nil, i)})
		}
		want := func(limit int, want string) {
			t.Helper()
			list, total, err := r.Queues(r.id("k"), limit)
			if got := fmt.Sprint(list, total, err); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		want(10, "[{/a/y 3 0 0} {/a/x 1 0 0} {/a/z 0 0 0}] 3 <nil>")
		m := r.receive("/a/y", "k", broker.ReceiveOptions{Max: 3})
		if _, err := r.sub("/a/*", "k").Settle(broker.Settlement{Ack: []string{m[0].ID}, Reject: []string{m[1].ID}, Wait: 10 * time.Second}); err != nil {
			t.Fatal(err)
		}
		want(1, "[{/a/y 2 1 1}] 3 <nil>")
		time.Sleep(11 * time.Second) // what was put off is for anybody again
		want(2, "[{/a/y 2 1 0} {/a/x 1 0 0}] 3 <nil>")
		r.makeTopic("/a/w")
		r.deleteTopic("/a/y")
		want(10, "[{/a/x 1 0 0} {/a/w 0 0 0} {/a/z 0 0 0}] 3 <nil>")
		_, _, err := r.Queues(9999, 1)
		wantCode(t, err, broker.NotFound)
	})
}
