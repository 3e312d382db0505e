// Package clustertest has a cluster of three nodes in one process, for tests of what is opened on a store.Store: Cluster.Open is one on the Term of
// whoever leads, and the cluster's leaders and members change as a test wishes.
//
// The nodes have a clock of their own, which goes on while they are asked for something, and stands still else. So a broker may be opened on them in a bubble of
// testing/synctest: whatever they do takes none of its time, and a year of its time costs them no heartbeat.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/cluster"
	"pipit/db"
	"pipit/db/disk"
)

// Options say how a cluster is.
type Options struct {
	Path string     // of the database of node a, which may have content; the others' files lie beside it
	DB   db.Options // of all
	FS   disk.FS    // of the cluster's logs; nil: that of the operating system
}

// Cluster are the nodes a, b and c. Its methods may be called from any bubble, one at a time, and those of its stores as theirs are.
type Cluster struct {
	t    testing.TB
	opts Options
	jobs chan func() // for the bubble of the nodes; of no bubble itself, so that who waits for one stops the clock
	ran  bool

	mu    sync.Mutex
	nodes map[string]*node // that run
}

type node struct {
	*cluster.Engine
	name  string
	copy  *db.Replica
	trans *raft.InmemTransport
	cut   bool // from all others

	killed atomic.Bool
}

var names = [...]string{"a", "b", "c"}

// host starts goroutines that belong to no bubble.
var host = make(chan func())

func init() {
	go func() {
		for f := range host {
			go f()
		}
	}()
}

// New starts a cluster, or starts the one again that was there. It ends with the test. An error ends the test.
func New(t testing.TB, opts Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, opts: opts, nodes: map[string]*node{}}
	var ready sync.Mutex // a channel would be of the caller's bubble
	ready.Lock()
	host <- func() {
		c.jobs = make(chan func())
		ready.Unlock()
		all := func(string, string) (bool, error) { return true, nil }
		testing.RunTests(all, []testing.InternalTest{{Name: "nodes of " + t.Name(), F: func(t *testing.T) { synctest.Test(t, c.run) }}})
		if !c.ran {
			panic("tests on a cluster cannot be run with -skip")
		}
	}
	ready.Lock()
	t.Cleanup(func() {
		c.Stop()
		close(c.jobs)
	})
	c.Start()
	return c
}

func (c *Cluster) run(*testing.T) {
	c.ran = true
	for job := range c.jobs {
		job()
	}
}

// do has the nodes' bubble do something, and waits for it.
func (c *Cluster) do(f func() error) (err error) {
	var done sync.Mutex
	done.Lock()
	c.jobs <- func() {
		defer done.Unlock()
		err = f()
	}
	done.Lock()
	return err
}

// must is do, and ends the test where that fails.
func (c *Cluster) must(f func() error) {
	c.t.Helper()
	if err := c.do(f); err != nil {
		c.t.Fatal(err)
	}
}

// Again runs tests of this program once more, in short and with the flag -cluster, which has them use New. Their names match a pattern.
func Again(t *testing.T, pattern string, args ...string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "-cluster", "-test.short", "-test.v", "-test.timeout=5m", "-test.run=^("+pattern+")$")
	out, err := exec.CommandContext(t.Context(), exe, args...).CombinedOutput() // #nosec G204 -- itself
	if err != nil || !bytes.Contains(out, []byte("nodes of")) {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
}

// Start starts the nodes that do not run, and returns when all are members and have all.
func (c *Cluster) Start() {
	c.t.Helper()
	c.must(c.startAll)
}

// Stop compares the copies and ends all nodes, where they run. Their files are databases of their own then.
func (c *Cluster) Stop() {
	c.t.Helper()
	c.must(func() (err error) {
		if len(c.nodes) == len(names) {
			err = c.compare()
		}
		for _, name := range names {
			if c.nodes[name] != nil {
				err = errors.Join(err, c.stop(name, false))
			}
		}
		return err
	})
}

// Store returns the store of whoever leads. It is to be closed, and another node leads then.
func (c *Cluster) Store() *Store {
	c.t.Helper()
	s := &Store{c: c}
	c.must(func() (err error) {
		s.Term, err = c.leader()
		return err
	})
	return s
}

// Check compares the copies, and what each of them says of itself.
func (c *Cluster) Check() {
	c.t.Helper()
	c.must(c.compare)
}

// Changes are what Change knows, beside what Store.Close does.
var Changes = []string{"handed over", "handed over and back", "killed", "cut off", "replaced", "all stopped"}

// Change has something happen to the node that leads, and returns when all three are there again: it hands leadership over, or gets it back then;
// it is killed; it is cut off until another one leads; its files are lost, and it joins as a new one; or all nodes are stopped.
func (c *Cluster) Change(what string) {
	c.t.Helper()
	if err := c.do(func() error { return c.change(what) }); err != nil {
		c.t.Fatalf("%s: %v", what, err)
	}
}

