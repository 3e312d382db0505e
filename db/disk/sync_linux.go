package disk

import (
	"os"
	"runtime"
	"syscall"
)

// Sync is fdatasync: what changes nothing but times does not touch the journal of the file system.
func (f file) Sync() error {
	defer runtime.KeepAlive(f.File)
	for {
		err := syscall.Fdatasync(int(f.Fd())) // #nosec G115 -- a file descriptor
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
