package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestRead: each entry that is not cut is read as it was appended, also after it was opened again, while others write over what is cut.
func TestRead(t *testing.T) {
	o := testOptions(t.TempDir())
	o.Readable, o.Size, o.chunk = true, 3<<20, 64<<10
	l := mustCreate(t, o)
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	want := map[uint64][]byte{}
	var last, cut uint64
	read := func() {
		t.Helper()
		for number := uint64(0); number <= last+1; number++ {
			got, err := l.Read(number, []byte("x"))
			if entry, ok := want[number]; ok && (err != nil || string(got[:1]) != "x" || !bytes.Equal(got[1:], entry)) {
				t.Fatalf("entry %d: %v, or it differs", number, err)
			} else if !ok && !errors.Is(err, ErrNotThere) {
				t.Fatalf("entry %d, which is not there: %v", number, err)
			}
		}
	}
	for range 20 {
		for range 20 {
			entry := testEntry(last+1, seed, random.IntN(40<<10)*(1+random.IntN(4)))
			if err := l.Append(last+1, entry); errors.Is(err, ErrFull) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			last++
			want[last] = entry
		}
		if random.IntN(3) == 0 {
			mustClose(t, l)
			var err error
			if l, err = Open(o); err != nil {
				t.Fatal(err)
			}
			replayAll(t, l, cut)
		}
		read()
		for n := random.Uint64N(last - cut + 1); n > 0; n-- {
			cut++
			delete(want, cut)
		}
		if err := l.Cut(cut); err != nil {
			t.Fatal(err)
		}
		read()
	}
	number := last + 1
	mustAppend(t, l, number, testEntry(number, seed, 100))
	w, _ := l.places.find(number)
	if _, err := w.segment.file.WriteAt([]byte{0}, w.at+frameHead+50); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(number, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a flipped byte: %v", err)
	}
	mustClose(t, l)
}
