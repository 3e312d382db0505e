package db

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipit/broker/store"
	"pipit/db/wal"
)

// A batch that bbolt refuses stores nothing, and the next one goes well.
func TestNotStored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipit.db")
	s := openChecked(t, path)
	defer s.Close()
	put := func(key string) error {
		return s.Commit(&store.Batch{Put: []store.Document{{Kind: "k", Key: "before", Value: []byte("x")}, {Kind: "k", Key: key, Value: []byte("x")}}})
	}
	if err := put(strings.Repeat("x", 40_000)); !errors.Is(err, store.ErrNotStored) {
		t.Fatalf("got %v", err)
	}
	if err := s.View(func(r store.Reader) error {
		return r.Documents("k", "", false, func(d store.Document) bool {
			t.Errorf("stored: %s", d.Key)
			return true
		})
	}); err != nil {
		t.Error(err)
	}
	if err := put("after"); err != nil {
		t.Error(err)
	}
}

// uncertain is a log of which it is not known what it did.
type uncertain struct{ journal }

func (uncertain) Append(uint64, []byte) error { return wal.ErrUncertain }

// After a commit of which it is not known what it did, the file is not written again.
func TestUncertain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipit.db")
	s := openChecked(t, path)
	good := &store.Batch{Put: []store.Document{{Kind: "k", Key: "x", Value: []byte("x")}}}
	if err := s.Commit(good); err != nil {
		t.Fatal(err)
	}
	s.journal = uncertain{s.journal}
	read := func() []byte {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before := read()
	err := s.Commit(good)
	if err == nil || errors.Is(err, store.ErrNotStored) || errors.Is(err, store.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	if err := s.Commit(good); err == nil {
		t.Error("committed")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(before, read()) {
		t.Error("the file was written")
	}
}

func TestCheckFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipit.db")
	s := openChecked(t, path)
	defer s.Close()
	if err := s.CheckFile(); err != nil {
		t.Fatal(err)
	}
	was := readOnly
	defer func() { readOnly = was }()
	readOnly = func(string) bool { return true }
	if err := s.CheckFile(); err == nil || errors.Is(err, store.ErrLost) || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("read-only: %v", err)
	}
	readOnly = was
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckFile(); !errors.Is(err, store.ErrLost) {
		t.Errorf("removed: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckFile(); !errors.Is(err, store.ErrLost) {
		t.Errorf("replaced: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if err := s.CheckFile(); err != nil {
		t.Errorf("moved back: %v", err)
	}
}

// Where the disk has less room than is to be left, nothing is to be published; what is there stays in use.
func TestMinFree(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipit.db")
	_, free := diskSpace(filepath.Dir(path))
	if free < 0 {
		t.Skip("it is not known here how much room there is")
	}
	for _, c := range []struct {
		min int64
		low bool
	}{{0, false}, {1 << 20, false}, {1 << 60, true}} {
		s, err := Open(path, Options{Logger: silent, MinFree: c.min})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.CheckFile(); errors.Is(err, store.ErrNoSpace) != c.low {
			t.Errorf("%d: %v", c.min, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
