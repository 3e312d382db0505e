package cluster

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"

	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

// stepped is a file system that tells of what is about to change.
type stepped struct {
	disk.FS
	step func(what string)
}

type steppedFile struct {
	disk.File
	name string
	step func(what string)
}

func (s stepped) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	if flag&os.O_CREATE != 0 {
		s.step("make " + name)
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return steppedFile{f, name, s.step}, nil
}

func (s stepped) Rename(from, to string) error {
	s.step("rename " + from)
	return s.FS.Rename(from, to)
}

func (s stepped) Remove(name string) error {
	s.step("remove " + name)
	return s.FS.Remove(name)
}

func (s stepped) SyncDir(name string) error {
	s.step("flush folder " + name)
	return s.FS.SyncDir(name)
}

func (f steppedFile) WriteAt(b []byte, at int64) (int, error) {
	if len(b) > 1 { // what is torn is found by its checksum
		f.step("write to " + f.name)
		if n, err := f.File.WriteAt(b[:len(b)/2], at); err != nil {
			return n, err
		}
	}
	f.step("write all to " + f.name)
	return f.File.WriteAt(b, at)
}

func (f steppedFile) Truncate(size int64) error {
	f.step("truncate " + f.name)
	return f.File.Truncate(size)
}

func (f steppedFile) Sync() error {
	f.step("flush " + f.name)
	return f.File.Sync()
}

// watched are nodes one of which is looked at whenever its files are about to change.
type watched struct {
	*three
	name string // of that one; empty: none

	mu     sync.Mutex
	states []state
}

// state is what a node that is killed at a moment leaves.
type state struct {
	before string // which call
	files  map[string][]byte
}

func (w *watched) step(name string) func(what string) {
	return func(what string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.name == name {
			w.states = append(w.states, state{strings.ReplaceAll(what, w.dir, ""), w.keep()})
		}
	}
}

// watch begins with a node, or ends with ""; it returns the states until then.
func (w *watched) watch(name string) []state {
	w.mu.Lock()
	defer w.mu.Unlock()
	states := w.states
	w.name, w.states = name, nil
	return states
}

// keep returns what the files of the node have.
func (w *watched) keep() map[string][]byte {
	kept := map[string][]byte{}
	for _, top := range []string{w.name, w.name + ".db", w.name + ".db.incoming"} {
		if err := disktest.ReadTree(kept, filepath.Join(w.dir, top)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.t.Error(err)
		}
	}
	return kept
}

// goOn starts a stopped node with files that were kept.
func (w *watched) goOn(name string, s *state) *node {
	w.t.Helper()
	w.erase(name)
	if err := os.RemoveAll(filepath.Join(w.dir, name+".db.incoming")); err != nil {
		w.t.Fatal(err)
	}
	for path, b := range s.files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			w.t.Fatal(err)
		}
	}
	return w.start(name)
}

// check has a node go on from each of the states, and catch up.
func (w *watched) check(name string, states []state) {
	w.t.Helper()
	stride := 1
	if testing.Short() {
		stride = 1 + len(states)/2
	}
	for i := 0; i < len(states); i += stride {
		w.stop(name)
		n := w.goOn(name, &states[i])
		w.commit(1, 100)
		w.wantEqual()
		if err := n.failed(); err != nil || w.t.Failed() {
			w.t.Fatalf("killed before step %d of %d, %s: %v", i, len(states), states[i].before, err)
		}
	}
}

func newWatched(t *testing.T, change ...func(*three)) *watched {
	w := &watched{}
	w.three = newThree(t, append(change, func(c *three) {
		w.three = c
		c.fs = func(name string) disk.FS { return stepped{disk.OS, w.step(name)} }
		c.wrap = func(_ *node, in raft.Transport) raft.Transport {
			return &slow{in.(*raft.InmemTransport), func() { w.step("c")("go on receiving") }}
		}
	})...)
	return w
}

// slow is a transport that tells of each part of a file before it sends that.
type slow struct {
	*raft.InmemTransport
	part func()
}

