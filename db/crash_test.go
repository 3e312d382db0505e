package db

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

var (
	crashStates = flag.Int("crashstates", 2000, "how many states after a power cut TestCrashStates looks at, a quarter with -short")
	crashSeed   = flag.Uint64("crashseed", 0, "what TestCrashStates begins with; 0: the time")
)

// What happens to a database, as marks of a disktest.Recorder, by the number of the batch.
type (
	tried    int
	answered int
	durable  int // where answers come before the log has a batch
	refused  int // nothing is stored
)

// crashRun is a database that is used, and whose power is cut, again and again.
type crashRun struct {
	t      *testing.T
	rnd    *rand.Rand
	dir    string // of the database
	early  bool   // batches are answered before the log has them
	large  int64  // bytes of a batch that goes past the log
	states string // the folder of what a power cut left
	fs     disk.FS
	shadow *Store // has what the batches come to
	now    *changes
	base   int              // the last batch when the recording began
	number int              // the last batch
	models map[int]*changes // by the number of the last batch

	mu       sync.Mutex
	contents map[int]string // by the number of the last batch

	sum *crashSum
}

type crashSum struct {
	states, recordings, commits, refused, uncertain, written, closed int
	compacted, backups                                               int
	lost                                                             int // batches, of all states
	unfinished                                                       int // states with a file that was not to take the place
}

// Each state that a power cut can leave, while batches are committed, read, brought into the file and wiped, while the
// database is compacted and backed up, and while it is closed and opened, opens, is whole, and has all batches that were
// answered and nothing else, but perhaps the one that was being committed; where batches are answered before the log has them, all
// up to one, and at least those that were flushed. It can be gone on with.
//
// The log, and what happens to names, is recorded as it is done. What bbolt writes is not: it is read back after each commit.
// A commit to the database is taken for pages, a flush, the two that say which of them count, and a flush, as bbolt does it.
// A commit to the file that compacting makes, which does not flush, is taken for pages that come to the disk in any order or
// not at all, until compacting flushes them.
func TestCrashStates(t *testing.T) {
	const generations, each, steps = 3, 60, 25
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	most := *crashStates
	if testing.Short() {
		most /= 4
	}
	var sum crashSum
	for ; sum.states < most && !t.Failed(); seed++ {
		t.Run("", func(t *testing.T) {
			c := newCrashRun(t, seed, &sum)
			for range generations {
				c.look(c.record(steps), each)
			}
			if err := c.shadow.Close(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("-crashseed %d", seed)
			}
		})
	}
	t.Logf("%+v", sum)
	if sum.compacted == 0 || sum.unfinished == 0 || sum.backups == 0 {
		t.Error("it was not compacted, or not backed up")
	}
}

