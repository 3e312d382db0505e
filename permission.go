package main

import (
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
)

// Permissions that only the owner of a file should have.
const (
	writing     fs.FileMode = 0o022
	readWriting fs.FileMode = 0o066
)

// warnOpen logs each file of a server that other users of the machine can read or change and should not, and each
// directory in which they can put another file in its place. configFile is empty, where there is none.
func warnOpen(c *config, configFile string, log *slog.Logger) {
	ofConfig := writing
	if holdsSecrets(configFile) {
		ofConfig = readWriting
	}
	me, seen := thisUser(), map[string]bool{"": true}
	look := func(what, file string, wrong fs.FileMode) {
		if seen[file] {
			return
		}
		seen[file] = true
		if mode, command := me.exposure(file, wrong); command != "" {
			log.Warn("the "+what+" is open to other users of this machine", "file", file, "mode", mode.String(), "command", command)
		}
	}
	for _, f := range []struct {
		what, file string
		wrong      fs.FileMode
	}{{"configuration", configFile, ofConfig}, {"database", c.Database.File, readWriting}, {"private key", c.HTTP.TLSKey, readWriting}} {
		look(f.what, f.file, f.wrong)
		if f.file != "" {
			look("directory of the "+f.what, filepath.Dir(f.file), writing)
		}
	}
}

// holdsSecrets tells whether a configuration file has passwords, hashes or keys in it.
func holdsSecrets(file string) bool {
	if file == "" {
		return false
	}
	c, _, err := bindConfig(file, nil)
	return err == nil &&
		(slices.ContainsFunc(c.Client, func(v clientConfig) bool { return v.Password != "" || v.PasswordHash != "" }) ||
			slices.ContainsFunc(c.Consumer, func(v consumerConfig) bool { return v.SubKey != "" }))
}
