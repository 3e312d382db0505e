package db

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipit/broker/store"
)

// notEncoded are the fields of a batch, by type, that its encoding leaves out, and why.
var notEncoded = map[string]string{
	"Removal.Through":    "Commit sets it",
	"Removal.Removed":    "Commit sets it",
	"Removal.Bytes":      "Commit sets it",
	"LaneState.Head":     "an Image alone has it",
	"Document.Committed": "a function",
}

// mayBeZero are the times of which the zero one is another than 1970.
var mayBeZero = map[string]bool{"Record.KeepID": true, "Expired.Again": true, "Expiry.At": true, "Seen.At": true}

// filler fills values with what is random.
type filler struct {
	*rand.Rand
	t    testing.TB
	full bool // no field is zero
	tiny bool // no payload is large
}

// fill fills v, the field of that name.
func (f *filler) fill(v reflect.Value, name string) {
	if notEncoded[name] != "" {
		return
	}
	switch v.Type() {
	case reflect.TypeFor[time.Time]():
		if !mayBeZero[name] || f.some() {
			v.Set(reflect.ValueOf(time.UnixMicro(1 + f.Int64N(1<<51)).UTC()))
		}
		return
	case reflect.TypeFor[store.Cursor]():
		v.Set(reflect.ValueOf(f.cursor()))
		return
	case reflect.TypeFor[[]byte]():
		if f.some() {
			v.SetBytes(f.bytes(40))
		}
		return
	case reflect.TypeFor[*store.Record]():
		v.Set(reflect.ValueOf(f.record()))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), v.Type().Name()+"."+v.Type().Field(i).Name)
		}
	case reflect.Slice:
		if f.some() {
			v.Set(reflect.MakeSlice(v.Type(), 1+f.IntN(3), 3))
		}
		for i := range v.Len() {
			f.fill(v.Index(i), name)
		}
	case reflect.Pointer:
		if f.some() {
			v.Set(reflect.New(v.Type().Elem()))
			f.fill(v.Elem(), name)
		}
	case reflect.String:
		if f.some() {
			v.SetString(string(f.bytes(40)))
		}
		if f.full && v.String() == "" {
			v.SetString("something")
		}
	case reflect.Bool:
		v.SetBool(f.some())
	case reflect.Int:
		v.SetInt(int64(f.number(63)))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.number(v.Type().Bits()))
	default:
		f.t.Fatalf("%s has kind %s: say here how it is filled", name, v.Kind())
	}
}

func (f *filler) some() bool { return f.full || f.IntN(3) > 0 }

// number returns one of any magnitude.
func (f *filler) number(bits int) uint64 {
	n := f.Uint64() >> (64 - bits) >> f.IntN(bits)
	if f.full {
		n |= 1
	}
	return n
}

func (f *filler) bytes(most int) []byte {
	b := make([]byte, f.IntN(most))
	for i := range b {
		b[i] = byte(f.Uint32())
	}
	return b
}

func (f *filler) cursor() store.Cursor {
	if n := reflect.TypeFor[store.Cursor]().NumField(); n != 2 {
		f.t.Fatalf("a cursor has %d fields: say here how they are filled", n)
	}
	c := store.Cursor{Floor: 1 + f.number(60)}
	for pos := c.Floor; f.full && len(c.Spans) == 0 || f.IntN(4) > 0; pos += 2 {
		pos += 1 + f.number(50)
		c.Add(pos, pos+f.number(8))
		pos = c.Spans[len(c.Spans)-1].To
	}
	return c
}

// record returns a message of each of the ways in which payloads are kept.
func (f *filler) record() *store.Record {
	r := new(store.Record)
	f.fill(reflect.ValueOf(r).Elem(), "Record")
	apart := r.Apart
	r.Apart = store.PayloadRef{}
	switch way := f.IntN(4); {
	case way == 0 && !f.tiny:
		r.Payload = make([]byte, apartSize+f.IntN(3))
		r.Payload[f.IntN(len(r.Payload))] = byte(f.IntN(256))
	case way == 1:
		if apart.Number != 0 {
			r.Payload, r.Apart = nil, apart
		}
	case way == 2 && !f.tiny:
		r.Payload = make([]byte, apartSize-1)
	}
	if r.ID == "" {
		r.KeepID = time.Time{} // a record without an ID has none
	}
	if r.MIMEType == "" {
		r.MIMEType = plainMIMEType // it is read as that
	}
	if r.Payload == nil && r.Apart.Number == 0 {
		r.Payload = []byte{} // it is read as that
	}
	return r
}

