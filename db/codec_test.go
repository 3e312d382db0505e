package db

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pipit/broker/store"
)

func TestRecordRoundTrip(t *testing.T) {
	created := time.UnixMicro(1_777_000_000_123_456).UTC()
	for name, r := range map[string]store.Record{
		"plain":   {Created: created, Expiration: 60, Producer: "CRM", MIMEType: "text/plain", Payload: []byte("x")},
		"empty":   {Created: created, MIMEType: "text/plain", Payload: []byte{}},
		"full":    {Created: created, Delay: 5, Expiration: 1<<32 - 1, ID: "id-1", KeepID: created.Add(time.Hour), Producer: "Ä", MIMEType: "application/json", Payload: make([]byte, 5000)},
		"no keep": {Created: created, ID: "id-1", MIMEType: "text/plain", Payload: []byte("x")},
		"apart":   {Created: created, ID: "id-1", MIMEType: "text/plain", Apart: store.PayloadRef{Number: 1 << 40, Size: 1<<32 - 1, Sum: 7}},
		"extra": {Created: created, ID: "id-1", MIMEType: "text/plain", Payload: []byte("x"), Extra: &store.Extra{
			CorrelationID: "c", ReplyTo: "/r", Attributes: []store.Attribute{{Name: "a", Value: "1"}, {Name: "b"}},
			DeadLetter: &store.DeadLetter{Topic: "/t", Consumer: "erp", Reason: "expired", Count: 7, Number: 1<<32 - 1, At: created},
		}},
		"extra, nothing": {Created: created, MIMEType: "text/plain", Payload: []byte{}, Extra: &store.Extra{}},
		"extra, apart":   {Created: created, MIMEType: "text/plain", Apart: store.PayloadRef{Number: 1, Size: 2, Sum: 3}, Extra: &store.Extra{ReplyTo: "/r"}},
		"early":          {Created: created, ID: "id-1", KeepID: created.Add(-time.Hour), MIMEType: "text/plain", Payload: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			v := appendRecord(nil, &r, r.Apart)
			if len(v) > recordBound(&r) {
				t.Errorf("%d bytes, more than the bound %d", len(v), recordBound(&r))
			}
			var d decoder
			got := store.Record{ID: "old", KeepID: created, Delay: 9, Producer: "old"}
			if err := d.decode(v, &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, r) {
				t.Errorf("got %+v, want %+v", got, r)
			}
			for i := range v {
				if err := d.decode(v[:i], &got); err == nil {
					t.Errorf("cut to %d bytes: no error", i)
				}
				if i > 100 {
					break
				}
				w := bytes.Clone(v)
				w[i] ^= 0x10
				if err := d.decode(w, &got); err == nil {
					t.Errorf("byte %d changed: no error", i)
				}
			}
		})
	}
}

func TestRecordOfNewerVersion(t *testing.T) {
	v := appendRecord(nil, &store.Record{Created: t0, Payload: []byte("x")}, store.PayloadRef{})
	var d decoder
	for _, head := range []byte{0x30, 0x00} {
		v[0] = head
		if err := d.fields(v[:len(v)-checksumSize], new(store.Record)); err != errRecordVersion {
			t.Errorf("head %x: got %v", head, err)
		}
	}
}

// TestRecordWithoutExtra: what most messages are stored as has not changed since format 1.
func TestRecordWithoutExtra(t *testing.T) {
	v := appendRecord(nil, &store.Record{Created: time.UnixMicro(1), Expiration: 60, ID: "i", Producer: "CRM", MIMEType: "a/b", Payload: []byte("x")}, store.PayloadRef{})
	if got := fmt.Sprintf("%x", v); got != "1100000000000000013c0343524d03612f62016978da6d1edf" {
		t.Errorf("got %s", got)
	}
}

