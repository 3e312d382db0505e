//go:build unix

package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Own gives a file that was made just now the owner of the first of the places that there is, where this process is root's: a
// service that runs as somebody else has to be able to use what a command has made for it. Others cannot give files away.
func Own(f *os.File, places ...string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, place := range places {
		info, err := os.Stat(place)
		if err != nil {
			continue
		}
		own, err := f.Stat()
		if err != nil {
			return err
		}
		owner, mine := info.Sys().(*syscall.Stat_t), own.Sys().(*syscall.Stat_t)
		if owner.Uid == mine.Uid && owner.Gid == mine.Gid {
			return nil
		}
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); !errors.Is(err, fs.ErrPermission) { // as of root in a container that may not
			return err
		}
		return nil
	}
	return nil
}

func (system) Mkdir(name string, perm fs.FileMode) error {
	if err := os.Mkdir(name, perm); err != nil {
		return err
	}
	d, err := os.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0) // #nosec G304 -- the folder of the log
	if err != nil {
		return err
	}
	defer d.Close()
	return Own(d, filepath.Dir(name))
}
