package db

import (
	"bytes"
	"errors"
	"flag"
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
	crashStates = flag.Int("crashstates", 1000, "how many states after a power cut TestCrashStates looks at")
	crashSeed   = flag.Uint64("crashseed", 0, "what TestCrashStates begins with; 0: the time")
)

// What happens to a database, as marks of a disktest.Recorder, by the number of the batch.
type (
	tried    int
	answered int
	refused  int // nothing is stored
)

// crashRun is a database that is used, and whose power is cut, again and again.
type crashRun struct {
	t      *testing.T
	rnd    *rand.Rand
	dir    string // of the database; its log is in fs alone
	states string // the folder of what a power cut left
	fs     *disktest.Mem
	shadow *Store // has what the batches come to
	now    *changes
	base   int              // the last batch when the recording began
	number int              // the last batch
	models map[int]*changes // by the number of the last batch

	mu       sync.Mutex
	contents map[int]string // by the number of the last batch

	sum *crashSum
}

type crashSum struct{ states, recordings, commits, refused, uncertain, written, closed int }

// Each state that a power cut can leave, while batches are committed, read, brought into the file and wiped, and while the
// database is closed and opened, opens, is whole, and has all batches that were answered and nothing else, but perhaps the
// one that was being committed. It can be gone on with.
func TestCrashStates(t *testing.T) {
	const generations, each, steps = 3, 60, 25
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	var sum crashSum
	for ; sum.states < *crashStates && !t.Failed(); seed++ {
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
}

func newCrashRun(t *testing.T, seed uint64, sum *crashSum) *crashRun {
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := &crashRun{t: t, rnd: rnd, dir: t.TempDir(), states: t.TempDir(), now: newChanges(rnd, smallLog*3/2), models: map[int]*changes{}, contents: map[int]string{}, sum: sum}
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

// restore makes the state in a folder of the operating system, but for its log, which is in the file system that it returns.
func restore(t *testing.T, state *disktest.State, dir string) (fs *disktest.Mem, file []byte) {
	t.Helper()
	fs = state.Mem(dir)
	f, err := fs.OpenFile(pathIn(dir), os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	file = make([]byte, info.Size())
	if _, err := f.ReadAt(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(pathIn(dir), file, 0o600); err != nil {
		t.Fatal(err)
	}
	return fs, file
}

// goOn goes on with what a power cut left, which has that many batches.
func (c *crashRun) goOn(state *disktest.State, number int) {
	c.t.Helper()
	c.fs, _ = restore(c.t, state, c.dir)
	dir := c.t.TempDir()
	fs, _ := restore(c.t, state, dir)
	if c.shadow != nil {
		if err := c.shadow.Close(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.shadow, _ = openTest(c.t, pathIn(dir), 16<<20, seam{fs: fs, segmentSize: smallLog / 6})
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
	file, err := os.ReadFile(pathIn(c.dir))
	if err != nil {
		c.t.Fatal(err)
	}
	written := func() {
		now, err := os.ReadFile(pathIn(c.dir))
		if err == nil && !bytes.Equal(now, file) {
			c.sum.written++
			err = rec.Foreign(pathIn(c.dir), pageSize, file, now, disktest.Bolt()...)
			file = now
		}
		if err != nil {
			c.t.Error(err)
		}
	}
	open := func() *Store {
		s, _ := openSmall(c.t, pathIn(c.dir), rec, written)
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
			s = open()
		}
	}
	fault.Fail(0)
	if err := s.Close(); err != nil {
		c.t.Fatal(err)
	}
	return rec
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
	switch c.rnd.IntN(10) {
	case 0:
		beside.Go(func() { _ = s.Checkpoint() })
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
			may = last
		case answered:
			last, may = int(m), int(m)
		}
	}
	fs, _ := restore(c.t, state, c.states)
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
	number := c.same(s, last, may)
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
	if err := s.Close(); err != nil {
		c.t.Error(err)
	}
	return number
}
