package db

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"pipit/broker/store"
)

var (
	t0     = time.Date(2026, 5, 1, 12, 0, 0, 250_000_000, time.UTC)
	laneA  = store.Lane{Topic: 1, Priority: 5}
	laneB  = store.Lane{Topic: 1, Priority: 9}
	laneC  = store.Lane{Topic: 2, Priority: 5}
	silent = slog.New(slog.NewTextHandler(io.Discard, nil))
)

// fixture is a store that is checked when the test ends, with the tails of its lanes.
type fixture struct {
	*Store
	t       testing.TB
	tails   map[store.Lane]uint64
	gone    map[store.Lane]*store.Cursor
	removed map[store.Lane]uint64
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, tails: map[store.Lane]uint64{}, gone: map[store.Lane]*store.Cursor{}, removed: map[store.Lane]uint64{}}
	f.Store = openChecked(t, filepath.Join(t.TempDir(), "test.db"))
	t.Cleanup(func() { f.closeChecked() })
	return f
}

// openChecked opens and loads; who calls it ends with closeChecked.
func openChecked(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) closeChecked() {
	f.t.Helper()
	if f.Store == nil {
		return
	}
	if err := f.Check(); err != nil {
		f.t.Errorf("Check: %v", err)
	}
	if err := f.Close(); err != nil {
		f.t.Errorf("Close: %v", err)
	}
	f.Store = nil
}

func (f *fixture) reopen() *store.Image {
	f.t.Helper()
	path := f.path
	f.closeChecked()
	s, err := Open(path, Options{Logger: silent})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Store = s
	img, err := s.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	return img
}

// message makes the next record of a lane.
func (f *fixture) message(l store.Lane, change ...func(*store.Record)) *store.Record {
	f.tails[l]++
	r := &store.Record{
		Place: store.Place{Lane: l, Pos: f.tails[l]}, Created: t0, Expiration: 60,
		Producer: "CRM", MIMEType: "text/plain", Payload: fmt.Appendf(nil, "payload %d", f.tails[l]),
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func (f *fixture) batch() *store.Batch { return &store.Batch{Now: t0} }

// commit completes the batch with the states of the lanes.
func (f *fixture) commit(b *store.Batch) {
	f.t.Helper()
	f.complete(b)
	if err := f.Commit(b); err != nil {
		f.t.Fatal(err)
	}
	f.removals(b)
}

func (f *fixture) complete(b *store.Batch) {
	touched := map[store.Lane]bool{}
	for _, r := range b.Append {
		touched[r.Lane] = true
	}
	for _, r := range b.Remove {
		touched[r.Lane] = true
		f.cursor(r.Lane).Add(r.Range.From, r.Range.To)
	}
	for l := range touched {
		b.Lanes = append(b.Lanes, store.LaneState{Lane: l, Tail: f.tails[l], Removed: f.removed[l]})
	}
}

func (f *fixture) cursor(l store.Lane) *store.Cursor {
	if f.gone[l] == nil {
		f.gone[l] = &store.Cursor{Floor: 1}
	}
	return f.gone[l]
}

// removals takes in what the removals of a batch came to.
func (f *fixture) removals(b *store.Batch) {
	for _, r := range b.Remove {
		f.removed[r.Lane] += uint64(r.Removed)
	}
}

func (f *fixture) view(fn func(store.Reader)) {
	f.t.Helper()
	if err := f.View(func(r store.Reader) error { fn(r); return nil }); err != nil {
		f.t.Fatal(err)
	}
}

// scan returns copies of the records of a lane.
func (f *fixture) scan(l store.Lane, from uint64, down bool) (list []store.Record) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		if err := r.Scan(l, from, down, func(m *store.Record) bool {
			c := *m
			c.Payload = append([]byte{}, m.Payload...)
			c.Apart = store.PayloadRef{} // the Store's own affair
			list = append(list, c)
			return true
		}); err != nil {
			f.t.Error(err)
		}
	})
	return list
}

func (f *fixture) positions(l store.Lane, from uint64, down bool) (list []uint64) {
	for _, r := range f.scan(l, from, down) {
		list = append(list, r.Pos)
	}
	return list
}

