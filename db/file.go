package db

import (
	"errors"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"pipit/db/disk"
)

// file is the file of the database, in whose place compacting puts another one.
type file struct {
	bolt *bbolt.DB
	data *os.File    // the same, which bbolt closes
	info fs.FileInfo // of the open file
	page int         // bytes
	rest disk.File   // the same, when another file is in its place and its last reader has ended
}

// moment is a time that others than who sets it look at.
type moment struct{ micros atomic.Int64 }

func (m *moment) set() { m.micros.Store(time.Now().UnixMicro()) }

// get returns the time, zero where there is none.
func (m *moment) get() time.Time {
	if n := m.micros.Load(); n != 0 {
		return time.UnixMicro(n)
	}
	return time.Time{}
}

// newFile returns a file that was opened.
func newFile(bolt *bbolt.DB, data *os.File) (*file, error) {
	f := &file{bolt: bolt, data: data, page: bolt.Info().PageSize}
	var err error
	f.info, err = data.Stat()
	return f, err
}

// file returns the file of this moment. Who writes to it holds fileMu, under which it stays the same.
func (s *Store) file() *file { return s.tables.Load().file }

func (s *Store) bolt() *bbolt.DB { return s.file().bolt }

// begin returns a transaction that reads the file, and which file that is.
func (s *Store) begin() (*bbolt.Tx, *file, error) {
	for {
		f := s.file()
		tx, err := f.bolt.Begin(false)
		if err == nil || !errors.Is(err, berrors.ErrDatabaseNotOpen) || s.file() == f {
			return tx, f, err
		}
		// Between the two another file took its place, and it was closed.
	}
}

// replaced tells whether the file at the Store's path is another one than the open one, of which the name is lost.
func replaced(path string, f *file) bool {
	info, err := os.Stat(path)
	return err != nil || !os.SameFile(info, f.info)
}

// Letting go of a large file at once is a change of its file system that holds up all others.
const (
	retiredPart = 8 << 20               // bytes that are let go at once
	retiredRest = 20 * time.Millisecond // before the next ones, or before the next look at whether a file has readers
)

// closeRetired goes on to close files in whose place others are, and tells whether there is more to do.
func closeRetired(s *Store) (left bool) {
	w := &s.worker
	if len(w.retired) == 0 {
		return false
	}
	more, err := w.retired[0].letGo()
	if err != nil {
		s.log.Warn("the file that was there before compacting could not be closed", "file", s.path, "error", err)
	}
	if !more {
		w.retired = w.retired[1:]
	}
	return len(w.retired) > 0
}

// letGo does a part of closing a file without a name, and tells whether there is more to do.
func (f *file) letGo() (more bool, err error) {
	if f.bolt != nil {
		// Closing waits for readers, and readers that are late for the file would wait for it: none of them is to wait long.
		if f.bolt.Stats().OpenTxN > 0 {
			return true, nil
		}
		bolt := f.bolt
		f.bolt = nil
		if err := bolt.Close(); err != nil {
			return false, errors.Join(err, f.rest.Close())
		}
	}
	info, err := f.rest.Stat()
	if err != nil || linked(info) || info.Size() == 0 {
		return false, errors.Join(err, f.rest.Close())
	}
	return true, f.rest.Truncate(max(info.Size()-retiredPart, 0))
}

// closeFiles closes all that is open, when its readers have ended.
func closeFiles(s *Store) error {
	var err error
	for _, f := range s.worker.retired {
		if f.bolt != nil {
			err = errors.Join(err, f.bolt.Close())
		}
		err = errors.Join(err, f.rest.Close())
	}
	s.worker.retired = nil
	return errors.Join(err, s.bolt().Close())
}
