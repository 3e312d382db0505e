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
	held    bool // see hold
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
	if f.held { // a test that failed
		f.letGo()
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

// checkpoint brings all that was committed into the file.
func (f *fixture) checkpoint() {
	f.t.Helper()
	if err := f.Checkpoint(); err != nil {
		f.t.Fatal(err)
	}
}

func withID(id string, keep time.Time) func(*store.Record) {
	return func(r *store.Record) { r.ID, r.KeepID = id, keep }
}

func expiresIn(seconds uint32) func(*store.Record) {
	return func(r *store.Record) { r.Expiration = seconds }
}

func (f *fixture) wantEmpty(buckets ...int) {
	f.t.Helper()
	var v view
	in, err := f.enter(&v)
	if err != nil {
		f.t.Fatal(err)
	}
	defer in.leave()
	for _, no := range buckets {
		if k, _ := v.bucket(no).Cursor().First(); k != nil {
			f.t.Errorf("%s has %x", bucketNames[no], k)
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
	f.checkpoint()
	tx, err := f.bolt().Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	key := appendPlace(nil, laneA, 2)
	v := append([]byte{}, tx.Bucket(bucketNames[bucketLog]).Get(key)...)
	v[len(v)-checksumSize-1] ^= 1
	if err := errors.Join(tx.Bucket(bucketNames[bucketLog]).Put(key, v), tx.Commit()); err != nil {
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
			f.checkpoint()
			s := f.bolt().Stats()
			used := f.Size() - int64(s.FreePageN+s.PendingPageN)*int64(f.bolt().Info().PageSize)
			t.Logf("%d bytes a message of %d, with the pages in use alone %d", f.Size()/n, payload, used/n)
			if used/n > 2*payload+150 || f.Size() > used*4/3 { // a checkpoint may copy all of the bucket id, which leaves that free
				t.Errorf("%d bytes a message, %d of them in use", f.Size()/n, used/n)
			}
		})
	}
}
