//go:build !windows

package db

import (
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"pipit/broker/store"
)

// A limit on the size of files stands for a full disk. It holds for a whole process, so this
// runs in a child.
func TestNoSpace(t *testing.T) {
	const child = "PIPIT_TEST_FULL"
	if path := os.Getenv(child); path != "" {
		fillUp(t, path)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNoSpace$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+filepath.Join(t.TempDir(), "full.db"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func fillUp(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	limit := func(n uint64) {
		l := old
		l.Cur = n
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			t.Fatal(err)
		}
	}
	f := &fixture{Store: openChecked(t, path), t: t, tails: map[store.Lane]uint64{}, gone: map[store.Lane]*store.Cursor{}, removed: map[store.Lane]uint64{}}
	defer f.closeChecked()
	d := f.batch()
	d.Define = []store.Object{objectOf(store.Consumer, "k", 1)}
	f.commit(d)
	for _, byRemoval := range []bool{false, true} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		limit(uint64(info.Size()) + 20<<20)
		var b *store.Batch
		for {
			b = f.batch()
			before := f.tails[laneA]
			for range 20 {
				b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 100_000) }))
			}
			f.complete(b)
			if err = f.Commit(b); err != nil {
				f.tails[laneA] = before
				break
			}
		}
		if !errors.Is(err, store.ErrNoSpace) {
			t.Fatalf("got %v", err)
		}
		// What is stored can be read, and acknowledged.
		if n := len(f.positions(laneA, 1, false)); n == 0 || n != int(f.tails[laneA]-f.removed[laneA]) {
			t.Errorf("%d messages, want %d", n, f.tails[laneA])
		}
		if err := f.Check(); err != nil {
			t.Fatal(err)
		}
		a := f.batch()
		a.Cursors = []store.CursorState{{Consumer: 1, Priority: 5, Cursor: store.Cursor{Floor: 5}}}
		if err := f.Commit(a); err != nil {
			t.Errorf("acknowledging: %v", err)
		}
		if byRemoval {
			// Room comes from removing what is done with.
			r := f.batch()
			r.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: f.cursor(laneA).Floor, To: f.tails[laneA]}}}
			f.commit(r)
			f.commit(f.batch()) // pages become free one commit later
		} else {
			limit(old.Cur)
		}
		f.tails[laneA] += 20
		b.Lanes = nil
		f.complete(b)
		if err := f.Commit(b); err != nil {
			t.Errorf("with room again (by removal: %v): %v", byRemoval, err)
		}
	}
}