func (c *Cluster) change(what string) error {
	t, err := c.leader()
	if err != nil {
		return err
	}
	name := c.nodeOf(t).name
	switch what {
	case "handed over":
		return c.moveAway(name)
	case "handed over and back":
		return errors.Join(c.moveAway(name), c.moveTo(name))
	case "killed":
		return errors.Join(c.stop(name, true), c.startAll())
	case "cut off":
		c.connect(name, false)
		_, err := c.leader()
		c.connect(name, true)
		return errors.Join(err, c.startAll())
	case "replaced":
		return errors.Join(c.moveAway(name), c.replace(name))
	case "all stopped":
		for _, name := range names {
			err = errors.Join(err, c.stop(name, false))
		}
		return errors.Join(err, c.startAll())
	}
	return fmt.Errorf("there is no change %q", what)
}

// Replace has a node that follows lose its files and join as a new one, while another one leads.
func (c *Cluster) Replace() {
	c.t.Helper()
	c.must(func() error {
		t, err := c.leader()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(names[:], func(name string) bool { return name != c.nodeOf(t).name })
		return c.replace(names[i])
	})
}

func (c *Cluster) startAll() error {
	if _, err := os.Stat(c.dirOf("a")); errors.Is(err, fs.ErrNotExist) {
		if err := c.found(); err != nil {
			return err
		}
	}
	for _, name := range names {
		if c.nodes[name] == nil {
			if err := c.start(name); err != nil {
				return err
			}
		}
	}
	return c.whole()
}

func (c *Cluster) found() error {
	copied, err := c.openCopy("a")
	if err != nil {
		return err
	}
	return errors.Join(cluster.Init(c.options("a", copied)), copied.Close())
}

// whole waits until all are members, and have all.
func (c *Cluster) whole() error {
	return c.until("all are members", func() bool {
		t := c.leading()
		if t == nil {
			return false
		}
		n := c.nodeOf(t).Status(context.Background()).Nodes
		return len(n) == len(names) && !slices.ContainsFunc(n, func(n cluster.NodeStatus) bool {
			return n.Role == "joining" || n.Lag > 0 || n.Contact < 0 || n.Contact > 1
		})
	})
}

func (c *Cluster) fileOf(name string) string {
	if name == "a" {
		return c.opts.Path
	}
	return c.opts.Path + "." + name
}

func (c *Cluster) dirOf(name string) string {
	return filepath.Join(filepath.Dir(c.opts.Path), "cluster-"+name)
}

func addrOf(name string) string { return "host-" + name + ":7001" }

func (c *Cluster) options(name string, copied *db.Replica) cluster.Options {
	peers := map[string]string{}
	for _, name := range names {
		peers[name] = addrOf(name)
	}
	return cluster.Options{Node: name, Dir: c.dirOf(name), Peers: peers, Store: copied, Logger: slog.New(slog.DiscardHandler), FS: c.opts.FS}
}

func (c *Cluster) openCopy(name string) (*db.Replica, error) {
	copied, err := db.OpenReplica(c.fileOf(name), c.opts.DB)
	if err != nil {
		return nil, err
	}
	if _, err := copied.Load(); err != nil {
		return nil, errors.Join(err, copied.Close())
	}
	return copied, nil
}

func (c *Cluster) start(name string) error {
	copied, err := c.openCopy(name)
	if err != nil {
		return err
	}
	n := &node{name: name, copy: copied}
	o := c.options(name, copied)
	id, err := cluster.Identify(o.Dir, name)
	if err != nil {
		return errors.Join(err, copied.Close())
	}
	_, n.trans = raft.NewInmemTransport(cluster.Address(addrOf(name), id))
	o.Transport = n.trans
	o.Ask = func(_ context.Context, addr string) (cluster.Info, error) { return c.ask(n, addr) }
	o.Fatal = func(err error) {
		if !n.killed.Load() {
			panic(fmt.Sprintf("node %s: %v", name, err))
		}
	}
	if n.Engine, err = cluster.Open(o); err != nil {
		return errors.Join(err, copied.Close())
	}
	c.mu.Lock()
	c.nodes[name] = n
	c.mu.Unlock()
	c.connect(name, true)
	return nil
}

// ask returns what a node tells another.
func (c *Cluster) ask(n *node, addr string) (cluster.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, other := range c.nodes {
		if addrOf(other.name) == addr && !n.cut && !other.cut {
			return other.Info(), nil
		}
	}
	return cluster.Info{}, errors.New("it is not reached")
}

// connect connects a node with the others, or cuts it off.
func (c *Cluster) connect(name string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[name]
	n.cut = !on
	for _, other := range c.nodes {
		switch {
		case other == n:
		case on:
			n.trans.Connect(other.trans.LocalAddr(), other.trans)
			other.trans.Connect(n.trans.LocalAddr(), n.trans)
		default:
			n.trans.Disconnect(other.trans.LocalAddr())
			other.trans.Disconnect(n.trans.LocalAddr())
		}
	}
}

