package cluster

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// A leader that was cut off with chunks that nobody else has, and gets a file that ends before them or with the last of them, goes on from there: by then
// the others may be one, which can commit nothing without it.
func TestTailBehindFile(t *testing.T) {
	for name, more := range map[string]int{"before the tail's end": 1, "at the tail's end": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newThree(t, func(c *three) { c.with.LogSize = 1 })
				c.commit(3, 100)
				c.wantEqual()
				old := c.leader()
				cut := c.nodeOf(old)
				c.cut(cut.name, true)
				late := c.message(3*chunkSize + 100)
				c.tail--
				var working sync.WaitGroup
				working.Go(func() {
					if err := old.Commit(late); err == nil {
						t.Error("the one that was cut off answered a commit")
					}
				})
				working.Wait()
				c.commit(more, 100)
				lead := c.nodeOf(c.leader())
				for range 3 { // until its log begins with the last batch
					if err := lead.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
						t.Fatal(err)
					}
					time.Sleep(3 * catchUpWait) // lint:sleep fake time
				}
				last, err := cut.logs.LastIndex()
				t.Logf("the tail ends at %d, %v; the leader's log begins at %d", last, err, lead.firstIndex())
				third := map[string]string{"ab": "c", "ba": "c", "ac": "b", "ca": "b", "bc": "a", "cb": "a"}[cut.name+lead.name]
				if third == cut.name || lead.firstIndex() > last {
					t.Fatalf("%s, %d", third, lead.firstIndex())
				}
				c.cut(cut.name, false)
				c.wantEqual()
				c.stop(third)
				c.commit(3, 100)
				c.wantEqual()
			})
		})
	}
}
