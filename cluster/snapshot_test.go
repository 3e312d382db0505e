package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/db"
)

func small(c *three) {
	c.with.LogSize, c.fs = 64<<10, unflushed
	c.db.LogSize = 256 << 10
}

// copyFile copies a file that nobody writes to.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The log is cut off by its size, on all nodes. A copy that was away for longer gets the leader's file, while others commit.
func TestFarBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, small)
		c.commit(3, 100)
		c.moveTo("a")
		c.stop("c")
		behind := c.nodes["a"].machine.applied.Load()
		for c.nodes["a"].firstIndex() <= behind || c.nodes["b"].firstIndex() <= behind {
			c.commit(20, 2000)
			c.until("the log is cut off", func() bool {
				_, size, most := c.nodes["a"].logs.stats()
				return size <= 2*most
			})
			if c.tail > 1000 {
				t.Fatalf("the logs begin at %d and %d", c.nodes["a"].firstIndex(), c.nodes["b"].firstIndex())
			}
		}
		c.start("c")
		c.commit(30, 100)
		c.wantEqual()
		c.stop("c")
		c.start("c")
		c.commit(3, 100)
		c.wantEqual()
		c.moveTo("c") // which has a log that begins with a file
		c.stop("a")
		for range 10 {
			c.commit(20, 2000)
		}
		c.start("a")
		c.wantEqual()
	})
}

func (n *node) firstIndex() uint64 {
	first, err := n.logs.FirstIndex()
	if err != nil {
		return 0
	}
	return first
}

// A node that lost its directory, and its database, is a stranger by its old name: nobody asks for its vote, and it is no member until
// the old one is removed.
func TestWiped(t *testing.T) {
	for name, gone := range map[string][]string{"all": {"c", "c.db"}, "directory": {"c"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newThree(t)
				c.commit(3, 100)
				c.moveTo("a")
				old := c.nodes["c"].ID()
				c.stop("c")
				for _, name := range gone {
					if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
						t.Fatal(err)
					}
				}
				n := c.start("c")
				c.commit(3, 100)
				if n.ID() == old || NodeOf(n.ID()) != "c" {
					t.Errorf("ID %q after %q", n.ID(), old)
				}
				c.until("the others go on without it", func() bool {
					s := c.leader().engine.Status(context.Background())
					return len(s.Nodes) == 3 && s.Nodes[2].Contact > 1
				})
				if len(n.servers()) != 0 {
					t.Errorf("the stranger knows of %v", n.servers())
				}
				if err := c.leader().engine.Add(context.Background(), "c", addrOf("c")); err == nil {
					t.Error("it was added by the name of another")
				}
				if err := c.leader().engine.Remove("c"); err != nil {
					t.Fatal(err)
				}
				c.until("it is a member again", func() bool {
					return slices.ContainsFunc(c.leader().engine.servers(), func(s raft.Server) bool { return string(s.ID) == n.ID() && s.Suffrage == raft.Voter })
				})
				c.commit(3, 100)
				c.wantEqual()
			})
		})
	}
}

// A database that does not go with its directory is refused: a lost one, an older one, that of another cluster, and one of content of its own.
func TestNotItsCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, small)
		c.commit(3, 100)
		path := filepath.Join(c.dir, "c.db")
		c.stop("c")
		copyFile(t, path, path+".old")
		c.start("c")
		c.commit(100, 2000)
		c.wantEqual()
		c.until("the log was cut off", func() bool { return c.nodes["c"].snaps.last().Applied > 10 })
		c.stop("c")
		refused := func(what, want string) {
			t.Helper()
			copied := c.openCopy("c")
			defer copied.Close()
			o := c.options("c", copied)
			_, o.Transport = raft.NewInmemTransport("")
			e, err := Open(o)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", what, err)
			}
			if err == nil {
				_ = e.Close()
			}
		}
		copyFile(t, path+".old", path)
		refused("an older one", "is an older state")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refused("a lost one", "is not the copy of a cluster that the directory")
		s, err := db.Open(path, db.Options{Logger: c.log})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(&store.Batch{Now: t0, Define: []store.Object{{Kind: store.Topic, Key: "/own", ID: 1, Value: []byte("{}")}}}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(c.dir, "c")); err != nil {
			t.Fatal(err)
		}
		refused("one of its own", ErrNotInitialized.Error())
	})
}

