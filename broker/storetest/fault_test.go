package storetest_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/broker/storetest"
	"pipit/db"
)

// faults are stores with one fault each, by the test of the suite that finds it.
var faults = map[string]fault{
	"Empty": {load: func(i *store.Image) { copy(i.Key[:], time.Now().String()[11:]) }},
	"Messages": {scan: func(r store.Reader, l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error {
		return r.Scan(l, from+1, down, fn)
	}},
	"MemoryOfABatch": {keep: true},
	"AllOrNothing":   {parts: true},
	"Removals":       {result: func(b *store.Batch) { b.Remove[0].Removed = int(b.Remove[0].Range.To - b.Remove[0].Range.From + 1) }},
	"Tails": {load: func(i *store.Image) {
		i.Lanes = slices.DeleteFunc(i.Lanes, func(l store.LaneState) bool { return l.Head > l.Tail })
	}},
	"Purge":   {batch: func(b *store.Batch) { b.Purge = nil }},
	"View":    {torn: true},
	"State":   {batch: func(b *store.Batch) { b.Attempts = nil }},
	"Objects": {batch: func(b *store.Batch) { b.Delete = nil }},
	"Documents": {documents: func(r store.Reader, kind, after string, down bool, fn func(store.Document) bool) error {
		return r.Documents(kind, after, false, fn)
	}},
	"IDs":     {batch: func(b *store.Batch) { b.DropIDs = nil }},
	"SameID":  {find: func(s []store.Sighting) []store.Sighting { slices.Reverse(s); return s }},
	"Expired": {early: time.Second},
	"Delayed": {batch: func(b *store.Batch) { b.Undelay = nil }},
	"DelayedBytes": {batch: func(b *store.Batch) {
		for _, r := range b.Append { // it forgets what Due left out
			r.Apart = store.PayloadRef{}
		}
	}},
	"DelayedDeleted": {find: func(s []store.Sighting) []store.Sighting {
		return slices.DeleteFunc(s, func(s store.Sighting) bool { return s.Pos == 0 && s.Key == "" })
	}},
	"Secrets": {batch: func(b *store.Batch) {
		for _, all := range [][]store.Object{b.Define, b.Delete} {
			for i := range all {
				all[i].Secret = false
			}
		}
		for i := range b.Put {
			b.Put[i].Secret = false
		}
	}},
	"Stats": {stats: func(s *store.Stats) { s.Free = s.Size + 1 }},
	"Model": {scan: func(r store.Reader, l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error {
		return r.Scan(l, from, down, func(m *store.Record) bool { return len(m.Payload) > 32<<10 || fn(m) })
	}},
}

type fault struct {
	load      func(*store.Image)
	batch     func(*store.Batch) // before it is committed
	result    func(*store.Batch) // after that
	parts     bool               // it commits messages by themselves
	keep      bool               // it keeps the records of a batch
	torn      bool               // a look is one of many moments
	scan      func(r store.Reader, l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error
	documents func(r store.Reader, kind, after string, down bool, fn func(store.Document) bool) error
	find      func([]store.Sighting) []store.Sighting
	early     time.Duration
	stats     func(*store.Stats)
}

// faulty is a good store with a fault.
type faulty struct {
	*db.Store
	fault
	kept map[store.Place]*store.Record
}

func (s *faulty) Load() (*store.Image, error) {
	image, err := s.Store.Load()
	if err == nil && s.load != nil {
		s.load(image)
	}
	return image, err
}

func (s *faulty) Check() error { return nil } // the suite is to find it by itself

func (s *faulty) Commit(given *store.Batch) error {
	b := new(*given)
	if s.batch != nil {
		s.batch(b)
	}
	if s.parts {
		if err := s.Store.Commit(&store.Batch{Append: b.Append, Now: b.Now}); err != nil {
			return err
		}
		b.Append = nil
	}
	if s.keep {
		for _, r := range b.Append {
			s.kept[r.Place] = r
		}
	}
	err := s.Store.Commit(b)
	if err == nil && s.result != nil && len(b.Remove) > 0 {
		s.result(b)
	}
	return err
}

func (s *faulty) View(fn func(store.Reader) error) error {
	return s.Store.View(func(r store.Reader) error { return fn(faultyReader{r, s}) })
}

func (s *faulty) Stats() store.Stats {
	st := s.Store.Stats()
	if s.stats != nil {
		s.stats(&st)
	}
	return st
}

type faultyReader struct {
	store.Reader
	s *faulty
}

func (r faultyReader) Scan(l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error {
	switch {
	case r.s.torn:
		return r.s.Store.View(func(now store.Reader) error { return now.Scan(l, from, down, fn) })
	case r.s.keep:
		return r.Reader.Scan(l, from, down, func(m *store.Record) bool { return fn(r.s.kept[m.Place]) })
	case r.s.scan != nil:
		return r.s.scan(r.Reader, l, from, down, fn)
	}
	return r.Reader.Scan(l, from, down, fn)
}

func (r faultyReader) Documents(kind, after string, down bool, fn func(store.Document) bool) error {
	if r.s.documents != nil {
		return r.s.documents(r.Reader, kind, after, down, fn)
	}
	return r.Reader.Documents(kind, after, down, fn)
}

func (r faultyReader) FindID(topic uint32, id string) ([]store.Sighting, error) {
	list, err := r.Reader.FindID(topic, id)
	if r.s.find != nil {
		list = r.s.find(list)
	}
	return list, err
}

func (r faultyReader) Expired(now time.Time, limit int) ([]store.Expiry, error) {
	list, err := r.Reader.Expired(now.Add(r.s.early), limit)
	for i := range list {
		list[i].At = list[i].At.Add(-r.s.early)
	}
	return list, err
}

const faultOf = "STORETEST_FAULT" // a variable: which fault this process is to have

// Each test of the suite fails for a store with a fault of its kind.
func TestExerciseFindsFaults(t *testing.T) {
	if name := os.Getenv(faultOf); name != "" {
		storetest.Exercise(t, func(dir string) (store.Store, error) {
			s, err := db.Open(filepath.Join(dir, "x.db"), db.Options{})
			return &faulty{s, faults[name], map[store.Place]*store.Record{}}, err
		})
		return
	}
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestExerciseFindsFaults$/^"+name+"$") // #nosec G204 -- this test
		cmd.Env = append(os.Environ(), faultOf+"="+name)
		out, err := cmd.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("--- FAIL: TestExerciseFindsFaults/"+name)) || bytes.Contains(out, []byte("panic:")) {
			t.Errorf("%s does not find its fault: %v\n%s", name, err, out)
		}
	}
}
