//go:build unix

package main

import "syscall"

// maxFiles is how many files the process may have open, 0 where that is not known. Go raises the soft limit to the
// hard one when a program starts.
func maxFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(uint64(limit.Cur), 1<<62))
}
