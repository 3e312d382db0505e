package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
)

// digests returns what each copy has, when all have applied as much as the leader.
func (c *three) digest() string {
	c.t.Helper()
	c.wantEqual()
	_, digest, err := c.leader().engine.opts.Store.Digest()
	if err != nil {
		c.t.Fatal(err)
	}
	return digest
}

// barrier waits until all that is in the leader's log was applied.
func (c *three) barrier() {
	c.t.Helper()
	if err := c.leader().engine.raft.Barrier(0).Error(); err != nil {
		c.t.Fatal(err)
	}
}

// moveTo has a node lead.
func (c *three) moveTo(name string) *Term {
	c.t.Helper()
	for c.leader().engine.opts.Node != name {
		if err := c.leader().engine.Transfer(name); err != nil {
			c.t.Logf("transfer to %s: %v", name, err)
			time.Sleep(10 * time.Millisecond) // lint:sleep fake time
		}
		c.until(name+" leads", func() bool { return c.leading() != nil })
	}
	return c.leader()
}

// encode returns the next message as a term would propose it, which is taken back.
func (c *three) encode(size int) []byte {
	c.t.Helper()
	b, err := c.leader().engine.opts.Store.Encode(c.message(size))
	if err != nil {
		c.t.Fatal(err)
	}
	c.tail--
	return b
}

// What a leader proposes that lost leadership and won it again meanwhile is skipped by all copies: raft itself would append it to
// the new term. Nothing else was stored between, so that the batch before is the same.
func TestHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		old := c.leader()
		name := old.engine.opts.Node
		held := c.encode(100)
		c.moveTo(c.follower().name)
		again := c.moveTo(name)
		if again.term == old.term || again.number != old.number {
			t.Fatalf("term %d behind batch %d, and %d behind %d", old.term, old.number, again.term, again.number)
		}
		before := c.digest()
		if err := old.propose(held, 1); !errors.Is(err, errFenced) {
			t.Errorf("the late batch: %v", err)
		}
		if after := c.digest(); after != before {
			t.Error("it was applied")
		}
		if err := old.Commit(c.message(1)); !errors.Is(err, store.ErrNotStored) || !errors.Is(err, ErrOver) {
			t.Errorf("Commit of the term that is over: %v", err)
		}
		c.tail--
		c.commit(1, 100)
		c.wantEqual()
	})
}

// What names another batch before it than the last one is skipped by all copies, and the term of its proposer is over.
func TestOtherContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		term := c.leader()
		before := c.digest()
		term.number--
		err := term.Commit(c.message(100))
		c.tail--
		if !errors.Is(err, store.ErrNotStored) || !errors.Is(err, ErrOver) {
			t.Errorf("Commit: %v", err)
		}
		if !errors.Is(term.Err(), ErrOver) {
			t.Errorf("the term: %v", term.Err())
		}
		if after := c.digest(); after != before {
			t.Error("it was applied")
		}
		c.commit(3, 100)
		c.wantEqual()
	})
}

// A leader that is cut off answers no commit, and nothing that it would make sure of. What the others stored meanwhile stays, and what it had begun
// is gone, or there, everywhere.
func TestCutOff(t *testing.T) {
	for what, size := range map[string]int{"one chunk": 77, "two chunks": chunkSize + 77} {
		t.Run(what, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testCutOff(t, size) }) })
	}
}

func testCutOff(t *testing.T, size int) {
	c := newThree(t)
	c.commit(3, 100)
	old := c.leader()
	name := old.engine.opts.Node
	if err := old.Verify(context.Background()); err != nil {
		t.Fatal(err)
	}
	c.cut(name, true)
	verified, committed := make(chan error, 1), make(chan error, 1)
	go func() { verified <- old.Verify(context.Background()) }()
	late := c.message(size)
	c.tail--
	go func() { committed <- old.Commit(late) }()
	c.commit(5, 100)
	if err := <-verified; !errors.Is(err, ErrOver) {
		t.Errorf("Verify: %v", err)
	}
	if err := <-committed; !errors.Is(err, ErrUnknown) || errors.Is(err, store.ErrNotStored) {
		t.Errorf("Commit: %v", err)
	}
	if err := old.Err(); !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrOver) {
		t.Errorf("the term: %v", err)
	}
	c.cut(name, false)
	c.commit(1, 100)
	c.wantEqual()
	again := c.moveTo(name)
	if err := old.Verify(context.Background()); !errors.Is(err, ErrOver) {
		t.Errorf("Verify of the old term, while the node leads another: %v", err)
	}
	if err := again.Verify(context.Background()); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

