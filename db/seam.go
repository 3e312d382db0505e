package db

import "pipit/db/disk"

// seam is what tests put in the place of something else.
type seam struct {
	fs          disk.FS      // of the log, and of the names of the files; default disk.OS
	segmentSize int64        // of the log, see wal.Options
	freeze      int64        // see freezeAt; default by the size of the log
	large       int64        // bytes of a batch that goes past the log; default largeBatch
	copyPart    int          // bytes of entries that compacting copies at once; default compactPart
	met         func(Moment) // called by the worker at each of its moments; nil: not

	// written is called when the file was written, before anything else is; nil: not.
	written func()

	// partly is called when a part was written of the file at path that is to take its place, and when all of it was flushed.
	// Its error is that of the write or the flush. nil: not.
	partly func(path string, flushed bool) error
}

func (s *seam) wrote() {
	if s.written != nil {
		s.written()
	}
}

func (s *seam) copied(path string, flushed bool) error {
	if s.partly == nil {
		return nil
	}
	return s.partly(path, flushed)
}

func (s *seam) meet(m Moment) {
	if s.met != nil {
		s.met(m)
	}
}

// Moment is where the worker is, who writes to the file beside commits.
type Moment string

// The moments of the worker. While it stays in one, commits go on until the log is full.
const (
	WorkBegins Moment = "work begins" // until it ends, the file and what is beside it may change
	Frozen     Moment = "frozen"      // a table is to be moved into the file
	Moved      Moment = "moved"       // it is there, and the log has it as well
	Copied     Moment = "copied"      // compacting: the new file is whole, and has not the database's name
	Renamed    Moment = "renamed"     // it has that
	WorkEnds   Moment = "work ends"
)

// Seam is what tests of other packages put in the place of something else.
type Seam struct {
	FS          disk.FS      // of the log, and of the names of the files; nil: that of the operating system
	SegmentSize int64        // bytes of a segment of the log, which may have any size then; 0: as ever
	FreezeAt    int64        // bytes of a table that is moved into the file; 0: as ever
	Large       int64        // bytes of a batch that goes past the log; 0: as ever
	CopyPart    int          // bytes that compacting copies at once; 0: as ever
	Met         func(Moment) // called by the worker; nil: not
}

// With returns the options with what a test needs.
func (o Options) With(t Seam) Options {
	o.seam = seam{fs: t.FS, segmentSize: t.SegmentSize, freeze: t.FreezeAt, large: t.Large, copyPart: t.CopyPart, met: t.Met}
	return o
}
