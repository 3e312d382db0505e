package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/disk"
)

// A bbolt file never becomes smaller: what is deleted leaves free pages. Compacting makes another file of what is in it,
// beside it, which then takes its place, while commits go on:
//
//   - The entries are copied a part at a time, bucket after bucket in the order of their keys. Only the worker, who also
//     moves tables into the file, does so, and between two parts: what a table changes of what was copied before, it changes
//     in both files; the rest is copied later.
//   - When all is copied, the two are equal, the mark of the log included. The new one is synced and renamed, and its name
//     is durable before anything else is written. A crash leaves the one or the other under the database's name, and the
//     log goes with both of them. What is left of an unfinished one is removed by the next start.
//   - Readers that were there go on in the old file, which is closed when the last has ended. The new one was locked from
//     the beginning: no other process can open it in between.
const (
	compactPart    = 512 << 10        // bytes of entries that are copied at once
	compactEntries = 8 << 10          // entries, likewise
	compactLeast   = 64 << 20         // bytes that must be free before the file is compacted by itself
	compactMargin  = 32 << 20         // bytes of room that must be there beyond what is in use
	compactLook    = time.Minute      // between two looks at whether the file is to be compacted
	compactRetry   = 30 * time.Minute // after a failure, by itself
	compactRest    = 2 * time.Millisecond
	compactShare   = 2 // times as long as a part took there is none
)

// compacting is what others know of the worker's compacting.
type compacting struct {
	store *Store

	mu     sync.Mutex
	run    *compactRun // nil: none
	closed bool
	failed time.Time // the last one

	last moment // that went well

	part   atomic.Uint64 // bytes that were copied, of the run
	all    atomic.Uint64 // bytes in use when it began
	coming atomic.Pointer[file]
}

// compactRun is one that was asked for. Who waits for it looks at err when done is closed.
type compactRun struct {
	done   chan struct{}
	err    error
	verify bool
	byHand bool
}

// Compact implements store.Compacter.
func (s *Store) Compact(ctx context.Context) error { return s.compacting.wait(ctx, false) }

