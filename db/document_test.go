package db

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

func (f *fixture) put(docs ...store.Document) {
	f.t.Helper()
	b := f.batch()
	b.Put = docs
	f.commit(b)
}

func doc(kind, key, value string) store.Document {
	return store.Document{Kind: kind, Key: key, Value: []byte(value)}
}

func (f *fixture) documents(kind, after string, down bool) (list []string) {
	f.t.Helper()
	f.view(func(r store.Reader) {
		err := r.Documents(kind, after, down, func(d store.Document) bool {
			if d.Kind != kind || d.Value == nil {
				f.t.Errorf("got %+v", d)
			}
			list = append(list, d.Key+"="+string(d.Value))
			return true
		})
		if err != nil {
			f.t.Error(err)
		}
	})
	return list
}

func (f *fixture) wantDocuments(kind, after string, down bool, want ...string) {
	f.t.Helper()
	if got := f.documents(kind, after, down); !slices.Equal(got, want) {
		f.t.Errorf("documents of %q behind %q, down %t: %q, want %q", kind, after, down, got, want)
	}
}

func TestDocuments(t *testing.T) {
	f := newFixture(t)
	f.wantDocuments("a", "", false)
	f.wantDocuments("a", "", true)
	f.put(doc("b", "2", "two"), doc("b", "1", "one"), doc("b", "3", ""), doc("a", "9", "a"), doc("b\x01", "0", "x"), doc("c", "0", "c"), doc("bb", "0", "bb"))
	for range 2 {
		f.wantDocuments("b", "", false, "1=one", "2=two", "3=")
		f.wantDocuments("b", "", true, "3=", "2=two", "1=one")
		f.wantDocuments("b", "1", false, "2=two", "3=")
		f.wantDocuments("b", "11", false, "2=two", "3=")
		f.wantDocuments("b", "3", false)
		f.wantDocuments("b", "3", true, "2=two", "1=one")
		f.wantDocuments("b", "4", true, "3=", "2=two", "1=one")
		f.wantDocuments("b", "1", true)
		f.wantDocuments("c", "", true, "0=c")
		f.wantDocuments("c", "0\x00", true, "0=c")
		f.wantDocuments("a", "", false, "9=a")
		f.wantDocuments("", "", false)
		f.wantDocuments("zz", "", true)
		f.reopen()
	}
	f.put(doc("b", "1", "other"), store.Document{Kind: "b", Key: "2"}, store.Document{Kind: "b", Key: "none"})
	f.wantDocuments("b", "", false, "1=other", "3=")
	f.put(store.Document{Kind: "b", Key: "1"}, store.Document{Kind: "b", Key: "3"})
	f.wantDocuments("b", "", false)
	f.wantDocuments("bb", "", false, "0=bb")
}

// TestDocumentsOldFile opens a file that was made before there were documents.
func TestDocumentsOldFile(t *testing.T) {
	f := newFixture(t)
	err := f.bolt.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketDocument) })
	if err != nil {
		t.Fatal(err)
	}
	f.reopen()
	f.wantDocuments("a", "", false)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	f.reopen()
	f.put(doc("a", "1", "one"))
	f.wantDocuments("a", "", false, "1=one")
	f.reopen()
	f.wantDocuments("a", "", true, "1=one")
	f.wantPositions(laneA, 1, false, 1)
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	for i := range 20 {
		f.put(store.Document{Kind: "k", Key: fmt.Sprint(i), Value: make([]byte, 60_000)})
	}
	full := f.Stats()
	for i := range 20 {
		f.put(store.Document{Kind: "k", Key: fmt.Sprint(i)})
	}
	st := f.Stats()
	if st.Path != f.path || st.Size < 20*60_000 || st.Size != f.Size() || st.Free < full.Free+15*60_000 || st.Free >= st.Size {
		t.Errorf("full %+v, empty %+v", full, st)
	}
	if st.DiskTotal == 0 || st.DiskFree > st.DiskTotal || (st.DiskTotal < 0) != (st.DiskFree < 0) {
		t.Errorf("disk: %+v", st)
	}
	if total, free := diskSpace(filepath.Join(t.TempDir(), "none", "at", "all")); total != -1 || free != -1 {
		t.Errorf("of no file: %d, %d", total, free)
	}
	if info, err := os.Stat(f.path); err != nil || st.Size > info.Size() {
		t.Errorf("file of %d bytes, %v", info.Size(), err)
	}
}

// TestForget deletes objects with all that is kept of them, and purges the lanes of a topic.
func TestForget(t *testing.T) {
	f := newFixture(t)
	gone := []store.Object{
		objectOf(store.Client, "erp", 0), objectOf(store.Topic, "/a", 1), objectOf(store.Producer, "crm\x00/a", 3), objectOf(store.Consumer, "five", 5),
	}
	kept := []store.Object{
		objectOf(store.Client, "crm", 0), objectOf(store.Topic, "/b", 2), objectOf(store.Producer, "crm\x00/b", 4), objectOf(store.Consumer, "six", 6),
	}
	b := f.batch()
	b.Define = slices.Concat(gone, kept)
	for _, id := range []uint32{5, 6} {
		b.Cursors = append(b.Cursors, store.CursorState{Consumer: id, Priority: 5, Cursor: store.Cursor{Floor: 2}}, store.CursorState{Consumer: id, Priority: 9, Cursor: store.Cursor{Floor: 3}})
		b.Attempts = append(b.Attempts, store.Attempt{Consumer: id, Priority: 5, Pos: 1, Count: 2}, store.Attempt{Consumer: id, Priority: 9, Pos: 1 << 40, Count: 3})
		b.Seen = append(b.Seen, store.Seen{Kind: store.SeenConsumer, ID: id, At: t0})
	}
	b.Seen = append(b.Seen, store.Seen{Kind: store.SeenProducer, ID: 3, At: t0}, store.Seen{Kind: store.SeenProducer, ID: 4, At: t0})
	b.Append = append(b.Append, f.message(laneA), f.message(laneA), f.message(laneC))
	f.commit(b)

	b = f.batch()
	b.Delete = gone
	f.commit(b)
	for range 2 {
		img := f.reopen()
		if !reflect.DeepEqual(stored(img.Objects), stored(kept)) {
			t.Errorf("%+v", img.Objects)
		}
		if len(img.Cursors) != 2 || len(img.Attempts) != 2 || len(img.Seen) != 2 {
			t.Errorf("%+v %+v %+v", img.Cursors, img.Attempts, img.Seen)
		}
		if img.LastID != 6 || len(img.Lanes) != 2 {
			t.Errorf("last number %d, lanes %+v", img.LastID, img.Lanes)
		}
	}
	// The number of the deleted consumer is known no more: its key is free for another one.
	b = f.batch()
	b.Define = []store.Object{objectOf(store.Consumer, "five", 7)}
	f.commit(b)
	b = f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 2}}}
	f.commit(b)
	b = f.batch()
	b.Purge = []store.Lane{laneA, laneB}
	f.commit(b)
	img := f.reopen()
	if len(img.Lanes) != 1 || img.Lanes[0].Lane != laneC || len(keysOf(img, store.Consumer)) != 2 {
		t.Errorf("lanes %+v, objects %+v", img.Lanes, img.Objects)
	}
	f.wantPositions(laneA, math.MaxUint64, true)
	f.wantPositions(laneC, 1, false, 1)
}
