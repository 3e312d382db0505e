package db

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// Inspect tells whether Open would take the file at path, without changing anything, and returns what
// is in it, nil where there is nothing yet. The errors are those of Open, and that of a directory in
// which the file cannot be made.
func Inspect(path string, opts Options) (*store.Image, error) {
	opts = opts.withDefaults()
	isNew, err := inspect(path, opts, nil)
	switch {
	case err != nil:
		return nil, err
	case !isNew:
		return peek(path, opts)
	}
	if _, err := os.Stat(path); err == nil {
		return nil, nil // making it was cut short
	}
	if err := writable(filepath.Dir(path)); err != nil {
		return nil, openError(path, err)
	}
	return nil, nil
}

// peek loads a file that nobody writes to meanwhile.
func peek(path string, opts Options) (img *store.Image, err error) {
	defer func() {
		if errors.As(err, new(*fault)) {
			err = fmt.Errorf("database %s is damaged: %w", path, err)
		}
	}()
	defer guard(&err)()
	bolt, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true, Timeout: opts.LockTimeout})
	if err != nil {
		return nil, openError(path, err)
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	s := newStore(&file{bolt: bolt, page: bolt.Info().PageSize}, path, opts)
	if err := s.attach(); err != nil {
		return nil, err
	}
	if s.journal != nil {
		defer s.journal.Close()
	}
	return s.Load()
}
