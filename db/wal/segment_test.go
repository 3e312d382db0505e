package wal

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

// waitMade waits for the segment that is made beside.
func waitMade(l *Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.making {
		l.made.Wait()
	}
}

// Segments are made before they are needed, one by one, up to the size; then the log is full, until some are cut.
func TestFull(t *testing.T) {
	o := crashOptions()
	o.FS = disktest.NewMem("/db")
	l := mustCreate(t, o)
	for {
		if err := l.Append(l.last+1, make([]byte, 1000)); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		waitMade(l)
		want := slices.Index(l.segments, l.current) + 1
		if l.current.end >= l.current.size/2 {
			want = min(want+1, 6)
		}
		if len(l.segments) != want {
			t.Fatalf("%d segments, want %d, with the last one at %d", len(l.segments), want, l.current.end)
		}
	}
	if used, size := l.Stats(); size != o.Size || used < size*9/10 {
		t.Errorf("%d of %d bytes are used", used, size)
	}
	last := l.last
	for range 2 { // it stays so
		if err := l.Append(last+1, make([]byte, 1000)); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if err := l.Cut(last / 2); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, last+1, make([]byte, 1000))
	if err := l.Cut(last + 2); err == nil {
		t.Error("cut what there is not")
	}
	if err := l.Append(last+3, nil); err == nil {
		t.Errorf("got %v", err)
	}
	if err := l.Cut(last + 1); err != nil {
		t.Fatal(err)
	}
	if used, _ := l.Stats(); used != 0 {
		t.Errorf("%d bytes are used of a log that is cut", used)
	}
}

// An entry may be as large as all segments, and not larger; either is known before anything is written.
func TestTooLarge(t *testing.T) {
	o := crashOptions()
	o.FS = disktest.NewMem("/db")
	l := mustCreate(t, o)
	mustAppend(t, l, 1, make([]byte, 10_000))
	low, high := 0, int(o.Size)
	for low+1 < high {
		if n := (low + high) / 2; l.holds(n) {
			low = n
		} else {
			high = n
		}
	}
	if low < int(o.Size)*3/4 {
		t.Errorf("%d bytes of %d", low, o.Size)
	}
	if err := l.Append(2, make([]byte, high)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
	if err := l.Append(2, make([]byte, low)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	if err := l.Cut(1); err != nil {
		t.Fatal(err)
	}
	entry := testEntry(2, 0, low)
	mustAppend(t, l, 2, entry)
	mustClose(t, l)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if got := replayAll(t, l, 1); len(got) != 1 || !bytes.Equal(got[0], entry) {
		t.Errorf("%d entries", len(got))
	}
	if err := l.Append(3, nil); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
}

// noSpace has no room for new files from some time on.
type noSpace struct {
	*disktest.Mem
	full  atomic.Bool
	tries atomic.Int64
}

func (n *noSpace) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := n.Mem.OpenFile(name, flag, perm)
	return &noSpaceFile{f, n}, err
}

type noSpaceFile struct {
	disk.File
	n *noSpace
}

func (f *noSpaceFile) WriteAt(b []byte, at int64) (int, error) {
	if info, err := f.Stat(); err != nil || f.n.full.Load() && at+int64(len(b)) > info.Size() {
		f.n.tries.Add(1)
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, at)
}

// Where the disk has no room for more segments, the log goes on with those that it has.
func TestNoSpace(t *testing.T) {
	o := crashOptions()
	full := &noSpace{Mem: disktest.NewMem("/db")}
	o.FS = full
	l := mustCreate(t, o)
	full.full.Store(true)
	fill := func() (n int) {
		t.Helper()
		for ; ; n++ {
			err := l.Append(l.last+1, make([]byte, 1000))
			if err == nil {
				continue
			}
			if !errors.Is(err, ErrFull) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return n
		}
	}
	for range 3 {
		if n := fill(); n < 25 {
			t.Fatalf("%d entries", n)
		}
		tries := full.tries.Load()
		if n := fill(); n != 0 || full.tries.Load() != tries {
			t.Errorf("%d entries in a full log, and %d tries", n, full.tries.Load()-tries)
		}
		if err := l.Cut(l.last); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := full.ReadDir(o.Dir); err != nil || len(entries) != 1 {
		t.Errorf("%v are left, %v", entries, err)
	}
	full.full.Store(false)
	fillMore := 0
	for l.Append(l.last+1, make([]byte, 1000)) == nil {
		fillMore++
	}
	if fillMore < 100 {
		t.Errorf("%d entries where there is room again", fillMore)
	}
}

// A log is there or it is not, wherever making and removing it is cut off; and both can be done again.
func TestMakeAndRemoveStates(t *testing.T) {
	type (
		removing struct{}
		removed  struct{}
	)
	rec, err := disktest.NewRecorder(disktest.NewMem("/db"), "/db")
	if err != nil {
		t.Fatal(err)
	}
	o := crashOptions()
	o.FS = rec
	l := mustCreate(t, o)
	rec.Mark(created{})
	for range 100 {
		mustAppend(t, l, l.last+1, make([]byte, 1000))
		waitMade(l)
	}
	last := l.last
	rec.Mark(answered{last})
	mustClose(t, l)
	rec.Mark(removing{})
	if err := Remove(rec, o.Dir); err != nil {
		t.Fatal(err)
	}
	rec.Mark(removed{})
	whole, none := 0, 0
	for s := range rec.States(6*rec.Points(), 1) {
		var marks [4]bool // created, answered, removing, removed
		for _, m := range s.Marks {
			switch m.(type) {
			case created:
				marks[0] = true
			case answered:
				marks[1] = true
			case removing:
				marks[2] = true
			case removed:
				marks[3] = true
			}
		}
		o.FS = s.Mem("/db")
		l, err := Open(o)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if marks[0] && !marks[2] {
				t.Fatalf("state %d of point %d: it is not there", s.Seed, s.Point)
			}
			none++
			if err := Remove(o.FS, o.Dir); err != nil {
				t.Fatal(err)
			}
			mustClose(t, mustCreate(t, o))
		case err != nil:
			t.Fatalf("state %d of point %d: %v", s.Seed, s.Point, err)
		default:
			if n := len(replayAll(t, l, 0)); marks[3] || marks[1] && n != int(last) {
				t.Fatalf("state %d of point %d: %d entries", s.Seed, s.Point, n)
			}
			whole++
			mustClose(t, l)
			if err := Remove(o.FS, o.Dir); err != nil {
				t.Fatal(err)
			}
			if entries, err := o.FS.ReadDir("/db"); err != nil || len(entries) != 0 {
				t.Fatalf("%v are left, %v", entries, err)
			}
		}
	}
	if whole == 0 || none == 0 {
		t.Errorf("%d times it was there, %d times not", whole, none)
	}
}
