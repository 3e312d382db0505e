package cluster

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// logStore is raft's log, which counts its bytes. Raft says when it may be cut off; how much then goes is decided here: all but the newest half
// of its size, and never an entry that the file does not have, or that a copy needs to which a file is being sent.
type logStore struct {
	path    string
	limit   int64
	durable func() uint64 // the index up to which the file has everything
	fail    func(error)
	large   chan struct{} // tells that there are more bytes than limit

	io   sync.RWMutex // of who replaces bolt
	bolt *raftboltdb.BoltStore

	mu    sync.Mutex
	base  uint64  // the index of the first of sizes
	sizes []int32 // of the entries
	total int64
	holds map[*uint64]bool // indexes from which on entries are kept
}

// entryBeside is what an entry takes beside its data, about.
const entryBeside = 80

// deleteStep is how many entries are deleted in one transaction.
const deleteStep = 4096

func newLogStore(b *raftboltdb.BoltStore, opts Options, fail func(error)) (*logStore, error) {
	s := &logStore{bolt: b, path: logPath(opts.Dir), limit: opts.LogSize, durable: opts.Store.Durable, fail: fail, large: make(chan struct{}, 1), holds: map[*uint64]bool{}}
	first, err := b.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := b.LastIndex()
	if err != nil {
		return nil, err
	}
	var l raft.Log
	for i := first; i <= last && first > 0; i++ {
		switch err := b.GetLog(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound): // before a file that was received
		case err != nil:
			return nil, fmt.Errorf("the cluster's log: entry %d: %w", i, err)
		default:
			s.count(&l)
		}
	}
	s.look()
	return s, nil
}

// count takes an entry into account. The caller has mu, or is alone.
func (s *logStore) count(l *raft.Log) {
	if l.Index != s.base+uint64(len(s.sizes)) { // it comes behind a file that was received
		s.base, s.sizes, s.total = l.Index, s.sizes[:0], 0
	}
	n := int32(len(l.Data) + entryBeside) // #nosec G115 -- a chunk
	s.sizes = append(s.sizes, n)
	s.total += int64(n)
}

// look tells who cuts the log off where it is too large.
func (s *logStore) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total > s.limit {
		select {
		case s.large <- struct{}{}:
		default:
		}
	}
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	return reading(s, (*raftboltdb.BoltStore).FirstIndex)
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return reading(s, (*raftboltdb.BoltStore).LastIndex) }

func reading[T any](s *logStore, read func(*raftboltdb.BoltStore) (T, error)) (T, error) {
	s.io.RLock()
	defer s.io.RUnlock()
	return read(s.bolt)
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	s.io.RLock()
	defer s.io.RUnlock()
	return s.bolt.GetLog(index, l)
}

// Set, and the other three, implement raft.StableStore.
func (s *logStore) Set(k, v []byte) error {
	s.io.RLock()
	defer s.io.RUnlock()
	return s.bolt.Set(k, v)
}

// Get implements raft.StableStore.
func (s *logStore) Get(k []byte) ([]byte, error) {
	return reading(s, func(b *raftboltdb.BoltStore) ([]byte, error) { return b.Get(k) })
}

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(k []byte, n uint64) error {
	s.io.RLock()
	defer s.io.RUnlock()
	return s.bolt.SetUint64(k, n)
}

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(k []byte) (uint64, error) {
	return reading(s, func(b *raftboltdb.BoltStore) (uint64, error) { return b.GetUint64(k) })
}

func (s *logStore) close() error {
	s.io.Lock()
	defer s.io.Unlock()
	return s.bolt.Close()
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. An error that leaves it uncertain what is on the disk ends the node.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	s.io.RLock()
	err := s.bolt.StoreLogs(logs)
	s.io.RUnlock()
	if err != nil {
		err = fmt.Errorf("the cluster's log could not be written: %w", err)
		if !errors.Is(err, syscall.ENOSPC) {
			s.fail(err)
		}
		return err
	}
	s.mu.Lock()
	for _, l := range logs {
		s.count(l)
	}
	s.mu.Unlock()
	s.look()
	return nil
}

// hold keeps the entries from an index on until it is released.
func (s *logStore) hold(from uint64) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[&from] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holds, &from)
	}
}

// DeleteRange implements raft.LogStore. Behind what the file has it takes back what the leader has not; else it cuts the log off.
func (s *logStore) DeleteRange(from, to uint64) error {
	if from <= s.durable() {
		return s.delete(from, min(to, s.cut()))
	}
	last, err := s.LastIndex()
	if err != nil || to < last {
		return err
	}
	return s.delete(from, to)
}

// drop lets go of all up to an index: a file that was received has it. None of it is to be found, since another leader may have written it.
func (s *logStore) drop(through uint64) error {
	first, err := s.FirstIndex()
	if err != nil || first == 0 {
		return err
	}
	return s.delete(first, through)
}

func (s *logStore) delete(from, to uint64) error {
	for at := from; at <= to; at += deleteStep {
		s.io.RLock()
		err := s.bolt.DeleteRange(at, min(at+deleteStep-1, to))
		s.io.RUnlock()
		if err != nil {
			return err
		}
	}
	if from <= to {
		s.forget(from, to)
	}
	return nil
}

// cut returns the index up to which the log may be cut off. The entry of the file's own place stays: raft asks for its term.
func (s *logStore) cut() uint64 {
	durable := s.durable()
	s.mu.Lock()
	defer s.mu.Unlock()
	n, left := 0, s.total
	for n < len(s.sizes) && left > s.limit/2 {
		left -= int64(s.sizes[n])
		n++
	}
	to := s.base + uint64(n) // #nosec G115 -- an index
	for from := range s.holds {
		to = min(to, *from)
	}
	return max(min(to, durable), 1) - 1
}

// forget takes out of account what was deleted.
func (s *logStore) forget(from, to uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	end := s.base + uint64(len(s.sizes))
	if to < s.base || from >= end {
		return
	}
	if from <= s.base {
		n := min(to+1, end) - s.base
		for _, size := range s.sizes[:n] {
			s.total -= int64(size)
		}
		s.sizes = append(s.sizes[:0], s.sizes[n:]...)
		s.base += n
		return
	}
	for _, size := range s.sizes[from-s.base:] {
		s.total -= int64(size)
	}
	s.sizes = s.sizes[:from-s.base]
}

// stats returns how many bytes of entries the file does not have, how many there are, and how many there are at most but for these.
func (s *logStore) stats() (used, size, most int64) {
	durable := s.durable()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.sizes); i > 0 && s.base+uint64(i) > durable+1; i-- {
		used += int64(s.sizes[i-1])
	}
	return used, s.total, s.limit
}
