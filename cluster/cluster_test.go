package cluster

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/broker/storetest"
	"pipit/db"
	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

var (
	discard = slog.New(slog.DiscardHandler)
	t0      = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	lane    = store.Lane{Topic: 1, Priority: 5}
)

// three are the nodes a, b and c in one process, with fake time.
type three struct {
	t     testing.TB
	dir   string
	with  Options // of all
	db    db.Options
	reads map[string]byte                            // the newest version of entries that a node reads; nil: that of this program
	wrap  func(*node, raft.Transport) raft.Transport // nil: none
	told  func(Info) Info                            // what a node is told of another; nil: what it says
	fs    func(name string) disk.FS                  // of a node; nil: that of the operating system
	log   *slog.Logger
	mu    sync.Mutex
	nodes map[string]*node // that run
	tail  uint64
}

type node struct {
	*Engine
	name  string
	copy  *db.Replica
	trans *raft.InmemTransport
	cut   bool // from all others

	mu    sync.Mutex
	fatal error
}

func (n *node) failed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fatal
}

// newThree founds a cluster by a and starts all.
func newThree(t testing.TB, change ...func(*three)) *three {
	c := &three{t: t, dir: t.TempDir(), nodes: map[string]*node{}, log: discard}
	for _, f := range change {
		f(c)
	}
	c.found()
	t.Cleanup(c.stopAll)
	return c
}

func (c *three) found() {
	c.t.Helper()
	copied := c.openCopy("a")
	if err := Init(c.options("a", copied)); err != nil {
		c.t.Fatal(err)
	}
	if err := copied.Close(); err != nil {
		c.t.Fatal(err)
	}
	c.startAll()
}

func (c *three) startAll() {
	c.t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		c.start(name)
	}
	c.until("all are members", func() bool {
		t := c.leading()
		if t == nil {
			return false
		}
		nodes := t.engine.Status(context.Background()).Nodes
		return len(nodes) == 3 && !slices.ContainsFunc(nodes, func(n NodeStatus) bool { return n.Role == "joining" || n.Lag > 0 || n.Contact < 0 })
	})
}

func addrOf(name string) string { return "host-" + name + ":7001" }

func (c *three) options(name string, copied *db.Replica) Options {
	o := c.with
	o.newest = c.reads[name]
	if c.fs != nil {
		o.FS = c.fs(name)
	}
	o.Node, o.Dir, o.Store, o.Logger = name, filepath.Join(c.dir, name), copied, c.log.With("node", name)
	o.Peers = map[string]string{"a": addrOf("a"), "b": addrOf("b"), "c": addrOf("c")}
	return o
}

func (c *three) openCopy(name string) *db.Replica {
	c.t.Helper()
	o := c.db
	o.Logger = c.log
	if c.fs != nil {
		o = o.With(db.Seam{FS: c.fs(name)})
	}
	copied, err := db.OpenReplica(filepath.Join(c.dir, name+".db"), o)
	if err == nil {
		_, err = copied.Load()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return copied
}

func (c *three) start(name string) *node {
	c.t.Helper()
	n := &node{name: name, copy: c.openCopy(name)}
	o := c.options(name, n.copy)
	id, err := Identify(o.Dir, name)
	if err != nil {
		c.t.Fatal(err)
	}
	_, n.trans = raft.NewInmemTransport(Address(addrOf(name), id))
	o.Transport = n.trans
	if c.wrap != nil {
		o.Transport = c.wrap(n, n.trans)
	}
	o.Ask = func(_ context.Context, addr string) (Info, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, other := range c.nodes {
			if addrOf(other.name) == addr && !n.cut && !other.cut {
				if c.told != nil {
					return c.told(other.Info()), nil
				}
				return other.Info(), nil
			}
		}
		return Info{}, errors.New("it is not reached")
	}
	o.Fatal = func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.fatal = err
	}
	if n.Engine, err = Open(o); err != nil {
		c.t.Fatal(errors.Join(err, n.copy.Close()))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.nodes {
		if !other.cut {
			other.trans.Connect(n.trans.LocalAddr(), n.trans)
			n.trans.Connect(other.trans.LocalAddr(), other.trans)
		}
	}
	c.nodes[name] = n
	return n
}

// stop closes a node and its copy.
func (c *three) stop(name string) {
	c.t.Helper()
	c.mu.Lock()
	n := c.nodes[name]
	delete(c.nodes, name)
	c.mu.Unlock()
	for _, other := range c.nodes {
		other.trans.Disconnect(n.trans.LocalAddr())
	}
	if err := errors.Join(n.Close(), n.copy.Close()); err != nil && n.failed() == nil {
		c.t.Error(err)
	}
}

func (c *three) stopAll() {
	for _, name := range []string{"a", "b", "c"} {
		if c.nodes[name] != nil {
			c.stop(name)
		}
	}
	time.Sleep(time.Second) // lint:sleep fake time: what they asked one another has an answer
}

// cut cuts a node off from the others, or connects it again.
func (c *three) cut(name string, off bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	n.cut = off
	for _, other := range c.nodes {
		if other == n || other.cut {
			continue
		}
		if off {
			n.trans.Disconnect(other.trans.LocalAddr())
			other.trans.Disconnect(n.trans.LocalAddr())
		} else {
			n.trans.Connect(other.trans.LocalAddr(), other.trans)
			other.trans.Connect(n.trans.LocalAddr(), n.trans)
		}
	}
}

// until waits for something.
func (c *three) until(what string, so func() bool) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(end) {
			c.t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // lint:sleep fake time
	}
}

