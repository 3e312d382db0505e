package db

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/windows"
)

const (
	errorHandleDiskFull = syscall.Errno(39)
	errorDiskFull       = syscall.Errno(112)
)

// noSpace tells whether a commit failed because the medium is full.
func noSpace(err error) bool {
	for _, e := range []error{errorDiskFull, errorHandleDiskFull} {
		// bbolt reports a failure to enlarge the file with the text of its cause alone.
		if errors.Is(err, e) || strings.HasSuffix(err.Error(), e.Error()) {
			return true
		}
	}
	return false
}

func isReadOnly(error) bool { return false }

// writable returns why no file can be made in a directory. Whether this user may, the system does not
// tell without making one.
func writable(dir string) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	return err
}

// canReplace: a file that is mapped cannot be replaced.
const canReplace = false

func linked(os.FileInfo) bool { return true }

func sameOwner(*os.File, os.FileInfo) error { return nil }

func syncDir(string) error { return nil }

// diskSpace returns how many bytes the file system of a file has, and how many of them this process
// may still use; negative where that is not known.
func diskSpace(path string) (total, free int64) {
	dir, err := windows.UTF16PtrFromString(filepath.Dir(path))
	if err != nil {
		return -1, -1
	}
	var size, usable uint64
	if windows.GetDiskFreeSpaceEx(dir, &usable, &size, nil) != nil {
		return -1, -1
	}
	return int64(min(size, math.MaxInt64)), int64(min(usable, math.MaxInt64))
}

// readOnly is not known here; a write tells.
var readOnly = func(string) bool { return false }
