package disktest

import (
	"io/fs"

	"pipit/db/disk"
)

// Unflushed is a file system without flushes, for tests in which no power is cut: what a process writes stays there when it ends.
type Unflushed struct{ disk.FS }

func (u Unflushed) OpenFile(name string, flag int, perm fs.FileMode) (disk.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return unflushedFile{f}, nil
}

func (Unflushed) SyncDir(string) error { return nil }

type unflushedFile struct{ disk.File }

func (unflushedFile) Sync() error { return nil }
