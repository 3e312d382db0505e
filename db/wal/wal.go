// Package wal is a write-ahead log: numbered entries, each of which is durable when Append returns, in segments that are
// made ahead, written over again and again, and freed by Cut.
package wal

import (
	"errors"
	"log/slog"

	"pipit/db/disk"
)

// Errors of a log, which the errors of its methods wrap.
var (
	// ErrForeign: a segment belongs to a log with another ID.
	ErrForeign = errors.New("the log belongs to another database")
	// ErrNewer: a segment was made by a newer version of this program.
	ErrNewer = errors.New("the log was written by a newer version")
	// ErrDamaged: a segment is no segment, or entries are missing before others that are there.
	ErrDamaged = errors.New("the log is damaged")
	// ErrTooLarge: the entry does not fit into the segments though they were all free. Nothing was written.
	ErrTooLarge = errors.New("the entry is larger than the log")
	// ErrFull: no segment is free before a Cut. Nothing was written. The cause is wrapped where a segment could not be made.
	ErrFull = errors.New("the log is full")
	// ErrNotWritten: the entry could not be written, and is not found by a later Replay. The same number may be appended
	// again, with the same entry or another one.
	ErrNotWritten = errors.New("the log could not be written")
	// ErrUncertain: it is not known whether the entry is durable. Every later Append is refused with it.
	ErrUncertain = errors.New("it is not known what the log has")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("the log is closed")
)

// DefaultSize is how many bytes all segments have at most, unless Options says otherwise.
const DefaultSize = 64 << 20

// Options are what a log is and where.
type Options struct {
	FS       disk.FS      // default disk.OS
	Dir      string       // the folder of the segments; its parent must be there
	ID       [16]byte     // of the database that the log belongs to: random, and never a client's to know
	Size     int64        // of all segments, in bytes; default DefaultSize, at least 2 MiB
	ReadOnly bool         // Open and Replay alone: nothing is written or flushed
	Logger   *slog.Logger // default slog.Default()
}

// Log is an open log. Replay comes first, once. Then Append belongs to one goroutine at a time; Cut, StartWipe, WipeStep and
// Stats may be called beside it by others.
type Log struct{}

// Create makes a log without entries, durable when it returns. It refuses a folder that has segments, by an error that is
// fs.ErrExist; one that a Create before it left unfinished is taken.
func Create(o Options) (*Log, error) { panic("TODO") }

// Open opens the log and verifies what its segments are: ErrForeign, ErrNewer, ErrDamaged; fs.ErrNotExist where there is
// none, also where a Create or a Remove did not end. It changes nothing on disk.
func Open(o Options) (*Log, error) { panic("TODO") }

// Replay calls fn with the entries after+1, after+2 and so on, each whole, and finds the end. The bytes are valid until fn
// returns; its error ends Replay and is returned as it is. An entry at the end that is not whole was never answered: it is
// cut off. ErrDamaged where entries are missing: before the first that is there, or between two. What was found is durable
// when Replay returns. It is called once, also after Create.
func (l *Log) Replay(after uint64, fn func(number uint64, entry []byte) error) error { panic("TODO") }

// Append appends an entry, which is durable when it returns; number is the last one and 1. ErrTooLarge, ErrFull and
// ErrNotWritten: it is not in the log; ErrUncertain: it may be. The caller keeps the entry.
func (l *Log) Append(number uint64, entry []byte) error { panic("TODO") }

// Cut says that the entries up to through are not needed any more, since something else has them durably. It writes
// nothing: segments without a later entry become free.
func (l *Log) Cut(through uint64) error { panic("TODO") }

// StartWipe has all that the log holds now overwritten with zeros by WipeStep, as soon as it is cut: from now on appends go
// elsewhere where there is room. That wiping is to be done is not kept over a restart: the caller keeps it, and starts again.
func (l *Log) StartWipe() { panic("TODO") }

// WipeStep overwrites at most 256 KiB, or flushes what was overwritten, and returns how many bytes are left at least; 0: all
// that StartWipe meant is durably gone. Where what is left waits for a Cut it does nothing. An error leaves the step to be
// done again.
func (l *Log) WipeStep() (left int64, err error) { panic("TODO") }

// Stats returns how many bytes the segments that are not free have, and how many all have.
func (l *Log) Stats() (used, size int64) { panic("TODO") }

// Close waits for the making of a segment and closes the files. The log is durable without it.
func (l *Log) Close() error { panic("TODO") }

// Remove removes a log that nothing needs any more, durably: the folder is renamed first, so that a crash leaves all of it or
// none. What an earlier Remove left goes, too. It is no error where there is none.
func Remove(fsys disk.FS, dir string) error { panic("TODO") }
