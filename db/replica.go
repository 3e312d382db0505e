package db

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"pipit/broker/store"
	"pipit/db/wal"
)

// A Replica is a Store that is one copy of several: its batches come from a log that others keep, encoded, in an order that is
// the same for all copies, and are durable there before they come here. It has no log of its own.
//
// What the file has, it says itself: the place of the last batch in that log stands in the transaction that brings the batch into
// the file. So a start goes on behind that place, and whatever comes a second time is passed by.
//
// A file in use has format 5, which a program that knows of no cluster refuses: what was applied last is in the log of the others
// alone. A regular Close brings everything into the file, which has the usual format then: it is a database of its own again,
// and one that is used so is none of the copies any more.
type Replica struct{ *Store }

// ClusterID is the random name of all copies together.
type ClusterID [16]byte

// ReplicaMark says up to where a copy has what its cluster's log has.
type ReplicaMark struct {
	Cluster ClusterID // zero: of none yet
	Index   uint64    // of the entry of the log that had the last batch, from 1 on
	Term    uint64    // of that entry
	Number  uint64    // how many batches were applied since the cluster was founded
}

// place is that of a batch in the log of a cluster.
type place struct{ index, term uint64 }

const replicaMarkSize = 16 + 3*8

func (m ReplicaMark) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(append(b, m.Cluster[:]...), m.Index)
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, m.Term), m.Number)
}

func parseReplicaMark(v []byte) (m ReplicaMark, err error) {
	if len(v) != replicaMarkSize {
		return m, errors.New("meta: what it says of its cluster cannot be read")
	}
	copy(m.Cluster[:], v)
	m.Index, m.Term, m.Number = binary.BigEndian.Uint64(v[16:]), binary.BigEndian.Uint64(v[24:]), binary.BigEndian.Uint64(v[32:])
	return m, nil
}

// at returns the mark when a table is in the file.
func (m ReplicaMark) at(t *table) ReplicaMark {
	if t.replica != (place{}) {
		m.Index, m.Term, m.Number = t.replica.index, t.replica.term, t.last
	}
	return m
}

// replica is what a Store knows of being one. All of it goes for none, nil.
type replica struct {
	next    place         // of the batch that is being applied; the committer's
	durable atomic.Uint64 // the index up to which the file has everything
	secret  atomic.Uint64 // that of the last batch that replaced or deleted a secret, or of one soon after
}

var (
	errReplica = errors.New("it is a copy of a cluster, whose batches come from the cluster's log")
	errOwnLog  = errors.New("it was not closed, and has a log of its own")
)

func (r *replica) coming() place {
	if r == nil {
		return place{}
	}
	return r.next
}

// format returns the format of a file in use.
func (r *replica) format() uint32 {
	if r == nil {
		return formatLog
	}
	return formatReplica
}

// moved takes note of what the file has now.
func (r *replica) moved(m mark) {
	if r != nil {
		r.durable.Store(m.replica.Index)
	}
}

// attach is that of a file that has no log, or is a copy of a cluster.
func (r *replica) attach(s *Store) error {
	switch {
	case r != nil:
		s.journal = noJournal{}
		s.attached.Store(true)
	case s.mark.replica.Cluster == (ClusterID{}) || s.leave:
	default:
		st, err := readState(s.bolt())
		if err == nil && st.format == formatReplica {
			err = fmt.Errorf("database %s is a copy of a cluster that was not closed, and what was stored last is in the cluster's log: it is to be opened as before once more, with its cluster", s.path)
		}
		return err
	}
	return nil
}

// begin has the file say that it needs the log of its cluster.
func (r *replica) begin(s *Store) error {
	if r == nil || s.mark.replica.Cluster == (ClusterID{}) || !s.writes() {
		return nil
	}
	r.moved(s.mark)
	return s.putMark(formatReplica, s.mark)
}

// noJournal is the log of a copy, which has none.
type noJournal struct{}