// batch returns a batch with what f fills it with.
func (f *filler) batch() *store.Batch {
	b := new(store.Batch)
	f.fill(reflect.ValueOf(b).Elem(), "Batch")
	for _, r := range b.Delay {
		r.Pos = 0
	}
	return b
}

// batch returns the batch that e was made of.
func (e *entry) batch() (*store.Batch, error) {
	b := &store.Batch{
		Undelay: e.undelay, Remove: e.remove, Lanes: e.lanes, Cursors: e.cursors, Attempts: e.attempts, Expiries: e.expiries, DropIDs: e.dropIDs,
		Seen: e.seen, Define: e.define, Delete: e.delete, Declared: e.declared, Purge: e.purge, Put: e.put, Now: microTime(e.now),
	}
	var err error
	if b.Append, err = records(e.append); err != nil {
		return nil, err
	}
	b.Delay, err = records(e.delay)
	return b, err
}

func records(list []message) (rs []*store.Record, err error) {
	for i := range list {
		m := &list[i]
		r := &store.Record{Place: m.Place}
		v := m.value
		if m.isApart() {
			v = m.refer(max(m.apart.Number, 1), nil)
		}
		var d decoder
		if err := d.decode(v, r); err != nil {
			return nil, err
		}
		if m.payload != nil {
			r.Apart, r.Payload = store.PayloadRef{}, m.payload
		}
		rs = append(rs, r)
	}
	return rs, nil
}

// differs tells how two batches differ, by the fields that do; nil and empty lists are the same.
func differs(got, want *store.Batch) (diff []string) {
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		g, w := g.Field(i), w.Field(i)
		if g.Kind() == reflect.Slice && g.Len() == 0 && w.Len() == 0 || reflect.DeepEqual(g.Interface(), w.Interface()) {
			continue
		}
		diff = append(diff, fmt.Sprintf("%s: got %+v, want %+v", reflect.TypeFor[store.Batch]().Field(i).Name, g, w))
		if g.Kind() != reflect.Slice || g.Len() != w.Len() {
			continue
		}
		for j := range g.Len() {
			if g, w := reflect.Indirect(g.Index(j)).Interface(), reflect.Indirect(w.Index(j)).Interface(); !reflect.DeepEqual(g, w) {
				diff = append(diff, fmt.Sprintf("%d: got %.500s, want %.500s", j, fmt.Sprintf("%+v", g), fmt.Sprintf("%+v", w)))
			}
		}
	}
	return diff
}

// roundTrip encodes a batch, takes it with e and compares the two.
func roundTrip(t *testing.T, e *entry, b *store.Batch) []byte {
	t.Helper()
	before := []byte("before")
	v := appendBatch(before, b)
	v, ok := bytes.CutPrefix(v, before)
	if !ok {
		t.Fatal("what was there before has changed")
	}
	if len(v) > batchBound(b) {
		t.Errorf("%d bytes, more than the bound %d", len(v), batchBound(b))
	}
	if err := e.parse(v); err != nil {
		t.Fatal(err)
	}
	got, err := e.batch()
	if err != nil {
		t.Fatal(err)
	}
	if diff := differs(got, b); diff != nil {
		t.Error(strings.Join(diff, "\n"))
	}
	return v
}

func TestBatchRoundTrip(t *testing.T) {
	seed := rand.Uint64()
	rounds := 3000
	if testing.Short() {
		rounds = 300
	}
	f := &filler{Rand: rand.New(rand.NewPCG(seed, 0)), t: t}
	var e entry
	for i := range rounds {
		if roundTrip(t, &e, f.batch()); t.Failed() {
			t.Fatalf("seed %d, batch %d", seed, i)
		}
	}
}

