package db

import (
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/db/disk"
	"pipit/db/disk/disktest"
)

// smallLog is the size of a log that is full again and again, of six segments.
const smallLog = 192 << 10

// openSmall opens a database with a small log in a file system of its own. What is in the file is flushed by nobody.
func openSmall(t testing.TB, path string, fs disk.FS, written func()) (*Store, *store.Image) {
	t.Helper()
	return openTest(t, path, smallLog, seam{fs: fs, segmentSize: smallLog / 6, written: written})
}

func openTest(t testing.TB, path string, logSize int64, with seam) (*Store, *store.Image) {
	t.Helper()
	s, err := Open(path, Options{Logger: silent, LogSize: logSize, seam: with})
	if err != nil {
		t.Fatal(err)
	}
	s.bolt().NoSync, s.bolt().NoGrowSync, s.bolt().AllocSize = true, true, 1<<15
	img, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	return s, img
}

// What comes of batches follows from them alone: in a store that brings what it has into its file again and again, is
// closed and opened, and in one that has everything in memory.
func TestSameBatchesSameContent(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	fs := disktest.NewMem(dir)
	open := func(name string) (*Store, *store.Image) {
		return openSmall(t, filepath.Join(dir, name), fs, nil)
	}
	plain, _ := openTest(t, filepath.Join(dir, "plain.db"), 0, seam{fs: fs})
	often, _ := open("often.db")
	g := newChanges(rnd, smallLog*3/2)
	b := g.first()
	for step := range 300 {
		c := copyOf(b)
		if err := plain.Commit(b); err != nil {
			t.Fatal(err)
		}
		g.done(b)
		if err := often.Commit(c); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(b.Remove, c.Remove) {
			t.Fatalf("step %d: removed %+v, and %+v", step, b.Remove, c.Remove)
		}
		switch rnd.IntN(20) {
		case 0:
			if err := often.Close(); err != nil {
				t.Fatal(err)
			}
			often, _ = open("often.db")
		case 1, 2:
			if err := often.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
		compare(t, often, plain, g)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
		b = g.next(t, plain)
	}
	var images []*store.Image
	for name, s := range map[string]*Store{"plain.db": plain, "often.db": often} {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, img := open(name)
		img.Key = [16]byte{} // each its own
		images = append(images, img)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if !reflect.DeepEqual(images[0], images[1]) {
		t.Errorf("%+v, and %+v", images[0], images[1])
	}
}

// compare compares what two stores have, and what can be read of it.
func compare(t *testing.T, a, b *Store, g *changes) {
	t.Helper()
	if got, want := mustContent(t, a), mustContent(t, b); got != want {
		t.Errorf("%s", difference(got, want))
	}
	far := g.now.Add(time.Hour)
	read := func(s *Store) (list []any) {
		f := &fixture{Store: s, t: t}
		for _, l := range g.lanes {
			list = append(list, f.scan(l, 1, false), f.scan(l, g.tails[l], true))
		}
		due, next := f.due(far, 100)
		list = append(list, due, next, f.expired(far), f.stale(far), f.find(1, "id1"), f.documents("kind", "", true))
		return list
	}
	if got, want := read(a), read(b); !reflect.DeepEqual(got, want) {
		for i := range got {
			if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%+v\nand %+v", got[i], want[i])
			}
		}
	}
}