func (noJournal) Append(uint64, []byte) error                     { return nil }
func (noJournal) Reserve(int) error                               { return nil }
func (noJournal) Replay(uint64, func(uint64, []byte) error) error { return nil }
func (noJournal) Cut(uint64) error                                { return nil }
func (noJournal) StartWipe()                                      {}
func (noJournal) WipeStep() (int64, error)                        { return 0, nil }
func (noJournal) Stats() (used, size int64)                       { return 0, 0 }
func (noJournal) Close() error                                    { return nil }

// OpenReplica opens the file at path as a copy of a cluster, or as what is to become one; where there is no file, it makes an
// empty one. A database that was killed, and has a log of its own, is opened and closed before. LogSize bounds what is kept in memory until the file has
// it; SyncInterval is of no use. The errors are those of Open. Load comes before all other methods.
func OpenReplica(path string, opts Options) (*Replica, error) {
	opts.replica, opts.SyncInterval = true, 0
	s, err := Open(path, opts)
	if errors.Is(err, errOwnLog) {
		if err = bringIn(path, opts); err == nil {
			s, err = Open(path, opts)
		}
	}
	if err != nil {
		return nil, err
	}
	s.large = math.MaxInt64
	return &Replica{s}, nil
}

// bringIn brings what is in the log of a database into its file.
func bringIn(path string, opts Options) error {
	opts.replica = false
	s, err := Open(path, opts)
	if err != nil {
		return err
	}
	_, err = s.Load()
	return errors.Join(err, s.Close())
}

// Found makes the content of the file the first of a cluster, whose log begins behind an index of a term.
func (r *Replica) Found(cluster ClusterID, index, term uint64) error {
	s := r.Store
	s.turn.Lock()
	defer s.turn.Unlock()
	m := mark{replica: ReplicaMark{Cluster: cluster, Index: index, Term: term}}
	if err := s.flushTables(); err != nil {
		return err
	}
	if err := s.putMark(formatReplica, m); err != nil {
		return err
	}
	s.mark, s.number = m, 0
	s.replica.moved(m)
	return nil
}

// IsEmpty tells whether nothing was ever stored.
func (r *Replica) IsEmpty() (bool, error) {
	img, err := r.image()
	return err == nil && img.LastID == 0 && len(img.Objects)+len(img.Lanes) == 0, err
}

// Encode returns a batch as Apply takes it. An error that wraps store.ErrNotStored says that it is none.
func (r *Replica) Encode(b *store.Batch) ([]byte, error) {
	encoded, err := r.encode(b)
	if err != nil {
		return nil, r.notStored(err)
	}
	return encoded, nil
}

// Apply applies a batch, which all others see then, and keeps its memory. What comes of it follows from the content and the batch
// alone, so it is the same in all copies. b, where not nil, is the same batch, and gets what its Removals came to. An error
// that wraps store.ErrNotStored says that no copy takes this batch, and changes nothing. After any other one the Replica is only to be
// closed. While the disk has no room it waits.
func (r *Replica) Apply(index, term uint64, encoded []byte, b *store.Batch) error {
	s := r.Store
	s.turn.Lock()
	defer s.turn.Unlock()
	if b == nil {
		b = &store.Batch{}
	}
	s.replica.next = place{index, term}
	for {
		if err := s.failed(); err != nil {
			return err
		}
		before := s.tables.Load()
		if !before.full(s.logSize * 5 / 8) {
			err := s.try(b, encoded)
			if err != nil && (!errors.Is(err, store.ErrNotStored) || errors.As(err, new(*fault))) { // another copy may have taken it
				err = fmt.Errorf("database %s: entry %d: %v", s.path, index, err)
				s.fail(err)
			}
			if now := s.tables.Load(); err == nil && (now.live.secret || now.frozen != nil && now.frozen.secret) {
				s.replica.secret.Store(index)
			}
			return err
		}
		_ = s.makeRoom(before, wal.ErrFull) // the worker logs why there is none, and tries again
	}
}

