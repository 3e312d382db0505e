package db

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// TestDocumentsOldFile opens a file that was made before there were documents: those of formats 1 and 2 may have none.
func TestDocumentsOldFile(t *testing.T) {
	f := newFixture(t)
	err := f.bolt().Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.DeleteBucket(bucketNames[bucketDocument]), tx.Bucket(bucketNames[bucketMeta]).Put(keyFormat, []byte{0, 0, 0, 2}))
	})
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
	f.checkpoint()
	full := f.Stats()
	for i := range 20 {
		f.put(store.Document{Kind: "k", Key: fmt.Sprint(i)})
	}
	f.checkpoint()
	st := f.Stats()
	if st.Path != f.path || st.Size < 20*60_000 || st.Size < f.Size() || st.Free < full.Free+15*60_000 || st.Free >= st.Size {
		t.Errorf("full %+v, empty %+v", full, st)
	}
	if st.DiskTotal == 0 || st.DiskFree > st.DiskTotal || (st.DiskTotal < 0) != (st.DiskFree < 0) {
		t.Errorf("disk: %+v", st)
	}
	if total, free := diskSpace(filepath.Join(t.TempDir(), "none", "at", "all")); total != -1 || free != -1 {
		t.Errorf("of no file: %d, %d", total, free)
	}
	if info, err := os.Stat(f.path); err != nil || f.Size() > info.Size() {
		t.Errorf("file of %d bytes, %v", info.Size(), err)
	}
}
