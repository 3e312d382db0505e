package db

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/page"
)

// A backup is a database that needs no log, and behind its last page a checksum: see backupfile.go. It is copied from one read
// transaction, which has all that was committed before, after a checkpoint. Free pages are not copied: what they hold is of no
// use, and may be what is left of secrets that are no more.
const (
	backupStep = 512 << 10   // bytes that are written and flushed at a time
	backupRest = 3           // times as long as a step took there is none, while others commit
	restMost   = time.Second // between two steps
)

// Backup implements store.Backuper.
func (s *Store) Backup(ctx context.Context, path string, progress func(done, total int64)) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = fmt.Errorf("backup %s: %w", path, err)
		}
	}()
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if info, err := os.Stat(path); err == nil && os.SameFile(info, s.file().info) {
		return errors.New("it is the database")
	}
	if err := replaceable(path); err != nil {
		return err
	}
	if err := s.Checkpoint(); err != nil {
		return err
	}
	b, err := newBackup(path)
	if err != nil {
		return err
	}
	defer b.abandon()
	p := &pace{ctx: ctx, store: s}
	size, err := copyPages(s, b, p, progress)
	if err != nil {
		return err
	}
	if err := b.detach(); err != nil {
		return err
	}
	if err := b.seal(p, func(n int64) { progress(size+min(n, size), 2*size) }); err != nil {
		return err
	}
	return b.finish()
}

// copyPages copies the pages of this moment, and returns how many bytes of a file they are. All is done at twice as many: they are read
// for the checksum, too.
func copyPages(s *Store, b *backup, p *pace, progress func(done, total int64)) (size int64, err error) {
	reading := s.wipe.enter()
	defer reading.Add(-1)
	snap, err := takeSnapshot(s)
	if err != nil {
		return 0, err
	}
	defer abandon(snap.tx)
	if err := roomFor(b.path, snap.used()); err != nil {
		return 0, err
	}
	size = snap.tx.Size()
	return size, snap.copyTo(&copier{file: b.file, snap: snap, pace: p, progress: func(n int64) { progress(n, 2*size) }})
}

// snapshot is a moment of the file.
type snapshot struct {
	tx       *bbolt.Tx
	pageSize int64
	free     []uint64 // pages, a bit each
	freeN    int64
}

// used returns how many bytes are worth copying.
func (n *snapshot) used() int64 { return n.tx.Size() - n.freeN*n.pageSize }

func (n *snapshot) isFree(page int64) bool {
	return page/64 < int64(len(n.free)) && n.free[page/64]&(1<<(page%64)) != 0
}

// takeSnapshot has the file list its free pages, and returns the moment after.
func takeSnapshot(s *Store) (n *snapshot, err error) {
	s.fileMu.Lock()
	defer s.fileMu.Unlock()
	defer guard(&err)()
	if err := s.failed(); err != nil {
		return nil, err
	}
	if err := listFree(s); err != nil {
		return nil, err
	}
	tx, err := s.bolt().Begin(false)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			abandon(tx)
		}
	}()
	h, err := page.ReadHead(s.file().data)
	if err != nil {
		return nil, err
	}
	list, err := h.FreePages(s.file().data)
	if err != nil {
		return nil, err
	}
	n = &snapshot{tx: tx, pageSize: h.PageSize, freeN: int64(len(list)), free: make([]uint64, h.HighWater/64+1)}
	for _, p := range list {
		n.free[p/64] |= 1 << (p % 64)
	}
	return n, nil
}

// listFree has the file list its free pages, by a commit that changes nothing else. The caller has fileMu.
func listFree(s *Store) error {
	tx, err := s.bolt().Begin(true)
	if err != nil {
		return err
	}
	defer abandon(tx)
	id := tx.ID()
	s.bolt().NoFreelistSync = false
	if err = tx.Commit(); err != nil {
		if err = s.moveError(id, err); !errors.Is(err, store.ErrNoSpace) && !errors.Is(err, store.ErrNotStored) {
			s.fail(err)
		}
		return err
	}
	s.wrote()
	return nil
}

