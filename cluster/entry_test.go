package cluster

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEntry(t *testing.T) {
	for _, e := range []entry{
		{term: 3},
		{term: 3, chunk: chunkDigest},
		{term: 1, previous: 1 << 40, chunk: 0, chunks: 1, bytes: []byte("batch")},
		{term: 1 << 63, previous: 0, chunk: 31, chunks: 32, bytes: bytes.Repeat([]byte("x"), chunkSize)},
	} {
		b := e.append(nil)
		if len(b) > entryHead+len(e.bytes) {
			t.Errorf("%d bytes beside %d", len(b)-len(e.bytes), len(e.bytes))
		}
		var got entry
		if err := got.parse(b, newestEntry); err != nil {
			t.Fatal(err)
		}
		if got.term != e.term || got.previous != e.previous || got.chunk != e.chunk || got.chunks != e.chunks || !bytes.Equal(got.bytes, e.bytes) {
			t.Errorf("%+v became %+v", e, got)
		}
		for i := range entryHead {
			if err := got.parse(b[:min(i, len(b)-len(e.bytes)-1)], newestEntry); !errors.Is(err, errEntry) {
				t.Fatalf("%x: %v", b[:i], err)
			}
		}
	}
}

// An entry that a newer program wrote is not taken for one of this.
func TestEntryVersion(t *testing.T) {
	for what, b := range map[string][]byte{"version 2": {2, 0, 1, 1, 0, 1}, "group 1": {1, 1, 1, 1, 0, 1}} {
		var e entry
		if err := e.parse(b, newestEntry); !errors.Is(err, errEntryVersion) || e.chunks != 0 {
			t.Errorf("%s: %+v, %v", what, e, err)
		}
	}
}

// Whatever an entry is parsed from, it is what it is encoded as.
func FuzzEntry(f *testing.F) {
	f.Add((&entry{term: 3}).append(nil))
	f.Add((&entry{term: 3, previous: 300, chunk: 1, chunks: 2, bytes: []byte("x")}).append(nil))
	f.Add([]byte{1, 0, 0xff, 0xff})
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e, again entry
		if err := e.parse(b, newestEntry); err != nil {
			if e.term != 0 || e.chunks != 0 || e.bytes != nil {
				t.Fatalf("%+v after %v", e, err)
			}
			return
		}
		if err := again.parse(e.append(nil), newestEntry); err != nil || again.term != e.term || again.previous != e.previous || again.chunk != e.chunk || again.chunks != e.chunks || !bytes.Equal(again.bytes, e.bytes) {
			t.Fatalf("%+v became %+v: %v", e, again, err)
		}
		if e.chunks > 0 && e.chunk >= e.chunks {
			t.Fatalf("chunk %d of %d", e.chunk, e.chunks)
		}
	})
}

// A batch is whole when its chunks came one behind the other, and never of those of two.
func TestParts(t *testing.T) {
	whole := make([]byte, 2*chunkSize+100)
	for i := range whole {
		whole[i] = byte(rand.Uint32())
	}
	chunk := func(i int, change ...func(*entry)) *entry {
		e := &entry{term: 2, previous: 7, chunk: uint32(i), chunks: 3, bytes: chunkOf(whole, i)}
		for _, f := range change {
			f(e)
		}
		return e
	}
	term := func(e *entry) { e.term++ }
	previous := func(e *entry) { e.previous++ }
	fewer := func(e *entry) { e.chunks-- }
	many := func(e *entry) { e.chunks = maxChunks + 1 }
	for _, test := range []struct {
		name    string
		entries []*entry
		want    string // of each: . taken, x refused, ! the batch
	}{
		{"in order", []*entry{chunk(0), chunk(1), chunk(2)}, "..!"},
		{"twice", []*entry{chunk(0), chunk(1), chunk(2), chunk(0), chunk(1), chunk(2)}, "..!..!"},
		{"begun again", []*entry{chunk(0), chunk(1), chunk(0), chunk(1), chunk(2)}, "....!"},
		{"without the first", []*entry{chunk(1), chunk(2)}, "xx"},
		{"without one between", []*entry{chunk(0), chunk(2), chunk(1)}, ".xx"},
		{"one twice", []*entry{chunk(0), chunk(1), chunk(1), chunk(2)}, "..xx"},
		{"of another term", []*entry{chunk(0), chunk(1, term), chunk(2)}, ".xx"},
		{"behind another batch", []*entry{chunk(0), chunk(1, previous), chunk(2)}, ".xx"},
		{"of another number", []*entry{chunk(0), chunk(1, fewer), chunk(2)}, ".xx"},
		{"too many", []*entry{chunk(0, many), chunk(1, many)}, "xx"},
		{"alone", []*entry{{chunks: 1, bytes: whole}}, "!"},
	} {
		changed := bytes.Clone(whole)
		changed[chunkSize+5]++
		for of, own := range map[string][]byte{"another's": nil, "its own": whole, "one that is changed": changed, "a shorter one": whole[:2*chunkSize]} {
			if got := take(t, test.entries, own, whole); got != test.want {
				t.Errorf("%s, %s: %s, want %s", test.name, of, got, test.want)
			}
		}
	}
}

// take tells what becomes of entries that are taken one after another.
func take(t *testing.T, entries []*entry, own, whole []byte) string {
	var p parts
	var got strings.Builder
	for _, e := range entries {
		switch batch, ok := p.take(e, own); {
		case !ok:
			got.WriteByte('x')
		case batch == nil:
			got.WriteByte('.')
		case bytes.Equal(batch, whole):
			got.WriteByte('!')
		default:
			t.Error("another batch")
		}
	}
	return got.String()
}
