package disktest

import (
	"errors"
	"io/fs"
	"os"
)

// copyTries is how often a folder is copied in which names change.
const copyTries = 100

// CopyDir copies a folder to one that is not there yet, while files in it may be made, renamed and removed: where one that was listed is no more
// when it is to be copied, it begins anew.
func CopyDir(to, from string) (err error) {
	for range copyTries {
		if err = os.CopyFS(to, os.DirFS(from)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if gone := os.RemoveAll(to); gone != nil {
			return errors.Join(err, gone)
		}
	}
	return err
}
