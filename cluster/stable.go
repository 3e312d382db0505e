package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pipit/broker/store"
)

// stable is what raft calls its stable store, the term and the vote, and where the log begins: what is written seldom, each time in a transaction
// that is flushed. While it is open, no other process has the directory.
type stable struct{ file *bbolt.DB }

// logBegin says which log it is, and where it begins.
type logBegin struct {
	ID    [16]byte // of the wal
	Cut   uint64   // the number of the last record that is not needed
	First uint64   // the index before which there is no entry in records up to the number Last
	Last  uint64
}

// clip takes from a record the entries that are not there.
func (b *logBegin) clip(r *record) {
	if r.number <= b.Last && r.first < b.First {
		n := int(min(b.First, r.end()) - r.first) // #nosec G115 -- at most count
		r.first += uint64(n)                      // #nosec G115 -- likewise
		r.count -= n
	}
}

var (
	stableBucket = []byte("stable")
	beginKey     = []byte("begin")
)

func openStable(path string) (*stable, error) {
	f, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("the cluster's log %s is %w", path, store.ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("the cluster's log %s: %w", path, err)
	}
	return &stable{f}, nil
}

func (s *stable) close() error { return s.file.Close() }

// begin returns where the log begins; ok is false where none was made.
func (s *stable) begin() (begin logBegin, ok bool, err error) {
	b, err := s.Get(beginKey)
	if errors.Is(err, errKeyNotFound) {
		return begin, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &begin)
	}
	return begin, err == nil, err
}

// setBegin notes where the log begins from now on.
func (s *stable) setBegin(begin logBegin) error {
	b, err := json.Marshal(begin)
	if err != nil {
		return err
	}
	return s.Set(beginKey, b)
}

// errKeyNotFound is known to raft by its text.
var errKeyNotFound = errors.New("not found")

// Get implements raft.StableStore.
func (s *stable) Get(k []byte) (v []byte, err error) {
	err = s.file.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(stableBucket); b != nil {
			v = append(v, b.Get(k)...)
		}
		if len(v) == 0 {
			return errKeyNotFound
		}
		return nil
	})
	return v, err
}

// Set implements raft.StableStore.
func (s *stable) Set(k, v []byte) error {
	return s.file.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(stableBucket)
		if err != nil {
			return err
		}
		return b.Put(k, v)
	})
}

// GetUint64 implements raft.StableStore.
func (s *stable) GetUint64(k []byte) (n uint64, err error) {
	b, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	return n, json.Unmarshal(b, &n)
}

// SetUint64 implements raft.StableStore.
func (s *stable) SetUint64(k []byte, n uint64) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return s.Set(k, b)
}

var _ raft.StableStore = (*stable)(nil)
