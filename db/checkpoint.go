package db

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// worker is who writes to the file while the store is open: it moves frozen tables there, and overwrites what is left
// of secrets.
type worker struct {
	wake, stop, stopped chan struct{}

	moved    sync.Cond // of tablesMu: an attempt to move a table has ended
	attempts int
	err      error // of the last attempt

	again   time.Time // when a move is tried again that failed
	copyAt  time.Time // when compacting goes on
	retired []*file   // that have readers, and others in their place
}

const (
	moveAgain = time.Second          // after a failure
	wipeRest  = 2 * time.Millisecond // between two parts of wiping: others want the disk
)

// tried tells who waits that an attempt to move a table has ended. The caller has tablesMu.
func (w *worker) tried(err error) {
	w.attempts++
	w.err = err
	w.moved.Broadcast()
}

func (s *Store) startWorker() {
	w := &s.worker
	if w.wake == nil {
		w.wake = make(chan struct{}, 1)
	}
	w.stop, w.stopped = make(chan struct{}), make(chan struct{})
	go s.run()
	s.gather.start()
	s.poke()
}

func (s *Store) stopWorker() {
	s.gather.end()
	if s.worker.stop != nil {
		close(s.worker.stop)
		<-s.worker.stopped
		s.worker.stop = nil
	}
}

// poke tells the worker that there is something to do.
func (s *Store) poke() {
	select {
	case s.worker.wake <- struct{}{}:
	default:
	}
}

// run does what there is to do, whenever it is told of something, until it is stopped.
func (s *Store) run() {
	w := &s.worker
	defer close(w.stopped)
	look := time.NewTicker(compactLook)
	defer look.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-w.wake:
		case <-look.C:
			s.compacting.consider()
		}
		for {
			again, pause := s.step()
			if !again {
				break
			}
			select {
			case <-w.stop:
				return
			case <-w.wake: // a table is to be moved: it does not wait for the rest between parts of something else
			case <-time.After(pause):
			}
		}
	}
}

// step does one part of what there is to do, and tells whether there is more, and how long that is to wait.
func (s *Store) step() (again bool, pause time.Duration) {
	s.meet(WorkBegins)
	defer s.meet(WorkEnds)
	if err := s.failed(); err != nil {
		s.fileMu.Lock()
		defer s.fileMu.Unlock()
		s.compacting.end(err)
		return false, 0
	}
	if closeRetired(s) {
		again, pause = true, retiredRest
	}
	if run := s.compacting.running(); run != nil {
		if time.Until(s.worker.copyAt) <= 0 {
			s.worker.copyAt = time.Now().Add(s.compacting.step(run))
		}
		again, pause = true, time.Until(s.worker.copyAt)
	}
	if more, rest := stepTables(s); more && (!again || rest < pause) {
		again, pause = true, rest
	}
	return again, pause
}

// stepTables is step but for compacting.
func stepTables(s *Store) (again bool, pause time.Duration) {
	now := s.tables.Load()
	switch {
	case now.frozen != nil && time.Until(s.worker.again) > 0:
		return true, time.Until(s.worker.again)
	case now.frozen != nil:
		if s.moveFrozen(now.frozen) != nil {
			s.worker.again = time.Now().Add(moveAgain)
			return true, moveAgain
		}
		return true, 0
	case now.live.secret:
		s.tryFreeze()
		return true, wipeRest
	case s.wipe.left.Load() > 0:
		if s.wipeStep() {
			s.tryFreeze() // a part of the log is still needed
		}
		return s.wipe.left.Load() > 0, wipeRest
	}
	return false, 0
}

// tryFreeze freezes the live table, unless a commit is changing it.
func (s *Store) tryFreeze() {
	if !s.turn.TryLock() {
		return
	}
	defer s.turn.Unlock()
	if s.tables.Load().frozen != nil || s.gather.flush() != nil {
		return
	}
	s.tablesMu.Lock()
	defer s.tablesMu.Unlock()
	next := *s.tables.Load()
	s.freeze(&next)
	s.tables.Store(&next)
}

// moveFrozen moves the frozen table into the file.
func (s *Store) moveFrozen(t *table) error {
	s.meet(Frozen)
	began := time.Now()
	id, err := s.move(t, s.replica.format())
	if err == nil {
		if s.checkpointed != nil {
			s.checkpointed(time.Since(began))
		}
		s.meet(Moved)
	} else {
		err = s.moveError(id, err)
		if notStored(err) {
			s.log.Error("what is in the database's log could not be moved into the database: it is tried again", "file", s.path, "error", err)
		} else {
			s.fail(err)
		}
	}
	s.tablesMu.Lock()
	if err == nil {
		s.tables.Store(&tables{live: s.tables.Load().live, file: s.file(), base: id})
		err = s.journal.Cut(t.last)
	}
	s.worker.tried(err)
	s.tablesMu.Unlock()
	return err
}

// move writes a table into the file, with the number of its last batch, in one transaction, whose number it returns.
func (s *Store) move(t *table, format uint32) (id int, err error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	return moveLocked(s, t, format)
}

