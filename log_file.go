package main

import (
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/DeRuina/timberjack"

	"pipit/config"
)

// logFile is the file of log.file, which only a logWriter writes to: it waits in place of others where the file cannot be written.
type logFile struct {
	next    atomic.Pointer[timberjack.Logger] // takes the place of file with the following write
	file    *timberjack.Logger
	stderr  io.Writer // is told when writing fails
	failing bool
}

func newLogFile(c config.Log, stderr io.Writer) *logFile {
	f := &logFile{stderr: stderr}
	f.reopen(c)
	return f
}

// reopen has the following line open the file by its name, which may be another one since it was rotated, and takes over
// how it is rotated from here. It does not wait.
func (f *logFile) reopen(c config.Log) {
	most := math.MaxInt32
	if c.MaxSize > 0 {
		most = int((c.MaxSize + 1<<20 - 1) >> 20)
	}
	f.next.Store(&timberjack.Logger{
		Filename: c.File, FileMode: 0o600, MaxSize: most, MaxAge: int(c.MaxAge / (24 * time.Hour)), MaxBackups: int(c.MaxFiles),
	})
}

func (f *logFile) Write(p []byte) (int, error) {
	if next := f.next.Swap(nil); next != nil {
		if f.file != nil {
			_ = f.file.Close() // what was written is with the system
		}
		f.file = next
	}
	n, err := f.file.Write(p)
	if failing := err != nil; failing != f.failing {
		f.failing = failing
		if failing {
			fmt.Fprintf(f.stderr, "pipit: log.file: %v: up to %d MiB of lines wait until it can be written, the others are dropped\n", err, logBuffer>>20)
		}
	}
	return n, err
}
