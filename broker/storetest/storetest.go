// Package storetest tells whether a Store is one: Exercise holds it to what package store says of it, by what the interface
// shows alone. Whoever writes a Store runs it in a test of its own, beside the tests of how that one keeps what it is given.
package storetest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pipit/broker/store"
)

// Exercise runs the suite. open opens the store in a directory, which it makes where the directory is empty; a store
// that was closed is opened again, and has what it had. A store that has a method Check() error is asked before it is closed.
// Each test runs within around, where there is one: it may be synctest.Test.
func Exercise(t *testing.T, open func(dir string) (store.Store, error), around ...func(*testing.T, func(*testing.T))) {
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"Empty", empty}, {"Messages", messages}, {"MemoryOfABatch", memoryOfABatch}, {"AllOrNothing", allOrNothing},
		{"Removals", removals}, {"Tails", tails}, {"Purge", purge}, {"View", view},
		{"State", state}, {"Objects", objects}, {"Documents", documents},
		{"IDs", ids}, {"SameID", sameID}, {"Expired", expired}, {"Extra", extras}, {"Delayed", delayed}, {"DelayedBytes", delayedBytes}, {"DelayedDeleted", delayedDeleted},
		{"Secrets", secrets}, {"Stats", stats}, {"Model", model},
	} {
		run := func(t *testing.T) {
			f := &fixture{t: t, dir: t.TempDir(), open: open, tails: map[store.Lane]uint64{}, removed: map[store.Lane]uint64{}}
			f.start()
			t.Cleanup(f.close)
			test.run(f)
		}
		for _, wrap := range around {
			inner := run
			run = func(t *testing.T) { wrap(t, inner) }
		}
		t.Run(test.name, run)
	}
}

var (
	t0    = time.Date(2026, 5, 1, 12, 0, 0, 250_000_000, time.UTC)
	laneA = store.Lane{Topic: 1, Priority: 5}
	laneB = store.Lane{Topic: 1, Priority: 9}
	laneC = store.Lane{Topic: 2, Priority: 5}
)

// fixture is a store under test, with what its lanes have come to.
type fixture struct {
	store.Store
	t       *testing.T
	dir     string
	open    func(dir string) (store.Store, error)
	tails   map[store.Lane]uint64
	removed map[store.Lane]uint64
}

func (f *fixture) start() *store.Image {
	f.t.Helper()
	s, err := f.open(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Store = s
	image, err := s.Load()
	if err != nil {
		f.t.Fatal(err)
	}
	return image
}

func (f *fixture) close() {
	if f.Store == nil {
		return
	}
	if c, ok := f.Store.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			f.t.Errorf("Check: %v", err)
		}
	}
	if err := f.Close(); err != nil {
		f.t.Errorf("Close: %v", err)
	}
	f.Store = nil
}

func (f *fixture) reopen() *store.Image {
	f.t.Helper()
	f.close()
	return f.start()
}

