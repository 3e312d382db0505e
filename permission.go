package main

import (
	"io/fs"
	"log/slog"
	"path/filepath"

	"pipit/config"
)

// Permissions that only the owner of a file should have.
const (
	writing     fs.FileMode = 0o022
	readWriting fs.FileMode = 0o066
	ofLog                   = readWriting &^ 0o040 // which a group may be there to read
)

// warnOpen logs each file of a server that other users of the machine can read or change and should not, and each
// directory in which they can put another file in its place. configFile is empty, where there is none.
func warnOpen(c *config.Config, configFile string, log *slog.Logger) {
	ofConfig := writing
	if config.HoldsSecrets(configFile) {
		ofConfig = readWriting
	}
	me, checked := thisUser(), map[string]bool{"": true}
	warn := func(what, file string, wrong fs.FileMode) {
		if checked[file] {
			return
		}
		checked[file] = true
		if mode, command := me.exposure(file, wrong); command != "" {
			log.Warn("the "+what+" is open to other users of this machine", "file", file, "mode", mode.String(), "command", command)
		}
	}
	warn("log", c.Log.File, ofLog)
	for _, f := range []struct {
		what, file string
		wrong      fs.FileMode
	}{{"configuration", configFile, ofConfig}, {"database", c.Database.File, readWriting}, {"private key", c.HTTP.TLSKey, readWriting}} {
		warn(f.what, f.file, f.wrong)
		if f.file != "" {
			warn("directory of the "+f.what, filepath.Dir(f.file), writing)
		}
	}
}
