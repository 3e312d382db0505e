package db

import (
	"errors"
	"strings"
	"syscall"
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

func syncDir(string) error { return nil }
