package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
)

// scripted are batches, and what a store has after each of them, the first of all before any.
type scripted struct {
	batches  []*store.Batch
	contents []string
}

func newScript(t *testing.T, n int) *scripted {
	dir := t.TempDir()
	s, _ := openSmall(t, filepath.Join(dir, "script.db"), disktest.NewMem(dir), nil)
	sc := &scripted{contents: []string{mustContent(t, s)}}
	g := newChanges(rand.New(rand.NewPCG(7, 0)), smallLog)
	b := g.first()
	for range n {
		sc.batches = append(sc.batches, copyOf(b))
		if err := s.Commit(b); err != nil {
			t.Fatal(err)
		}
		g.done(b)
		sc.contents = append(sc.contents, mustContent(t, s))
		b = g.next(t, s)
	}
	large := &store.Batch{Now: g.now, Put: []store.Document{{Kind: "large", Key: "1", Value: make([]byte, 2*smallLog)}}}
	sc.batches = append(sc.batches, copyOf(large)) // beyond what the log takes
	if err := s.Commit(large); err != nil {
		t.Fatal(err)
	}
	sc.contents = append(sc.contents, mustContent(t, s))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return sc
}

// Each call for a file of the log fails once, and each for the file that compacting makes, of which a commit of bbolt and a
// flush are one call each: what commits and compacting say of themselves is true, and the database opens afterwards with
// all that was answered.
func TestFaults(t *testing.T) {
	n := 14
	if testing.Short() {
		n = 7
	}
	script := newScript(t, n)
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, kind := range []disktest.Kind{disktest.Before, disktest.Short, disktest.After} {
			t.Run(fmt.Sprint(cause, " ", kind), func(t *testing.T) {
				t.Parallel()
				calls, refused, uncertain, notCompacted := 1, 0, 0, 0
				for ; ; calls++ {
					f := &faultRun{t: t, script: script, dir: realDir(t), cause: cause, kind: kind}
					reached := f.run(calls)
					refused, uncertain = refused+f.refused, uncertain+f.uncertain
					notCompacted += f.notCompacted
					if t.Failed() {
						t.Fatalf("at call %d", calls)
					}
					if !reached {
						break
					}
				}
				t.Logf("%d calls, %d commits refused, %d uncertain, %d times not compacted", calls, refused, uncertain, notCompacted)
				if refused == 0 || uncertain == 0 || notCompacted == 0 {
					t.Error("the test tests nothing")
				}
			})
		}
	}
}

// Each write of bbolt to the database fails once: of a checkpoint, of a large batch, of what it says of the log.
func TestFileFaults(t *testing.T) {
	script := newScript(t, 14)
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, kind := range []disktest.Kind{disktest.Before, disktest.Short, disktest.After} {
			t.Run(fmt.Sprint(cause, " ", kind), func(t *testing.T) {
				calls, step, refused, uncertain := 1, 1, 0, 0
				if testing.Short() {
					step = 5
				}
				for reached := true; reached && !t.Failed(); calls += step {
					synctest.Test(t, func(t *testing.T) { // a checkpoint that failed is tried again after a while
						f := &faultRun{t: t, script: script, dir: realDir(t), cause: cause, kind: kind, ofFile: true}
						reached = f.run(calls)
						refused, uncertain = refused+f.refused, uncertain+f.uncertain
					})
				}
				t.Logf("%d calls, %d commits refused, %d uncertain", calls, refused, uncertain)
				if t.Failed() || refused == 0 || uncertain == 0 && kind == disktest.After {
					t.Error("the test tests nothing, or failed at the last call")
				}
			})
		}
	}
}

// failWrites has what bbolt writes go through a fault.
func failWrites(bolt *bbolt.DB, fault *disktest.Fault) {
	field := reflect.ValueOf(bolt).Elem().FieldByName("ops").FieldByName("writeAt")
	writeAt := (*func([]byte, int64) (int, error))(field.Addr().UnsafePointer())
	write := *writeAt
	*writeAt = func(b []byte, at int64) (n int, err error) {
		err = fault.Write(func(part []byte) error {
			n, err = write(part, at)
			return err
		}, b)
		return n, err
	}
}

type faultRun struct {
	t      *testing.T
	script *scripted
	dir    string
	cause  error
	kind   disktest.Kind
	ofFile bool // what fails is a write of bbolt, instead of a call for another file

	answered, may      int // batches that it has, and that it may have
	refused, uncertain int
	notCompacted       int
}

