package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"pipit/broker/store"
)

// content returns all that is in a store, but for what says which log goes with it.
func (f *fixture) content() map[string]string {
	f.t.Helper()
	var v view
	in, err := f.enter(&v)
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.leave()
	all := map[string]string{}
	for no, name := range bucketNames {
		b := v.bucket(no)
		if err := b.ForEach(func(k, value []byte) error {
			if no == bucketPayload {
				value = b.Get(k)
			}
			if no != bucketMeta || !bytes.Equal(k, keyLog) && !bytes.Equal(k, keyKey) && !bytes.Equal(k, keyFormat) && !bytes.Equal(k, keyWipe) {
				all[fmt.Sprintf("%s/%x", name, k)] = string(value)
			}
			return nil
		}); err != nil {
			f.t.Fatal(err)
		}
	}
	return all
}

func (f *fixture) wantContent(of *fixture) {
	f.t.Helper()
	got, want := f.content(), of.content()
	for k, v := range want {
		if w, ok := got[k]; !ok || w != v {
			f.t.Fatalf("%s: has %d bytes, want %d (there: %v)", k, len(w), len(v), ok)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			f.t.Fatalf("%s should not be there", k)
		}
	}
}

// fill puts so many messages there of which nothing stays but every keepth, and a checkpoint behind each hundred.
func (f *fixture) fill(messages, keep int) {
	f.t.Helper()
	for n := 0; n < messages; n += 100 {
		b := f.batch()
		for range 100 {
			b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = bytes.Repeat([]byte("p"), 1000) }))
		}
		f.commit(b)
	}
	f.checkpoint()
	for pos := uint64(1); pos < f.tails[laneA]; pos += uint64(keep) {
		b := f.batch()
		b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: pos + 1, To: min(pos+uint64(keep)-1, f.tails[laneA])}}}
		f.commit(b)
	}
	f.checkpoint()
}

func sizeOf(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func wantNoUnfinished(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path + unfinished); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", path+unfinished, err)
	}
}

func (f *fixture) compact() {
	f.t.Helper()
	if err := f.Store.Compact(context.Background()); err != nil {
		f.t.Fatal(err)
	}
}

func TestCompactShrinks(t *testing.T) {
	f := newFixture(t)
	f.fill(30_000, 50)
	before, content := sizeOf(t, f.path), f.content()
	f.compact()
	after := sizeOf(t, f.path)
	t.Logf("from %d to %d bytes", before, after)
	if after > before/2 {
		t.Errorf("from %d to %d bytes", before, after)
	}
	wantNoUnfinished(t, f.path)
	if err := f.CheckFile(); err != nil {
		t.Error(err)
	}
	if _, err := Open(f.path, Options{Logger: silent, LockTimeout: 1}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("another one opens it: %v", err)
	}
	for range 2 {
		got := f.content()
		if len(got) != len(content) {
			t.Errorf("%d entries, want %d", len(got), len(content))
		}
		f.reopen()
	}
}

// Whatever is committed while the file is compacted in small parts, and wherever a restart cuts that short, the store
// has what one has that is not compacted.
func TestCompactBesideCommits(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f, twin := newFixture(t), newFixture(t)
	done := make(chan error, 1)
	running, ended := false, 0
	small := func() { f.compactPart = 1 + rnd.IntN(4000) }
	small()
	for n := 0; n < 400 || ended == 0 && n < 4000; n++ { // on a busy machine it may have made little of its way by then: from there on it is not cut short
		b := f.randomBatch(rnd)
		if n == 0 {
			for who := range 20 {
				b.Define = append(b.Define, consumerWith(who, 0))
			}
		}
		f.complete(b)
		same := *b
		same.Remove = append([]store.Removal(nil), b.Remove...)
		if err := errors.Join(f.Commit(b), twin.Commit(&same)); err != nil {
			t.Fatal(err)
		}
		f.removals(b)
		switch {
		case n == 400:
			f.reopen()
			f.compactPart = 4000
		case !running && rnd.IntN(5) == 0:
			running = true
			s := f.Store
			go func() { done <- s.Compact(context.Background()) }()
		case rnd.IntN(3) == 0:
			f.checkpoint()
		case n < 400 && rnd.IntN(50) == 0:
			f.reopen()
			small()
		}
		if running {
			select {
			case err := <-done:
				if running = false; err == nil {
					ended++
				} else if !errors.Is(err, errClosed) {
					t.Fatal(err)
				}
			default:
			}
		}
		if n%20 == 0 {
			f.wantContent(twin)
		}
	}
	if running {
		<-done
	}
	f.compact()
	t.Logf("%d times", ended)
	if ended == 0 {
		t.Error("it was never compacted")
	}
	f.wantContent(twin)
	f.reopen()
	f.wantContent(twin)
	wantNoUnfinished(t, f.path)
}

