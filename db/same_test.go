package db

import (
	"math/rand/v2"
	"os"
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

// smallLarge is the size of a batch that goes past a small log.
const smallLarge = 2 << 10

// openSmall opens a database with a small log in a file system of its own. What is in the file is flushed by nobody.
func openSmall(t testing.TB, path string, fs disk.FS, written func()) (*Store, *store.Image) {
	t.Helper()
	return openTest(t, path, Options{LogSize: smallLog, seam: seam{fs: fs, segmentSize: smallLog / 6, large: smallLarge, written: written}})
}

func openTest(t testing.TB, path string, with Options) (*Store, *store.Image) {
	t.Helper()
	with.Logger = silent
	s, err := Open(path, with)
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
	plain, _ := openTest(t, filepath.Join(dir, "plain.db"), Options{seam: seam{fs: fs}})
	often, _ := open("often.db")
	openGathers := func() *Store {
		s, _ := openTest(t, filepath.Join(dir, "gathers.db"), Options{LogSize: smallLog, SyncInterval: time.Hour, seam: seam{fs: fs, segmentSize: smallLog / 6}})
		return s
	}
	gathers := openGathers()
	g := newChanges(rnd, smallLog*3/2)
	b := g.first()
	for step := range 300 {
		c, d := copyOf(b), copyOf(b)
		if err := plain.Commit(b); err != nil {
			t.Fatal(err)
		}
		g.done(b)
		if err := often.Commit(c); err != nil {
			t.Fatal(err)
		}
		if err := gathers.Commit(d); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(b.Remove, c.Remove) || !reflect.DeepEqual(b.Remove, d.Remove) {
			t.Fatalf("step %d: removed %+v, %+v and %+v", step, b.Remove, c.Remove, d.Remove)
		}
		switch rnd.IntN(40) {
		case 0:
			if err := gathers.gather.flush(); err != nil {
				t.Fatal(err)
			}
			gathers.fail(os.ErrProcessDone) // as after a power cut: the next start replays the log
			fallthrough
		case 1:
			if err := gathers.Close(); err != nil {
				t.Fatal(err)
			}
			gathers = openGathers()
		case 2:
			if err := gathers.Checkpoint(); err != nil {
				t.Fatal(err)
			}
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
		compare(t, gathers, plain, g)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
		b = g.next(t, plain)
	}
	var images []*store.Image
	for name, s := range map[string]*Store{"plain.db": plain, "often.db": often, "gathers.db": gathers} {
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
	for _, img := range images[1:] {
		if !reflect.DeepEqual(images[0], img) {
			t.Errorf("%+v, and %+v", images[0], img)
		}
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
