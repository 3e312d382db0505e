package wal

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"testing"

	"pipit/db/disk/disktest"
)

// holdsBytes tells whether a file of the log has the bytes.
func holdsBytes(t *testing.T, m *disktest.Mem, dir string, secret []byte) bool {
	t.Helper()
	names, err := segmentNames(m, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := m.OpenFile(filepath.Join(dir, name), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var info fs.FileInfo
		if info, err = file.Stat(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, info.Size())
		if err := readFull(file, b, 0); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, secret) {
			return true
		}
	}
	return false
}

// What was there when wiping began is gone when it is done, also after a power cut; what is needed stays.
func TestWipe(t *testing.T) {
	secret := []byte("a secret of more than a few bytes")
	for _, before := range []int{1, 3, 40, 150} { // entries of 1,000 bytes with the secret: some of them fill the log once or more
		for _, reopen := range []bool{false, true} {
			mem := disktest.NewMem("/db")
			rec, err := disktest.NewRecorder(mem, "/db")
			if err != nil {
				t.Fatal(err)
			}
			o := crashOptions()
			o.FS = rec
			l := mustCreate(t, o)
			appendOne := func(entry []byte) {
				t.Helper()
				for {
					err := l.Append(l.last+1, entry)
					if err == nil {
						return
					}
					if err := l.Cut(l.last); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range before {
				appendOne(append(make([]byte, 1000), secret...))
			}
			if reopen {
				mustClose(t, l)
				if l, err = Open(o); err != nil {
					t.Fatal(err)
				}
				replayAll(t, l, max(uint64(before), 3)-3)
			}
			l.StartWipe()
			if left, err := l.WipeStep(); err != nil || left == 0 {
				t.Fatalf("%d bytes left, %v", left, err)
			}
			var needed uint64
			for steps := 0; ; steps++ {
				appendOne([]byte("needed"))
				l.mu.Lock()
				for l.making {
					l.made.Wait()
				}
				l.mu.Unlock()
				needed = max(l.last, 3) - 3
				if err := l.Cut(needed); err != nil {
					t.Fatal(err)
				}
				left, err := l.WipeStep()
				if err != nil {
					t.Fatal(err)
				}
				if left == 0 {
					break
				}
				if steps > 100 {
					t.Fatalf("before %d, reopened %t: %d bytes are left", before, reopen, left)
				}
			}
			type wiped struct{}
			rec.Mark(wiped{})
			appendOne([]byte("needed"))
			last := l.last
			mustClose(t, l)
			for s := range rec.States(4*rec.Points(), 1) {
				if len(s.Marks) != 0 && holdsBytes(t, s.Mem("/db"), o.Dir, secret) {
					t.Fatalf("before %d, reopened %t: the secret is there", before, reopen)
				}
			}
			o.FS = mem
			if l, err = Open(o); err != nil {
				t.Fatal(err)
			}
			if got := replayAll(t, l, needed); len(got) != int(last-needed) {
				t.Errorf("%d entries, want %d", len(got), last-needed)
			}
		}
	}
}
