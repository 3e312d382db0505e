package db

import (
	"os"
	"strings"
	"testing"

	"pipit/broker/store"
	"pipit/db/page"
)

// What the head of an open file says is told, and what is wrong with it, while the file is in use.
func TestReadHead(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(store.Lane{Topic: 1, Priority: 5}))
	f.commit(b)
	h := ReadHead(f.Store)
	if len(h.Problems) != 0 || len(h.Metas) != 2 || !h.Metas[0].Valid || !h.Metas[1].Valid || h.Format != formatLog || len(h.Log) != 32 || h.Size == 0 {
		t.Errorf("%+v", h)
	}
	if a, b := h.Metas[0].Txid, h.Metas[1].Txid; a != b+1 && b != a+1 {
		t.Errorf("the meta pages are of %d and %d, which do not follow each other", a, b)
	}
	raw, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	older := h.Metas[0]
	if h.Metas[1].Txid < older.Txid {
		older = h.Metas[1]
	}
	at := older.Offset + page.HeaderSize + 40 // its high water
	flip := func() {
		var b [1]byte
		if _, err := raw.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 1
		if _, err := raw.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	if h = ReadHead(f.Store); len(h.Problems) != 1 || !strings.Contains(h.Problems[0], "has a wrong checksum") {
		t.Errorf("a meta page is damaged: %+v", h)
	}
	flip()
	if h = ReadHead(f.Store); len(h.Problems) != 0 {
		t.Errorf("it is as it was: %+v", h)
	}
}