// leading returns the term of the node that leads and is not cut off, nil where there is none.
func (c *three) leading() *Term {
	c.mu.Lock()
	defer c.mu.Unlock()
	var latest *Term // one whose term is over may not have heard of it
	for _, n := range c.nodes {
		if t := n.Term(); t != nil && !n.cut && (latest == nil || t.Number() > latest.Number()) {
			latest = t
		}
	}
	return latest
}

func (c *three) leader() *Term {
	c.t.Helper()
	c.until("a node leads", func() bool { return c.leading() != nil })
	return c.leading()
}

func (c *three) nodeOf(t *Term) *node { return c.nodes[t.engine.opts.Node] }

// follower returns a node that does not lead.
func (c *three) follower() *node {
	lead := c.nodeOf(c.leader())
	for _, name := range []string{"a", "b", "c"} {
		if n := c.nodes[name]; n != nil && n != lead {
			return n
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

// message is the next message of the lane.
func (c *three) message(size int) *store.Batch {
	c.tail++
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(uint64(i) * c.tail)
	}
	b := &store.Batch{Now: t0, Append: []*store.Record{{Place: store.Place{Lane: lane, Pos: c.tail}, Created: t0, Expiration: 60, Producer: "CRM", MIMEType: "text/plain", Payload: payload}}}
	if c.tail == 1 {
		b.Define = []store.Object{{Kind: store.Topic, Key: "/one", ID: 1, Value: []byte("{}")}}
	}
	return b
}

// commit commits messages of a size by whoever leads.
func (c *three) commit(n, size int) {
	c.t.Helper()
	for range n {
		if err := c.leader().Commit(c.message(size)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// wantEqual waits until all that run have applied the same, and compares what they have.
func (c *three) wantEqual() {
	c.t.Helper()
	t := c.leader()
	mark, want, err := t.engine.opts.Store.Digest()
	if err != nil {
		c.t.Fatal(err)
	}
	for name, n := range c.nodes {
		c.untilApplied(n, mark)
		if _, got, err := n.copy.Digest(); err != nil || got != want {
			c.t.Errorf("%s has %s, and %s has %s: %v", name, got, t.engine.opts.Node, want, err)
		}
		if err := n.copy.Check(); err != nil {
			c.t.Errorf("%s: %v", name, err)
		}
	}
	if got := c.positions(); got != c.tail {
		c.t.Errorf("there are %d messages, not %d", got, c.tail)
	}
}

// untilApplied waits until a node has applied as much as a mark says. One that has failed, or has more, never will.
func (c *three) untilApplied(n *node, mark db.ReplicaMark) {
	c.t.Helper()
	var m db.ReplicaMark
	var err error
	defer func() {
		if m != mark || err != nil {
			c.t.Errorf("%s has applied %+v, not %+v: %v; failed: %v; its raft: %v", n.name, m, mark, err, n.failed(), n.raft.Stats())
		}
	}()
	c.until(n.name+" has applied all", func() bool {
		m, err = n.copy.Applied()
		return err == nil && m == mark || n.failed() != nil
	})
}

// positions returns how many messages there are, one behind the other.
func (c *three) positions() (n uint64) {
	c.t.Helper()
	err := c.leader().View(func(r store.Reader) error {
		return r.Stored(lane, store.Span{From: 1, To: 1 << 40}, func(pos uint64) bool { n++; return pos == n })
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// What the leader commits is on all three, also after each of them was stopped, and after all were.
func TestThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(20, 100)
		c.wantEqual()
		for _, name := range []string{"a", "b", "c"} {
			c.stop(name)
			c.commit(10, 1000)
			c.start(name)
			c.wantEqual()
		}
		c.stopAll()
		c.startAll()
		c.commit(1, 10)
		c.wantEqual()
	})
}

// shared is a Store of three copies, which are stopped when it is closed.
type shared struct {
	*Term
	c *three
}

func (s shared) Close() error {
	s.c.wantEqualMarks()
	err := s.Term.Close()
	s.c.stopAll()
	return err
}

// Wiping implements store.Wiper, of all nodes.
func (s shared) Wiping() (n int) {
	for _, node := range s.c.nodes {
		n += node.Engine.Wiping()
	}
	return n
}

// wantEqualMarks is wantEqual of any content.
func (c *three) wantEqualMarks() {
	c.t.Helper()
	mark, want, err := c.leader().engine.opts.Store.Digest()
	if err != nil {
		c.t.Error(err)
	}
	for name, n := range c.nodes {
		c.untilApplied(n, mark)
		if _, got, err := n.copy.Digest(); err != nil || got != want {
			c.t.Errorf("%s has %s and not %s: %v", name, got, want, err)
		}
	}
}

func unflushed(string) disk.FS { return disktest.Unflushed{FS: disk.OS} }

// The leader's Term is a Store.
func TestTermIsStore(t *testing.T) {
	storetest.Exercise(t, func(dir string) (store.Store, error) {
		c := &three{t: t, dir: dir, nodes: map[string]*node{}, log: discard, fs: unflushed}
		if _, err := os.Stat(filepath.Join(dir, "a")); err == nil {
			c.startAll()
		} else {
			c.found()
		}
		return shared{c.leader(), c}, nil
	}, synctest.Test)
}
