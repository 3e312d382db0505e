package db

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"pipit/broker/store"
	"pipit/db/page"
)

func TestVerify(t *testing.T) {
	path := makeFile(t, false)
	last, told := 0.0, [3]int{} // in each third
	err := Verify(path, Options{Logger: silent}, func(part float64) {
		if part < last || part > 1 {
			t.Errorf("%g after %g", part, last)
		}
		last = part
		told[min(int(3*part), 2)]++
	})
	if err != nil {
		t.Error(err)
	}
	if last != 1 || told[0] < 1 || told[2] < 5 {
		t.Errorf("progress ended at %g, told %d times", last, told)
	}

	s := openChecked(t, path)
	if err := Verify(path, Options{Logger: silent, LockTimeout: 1}, nil); !errors.Is(err, store.ErrInUse) {
		t.Errorf("of an open file: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Verify(filepath.Join(t.TempDir(), "none.db"), Options{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
}

// A large file that was closed well is not looked at as a whole when it is opened. Verify does, and
// so it ends where pages lead in a circle.
func TestVerifyCircle(t *testing.T) {
	f := newFixture(t)
	path := f.path
	for range 7 {
		b := f.batch()
		for range 400 {
			b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, apartSize-1) }))
		}
		f.commit(b)
	}
	f.closeChecked()
	circles := 0
	damage(t, path, func(file []byte) []byte {
		for id := uint64(2); (id+1)*pageSize <= uint64(len(file)); id++ {
			b := file[id*pageSize:]
			if binary.NativeEndian.Uint64(b) == id && binary.NativeEndian.Uint16(b[8:]) == page.BranchPage {
				binary.NativeEndian.PutUint64(b[page.HeaderSize+8:], id)
				circles++
			}
		}
		return file
	})
	if circles == 0 {
		t.Fatal("there is no branch page")
	}
	s, err := Open(path, Options{Logger: silent})
	if err != nil {
		t.Fatalf("it is found when it is opened: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Verify(path, Options{Logger: silent}, nil); err == nil || !strings.Contains(err.Error(), "is used twice") {
		t.Errorf("got %v", err)
	}
}
