package db

import (
	"bytes"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
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
func (s *Store) Wiping() int { return int(s.wipe.left.Load()) }

// wiping is one part: what a commit overwrites when it went well.
type wiping struct {
	free     []int       // pages that were free before the commit
	upTo     int         // looked at
	ended    func() bool // the readers that were there before the commit
	finished bool        // the commit took the entry out of meta
}

// beginWiping finds what the commit is to overwrite, nil where there is nothing.
func (c *commit) beginWiping() (*wiping, error) {
	w := &c.store.wipe
	if w.left.Load() == 0 {
		return nil, nil
	}
	if w.next >= w.end {
		return &wiping{upTo: w.end, finished: true}, c.bucket(&c.meta, bucketMeta).Delete(keyWipe)
	}
	ended, ok := w.nextRound()
	if !ok {
		return nil, nil
	}
	part := &wiping{upTo: w.next, ended: ended}
	for start := time.Now(); part.upTo < min(w.next+wipePages, w.end); part.upTo++ {
		if part.upTo%64 == 63 && time.Since(start) > wipeTime {
			break
		}
		free, err := isFree(c.tx, part.upTo)
		if err != nil {
			return nil, err
		}
		if free {
			part.free = append(part.free, part.upTo)
		}
	}
	return part, nil
}

func isFree(tx *bbolt.Tx, page int) (bool, error) {
	p, err := tx.Page(page)
	return p != nil && p.Type == "free", err
}

// overwrite overwrites the pages of a part that are still free. A failure is for the log alone: the
// commit before it went well.
func (s *Store) overwrite(part *wiping) {
	w := &s.wipe
	if part.finished {
		w.left.Store(0)
		return
	}
	if !part.ended() {
		return // the next commit looks again
	}
	if err := s.zero(part.free); err != nil {
		if !w.warned {
			s.log.Warn("free pages of the database that may hold secrets which are no more could not be overwritten: it is tried again", "file", s.path, "error", err)
		}
		w.warned = true
		return
	}
	w.warned = false
	w.advance(part.upTo)
}

func (s *Store) zero(pages []int) (err error) {
	if len(pages) == 0 {
		return nil
	}
	defer guard(&err)()
	tx, err := s.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer abandon(tx)
	size := s.bolt.Info().PageSize
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
		if _, err := s.data.ReadAt(page, at); err != nil {
			return err
		}
		if bytes.Equal(page, zeros) {
			continue
		}
		if _, err := s.data.WriteAt(zeros, at); err != nil {
			return err
		}
	}
	return nil
}

// finishWiping goes on until all is done, or wipeClose is over. Nobody else commits any more.
func (s *Store) finishWiping() {
	start := time.Now()
	for left := s.Wiping(); left > 0 && time.Since(start) < wipeClose; left = s.Wiping() {
		if err := s.Commit(&store.Batch{Wipe: true, Now: start}); err != nil {
			s.log.Warn("free pages of the database that may hold secrets which are no more could not be overwritten: the next start goes on", "file", s.path, "error", err)
			return
		}
		if s.Wiping() == left {
			return
		}
	}
}
