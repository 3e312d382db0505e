package main

import (
	"os"
	"syscall"
)

// flush makes what was written to a file durable, without the times of the file.
func flush(f *os.File) error {
	for {
		if err := syscall.Fdatasync(int(f.Fd())); err != syscall.EINTR { // #nosec G115 -- a file descriptor
			return err
		}
	}
}
