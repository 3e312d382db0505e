package main

import (
	"io"
	"log/slog"
	"os"
	"sync"

	cli "pipit/admin/command"
)

// maxSecrets bounds what a service leaves in its file of secrets, in bytes: past it, what was there before is overwritten.
const maxSecrets = 64 << 10

// secretsFile is where a service tells what is for a person alone: the set-up link, keys and secrets that were made. Its standard
// error is the journal, which keeps that for good. pipit setup-link prints the file, and removes it.
type secretsFile struct {
	path      string
	otherwise io.Writer // where the file cannot be written
	log       *slog.Logger
	once      sync.Once
}

func (f *secretsFile) Write(p []byte) (int, error) {
	n, err := f.append(p)
	if err != nil {
		f.log.Warn("what is not for the log could not be written to its file", "file", f.path, "error", err)
		return f.otherwise.Write(p)
	}
	f.once.Do(func() {
		f.log.Info("what is not for the log is in a file, and pipit setup-link prints it", "file", f.path)
	})
	return n, nil
}

func (f *secretsFile) append(p []byte) (n int, err error) {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err == nil && info.Mode().Perm() != 0o600 { // it was there, and others could read it
		err = file.Chmod(0o600)
	}
	if err == nil && info.Size() > maxSecrets {
		err = file.Truncate(0)
	}
	if err == nil {
		n, err = file.Write(p)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return n, err
}

// forPerson is where a server tells what a person alone has to know.
func forPerson(env []string, database string, stderr io.Writer, log *slog.Logger) io.Writer {
	if !journaled(env) {
		return stderr
	}
	return &secretsFile{path: database + cli.SecretsSuffix, otherwise: stderr, log: log}
}