// copyTo writes the pages that are in use.
func (n *snapshot) copyTo(c *copier) (err error) {
	defer guard(&err)()
	if _, err := n.tx.WriteTo(c); err != nil {
		return err
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.file.Truncate(n.tx.Size())
}

// copier writes what it is given to a file, a step at a time, but for free pages.
type copier struct {
	file     *os.File
	snap     *snapshot
	pace     *pace
	progress func(done int64)
	buf      []byte
	at       int64 // of buf in the file
}

func (c *copier) Write(b []byte) (int, error) {
	c.buf = append(c.buf, b...)
	for len(c.buf) >= backupStep {
		if err := c.step(backupStep); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (c *copier) flush() error { return c.step(len(c.buf)) }

// step writes the first n bytes of the buffer: whole pages, since both are a multiple of their size.
func (c *copier) step(n int) error {
	return c.pace.step(func() error {
		size := int(c.snap.pageSize)
		wrote := false
		for from := 0; from < n; {
			to := from
			for to < n && !c.snap.isFree((c.at+int64(to))/c.snap.pageSize) {
				to += size
			}
			if to = min(to, n); to > from {
				if _, err := c.file.WriteAt(c.buf[from:to], c.at+int64(from)); err != nil {
					return err
				}
				wrote = true
			}
			for to < n && c.snap.isFree((c.at+int64(to))/c.snap.pageSize) {
				to += size
			}
			from = to
		}
		c.at += int64(n)
		c.buf = append(c.buf[:0], c.buf[n:]...)
		c.progress(c.at)
		if !wrote {
			return nil
		}
		return c.file.Sync()
	})
}

// pace leaves others time: after each step it rests, where there were commits meanwhile.
type pace struct {
	ctx   context.Context
	store *Store // nil: nobody commits
	seen  *tables
}

func (p *pace) step(do func() error) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	start := time.Now()
	if err := do(); err != nil {
		return err
	}
	if p.store == nil {
		return nil
	}
	now := p.store.tables.Load()
	busy := now != p.seen
	p.seen = now
	if !busy {
		return nil
	}
	select {
	case <-time.After(min(backupRest*time.Since(start), restMost)):
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// detach takes from the copy what says that it needs a log.
func (b *backup) detach() (err error) {
	defer guard(&err)()
	bolt, err := bbolt.Open(b.file.Name(), 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = bolt.Update(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketNames[bucketMeta])
		if binary.BigEndian.Uint32(meta.Get(keyFormat)) > Format {
			if err := meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, Format)); err != nil {
				return err
			}
		}
		return errors.Join(meta.Delete(keyLog), meta.Delete(keyReplica))
	})
	if err = errors.Join(err, bolt.Close()); err != nil {
		return err
	}
	h, err := page.ReadHead(b.file)
	if err != nil {
		return err
	}
	return b.file.Truncate(int64(h.HighWater) * h.PageSize) // #nosec G115 -- bbolt's own
}

// roomFor returns an error where the disk has no room for so many bytes beside what it needs anyway.
func roomFor(path string, size int64) error {
	_, free := diskSpace(filepath.Dir(path))
	if need := size + spare; free >= 0 && free < need {
		return fmt.Errorf("%w: it takes %d bytes, with what the database may need meanwhile, and the disk has %d", store.ErrNoSpace, need, free)
	}
	return nil
}

// spare is what is to stay free beside a backup, in bytes.
const spare = 64 << 20

// replaceable returns why a file is not to be replaced by a backup: it is none itself.
func replaceable(path string) error {
	f, err := os.Open(path) // #nosec G304 -- whoever asks for it names it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, _, err := readSum(f); err != nil {
		return fmt.Errorf("there is a file of that name that is no backup: %w", fs.ErrExist)
	}
	return nil
}

var _ io.Writer = (*copier)(nil)
