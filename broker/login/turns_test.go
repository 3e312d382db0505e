package login

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// crowd is who waits for turns.
type crowd struct {
	t      *testing.T
	turns  *turns
	wg     sync.WaitGroup
	mu     sync.Mutex
	served []string // guarded by mu
	away   []string // refused; guarded by mu
}

// wait has n more wait in a line, one after the other, each of which ends its turn at once.
func (c *crowd) wait(ctx context.Context, name string, known bool, n int) {
	for range n {
		c.wg.Go(func() {
			done, err := c.turns.take(ctx, digestOf(name), known)
			c.mu.Lock()
			defer c.mu.Unlock()
			if err == nil {
				c.served = append(c.served, name)
				done()
				return
			}
			if CodeOf(err) != Unavailable {
				c.t.Error(err)
			}
			c.away = append(c.away, name)
		})
		synctest.Wait()
	}
}

// end gives out the first turn, and with it all others, and returns who had one.
func (c *crowd) end() string {
	c.t.Helper()
	c.turns.done()
	c.wg.Wait()
	for i := range c.turns.queues {
		if q := &c.turns.queues[i]; q.waiting != 0 || len(q.lines) != 0 || q.order.Len() != 0 {
			c.t.Error("somebody is left over:", q)
		}
	}
	return strings.Join(c.served, " ")
}

// Each line has its turn, however long another one is, and who is known does not wait for the strangers.
func TestTurnsAreFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t: t, turns: newTurns(0)}
		c.wait(t.Context(), "a", false, 5)
		c.wait(t.Context(), "b", false, 2)
		c.wait(t.Context(), "c", false, 1)
		c.wait(t.Context(), "k", true, 2)
		if got := c.end(); got != "a k b k c a b a a a" {
			t.Error(got)
		}
		if c.turns.free != 1 {
			t.Errorf("%d are free", c.turns.free)
		}
	})
}

func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t: t, turns: newTurns(0)}
		ended, leave := context.WithCancel(t.Context())
		c.wait(t.Context(), "a", false, maxWaitingInLine+1) // one network does not fill the queue
		c.wait(ended, "b", false, maxWaiting-maxWaitingInLine)
		if got := strings.Join(c.away, " "); got != "a" {
			t.Error("sent away:", got)
		}
		c.wait(t.Context(), "c", false, 1) // the last one of the longest line makes room
		c.wait(t.Context(), "k", true, 1)  // who is known needs none
		if got := strings.Join(c.away, " "); got != "a a" {
			t.Error("sent away:", got)
		}
		leave()
		synctest.Wait()
		got := strings.Fields(c.end())
		if len(got) != maxWaitingInLine-1+2 {
			t.Errorf("%d had their turn", len(got))
		}
		for i, name := range []string{"a", "k", "c", "a"} {
			if got[i] != name {
				t.Error("not in turn:", got[:4])
				break
			}
		}
	})
}

// Where all lines are as short as can be, who comes later has to come again.
func TestTurnsOfManyLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{t: t, turns: newTurns(0)}
		for i := range maxWaiting {
			c.wait(t.Context(), fmt.Sprint(i), false, 1)
		}
		c.wait(t.Context(), "late", false, 1)
		if got := strings.Join(c.away, " "); got != "late" {
			t.Error("sent away:", got)
		}
		c.end()
	})
}

func TestTurnsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		running, most := 0, 0
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				done, err := turns.take(t.Context(), digestOf(fmt.Sprint(i%3)), i%2 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer done()
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(time.Second) // fake time
				mu.Lock()
				running--
				mu.Unlock()
			})
		}
		wg.Wait()
		if most != 2 || turns.free != 2 {
			t.Errorf("%d at once, %d are free", most, turns.free)
		}
	})
}
