package broker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/broker/stats"
)

// What topics, producers and consumers have counted goes on over a restart, and all but the last minute of it over a crash. What
// Prometheus is told, and the totals, begin at 0. The counters of what was deleted leave the file.
func TestCountersSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/a"), consumerDef("/a", "k1"))
		work := func() {
			r.publish("/a", text("1"))
			r.publish("/a", text("2"))
			got := r.receive("/a", "k1", broker.ReceiveOptions{Max: 2})
			r.settle("k1", broker.Settlement{Ack: []string{got[0].ID}, Reject: []string{got[1].ID}})
			r.receive("/a", "k1", broker.ReceiveOptions{Max: 2, Ack: true})
		}
		want := func(when string, n uint64) {
			t.Helper()
			counted := stats.Counters{Published: 2 * n, Delivered: 3 * n, Acked: 2 * n, Rejected: n, Redelivered: n}
			if got := r.topic("/a").Counters; got != counted {
				t.Errorf("%s: the topic has %+v, want %+v", when, got, counted)
			}
			if got := r.queue("k1").Counters; got != counted {
				t.Errorf("%s: the consumer has %+v, want %+v", when, got, counted)
			}
			if got := r.Producers()[0].Published; got != 2*n {
				t.Errorf("%s: the producer has %d, want %d", when, got, 2*n)
			}
		}
		work()
		r.restart()
		want("after a restart", 1)
		work()
		want("counted on", 2)
		topics, consumers := r.Figures()
		if sum := r.Totals(); sum.Published != 2 || topics[0].Published != 2 || consumers[0].Acked != 2 {
			t.Errorf("of this process: %+v, %+v, %+v", sum, topics, consumers)
		}

		time.Sleep(75 * time.Second) // the minute is stored
		work()
		reopen := r.crash()
		reopen()
		want("after a crash", 2)
		r.restart()
		want("after a restart without traffic", 2)

		docs := func() int {
			t.Helper()
			list, err := r.Documents("tally", "", false, 100)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if n := docs(); n != 3 {
			t.Errorf("%d documents, want one each of topics, producers and consumers", n)
		}
		r.deleteTopic("/a")
		time.Sleep(75 * time.Second)
		if n := docs(); n != 0 {
			t.Errorf("%d documents of what was deleted", n)
		}
		r.define(topicDef("/a"), consumerDef("/a", "k1"))
		want("made anew", 0)
	})
}

// When an old sub_key was used last is known after a restart, but not of another one in its place.
func TestOldSeenSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, broker.Options{})
		r.define(topicDef("/t"), consumerDef("/t", "the-first-key"))
		key := r.overlap("the-first-key", time.Hour)
		r.sub("/t", "the-first-key")
		used := time.Now()
		time.Sleep(time.Minute)
		r.restart()
		if got := r.queue(key).OldSeen; !got.Equal(used) {
			t.Errorf("after a restart: %v, want %v", got, used)
		}
		key = r.overlap(key, time.Hour)
		if r.restart(); !r.queue(key).OldSeen.IsZero() {
			t.Errorf("of a key that was not used: %v", r.queue(key).OldSeen)
		}
	})
}
