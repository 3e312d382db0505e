package cluster

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
)

var (
	randomRounds = flag.Int("random-rounds", 1, "how often TestRandom begins anew")
	randomSeed   = flag.Uint64("random-seed", 0, "what TestRandom begins with, as a failed one has printed it; 0: the time")
)

// Whatever happens to the nodes, as long as two of three have what was answered: nothing answered is missing, what was said not to be stored is not,
// and all copies are equal.
func TestRandom(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano()) // #nosec G115 -- any number does
	}
	for round := range uint64(*randomRounds) { // #nosec G115 -- a few
		t.Run(fmt.Sprint(seed+round), func(t *testing.T) { testRandom(t, seed+round) })
	}
}

func testRandom(t *testing.T, seed uint64) {
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		var said logged
		defer said.tell(t)
		c := newThree(t, small, func(c *three) { c.log = slog.New(slog.NewTextHandler(&said, nil)) })
		r := &random{three: c, rnd: rand.New(rand.NewPCG(seed, 0))}
		for step := range 150 {
			r.step()
			if t.Failed() {
				t.Fatalf("step %d", step)
			}
			if step%15 == 14 {
				r.heal()
				r.check()
			}
		}
	})
}

// logged is what the nodes have logged: the end of it is told where the test fails.
type logged struct {
	mu   sync.Mutex
	text []byte
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	return len(b), nil
}

func (l *logged) tell(t *testing.T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Failed() {
		t.Logf("%s", l.text[max(0, len(l.text)-32<<10):])
	}
}

type random struct {
	*three
	rnd  *rand.Rand
	late sync.WaitGroup // commits by a leader that was cut off
}

var names = [...]string{"a", "b", "c"}

// down returns the node that is stopped or cut off, nil where all are there: one at a time is.
func (r *random) down() string {
	for _, name := range names {
		if n := r.nodes[name]; n == nil || n.cut {
			return name
		}
	}
	return ""
}

func (r *random) step() {
	name := names[r.rnd.IntN(3)]
	n := r.nodes[name]
	down := r.down()
	switch what := r.rnd.IntN(20); {
	case what < 8:
		r.commits()
	case what < 10:
		if err := r.leader().engine.Transfer(""); err != nil {
			r.t.Logf("transfer: %v", err)
		}
	case what < 12 && n != nil:
		if err := n.raft.Snapshot().Error(); err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
			r.t.Logf("snapshot: %v", err)
		}
	case what < 13:
		time.Sleep(time.Duration(r.rnd.IntN(3000)) * time.Millisecond) // lint:sleep fake time
	case down != "":
		r.heal()
	case what < 15:
		r.cut(name, true)
	case what < 18:
		if r.rnd.IntN(2) == 0 {
			n.copy.GiveUp() // it is killed
		}
		r.stop(name)
	case what < 19:
		r.late.Wait()
		term := r.settle() // what came of one before
		r.cut(term.engine.opts.Node, true)
		b := r.taken(r.message(r.size()))
		r.late.Go(func() { _ = term.Commit(b) }) // whose outcome nobody looks at
	default:
		r.wipe(name)
	}
}

func (r *random) size() int {
	switch r.rnd.IntN(100) {
	case 0:
		return chunkSize + r.rnd.IntN(chunkSize)
	case 1, 2, 3, 4, 5:
		return r.rnd.IntN(50_000)
	}
	return r.rnd.IntN(1000)
}

// taken takes back the number of a message, whose outcome nobody waits for.
func (r *random) taken(b *store.Batch) *store.Batch {
	r.tail--
	return b
}

// commits commits messages by whoever leads. Where the outcome is unknown, who leads next tells.
func (r *random) commits() {
	for range 1 + r.rnd.IntN(20) {
		r.late.Wait()
		term := r.settle()
		err := term.Commit(r.message(r.size()))
		switch {
		case err == nil:
		case errors.Is(err, store.ErrNotStored):
			r.tail--
		case errors.Is(err, ErrUnknown):
			before := r.tail - 1
			if r.tail = r.stored(r.sure()); r.tail != before && r.tail != before+1 {
				r.t.Errorf("%d messages, of %d or one more", r.tail, before)
			}
		default:
			r.t.Errorf("Commit: %v", err)
		}
	}
}

// sure returns the term of a node that has made sure that it leads: one that was cut off may not know yet that another one does.
func (r *random) sure() *Term {
	for {
		if term := r.leader(); term.Verify(context.Background()) == nil {
			return term
		}
	}
}

// settle takes in what became of a message that nobody waited for, and returns who leads.
func (r *random) settle() *Term {
	term := r.sure()
	if got := r.stored(term); got != r.tail {
		if got != r.tail+1 {
			r.t.Errorf("%d messages of %d", got, r.tail)
		}
		r.tail = got
	}
	return term
}

// stored returns how many messages there are, one behind the other.
func (r *random) stored(term *Term) (n uint64) {
	err := term.View(func(v store.Reader) error {
		return v.Stored(lane, store.Span{From: 1, To: 1 << 40}, func(pos uint64) bool { n++; return pos == n })
	})
	if err != nil {
		r.t.Error(err)
	}
	return n
}

// wipe takes a node's disk away.
func (r *random) wipe(name string) {
	r.stop(name)
	r.erase(name)
	r.until(name+" is removed", func() bool {
		e := r.leader().engine
		_, err := e.server(name) // it is gone, where an error said that this was not known
		return err != nil || e.Remove(name) == nil
	})
	r.start(name)
	r.members()
}

// erase removes the files of a node that is stopped.
func (c *three) erase(name string) {
	c.t.Helper()
	for _, gone := range []string{name, name + ".db"} {
		if err := os.RemoveAll(filepath.Join(c.dir, gone)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// heal has all nodes there.
func (r *random) heal() {
	for _, name := range names {
		switch n := r.nodes[name]; {
		case n == nil:
			r.start(name)
		case n.cut:
			r.three.cut(name, false)
		}
	}
	r.members()
}

// members waits until all three have a vote.
func (r *random) members() {
	r.until("all are members", func() bool {
		t := r.leading()
		if t == nil {
			return false
		}
		voters := 0
		for _, s := range t.engine.servers() {
			if s.Suffrage == raft.Voter {
				voters++
			}
		}
		return voters == 3
	})
}

func (r *random) check() {
	r.late.Wait()
	r.settle()
	r.wantEqual()
	for name, n := range r.nodes {
		if err := n.failed(); err != nil {
			r.t.Errorf("%s: %v", name, err)
		}
	}
}