func (f *fixture) wantPositions(l store.Lane, from uint64, down bool, want ...uint64) {
	f.t.Helper()
	if got := f.positions(l, from, down); !reflect.DeepEqual(got, want) {
		f.t.Errorf("lane %v from %d down %v: got %v, want %v", l, from, down, got, want)
	}
}

// expiries returns "second:topic/priority:first-last", the second counted from t0's.
func (f *fixture) expiries() (list []string) {
	f.t.Helper()
	for _, e := range f.expired(t0.Add(1000 * time.Hour)) {
		list = append(list, fmt.Sprintf("%d:%d/%d:%d-%d", e.At.Unix()-t0.Unix(), e.Lane.Topic, e.Lane.Priority, e.Range.From, e.Range.To))
	}
	return list
}

func (f *fixture) expired(now time.Time) (list []store.Expiry) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		var err error
		if list, err = r.Expired(now, 1000); err != nil {
			f.t.Error(err)
		}
	})
	return list
}

func (f *fixture) wantExpiries(want ...string) {
	f.t.Helper()
	if got := f.expiries(); !reflect.DeepEqual(got, want) {
		f.t.Errorf("expiries: got %q, want %q", got, want)
	}
}

// find returns "priority/pos" of the messages of an ID.
func (f *fixture) find(topic uint32, id string) string {
	f.t.Helper()
	var list []string
	f.view(func(r store.Reader) {
		found, err := r.FindID(topic, id)
		if err != nil {
			f.t.Error(err)
		}
		for _, s := range found {
			list = append(list, fmt.Sprintf("%d/%d", s.Priority, s.Pos))
		}
	})
	return strings.Join(list, " ")
}

func (f *fixture) wantFind(topic uint32, id, want string) {
	f.t.Helper()
	if got := f.find(topic, id); got != want {
		f.t.Errorf("FindID(%d, %q): got %q, want %q", topic, id, got, want)
	}
}

func (f *fixture) stale(now time.Time) (list []store.StaleID) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		var err error
		if list, err = r.StaleIDs(now, 1000); err != nil {
			f.t.Error(err)
		}
	})
	return list
}

func (f *fixture) due(now time.Time, limit int) (list []store.Delayed, next time.Time) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		var err error
		if list, next, err = r.Due(now, limit, math.MaxInt); err != nil {
			f.t.Error(err)
		}
		for i := range list {
			list[i].Record.Payload = append([]byte{}, list[i].Record.Payload...)
		}
	})
	return list, next
}

func withID(id string, keep time.Time) func(*store.Record) {
	return func(r *store.Record) { r.ID, r.KeepID = id, keep }
}

func expiresIn(seconds uint32) func(*store.Record) {
	return func(r *store.Record) { r.Expiration = seconds }
}

func TestAppendScanRemove(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	for range 3 { // arrival order mixes the lanes
		b.Append = append(b.Append, f.message(laneC), f.message(laneA), f.message(laneB))
	}
	b.Append[0].Payload = make([]byte, 100_000) // needs more than one page
	f.commit(b)

	f.wantPositions(laneA, 1, false, 1, 2, 3)
	f.wantPositions(laneA, 2, false, 2, 3)
	f.wantPositions(laneA, 4, false)
	f.wantPositions(laneA, 2, true, 2, 1)
	f.wantPositions(laneA, 100, true, 3, 2, 1)
	f.wantPositions(laneB, 1<<63, true, 3, 2, 1)
	f.wantPositions(laneC, 1<<63, true, 3, 2, 1)
	f.wantPositions(store.Lane{Topic: 3}, 1, false)
	f.wantPositions(store.Lane{Topic: 0}, 1, true)
	for i, r := range f.scan(laneA, 1, false) {
		if want := *b.Append[3*i+1]; !reflect.DeepEqual(r, want) {
			t.Errorf("got %+v, want %+v", r, want)
		}
	}

	b = f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 2, To: 2}}, {Lane: laneC, Range: store.Span{From: 1, To: 3}}}
	f.commit(b)
	f.wantPositions(laneA, 1, false, 1, 3)
	f.wantPositions(laneC, 1, false)
	f.wantPositions(laneB, 1, false, 1, 2, 3)

	img := f.reopen()
	if len(img.Lanes) != 3 || img.Lanes[0].Tail != 3 || img.Lanes[0].Head != 1 || img.Lanes[0].Removed != 1 {
		t.Errorf("lanes: %+v", img.Lanes)
	}
	f.wantPositions(laneA, 1, false, 1, 3)
}

