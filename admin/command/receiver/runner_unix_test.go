//go:build unix

package receiver

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
)

// scripted is a queue whose answers a test decides.
type scripted struct {
	receive func(ctx context.Context, call int) ([]Delivery, error)
	settle  func(ctx context.Context, call int, st *broker.Settlement) (missing []string, err error)

	mu       sync.Mutex
	received int
	settled  int
}

func (q *scripted) Receive(ctx context.Context, _ int, _ time.Duration) ([]Delivery, error) {
	q.mu.Lock()
	q.received++
	n := q.received
	q.mu.Unlock()
	return q.receive(ctx, n)
}

func (q *scripted) Settle(ctx context.Context, st broker.Settlement) ([]string, error) {
	q.mu.Lock()
	q.settled++
	n := q.settled
	q.mu.Unlock()
	return q.settle(ctx, n, &st)
}

func runnerOf(q Queue, line string, concurrency int) *Runner {
	return &Runner{
		Queue: q, Concurrency: concurrency, Command: Command{Line: line, Stdout: io.Discard, Stderr: io.Discard},
		NotNow: func(error) bool { return false }, Note: func(string, ...any) {},
	}
}

var one = []Delivery{{Metadata: Metadata{ID: "one", DeliveryCount: 1}}}

// What was rejected and comes back before the server's answer to that is here is run as well.
func TestDeliveredAgainBeforeTheAnswer(t *testing.T) {
	rejected, back := make(chan struct{}), make(chan struct{})
	var rejects []string
	var once sync.Once
	q := &scripted{
		receive: func(ctx context.Context, call int) ([]Delivery, error) {
			switch call {
			case 1:
				return one, nil
			case 2:
				<-rejected
				return one, nil
			}
			return nil, errors.New("received again")
		},
	}
	q.settle = func(_ context.Context, _ int, st *broker.Settlement) ([]string, error) {
		if len(st.Reject) == 0 { // of the second run, or in place of it
			once.Do(func() { close(back) })
			return nil, nil
		}
		q.mu.Lock()
		rejects = append(rejects, st.Reject...)
		n := len(rejects)
		q.mu.Unlock()
		switch n {
		case 1:
			close(rejected)
			<-back
		case 2:
			once.Do(func() { close(back) })
		}
		return nil, nil
	}
	if err := runnerOf(q, "exit 9", 2).Run(t.Context(), t.Context(), 2); err != nil || !slices.Equal(rejects, []string{"one", "one"}) {
		t.Errorf("%q, %v", rejects, err)
	}
}

// A server that restarts does not know what was in flight until it has delivered that again: a long run goes on being extended.
func TestHeldOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		extended := 0
		q := &scripted{settle: func(_ context.Context, call int, st *broker.Settlement) ([]string, error) {
			extended += len(st.Extend)
			if call == 1 {
				return []string{"one"}, nil
			}
			return nil, nil
		}}
		release := runnerOf(q, "", 1).hold("one")
		time.Sleep(time.Minute)
		release()
		if extended != 4 {
			t.Errorf("extended %d times in a minute", extended)
		}
	})
}
