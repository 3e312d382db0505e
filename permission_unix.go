//go:build unix

package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

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
