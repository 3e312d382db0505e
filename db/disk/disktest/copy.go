package disktest

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// tries is how often a folder is read in which names change.
const tries = 100

// whole tries to read a folder in which files may be made, renamed and removed meanwhile: anew where one that was listed is no more when it is
// to be read.
func whole(top string, read func() error) (err error) {
	for range tries {
		if err = read(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if _, gone := os.Stat(top); gone != nil {
			return gone
		}
	}
	return err
}

// CopyDir copies a folder that is in use to one that is not there yet.
func CopyDir(to, from string) error {
	return whole(from, func() error {
		return errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(from)))
	})
}

// ReadTree adds what a file, or those in a folder that is in use, have, by their paths. The error is fs.ErrNotExist where there is no such path.
func ReadTree(files map[string][]byte, top string) error {
	return whole(top, func() error {
		read := map[string][]byte{}
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				read[path], err = os.ReadFile(path) // #nosec G304 G122 -- a test's own
			}
			return err
		})
		if err == nil {
			maps.Copy(files, read)
		}
		return err
	})
}
