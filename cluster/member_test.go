package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
)

// The leader knows how all are; the others who they are.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(10, 100)
		term := c.moveTo("b")
		c.commit(1, 100)
		c.wantEqual()
		s := term.engine.Status(context.Background())
		if s.Leader != "b" || s.Term != term.Number() || len(s.Nodes) != 3 {
			t.Fatalf("%+v", s)
		}
		for i, n := range s.Nodes {
			role := map[bool]string{true: "leader", false: "follower"}[n.Node == "b"]
			if n.Node != []string{"a", "b", "c"}[i] || n.Addr != addrOf(n.Node) || n.Role != role || n.Applied != term.engine.machine.applied.Load() || n.Lag != 0 || n.Contact < 0 || n.Contact > 1 {
				t.Errorf("%+v", n)
			}
		}
		if s := c.nodes["a"].Status(context.Background()); s.Leader != "b" || len(s.Nodes) != 3 || s.Nodes[0].Applied == 0 || s.Nodes[1].Role != "leader" || s.Nodes[1].Contact >= 0 {
			t.Errorf("as a sees it: %+v", s)
		}
		if node, addr := c.nodes["c"].Leader(); node != "b" || addr != addrOf("b") {
			t.Errorf("as c sees it, %q at %q leads", node, addr)
		}
		c.cut("c", true)
		c.commit(10, 100)
		time.Sleep(5 * time.Second) // lint:sleep fake time
		if n := c.leader().engine.Status(context.Background()).Nodes[2]; n.Contact < 5 || n.Lag < 10 {
			t.Errorf("c is cut off: %+v", n)
		}
	})
}

// Leadership goes to whom it is given, within half a second, and nothing is lost. What cannot be is refused.
func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		for _, name := range []string{"b", "c", "a", "b"} {
			c.commit(5, 100)
			began := time.Now()
			c.moveTo(name)
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("to %s: %v", name, took)
			}
		}
		c.commit(5, 100)
		c.wantEqual()
		if err := c.leader().engine.Transfer("d"); err == nil || !errors.Is(err, ErrNoNode) || !strings.Contains(err.Error(), `"d"`) {
			t.Errorf("to nobody: %v", err)
		}
		if err := c.follower().Transfer("a"); err == nil {
			t.Error("a follower gave leadership away")
		}
		if err := c.follower().Remove("a"); err == nil {
			t.Error("a follower removed a node")
		}
		if err := c.follower().Verify(context.Background()); !errors.Is(err, ErrOver) {
			t.Errorf("a follower leads: %v", err)
		}
	})
}

// A leader that is gone without a word is followed by another within 4 seconds, and what was answered is there.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		for range 6 {
			c.commit(20, 100)
			name := c.leader().engine.opts.Node
			began := time.Now()
			c.cut(name, true)
			c.commit(1, 100)
			if took := time.Since(began); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
			if got := c.positions(); got != c.tail {
				t.Fatalf("%d messages of %d", got, c.tail)
			}
			c.nodes[name].copy.GiveUp() // as where it is killed
			c.stop(name)
			c.start(name)
			c.wantEqual()
		}
	})
}

// A broker that does not want a term gives leadership to another node.
func TestUnwanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unwanted := map[string]bool{}
		c := newThree(t)
		name := c.leader().engine.opts.Node
		unwanted[name] = true
		if err := c.leader().Close(); err != nil { // as a broker does that is closed
			t.Fatal(err)
		}
		c.until("another one leads", func() bool { t := c.leading(); return t != nil && t.engine.opts.Node != name })
		c.commit(1, 100)
		c.wantEqual()
	})
}

// held is a transport that gives answers to what raft asks only when told.
type held struct {
	*raft.InmemTransport
	gate func() <-chan struct{}
}

func (h held) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	err := h.InmemTransport.AppendEntries(id, target, args, resp)
	<-h.gate()
	return err
}

// An answer to what was asked before does not count: a leader that was stopped finds some when it wakes.
func TestVerifyOldAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := make(chan struct{})
		close(open)
		gates := map[string]chan struct{}{}
		c := newThree(t, func(c *three) {
			c.with.Heartbeat = time.Second
			c.wrap = func(n *node, in raft.Transport) raft.Transport {
				return held{in.(*raft.InmemTransport), func() <-chan struct{} {
					c.mu.Lock()
					defer c.mu.Unlock()
					if g := gates[n.name]; g != nil {
						return g
					}
					return open
				}}
			}
		})
		c.commit(3, 100)
		old := c.leader()
		name := old.engine.opts.Node
		gate := make(chan struct{})
		c.mu.Lock()
		gates[name] = gate
		c.mu.Unlock()
		time.Sleep(200 * time.Millisecond) // lint:sleep fake time: heartbeats were answered, and the answers are on their way
		c.cut(name, true)
		answers := make(chan error, 1)
		go func() { answers <- old.Verify(context.Background()) }()
		synctest.Wait()
		close(gate) // it wakes, and has answers of before
		if err := <-answers; err == nil {
			t.Error("a leader that is cut off was told that it leads")
		}
		c.cut(name, false)
		c.commit(1, 100)
		c.wantEqual()
	})
}