func TestScanStops(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA), f.message(laneA))
	f.commit(b)
	n := 0
	f.view(func(r store.Reader) {
		_ = r.Scan(laneA, 1, false, func(*store.Record) bool { n++; return false })
	})
	if n != 1 {
		t.Errorf("scan went on after false: %d calls", n)
	}
}

func TestState(t *testing.T) {
	f := newFixture(t)
	seen := t0.Add(time.Hour)
	b := f.batch()
	b.Define = []store.Object{
		objectOf(store.Client, "crm", 0), objectOf(store.Topic, "/a", 1), objectOf(store.Producer, "crm\x00/a", 2), objectOf(store.Consumer, "k1", 3),
	}
	b.Declared = "slow hash"
	b.Cursors = []store.CursorState{{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 7, Spans: []store.Span{{From: 9, To: 9}, {From: 11, To: 20}}}}}
	b.Attempts = []store.Attempt{{Consumer: 3, Priority: 5, Pos: 8, Count: 2}, {Consumer: 3, Priority: 5, Pos: 10, Count: 1}}
	b.Seen = []store.Seen{{Kind: store.SeenProducer, ID: 2, At: seen}, {Kind: store.SeenConsumer, ID: 3, At: t0}}
	f.commit(b)
	img := f.reopen()
	if img.LastID != 3 || img.Declared != "slow hash" || img.Key == [16]byte{} {
		t.Errorf("got %+v", img)
	}
	if !reflect.DeepEqual(stored(img.Objects), stored(b.Define)) {
		t.Errorf("got %+v, want %+v", img.Objects, b.Define)
	}
	if !reflect.DeepEqual(img.Cursors, b.Cursors) || !reflect.DeepEqual(img.Attempts, b.Attempts) {
		t.Errorf("got %+v %+v", img.Cursors, img.Attempts)
	}
	if len(img.Seen) != 2 || !img.Seen[1].At.Equal(seen) {
		t.Errorf("got %+v", img.Seen)
	}

	key := img.Key
	b = f.batch()
	b.Attempts = []store.Attempt{{Consumer: 3, Priority: 5, Pos: 8}}
	b.Define = []store.Object{objectOf(store.Consumer, "k2", 3)}
	f.commit(b)
	img = f.reopen()
	if len(img.Attempts) != 1 || img.Attempts[0].Pos != 10 {
		t.Errorf("attempts: %+v", img.Attempts)
	}
	if keys := keysOf(img, store.Consumer); len(keys) != 1 || keys[3] != "k2" {
		t.Errorf("consumers: %+v", keys)
	}
	if img.Key != key || img.Declared != "slow hash" {
		t.Error("key or declared changed")
	}
}

func TestConsumersSwapKeys(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Define = []store.Object{objectOf(store.Consumer, "k1", 1), objectOf(store.Consumer, "k2", 2)}
	f.commit(b)
	b = f.batch()
	b.Define = []store.Object{objectOf(store.Consumer, "k2", 1), objectOf(store.Consumer, "k1", 2)}
	f.commit(b)
	if keys := keysOf(f.reopen(), store.Consumer); len(keys) != 2 || keys[1] != "k2" || keys[2] != "k1" {
		t.Errorf("consumers: %+v", keys)
	}
}

