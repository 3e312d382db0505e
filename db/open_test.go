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
	"runtime"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
	"pipit/db/page"
)

// makeFile returns a closed database with a few hundred pages. With crashed it is as a crash
// leaves it that has no list of free pages.
func makeFile(t *testing.T, crashed bool) string {
	t.Helper()
	f := newFixture(t)
	for range 10 {
		b := f.batch()
		for range 50 {
			b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 1000) }))
		}
		f.commit(b)
	}
	path := f.path
	if crashed {
		f.bolt().NoFreelistSync = true
		if err := f.bolt().Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketNames[bucketMeta]).Put([]byte("test"), nil) }); err != nil {
			t.Fatal(err)
		}
		copyFile(t, path, path+".copy")
		path += ".copy"
	}
	f.closeChecked()
	return path
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new.db")
	s := openChecked(t, path)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	empty := filepath.Join(dir, "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openChecked(t, empty)
	_ = s.Close()

	// Making it was cut short.
	begun := filepath.Join(dir, "begun.db")
	b, err := bbolt.Open(begun, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	s = openChecked(t, begun)
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	_ = s.Close()
	s = openChecked(t, begun)
	_ = s.Close()
}

// Who works on a database that must be there makes none: not of no file, an empty one or one whose
// making was cut short.
func TestOpenMustExist(t *testing.T) {
	dir := t.TempDir()
	none, empty, begun := filepath.Join(dir, "none.db"), filepath.Join(dir, "empty.db"), filepath.Join(dir, "begun.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := bbolt.Open(begun, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	for _, path := range []string{none, empty, begun} {
		before, _ := os.ReadFile(path)
		if _, err := Open(path, Options{MustExist: true}); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "there is no database ") {
			t.Errorf("%s: %v", path, err)
		}
		if err := Verify(path, Options{}, nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Verify of %s: %v", path, err)
		}
		if after, err := os.ReadFile(path); !bytes.Equal(before, after) || errors.Is(err, fs.ErrNotExist) != (path == none) {
			t.Errorf("%s has changed: %d bytes, %v", path, len(after), err)
		}
	}
	_ = openChecked(t, none).Close()
	s, err := Open(none, Options{MustExist: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T) string
		want string
	}{
		{"no directory", func(t *testing.T) string { return filepath.Join(t.TempDir(), "no", "x.db") }, "there is no directory"},
		{"a directory", func(t *testing.T) string { return t.TempDir() }, "is not a Pipit database: it is not a regular file"},
		{"text", func(t *testing.T) string { return write(t, []byte(strings.Repeat("hello ", 5000))) }, "is not a Pipit database"},
		{"short text", func(t *testing.T) string { return write(t, []byte("hello")) }, "is not a Pipit database"},
		{"another program's", func(t *testing.T) string {
			return change(t, filepath.Join(t.TempDir(), "x.db"), func(tx *bbolt.Tx) error {
				_, err := tx.CreateBucket([]byte("other"))
				return err
			})
		}, "is not a Pipit database: it is another program's"},
		{"newer", func(t *testing.T) string {
			return change(t, makeFile(t, false), func(tx *bbolt.Tx) error {
				meta := tx.Bucket(bucketNames[bucketMeta])
				return errors.Join(meta.Put(keyFormat, []byte{0, 0, 0, formatReplica + 1}), meta.Put(keyProgram, []byte("9.8.7")))
			})
		}, "was written by a newer Pipit, 9.8.7: it has format 6, and this program opens up to 5; start the newer program, or restore a backup of before the upgrade"},
		{"no format", func(t *testing.T) string {
			return change(t, makeFile(t, false), func(tx *bbolt.Tx) error { return tx.Bucket(bucketNames[bucketMeta]).Delete(keyFormat) })
		}, "is damaged: it has no format"},
		{"no bucket", func(t *testing.T) string {
			return change(t, makeFile(t, false), func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketNames[bucketExpiry]) })
		}, "is damaged: it has no bucket expiry"},
		{"meta pages", func(t *testing.T) string {
			return damage(t, makeFile(t, false), func(b []byte) []byte {
				b[page.HeaderSize+40]++
				b[pageSize+page.HeaderSize+40]++
				return b
			})
		}, "is damaged: neither of its meta pages is valid"},
		{"truncated", func(t *testing.T) string {
			return damage(t, makeFile(t, false), func(b []byte) []byte { return b[:100_000] })
		}, "is damaged: it is 100000 bytes long instead of"},
		{"truncated to one page", func(t *testing.T) string {
			return damage(t, makeFile(t, false), func(b []byte) []byte { return b[:pageSize] })
		}, "is damaged"},
		{"zeroes after the meta pages", func(t *testing.T) string {
			return damage(t, makeFile(t, false), func(b []byte) []byte { clear(b[2*pageSize:]); return b })
		}, "is damaged"},
		{"zeroes after the meta pages, after a crash", func(t *testing.T) string {
			return damage(t, makeFile(t, true), func(b []byte) []byte { clear(b[2*pageSize:]); return b })
		}, "is damaged"},
		{"a page that is free and in use", func(t *testing.T) string {
			path := makeFile(t, false)
			h, err := readHead(path)
			if err != nil {
				t.Fatal(err)
			}
			return damage(t, path, func(b []byte) []byte {
				list := b[int64(h.Freelist)*pageSize:]
				binary.NativeEndian.PutUint16(list[10:], 1)
				binary.NativeEndian.PutUint64(list[page.HeaderSize:], h.Root)
				return b
			})
		}, "is damaged: the list of free pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			before, _ := os.ReadFile(path)
			s, err := Open(path, Options{Logger: silent})
			if err == nil {
				_ = s.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want %q", err, c.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

func write(t *testing.T, b []byte) string {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func change(t *testing.T, path string, fn func(*bbolt.Tx) error) string {
	t.Helper()
	b, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func damage(t *testing.T, path string, fn func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fn(b), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Whatever bytes are wrong, opening ends with an error or with a store: never with a panic.
func TestOpenRandomDamage(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		good, err := os.ReadFile(makeFile(t, crashed))
		if err != nil {
			t.Fatal(err)
		}
		h, err := readHead(write(t, good))
		if err != nil {
			t.Fatal(err)
		}
		if h.HasFreelist() == crashed {
			t.Fatalf("crashed %v, but the list of free pages is at %d", crashed, h.Freelist)
		}
		good = good[:int64(h.HighWater)*h.PageSize]
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		opened := 0
		dir := t.TempDir()
		for i := range 150 {
			path := filepath.Join(dir, fmt.Sprint(i, ".db"))
			bad := bytes.Clone(good)
			for range 1 + rnd.IntN(40) {
				page := 2 + rnd.IntN(int(h.HighWater)-2)
				at := page*int(h.PageSize) + rnd.IntN(64) // headers and elements
				bad[at] = byte(rnd.Uint32())
			}
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path, Options{Logger: silent})
			if err != nil {
				if strings.Contains(err.Error(), "in use") {
					t.Error(err)
				}
				_ = os.Remove(path)
				continue
			}
			opened++
			_, _ = s.Load()
			_ = s.View(func(r store.Reader) error {
				return r.Scan(laneA, 1, false, func(*store.Record) bool { return true })
			})
			_ = s.bolt().Close()
			_ = os.Remove(path)
		}
		t.Logf("crashed %v: %d of 150 could be opened", crashed, opened)
	}
}

func TestOpenLocked(t *testing.T) {
	f := newFixture(t)
	begin := time.Now()
	_, err := Open(f.path, Options{Logger: silent, LockTimeout: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "is in use by another process") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

func TestOpenReadOnly(t *testing.T) {
	path := makeFile(t, false)
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, Options{Logger: silent})
	if err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("got %v", err)
	}
	_ = os.Chmod(path, 0o600)
}

func TestOpenReadOnlyDirectory(t *testing.T) {
	if os.Getuid() <= 0 {
		t.Skip("root may write everywhere, and Windows has other rules")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	_, err := Open(filepath.Join(dir, "x.db"), Options{Logger: silent})
	if err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("got %v", err)
	}
}

// After a large backlog was drained the list of free pages is left out; a crash then loses nothing.
func TestFreelistAcrossCrash(t *testing.T) {
	f := newFixture(t)
	drain := func(n int) {
		for range n {
			b := f.batch()
			for range 50 {
				b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 9*4096) }))
			}
			f.commit(b)
			f.checkpoint()
		}
		b := f.batch()
		b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: f.cursor(laneA).Floor, To: f.tails[laneA] - 3}}}
		f.commit(b)
		for range 3 {
			f.checkpoint()
			b = f.batch()
			b.Append = append(b.Append, f.message(laneA))
			f.commit(b)
		}
	}
	if !freelistStored(f.Store) {
		t.Error("a small file has no list of free pages")
	}
	drain(20)
	f.checkpoint()
	if freelistStored(f.Store) {
		t.Error("the list of free pages is still written")
	}
	want := f.positions(laneA, 1, false)
	size := f.Size()

	crashed := f.path + ".crashed"
	copyFile(t, f.path, crashed)
	if err := disktest.CopyDir(logDir(crashed), logDir(f.path)); err != nil {
		t.Fatal(err)
	}
	s := openChecked(t, crashed)
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	g := &fixture{Store: s, t: t, tails: f.tails, gone: f.gone, removed: f.removed}
	g.wantPositions(laneA, 1, false, want...)
	drain2 := g.Size()
	g.closeChecked()
	if h, err := readHead(crashed); err != nil || !h.HasFreelist() {
		t.Errorf("after Close there is no list of free pages: %v", err)
	}
	if drain2 != size {
		t.Errorf("size %d after the crash, %d before", drain2, size)
	}

	// The free pages are used again, with the list and without.
	f.reopen()
	drain(20)
	f.reopen()
	if grown := f.Size(); grown > size+size/4 {
		t.Errorf("the file grew from %d to %d", size, grown)
	}
}

// What Load refuses is left as it is, also by Close.
func TestLoadOfDamageWritesNothing(t *testing.T) {
	path := change(t, makeFile(t, false), func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketNames[bucketTopic]).Put([]byte("/a"), []byte("no JSON"))
	})
	before, _ := os.ReadFile(path)
	s, err := Open(path, Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err == nil || !strings.Contains(err.Error(), `is damaged: topic "/a"`) {
		t.Errorf("got %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
}
