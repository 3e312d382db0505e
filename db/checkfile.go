package db

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"pipit/broker/store"
)

// CheckFile implements store.FileChecker. It asks the operating system about names and flags alone.
func (s *Store) CheckFile() error {
	if err := s.failed(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrFailed, err)
	}
	now := s.file() // before the name is looked at: compacting may put another file in its place then
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s: %w", s.path, store.ErrLost)
	case err != nil:
		return fmt.Errorf("database %s: %w", s.path, err)
	case !os.SameFile(info, now.info) && !s.compacting.isComing(info):
		return fmt.Errorf("database %s: %w", s.path, store.ErrLost)
	case readOnly(s.path):
		return fmt.Errorf("database %s: its file system is read-only", s.path)
	}
	if _, free := diskSpace(s.path); free >= 0 && free < s.minFree {
		return fmt.Errorf("database %s: %w: less than %d MiB of the disk are free", s.path, store.ErrNoSpace, s.minFree>>20)
	}
	return nil
}

// isComing tells whether a file is that which compacting puts in the place of the open one.
func (k *compacting) isComing(info fs.FileInfo) bool {
	c := k.coming.Load()
	return c != nil && os.SameFile(info, c.info)
}
