package broker

import (
	"testing"
	"testing/synctest"
)

// Whoever comes alone commits by itself, but not right after a crowd: the others are about to come.
func TestTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gathering{wake: make(chan struct{}, 1)}
		add := func(want bool) {
			t.Helper()
			if mine, open := g.add(&task{}); mine != want || !open {
				t.Errorf("mine %t, open %t: want %t, true", mine, open, want)
			}
		}
		take := func(want int) {
			t.Helper()
			if got := len(g.take(nil)); got != want {
				t.Errorf("took %d: want %d", got, want)
			}
			g.release()
		}
		add(true)
		for range gatherFrom + 1 {
			add(false) // somebody commits
		}
		g.release()
		take(gatherFrom + 1)
		add(false) // a crowd was here
		take(1)
		add(true)
		add(false)
		g.release()
		take(1)

		// Those that come while the committer gathers are taken with the first.
		for range gatherFrom {
			g.last = gatherFrom
			add(false)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			take(gatherFrom + 1)
		}()
		synctest.Wait()
		add(false)
		<-done

		add(false)
		g.close()
		if mine, open := g.add(&task{}); mine || open {
			t.Errorf("mine %t, open %t of a closed queue", mine, open)
		}
		take(1)
		if g.take(nil) != nil {
			t.Error("a closed queue is not empty")
		}
	})
}
