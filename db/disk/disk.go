// Package disk is the file system as package db uses it: a seam, so that a test can record what is written and when it
// is flushed, rebuild each state that a power cut could leave, and have any call fail.
package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// FS opens and names files. Names are those of the operating system, as for package os; so are the errors.
type FS interface {
	// OpenFile is os.OpenFile. The name of a file that is made is durable after SyncDir.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Rename takes the place of a file that is there, at once: durable after SyncDir, until then either is found.
	Rename(from, to string) error
	// Remove removes a file or an empty folder: durable after SyncDir.
	Remove(name string) error
	// Mkdir makes a folder, whose parent there is: durable after SyncDir of the parent.
	Mkdir(name string, perm fs.FileMode) error
	// ReadDir returns what a folder has, by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes durable what was made, renamed and removed in a folder.
	SyncDir(name string) error
}

// File is an open file. Several goroutines may use it.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	// Sync makes durable what was written before it began, and the size; times of the file may wait. After an error it
	// is not known what is durable, and a second Sync would not tell either.
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// OS is the file system of the operating system.
var OS FS = system{}

type system struct{}

func (system) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

// Open is os.OpenFile, but that a file which it makes is given the owner of its folder, as by Own.
func Open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if flag&os.O_CREATE != 0 {
		f, err := os.OpenFile(name, flag|os.O_EXCL, perm) // #nosec G304 -- the files of the database
		if err == nil {
			if err = Own(f, filepath.Dir(name)); err != nil {
				return nil, errors.Join(err, f.Close(), os.Remove(name))
			}
			return f, nil
		}
		if flag&os.O_EXCL != 0 || !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	return os.OpenFile(name, flag, perm) // #nosec G304 -- the files of the database
}

func (system) Rename(from, to string) error               { return os.Rename(from, to) }
func (system) Remove(name string) error                   { return os.Remove(name) }
func (system) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (system) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }

type file struct{ *os.File }