// twice runs a check before and after a restart.
func (f *fixture) twice(check func()) {
	f.t.Helper()
	check()
	f.reopen()
	check()
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

func withID(id string, keep time.Time) func(*store.Record) {
	return func(r *store.Record) { r.ID, r.KeepID = id, keep }
}

func expiresIn(seconds uint32) func(*store.Record) {
	return func(r *store.Record) { r.Expiration = seconds }
}

// later makes a record that waits for its delay.
func later(l store.Lane, delay uint32, id string, keep time.Time) *store.Record {
	return &store.Record{Place: store.Place{Lane: l}, Created: t0, Delay: delay, Expiration: 60, ID: id, KeepID: keep,
		Producer: "CRM", MIMEType: "text/plain", Payload: fmt.Append(nil, "after ", delay)}
}

func removal(l store.Lane, from, to uint64) store.Removal {
	return store.Removal{Lane: l, Range: store.Span{From: from, To: to}}
}

// commit commits a batch, which it completes with the time, where it has none, and the states of the lanes.
func (f *fixture) commit(b *store.Batch) {
	f.t.Helper()
	f.complete(b)
	if err := f.Commit(b); err != nil {
		f.t.Fatal(err)
	}
	for _, r := range b.Remove {
		f.removed[r.Lane] += uint64(r.Removed) // #nosec G115 -- a count
	}
}

func (f *fixture) complete(b *store.Batch) {
	if b.Now.IsZero() {
		b.Now = t0
	}
	touched := map[store.Lane]bool{}
	for _, r := range b.Remove {
		if !touched[r.Lane] {
			touched[r.Lane] = true
			b.Lanes = append(b.Lanes, store.LaneState{Lane: r.Lane, Tail: f.tails[r.Lane], Removed: f.removed[r.Lane]})
		}
	}
}

// read looks at the store.
func read[T any](f *fixture, view func(store.Reader) (T, error)) (out T) {
	f.t.Helper()
	err := f.View(func(r store.Reader) (err error) {
		out, err = view(r)
		return err
	})
	if err != nil {
		f.t.Error(err)
	}
	return out
}

// copyOf returns a record without what is its Store's own affair, which shares no memory with it.
func copyOf(r *store.Record) store.Record {
	c := *r
	c.Payload = append([]byte{}, r.Payload...)
	c.Apart = store.PayloadRef{}
	return c
}

// extra is an Extra with everything, and with how a part of it may be.
func extra(n int) *store.Extra {
	x := &store.Extra{
		CorrelationID: fmt.Sprint("correlation ", n), ReplyTo: "/reply/ž",
		Attributes: []store.Attribute{{Name: "a", Value: ""}, {Name: "ce-type", Value: "com.example"}, {Name: "z", Value: strings.Repeat("ž", 4000)}},
		DeadLetter: &store.DeadLetter{Topic: "/a", Consumer: "erp", Reason: "rejected", Count: math.MaxUint32, Number: 3, At: t0},
	}
	switch n % 6 {
	case 1:
		return &store.Extra{Attributes: x.Attributes[:1]}
	case 2:
		return &store.Extra{CorrelationID: x.CorrelationID}
	case 3:
		return &store.Extra{ReplyTo: x.ReplyTo, DeadLetter: x.DeadLetter}
	case 4:
		return &store.Extra{}
	case 5:
		return nil
	}
	return x
}

func scan(r store.Reader, l store.Lane, from uint64, down bool) (list []store.Record, err error) {
	err = r.Scan(l, from, down, func(m *store.Record) bool {
		list = append(list, copyOf(m))
		return true
	})
	return list, err
}

func (f *fixture) scan(l store.Lane, from uint64, down bool) []store.Record {
	f.t.Helper()
	return read(f, func(r store.Reader) ([]store.Record, error) { return scan(r, l, from, down) })
}

func (f *fixture) wantPositions(l store.Lane, from uint64, down bool, want ...uint64) {
	f.t.Helper()
	var got []uint64
	for _, r := range f.scan(l, from, down) {
		got = append(got, r.Pos)
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("lane %v from %d, down %v: positions %v, want %v", l, from, down, got, want)
	}
	if down || len(want) == 0 {
		return
	}
	stored := read(f, func(r store.Reader) (list []uint64, err error) {
		err = r.Stored(l, store.Span{From: from, To: math.MaxUint64}, func(pos uint64) bool { list = append(list, pos); return true })
		return list, err
	})
	if !slices.Equal(stored, want) {
		f.t.Errorf("lane %v from %d: Stored %v, want %v", l, from, stored, want)
	}
}

// wantFind compares "priority/position" of the messages of an ID.
func (f *fixture) wantFind(topic uint32, id, want string) {
	f.t.Helper()
	var list []string
	for _, s := range read(f, func(r store.Reader) ([]store.Sighting, error) { return r.FindID(topic, id) }) {
		list = append(list, fmt.Sprintf("%d/%d", s.Priority, s.Pos))
	}
	if got := strings.Join(list, " "); got != want {
		f.t.Errorf("FindID(%d, %q): got %q, want %q", topic, id, got, want)
	}
}

func (f *fixture) stale(now time.Time) []store.StaleID {
	f.t.Helper()
	return read(f, func(r store.Reader) ([]store.StaleID, error) { return r.StaleIDs(now, 1000) })
}

func (f *fixture) expired(now time.Time) []store.Expiry {
	f.t.Helper()
	list := read(f, func(r store.Reader) ([]store.Expiry, error) { return r.Expired(now, 1000) })
	for i, e := range list {
		if e.At.After(now) || i > 0 && e.At.Before(list[i-1].At) || e.Range.From > e.Range.To {
			f.t.Errorf("Expired(%v): %v at %d", now, list, i)
		}
	}
	return list
}

// due returns at most limit delayed messages whose payloads reach at most so many bytes, and when the next one is due.
func (f *fixture) due(now time.Time, limit, bytes int) (list []store.Delayed, next time.Time) {
	f.t.Helper()
	read(f, func(r store.Reader) (_ int, err error) {
		list, next, err = r.Due(now, limit, bytes)
		for i := range list {
			c := *list[i].Record
			c.Payload = slices.Clone(c.Payload)
			list[i].Record = &c
		}
		return 0, err
	})
	return list, next
}

// waiting returns the keys and payloads of what waits for its delay, behind a key, at most so many.
func (f *fixture) waiting(after string, most int) (keys, payloads []string) {
	f.t.Helper()
	read(f, func(r store.Reader) (int, error) {
		return 0, r.ScanDelayed(after, func(d store.Delayed) bool {
			keys, payloads = append(keys, d.Key), append(payloads, string(d.Record.Payload))
			if d.Record.Pos != 0 {
				f.t.Errorf("a delayed message has a position: %+v", d.Record)
			}
			return len(keys) < most
		})
	})
	return keys, payloads
}

func (f *fixture) wantDocuments(kind, after string, down bool, want ...string) {
	f.t.Helper()
	got := read(f, func(r store.Reader) (list []string, err error) {
		err = r.Documents(kind, after, down, func(d store.Document) bool {
			if d.Kind != kind || d.Value == nil {
				f.t.Errorf("documents of %q: %+v", kind, d)
			}
			list = append(list, d.Key+"="+string(d.Value))
			return true
		})
		return list, err
	})
	if !slices.Equal(got, want) {
		f.t.Errorf("documents of %q behind %q, down %v: got %q, want %q", kind, after, down, got, want)
	}
}

// equal compares two lists in any order.
func equal[T any](got, want []T) bool {
	if len(got) != len(want) {
		return false
	}
	left := slices.Clone(got)
	for _, w := range want {
		i := slices.IndexFunc(left, func(g T) bool { return reflect.DeepEqual(g, w) })
		if i < 0 {
			return false
		}
		left = slices.Delete(left, i, i+1)
	}
	return true
}

// unchanged tells whether a store says of an error of Commit that it goes on as it was.
func unchanged(err error) bool {
	return errors.Is(err, store.ErrNotStored) || errors.Is(err, store.ErrNoSpace)
}
