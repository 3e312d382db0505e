//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"syscall"
)

// maxFiles is how many files the process may have open, 0 where that is not known. Go raises the soft limit to the
// hard one when a program starts.
func maxFiles() int64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(uint64(limit.Cur), 1<<62))
}

// hasArrived tells whether something came on a connection that was not read yet.
func hasArrived(c net.Conn) bool {
	for outer, ok := c.(interface{ NetConn() net.Conn }); ok; outer, ok = c.(interface{ NetConn() net.Conn }) {
		c = outer.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	err = raw.Control(func(fd uintptr) { // which is non-blocking
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
	})
	return err == nil && n > 0
}

// user is who a process runs as.
type user struct {
	id     int
	groups []int
}

func thisUser() user {
	groups, _ := os.Getgroups()
	return user{os.Geteuid(), append(groups, os.Getegid())}
}

// exposure returns the mode of a file or directory, and the command that mends it where others than a user have one of
// the wrong permissions; "" where they have none, and of what is no file. Where the user is let in as one of the group,
// the group may. In a directory with the sticky bit nobody takes another's file away.
func (u user) exposure(path string, wrong fs.FileMode) (mode fs.FileMode, command string) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() || info.Mode()&fs.ModeSticky != 0 {
		return 0, ""
	}
	mode = info.Mode()
	if owner := info.Sys().(*syscall.Stat_t); u.id != 0 && u.id != int(owner.Uid) {
		if slices.Contains(u.groups, int(owner.Gid)) {
			wrong &= 0o007
		} else { // who is let in as anybody has to own it first
			command = fmt.Sprintf("chown %d %s && ", u.id, path)
		}
	}
	if mode.Perm()&wrong == 0 {
		return mode, ""
	}
	return mode, command + fmt.Sprintf("chmod %o %s", mode.Perm()&^wrong, path)
}
