package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pipit/db/disk"
)

// A segment is a file of a fixed size: a head, then frames, then what is left of frames of an earlier use, or zeros. It
// has all its bytes written and flushed before it gets its name, so that a flush of a frame changes nothing but data.
//
//	magic 8       "pipitwal"
//	version 4     of all that follows
//	reserved 4    0
//	ID 16         of the database
//	size 8        of the file
//	checksum 4    CRC-32C of all before it
//	zeros         up to 4 KiB
const (
	segmentHead  = 4 << 10
	magic        = "pipitwal"
	version      = 1
	headChecksum = 40

	minSegment = 1 << 20
	maxSegment = 16 << 20

	prefix     = "segment-"
	suffix     = ".log"
	unfinished = ".new"     // instead of suffix
	removed    = ".removed" // behind the name of the folder

	makeStep  = 1 << 20 // what is written between two flushes when one is made, so that those of Append do not wait for all of it
	makePiece = 4 << 10 // what is written at once then
)

// segment is one, open.
type segment struct {
	name string // without the folder
	file disk.File
	size int64

	// Guarded by Log.mu.
	last  uint64 // the highest number that has a frame here; the segment is free when that is cut, unless it is appended to
	end   int64  // of the last of these frames
	dirty int64  // all behind it is zeros
	stale bool   // it has what StartWipe meant
}

func segmentName(index int, suffix string) string {
	return fmt.Sprintf("%s%04d%s", prefix, index, suffix)
}

// segmentHeader returns the head of a segment.
func segmentHeader(id [16]byte, size int64) []byte {
	b := make([]byte, 0, segmentHead)
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version)
	b = binary.BigEndian.AppendUint32(b, 0)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(size)) // #nosec G115 -- a size
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:segmentHead]
}

// verifyHeader returns what is wrong with the head of a segment of that many bytes.
func verifyHeader(b []byte, id [16]byte, size int64) error {
	switch {
	case len(b) < segmentHead || string(b[:8]) != magic:
		return fmt.Errorf("%w: it is no segment", ErrDamaged)
	case binary.BigEndian.Uint32(b[8:]) > version:
		return fmt.Errorf("%w: format %d, known is %d", ErrNewer, binary.BigEndian.Uint32(b[8:]), version)
	case crc32.Checksum(b[:headChecksum], castagnoli) != binary.BigEndian.Uint32(b[headChecksum:]):
		return fmt.Errorf("%w: its head has a wrong checksum", ErrDamaged)
	case [16]byte(b[16:32]) != id:
		return ErrForeign
	case binary.BigEndian.Uint64(b[32:]) != uint64(size) || size%align != 0: // #nosec G115 -- a size
		return fmt.Errorf("%w: it has %d bytes, made were %d", ErrDamaged, size, binary.BigEndian.Uint64(b[32:]))
	}
	return nil
}

// segmentNames returns the names of the segments in a folder, in order.
func segmentNames(fsys disk.FS, dir string) ([]string, error) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// openSegment opens a segment and verifies its head.
func (l *Log) openSegment(name string) (*segment, error) {
	path := filepath.Join(l.dir, name)
	flag := os.O_RDWR
	if l.readOnly {
		flag = os.O_RDONLY
	}
	f, err := l.fs.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{name: name, file: f, end: segmentHead}
	info, err := f.Stat()
	if err == nil {
		s.size = info.Size()
		head := make([]byte, min(segmentHead, s.size))
		if err = readFull(f, head, 0); err == nil {
			if err = verifyHeader(head, l.id, s.size); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.dirty = s.size // until Replay has looked
	return s, nil
}

// makeSegment makes one more segment, durably, and opens it.
func (l *Log) makeSegment(index int) (s *segment, err error) {
	temporary := filepath.Join(l.dir, segmentName(index, unfinished))
	f, err := l.fs.OpenFile(temporary, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	err = fill(f, segmentHeader(l.id, l.segmentSize), l.segmentSize)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, l.fs.Remove(temporary)) // what it has of the disk is needed elsewhere
	}
	name := segmentName(index, suffix)
	if err := l.fs.Rename(temporary, filepath.Join(l.dir, name)); err != nil {
		return nil, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, err
	}
	if s, err = l.openSegment(name); err == nil {
		s.dirty = segmentHead
	}
	return s, err
}

// fill writes a head and zeros behind it, up to size, and flushes both. It writes piece by piece: Linux keeps what was written
// at once together, and takes all of that for written when a frame in it is.
func fill(f disk.File, head []byte, size int64) error {
	piece := make([]byte, makePiece)
	copy(piece, head)
	for at := int64(0); at < size; at += makePiece {
		if err := writeFull(f, piece[:min(size-at, makePiece)], at); err != nil {
			return err
		}
		if end := at + makePiece; end%makeStep == 0 || end >= size {
			if err := f.Sync(); err != nil {
				return err
			}
		}
		if at == 0 {
			clear(piece)
		}
	}
	return nil
}

// Remove removes a log that nothing needs any more, durably: the folder is renamed first, so that a crash leaves all of it or
// none. What an earlier Remove left goes, too. It is no error where there is none.
func Remove(fsys disk.FS, dir string) error {
	dir = filepath.Clean(dir)
	gone := dir + removed
	if err := removeFolder(fsys, gone); err != nil {
		return err
	}
	if err := fsys.Rename(dir, gone); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := fsys.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return removeFolder(fsys, gone)
}

// removeFolder removes a folder of segments, durably.
func removeFolder(fsys disk.FS, dir string) error {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue // not ours: the folder stays
		}
		if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	if err := fsys.Remove(dir); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(dir))
}
