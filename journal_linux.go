package main

import (
	"fmt"
	"os"
	"slices"
	"syscall"
)

// journaled tells whether standard error is the journal of systemd, which says so by the device and inode of its socket:
// systemd.exec(5), JOURNAL_STREAM. A program that was started by a service has the variable, too, but another standard error.
func journaled(env []string) bool {
	info, err := os.Stderr.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && slices.Contains(env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", stat.Dev, stat.Ino))
}
