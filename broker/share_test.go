package broker_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pipit/broker"
)

// A client that sends by many connections at full speed has a part of the commits in which others have something as well, and
// nobody waits for ever.
func TestShareOfCommits(t *testing.T) {
	const others, loud, each, share = 40, 64, 40, 12
	var largest atomic.Int64
	r := newRig(t, broker.Options{Committed: func(messages int, _ time.Duration) {
		largest.Store(max(largest.Load(), int64(messages)))
	}})
	r.define(topicDef("/t"))
	r.define(topicDef("/quiet"))
	d := broker.Definition{}
	for i := range others {
		d.Clients = append(d.Clients, broker.Client{Username: fmt.Sprint("quiet-", i), PasswordHash: hash})
		d.Producers = append(d.Producers, broker.Producer{Client: fmt.Sprint("quiet-", i), Topic: "/quiet"})
	}
	r.change(broker.Change{Define: d})
	publish := func(c *broker.Client, topic string) {
		p, err := r.Publisher(c, topic)
		if err == nil {
			_, err = p.Publish(broker.Publication{Payload: []byte("x")})
		}
		if err != nil {
			t.Error(err)
		}
	}
	var ended atomic.Bool
	var quiet, first, full sync.WaitGroup
	var sent atomic.Uint64
	for i := range others {
		first.Add(1)
		quiet.Go(func() {
			c := &broker.Client{Username: fmt.Sprint("quiet-", i)}
			publish(c, "/quiet")
			first.Done()
			for n := uint64(1); ; n++ {
				if ended.Load() {
					sent.Add(n)
					return
				}
				publish(c, "/quiet")
			}
		})
	}
	first.Wait()
	for range loud {
		full.Go(func() {
			for range each {
				publish(r.crm, "/t")
			}
		})
	}
	full.Wait()
	ended.Store(true)
	quiet.Wait()
	if got := r.topic("/t").Published; got != loud*each {
		t.Errorf("%d of the one at full speed were published: want %d", got, loud*each)
	}
	if got := r.topic("/quiet").Published; got != sent.Load() {
		t.Errorf("%d of the others were published: want %d", got, sent.Load())
	}
	if got := largest.Load(); got > others+share {
		t.Errorf("a commit had %d messages: want at most %d, one of each quiet client and %d", got, others+share, share)
	}
}