// A node that is stopped or killed as it begins to lead ends whole: nothing waits for ever for what raft forgets where it is shut down.
func TestStoppedAsItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails where a goroutine is left
		c := newThree(t)
		rounds := 20
		if testing.Short() {
			rounds = 4
		}
		for i := range rounds {
			c.commit(1, 100)
			n := c.follower()
			if err := c.leader().engine.Transfer(n.name); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				n.copy.GiveUp()
			}
			c.stop(n.name)
			c.start(n.name)
			c.wantEqual()
		}
	})
}

// A commit that comes while leadership is handed on waits for that: it is stored, or the term is over.
func TestCommitWhileTransferring(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		term := c.leader()
		first, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			var once sync.Once
			for {
				err := term.Commit(c.message(100))
				once.Do(func() { close(first) })
				if err != nil {
					c.tail--
					ended <- err
					return
				}
			}
		}()
		<-first
		if err := term.engine.Transfer(c.follower().name); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, store.ErrNotStored) || !errors.Is(err, ErrOver) {
			t.Errorf("Commit: %v", err)
		}
		c.commit(1, 100)
		c.wantEqual()
	})
}

// Without a majority nothing is answered; with one again it goes on.
func TestNoMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		term := c.leader()
		for _, name := range []string{"a", "b", "c"} {
			if name != term.engine.opts.Node {
				c.stop(name)
			}
		}
		if err := term.Commit(c.message(100)); err == nil {
			t.Error("one node answered a commit")
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := term.Verify(ctx); err == nil {
			t.Error("one node made sure that it leads")
		}
		if node, _, err := term.engine.AwaitLeader(ctx); !errors.Is(err, ErrNoLeader) {
			t.Errorf("%q leads: %v", node, err)
		}
		for _, name := range []string{"a", "b", "c"} {
			if name != term.engine.opts.Node {
				c.start(name)
			}
		}
		c.leader()
		c.barrier()
		c.tail = c.positions() // the outcome was unknown
		if c.tail != 3 && c.tail != 4 {
			t.Errorf("%d messages", c.tail)
		}
		c.commit(3, 100)
		c.wantEqual()
	})
}

// Who asks while a majority is asked waits for the next answer, and all who wait share it.
func TestVerifyTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		term := c.leader()
		v := &term.verifier
		const many = 100
		rounds := make(chan *round, many)
		v.mu.Lock()
		v.running = true // one that is on its way
		v.mu.Unlock()
		done := make(chan error, many)
		for range many {
			go func() { done <- term.Verify(context.Background()) }()
		}
		synctest.Wait()
		v.mu.Lock()
		rounds <- v.next
		v.mu.Unlock()
		if len(done) > 0 {
			t.Error("an answer came of a question that was asked before")
		}
		go v.run()
		for range many {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		<-(<-rounds).done // all were of this one
	})
}

// Batches of many chunks are on all copies. One of which not all chunks came before another node led is on none; and a snapshot of
// the log between two chunks, and a start after it, loses nothing.
func TestChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(2, 100)
		c.commit(1, 16<<20)
		c.wantEqual()
		term := c.leader()
		left := c.encode(3 * chunkSize)
		n := chunksOf(left)
		for i := range n - 1 {
			c.propose(term, left, i, n)
		}
		c.moveTo(c.follower().name)
		c.commit(1, 100)
		c.wantEqual()

		term = c.leader()
		whole := c.encode(3 * chunkSize)
		for i := range n - 1 {
			c.propose(term, whole, i, n)
		}
		for _, node := range c.nodes {
			if err := node.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
				t.Error(err)
			}
		}
		name := c.follower().name
		c.nodes[name].copy.GiveUp() // as where it is killed
		c.stop(name)
		c.start(name)
		c.propose(term, whole, n-1, n)
		term.number++
		c.tail++
		c.wantEqual()
		c.commit(1, 100)
		c.wantEqual()
	})
}

// propose proposes one chunk of a batch.
func (c *three) propose(t *Term, batch []byte, chunk, chunks int) {
	c.t.Helper()
	e := entry{term: t.term, previous: t.number, chunk: uint32(chunk), chunks: uint32(chunks), bytes: chunkOf(batch, chunk)}
	if err := t.outcome(t.engine.raft.Apply(e.append(nil), enqueue), true); err != nil {
		c.t.Fatal(err)
	}
}