// TestEveryFieldOfABatchIsEncoded: a field that is new is compared, too, wherever it is.
func TestEveryFieldOfABatchIsEncoded(t *testing.T) {
	f := &filler{Rand: rand.New(rand.NewPCG(1, 0)), t: t, full: true}
	all := f.batch()
	empty := appendBatch(nil, &store.Batch{})
	var e entry
	typ := reflect.TypeFor[store.Batch]()
	for i := range typ.NumField() {
		t.Run(typ.Field(i).Name, func(t *testing.T) {
			b := new(store.Batch)
			reflect.ValueOf(b).Elem().Field(i).Set(reflect.ValueOf(all).Elem().Field(i))
			b.Now = all.Now
			v := appendBatch(nil, b)
			if notEncoded["Batch."+typ.Field(i).Name] == "" && bytes.Equal(v, empty) {
				t.Error("as if it were empty")
			}
			roundTrip(t, &e, b)
		})
	}
	roundTrip(t, &e, all)
}

// TestBatchValues: messages have the values that the file has of them, however their payloads are kept.
func TestBatchValues(t *testing.T) {
	f := &filler{Rand: rand.New(rand.NewPCG(2, 0)), t: t}
	ways := map[string]int{}
	for range 200 {
		r := f.record()
		var e entry
		if err := e.parse(appendBatch(nil, &store.Batch{Append: []*store.Record{r}})); err != nil {
			t.Fatal(err)
		}
		m := &e.append[0]
		ref, way := r.Apart, "moves"
		got := m.value
		switch {
		case len(r.Payload) >= apartSize:
			way = "apart"
			ref = store.PayloadRef{Number: 1 << 40, Size: m.apart.Size, Sum: m.apart.Sum}
			if !bytes.Equal(m.payload, r.Payload) {
				t.Error("the payload has changed")
			}
		case ref.Number == 0:
			way = "beside"
		}
		if m.isApart() != (way != "beside") || way == "moves" && m.payload != nil {
			t.Errorf("%s: apart %t, payload of %d bytes", way, m.isApart(), len(m.payload))
		}
		if m.isApart() {
			value := m.refer(ref.Number, []byte("before"))
			got = bytes.TrimPrefix(value, []byte("before"))
		}
		if want := appendRecord(nil, r, ref); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", way, got, want)
		}
		ways[way]++
	}
	if len(ways) != 3 {
		t.Errorf("not all ways: %v", ways)
	}
}

// goldenBatch has all parts.
func goldenBatch() *store.Batch {
	at := time.UnixMicro(1_777_000_000_123_456).UTC()
	lane := store.Lane{Topic: 300, Priority: 5}
	return &store.Batch{
		Append: []*store.Record{
			{Place: store.Place{Lane: lane, Pos: 1000}, Created: at, Expiration: 60, ID: "id-1", KeepID: at.Add(time.Hour), Producer: "CRM", MIMEType: "a/b", Payload: []byte("payload")},
			{Place: store.Place{Lane: lane, Pos: 1001}, Created: at, Delay: 5, Apart: store.PayloadRef{Number: 7, Size: 40000, Sum: 0x01020304}},
		},
		Delay:    []*store.Record{{Place: store.Place{Lane: lane}, Created: at, Delay: 5, Payload: []byte("later")}},
		Undelay:  []string{"delayed"},
		Remove:   []store.Removal{{Lane: lane, Range: store.Span{From: 1, To: 999}, Limit: 100}},
		Lanes:    []store.LaneState{{Lane: lane, Tail: 1001, Removed: 3, Skipped: 4}},
		Cursors:  []store.CursorState{{Consumer: 9, Priority: 5, Cursor: store.Cursor{Floor: 10, Spans: []store.Span{{From: 12, To: 20}, {From: 30, To: 30}}}, Finished: 8}},
		Attempts: []store.Attempt{{Consumer: 9, Priority: 5, Pos: 11, Count: 2}},
		Expiries: []store.Expired{
			{Expiry: store.Expiry{At: at, Lane: lane, Range: store.Span{From: 1, To: 10}}, Through: 5},
			{Expiry: store.Expiry{At: at, Lane: lane, Range: store.Span{From: 11, To: 20}}, Through: 15, Again: time.Unix(0, 0).UTC()},
		},
		DropIDs:  []store.StaleID{{Key: "stale"}},
		Seen:     []store.Seen{{Kind: store.SeenConsumer, ID: 9, At: at}, {Kind: store.SeenProducer, ID: 8}},
		Define:   []store.Object{{Kind: store.Topic, Key: "/a", ID: 300, Value: []byte(`{}`)}},
		Delete:   []store.Object{{Kind: store.Client, Key: "crm", Secret: true}},
		Declared: "hash",
		Purge:    []store.Lane{{Topic: 4, Priority: 9}},
		Put:      []store.Document{{Kind: "k", Key: "a", Value: []byte{}}, {Kind: "k", Key: "b", Secret: true}, {Kind: "k", Key: "c", Value: []byte("v")}},
		Now:      at,
	}
}

