package db

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/wal"
)

// journal is the log: batches, numbered from 1 on, each durable before it is answered. See package wal.
type journal interface {
	// Append makes an entry durable, whose number is the one after the last.
	Append(number uint64, entry []byte) error

	// Reserve returns nil where Append has room for two entries of so many bytes together, else an error as Append does.
	Reserve(bytes int) error

	// Replay calls fn with the entries behind the number after, in order. It is called once, before Append.
	Replay(after uint64, fn func(number uint64, entry []byte) error) error

	// Cut lets go of the entries up to a number: the file has them.
	Cut(through uint64) error

	// StartWipe has all be overwritten that the log does not need any more, and WipeStep does a part of it and returns
	// how much is left, 0 where nothing is.
	StartWipe()
	WipeStep() (left int64, err error)

	// Stats returns how many bytes there are of entries, and how many the log takes.
	Stats() (used, size int64)

	Close() error
}

// mark says in the file which log goes with it, and up to which batch the file has what is in that.
type mark struct {
	id      [16]byte
	through uint64
	replica ReplicaMark // of a copy of a cluster; then there is no id, and through is its Number
}

func (m mark) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(b, m.id[:]...), m.through)
}

// state is what the file says of itself.
type state struct {
	format uint32
	mark   mark // zero: it never had a log
}

func readState(bolt *bbolt.DB) (s state, err error) {
	err = bolt.View(func(tx *bbolt.Tx) error {
		s, err = stateIn(tx)
		return err
	})
	return s, err
}

func stateIn(tx *bbolt.Tx) (s state, err error) {
	meta := tx.Bucket(bucketNames[bucketMeta])
	s.format = binary.BigEndian.Uint32(meta.Get(keyFormat))
	if v := meta.Get(keyReplica); v != nil {
		s.mark.replica, err = parseReplicaMark(v)
		s.mark.through = s.mark.replica.Number
		return s, err
	}
	v := meta.Get(keyLog)
	if v == nil {
		return s, nil
	}
	if len(v) != len(s.mark.id)+8 {
		return s, errors.New("meta: what it says of the log cannot be read")
	}
	copy(s.mark.id[:], v)
	s.mark.through = binary.BigEndian.Uint64(v[len(s.mark.id):])
	return s, nil
}

// logDir is the folder of the log of the database at path.
func logDir(path string) string { return path + "-log" }

func logOptions(s *Store, id [16]byte) wal.Options {
	return wal.Options{FS: s.fs, Dir: logDir(s.path), ID: id, Size: s.logSize, SegmentSize: s.segmentSize, ReadOnly: s.bolt().IsReadOnly(), Logger: s.log, Flushed: s.flushed}
}

// attach opens the log that a file was left with, where it was.
func (s *Store) attach() error {
	st, err := readState(s.bolt())
	if err != nil {
		return fmt.Errorf("database %s is damaged: %w", s.path, err)
	}
	s.mark = st.mark
	dir := logDir(s.path)
	if st.format == formatReplica {
		return s.replica.attach(s)
	}
	log, err := wal.Open(logOptions(s, st.mark.id))
	switch {
	case errors.Is(err, fs.ErrNotExist) && st.format == formatLog:
		return fmt.Errorf("database %s was not closed, and its log %s is not there: what was stored last is in it", s.path, dir)
	case errors.Is(err, fs.ErrNotExist):
		return s.replica.attach(s)
	case errors.Is(err, wal.ErrForeign):
		return fmt.Errorf("the log %s is not that of database %s: it is of another one, or of a later or earlier state of this one; where the database is the one to go on with, move the log away", dir, s.path)
	case err != nil:
		return fmt.Errorf("database %s: log %s: %w", s.path, dir, err)
	case st.format == formatLog && s.replica != nil:
		return errors.Join(fmt.Errorf("database %s: %w", s.path, errOwnLog), log.Close())
	case st.format == formatLog:
		s.journal = log
		s.attached.Store(true)
		return nil
	}
	// Closing it, or making the log, was cut short.
	unknown := errors.New("an entry")
	err = log.Replay(st.mark.through, func(uint64, []byte) error { return unknown })
	err = errors.Join(err, log.Close())
	if errors.Is(err, unknown) {
		return fmt.Errorf("the log %s is not that of database %s, which was closed: where the database is the one to go on with, move the log away", dir, s.path)
	}
	if err != nil {
		return fmt.Errorf("database %s: log %s: %w", s.path, dir, err)
	}
	if !s.writes() {
		return nil
	}
	if err := wal.Remove(s.fs, dir); err != nil {
		return err
	}
	return s.replica.attach(s)
}

