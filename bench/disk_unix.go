//go:build unix

package main

import (
	"os"
	"syscall"
)

// diskUse returns the size of a file, and how much of it has room on the disk.
func diskUse(file string) (size, allocated int64, err error) {
	fi, err := os.Stat(file)
	if err != nil {
		return 0, 0, err
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fi.Size(), int64(st.Blocks) * 512, nil
	}
	return fi.Size(), fi.Size(), nil
}