func (s *slow) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	return s.InmemTransport.InstallSnapshot(id, target, args, resp, readerFunc(func(b []byte) (int, error) {
		s.part()
		return data.Read(b[:min(len(b), 16<<10)])
	}))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// fallBehind stops c, and has the logs of the others begin behind what it has.
func (w *watched) fallBehind() {
	w.t.Helper()
	w.moveTo("a")
	w.stop("c")
	behind := w.nodes["a"].machine.applied.Load()
	for w.nodes["a"].firstIndex() <= behind || w.nodes["b"].firstIndex() <= behind {
		w.commit(20, 2000)
		w.until("the log is cut off", func() bool {
			_, size, most := w.nodes["a"].logs.stats()
			return size <= 2*most
		})
	}
}

// A node that is killed while it gets a file, at any step of that, goes on: with its old file, or with the new one.
func TestKilledWhileInstalling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, small)
		w.commit(3, 100)
		w.fallBehind()
		w.watch("c")
		w.start("c")
		w.wantEqual()
		states := w.watch("")
		seen := map[string]bool{}
		for _, s := range states {
			seen[s.before] = true
		}
		for _, want := range []string{"go on receiving", "rename /c.db.incoming", "flush folder "} {
			if !seen[want] {
				t.Errorf("%d states, and none before: %s; there are %v", len(states), want, seen)
			}
		}
		w.check("c", states)
	})
}

// A node that is killed between the chunks of a batch, at any step of writing them to its log, has the whole batch in the end, be it one that leads or
// one that follows.
func TestKilledBetweenChunks(t *testing.T) {
	for _, name := range []string{"a", "c"} {
		if testing.Short() && name == "a" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(t)
				w.commit(3, 100)
				w.moveTo("a")
				w.watch(name)
				w.commit(1, 5*chunkSize/2)
				w.wantEqual()
				states := w.watch("")
				if len(states) < 6 {
					t.Errorf("%d states", len(states))
				}
				w.check(name, states)
			})
		})
	}
}

// A file that cannot be put in its place ends the node that gets it, which says why, and no other one; it goes on when it is started again.
func TestInstallFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := &disktest.Fault{FS: disk.OS, Err: syscall.EIO}
		var w *watched
		var at atomic.Int64 // which call is to fail, from when the file comes
		w = newWatched(t, small, func(c *three) {
			c.fs = func(name string) disk.FS { return disk.OS }
		})
		w.wrap = func(_ *node, in raft.Transport) raft.Transport {
			return &slow{in.(*raft.InmemTransport), func() {
				if n := at.Swap(0); n != 0 {
					fault.Fail(int(n))
				}
			}}
		}
		w.fs = func(name string) disk.FS {
			if name == "c" {
				return fault
			}
			return disk.OS
		}
		w.commit(3, 100)
		w.stop("a")
		w.start("a")
		w.stop("b")
		w.start("b")
		w.wantEqual()
		w.fallBehind()
		w.name = "c"
		before := state{files: w.keep()}
		w.name = ""
		failures := 0
		for call := int64(1); ; call++ {
			if testing.Short() && call > 3 { // the last one of those that put it in place
				break
			}
			at.Store(call)
			n := w.goOn("c", &before)
			w.commit(3, 100)
			w.until("c has all, or failed", func() bool {
				m, err := n.copy.Applied()
				return n.failed() != nil || err == nil && m.Number == w.tail
			})
			failed := fault.Failed()
			fault.Fail(0)
			if err := n.failed(); err != nil {
				failures++
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("call %d: %v", call, err)
				}
			}
			for _, other := range []string{"a", "b"} {
				if err := w.nodes[other].failed(); err != nil {
					t.Fatalf("call %d of c: %s: %v", call, other, err)
				}
			}
			w.stop("c")
			w.start("c")
			w.commit(1, 100)
			if w.wantEqual(); t.Failed() {
				t.Fatalf("after call %d", call)
			}
			w.stop("c")
			if !failed {
				break
			}
		}
		if failures < 3 {
			t.Errorf("%d failures", failures)
		}
	})
}
