package wal

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"testing"

	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

// counting counts what changes something.
type counting struct {
	*disktest.Mem
	mu    sync.Mutex
	calls map[string]int
}

func (c *counting) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[what]++
}

func (c *counting) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := c.Mem.OpenFile(name, flag, perm)
	return &countingFile{f, c}, err
}

type countingFile struct {
	disk.File
	c *counting
}

func (f *countingFile) WriteAt(b []byte, at int64) (int, error) {
	f.c.count("write")
	return f.File.WriteAt(b, at)
}

func (f *countingFile) Sync() error {
	f.c.count("sync")
	return f.File.Sync()
}

// An entry of one frame costs one write and one flush, also the first one of a segment.
func TestAppendCalls(t *testing.T) {
	o := crashOptions()
	o.Dir = "/db/log"
	count := &counting{Mem: disktest.NewMem("/db"), calls: map[string]int{}}
	o.FS, o.Size = count, o.SegmentSize*2
	l := mustCreate(t, o)
	for l.Append(l.last+1, make([]byte, 3<<10)) == nil { // until all are made
	}
	if err := l.Cut(l.last); err != nil {
		t.Fatal(err)
	}
	clear(count.calls)
	const n = 100
	for range n {
		mustAppend(t, l, l.last+1, make([]byte, 3<<10))
		if err := l.Cut(l.last); err != nil {
			t.Fatal(err)
		}
	}
	if count.calls["write"] != n || count.calls["sync"] != n {
		t.Errorf("%v for %d entries", count.calls, n)
	}
	if allocs := testing.AllocsPerRun(100, func() {
		mustAppend(t, l, l.last+1, make([]byte, 0, 100))
		_ = l.Cut(l.last)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

// withoutPadding has writes fail but for their last n bytes.
type withoutPadding struct {
	*disktest.Mem
	n int
}

func (w *withoutPadding) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := w.Mem.OpenFile(name, flag, perm)
	return &withoutPaddingFile{f, w}, err
}

type withoutPaddingFile struct {
	disk.File
	w *withoutPadding
}

func (f *withoutPaddingFile) WriteAt(b []byte, at int64) (int, error) {
	if f.w.n == 0 {
		return f.File.WriteAt(b, at)
	}
	n, _ := f.File.WriteAt(b[:len(b)-f.w.n], at)
	f.w.n = 0
	return n, syscall.EIO
}

// A write that failed when all that counts was written is not there all the same.
func TestNotWritten(t *testing.T) {
	for n := 1; n < 9; n++ {
		o := crashOptions()
		o.Dir = "/db/log"
		short := &withoutPadding{Mem: disktest.NewMem("/db")}
		o.FS = short
		l := mustCreate(t, o)
		for range 100 { // so that what is behind the last one are no zeros
			mustAppend(t, l, l.last+1, bytes.Repeat([]byte{1}, 1000))
			if err := l.Cut(l.last); err != nil {
				t.Fatal(err)
			}
		}
		after := l.last
		short.n = n
		if err := l.Append(after+1, []byte{1}); !errors.Is(err, ErrNotWritten) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		mustClose(t, l)
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := replayAll(t, l, after); len(got) != 0 {
			t.Errorf("without %d bytes: %q", n, got)
		}
	}
}

// Frames of an entry that could not be written do not complete the next one with its number.
func TestNotWrittenChunks(t *testing.T) {
	fault := &disktest.Fault{FS: disktest.NewMem("/db"), Err: syscall.EIO}
	rec, err := disktest.NewRecorder(fault, "/db")
	if err != nil {
		t.Fatal(err)
	}
	o := crashOptions()
	o.FS = rec
	l := mustCreate(t, o)
	const size = 12 << 10
	fault.Fail(2)
	if err := l.Append(1, testEntry(1, 1, size)); !errors.Is(err, ErrNotWritten) {
		t.Fatal(err)
	}
	rec.Mark(failed{1})
	mustAppend(t, l, 1, testEntry(1, 2, size))
	mustClose(t, l)
	found := 0
	for s := range rec.States(400*rec.Points(), 1) {
		if len(s.Marks) == 0 {
			continue
		}
		o.FS = s.Mem("/db")
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range replayAll(t, l, 0) {
			found++
			if !bytes.Equal(entry, testEntry(1, 2, size)) {
				t.Fatalf("state %d of point %d: none that was appended", s.Seed, s.Point)
			}
		}
	}
	if found == 0 {
		t.Error("it is nowhere")
	}
}

// Whatever call fails: what was answered is there, what was said not to be is not, and the log opens.
func TestFaults(t *testing.T) {
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC} {
		for kind := disktest.Before; kind <= disktest.After; kind++ {
			for n, more := 1, true; more; n++ {
				fault := &disktest.Fault{FS: disktest.NewMem("/db"), Err: errno, Kind: kind}
				more = faulty(t, fault, n)
				if t.Failed() {
					t.Fatalf("call %d, %v, kind %d", n, errno, kind)
				}
			}
		}
	}
}

// faulty has one call of a life of a log fail, and tells whether it came.
func faulty(t *testing.T, fault *disktest.Fault, n int) bool {
	o := crashOptions()
	o.FS = fault
	o.Size = 3 * o.SegmentSize
	k := known{entries: map[uint64]tried{}}
	fault.Fail(n)
	l, err := Create(o)
	for again := 0; err == nil && again < 2; again++ {
		k.created = true
		if err = l.Replay(k.after, func(uint64, []byte) error { return nil }); err == nil {
			k.answered = l.last
			err = life(t, l, &k)
		}
		_ = l.Close()
		if err == nil {
			l, err = Open(o)
		}
	}
	if err == nil {
		err = l.Close()
	}
	came := fault.Failed()
	if err != nil && !came {
		t.Fatal(err)
	}
	if err != nil && !errors.Is(err, fault.Err) {
		t.Errorf("%v does not say why", err)
	}
	fault.Fail(0)
	if !k.created { // it may have been, all the same
		l, err := Open(o)
		if err == nil {
			mustClose(t, l)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		} else if l, err = Create(o); err != nil {
			t.Fatal(err)
		} else {
			mustClose(t, l)
		}
		return came
	}
	mustClose(t, k.open(t, o))
	if err := Remove(fault, o.Dir); err != nil {
		t.Fatal(err)
	}
	// A Remove that fails can be done again.
	return came
}

// life appends, wipes and cuts.
func life(t *testing.T, l *Log, k *known) error {
	for range 12 {
		number := k.answered + 1
		size := number * 700 % 20000
		k.mark(tried{number, number, size})
		err := l.Append(number, testEntry(number, number, int(size)))
		switch {
		case err == nil:
			k.mark(answered{number})
		case errors.Is(err, ErrFull):
			k.mark(failed{number})
			k.mark(moved{k.answered})
			if err := l.Cut(k.answered); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, ErrNotWritten):
			k.mark(failed{number})
		case errors.Is(err, ErrUncertain):
			if again := l.Append(number, nil); !errors.Is(again, ErrUncertain) {
				t.Errorf("it was appended after %v: %v", err, again)
			}
			return err
		default:
			t.Fatal(err)
		}
		if number%5 == 0 {
			l.StartWipe()
		}
		_, _ = l.WipeStep()
	}
	return nil
}
