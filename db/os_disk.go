//go:build darwin || dragonfly || freebsd || linux

package db

import "golang.org/x/sys/unix"

// diskSpace returns how many bytes the file system of a file has, and how many of them this process
// may still use; negative where that is not known.
func diskSpace(path string) (total, free int64) {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return -1, -1
	}
	size := int64(st.Bsize)
	return int64(st.Blocks) * size, max(int64(st.Bavail), 0) * size // #nosec G115 -- no file system has 2^63 bytes
}

const flagReadOnly = 1 // ST_RDONLY and MNT_RDONLY

// readOnly tells whether the file system of a file cannot be written.
var readOnly = func(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&flagReadOnly != 0
}