const golden = `
	01c0e497eec08594030102ac0205e80700000027150006502c0dc5f2403c0343524d03612f620469642d3180909de91a
	7061796c6f616409bd59beac0205e9070000000d1a0006502c0dc5f2400005000007c0b802010203040201ac02050000
	0016120006502c0dc5f240000500006c61746572a728bc4f03010764656c617965640401ac020501e707640501ac0205
	e907030406010905080a0202080a00070109050b020802c1e497eec0859403ac0205010a0500c1e497eec0859403ac02
	050b140f010901057374616c650a026309c1e497eec08594037008000b0105746f706963022f61ac0202027b7d0c0106
	636c69656e740363726d00010d04686173680e0104090f03016b01610200016b016201016b016302017600
`

// TestBatchVersion1: what a log has of this version is read by all that know it.
func TestBatchVersion1(t *testing.T) {
	want, err := hex.DecodeString(strings.Join(strings.Fields(golden), ""))
	if err != nil {
		t.Fatal(err)
	}
	b := goldenBatch()
	if got := appendBatch(nil, b); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	for _, r := range append(b.Append, b.Delay...) {
		if r.MIMEType == "" {
			r.MIMEType = plainMIMEType
		}
	}
	roundTrip(t, new(entry), b)
}

func TestBatchDamaged(t *testing.T) {
	v := appendBatch(nil, goldenBatch())
	var e entry
	check := func(name string, b []byte, want error) {
		t.Helper()
		if err := e.parse(b); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
		if again := appendBatch(nil, must(e.batch())); !bytes.Equal(again, appendBatch(nil, &store.Batch{})) {
			t.Errorf("%s: not empty after the error: %x", name, again)
		}
	}
	for i := range v {
		check(fmt.Sprintf("cut to %d bytes", i), v[:i], errBatch)
	}
	check("something behind it", append(bytes.Clone(v), 0), errBatch)
	for _, version := range []byte{0, batchVersion + 1} {
		w := bytes.Clone(v)
		w[0] = version
		check(fmt.Sprintf("version %d", version), w, errBatchVersion)
	}
	for name, parts := range map[string][]byte{
		"an unknown part":                {partPut + 1, 1, 0},
		"a part twice":                   {partPurge, 1, 1, 5, partPurge, 1, 1, 5},
		"parts out of order":             {partPurge, 1, 1, 5, partDeclared, 1, 'h'},
		"a part without entries":         {partPurge, 0},
		"an empty hash":                  {partDeclared, 0},
		"2^63 entries":                   {partUndelay, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"a topic of 2^35":                {partPurge, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 5},
		"a limit of 2^63":                {partRemove, 1, 1, 5, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"a time beyond all":              {partSeen, 1, 'p', 1, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"an unknown flag":                {partPut, 1, 1, 'k', 1, 'a', flagValue << 1},
		"a message of no bytes":          {partDelay, 1, 1, 5, 0, 0, 0, 0},
		"a message of 4 GiB":             {partDelay, 1, 1, 5, 0xff, 0xff, 0xff, 0xff, 0x10},
		"a payload of no bytes":          {partDelay, 1, 1, 5, 0, 0, 0, 1, recordVersion<<4 | flagApart, 0, 0, 0, 0, 0, 0},
		"a payload that is not all here": {partDelay, 1, 1, 5, 0, 0, 0, 1, recordVersion<<4 | flagApart, 0, 2, 0, 0, 0, 0, 'x'},
		"a cursor of no spans":           {partCursors, 1, 1, 5, 0, 1, 3, 1, 1},
	} {
		check(name, append(append([]byte{batchVersion, 0}, parts...), partEnd), errBatch)
	}
	check("a time of now beyond all", []byte{batchVersion, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, partEnd}, errBatch)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// hotBatch is what n publishers of 1 KiB and a consumer make the broker commit.
func hotBatch(n int) *store.Batch {
	b := &store.Batch{
		Lanes:   []store.LaneState{{Lane: laneA, Tail: 1000, Removed: 900}},
		Cursors: []store.CursorState{{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 900, Spans: []store.Span{{From: 902, To: 905}}}, Finished: 899}},
		Remove:  []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 900}}},
		Now:     t0,
	}
	for i := range n {
		b.Append = append(b.Append, &store.Record{Place: store.Place{Lane: laneA, Pos: 1000 + uint64(i)}, Created: t0, Expiration: 86400, Producer: "CRM", MIMEType: "application/json", Payload: make([]byte, 1024)})
	}
	return b
}

