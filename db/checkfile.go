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
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s: %w", s.path, store.ErrLost)
	case err != nil:
		return fmt.Errorf("database %s: %w", s.path, err)
	case !os.SameFile(info, s.file):
		return fmt.Errorf("database %s: %w", s.path, store.ErrLost)
	case readOnly(s.path):
		return fmt.Errorf("database %s: its file system is read-only", s.path)
	}
	return nil
}
