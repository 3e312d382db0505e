package disktest

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/db/disk"
)

// What bbolt promises holds in each state of a file of its: it opens, is whole, and has what was committed.
func TestBolt(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	options := &bbolt.Options{Timeout: time.Second, NoSync: true} // the flushes are those of the recording
	db := must[*bbolt.DB](t)(bbolt.Open(path, 0o600, options))
	r := must[*Recorder](t)(NewRecorder(disk.OS, dir))
	before := must[[]byte](t)(os.ReadFile(path))
	key := func(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) } // #nosec G115 -- small
	const commits = 20
	for i := range commits {
		if err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			if err := b.Delete(key(i - 3)); err != nil {
				return err
			}
			return b.Put(key(i), make([]byte, 3000))
		}); err != nil {
			t.Fatal(err)
		}
		after := must[[]byte](t)(os.ReadFile(path))
		if err := r.Foreign(path, os.Getpagesize(), before, after, Bolt()...); err != nil {
			t.Fatal(err)
		}
		r.Mark(i)
		before = after
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	n := 3 * r.Points()
	if testing.Short() {
		n /= 3
	}
	to := t.TempDir()
	for s := range r.States(n, 1) {
		if err := s.Write(to); err != nil {
			t.Fatal(err)
		}
		db, err := bbolt.Open(filepath.Join(to, "db"), 0o600, options)
		if err != nil {
			t.Fatalf("state %d of point %d: %v", s.Seed, s.Point, err)
		}
		if err := db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				t.Errorf("state %d of point %d: %v", s.Seed, s.Point, err)
			}
			if len(s.Marks) == 0 {
				return nil
			}
			// The commit behind it may be there, too, and have deleted the oldest of its three.
			if b, last := tx.Bucket([]byte("b")), s.Marks[len(s.Marks)-1].(int); b == nil || b.Get(key(last)) == nil {
				t.Errorf("state %d of point %d: commit %d is not there", s.Seed, s.Point, last)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
