package db

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
)

const gatherTime = 100 * time.Millisecond

// gathering is a database that answers before its log has what it was given.
type gathering struct {
	*Store
	t       *testing.T
	path    string
	mem     *disktest.Mem
	fault   *disktest.Fault
	appends atomic.Int64
	n       int
}

// counted is a log that counts its entries.
type counted struct {
	journal
	n *atomic.Int64
}

func (c counted) Append(number uint64, entry []byte) error {
	c.n.Add(1)
	return c.journal.Append(number, entry)
}

func newGathering(t *testing.T) *gathering {
	dir := t.TempDir()
	mem := disktest.NewMem(dir)
	g := &gathering{t: t, path: filepath.Join(dir, "pipit.db"), mem: mem, fault: &disktest.Fault{FS: mem, Err: syscall.EIO, Kind: disktest.Before}}
	g.open()
	return g
}

func (g *gathering) open() {
	g.t.Helper()
	g.Store, _ = openTest(g.t, g.path, Options{LogSize: smallLog, SyncInterval: gatherTime, seam: seam{fs: g.fault, segmentSize: smallLog / 6}})
	g.put(1) // makes the log
	if err := g.gather.flush(); err != nil {
		g.t.Fatal(err)
	}
	g.turn.Lock()
	g.journal = counted{g.journal, &g.appends}
	g.turn.Unlock()
	g.appends.Store(0)
}

// put commits a document of so many bytes, whose key is the next number.
func (g *gathering) put(size int) {
	g.t.Helper()
	g.n++
	if err := g.Commit(g.batch(size)); err != nil {
		g.t.Fatal(err)
	}
}

func (g *gathering) batch(size int) *store.Batch {
	return &store.Batch{Now: t0, Put: []store.Document{{Kind: "k", Key: fmt.Sprintf("%06d", g.n), Value: make([]byte, size)}}}
}

// keys returns the keys that there are.
func (g *gathering) keys() (keys []string) {
	g.t.Helper()
	if err := g.View(func(r store.Reader) error {
		return r.Documents("k", "", false, func(d store.Document) bool {
			keys = append(keys, d.Key)
			return true
		})
	}); err != nil {
		g.t.Fatal(err)
	}
	return keys
}

// crash ends the process, as far as the files are concerned, and opens them again.
func (g *gathering) crash() {
	g.t.Helper()
	g.fail(os.ErrProcessDone)
	if err := g.Close(); err != nil {
		g.t.Fatal(err)
	}
	g.open()
}

// What is answered is there at once, in the log with one entry when the interval is over, and lost before, and nothing else is.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t)
		for range 10 {
			g.put(10)
		}
		if n := len(g.keys()); n != 11 || g.appends.Load() != 0 {
			t.Errorf("%d documents, %d entries", n, g.appends.Load())
		}
		time.Sleep(gatherTime)
		synctest.Wait()
		if g.appends.Load() != 1 {
			t.Errorf("%d entries after the interval", g.appends.Load())
		}
		time.Sleep(10 * gatherTime)
		synctest.Wait()
		if g.appends.Load() != 1 {
			t.Errorf("%d entries, and nothing came", g.appends.Load())
		}
		for range 10 {
			g.put(10)
		}
		g.crash() // and puts one
		if keys := g.keys(); len(keys) != 12 || keys[10] != "000011" {
			t.Errorf("after the crash: %q", keys)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		g.open()
		if n := len(g.keys()); n != 13 {
			t.Errorf("%d documents after a regular stop", n)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is gathered is bounded: when there is more, or a batch is large, the log has it before the answer.
func TestGatherBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t)
		most, size := 0, g.gather.most/4
		for range 100 {
			g.put(size)
			g.gather.mu.Lock()
			most = max(most, len(g.gather.entry))
			g.gather.mu.Unlock()
		}
		if n := g.appends.Load(); n < 20 || n > 60 || most > g.gather.most {
			t.Errorf("%d entries, %d bytes gathered", n, most)
		}
		g.put(10)
		g.put(g.gather.most)
		if !g.gather.empty() {
			t.Error("a large batch was gathered")
		}
		g.crash()
		if n := len(g.keys()); n != 104 {
			t.Errorf("%d documents", n)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}

// A checkpoint, a backup, and what replaces a secret have the log take what is gathered.
func TestGatherFlushes(t *testing.T) {
	for name, do := range map[string]func(g *gathering) error{
		"checkpoint": func(g *gathering) error { return g.Checkpoint() },
		"backup": func(g *gathering) error {
			return g.Backup(g.t.Context(), g.path+".backup", nil)
		},
		"secret": func(g *gathering) error {
			b := g.batch(10)
			b.Put[0].Secret = true
			return g.Commit(b)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGathering(t)
				g.put(10)
				if err := do(g); err != nil {
					t.Fatal(err)
				}
				if g.appends.Load() == 0 || !g.gather.empty() {
					t.Error("the log does not have it")
				}
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What was answered and cannot be flushed ends all: nothing is written any more.
func TestGatherFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGathering(t)
		g.put(10)
		g.fault.Fail(1)
		time.Sleep(gatherTime)
		synctest.Wait()
		if err := g.CheckFile(); !errors.Is(err, store.ErrFailed) || !errors.Is(err, syscall.EIO) {
			t.Errorf("CheckFile: %v", err)
		}
		if err := g.Commit(g.batch(10)); !errors.Is(err, syscall.EIO) || errors.Is(err, store.ErrNotStored) || errors.Is(err, store.ErrNoSpace) {
			t.Errorf("Commit: %v", err)
		}
		if err := g.Checkpoint(); err == nil {
			t.Error("Checkpoint went well")
		}
		g.crash()
		if keys := g.keys(); len(keys) != 2 || keys[0] != "000001" {
			t.Errorf("%q", keys)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
}