// Checkpoint brings everything that was applied before into the file. What is applied meanwhile does not wait for it.
func (r *Replica) Checkpoint() error {
	s := r.Store
	m, err := r.Applied()
	for err == nil && r.Durable() < m.Index {
		s.turn.Lock() // a table is frozen between two batches
		s.tablesMu.Lock()
		next := *s.tables.Load()
		s.freeze(&next)
		s.tables.Store(&next)
		s.turn.Unlock()
		s.poke()
		for n := s.worker.attempts; n == s.worker.attempts && r.Durable() < m.Index && s.failed() == nil; {
			s.worker.moved.Wait()
		}
		err = s.worker.err
		s.tablesMu.Unlock()
		if failed := s.failed(); failed != nil {
			err = failed
		}
	}
	return err
}

// Applied returns the mark of what was applied last.
func (r *Replica) Applied() (ReplicaMark, error) {
	var v view
	in, err := r.enter(&v)
	if err != nil {
		return ReplicaMark{}, err
	}
	defer in.leave()
	return v.replicaMark()
}

// replicaMark returns the mark of what a view shows.
func (v *view) replicaMark() (m ReplicaMark, err error) {
	if b := v.base.Bucket(bucketNames[bucketMeta]).Get(keyReplica); b != nil {
		if m, err = parseReplicaMark(b); err != nil {
			return m, err
		}
	}
	for _, t := range []*table{v.frozen, v.live} {
		if t != nil {
			m = m.at(t)
		}
	}
	return m, nil
}

// Durable returns the index up to which the file has everything, so that the log need not keep it.
func (r *Replica) Durable() uint64 { return r.replica.durable.Load() }

// Secret returns the index of the last batch since the file was opened that replaced or deleted something secret, 0 where none did: what it has of that, and what the batches
// before it have, is to leave the cluster's log. It may be that of one that came soon after.
func (r *Replica) Secret() uint64 { return r.replica.secret.Load() }

// GiveUp ends an Apply that waits for room. The Replica is only to be closed then, and writes nothing any more.
func (r *Replica) GiveUp() { r.fail(errClosed) }

// Look is the content of one moment.
type Look struct {
	Mark ReplicaMark

	view view
	in   entered
}

// Look takes a look at what there is, which stays the same whatever is applied. It is to be closed; the file grows until then.
func (r *Replica) Look() (l *Look, err error) {
	l = &Look{}
	if l.in, err = r.enter(&l.view); err != nil {
		return nil, err
	}
	if l.Mark, err = l.view.replicaMark(); err != nil {
		l.in.leave()
		return nil, err
	}
	return l, nil
}

// Close ends the look.
func (l *Look) Close() { l.in.leave() }

// Digest returns a hash, in hexadecimal, of all that is stored. At equal marks it is the same in all copies, however their files
// keep it. It reads everything.
func (l *Look) Digest() (digest string, err error) {
	defer guard(&err)()
	sum, err := l.view.digest()
	return hex.EncodeToString(sum), err
}

// Digest is that of a Look at this moment, of which it returns the mark, too.
func (r *Replica) Digest() (ReplicaMark, string, error) {
	l, err := r.Look()
	if err != nil {
		return ReplicaMark{}, "", err
	}
	defer l.Close()
	digest, err := l.Digest()
	return l.Mark, digest, err
}

// ownKeys are those of meta that say how a file keeps what it has.
var ownKeys = [...][]byte{keyFormat, keyProgram, keyLog, keyReplica, keyWipe}

func (v *view) digest() ([]byte, error) {
	h := sha256.New()
	var head [3 * binary.MaxVarintLen64]byte
	for no := range bucketNames {
		b := v.bucket(no)
		err := b.ForEach(func(k, value []byte) error {
			if no == bucketMeta {
				for _, own := range ownKeys {
					if bytes.Equal(k, own) {
						return nil
					}
				}
			}
			if no == bucketPayload {
				value = b.Get(k)
			}
			n := binary.AppendUvarint(head[:0], uint64(no)) // #nosec G115 -- a bucket
			n = binary.AppendUvarint(binary.AppendUvarint(n, uint64(len(k))), uint64(len(value)))
			_, _ = h.Write(n)
			_, _ = h.Write(k)
			_, _ = h.Write(value)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return h.Sum(nil), nil
}

var _ journal = noJournal{}
