package disktest

import (
	"io/fs"
	"sync/atomic"

	"pipit/db/disk"
)

// Kind is what a call does that fails.
type Kind int

const (
	Before Kind = iota // nothing
	Short              // of a write half; otherwise nothing
	After              // all, and says that it failed
)

// Fault is a file system one of whose calls, those of its files included, fails.
type Fault struct {
	disk.FS
	Err  error
	Kind Kind

	calls, at atomic.Int64
}

// Fail has the n-th call from now on fail, from 1; 0: none.
func (f *Fault) Fail(n int) {
	f.calls.Store(0)
	f.at.Store(int64(n))
}

// Calls returns how many calls there were since the last Fail.
func (f *Fault) Calls() int { return int(f.calls.Load()) }

// Failed tells whether the call came.
func (f *Fault) Failed() bool { return f.at.Load() != 0 && f.calls.Load() >= f.at.Load() }

// call does one call. A write passes what it does in half.
func (f *Fault) call(do, half func() error) error {
	if f.calls.Add(1) != f.at.Load() {
		return do()
	}
	var err error
	switch {
	case f.Kind == After:
		err = do()
	case f.Kind == Short && half != nil:
		err = half()
	}
	if err != nil {
		return err
	}
	return f.Err
}

// Do does what is not a call of a file system, and fails as one.
func (f *Fault) Do(do func() error) error { return f.call(do, nil) }

// Write does a write that is not one of a file of the file system, and fails as one.
func (f *Fault) Write(write func(part []byte) error, b []byte) error {
	return f.call(func() error { return write(b) }, func() error { return write(b[:len(b)/2]) })
}

func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (file disk.File, err error) {
	err = f.call(func() error {
		file, err = f.FS.OpenFile(name, flag, perm)
		return err
	}, nil)
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *Fault) Rename(from, to string) error {
	return f.call(func() error { return f.FS.Rename(from, to) }, nil)
}

func (f *Fault) Remove(name string) error {
	return f.call(func() error { return f.FS.Remove(name) }, nil)
}

func (f *Fault) Mkdir(name string, perm fs.FileMode) error {
	return f.call(func() error { return f.FS.Mkdir(name, perm) }, nil)
}

func (f *Fault) ReadDir(name string) (entries []fs.DirEntry, err error) {
	err = f.call(func() error {
		entries, err = f.FS.ReadDir(name)
		return err
	}, nil)
	return entries, err
}

func (f *Fault) Stat(name string) (info fs.FileInfo, err error) {
	err = f.call(func() error {
		info, err = f.FS.Stat(name)
		return err
	}, nil)
	return info, err
}

func (f *Fault) SyncDir(name string) error {
	return f.call(func() error { return f.FS.SyncDir(name) }, nil)
}

type faultFile struct {
	disk.File
	fault *Fault
}

func (f *faultFile) ReadAt(b []byte, at int64) (n int, err error) {
	err = f.fault.call(func() error {
		n, err = f.File.ReadAt(b, at)
		return err
	}, nil)
	return n, err
}

func (f *faultFile) WriteAt(b []byte, at int64) (n int, err error) {
	write := func(b []byte) func() error {
		return func() error {
			n, err = f.File.WriteAt(b, at)
			return err
		}
	}
	err = f.fault.call(write(b), write(b[:len(b)/2]))
	return n, err
}

func (f *faultFile) Truncate(size int64) error {
	return f.fault.call(func() error { return f.File.Truncate(size) }, nil)
}

func (f *faultFile) Sync() error { return f.fault.call(f.File.Sync, nil) }

func (f *faultFile) Stat() (info fs.FileInfo, err error) {
	err = f.fault.call(func() error {
		info, err = f.File.Stat()
		return err
	}, nil)
	return info, err
}

func (f *faultFile) Close() error { return f.fault.call(f.File.Close, nil) }
