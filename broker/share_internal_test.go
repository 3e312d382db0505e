package broker

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A commit takes of each client no more than its share where many come, all of one that is alone, and keeps the order.
func TestShares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shares
		var pending []*task
		come := func(client string, n int, bytes int64) {
			for range n {
				s.come(client, time.Now())
				pending = append(pending, &task{client: client, bytes: bytes})
			}
		}
		take := func(client string, want int) {
			t.Helper()
			before := slices.Clone(pending)
			taken, left := s.divide(pending, nil)
			taken = slices.Clone(taken)
			n := 0
			for _, task := range taken {
				if task.client == client {
					n++
				}
			}
			if n != want {
				t.Errorf("it takes %d of %s: want %d", n, client, want)
			}
			if len(taken)+len(left) != len(before) {
				t.Errorf("of %d tasks %d are taken and %d left", len(before), len(taken), len(left))
			}
			for _, part := range [][]*task{taken, left} {
				last := -1
				for _, task := range part {
					i := slices.Index(before, task)
					if i <= last {
						t.Errorf("task %d comes behind %d", i, last)
					}
					last = i
				}
			}
			pending = left
		}
		come("loud", 300, 1)
		take("loud", 300) // nobody else is there

		come("other", 1, 1)
		come("loud", 300, 1)
		take("loud", sharedOps/2)
		take("loud", sharedOps/2)
		take("loud", 300-2*(sharedOps/2))

		for i := range 99 {
			come(string(rune('a'+i)), 1, 1)
		}
		come("", 50, 1) // the program's own
		come("loud", 64, 1)
		take("loud", shareOps)
		take("loud", shareOps)
		come("late", 1, 1)
		take("late", 1)
		for len(pending) > 0 {
			take("loud", min(len(pending), shareOps))
		}

		come("loud", 5, 3*shareBytes/4) // large ones, one at a time
		for range 5 {
			take("loud", 1)
		}
		come("loud", 1, 100*shareBytes) // a larger one than a share goes by itself
		take("loud", 1)

		time.Sleep(2 * shareWindow) // the others have gone
		come("loud", 64, 1)
		take("loud", 64)
		if len(s.of) != 1 {
			t.Errorf("%d clients are remembered: want 1", len(s.of))
		}
	})
}
