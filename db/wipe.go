package db

import (
	"bytes"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// A secret that was replaced or deleted is still in pages that bbolt has freed: in those of the last
// commit, and in older ones, since every commit beside it made a copy. So after such a commit all free
// pages are overwritten with zeros, a part at a time. That this is to be done is in the file from the
// commit of the change on, until it is done, also over a crash.
//
// A page is overwritten when it is certain that nobody looks at it any more:
//
//   - It was free before a commit and still is after it: neither of the two meta pages leads to it,
//     of which a start takes the older one where the newer one is damaged.
//   - All readers that were there before that commit have ended.
//   - The committer, who alone takes pages into use, is the one who overwrites it.
const (
	wipePages = 128                  // looked at by one commit: 1 MiB
	wipeTime  = 3 * time.Millisecond // that one commit looks for
	wipeClose = 2 * time.Second      // that Close goes on for; the next start goes on
)

// wipe is how far overwriting free pages has come. But for left and the readers it is the committer's own.
type wipe struct {
	next, end int          // pages
	left      atomic.Int64 // pages from next to end, and one for the entry in meta; 0: there is nothing to do
	warned    bool
	log       int64 // bytes that are left of the log

	round   atomic.Uint32
	readers [2]atomic.Int64 // of this round and the one before
}

// enter counts a reader, before it begins, and returns what it is to be taken from when it has ended.
func (w *wipe) enter() *atomic.Int64 {
	for {
		round := w.round.Load()
		n := &w.readers[round%2]
		n.Add(1)
		if w.round.Load() == round {
			return n
		}
		n.Add(-1)
	}
}

// nextRound begins a round, unless there are readers of the round before the last. ended tells whether
// those that came before have ended.
func (w *wipe) nextRound() (ended func() bool, ok bool) {
	round := w.round.Load()
	if w.readers[(round+1)%2].Load() != 0 {
		return nil, false
	}
	w.round.Store(round + 1)
	return func() bool { return w.readers[round%2].Load() == 0 }, true
}

// restart begins with the first of so many pages.
func (w *wipe) restart(pages int) { w.end = pages; w.advance(2) } // behind the meta pages

func (w *wipe) advance(next int) {
	w.next = next
	w.left.Store(int64(max(w.end-w.next, 0)) + 1)
}

// Wiping implements store.Wiper.
func (s *Store) Wiping() int {
	now := s.tables.Load() // first: a table that is moved meanwhile leaves its pages to be wiped before it goes
	n := int(s.wipe.left.Load())
	if now.live.secret || now.frozen != nil && now.frozen.secret {
		n++
	}
	return n
}

// wipeStep overwrites a part, of what the log has first, and tells whether it could not: a failure is to be told, no more.
func (s *Store) wipeStep() (stuck bool) {
	left, err := int64(0), error(nil)
	if s.journal != nil {
		before := s.wipe.log
		left, err = s.journal.WipeStep()
		s.wipe.log, stuck = left, left == before
	}
	if left == 0 && err == nil {
		err = s.wipePart()
	}
	if err != nil && !s.wipe.warned {
		s.log.Warn("free pages of the database that may hold secrets which are no more could not be overwritten: it is tried again", "file", s.path, "error", err)
	}
	s.wipe.warned = err != nil
	return stuck && left > 0
}

func (s *Store) wipePart() (err error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	defer guard(&err)()
	w := &s.wipe
	ended := func() bool { return true }
	if w.next < w.end {
		var ok bool
		if ended, ok = w.nextRound(); !ok {
			return nil
		}
	}
	s.bolt().NoFreelistSync = s.file().skipFreelist()
	tx, err := s.bolt().Begin(true)
	if err != nil {
		return err
	}
	defer abandon(tx)
	if w.next >= w.end {
		if err := tx.Bucket(bucketNames[bucketMeta]).Delete(keyWipe); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		s.wrote()
		w.left.Store(0)
		return nil
	}
	free, upTo, err := w.freePages(tx)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.wrote()
	if !ended() {
		return nil // the next part begins here again
	}
	err = s.file().zero(free)
	s.wrote()
	if err != nil {
		return err
	}
	w.advance(upTo)
	return nil
}

// freePages returns the free pages of a part, and up to where it goes.
func (w *wipe) freePages(tx *bbolt.Tx) (pages []int, upTo int, err error) {
	upTo = w.next
	for start := time.Now(); upTo < min(w.next+wipePages, w.end); upTo++ {
		if upTo%64 == 63 && time.Since(start) > wipeTime {
			break
		}
		free, err := isFree(tx, upTo)
		if err != nil {
			return nil, 0, err
		}
		if free {
			pages = append(pages, upTo)
		}
	}
	return pages, upTo, nil
}

func isFree(tx *bbolt.Tx, page int) (bool, error) {
	p, err := tx.Page(page)
	return p != nil && p.Type == "free", err
}

func (f *file) zero(pages []int) (err error) {
	if len(pages) == 0 {
		return nil
	}
	defer guard(&err)()
	tx, err := f.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer abandon(tx)
	size := f.page
	zeros, page := make([]byte, size), make([]byte, size)
	for _, id := range pages {
		free, err := isFree(tx, id)
		if err != nil {
			return err
		}
		if !free {
			continue // the commit took it into use: it wrote all of it
		}
		at := int64(id) * int64(size)
		if _, err := f.data.ReadAt(page, at); err != nil {
			return err
		}
		if bytes.Equal(page, zeros) {
			continue
		}
		if _, err := f.data.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return nil
}

// finishWiping goes on until all is done, or wipeClose is over. Nobody else writes any more.
func (s *Store) finishWiping() {
	for start := time.Now(); s.wipe.left.Load() > 0 && time.Since(start) < wipeClose; {
		left, log := s.wipe.left.Load(), s.wipe.log
		s.wipeStep()
		if s.wipe.left.Load() == left && s.wipe.log == log {
			return
		}
	}
}
