package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
)

func testOptions(dir string) Options {
	return Options{Dir: filepath.Join(dir, "log"), ID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, Size: 2 << 20}
}

// testEntry returns an entry of n bytes that its number and salt decide.
func testEntry(number, salt uint64, n int) []byte {
	b := make([]byte, n)
	x := number*0x9e3779b97f4a7c15 + salt
	for i := range b {
		if i%8 == 0 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		b[i] = byte(x >> (i % 8 * 8))
	}
	if n >= 8 {
		binary.BigEndian.PutUint64(b, number)
	}
	return b
}

func mustCreate(t testing.TB, o Options) *Log {
	t.Helper()
	l, err := Create(o)
	if err != nil {
		t.Fatal(err)
	}
	replayAll(t, l, 0)
	return l
}

// replayAll returns the entries behind after.
func replayAll(t testing.TB, l *Log, after uint64) [][]byte {
	t.Helper()
	var entries [][]byte
	if err := l.Replay(after, func(number uint64, entry []byte) error {
		if want := after + uint64(len(entries)) + 1; number != want {
			return fmt.Errorf("entry %d, want %d", number, want)
		}
		entries = append(entries, bytes.Clone(entry))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return entries
}

func mustAppend(t testing.TB, l *Log, number uint64, entry []byte) {
	t.Helper()
	if err := l.Append(number, entry); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLog(t *testing.T) {
	o := testOptions(t.TempDir())
	if _, err := Open(o); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	l := mustCreate(t, o)
	sizes := []int{0, 1, 7, 8, 100, 1 << 10, 600 << 10, 1100 << 10, 3}
	var want [][]byte
	for i, n := range sizes {
		e := testEntry(uint64(i+1), 0, n)
		want = append(want, e)
		mustAppend(t, l, uint64(i+1), e)
	}
	mustClose(t, l)
	if err := l.Append(10, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
	for after := range uint64(len(want) + 1) {
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		got := replayAll(t, l, after)
		if len(got) != len(want)-int(after) {
			t.Fatalf("after %d: %d entries", after, len(got))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[int(after)+i]) {
				t.Errorf("entry %d differs", int(after)+i+1)
			}
		}
		mustClose(t, l)
	}
	if _, err := Create(o); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if err := Remove(l.fs, o.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	mustClose(t, mustCreate(t, o))
}