// randomBatch does one of what commits do.
func (f *fixture) randomBatch(rnd *rand.Rand) *store.Batch {
	b := f.batch()
	lane := []store.Lane{laneA, laneB, laneC}[rnd.IntN(3)]
	switch rnd.IntN(8) {
	case 0:
		if tail := f.tails[lane]; tail > 0 {
			from := rnd.Uint64N(tail) + 1
			b.Remove = append(b.Remove, store.Removal{Lane: lane, Range: store.Span{From: from, To: min(from+rnd.Uint64N(40), tail)}})
		}
	case 1:
		b.Put = append(b.Put, documentWith(rnd.IntN(20), rnd.IntN(5)))
	case 2:
		b.Define = []store.Object{consumerWith(rnd.IntN(20), rnd.IntN(3))}
	case 3:
		b.Attempts = []store.Attempt{{Consumer: uint32(rnd.IntN(3)) + 1, Priority: 5, Pos: rnd.Uint64N(50) + 1, Count: uint32(rnd.IntN(3))}}
	case 4:
		b.Delay = append(b.Delay, &store.Record{Place: store.Place{Lane: lane}, Created: t0, Delay: rnd.Uint32N(100) + 1, Payload: make([]byte, rnd.IntN(60_000))})
	default:
		for range rnd.IntN(20) {
			b.Append = append(b.Append, f.message(lane, func(r *store.Record) {
				r.Expiration = rnd.Uint32N(100)
				if rnd.IntN(5) == 0 {
					r.ID, r.KeepID = fmt.Sprint("id ", rnd.Uint32()), t0.Add(1000)
				}
				if rnd.IntN(20) == 0 {
					r.Payload = bytes.Repeat([]byte{byte(rnd.Uint32())}, 32<<10+rnd.IntN(60_000))
				}
			}))
		}
	}
	return b
}

// Who reads when another file takes the place of the one that he reads goes on to see what he saw.
func TestCompactBesideReaders(t *testing.T) {
	f := newFixture(t)
	f.fill(2000, 10)
	begun, rest := make(chan bool), make(chan bool)
	read := make(chan error, 1)
	want := len(f.positions(laneA, 1, false))
	go func() {
		read <- f.View(func(r store.Reader) error {
			n := 0
			err := r.Scan(laneA, 1, false, func(*store.Record) bool {
				if n++; n == 2 {
					close(begun)
					<-rest
				}
				return true
			})
			if n != want {
				return fmt.Errorf("%d messages, want %d: %w", n, want, err)
			}
			return err
		})
	}()
	<-begun
	old := f.Store.file()
	f.compact()
	if f.Store.file() == old {
		t.Error("the file is the same")
	}
	b := f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: f.tails[laneA]}}}
	f.commit(b)
	f.checkpoint()
	f.wantPositions(laneA, 1, false)
	if n := old.bolt.Stats().OpenTxN; n != 1 {
		t.Errorf("the old file has %d readers", n)
	}
	close(rest)
	if err := <-read; err != nil {
		t.Error(err)
	}
}

// What is secret and no more is not in the new file, also where that changed while it was made.
func TestCompactLeavesNoSecrets(t *testing.T) {
	f := newFixture(t)
	const many = 90
	for who := range many {
		b := f.batch()
		b.Define = []store.Object{consumerWith(who, 0)}
		f.commit(b)
	}
	f.checkpoint()
	f.compactPart = 100
	run, err := f.compacting.start(false)
	if err != nil {
		t.Fatal(err)
	}
	for who := 0; who < many; who += 3 {
		b := f.batch()
		b.Define = []store.Object{consumerWith(who, 1)}
		f.commit(b)
	}
	<-run.done
	if run.err != nil {
		t.Fatal(run.err)
	}
	f.wipe()
	text := f.bytes()
	for who := range many {
		if got := bytes.Contains(text, []byte(secretOf(who, 0))); got != (who%3 != 0) {
			t.Errorf("%s is there: %v", secretOf(who, 0), got)
		}
	}
}

func TestCompactFile(t *testing.T) {
	f := newFixture(t)
	f.fill(5000, 50)
	content, path := f.content(), f.path
	if _, _, err := CompactFile(path, Options{Logger: silent, LockTimeout: 1}); !errors.Is(err, store.ErrInUse) {
		t.Errorf("in use: %v", err)
	}
	f.closeChecked()
	if err := os.WriteFile(path+unfinished, []byte("of one that was cut short"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	before, after, err := CompactFile(link, Options{Logger: silent})
	if err != nil || after > before/2 {
		t.Errorf("from %d to %d bytes: %v", before, after, err)
	}
	wantNoUnfinished(t, path)
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v is no link any more: %v", info, err)
	}
	f.Store = openChecked(t, path)
	if got := f.content(); len(got) != len(content) {
		t.Errorf("%d entries, want %d", len(got), len(content))
	}
	if _, _, err := CompactFile(filepath.Join(t.TempDir(), "none.db"), Options{Logger: silent}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