// startLog makes the log, which the file then needs. Where that is cut short, it does without. Its errors are those of Commit.
func (s *Store) startLog() error {
	if s.halfMade { // with another ID: it goes before the file has that of the next one
		if err := wal.Remove(s.fs, logDir(s.path)); err != nil {
			return s.notStored(err)
		}
		s.halfMade = false
	}
	m := mark{}
	rand.Read(m.id[:]) // never fails
	if err := s.putMark(Format, m); err != nil {
		return s.notStored(err)
	}
	log, err := wal.Create(logOptions(s, m.id))
	s.halfMade = err != nil && !errors.Is(err, fs.ErrExist)
	if err != nil {
		return s.notStored(err)
	}
	if err := log.Replay(0, func(uint64, []byte) error { return nil }); err != nil { // there is none
		s.halfMade = true
		return s.notStored(errors.Join(err, log.Close()))
	}
	if err := s.putMark(formatLog, m); err != nil {
		err = errors.Join(err, log.Close())
		if now, e := readState(s.bolt()); e != nil || now.format == formatLog { // that is perhaps not on the disk
			return fmt.Errorf("database %s: starting its log: %w", s.path, err)
		}
		s.halfMade = true
		return s.notStored(err)
	}
	s.journal, s.mark, s.number = log, m, 0
	s.attached.Store(true)
	s.startWorker()
	return nil
}

func (s *Store) putMark(format uint32, m mark) (err error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	defer guard(&err)()
	s.bolt().NoFreelistSync = s.file().skipFreelist()
	defer s.wrote()
	return s.bolt().Update(func(tx *bbolt.Tx) error { return putMark(tx, s.program, format, m) })
}

func putMark(tx *bbolt.Tx, program string, format uint32, m mark) error {
	meta := tx.Bucket(bucketNames[bucketMeta])
	if err := meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, format)); err != nil {
		return err
	}
	if err := meta.Put(keyProgram, []byte(program)); err != nil {
		return err
	}
	if m.replica.Cluster != (ClusterID{}) {
		return errors.Join(meta.Delete(keyLog), meta.Put(keyReplica, m.replica.append(nil)))
	}
	return errors.Join(meta.Delete(keyReplica), meta.Put(keyLog, m.append(nil)))
}

// replay applies what the log has and the file has not.
func (s *Store) replay() error {
	live := &table{}
	s.number = s.mark.through
	if s.journal == nil {
		s.tables.Store(&tables{live: live, file: s.file()})
		return nil
	}
	tx, err := s.bolt().Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	c := &s.work
	err = s.journal.Replay(s.mark.through, func(number uint64, encoded []byte) error {
		live.last, s.number = number, number
		err := eachBatch(append([]byte(nil), encoded...), func(encoded []byte) error {
			if err := s.entry.parse(encoded); err != nil {
				return err
			}
			c.begin(s, s.entry.now)
			defer c.end()
			c.view.reset(live, nil, tx)
			if err := c.apply(&s.entry); err != nil {
				return err
			}
			c.keep()
			live.add(c, len(encoded))
			return nil
		})
		if err != nil {
			return fmt.Errorf("log: entry %d: %w", number, err)
		}
		return nil
	})
	s.tables.Store(&tables{live: live, file: s.file(), base: tx.ID()})
	return err
}

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) (err error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.failed(); err != nil {
		return fmt.Errorf("database %s: an earlier commit failed: %w", s.path, err)
	}
	defer func() {
		if err != nil && !notStored(err) {
			s.fail(err)
		}
	}()
	if !s.loaded {
		if _, err := s.Load(); err != nil {
			return s.notStored(err)
		}
	}
	if s.replica != nil {
		return s.notStored(errReplica)
	}
	if s.journal == nil {
		if err := s.startLog(); err != nil {
			return err
		}
	}
	encoded, err := s.encode(b)
	if err != nil {
		return s.notStored(err)
	}
	if done, err := commitLarge(s, b, encoded); done {
		return err
	}
	for {
		before := s.tables.Load()
		err := errTablesFull
		if !before.full(tablesMost(s, b)) {
			err = s.try(b, encoded)
		}
		switch {
		case errors.Is(err, wal.ErrFull):
			if err := s.gather.flush(); err != nil {
				return err
			}
			if err := s.makeRoom(before, err); err != nil {
				return s.notStored(err)
			}
		case errors.Is(err, wal.ErrTooLarge):
			return s.commitDirectly(b, encoded)
		default:
			return err
		}
	}
}