// An entry of a newer version ends the node's part, and nothing behind it is applied.
func TestNewerEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		term := c.leader()
		if err := term.engine.raft.Apply([]byte{newestEntry + 1, 0}, 0).Error(); err != nil {
			t.Fatal(err)
		}
		if err := term.Commit(c.message(100)); err == nil {
			t.Error("a batch behind it was stored")
		}
		c.tail--
		for name, n := range c.nodes {
			c.until(name+" has failed", func() bool { return n.failed() != nil })
			if err := n.failed(); !errors.Is(err, errEntryVersion) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := c.nodeOf(term).copy; got != nil {
			if m, err := got.Applied(); err != nil || m.Number != 3 {
				t.Errorf("%+v, %v", m, err)
			}
		}
	})
}

// unheard is a transport on which nobody hears for a while that it is to lead.
type unheard struct {
	*raft.InmemTransport
	wait time.Duration
}

func (u unheard) TimeoutNow(raft.ServerID, raft.ServerAddress, *raft.TimeoutNowRequest, *raft.TimeoutNowResponse) error {
	time.Sleep(u.wait) // lint:sleep fake time
	return errors.New("nobody heard")
}

// A term that was given up while leadership was being handed on, which failed, is followed by one of the same node.
func TestTermAfterFailedTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, func(c *three) {
			c.wrap = func(_ *node, in raft.Transport) raft.Transport {
				return unheard{in.(*raft.InmemTransport), 5 * time.Second}
			}
		})
		c.commit(1, 100)
		term := c.leader()
		if err := term.engine.Transfer(c.follower().name); err == nil {
			t.Fatal("leadership was handed on though nobody heard of it")
		}
		if err := term.Close(); err != nil {
			t.Fatal(err)
		}
		c.commit(1, 100)
		c.wantEqual()
	})
}

// TestUpgrade: while a node is there that reads old entries alone, or one that has not said what it reads, the old ones are written, whoever leads; when all
// read newer ones, those are, and a node that does not is refused, or ends.
func TestUpgrade(t *testing.T) {
	const newer = newestEntry + 1
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, func(c *three) { c.reads = map[string]byte{} })
		written := func() byte { return c.leader().engine.writes() }
		for _, name := range names {
			if name == c.nodeOf(c.leader()).name {
				continue
			}
			c.stop(name)
			c.reads[name] = newer
			c.start(name)
			c.commit(3, 100)
			c.wantEqual()
		}
		old := c.nodeOf(c.leader()).name
		if err := c.leader().engine.Transfer(""); err != nil {
			t.Fatal(err)
		}
		c.until("another one leads", func() bool { l := c.leading(); return l != nil && c.nodeOf(l).name != old })
		c.commit(3, 100)
		time.Sleep(time.Minute) // lint:sleep fake time
		if v := written(); v != newestEntry {
			t.Errorf("version %d is written, which %s does not read", v, old)
		}
		c.stop(old)
		time.Sleep(time.Minute) // lint:sleep fake time
		if err := c.leader().engine.Transfer(""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // lint:sleep fake time
		if v := written(); v != newestEntry {
			t.Errorf("version %d is written, and nobody knows what %s reads", v, old)
		}
		c.reads[old] = newer
		c.start(old)
		c.until("newer entries are written", func() bool { return written() == newer })
		c.commit(3, 100)
		if _, err := c.leader().engine.AskDigest(); err != nil {
			t.Error(err)
		}
		c.wantEqual()

		c.stop(old)
		c.reads[old] = newestEntry
		n := c.start(old)
		c.until("it ends", func() bool { return n.failed() != nil })
		if err := n.failed(); !errors.Is(err, errEntryVersion) || !strings.Contains(err.Error(), fmt.Sprintf("version %d; this one reads %d to %d", newer, oldestEntry, newestEntry)) {
			t.Error(err)
		}
		c.stop(old)
		c.told = func(i Info) Info {
			if i.Node == old {
				i.Entry = newestEntry
			}
			return i
		}
		leads := c.leader().engine
		if err := leads.Remove(old); err != nil {
			t.Fatal(err)
		}
		c.erase(old)
		c.start(old)
		if err := leads.Add(t.Context(), old, addrOf(old)); err == nil || !strings.Contains(err.Error(), "of an older Pipit") {
			t.Errorf("a node that does not read what is written: %v", err)
		}
	})
}

