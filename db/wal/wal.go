// Package wal is a write-ahead log: numbered entries, each of which is durable when Append returns, after one write and one
// flush.
//
// A log is a folder of segments, files of a fixed size that are made ahead with all their bytes written, and are written over
// again and again, so that a flush changes nothing but data. An entry is one frame, a large one several, see frame.go; a
// segment is drawn in segment.go.
//
//	segment-0001.log   head | 96 | 97 | 98 | …            current: 99 follows
//	segment-0002.log   head | 61 | 62 | … | 95            needed, where the database has less than 95
//	segment-0003.log   head | 31 | 32 | … | 60            free, where it has 60: the next one to be written over
//
// Nothing on disk says where the log begins or ends, or which segment follows on which. The numbers of the frames do: whoever
// opens a log says up to which number the database has everything, and Replay finds what follows, in whatever segment, up to
// the first entry that is not whole; replay.go says why that is the log. Cut frees segments in memory alone.
//
// What is cut stays in its segment until that is written over; where it may not, since it was a secret, StartWipe and WipeStep
// overwrite it.
package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

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
	Readable bool         // Read is to find entries, which takes some 50 bytes of memory for each that is not cut
	Logger   *slog.Logger // default slog.Default()

	Flushed func(took time.Duration) // is told of each flush of an Append, within it; or nil

	SegmentSize int64 // of one, in bytes, a multiple of 8; then Size may be any; default an eighth of Size, from 1 to 16 MiB

	chunk int // for tests
}

// Log is an open log. Replay comes first, once. Then Append belongs to one goroutine at a time; Cut, StartWipe, WipeStep and
// Stats may be called beside it by others.
type Log struct {
	fs                disk.FS
	dir               string
	id                [16]byte
	generation        uint64
	size, segmentSize int64
	chunk             int // what a frame has of an entry at most
	readOnly          bool
	readable          bool
	logger            *slog.Logger
	flushed           func(took time.Duration)

	io       sync.Mutex // held while Append or WipeStep writes; comes before mu
	buf      []byte     // of one frame
	parts    []part     // of one entry
	run      uint32
	replayed bool
	failed   error // what every later Append returns

	mu       sync.Mutex // guards what follows and the segments; not held over reads, writes and flushes
	segments []*segment
	current  *segment // that is appended to; nil: none
	last     uint64   // number in the log; changes with io held, too
	cut      uint64
	places   places // of a readable log

	made      *sync.Cond // of mu: the making of a segment ended
	making    bool
	makeErr   error // why the last one failed, until the next Cut
	nextIndex int
}

// Create makes a log without entries, durable when it returns. It refuses a folder that has segments, by an error that is
// fs.ErrExist; one that a Create before it left unfinished is taken.
func Create(o Options) (*Log, error) {
	l := newLog(o)
	if err := removeFolder(l.fs, l.dir+removed); err != nil {
		return nil, err
	}
	if err := l.fs.Mkdir(l.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := l.fs.SyncDir(filepath.Dir(l.dir)); err != nil {
		return nil, err
	}
	names, err := segmentNames(l.fs, l.dir)
	if err != nil {
		return nil, err
	}
	if len(names) != 0 {
		return nil, &fs.PathError{Op: "create", Path: filepath.Join(l.dir, names[0]), Err: fs.ErrExist}
	}
	s, err := l.makeSegment(1)
	if err != nil {
		return nil, err
	}
	l.segments, l.nextIndex = []*segment{s}, 2
	return l, nil
}

// Open opens the log and verifies what its segments are: ErrForeign, ErrNewer, ErrDamaged; fs.ErrNotExist where there is
// none, also where a Create or a Remove did not end. It changes nothing on disk.
func Open(o Options) (*Log, error) {
	l := newLog(o)
	l.readOnly = o.ReadOnly
	names, err := segmentNames(l.fs, l.dir)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(l.dir, segmentName(1, suffix)), Err: fs.ErrNotExist}
	}
	for _, name := range names {
		s, err := l.openSegment(name)
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
		l.segments = append(l.segments, s)
		if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(name, prefix), suffix)); err == nil {
			l.nextIndex = max(l.nextIndex, n+1)
		}
	}
	return l, nil
}

func newLog(o Options) *Log {
	l := &Log{
		fs: o.FS, dir: filepath.Clean(o.Dir), id: o.ID, readable: o.Readable, logger: o.Logger, flushed: o.Flushed,
		size:       max(cmp.Or(o.Size, DefaultSize), 2*minSegment),
		generation: max(binary.BigEndian.Uint64(o.ID[:]), 1), // zeros are no frame
	}
	if l.fs == nil {
		l.fs = disk.OS
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	l.chunk = cmp.Or(o.chunk, maxPayload)
	l.buf = make([]byte, 0, frameSize(l.chunk))
	l.segmentSize = o.SegmentSize
	if l.segmentSize == 0 {
		l.segmentSize = min(max(l.size/8, minSegment), maxSegment) / segmentHead * segmentHead
	} else {
		l.size = o.Size
	}
	l.made = sync.NewCond(&l.mu)
	return l
}

// Stats returns how many bytes the segments that are not free have, and how many all have.
func (l *Log) Stats() (used, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		size += s.size
		if !l.isFree(s) && l.last > l.cut {
			used += s.end
		}
	}
	return used, size
}

// Close waits for the making of a segment and closes the files. The log is durable without it.
func (l *Log) Close() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.making {
		l.made.Wait()
	}
	l.failed = ErrClosed
	var errs []error
	for _, s := range l.segments {
		errs = append(errs, s.file.Close())
	}
	l.segments, l.current = nil, nil
	return errors.Join(errs...)
}