// Random appends and removals, with restarts, against a map.
func TestAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	lanes := []store.Lane{laneA, laneB, laneC}
	model := map[store.Place]store.Record{}
	now := t0
	for step := range 400 {
		now = now.Add(time.Duration(rnd.IntN(700)) * time.Millisecond)
		b := &store.Batch{Now: now}
		for range rnd.IntN(20) {
			r := f.message(lanes[rnd.IntN(3)], expiresIn(uint32(rnd.IntN(4)*5)))
			r.Created = now.Truncate(time.Microsecond)
			r.Payload = make([]byte, rnd.IntN(3000))
			if rnd.IntN(10) == 0 {
				r.Payload = make([]byte, apartSize-1+rnd.IntN(3))
			}
			if rnd.IntN(3) == 0 {
				r.ID = fmt.Sprint("id", rnd.IntN(50))
				if rnd.IntN(2) == 0 {
					r.KeepID = now.Add(time.Duration(rnd.IntN(20)) * time.Second)
				}
			}
			b.Append = append(b.Append, r)
			model[r.Place] = *r
		}
		for range rnd.IntN(4) {
			l := lanes[rnd.IntN(3)]
			from := 1 + rnd.Uint64N(f.tails[l]+1)
			span := store.Span{From: from, To: min(from+rnd.Uint64N(10), f.tails[l])}
			if rnd.IntN(2) == 0 {
				span.From = f.cursor(l).Next(1)
				span.To = min(span.From+rnd.Uint64N(20), f.tails[l])
			}
			if span.To < span.From {
				continue
			}
			b.Remove = append(b.Remove, store.Removal{Lane: l, Range: span})
			for p := span.From; p <= span.To; p++ {
				delete(model, store.Place{Lane: l, Pos: p})
			}
		}
		for _, e := range f.expired(now) {
			if e.At.After(now) {
				t.Fatalf("early: %+v", e)
			}
			through := e.Range.From + rnd.Uint64N(e.Range.To-e.Range.From+1)
			b.Expiries = append(b.Expiries, store.Expired{Expiry: e, Through: through})
			b.Remove = append(b.Remove, store.Removal{Lane: e.Lane, Range: store.Span{From: e.Range.From, To: through}})
			for p := e.Range.From; p <= through; p++ {
				delete(model, store.Place{Lane: e.Lane, Pos: p})
			}
		}
		b.DropIDs = f.stale(now)
		f.commit(b)
		if step%50 == 49 {
			f.reopen()
		}
		if step%20 != 19 {
			continue
		}
		if err := f.Check(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		n := 0
		indexed := map[store.Place]bool{}
		for _, e := range f.expired(now.Add(time.Hour)) {
			for p := e.Range.From; p <= e.Range.To; p++ {
				indexed[store.Place{Lane: e.Lane, Pos: p}] = true
			}
		}
		for _, l := range lanes {
			for _, r := range f.scan(l, 1, false) {
				n++
				if want := model[r.Place]; !reflect.DeepEqual(r, want) {
					t.Fatalf("step %d: got %+v, want %+v", step, r, want)
				}
				if r.Expiration > 0 && !indexed[r.Place] {
					t.Fatalf("step %d: %v does not expire", step, r.Place)
				}
				if r.ID != "" && !strings.Contains(" "+f.find(r.Topic, r.ID)+" ", fmt.Sprintf(" %d/%d ", r.Priority, r.Pos)) {
					t.Fatalf("step %d: %v has no ID %s", step, r.Place, r.ID)
				}
			}
		}
		if n != len(model) {
			t.Fatalf("step %d: %d messages, want %d", step, n, len(model))
		}
	}
	// All is forgotten in the end.
	b := &store.Batch{Now: now.Add(time.Hour)}
	for _, l := range lanes {
		b.Remove = append(b.Remove, store.Removal{Lane: l, Range: store.Span{From: 1, To: f.tails[l]}})
	}
	b.DropIDs = f.stale(b.Now)
	f.commit(b)
	f.wantEmpty(bucketLog, bucketPayload, bucketID, bucketIDKeep, bucketExpiry)
}

func (f *fixture) wantEmpty(names ...[]byte) {
	f.t.Helper()
	tx, err := f.bolt.Begin(false)
	if err != nil {
		f.t.Fatal(err)
	}
	defer tx.Rollback()
	for _, name := range names {
		if k, _ := tx.Bucket(name).Cursor().First(); k != nil {
			f.t.Errorf("%s has %x", name, k)
		}
	}
}

