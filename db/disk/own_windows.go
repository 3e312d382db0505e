package disk

import (
	"io/fs"
	"os"
)

// Own has nothing to do: a file has the permissions of its folder.
func Own(*os.File, ...string) error { return nil }

func (system) Mkdir(name string, perm fs.FileMode) error { return os.Mkdir(name, perm) }