func TestBatchAllocatesNothing(t *testing.T) {
	b := hotBatch(64)
	b.Attempts = []store.Attempt{{Consumer: 1, Count: 2}}
	b.Expiries = []store.Expired{{Through: 1}}
	b.Seen = []store.Seen{{Kind: store.SeenProducer, ID: 1, At: t0}}
	b.Purge = []store.Lane{laneB}
	var e entry
	var buf []byte
	if n := testing.AllocsPerRun(100, func() {
		if bound := batchBound(b); cap(buf) < bound {
			buf = make([]byte, 0, bound)
		}
		buf = appendBatch(buf[:0], b)
		if err := e.parse(buf); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBatchLetsGo: what one large batch took is not kept for ever, and nothing of one is there after the next.
func TestBatchLetsGo(t *testing.T) {
	var e entry
	large := &store.Batch{Purge: make([]store.Lane, keepList+1), Put: []store.Document{{Kind: "k", Key: "a", Value: []byte("v")}}}
	for _, b := range []*store.Batch{large, {}} {
		if err := e.parse(appendBatch(nil, b)); err != nil {
			t.Fatal(err)
		}
	}
	if cap(e.purge) > 0 {
		t.Errorf("room for %d lanes is kept", cap(e.purge))
	}
	if len(e.put) > 0 || e.put[:1][0].Value != nil {
		t.Error("a document of the batch before is kept")
	}
}

func FuzzBatch(f *testing.F) {
	f.Add(appendBatch(nil, goldenBatch()))
	f.Add(appendBatch(nil, &store.Batch{}))
	f.Add([]byte("\x01\x00\x02\x01\x01\x05\x00\x00\x00\x0c\x18\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x02sum!ab\x00")) // a payload that is kept apart
	fill := &filler{Rand: rand.New(rand.NewPCG(3, 0)), t: f, tiny: true}
	for range 20 {
		f.Add(appendBatch(nil, fill.batch()))
	}
	f.Fuzz(func(t *testing.T, v []byte) {
		var e entry
		if e.parse(v) != nil {
			return
		}
		entries := len(e.append) + len(e.delay) + len(e.undelay) + len(e.remove) + len(e.lanes) + len(e.cursors) + len(e.attempts) +
			len(e.expiries) + len(e.dropIDs) + len(e.seen) + len(e.define) + len(e.delete) + len(e.purge) + len(e.put) + len(e.spans)
		if entries > len(v) {
			t.Errorf("%d entries of %d bytes", entries, len(v))
		}
		b, err := e.batch()
		if err != nil { // a record that is none: the rest, then
			e.append, e.delay = nil, nil
			b = must(e.batch())
		}
		for _, r := range append(b.Append, b.Delay...) {
			if r.ID == "" {
				r.KeepID = time.Time{} // it has no meaning then
			}
		}
		roundTrip(t, new(entry), b)
	})
}

// BenchmarkBatch encodes and takes batches, beside the encoding of their messages alone.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 64} {
		batch := hotBatch(n)
		buf := make([]byte, 0, batchBound(batch))
		b.Run(fmt.Sprintf("records/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				out := buf
				for _, r := range batch.Append {
					out = appendRecord(out, r, store.PayloadRef{})
				}
			}
		})
		b.Run(fmt.Sprintf("messages/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			messages := &store.Batch{Append: batch.Append, Now: t0}
			for b.Loop() {
				appendBatch(buf, messages)
			}
		})
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				appendBatch(buf, batch)
			}
		})
		b.Run(fmt.Sprintf("bound/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				batchBound(batch)
			}
		})
		b.Run(fmt.Sprintf("parse/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			v := appendBatch(nil, batch)
			var e entry
			for b.Loop() {
				if err := e.parse(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
