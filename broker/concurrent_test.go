package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/limit"
)

// ledger is what the receivers of one consumer have seen together.
type ledger struct {
	t     *testing.T
	mu    sync.Mutex
	state map[string]ledgerState // by payload
	acked int
	begun atomic.Int64 // acknowledgements that may have happened
}

type ledgerState int

const (
	known ledgerState = iota // published or given back
	flying
	finished
)

// move takes messages from one state to the next; a message in any other state is an error.
func (l *ledger) move(msgs []broker.Message, from, to ledgerState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range msgs {
		if s := l.state[string(m.Payload)]; s != from {
			l.t.Errorf("%s: message %s (delivery %d) is in state %d, want %d", m.Topic, m.Payload, m.DeliveryCount, s, from)
		}
		l.state[string(m.Payload)] = to
		if to == finished {
			l.acked++
		}
	}
}

// TestConcurrent lets many publish and many receive at once. Every message is in flight once at a time
// for each consumer, all are delivered and acknowledged, and the limit of the topic holds.
func TestConcurrent(t *testing.T) {
	const publishers, receivers, maxDepth = 8, 6, 60
	each := 400
	if testing.Short() {
		each = 100
	}
	rnd := newRand(t, 1)
	r := newRig(t, broker.Options{})
	topic := topicDef("/t")
	topic.MaxDepth = maxDepth
	keys := []string{"a", "b"}
	var consumers []broker.Consumer
	for i, key := range keys {
		c := consumerDef("/t", key)
		c.AckTimeout = time.Hour // nothing comes back but what is given back
		c.MaxInFlight = []int{limit.DefaultMaxInFlight, 20}[i]
		consumers = append(consumers, c)
	}
	r.define(topic, consumers...)

	ledgers := map[string]*ledger{}
	for _, key := range keys {
		ledgers[key] = &ledger{t: t, state: map[string]ledgerState{}}
	}
	var published, refused atomic.Int64
	var sending, receiving sync.WaitGroup
	for i := range publishers {
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		sending.Go(func() {
			p, err := r.Publisher(r.crm, "/t")
			if err != nil {
				t.Error(err)
				return
			}
			for n := 0; n < each && !t.Failed(); {
				batch := make([]broker.Publication, min(1+rnd.IntN(4), each-n))
				for j := range batch {
					batch[j] = broker.Publication{Payload: fmt.Appendf(nil, "%d-%d", i, n+j), Priority: 1 + rnd.IntN(9)}
					if rnd.IntN(3) == 0 {
						batch[j].ID = fmt.Sprintf("own-%d-%d", i, n+j)
					}
				}
				_, err := p.PublishBatch(batch)
				if err != nil && broker.CodeOf(err) == broker.Full {
					refused.Add(1)
					runtime.Gosched()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				n += len(batch)
				answered := published.Add(int64(len(batch)))
				for _, key := range keys {
					if depth := answered - ledgers[key].begun.Load(); depth > maxDepth {
						t.Errorf("%d messages are in the backlog of %s: allowed are %d", depth, key, maxDepth)
					}
				}
			}
		})
	}
	total := publishers * each
	for _, key := range keys {
		l := ledgers[key]
		all, cancel := context.WithCancel(ctx)
		defer cancel()
		for range receivers {
			rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
			receiving.Go(func() {
				defer cancel() // also where it fails
				for all.Err() == nil {
					receiveSome(all, r, key, l, rnd)
					l.mu.Lock()
					end := l.acked == total || t.Failed()
					l.mu.Unlock()
					if end {
						return
					}
				}
			})
		}
	}
	sending.Wait()
	receiving.Wait()
	if t.Failed() {
		return
	}
	if n := published.Load(); n != int64(total) {
		t.Errorf("%d published, want %d", n, total)
	}
	if refused.Load() == 0 {
		t.Error("no publish found the topic full")
	}
	for _, key := range keys {
		l := ledgers[key]
		if len(l.state) != total || l.acked != total {
			t.Errorf("%s: %d messages delivered, %d acknowledged, want %d", key, len(l.state), l.acked, total)
		}
		for m, s := range l.state {
			if s != finished {
				t.Errorf("%s: message %s is left in state %d", key, m, s)
			}
		}
		if got := r.receive("/t", key, broker.ReceiveOptions{}); len(got) > 0 {
			t.Errorf("%s: delivered after its acknowledgement: %s", key, payloads(got))
		}
	}
	p, err := r.Publisher(r.crm, "/t")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PublishBatch(make([]broker.Publication, maxDepth)); err != nil {
		t.Errorf("nothing is left, but %d messages are refused: %v", maxDepth, err)
	}
	_, err = p.Publish(broker.Publication{})
	wantCode(t, err, broker.Full)
	r.restart()
	for _, key := range keys {
		if got := r.receive("/t", key, broker.ReceiveOptions{Max: limit.MaxReceive}); key == "a" && len(got) != maxDepth {
			t.Errorf("%d messages after a restart, want %d", len(got), maxDepth)
		}
	}
}

// receiveSome receives once, and acknowledges, rejects or gives back what came.
func receiveSome(all context.Context, r *rig, key string, l *ledger, rnd *rand.Rand) {
	s, err := r.Subscription(r.crm, "/t", key)
	if err != nil {
		l.t.Error(err)
		return
	}
	o := broker.ReceiveOptions{Max: 1 + rnd.IntN(20), Order: broker.Order(rnd.IntN(2)), Wait: 10 * time.Second}
	got, err := s.Receive(all, o)
	if err != nil {
		if broker.CodeOf(err) != broker.Full {
			l.t.Error(err)
		}
		runtime.Gosched()
		return
	}
	l.move(got, known, flying)
	a := rnd.IntN(len(got) + 1)
	b := a + rnd.IntN(len(got)-a+1)
	if rnd.IntN(2) == 0 {
		a, b = len(got), len(got)
	}
	ack, reject, back := got[:a], got[a:b], got[b:]
	l.begun.Add(int64(len(ack)))
	l.move(reject, flying, known) // from now on they can come again
	l.move(back, flying, known)
	s.Release(back)
	if len(ack)+len(reject) == 0 {
		return
	}
	st := broker.Settlement{}
	for _, m := range ack {
		st.Ack = append(st.Ack, m.ID)
	}
	for _, m := range reject {
		st.Reject = append(st.Reject, m.ID)
	}
	done, err := s.Settle(st)
	if err != nil || done.Acked != len(ack) || done.Rejected != len(reject) || len(done.NotFound) > 0 {
		l.t.Errorf("%s: settled %+v %v, want %d acked, %d rejected", key, done, err, len(ack), len(reject))
	}
	l.move(ack, flying, finished)
}