// TestExtraBounded: numbers that a damaged record names make nobody allocate, and nothing is left over.
func TestExtraBounded(t *testing.T) {
	for name, x := range map[string][]byte{
		"nothing":              {},
		"an unknown part":      {0x10},
		"2^40 attributes":      append([]byte{extraAttributes}, binary.AppendUvarint(nil, 1<<40)...),
		"more than there are":  {extraAttributes, 2, 1, 'a', 0},
		"a long text":          {extraReplyTo, 200, 1, 'x'},
		"a cut off time":       {extraDeadLetter, 0, 0, 0, 1, 0, 0, 0},
		"a count of 2^40":      append(append([]byte{extraDeadLetter, 0, 0, 0}, binary.AppendUvarint(nil, 1<<40)...), make([]byte, 8)...),
		"something behind all": {extraReplyTo, 1, 'x', 0},
	} {
		body := append([]byte{recordExtra << 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(x))}, x...)
		var d decoder
		if err := d.fields(body, new(store.Record)); err == nil {
			t.Errorf("%s: no error", name)
		}
		if d.bare = true; d.fields(body, new(store.Record)) != nil {
			t.Errorf("%s: an error where it is left out", name)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	a := appendRecord(nil, &store.Record{Created: t0, Producer: "CRM", MIMEType: "application/json", Payload: make([]byte, 100)}, store.PayloadRef{})
	b := appendRecord(nil, &store.Record{Created: t0, Producer: "Billing", MIMEType: "text/xml", Payload: make([]byte, 100)}, store.PayloadRef{})
	var d decoder
	var r store.Record
	if n := testing.AllocsPerRun(100, func() { _ = d.decode(a, &r); _ = d.decode(b, &r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(appendRecord(nil, &store.Record{Created: t0, Delay: 5, Expiration: 60, ID: "a", KeepID: t0.Add(time.Hour), Producer: "CRM", MIMEType: "a/b", Payload: []byte("x")}, store.PayloadRef{}), "CRM", "a/b", "id", uint32(60), uint32(5), int64(1), int64(2))
	f.Add([]byte{0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, extraAttributes | extraCorrelation, 1, 'c', 2, 1, 'a', 1, 'b', 1, 'c', 1, 'd', 'x'}, "", "c", "id", uint32(1), uint32(1), int64(1), int64(2))
	f.Add([]byte{0x10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, "", "", "", uint32(0), uint32(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, v []byte, producer, mime, id string, expiration, delay uint32, created, keep int64) {
		var d decoder
		var r store.Record
		if d.decode(v, &r) == nil {
			_ = appendRecord(nil, &r, r.Apart)
		}
		if d.fields(v, &r) == nil { // past the checksum
			var again store.Record
			if err := d.decode(appendRecord(nil, &r, r.Apart), &again); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(again.Extra, r.Extra) {
				t.Errorf("got %+v, want %+v", again.Extra, r.Extra)
			}
		}
		const most = 1 << 60 // microseconds: dates of tens of thousands of years
		want := store.Record{
			Created: time.UnixMicro(created % most).UTC(), Expiration: expiration, Delay: delay,
			Producer: producer, MIMEType: mime, ID: id, Payload: v,
		}
		if producer != mime {
			want.Extra = &store.Extra{CorrelationID: producer, ReplyTo: mime}
			for n := range expiration % 4 {
				want.Extra.Attributes = append(want.Extra.Attributes, store.Attribute{Name: fmt.Sprint(n, producer), Value: mime})
			}
			if delay%2 == 1 {
				want.Extra.DeadLetter = &store.DeadLetter{Topic: producer, Consumer: mime, Reason: id, Count: delay, Number: delay / 2, At: microTime(uint64(delay))}
			}
		}
		if id != "" && keep != 0 {
			want.KeepID = time.UnixMicro(keep % most).UTC()
		}
		var got store.Record
		if err := d.decode(appendRecord(nil, &want, want.Apart), &got); err != nil {
			t.Fatal(err)
		}
		if mime == "" {
			want.MIMEType = plainMIMEType
		}
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Error("payload differs")
		}
		got.Payload, want.Payload = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("0123456789abcdef0123456789"), uint32(1), uint8(5), uint64(7), uint64(9), "id")
	f.Fuzz(func(t *testing.T, b []byte, topic uint32, priority uint8, pos, n uint64, id string) {
		if l, ok := parseLane(b); ok && !bytes.Equal(appendLane(nil, l), b) {
			t.Error("lane")
		}
		if p, ok := parsePlace(b); ok && !bytes.Equal(appendPlace(nil, p.Lane, p.Pos), b) {
			t.Error("place")
		}
		if s, p, ok := parseExpiry(b); ok && !bytes.Equal(appendExpiry(nil, s, p.Lane, p.Pos), b) {
			t.Error("expiry")
		}
		if d, ok := parseDelayed(b); ok && !bytes.Equal(appendDelayed(nil, d), b) {
			t.Error("delayed")
		}
		if k, i, ok := parseSeen(b); ok && !bytes.Equal(appendSeen(nil, k, i), b) {
			t.Error("seen")
		}
		if k, ok := parseID(b); ok && !bytes.Equal(appendID(nil, k), b) {
			t.Error("id")
		}
		if keep, k, ok := parseIDKeep(b); ok && !bytes.Equal(appendID(binary.BigEndian.AppendUint64(nil, keep), k), b) {
			t.Error("idkeep")
		}
		place := store.Place{Lane: store.Lane{Topic: topic, Priority: priority}, Pos: pos}
		if got, ok := parsePlace(appendPlace(nil, place.Lane, pos)); !ok || got != place {
			t.Errorf("place %+v: got %+v", place, got)
		}
		d := delayedKey{pos, n, place.Lane}
		if got, ok := parseDelayed(appendDelayed(nil, d)); !ok || got != d {
			t.Errorf("delayed %+v: got %+v", d, got)
		}
		if bytes.IndexByte([]byte(id), 0) >= 0 {
			return
		}
		k := idKey{place: place, id: id}
		if pos == 0 {
			k.n = n
		}
		if got, ok := parseID(appendID(nil, k)); !ok || got != k {
			t.Errorf("id %+v: got %+v", k, got)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add([]byte{1, 0}, uint64(3))
	f.Add(appendCursor(nil, &store.Cursor{Floor: 7, Spans: []store.Span{{From: 9, To: 9}, {From: 11, To: 20}}}), uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, tail uint64) {
		if c, rest, ok := parseCursor(b); ok {
			again, rest2, ok := parseCursor(append(appendCursor(nil, &c), rest...))
			if !ok || !reflect.DeepEqual(again, c) || !bytes.Equal(rest, rest2) {
				t.Errorf("got %+v, want %+v", again, c)
			}
			last := c.Floor
			for i, s := range c.Spans {
				if s.From <= last || i > 0 && s.From == last+1 || s.To < s.From {
					t.Errorf("not in order: %+v", c)
				}
				last = s.To
			}
		}
		if l, ok := parseLaneState(b); ok {
			if again, ok := parseLaneState(appendLaneState(nil, &l)); !ok || again != l {
				t.Errorf("got %+v, want %+v", again, l)
			}
		}
		// The bytes as a list of numbers to add.
		want := store.CursorState{Cursor: store.Cursor{Floor: 1}, Finished: tail}
		for _, n := range b {
			want.Cursor.Add(uint64(n)+1, uint64(n)+1+uint64(n)%3)
		}
		got, ok := parseCursorState(appendCursorState(nil, &want))
		if !ok || got.Finished != want.Finished || got.Cursor.Floor != want.Cursor.Floor || !slices.Equal(got.Cursor.Spans, want.Cursor.Spans) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