func newCrashRun(t *testing.T, seed uint64, sum *crashSum) *crashRun {
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := &crashRun{t: t, rnd: rnd, dir: realDir(t), states: realDir(t), now: newChanges(rnd, smallLog*3/2), models: map[int]*changes{}, contents: map[int]string{}, sum: sum}
	c.early = rnd.IntN(2) == 0
	c.large = smallLarge << (4 * rnd.IntN(2))
	s, _ := openSmall(t, pathIn(c.dir), disktest.NewMem(c.dir), nil)
	if err := s.Commit(c.now.first()); err != nil {
		t.Fatal(err)
	}
	c.contents[0], c.models[0] = mustContent(t, s), c.now.clone()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	head, err := readHead(pathIn(c.dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(pathIn(c.dir), int64(head.HighWater)*head.PageSize); err != nil { // without what making it reserved
		t.Fatal(err)
	}
	rec, err := disktest.NewRecorder(disk.OS, c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for state := range rec.States(1, 0) {
		c.goOn(state, 0)
	}
	return c
}

func pathIn(dir string) string { return filepath.Join(dir, "pipit.db") }

// realDir returns a folder without symbolic links in its name, as compacting names it.
func realDir(t *testing.T) string {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// splitFS is a folder whose files that bbolt opens are the operating system's; its log is in memory.
type splitFS struct {
	*disktest.Mem
	dir string
}

func (s splitFS) of(name string) disk.FS {
	if path := pathIn(s.dir); name == path || name == path+unfinished {
		return disk.OS
	}
	return s.Mem
}

func (s splitFS) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	return s.of(name).OpenFile(name, flag, perm)
}

func (s splitFS) Rename(from, to string) error { return s.of(from).Rename(from, to) }

func (s splitFS) Remove(name string) error { return s.of(name).Remove(name) }

func (s splitFS) Stat(name string) (fs.FileInfo, error) { return s.of(name).Stat(name) }

func (s splitFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := s.Mem.ReadDir(name)
	if err != nil || name != s.dir {
		return entries, err
	}
	files, err := disk.OS.ReadDir(name)
	return append(entries, files...), err
}

// restore makes the state in a folder, which then has nothing else, and returns it.
func restore(t *testing.T, state *disktest.State, dir string) splitFS {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	to := splitFS{state.Mem(dir), dir}
	entries, err := to.Mem.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := filepath.Join(dir, e.Name()); !e.IsDir() {
			if err := os.WriteFile(name, contentOf(t, to.Mem, name), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := to.Mem.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

func contentOf(t *testing.T, in disk.FS, name string) []byte {
	t.Helper()
	f, err := in.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil && len(b) > 0 {
		t.Fatal(err)
	}
	return b
}

// goOn goes on with what a power cut left, which has that many batches.
func (c *crashRun) goOn(state *disktest.State, number int) {
	c.t.Helper()
	c.fs = restore(c.t, state, c.dir)
	dir := realDir(c.t)
	fs := restore(c.t, state, dir)
	if c.shadow != nil {
		if err := c.shadow.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.shadow, _ = openTest(c.t, pathIn(dir), Options{LogSize: 16 << 20, seam: seam{fs: fs, segmentSize: smallLog / 6}})
	c.shadow.freezeAt = 8 << 20
	c.base, c.number, c.now = number, number, c.models[number].clone()
}

// record opens the database, uses and closes it, and returns what was recorded.
func (c *crashRun) record(steps int) *disktest.Recorder {
	c.t.Helper()
	c.sum.recordings++
	fault := &disktest.Fault{FS: c.fs, Err: syscall.EIO, Kind: disktest.Kind(c.rnd.IntN(2))}
	rec, err := disktest.NewRecorder(fault, c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	b := &foreign{t: c.t, Recorder: rec, had: map[string][]byte{}, sum: c.sum}
	b.had[pathIn(c.dir)], err = os.ReadFile(pathIn(c.dir))
	if err != nil {
		c.t.Fatal(err)
	}
	open := func() *Store {
		with := Options{LogSize: smallLog, seam: seam{fs: b, segmentSize: smallLog / 6, large: c.large, written: func() { b.committed(pathIn(c.dir)) }, partly: b.partly}}
		if c.early {
			with.SyncInterval = time.Hour
		}
		s, _ := openTest(c.t, pathIn(c.dir), with)
		s.compactPart = 1<<10 + c.rnd.IntN(64<<10)
		c.same(s, c.number)
		return s
	}
	s := open()
	for range steps {
		if !c.step(rec, fault, s) {
			c.sum.uncertain++
			break
		}
		fault.Fail(0)
		if c.rnd.IntN(20) == 0 {
			c.sum.closed++
			if err := s.Close(); err != nil {
				c.t.Fatal(err)
			}
			rec.Mark(durable(c.number))
			s = open()
		}
	}
	fault.Fail(0)
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
	return rec
}

// foreign records what bbolt writes, of which it knows what the files had.
type foreign struct {
	*disktest.Recorder
	t   *testing.T
	mu  sync.Mutex        // segments of the log are renamed, too, by whoever makes one
	had map[string][]byte // guarded by mu
	sum *crashSum
}

// now returns what a file had and has.
func (f *foreign) now(path string) (had, has []byte, changed bool) {
	has, err := os.ReadFile(path)
	if err != nil {
		f.t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	had = f.had[path]
	f.had[path] = has
	return had, has, !bytes.Equal(had, has)
}

func (f *foreign) committed(path string) {
	if had, has, changed := f.now(path); changed {
		f.sum.written++
		if err := f.Foreign(path, pageSize, had, has, disktest.Bolt()...); err != nil {
			f.t.Error(err)
		}
	}
}

func (f *foreign) partly(path string, flushed bool) error {
	if flushed {
		return f.Flushed(path)
	}
	had, has, _ := f.now(path)
	return f.Unflushed(path, pageSize, had, has)
}

func (f *foreign) Rename(from, to string) error {
	err := f.Recorder.Rename(from, to)
	f.mu.Lock()
	defer f.mu.Unlock()
	if had, ok := f.had[from]; ok && err == nil {
		f.had[to] = had
		delete(f.had, from)
		f.sum.compacted++
	}
	return err
}

func (f *foreign) Remove(name string) error {
	err := f.Recorder.Remove(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		delete(f.had, name)
	}
	return err
}

// same compares what a store has with what it is to have after one of the batches, and returns which one that is.
func (c *crashRun) same(s *Store, numbers ...int) int {
	c.t.Helper()
	got, err := content(s)
	if err != nil {
		c.t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range numbers {
		if got == c.contents[n] {
			return n
		}
	}
	for _, n := range numbers {
		c.t.Errorf("it has not what batch %d came to:\n%s", n, difference(got, c.contents[n]))
	}
	return numbers[0]
}

// step makes one commit, beside a reader, and what else there is to do; false: it is not known what it did.
func (c *crashRun) step(rec *disktest.Recorder, fault *disktest.Fault, s *Store) bool {
	b := c.now.next(c.t, c.shadow)
	again := copyOf(b)
	if err := c.shadow.Commit(b); err != nil {
		c.t.Fatal(err)
	}
	c.now.done(b)
	number := c.number + 1
	c.models[number] = c.now.clone()
	has := mustContent(c.t, c.shadow)
	c.mu.Lock()
	c.contents[number] = has
	c.mu.Unlock()

	var beside sync.WaitGroup
	defer beside.Wait()
	var stop atomic.Bool
	defer stop.Store(true)
	beside.Go(func() {
		for !stop.Load() {
			c.same(s, number-1, number)
		}
	})
	switch c.rnd.IntN(14) {
	case 0:
		beside.Go(func() { _ = s.Checkpoint() })
	case 4, 5, 6: // it goes on beside the next steps
		_, _ = s.compacting.start(false)
	case 7:
		beside.Go(func() { c.backup(s, number-1, number) })
	case 1:
		fault.Fail(1 + c.rnd.IntN(6))
	case 2, 3:
		time.Sleep(time.Duration(c.rnd.IntN(4)) * wipeRest) // lint:sleep so that wiping comes on; nothing depends on it
	}
	for {
		rec.Mark(tried(number))
		err := s.Commit(again)
		if err != nil && !errors.Is(err, syscall.EIO) {
			c.t.Fatal(err)
		}
		switch {
		case err == nil:
			rec.Mark(answered(number))
			c.sum.commits++
			c.number = number
			for i := range b.Remove {
				if b.Remove[i] != again.Remove[i] {
					c.t.Errorf("removed %+v instead of %+v", again.Remove[i], b.Remove[i])
				}
			}
			if c.early && c.rnd.IntN(4) == 0 {
				if err := s.gather.flush(); err != nil {
					return false
				}
				rec.Mark(durable(number))
			}
			return true
		case errors.Is(err, store.ErrNotStored):
			rec.Mark(refused(number))
			c.sum.refused++
			c.same(s, number-1)
		default:
			return false
		}
	}
}

// backup makes a backup, which has what a store has.
func (c *crashRun) backup(s *Store, numbers ...int) {
	dir := c.t.TempDir()
	if err := s.Backup(context.Background(), pathIn(dir), nil); err != nil {
		if !errors.Is(err, syscall.EIO) {
			c.t.Error(err)
		}
		return
	}
	c.sum.backups++
	copied, _ := openTest(c.t, pathIn(dir), Options{LogSize: smallLog, seam: seam{fs: disktest.NewMem(dir)}})
	c.same(copied, numbers...)
	if err := copied.Close(); err != nil {
		c.t.Error(err)
	}
}

// look looks at n states of a recording, and goes on with one of them.
func (c *crashRun) look(rec *disktest.Recorder, n int) {
	keep, i := c.rnd.IntN(n), 0
	before := c.base
	for state := range rec.States(n, c.rnd.Uint64()) {
		number := c.state(state, before, i%4 == 0)
		if c.t.Failed() {
			c.t.Fatalf("state %d of point %d of %d", state.Seed, state.Point, rec.Points())
		}
		if i == keep {
			c.goOn(state, number)
		}
		i++
	}
	c.sum.states += n
}

// state opens what a power cut left, compares it, perhaps goes on with it, and returns the number of the last batch that it had.
func (c *crashRun) state(state *disktest.State, before int, goOn bool) int {
	last, may := before, before
	for _, m := range state.Marks {
		switch m := m.(type) {
		case tried:
			may = int(m)
		case refused:
			may = int(m) - 1
		case answered:
			if may = int(m); !c.early {
				last = may
			}
		case durable:
			last = int(m)
		}
	}
	fs := restore(c.t, state, c.states)
	if _, err := os.Stat(pathIn(c.states) + unfinished); err == nil {
		c.sum.unfinished++
	}
	var allowed []int // nothing between two of them is lost
	for n := last; n <= may; n++ {
		allowed = append(allowed, n)
	}
	open := func() *Store {
		s, err := Open(pathIn(c.states), Options{Logger: silent, LogSize: smallLog, leave: !goOn, seam: seam{fs: fs, segmentSize: smallLog / 6}})
		if err != nil {
			c.t.Fatalf("state %d of point %d: %v", state.Seed, state.Point, err)
		}
		s.bolt().NoSync, s.bolt().NoGrowSync, s.bolt().AllocSize = true, true, 1<<15
		if _, err := s.Load(); err != nil {
			c.t.Fatalf("state %d of point %d: %v", state.Seed, state.Point, err)
		}
		return s
	}
	s := open()
	number := c.same(s, allowed...)
	c.sum.lost += may - number
	if err := s.Check(); err != nil {
		c.t.Error(err)
	}
	if !goOn {
		if err := s.Close(); err != nil {
			c.t.Error(err)
		}
		return number
	}
	// It can be gone on with.
	b := &store.Batch{Now: t0, Put: []store.Document{{Kind: "crash", Key: "after", Value: []byte{1}}}}
	if err := s.Commit(b); err != nil {
		c.t.Error(err)
	}
	want := mustContent(c.t, s)
	if err := s.Close(); err != nil {
		c.t.Error(err)
	}
	s = open()
	if got := mustContent(c.t, s); got != want {
		c.t.Errorf("closed and opened: %s", difference(got, want))
	}
	wantNoUnfinished(c.t, pathIn(c.states))
	if err := s.Close(); err != nil {
		c.t.Error(err)
	}
	return number
}
