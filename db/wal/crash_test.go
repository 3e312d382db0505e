package wal

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

var crashStates = flag.Int("crashstates", 3000, "how many states after a power cut TestCrashStates looks at")

// What happens to a log, as marks of a disktest.Recorder.
type (
	created  struct{}
	tried    struct{ number, salt, size uint64 }
	failed   struct{ number uint64 } // nothing is written
	answered struct{ number uint64 }
	moved    struct{ number uint64 } // the database has all up to it
)

// known is what is known of a log: what it must have, and what it may have.
type known struct {
	created         bool
	after, answered uint64
	entries         map[uint64]tried
}

func (k *known) mark(v any) {
	switch v := v.(type) {
	case created:
		k.created = true
	case tried:
		k.entries[v.number] = v
	case failed:
		delete(k.entries, v.number)
	case answered:
		k.answered = v.number
	case moved:
		k.after = v.number
	}
}

// open opens the log, and compares what it has. The last one that it has is answered from now on.
func (k *known) open(t *testing.T, o Options) *Log {
	l, err := Open(o)
	if errors.Is(err, fs.ErrNotExist) && !k.created {
		l, err = Create(o)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.created = true
	last := k.after
	if err := l.Replay(k.after, func(number uint64, entry []byte) error {
		last = number
		e, ok := k.entries[number]
		if !ok || !bytes.Equal(entry, testEntry(number, e.salt, int(e.size))) {
			t.Fatalf("entry %d is none that was appended", number)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last < k.answered {
		t.Fatalf("the last entry is %d, answered was %d", last, k.answered)
	}
	k.answered = last
	return l
}

// session opens a log, uses it and says by marks what it does.
func session(t *testing.T, rec *disktest.Recorder, fault *disktest.Fault, k known, o Options, rnd *rand.Rand, steps int) {
	o.FS = rec
	l := k.open(t, o)
	mark := func(v any) { rec.Mark(v); k.mark(v) }
	mark(created{})
	mark(answered{k.answered})
	var beside sync.WaitGroup
	for i := 0; i < steps; i++ {
		number := k.answered + 1
		size := rnd.Uint64N(300)
		switch rnd.IntN(12) {
		case 0:
			size = rnd.Uint64N(40 << 10)
		case 1:
			through := k.after + rnd.Uint64N(k.answered-k.after+1)
			mark(moved{through})
			beside.Go(func() { _ = l.Cut(through) })
			continue
		case 2:
			l.StartWipe()
			continue
		case 3, 4:
			beside.Go(func() { _, _ = l.WipeStep() })
		case 5:
			if rnd.IntN(2) == 0 {
				fault.Fail(1 + rnd.IntN(4))
			}
		}
		mark(tried{number, rnd.Uint64(), size})
		err := l.Append(number, testEntry(number, k.entries[number].salt, int(size)))
		switch {
		case err == nil:
			mark(answered{number})
		case errors.Is(err, ErrFull):
			mark(failed{number})
			mark(moved{k.answered})
			if err := l.Cut(k.answered); err != nil {
				t.Fatal(err)
			}
		case errors.Is(err, ErrNotWritten):
			mark(failed{number})
		case errors.Is(err, ErrUncertain):
			i = steps
		default:
			t.Fatal(err)
		}
	}
	beside.Wait()
	if err := l.Close(); err != nil && !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// Each state that a power cut can leave opens, and has all that was answered, and nothing but what was appended; also where
// the log had been opened after a power cut before.
func TestCrashStates(t *testing.T) {
	const generations, each = 3, 50
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	left := *crashStates
	if testing.Short() {
		left = min(left, 600)
	}
	for left > 0 {
		var base disk.FS = disktest.NewMem("/db")
		k := known{entries: map[uint64]tried{}}
		for range generations {
			fault := &disktest.Fault{FS: base, Err: syscall.EIO, Kind: disktest.Kind(rnd.IntN(3))}
			rec, err := disktest.NewRecorder(fault, "/db")
			if err != nil {
				t.Fatal(err)
			}
			o := crashOptions()
			before := k.clone()
			session(t, rec, fault, k.clone(), o, rnd, 40)
			keep := rnd.IntN(each)
			i := 0
			for s := range rec.States(each, rnd.Uint64()) {
				k := before.clone()
				for _, m := range s.Marks {
					k.mark(m)
				}
				o.FS = s.Mem("/db")
				if i == keep {
					base = s.Mem("/db")
				}
				again := k.clone()
				l := again.open(t, o)
				// It can be gone on with.
				number := again.answered + 1
				again.mark(tried{number, 7, 100})
				if err := l.Append(number, testEntry(number, 7, 100)); err == nil {
					again.mark(answered{number})
				} else if errors.Is(err, ErrFull) {
					again.mark(failed{number})
				} else {
					t.Fatal(err)
				}
				mustClose(t, l)
				mustClose(t, again.open(t, o))
				if i == keep {
					before, k = k, k.clone()
				}
				if t.Failed() {
					t.Fatalf("state %d of point %d of %d", s.Seed, s.Point, rec.Points())
				}
				i++
				left--
			}
			k = before
		}
	}
}

func crashOptions() Options {
	return Options{Dir: "/db/log", ID: [16]byte{1, 2, 3}, Size: 6 << 15, SegmentSize: 1 << 15, chunk: 8 << 10, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (k *known) clone() known {
	c := *k
	c.entries = map[uint64]tried{}
	for n, e := range k.entries {
		c.entries[n] = e
	}
	return c
}