// A database with content goes in by Init, on all nodes, and comes out again where a node is stopped.
func TestExistingDatabase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &three{t: t, dir: t.TempDir(), nodes: map[string]*node{}, log: discard}
		defer c.stopAll()
		path := filepath.Join(c.dir, "a.db")
		s, err := db.Open(path, db.Options{Logger: c.log})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(c.message(100)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		c.found()
		copied := c.nodes["a"].copy
		if err := Init(c.options("a", copied)); err == nil || !strings.Contains(err.Error(), "is that of a node of a cluster already") {
			t.Errorf("Init once more: %v", err)
		}
		c.commit(3, 100)
		c.wantEqual()
		c.stopAll()
		if s, err = db.Open(path, db.Options{Logger: c.log}); err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if img, err := s.Load(); err != nil || len(img.Lanes) != 1 || img.Lanes[0].Tail != c.tail {
			t.Errorf("%+v, %v", img, err)
		}
	})
}

// damaging is a transport on which a byte of each file is another.
type damaging struct{ *raft.InmemTransport }

func (d damaging) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	b, err := io.ReadAll(data)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	return d.InmemTransport.InstallSnapshot(id, target, args, resp, bytes.NewReader(b))
}

// A file that arrives damaged takes nobody's place, and the node waits for another one.
func TestDamagedOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad := true
		c := &three{t: t, dir: t.TempDir(), nodes: map[string]*node{}, log: discard}
		defer c.stopAll()
		c.wrap = func(_ *node, in raft.Transport) raft.Transport {
			if bad {
				return damaging{in.(*raft.InmemTransport)}
			}
			return in
		}
		copied := c.openCopy("a")
		if err := errors.Join(Init(c.options("a", copied)), copied.Close()); err != nil {
			t.Fatal(err)
		}
		c.start("a")
		b := c.start("b")
		c.commit(3, 100)
		c.until("a file was sent", func() bool {
			s := c.leader().engine.Status(context.Background())
			return len(s.Nodes) == 2 && s.Nodes[1].Role == "joining" && s.Nodes[1].Applied == 0
		})
		if empty, err := b.copy.IsEmpty(); err != nil || !empty || b.failed() != nil {
			t.Errorf("empty %v, %v; %v", empty, err, b.failed())
		}
		c.stopAll()
		bad = false
		c.startAll()
		c.wantEqual()
	})
}

// A node that is killed when a file has taken the place of its own, and before it says so, has a file that is ahead of its log. It goes on with it.
func TestFileAhead(t *testing.T) {
	for name, change := range map[string]func(*three){"with the log": func(*three) {}, "behind the log": small} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newThree(t, change)
				c.commit(5, 100)
				c.moveTo("a")
				c.stop("c")
				c.commit(50, 3000)
				n, err := c.nodes["a"].copy.Snapshot()
				if err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(n)
				if err := errors.Join(err, n.Close()); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(c.dir, "c.db"), all, 0o600); err != nil {
					t.Fatal(err)
				}
				c.start("c")
				c.commit(5, 100)
				c.wantEqual()
				c.moveTo("c")
				c.commit(5, 100)
				c.wantEqual()
			})
		})
	}
}