// moveLocked is move where the caller has fileMu.
func moveLocked(s *Store, t *table, format uint32) (id int, err error) {
	defer guard(&err)()
	if err := s.failed(); err != nil { // the file may have no name any more
		return 0, err
	}
	s.bolt().NoFreelistSync = s.file().skipFreelist()
	tx, err := s.bolt().Begin(true)
	if err != nil {
		return 0, err
	}
	defer abandon(tx)
	id = tx.ID()
	for no := range t.buckets {
		if err := t.write(no, tx.Bucket(bucketNames[no]), nil); err != nil {
			return id, err
		}
	}
	m := s.mark
	m.through = t.last
	m.replica = m.replica.at(t)
	if err := putMark(tx, s.program, format, m); err != nil {
		return id, err
	}
	if err := tx.Commit(); err != nil {
		return id, err
	}
	s.wrote()
	s.mark = m
	s.replica.moved(m)
	s.lastMove.set()
	if c := s.copying; c != nil && c.err == nil {
		if err := c.take(t); err != nil {
			c.err = s.notStored(err)
		}
	}
	if t.secret {
		s.journal.StartWipe() // wipes what was cut, which this is next
		s.wipe.restart(s.file().pages())
	}
	return id, nil
}

// moveError says what an error of move means: the table is still to be moved, or what the file holds is uncertain.
func (s *Store) moveError(id int, err error) error {
	// Until the last page, nothing that the file holds refers to what was written, also where
	// flushing that failed: the next transaction writes whole pages again.
	if id != 0 && s.lastTx() >= id { // its last page is written, but perhaps not on the disk
		return fmt.Errorf("database %s: checkpoint: %w", s.path, err)
	}
	return s.notStored(err)
}

// write makes the changes of a bucket in a file, those of keys up to through where that is not nil.
func (t *table) write(no int, b *bbolt.Bucket, through []byte) error {
	if n := t.sequences[no]; n != 0 {
		if err := b.SetSequence(n); err != nil {
			return err
		}
	}
	if t.buckets[no] == nil {
		return nil
	}
	b.FillPercent = fillOthers
	if ascending[no] {
		b.FillPercent = 1 // the keys come in order: pages are filled to the brim
	}
	var err error
	t.buckets[no].Scan(func(key string, v value) bool {
		switch {
		case through != nil && key > string(through):
			return false
		case no == bucketPayload:
			err = writePayload(b, []byte(key), v.b)
		case v.b == nil:
			err = b.Delete([]byte(key))
		default:
			err = b.Put([]byte(key), v.b)
		}
		return err == nil
	})
	return err
}

// fillOthers is how far the pages of the other buckets are filled when they are divided.
const fillOthers = 0.75

// ascending are the buckets whose keys come mostly in order.
var ascending = [len(bucketNames)]bool{bucketLog: true, bucketExpiry: true, bucketIDKeep: true, bucketPayload: true}

// makeRoom waits until the log, which is full, has room again, where before are the tables of a moment when it had none. The
// caller has the turn, and nothing is gathered.
func (s *Store) makeRoom(before *tables, full error) error {
	s.tablesMu.Lock()
	defer s.tablesMu.Unlock()
	now := s.tables.Load()
	if next := *now; next.frozen == nil {
		switch {
		case now != before: // the frozen table was moved meanwhile
			return nil
		case next.live.empty():
			return errors.Join(full, s.journal.Cut(s.number)) // so that the next commit tries again to make a segment
		}
		s.freeze(&next)
		s.tables.Store(&next)
	}
	err := s.awaitMove()
	if errors.Is(err, store.ErrNoSpace) {
		s.thaw()
		err = s.awaitMove()
	}
	return err
}

// thaw takes what is in the live table into the frozen one, which could not be moved for want of room: of what was removed
// since, nothing needs any. The caller has the turn and tablesMu.
func (s *Store) thaw() {
	now := s.tables.Load()
	if now.frozen == nil || now.live.empty() {
		return
	}
	s.tables.Store(&tables{live: &table{}, frozen: now.frozen.merge(now.live), file: now.file, base: now.base})
}

// awaitMove waits for the end of the next attempt to move a table. The caller has tablesMu.
func (s *Store) awaitMove() error {
	s.poke()
	for n := s.worker.attempts; n == s.worker.attempts && s.failed() == nil; {
		s.worker.moved.Wait()
	}
	if err := s.failed(); err != nil {
		return err
	}
	return s.worker.err
}

// flushTables brings all that is in the log into the file. The caller has the turn.
func (s *Store) flushTables() error {
	if err := s.gather.flush(); err != nil {
		return err
	}
	s.tablesMu.Lock()
	defer s.tablesMu.Unlock()
	for {
		next := *s.tables.Load()
		s.freeze(&next)
		if next.frozen == nil {
			return nil
		}
		s.tables.Store(&next)
		if err := s.awaitMove(); err != nil {
			return err
		}
	}
}

// Checkpoint brings everything that was committed before into the file. The log goes on.
func (s *Store) Checkpoint() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.failed(); err != nil || s.journal == nil {
		return err
	}
	return s.flushTables()
}

// finish brings everything into the file, which needs no log then. The worker has ended.
func (s *Store) finish() error {
	if err := s.gather.flush(); err != nil {
		return err
	}
	now := s.tables.Load()
	for _, t := range []*table{now.frozen, now.live} {
		if t == nil || t.empty() {
			continue
		}
		id, err := s.move(t, s.replica.format())
		if err != nil {
			return s.moveError(id, err)
		}
		s.tables.Store(&tables{live: &table{}, file: now.file, base: id})
	}
	m := s.mark
	m.through = s.number
	if err := s.putMark(Format, m); err != nil {
		return err
	}
	return s.journal.Cut(s.number)
}

// failed returns why nothing is written any more, nil while all is well.
func (s *Store) failed() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Store) fail(err error) {
	s.failure.CompareAndSwap(nil, &err)
	s.poke()
	s.tablesMu.Lock()
	s.worker.moved.Broadcast()
	s.tablesMu.Unlock()
}