// tablesMost is how many bytes the tables may have for a batch to be taken before a checkpoint has ended: so many that the whole process stays
// below 100 MiB with a log of 64 MiB, and more where it stores no messages, since on a full disk it may be what makes room.
func tablesMost(s *Store, b *store.Batch) int64 {
	if len(b.Append)+len(b.Delay) == 0 {
		return s.logSize
	}
	return s.logSize * 5 / 8
}

// errTablesFull is for the tables what wal.ErrFull is for the log.
var errTablesFull = fmt.Errorf("%w: the file could not take yet what is kept of it in memory", wal.ErrFull)

func (s *Store) encode(b *store.Batch) (encoded []byte, err error) {
	defer guard(&err)()
	encoded = appendBatch(make([]byte, 0, batchBound(b)), b)
	if cap(encoded)-len(encoded) > len(encoded)/4 {
		encoded = bytes.Clone(encoded) // the table keeps all of it, and does not count what is behind
	}
	return encoded, nil
}

// notStored is an error after which the store is as it was.
func (s *Store) notStored(err error) error {
	if noSpace(err) {
		return fmt.Errorf("database %s: %w: %w", s.path, store.ErrNoSpace, err)
	}
	return fmt.Errorf("database %s: %w: %w", s.path, store.ErrNotStored, err)
}

// try applies a batch to a fork of the live table, appends it to the log, and lets all see it.
func (s *Store) try(b *store.Batch, encoded []byte) error {
	now := s.tables.Load()
	live := now.live.fork()
	c := &s.work
	defer c.end()
	if err := s.applyTo(live, now.frozen, encoded); err != nil {
		return err
	}
	switch err := s.gather.append(encoded); {
	case s.failed() != nil:
		return s.failed()
	case errors.Is(err, wal.ErrFull), errors.Is(err, wal.ErrTooLarge):
		return err
	case errors.Is(err, wal.ErrNotWritten):
		return s.notStored(err)
	case err != nil:
		return fmt.Errorf("database %s: commit: %w", s.path, err)
	}
	live.last, live.replica = s.number, s.replica.coming()
	live.add(c, len(encoded))
	if s.isDue(live, s.tables.Load().frozen) {
		if err := s.gather.flush(); err != nil {
			return err
		}
	}
	s.publish(live, c, b)
	return nil
}

// isDue tells whether a live table is to be frozen.
func (s *Store) isDue(live, frozen *table) bool {
	return frozen == nil && (live.size >= s.freezeAt || live.secret)
}

// applyTo applies an encoded batch to a table.
func (s *Store) applyTo(live, frozen *table, encoded []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("database %s: %w: %w", s.path, store.ErrNotStored, err)
		}
	}()
	defer guard(&err)()
	c := &s.work
	if err := s.entry.parse(encoded); err != nil {
		return err
	}
	c.begin(s, s.entry.now)
	c.view.reset(live, frozen, nil)
	c.view.begin = s.beginRead
	defer c.closeBase()
	return c.apply(&s.entry)
}