// A node that has what it had is not replaced; one that has lost it is, at once.
func TestReplace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(1, 100)
		leads := c.leader().engine
		lost := c.follower().opts.Node
		if err := leads.Replace(t.Context(), lost); err == nil || !strings.Contains(err.Error(), "is there, and has what it had") {
			t.Errorf("a node that is well: %v", err)
		}
		if err := leads.Replace(t.Context(), leads.opts.Node); err == nil {
			t.Error("the leader was replaced")
		}
		if err := leads.Replace(t.Context(), "nobody"); !errors.Is(err, ErrNoNode) {
			t.Errorf("no node: %v", err)
		}
		before, err := leads.server(lost)
		if err != nil {
			t.Fatal(err)
		}
		c.stop(lost)
		c.erase(lost)
		c.start(lost)
		if err := leads.Replace(t.Context(), lost); err != nil {
			t.Fatal(err)
		}
		now, err := leads.server(lost)
		if err != nil || now.ID == before.ID {
			t.Errorf("the node is %v: %v", now, err)
		}
		c.until("it has a vote", func() bool {
			now, err := leads.server(lost)
			return err == nil && now.Suffrage == raft.Voter
		})
		c.commit(1, 100)
		c.wantEqual()
	})
}

// What no copy takes is refused, and nothing else comes of it.
func TestBadBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(1, 100)
		term := c.leader()
		err := term.Commit(&store.Batch{Now: t0, Define: []store.Object{{Kind: store.Topic, Key: strings.Repeat("k", 1<<16), ID: 9, Value: []byte("{}")}}})
		if !errors.Is(err, store.ErrNotStored) || errors.Is(err, ErrOver) {
			t.Errorf("a key that is too long: %v", err)
		}
		if err := term.Err(); err != nil {
			t.Errorf("the term is over: %v", err)
		}
		c.commit(1, 100)
		c.wantEqual()
	})
}

// Copies are compared at the same moment while the leader commits.
func TestDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(10, 1000)
		var last string
		for range 3 {
			term := c.leader()
			index, err := term.engine.AskDigest()
			if err != nil {
				t.Fatal(err)
			}
			c.commit(10, 1000)
			var sums []string
			for _, name := range names {
				sum, err := c.nodes[name].Digest(context.Background(), index)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				sums = append(sums, sum)
			}
			if sums[0] != sums[1] || sums[0] != sums[2] || sums[0] == last || len(sums[0]) != 64 {
				t.Errorf("%q, and before %q", sums, last)
			}
			last = sums[0]
			if _, err := term.engine.Digest(context.Background(), index-1); err == nil {
				t.Error("there is a digest that nobody asked for")
			}
		}
		if _, err := c.follower().AskDigest(); err == nil {
			t.Error("a follower asked for one")
		}
	})
}

// TestDigestAtOnce: a copy that has come to an entry has its digest, or is at it.
func TestDigestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		for range 20 {
			c.commit(1, 100)
			c.wantEqual()
			term := c.leader()
			n := c.nodeOf(term) // whose entries come without time passing, which stands still while another goroutine looks
			index := term.engine.raft.LastIndex() + 1
			said := make(chan error, 1)
			go func() {
				for n.machine.seen.Load() < index {
					runtime.Gosched()
				}
				_, err := n.Digest(context.Background(), index)
				said <- err
			}()
			if got, err := term.engine.AskDigest(); err != nil || got != index {
				t.Fatalf("entry %d, want %d: %v", got, index, err)
			}
			if err := <-said; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Where no majority has room for more, nothing is to be published; where one node has none, the others go on.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := map[string]bool{}
		c := newThree(t, func(c *three) {
			c.told = func(i Info) Info { i.NoSpace = full[i.Node]; return i }
		})
		term := c.moveTo("a")
		for _, name := range []string{"b", "c"} {
			if err := term.CheckFile(); err != nil {
				t.Errorf("%v: %v", full, err)
			}
			c.mu.Lock()
			full[name] = true
			c.mu.Unlock()
			time.Sleep(3 * time.Second) // lint:sleep fake time
		}
		if err := term.CheckFile(); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("without room on b and c: %v", err)
		}
	})
}