func (k *compacting) wait(ctx context.Context, verify bool) error {
	run, err := k.start(verify)
	if err != nil {
		return err
	}
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *compacting) start(verify bool) (*compactRun, error) {
	s := k.store
	if !canReplace {
		return nil, fmt.Errorf("database %s: %w: compacting replaces a file that is open, which this system does not allow", s.path, store.ErrNotStored)
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if err := s.failed(); err != nil {
		return nil, err
	}
	if s.journal == nil {
		if err := s.startLog(); err != nil {
			return nil, err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil, errClosed
	}
	if k.run == nil {
		k.run = &compactRun{done: make(chan struct{}), verify: verify, byHand: true}
		k.part.Store(0)
		s.poke()
	}
	return k.run, nil
}

var errClosed = errors.New("the database is closed")

// Compacting implements store.Compacter.
func (s *Store) Compacting() (part float64, running bool) {
	k := &s.compacting
	if k.running() == nil {
		return 0, false
	}
	return min(float64(k.part.Load())/float64(max(k.all.Load(), 1)), 0.99), true
}

func (k *compacting) running() *compactRun {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.run
}

// consider begins to compact where enough of the file is free.
func (k *compacting) consider() {
	s := k.store
	st := s.bolt().Stats()
	page := int64(s.file().page)
	free, size := int64(st.FreePageN+st.PendingPageN)*page, int64(s.file().pages())*page
	if s.compactWhen <= 0 || !canReplace || free < compactLeast || float64(free) < s.compactWhen*float64(size) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.run == nil && (k.failed.IsZero() || time.Since(k.failed) >= compactRetry) {
		k.run = &compactRun{done: make(chan struct{})}
		k.part.Store(0)
	}
}

// step does a part of a run, and returns how long the next one is to wait.
func (k *compacting) step(run *compactRun) (pause time.Duration) {
	s := k.store
	start := time.Now()
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	c := s.copying
	done, err := false, error(nil)
	switch {
	case c == nil:
		err = k.begin(run)
	case c.err != nil:
		err = c.err
	case c.no < len(bucketNames):
		err = k.copyPart(c)
	default:
		done = true
		err = k.finish(c, run.verify)
	}
	if done || err != nil {
		k.end(err)
		return 0
	}
	if run.verify { // nobody else is there
		return 0
	}
	return max(compactRest, compactShare*time.Since(start)) // others want the disk
}

// end gives up a file that did not become the database's, and tells those who wait.
func (k *compacting) end(err error) {
	s := k.store
	if c := s.copying; c != nil && s.file() != c.file {
		s.copying = nil
		k.coming.Store(nil)
		_ = c.bolt.Close()
		if s.failed() == nil { // else it may be that it has the database's name
			_ = s.fs.Remove(c.path) // or the next start does
		}
	}
	s.copying = nil
	k.mu.Lock()
	defer k.mu.Unlock()
	run := k.run
	if run == nil {
		return
	}
	if err != nil {
		k.failed = time.Now()
		if !errors.Is(err, errClosed) && s.failed() == nil {
			s.log.Warn("the database could not be compacted: it is as it was", "file", s.path, "error", err)
		}
	}
	k.run, run.err = nil, err
	close(run.done)
}

// begin makes the new file.
func (k *compacting) begin(run *compactRun) (err error) {
	s := k.store
	defer func() {
		err = k.failure(err)
	}()
	defer guard(&err)()
	old := s.file()
	used, err := k.room(old, run.byHand)
	if err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(s.path)
	if err != nil {
		return err
	}
	if err := removeUnfinished(s.fs, s.path); err != nil {
		return err
	}
	c := &copying{path: target + unfinished, no: bucketMeta + 1, like: old, seam: &s.seam}
	if c.file, err = k.create(c.path, old); err != nil {
		_ = s.fs.Remove(c.path) // or the next start does
		return err
	}
	c.bolt.NoSync, c.bolt.NoGrowSync = true, true // until all is there; each part is synced, so that none has much to wait for
	s.copying = c
	k.all.Store(uint64(used)) // #nosec G115 -- a size
	err = c.bolt.Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.wrote()
}

// create makes an empty file that only this process can use.
func (k *compacting) create(path string, like *file) (*file, error) {
	f, err := k.store.fs.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	bolt, data, err := openBolt(path, like.page, time.Second)
	if err != nil {
		return nil, err
	}
	made, err := newFile(bolt, data)
	if err == nil {
		err = sameOwner(data, like.info)
	}
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	return made, nil
}

// room returns how many bytes are in use, for which the disk must have room a second time. By itself, it is not to be the reason
// why nothing is published for a while.
func (k *compacting) room(old *file, byHand bool) (used int64, err error) {
	s := k.store
	st := old.bolt.Stats()
	used = int64(s.file().pages()-st.FreePageN-st.PendingPageN) * int64(old.page)
	need := used + used/8 + compactMargin
	_, free := diskSpace(s.path)
	if !byHand && free >= s.minFree {
		need += s.minFree
	}
	if free >= 0 && free < need {
		return 0, fmt.Errorf("%w: compacting takes %d MiB beside the file, and %d MiB are free", store.ErrNoSpace, need>>20, free>>20)
	}
	return used, nil
}

// failure is an error after which the file is as it was.
func (k *compacting) failure(err error) error {
	s := k.store
	if err == nil || errors.Is(err, store.ErrNotStored) {
		return err
	}
	if errors.Is(err, store.ErrNoSpace) {
		return fmt.Errorf("database %s: %w", s.path, err)
	}
	return s.notStored(err)
}

// unfinished is what the name of a file has behind the database's until it takes its place.
const unfinished = ".compact"

// removeUnfinished removes what a compacting left that was cut short.
func removeUnfinished(files disk.FS, path string) error {
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := files.Remove(target + unfinished); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// finish puts the new file in the place of the old one.
func (k *compacting) finish(c *copying, verify bool) (err error) {
	s := k.store
	err = k.complete(c)
	if err == nil && verify {
		err = k.verify(c)
	}
	if err != nil {
		return k.failure(err)
	}
	old := s.file()
	if replaced(s.path, old) {
		return s.notStored(store.ErrLost)
	}
	s.meet(Copied)
	before := s.Size()
	target := c.path[:len(c.path)-len(unfinished)]
	rest, err := s.fs.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		return s.notStored(err)
	}
	k.coming.Store(c.file)
	if err := s.fs.Rename(c.path, target); err != nil {
		err = errors.Join(err, rest.Close())
		if replaced(s.path, old) { // it has the name all the same, or nothing has it: what is written from now on would be lost
			return k.uncertain(err)
		}
		return s.notStored(err)
	}
	s.meet(Renamed)
	err = s.fs.SyncDir(filepath.Dir(target))
	s.tablesMu.Lock()
	next := *s.tables.Load()
	next.file, next.base = c.file, 0
	s.tables.Store(&next)
	s.tablesMu.Unlock()
	s.worker.retired = append(s.worker.retired, &file{bolt: old.bolt, rest: rest})
	if err != nil { // it is not known which one a crash would leave
		return k.uncertain(err)
	}
	if err := k.wipeAgain(); err != nil {
		s.log.Warn("the database was compacted, but what it says of secrets could not be read", "file", s.path, "error", err)
	}
	k.last.set()
	s.log.Info("the database was compacted", "file", s.path, "from", before, "to", s.Size())
	return nil
}

// uncertain ends all writing, since it is not known which file the next start will find. Each of the two has what the other has, and
// the log goes with both.
func (k *compacting) uncertain(err error) error {
	err = fmt.Errorf("database %s: compacting: %w", k.store.path, err)
	k.store.fail(err)
	return err
}

// complete makes the new file equal to the old one, of which all but meta is copied, and durable.
func (k *compacting) complete(c *copying) (err error) {
	s := k.store
	defer guard(&err)()
	from, err := s.bolt().Begin(false)
	if err != nil {
		return err
	}
	defer from.Rollback()
	c.bolt.NoFreelistSync = false
	err = c.bolt.Update(func(tx *bbolt.Tx) error {
		for no, name := range bucketNames {
			source, target := from.Bucket(name), tx.Bucket(name)
			if err := target.SetSequence(source.Sequence()); err != nil {
				return err
			}
			if no != bucketMeta {
				continue
			}
			if err := source.ForEach(target.Put); err != nil {
				return err
			}
			if c.secret {
				if err := target.Put(keyWipe, []byte{1}); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.wrote(); err != nil {
		return err
	}
	old := c.like.bolt
	c.bolt.NoSync, c.bolt.NoGrowSync, c.bolt.AllocSize = old.NoSync, old.NoGrowSync, old.AllocSize
	return c.sync()
}

// verify looks for damage in the new file. Nobody commits meanwhile.
func (k *compacting) verify(c *copying) (err error) {
	s := k.store
	defer guard(&err)()
	tx, err := c.bolt.Begin(false)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var found findings
	for e := range tx.Check() {
		found.add("%w", e)
	}
	if len(found.list) == 0 {
		var v view
		now := s.tables.Load()
		v.reset(now.live, now.frozen, tx)
		check(&v, &found, func(float64) {})
	}
	return errors.Join(found.list...)
}

// wipeAgain has the new file's free pages overwritten, where it says that they are to be, and what the log does not need.
func (k *compacting) wipeAgain() (err error) {
	s := k.store
	defer guard(&err)()
	return s.bolt().View(func(tx *bbolt.Tx) error {
		if tx.Bucket(bucketNames[bucketMeta]).Get(keyWipe) != nil {
			s.wipe.restart(int(tx.Size()) / s.file().page)
		} else {
			s.wipe.left.Store(0)
		}
		return nil
	})
}

// close gives up what is not done.
func (k *compacting) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.end(errClosed)
}

// CompactFile makes a database that no process has open as small as what is in it, and returns its size in bytes before and
// after. The new file is verified before it takes the place of the old one. The errors are those of Open and Compact.
func CompactFile(path string, opts Options) (before, after int64, err error) {
	opts.MustExist = true
	s, err := Open(path, opts)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := s.Load(); err != nil {
		return 0, 0, err
	}
	before = s.Size()
	if err := s.Checkpoint(); err != nil {
		return 0, 0, err
	}
	err = s.compacting.wait(context.Background(), true)
	return before, s.Size(), err
}