// stop ends a node, or kills it: its file has then what it had.
func (c *Cluster) stop(name string, kill bool) error {
	c.mu.Lock()
	n := c.nodes[name]
	delete(c.nodes, name)
	others := slices.Collect(maps.Values(c.nodes))
	c.mu.Unlock()
	if kill {
		n.killed.Store(true)
		n.copy.GiveUp()
	}
	for _, other := range others {
		other.trans.Disconnect(n.trans.LocalAddr())
	}
	err := errors.Join(n.Close(), n.copy.Close())
	if kill {
		return nil
	}
	return err
}

// replace has a node lose its files and join as a new one.
func (c *Cluster) replace(name string) error {
	if err := c.stop(name, true); err != nil {
		return err
	}
	for _, gone := range []string{c.dirOf(name), c.fileOf(name)} {
		if err := os.RemoveAll(gone); err != nil {
			return err
		}
	}
	err := c.until(name+" is removed", func() bool {
		t := c.leading()
		return t != nil && c.nodeOf(t).Remove(name) == nil
	})
	if err != nil {
		return err
	}
	if err := c.start(name); err != nil {
		return err
	}
	return c.whole()
}

// moveAway has another node lead.
func (c *Cluster) moveAway(name string) error {
	for _, other := range names {
		if other != name {
			return c.moveTo(other)
		}
	}
	return nil
}

// moveTo has a node lead.
func (c *Cluster) moveTo(name string) error {
	return c.until(name+" leads", func() bool {
		t := c.leading()
		if t == nil {
			return false
		}
		if n := c.nodeOf(t); n.name != name {
			_ = n.Transfer(name) // or it is tried again
			return false
		}
		return true
	})
}

// until waits for something, by the clock of the nodes.
func (c *Cluster) until(what string, so func() bool) error {
	for end := time.Now().Add(time.Minute); !so(); {
		if time.Now().After(end) {
			return fmt.Errorf("not within a minute: %s", what)
		}
		time.Sleep(10 * time.Millisecond) // lint:sleep fake time
	}
	return nil
}

// leading returns the term of the node that leads and is not cut off, nil where there is none.
func (c *Cluster) leading() *cluster.Term {
	c.mu.Lock()
	defer c.mu.Unlock()
	var latest *cluster.Term // one whose term is over may not have heard of it
	for _, n := range c.nodes {
		if t := n.Term(); t != nil && !n.cut && (latest == nil || t.Number() > latest.Number()) {
			latest = t
		}
	}
	return latest
}

func (c *Cluster) leader() (t *cluster.Term, err error) {
	err = c.until("a node leads", func() bool { t = c.leading(); return t != nil })
	return t, err
}

// nodeOf returns the node that has, or had last, a term.
func (c *Cluster) nodeOf(t *cluster.Term) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if leader, _ := n.Leader(); n.Term() == t || leader == n.name {
			return n
		}
	}
	return nil
}

// compare waits until all have applied the same, and compares what they have.
func (c *Cluster) compare() error {
	if err := c.whole(); err != nil {
		return err
	}
	t, err := c.leader()
	if err != nil {
		return err
	}
	mark, want, err := c.nodeOf(t).copy.Digest()
	if err != nil {
		return err
	}
	for _, name := range names {
		n := c.nodes[name]
		err := c.until(name+" has applied all", func() bool {
			m, err := n.copy.Applied()
			return err != nil || m == mark
		})
		if err != nil {
			return err
		}
		if _, got, err := n.copy.Digest(); err != nil || got != want {
			return fmt.Errorf("%s has %s, and the leader %s: %w", name, got, want, err)
		}
		if err := n.copy.Check(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Store is the store of a term.
type Store struct {
	*cluster.Term
	c *Cluster
}

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) error {
	return s.c.do(func() error { return s.Term.Commit(b) })
}

// Close implements store.Store: the term is given up, and another node leads.
func (s *Store) Close() error {
	return s.c.do(func() error {
		err := s.Term.Close()
		return errors.Join(err, s.c.until("the term is over", func() bool { return s.c.leading() != s.Term }))
	})
}

// Compact implements store.Compacter, to its end.
func (s *Store) Compact(context.Context) error {
	return s.c.do(func() error { return s.Term.Compact(context.Background()) })
}

// Checkpoint has the leader's file take everything.
func (s *Store) Checkpoint() error { return s.c.do(s.c.nodeOf(s.Term).copy.Checkpoint) }

// Check looks at the leader's copy.
func (s *Store) Check() error { return s.c.do(s.Term.Check) }

var (
	_ store.Store       = (*Store)(nil)
	_ store.FileChecker = (*Store)(nil)
	_ store.Wiper       = (*Store)(nil)
	_ store.Backuper    = (*Store)(nil)
	_ store.Compacter   = (*Store)(nil)
)