// TestFileBehindSnapshot: a node that was started again sends its file to one that has to have it before anything can be committed, though the file has more than what was
// committed when the log was cut off.
func TestFileBehindSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, small)
		c.moveTo("b")
		c.commit(3, 100)
		c.wantEqual()
		c.stop("c")
		c.commit(200, 1000)
		b := c.nodes["b"]
		if err := b.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		c.commit(3, 1000)
		if err := b.copy.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if first, err := b.logs.FirstIndex(); err != nil || first < 50 || b.copy.Durable() <= b.snaps.last().Index {
			t.Fatalf("the log begins at %d, the file has what is up to %d, and the snapshot is of %d: %v", first, b.copy.Durable(), b.snaps.last().Index, err)
		}
		c.stop("a")
		c.stop("b")
		c.start("b")
		c.start("c")
		c.commit(1, 100)
		c.start("a")
		c.commit(1, 100)
		c.wantEqual()
	})
}

// TestSnapshotOfAFailedCopy: a node that could not apply an entry, and takes a snapshot before its process has ended, applies it when it is started again.
func TestSnapshotOfAFailedCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.commit(3, 100)
		c.wantEqual()
		n := c.follower()
		if err := n.copy.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		n.copy.GiveUp()
		c.commit(1, 100)
		c.until("it has failed", func() bool { return n.failed() != nil })
		if err := n.raft.Snapshot().Error(); err == nil {
			t.Error("it took a snapshot of what it has not")
		}
		c.stop(n.name)
		c.start(n.name)
		c.commit(1, 100)
		c.wantEqual()
	})
}

// counted counts what is logged. Where there is no end to it, the test does not end by itself: fake time stands still meanwhile.
type counted struct {
	slog.Handler
	n atomic.Int64
}

func (h *counted) Enabled(context.Context, slog.Level) bool { return true }
func (h *counted) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *counted) WithGroup(string) slog.Handler            { return h }

func (h *counted) Handle(context.Context, slog.Record) error {
	if h.n.Add(1) > 10_000 {
		panic("it is tried without a pause")
	}
	return nil
}

// TestTransferWithoutFile: where leadership is to be handed on to a node that needs the file, and there is none to be had, that is tried now and then until it is given up.
func TestTransferWithoutFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines counted
		c := newThree(t, small, func(c *three) { c.log = slog.New(&lines) })
		c.moveTo("b")
		time.Sleep(2 * catchUpWait) // lint:sleep fake time
		c.cut("c", true)
		c.commit(200, 1000)
		a := c.nodes["a"]
		c.until("all have it", func() bool { return a.machine.applied.Load() == c.nodes["b"].machine.applied.Load() })
		if err := a.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		if first, err := a.logs.FirstIndex(); err != nil || first < 50 {
			t.Fatalf("the log begins at %d: %v", first, err)
		}
		c.moveTo("a")
		a.copy.GiveUp()
		lines.n.Store(0)
		c.cut("c", false)
		_ = a.Transfer("c") // nil where leadership was lost meanwhile, to whomever
		if c.nodes["c"].Term() != nil {
			t.Error("c leads, which has not what was committed")
		}
		if n := lines.n.Load(); n > 1000 {
			t.Errorf("%d lines were logged", n)
		}
	})
}

// TestUnreadableEntry: a node that needs an entry which its leader cannot read any more gets the file, which has what was in it.
func TestUnreadableEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t)
		c.moveTo("a")
		c.cut("c", true)
		c.commit(2*recentLogs, 1000)
		a := c.nodes["a"]
		c.until("all have it", func() bool { return a.machine.applied.Load() == c.nodes["b"].machine.applied.Load() })
		segment, err := os.OpenFile(filepath.Join(c.dir, "a", "log", "segment-0001.log"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer segment.Close()
		if _, err := segment.WriteAt(make([]byte, 10_000), 20_000); err != nil { // of some 40,000 bytes, of which the end is in memory, too
			t.Fatal(err)
		}
		c.cut("c", false)
		if err := a.Transfer("c"); err != nil {
			t.Log(err) // it may be given up after a heartbeat
		}
		c.wantEqual()
	})
}
