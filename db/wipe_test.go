package db

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
	"pipit/db/page"
)

// file returns the file as it is between two writes.
func (f *fixture) file() []byte {
	f.t.Helper()
	if !f.held {
		f.fileMu.Lock()
		defer f.fileMu.Unlock()
	}
	b, err := os.ReadFile(f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

// hold has the worker write nothing until letGo.
func (f *fixture) hold() {
	f.fileMu.Lock()
	f.held = true
}

func (f *fixture) letGo() {
	f.held = false
	f.fileMu.Unlock()
}

// bytes returns the file and the log.
func (f *fixture) bytes() []byte {
	f.t.Helper()
	b := f.file()
	segments, err := filepath.Glob(filepath.Join(logDir(f.path), "*"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, name := range segments {
		s, err := os.ReadFile(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a segment that is being made has got its name
			f.t.Fatal(err)
		}
		b = append(b, s...)
	}
	return b
}

// wipe goes on until nothing is left.
func (f *fixture) wipe() {
	f.t.Helper()
	for n := 0; f.Wiping() > 0; n++ {
		if n > 10_000 {
			f.t.Fatalf("%d pages are left", f.Wiping())
		}
		time.Sleep(time.Millisecond) // lint:sleep the store does it beside others, by itself
	}
}

// secretOf is what tells who has it, and which one of his it is.
func secretOf(who, n int) string { return fmt.Sprintf("secret-%d-%d-of-whom", who, n) }

func consumerWith(who, n int) store.Object {
	return objectOf(store.Consumer, secretOf(who, n), uint32(who+1))
}

func clientWith(who, n int) store.Object {
	o := objectOf(store.Client, fmt.Sprintf("client %d", who), 0)
	o.Value = fmt.Appendf(nil, `{"PasswordHash":%q}`, secretOf(who, n))
	return o
}

func documentWith(who, n int) store.Document {
	return store.Document{Kind: "administrator", Key: fmt.Sprint(who), Value: []byte(secretOf(who, n)), Secret: true}
}

// What is replaced or deleted of secrets leaves the file: of each kind, and whether its page had a
// neighbour or not, was copied by other commits or not.
func TestSecretsLeaveTheFile(t *testing.T) {
	for name, change := range map[string]struct {
		put, replace, remove func(b *store.Batch, who int)
	}{
		"sub_key": {
			put: func(b *store.Batch, who int) {
				b.Define = append(b.Define, consumerWith(who, 0))
			},
			replace: func(b *store.Batch, who int) {
				b.Define = append(b.Define, consumerWith(who, 1))
			},
			remove: func(b *store.Batch, who int) {
				b.Delete = []store.Object{consumerWith(who, 0)}
			},
		},
		"password hash": {
			put:     func(b *store.Batch, who int) { b.Define = append(b.Define, clientWith(who, 0)) },
			replace: func(b *store.Batch, who int) { b.Define = append(b.Define, clientWith(who, 1)) },
			remove: func(b *store.Batch, who int) {
				b.Delete = []store.Object{clientWith(who, 0)}
			},
		},
		"document": {
			put:     func(b *store.Batch, who int) { b.Put = append(b.Put, documentWith(who, 0)) },
			replace: func(b *store.Batch, who int) { b.Put = append(b.Put, documentWith(who, 1)) },
			remove: func(b *store.Batch, who int) {
				d := documentWith(who, 0)
				d.Value = nil
				b.Put = append(b.Put, d)
			},
		},
		"declared": {
			put: func(b *store.Batch, who int) { b.Declared = secretOf(who, 0) },
			replace: func(b *store.Batch, who int) {
				b.Declared = secretOf(who, 1)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, many := range []int{1, 200} {
				f := newFixture(t)
				for who := 0; who < many; {
					b := f.batch()
					for range min(20, many) {
						change.put(b, who)
						who++
					}
					b.Append = append(b.Append, f.message(laneA)) // commits beside copy the pages
					f.commit(b)
				}
				gone := many / 2
				steps := []func(*store.Batch, int){change.replace}
				if change.remove != nil && many > 1 {
					steps = append(steps, change.remove)
				}
				for i, step := range steps {
					who := gone + i
					if name == "declared" {
						who = many - 1
					}
					b := f.batch()
					step(b, who)
					f.checkpoint()
					f.hold()
					f.commit(b)
					if !bytes.Contains(f.bytes(), []byte(secretOf(who, 0))) {
						t.Errorf("%d: the test tests nothing: %s left the file by itself", many, secretOf(who, 0))
					}
					f.letGo()
					f.wipe()
					if n := bytes.Count(f.bytes(), []byte(secretOf(who, 0))); n > 0 {
						t.Errorf("%d: %s is in the file %d times", many, secretOf(who, 0), n)
					}
					if i == 0 && !bytes.Contains(f.bytes(), []byte(secretOf(who, 1))) {
						t.Errorf("%d: %s is not in the file", many, secretOf(who, 1))
					}
				}
				if many > 1 && name != "declared" && !bytes.Contains(f.bytes(), []byte(secretOf(0, 0))) {
					t.Errorf("%d: %s is not in the file", many, secretOf(0, 0))
				}
			}
		})
	}
}

// rotate gives a consumer its n-th secret.
func (f *fixture) rotate(n int) {
	f.t.Helper()
	b := f.batch()
	b.Define = []store.Object{consumerWith(0, n)}
	f.commit(b)
}

// What a Close or a crash cut short is done after the next start.
func TestWipingGoesOnAfterACrash(t *testing.T) {
	f := newFixture(t)
	f.rotate(0)
	f.checkpoint()
	f.hold()
	f.rotate(1)
	path := filepath.Join(t.TempDir(), "crashed.db")
	if err := errors.Join(os.WriteFile(path, f.file(), 0o600), disktest.CopyDir(logDir(path), logDir(f.path))); err != nil {
		t.Fatal(err)
	}
	f.letGo()
	s, err := Open(path, Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	crashed := &fixture{Store: s, t: t, tails: f.tails, gone: f.gone, removed: f.removed}
	crashed.hold() // else it may be done before it is looked at
	if _, err := s.Load(); err != nil {
		t.Fatal(err)
	}
	if crashed.Wiping() == 0 || !bytes.Contains(crashed.bytes(), []byte(secretOf(0, 0))) {
		t.Errorf("%d pages are to be wiped", crashed.Wiping())
	}
	crashed.letGo()
	crashed.closeChecked()
	for _, p := range []string{path, f.path} {
		if p == f.path {
			f.reopen()
		}
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(secretOf(0, 0))) {
			t.Errorf("%s has the old secret after Close", p)
		}
	}
	if f.Wiping() != 0 {
		t.Errorf("%d pages are left after Close", f.Wiping())
	}
}

// Close does all of it, where nothing was done before: also what the log has to be wiped of keeps it from none of the pages.
func TestCloseWipes(t *testing.T) {
	f := newFixture(t)
	f.rotate(0)
	f.checkpoint()
	f.stopWorker() // so that Close finds all of it
	f.rotate(1)
	start := time.Now()
	f.reopen()
	if n := f.Wiping(); n != 0 && time.Since(start) < wipeClose {
		t.Errorf("%d pages are left after Close", n)
	}
}

// A reader that is there while pages are wiped sees what it saw, and they are wiped when it has ended.
func TestWipingWaitsForReaders(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	for range 200 {
		b.Append = append(b.Append, f.message(laneA))
	}
	b.Define = []store.Object{consumerWith(0, 0)}
	f.commit(b)
	f.checkpoint()
	begun, rest := make(chan bool), make(chan bool)
	read := make(chan error, 1)
	go func() {
		read <- f.View(func(r store.Reader) error {
			n := 0
			err := r.Scan(laneA, 1, false, func(*store.Record) bool {
				if n++; n == 1 {
					close(begun)
					<-rest
				}
				return true
			})
			if n != 200 {
				return fmt.Errorf("%d messages, %w", n, err)
			}
			return err
		})
	}()
	<-begun
	b = f.batch()
	b.Define = []store.Object{consumerWith(0, 1)}
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 200}}}
	f.commit(b)
	f.checkpoint()
	for range 5 {
		time.Sleep(5 * wipeRest) // lint:sleep the store would go on beside others, by itself
		if !bytes.Contains(f.file(), []byte(secretOf(0, 0))) {
			t.Error("the old secret left the file with a reader there")
		}
	}
	close(rest)
	if err := <-read; err != nil {
		t.Error(err)
	}
	f.wipe()
	if bytes.Contains(f.bytes(), []byte(secretOf(0, 0))) {
		t.Error("the old secret is in the file")
	}
}

// From the commit that replaces a secret on something is left to be wiped, whoever asks at whatever moment, as long as a reader keeps it there.
func TestWipingIsToldAtOnce(t *testing.T) {
	f := newFixture(t)
	f.rotate(0)
	for n := range 10 {
		f.checkpoint()
		f.wipe()
		f.view(func(store.Reader) {
			var replaced, stop atomic.Bool
			var asking sync.WaitGroup
			for range 16 {
				asking.Go(func() {
					for !stop.Load() {
						if was := replaced.Load(); f.Wiping() == 0 && was {
							t.Error("nothing is left to be wiped")
							return
						}
					}
				})
			}
			f.rotate(n + 1)
			replaced.Store(true)
			f.checkpoint()
			stop.Store(true)
			asking.Wait()
		})
	}
}

// After every commit, those that wipe included, the file is whole, and it is without its newest meta
// page, as a damaged one leaves it.
func TestWipingLeavesBothStates(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	version := map[int]int{}
	path := filepath.Join(t.TempDir(), "older.db")
	for range 60 {
		b := f.batch()
		for range rnd.IntN(40) {
			b.Append = append(b.Append, f.message(laneA))
		}
		if tail := f.tails[laneA]; rnd.IntN(3) == 0 && tail > 0 {
			from := rnd.Uint64N(tail) + 1
			b.Remove = append(b.Remove, store.Removal{Lane: laneA, Range: store.Span{From: from, To: min(from+50, tail)}})
		}
		if who := rnd.IntN(50); rnd.IntN(3) == 0 {
			version[who]++
			b.Define = []store.Object{consumerWith(who, version[who])}
		}
		f.commit(b)

		f.checkpoint()
		text := f.file()
		size := f.bolt().Info().PageSize
		newest := 0
		if txid := func(n int) uint64 { return binary.NativeEndian.Uint64(text[n*size+page.HeaderSize+48:]) }; txid(1) > txid(0) {
			newest = size
		}
		text[newest+page.HeaderSize+48]++ // its checksum is wrong
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		older, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(older.View(func(tx *bbolt.Tx) error { return <-tx.Check() }), older.Close()); err != nil {
			t.Fatalf("by the older meta page: %v", err)
		}
	}
	f.wipe()
	text := f.bytes()
	for who, n := range version {
		for old := 1; old < n; old++ {
			if bytes.Contains(text, []byte(secretOf(who, old))) {
				t.Errorf("%s is in the file", secretOf(who, old))
			}
		}
		if !bytes.Contains(text, []byte(secretOf(who, n))) {
			t.Errorf("%s is not in the file", secretOf(who, n))
		}
	}
}