// run has a call fail, from opening to closing, and tells whether there are as many.
func (f *faultRun) run(call int) (reached bool) {
	fs := splitFS{disktest.NewMem(f.dir), f.dir}
	path := pathIn(f.dir)
	fault := &disktest.Fault{FS: fs, Err: f.cause, Kind: f.kind}
	fault.Fail(call)
	f.use(path, fault)
	s, _ := openSmall(f.t, path, fs, nil)
	wantNoUnfinished(f.t, path)
	f.same(s, f.answered, f.may)
	if err := s.Check(); err != nil {
		f.t.Error(err)
	}
	if err := s.Commit(&store.Batch{Now: t0, Declared: "goes on"}); err != nil {
		f.t.Error(err)
	}
	if err := s.Close(); err != nil {
		f.t.Error(err)
	}
	return fault.Failed()
}

func (f *faultRun) same(s *Store, numbers ...int) {
	f.t.Helper()
	got := mustContent(f.t, s)
	for _, n := range numbers {
		if got == f.script.contents[n] {
			return
		}
	}
	f.t.Errorf("it has not what batch %d came to: %s", numbers[0], difference(got, f.script.contents[numbers[0]]))
}

// use opens the database, again where that fails, commits all batches, and closes it.
func (f *faultRun) use(path string, fault *disktest.Fault) {
	open := func() *Store {
		partly := func(string, bool) error { return fault.Do(func() error { return nil }) }
		o := Options{Logger: silent, LogSize: smallLog, seam: seam{fs: fault, segmentSize: smallLog / 6, large: smallLarge, partly: partly}}
		if f.ofFile {
			o.fs, o.partly = fault.FS, nil
		}
		s, err := Open(path, o)
		if err != nil && errors.Is(err, f.cause) {
			s, err = Open(path, o)
		}
		if err != nil {
			f.t.Fatal(err)
		}
		s.bolt().NoSync, s.bolt().NoGrowSync, s.bolt().AllocSize = true, true, 1<<15
		if f.ofFile {
			failWrites(s.bolt(), fault)
		}
		if _, err := s.Load(); err != nil {
			if errors.Is(err, f.cause) {
				_ = s.Close()
				return nil // it is opened again by the caller
			}
			f.t.Fatal(err)
		}
		return s
	}
	s := open()
	for i := 0; i < len(f.script.batches); {
		if s == nil {
			s = open()
		}
		if i == 3 && !f.compact(s, i) {
			_ = s.Close()
			return
		}
		if i%8 == 6 { // beside what follows
			_, _ = s.compacting.start(false)
		}
		f.may = i + 1
		err := s.Commit(copyOf(f.script.batches[i]))
		switch {
		case err == nil:
			i++
			f.answered = i
			if i%8 == 5 { // as after a power cut: the next start replays the log
				f.abandon(s)
				s = open()
			}
		case errors.Is(err, store.ErrNoSpace), errors.Is(err, store.ErrNotStored):
			f.refused++
			f.may = i
			if errors.Is(err, store.ErrNoSpace) != (f.cause == syscall.ENOSPC) || !errors.Is(err, f.cause) {
				f.t.Errorf("%v says %v", f.cause, err)
			}
			f.same(s, i)
			if err := s.Check(); err != nil {
				f.t.Error(err)
			}
			if !fault.Failed() || f.refused > 3 {
				f.t.Fatalf("refused %d times: %v", f.refused, err)
			}
		default:
			f.uncertain++
			if again := s.Commit(copyOf(f.script.batches[i])); again == nil || errors.Is(again, store.ErrNotStored) || errors.Is(again, store.ErrNoSpace) {
				f.t.Errorf("after %v: %v", err, again)
			}
			_ = s.Close()
			return
		}
	}
	if err := s.Close(); err != nil && !errors.Is(err, f.cause) {
		f.t.Error(err)
	}
}

// compact compacts the database, again where that fails; false: it is not known which file it left.
func (f *faultRun) compact(s *Store, number int) bool {
	for range 2 {
		err := s.Compact(context.Background())
		if err == nil {
			return true
		}
		f.notCompacted++
		if !errors.Is(err, f.cause) {
			f.t.Errorf("%v says %v", f.cause, err)
		}
		if s.failed() != nil {
			f.uncertain++
			if err := s.Commit(&store.Batch{Now: t0}); err == nil {
				f.t.Error("it commits")
			}
			return false
		}
		if errors.Is(err, store.ErrNoSpace) != (f.cause == syscall.ENOSPC) || errors.Is(err, store.ErrNotStored) != (f.cause != syscall.ENOSPC) {
			f.t.Errorf("%v says %v", f.cause, err)
		}
		f.same(s, number)
		if err := s.Check(); err != nil {
			f.t.Error(err)
		}
	}
	f.t.Error("it cannot be compacted any more")
	return false
}

// abandon ends the process, as far as the files are concerned: nothing more is written.
func (f *faultRun) abandon(s *Store) {
	s.fail(os.ErrProcessDone)
	_ = s.Close()
}