func TestDamagedRecordIsSkipped(t *testing.T) {
	f := newFixture(t)
	var out strings.Builder
	f.log = slog.New(slog.NewTextHandler(&out, nil))
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA), f.message(laneA), f.message(laneA))
	f.commit(b)
	tx, err := f.bolt.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	key := appendPlace(nil, laneA, 2)
	v := append([]byte{}, tx.Bucket(bucketLog).Get(key)...)
	v[len(v)-checksumSize-1] ^= 1
	if err := errors.Join(tx.Bucket(bucketLog).Put(key, v), tx.Commit()); err != nil {
		t.Fatal(err)
	}
	f.wantPositions(laneA, 1, false, 1, 3)
	f.wantPositions(laneA, 3, true, 3, 1)
	if n := strings.Count(out.String(), "damaged"); n != 1 {
		t.Errorf("logged %d times: %s", n, out.String())
	}
	if err := f.Check(); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("Check: %v", err)
	}
	b = f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 3}}}
	f.commit(b)
}

func TestCheckFinds(t *testing.T) {
	for name, change := range map[string]func(f *fixture, b *store.Batch){
		"were removed": func(f *fixture, b *store.Batch) { b.Lanes[0].Removed = 1 },
		"but its tail": func(f *fixture, b *store.Batch) { b.Lanes[0].Tail = 5 },
		"above the highest": func(f *fixture, b *store.Batch) {
			f.lastID = 100 // so that it seems to be stored
			b.Define = []store.Object{objectOf(store.Topic, "/a", 9)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			b := f.batch()
			b.Append = append(b.Append, f.message(laneA))
			f.complete(b)
			change(f, b)
			if err := f.Commit(b); err != nil {
				t.Fatal(err)
			}
			if err := f.Check(); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v", err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			f.Store = nil
		})
	}
}

func TestCommitRejectsForeignKeys(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA))
	b.Undelay = []string{"x"}
	if err := f.Commit(b); err == nil {
		t.Error("no error")
	}
	f.wantPositions(laneA, 1, false) // nothing was stored
	b.Undelay = nil
	f.commit(b)
	f.wantPositions(laneA, 1, false, 1)
}

func TestSizePerMessage(t *testing.T) {
	for _, c := range []struct {
		name string
		id   bool
	}{{"plain", false}, {"explicit IDs", true}} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			rnd := rand.New(rand.NewPCG(1, 2))
			const n, perCommit, payload = 100_000, 100, 100
			for i := range n / perCommit {
				b := f.batch()
				for j := range perCommit {
					r := f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, payload) })
					r.Created = t0.Add(time.Duration(i) * 3 * time.Millisecond)
					if c.id {
						r.ID, r.KeepID = fmt.Sprintf("%08x-%011d", rnd.Uint32(), i*perCommit+j), r.Created.Add(300*time.Second)
					}
					b.Append = append(b.Append, r)
				}
				f.commit(b)
			}
			s := f.bolt.Stats()
			used := f.Size() - int64(s.FreePageN+s.PendingPageN)*int64(f.bolt.Info().PageSize)
			t.Logf("%d bytes a message of %d, with the pages in use alone %d", f.Size()/n, payload, used/n)
			if f.Size()/n > 2*payload+150 {
				t.Errorf("%d bytes a message", f.Size()/n)
			}
		})
	}
}

// TestTailFollowsFromLog: a publish does not put its lane's state, also not that of an empty lane
// that has had messages before.
func TestTailFollowsFromLog(t *testing.T) {
	f := newFixture(t)
	tail := func() uint64 {
		t.Helper()
		f.reopen()
		img, err := f.Load()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range img.Lanes {
			if l.Lane == laneB {
				return l.Tail
			}
		}
		return 0
	}
	publish := func() {
		t.Helper()
		b := f.batch()
		b.Append = append(b.Append, f.message(laneA), f.message(laneB), f.message(laneB))
		if err := f.Commit(b); err != nil {
			t.Fatal(err)
		}
	}
	if got := tail(); got != 0 {
		t.Errorf("tail of a new lane %d", got)
	}
	publish()
	if got := tail(); got != 2 {
		t.Errorf("tail %d after two messages", got)
	}
	b := f.batch()
	b.Remove = []store.Removal{{Lane: laneB, Range: store.Span{From: 1, To: 2}}}
	b.Lanes = []store.LaneState{{Lane: laneB, Tail: 2}}
	if err := f.Commit(b); err != nil {
		t.Fatal(err)
	}
	if got := tail(); got != 2 {
		t.Errorf("tail %d of the empty lane", got)
	}
}
