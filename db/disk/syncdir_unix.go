//go:build !windows

package disk

import (
	"errors"
	"os"
	"syscall"
)

func (system) SyncDir(name string) error {
	d, err := os.Open(name) // #nosec G304 -- the folder of the database
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems cannot
		return err
	}
	return nil
}