// publish lets all see what a commit has done, and tells its batch what its removals came to.
func (s *Store) publish(live *table, c *commit, b *store.Batch) {
	c.keep()
	for i := range b.Remove {
		r, done := &b.Remove[i], &s.entry.remove[i]
		r.Through, r.Removed, r.Bytes = done.Through, done.Removed, done.Bytes
	}
	s.tablesMu.Lock()
	now := *s.tables.Load()
	now.live = live
	if s.isDue(live, now.frozen) {
		s.freeze(&now)
	}
	s.tables.Store(&now)
	s.tablesMu.Unlock()
	if now.frozen != nil {
		s.poke()
	}
}

// freeze makes the live table the one that a checkpoint moves into the file, where there is none yet, and the log has all of it.
func (s *Store) freeze(now *tables) {
	if now.frozen == nil && !now.live.empty() && s.gather.empty() {
		now.live, now.frozen = &table{}, now.live
	}
}

// commitDirectly brings a batch that is larger than the log into the file, with all that was before it.
func (s *Store) commitDirectly(b *store.Batch, encoded []byte) error {
	if err := s.flushTables(); err != nil {
		return s.notStored(err)
	}
	defer s.work.end()
	live := &table{}
	if err := s.applyTo(live, nil, encoded); err != nil {
		return err
	}
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	return moveNow(s, live, b, encoded)
}

// largeBatch is how many bytes a batch has at least that goes past the log: there it would be written twice, to save a flush that
// is the smaller part of it.
const largeBatch = 96 << 10

// isLarge tells whether a batch is better off without the log. IDs of a producer's own are not: each changes another page of the
// file, and those of many batches share pages when a checkpoint brings them there.
func isLarge(s *Store, b *store.Batch, encoded []byte) bool {
	return int64(len(encoded)) >= s.large && !slices.ContainsFunc(b.Append, func(r *store.Record) bool { return r.ID != "" })
}

// commitLarge brings a large batch into the file, with what is in the live table where that is no more than the batch. It is
// false where the batch is to go by the log: when it is not large, when the file is busy or has no room, and when something
// secret is to be wiped behind it.
func commitLarge(s *Store, b *store.Batch, encoded []byte) (done bool, err error) {
	now := s.tables.Load()
	if !isLarge(s, b, encoded) || now.frozen != nil || now.live.size > int64(len(encoded)) || now.live.secret || s.gather.every > 0 || !s.fileMu.TryLock() {
		return false, nil
	}
	defer s.fileMu.Unlock()
	if s.copying != nil {
		return false, nil
	}
	defer s.work.end()
	live := now.live.fork()
	if err := s.applyTo(live, nil, encoded); err != nil {
		return true, err
	}
	if s.work.secret {
		return false, nil
	}
	err = moveNow(s, live, b, encoded)
	return !notStored(err), err
}

// moveNow moves a live table into the file, with a batch that was applied to it and that the log does not have. Nobody sees the
// batch before the file has it. The caller has the turn and fileMu, and nothing is frozen.
func moveNow(s *Store, live *table, b *store.Batch, encoded []byte) error {
	c := &s.work
	live.add(c, len(encoded))
	live.last = s.number // numbers have no gap
	now := s.tables.Load()
	setTables(s, &tables{live: now.live, file: now.file, base: now.base, most: s.lastTx()})
	id, err := moveLocked(s, live, formatLog)
	if err != nil {
		if err = s.moveError(id, err); !notStored(err) { // the file may have it, and goes with a table that has it
			now = &tables{live: live, file: now.file, base: now.base}
		}
		setTables(s, now)
		return err
	}
	s.tablesMu.Lock()
	s.tables.Store(&tables{live: &table{}, file: now.file, base: id})
	err = s.journal.Cut(live.last)
	s.tablesMu.Unlock()
	s.publish(&table{}, c, b)
	return err
}

func setTables(s *Store, t *tables) {
	s.tablesMu.Lock()
	defer s.tablesMu.Unlock()
	s.tables.Store(t)
}

// notStored tells whether an error of a commit leaves the store usable and unchanged.
func notStored(err error) bool {
	return errors.Is(err, store.ErrNoSpace) || errors.Is(err, store.ErrNotStored)
}
