package db

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
)

// copies are those of a cluster, with the log that they have in common.
type copies struct {
	t   *testing.T
	dir string
	log [][]byte // batches; the first has index 2
}

func (c *copies) open(name string) *Replica {
	c.t.Helper()
	r, err := OpenReplica(filepath.Join(c.dir, name), Options{Logger: silent, LogSize: smallLog})
	if err != nil {
		c.t.Fatal(err)
	}
	r.bolt().NoSync, r.bolt().NoGrowSync, r.bolt().AllocSize = true, true, 1<<15
	if _, err := r.Load(); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// founded opens a copy that is the first one.
func (c *copies) founded(name string) *Replica {
	r := c.open(name)
	if err := r.Found(ClusterID{1}, 1, 1); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// catchUp applies to a copy what it does not have.
func (c *copies) catchUp(r *Replica) {
	c.t.Helper()
	m, err := r.Applied()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := m.Index - 1; i < uint64(len(c.log)); i++ {
		if err := r.Apply(i+2, 7, c.log[i], nil); err != nil {
			c.t.Fatal(err)
		}
	}
}

// send installs what a copy has in another one.
func (c *copies) send(from, to *Replica) {
	c.t.Helper()
	n, err := from.Snapshot()
	if err != nil {
		c.t.Fatal(err)
	}
	defer n.Close()
	path := to.path + ".incoming"
	f, err := os.Create(path)
	if err != nil {
		c.t.Fatal(err)
	}
	size, err := io.Copy(f, n)
	if err := errors.Join(err, f.Close()); err != nil || size != n.Size {
		c.t.Fatalf("%d bytes of %d: %v", size, n.Size, err)
	}
	if _, err := to.Install(path); err != nil {
		c.t.Fatal(err)
	}
}

func (c *copies) digest(r *Replica) string {
	c.t.Helper()
	m, digest, err := r.Digest()
	if err != nil {
		c.t.Fatal(err)
	}
	if want := (ReplicaMark{Cluster: ClusterID{1}, Index: uint64(len(c.log)) + 1, Term: 7, Number: uint64(len(c.log))}); m != want {
		c.t.Fatalf("mark %+v instead of %+v", m, want)
	}
	return digest
}

// What comes of batches is the same in all copies: in one that goes on, in one that is killed, closed or compacted again and again, and in one that
// is replaced by a snapshot of another; and the same as in a database of its own.
func TestReplicas(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	c := &copies{t: t, dir: dir}
	plain, _ := openTest(t, filepath.Join(dir, "plain.db"), Options{seam: seam{fs: disktest.NewMem(dir)}})
	first, killed, behind := c.founded("first.db"), c.open("killed.db"), c.open("behind.db")
	c.send(first, killed)
	c.send(first, behind)
	g := newChanges(rnd, smallLog)
	b := g.first()
	for step := range 200 {
		own := copyOf(b)
		encoded, err := first.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		c.log = append(c.log, encoded)
		if err := first.Apply(uint64(len(c.log))+1, 7, encoded, b); err != nil {
			t.Fatal(err)
		}
		g.done(b)
		if err := plain.Commit(own); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(b.Remove, own.Remove) {
			t.Fatalf("step %d: removed %+v and %+v", step, b.Remove, own.Remove)
		}
		var compacted chan error
		switch rnd.IntN(12) {
		case 0:
			killed.fail(os.ErrProcessDone)
			fallthrough
		case 1:
			if err := killed.Close(); err != nil {
				t.Fatal(err)
			}
			killed = c.open("killed.db")
		case 2:
			if err := killed.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		case 3:
			compacted = make(chan error, 1)
			go func() { compacted <- killed.Compact(t.Context()) }()
		}
		c.catchUp(killed)
		if compacted != nil {
			if err := <-compacted; err != nil {
				t.Fatal(err)
			}
		}
		if rnd.IntN(25) == 0 {
			c.send(first, behind)
			c.catchUp(behind)
			if got, want := c.digest(behind), c.digest(first); got != want {
				t.Fatalf("step %d, after a snapshot: %s", step, difference(mustContent(t, behind.Store), mustContent(t, first.Store)))
			}
		}
		if got, want := c.digest(killed), c.digest(first); got != want {
			t.Fatalf("step %d: %s", step, difference(mustContent(t, killed.Store), mustContent(t, first.Store)))
		}
		compare(t, first.Store, plain, g)
		if t.Failed() {
			t.Fatalf("step %d", step)
		}
		b = g.next(t, plain)
	}
	for _, s := range []*Store{first.Store, killed.Store, behind.Store, plain} {
		if err := s.Check(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A copy in use is refused without its cluster; closed, it is a database, and used as one it is no copy any more.
func TestReplicaAlone(t *testing.T) {
	c := &copies{t: t, dir: t.TempDir()}
	r := c.founded("test.db")
	b := &store.Batch{Now: t0, Define: []store.Object{objectOf(store.Topic, "/one", 1)}}
	encoded, err := r.Encode(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(b); !errors.Is(err, store.ErrNotStored) {
		t.Errorf("Commit: %v", err)
	}
	if err := r.Apply(2, 3, encoded, b); err != nil {
		t.Fatal(err)
	}
	if got := r.Durable(); got != 1 {
		t.Errorf("the file has everything up to %d", got)
	}
	r.fail(os.ErrProcessDone)
	_ = r.Close()
	path := filepath.Join(c.dir, "test.db")
	if _, err := Open(path, Options{Logger: silent}); err == nil || !strings.Contains(err.Error(), "is a copy of a cluster that was not closed") {
		t.Fatalf("Open: %v", err)
	}
	if err := Verify(path, Options{Logger: silent}, nil); err != nil {
		t.Errorf("Verify: %v", err)
	}
	if loss, err := Downgrade(path, Options{Logger: silent}, "0.1.0"); err != nil || loss.Format != 5 || loss.Opens != 1 {
		t.Errorf("Downgrade: %+v, %v", loss, err)
	}
	r = c.open("test.db")
	if m, err := r.Applied(); err != nil || m != (ReplicaMark{ClusterID{1}, 1, 1, 0}) { // as it was before it was read
		t.Fatalf("after a kill: %+v, %v", m, err)
	}
	if err := r.Apply(2, 3, encoded, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	r = c.open("test.db")
	want := ReplicaMark{ClusterID{1}, 2, 3, 1}
	if m, err := r.Applied(); err != nil || m != want {
		t.Fatalf("after Close: %+v, %v", m, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s, img := openTest(t, path, Options{})
	if len(img.Objects) != 1 {
		t.Fatalf("objects: %+v", img.Objects)
	}
	if err := s.Commit(&store.Batch{Now: t0, Define: []store.Object{objectOf(store.Topic, "/two", 2)}}); err != nil {
		t.Fatal(err)
	}
	s.fail(os.ErrProcessDone) // killed: it has a log of its own
	_ = s.Close()
	r = c.open("test.db")
	defer r.Close()
	if m, err := r.Applied(); err != nil || m != (ReplicaMark{}) {
		t.Fatalf("after use as a database of its own: %+v, %v", m, err)
	}
	if img, err := r.Load(); err != nil || len(img.Objects) != 2 {
		t.Fatalf("%+v, %v", img, err)
	}
}

// What is sent to take the place of a file is refused where a byte of it is another, or it is of another cluster.
func TestReplicaInstallRefuses(t *testing.T) {
	c := &copies{t: t, dir: t.TempDir()}
	from, to, other := c.founded("from.db"), c.open("to.db"), c.open("other.db")
	defer from.Close()
	defer to.Close()
	defer other.Close()
	if err := other.Found(ClusterID{2}, 1, 1); err != nil {
		t.Fatal(err)
	}
	n, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(n)
	if err := errors.Join(err, n.Close()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(c.dir, "incoming")
	for name, test := range map[string]struct {
		to     *Replica
		change func([]byte) []byte
	}{
		"a byte":          {to, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		"the end":         {to, func(b []byte) []byte { return b[:len(b)-1] }},
		"another cluster": {other, func(b []byte) []byte { return b }},
	} {
		before := mustContent(t, test.to.Store)
		if err := os.WriteFile(path, test.change(append([]byte(nil), all...)), 0o600); err != nil {
			t.Fatal(err)
		}
		unchanged, err := test.to.Install(path)
		if err == nil || !unchanged {
			t.Errorf("%s: unchanged %v, error %v", name, unchanged, err)
		}
		if got := mustContent(t, test.to.Store); got != before || test.to.failed() != nil {
			t.Errorf("%s: %s, %v", name, difference(got, before), test.to.failed())
		}
	}
}

// Who asks how far a copy is, or how its file begins, reads no page that is being overwritten since a secret was in it.
func TestReadersWhileWiping(t *testing.T) {
	c := &copies{t: t, dir: t.TempDir()}
	r := c.founded("a.db")
	var readers sync.WaitGroup
	stop := make(chan struct{})
	for _, read := range []func() error{
		func() error { _, err := r.Applied(); return err },
		func() error {
			if h := ReadHead(r.Store); len(h.Problems) > 0 {
				return fmt.Errorf("%q", h.Problems)
			}
			return nil
		},
	} {
		readers.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					t.Error(p)
				}
			}()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := read(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 300 {
		if t.Failed() {
			break
		}
		b := &store.Batch{Put: []store.Document{documentWith(i%7, i)}}
		encoded, err := r.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Apply(uint64(i)+2, 7, encoded, b), r.Checkpoint()); err != nil {
			t.Fatal(err)
		}
	}
	for r.Wiping() > 0 && !t.Failed() {
		time.Sleep(time.Millisecond) // lint:sleep the worker is on its way
	}
	close(stop)
	readers.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// Who waits until the file has all waits no longer when another one takes its place, which has more.
func TestCheckpointWhileInstalling(t *testing.T) {
	c := &copies{t: t, dir: t.TempDir()}
	from, to := c.founded("from.db"), c.open("to.db")
	defer from.Close()
	defer to.Close()
	c.send(from, to)
	for n := range 2 { // the second one is what from has and to has not
		encoded, err := from.Encode(&store.Batch{Put: []store.Document{{Kind: "k", Key: fmt.Sprint(n), Value: []byte("x")}}})
		if err != nil {
			t.Fatal(err)
		}
		c.log = append(c.log, encoded)
		c.catchUp(from)
		if n == 0 {
			c.catchUp(to)
		}
	}
	if err := from.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	to.stopWorker() // as where it is to stop before it comes to the table
	done := make(chan error, 1)
	go func() { done <- to.Checkpoint() }()
	for to.tables.Load().frozen == nil {
		time.Sleep(time.Millisecond) // lint:sleep the other goroutine is on its way
	}
	c.send(from, to)
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it waits still")
	}
}
