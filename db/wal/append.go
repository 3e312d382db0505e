package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"pipit/db/disk"
)

// splitRoom is what has to be left in a segment for a part of an entry to go there: less is not worth a flush of its own. Small
// segments have an eighth of their size instead.
const splitRoom = 64 << 10

// part is where one frame of the entry goes that is being appended.
type part struct {
	segment *segment
	at      int64
	payload int
}

// Append appends an entry, which is durable when it returns; number is the last one and 1. ErrTooLarge, ErrFull and
// ErrNotWritten: it is not in the log; ErrUncertain: it may be. The caller keeps the entry.
func (l *Log) Append(number uint64, entry []byte) error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if !l.replayed || l.readOnly {
		return errors.New("the log was not replayed to be appended to")
	}
	if number != l.last+1 || number == math.MaxUint64 {
		return fmt.Errorf("entry %d does not follow on entry %d", number, l.last)
	}
	if err := l.plan(len(entry)); err != nil {
		return err
	}
	if err := l.write(number, entry); err != nil {
		return err
	}
	for i, p := range l.parts {
		if i+1 < len(l.parts) && l.parts[i+1].segment == p.segment {
			continue
		}
		began := time.Now()
		if err := p.segment.file.Sync(); err != nil {
			return l.fail(err)
		}
		if l.flushed != nil {
			l.flushed(time.Since(began))
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.parts {
		p := &l.parts[i]
		p.segment.last, p.segment.end = number, p.at+frameSize(p.payload)
		l.current = p.segment
	}
	l.last = number
	if l.readable {
		l.places.add(number, l.parts)
	}
	l.makeAhead()
	return nil
}

// Reserve returns nil where the next two entries have room, which have n bytes together. Else its error is that of an Append
// which finds none, and nothing is written either way. Of a log that has failed it knows nothing.
func (l *Log) Reserve(n int) error {
	l.io.Lock()
	defer l.io.Unlock()
	if l.failed != nil {
		return nil
	}
	l.mu.Lock()
	was := l.current
	l.mu.Unlock()
	// An entry leaves the end of a segment where that is less than half of this, and its frames take a little.
	err := l.plan(n + int(2*min(splitRoom, l.segmentSize/8)))
	l.parts = l.parts[:0]
	l.mu.Lock()
	l.current = was
	l.mu.Unlock()
	return err
}

// fail has every later Append refused.
func (l *Log) fail(cause error) error {
	l.failed = fmt.Errorf("%w: %w", ErrUncertain, cause)
	return l.failed
}

// write writes all frames of the entry to where plan has put them.
func (l *Log) write(number uint64, entry []byte) error {
	for i := range l.parts {
		p := &l.parts[i]
		f := frame{number: number, chunk: uint16(i), chunks: uint16(len(l.parts)), run: l.run} // #nosec G115 -- see plan
		l.buf = appendFrame(l.buf[:0], l.generation, f, entry[:p.payload])
		entry = entry[p.payload:]
		l.mu.Lock()
		p.segment.dirty = max(p.segment.dirty, p.at+int64(len(l.buf)))
		l.mu.Unlock()
		if err := writeFull(p.segment.file, l.buf, p.at); err != nil {
			return l.undo(p, err)
		}
	}
	return nil
}

// undo makes sure that the entry whose frame, in buf, could not be written is not found by a Replay. Where the file does not
// have all of the frame, it will not have it after a crash either.
func (l *Log) undo(p *part, cause error) error {
	l.run++
	has := make([]byte, frameHead+p.payload) // the padding is no part of it
	if err := readFull(p.segment.file, has, p.at); err != nil || bytes.Equal(has, l.buf[:len(has)]) {
		if err := writeFull(p.segment.file, make([]byte, frameHead), p.at); err != nil {
			return l.fail(errors.Join(cause, err))
		}
		if err := p.segment.file.Sync(); err != nil {
			return l.fail(errors.Join(cause, err))
		}
	}
	return fmt.Errorf("%w: %w", ErrNotWritten, cause)
}

// plan puts the frames of an entry of n bytes into parts: in the current segment, and where that has no room in free ones,
// which are made where there are none.
func (l *Log) plan(n int) error {
	if !l.holds(n) {
		return fmt.Errorf("%w: it has %d bytes, the segments %d", ErrTooLarge, n, l.size)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current != nil && l.current.stale && l.elsewhere() {
		l.current = nil
	}
	err := l.place(n)
	if errors.Is(err, ErrFull) && l.current != nil && l.cut >= l.last {
		l.current = nil // nothing in it is needed
		err = l.place(n)
	}
	return err
}

// place is plan, with mu held, which it gives up while it waits for a segment.
func (l *Log) place(n int) error {
	l.parts = l.parts[:0]
	s, at := l.current, int64(0)
	if s != nil {
		at = s.end
	}
	for left := n; ; {
		payload, ok := 0, false
		if s != nil {
			payload, ok = l.fit(left, s.size-at)
		}
		if !ok {
			next, err := l.free()
			if err != nil {
				return err
			}
			s, at = next, segmentHead
			continue
		}
		if len(l.parts) == math.MaxUint16 {
			return fmt.Errorf("%w: it has %d bytes", ErrTooLarge, n)
		}
		l.parts = append(l.parts, part{s, at, payload})
		at += frameSize(payload)
		if left -= payload; left == 0 {
			return nil
		}
	}
}

// fit returns how much of what is left of an entry goes into a segment with that much room; false: nothing.
func (l *Log) fit(left int, room int64) (int, bool) {
	if left <= l.chunk && frameSize(left) <= room {
		return left, true
	}
	if room < min(splitRoom, l.segmentSize/8) {
		return 0, false
	}
	return int(min(int64(l.chunk), room-frameHead)), true
}

// holds tells whether an entry of n bytes fits into the segments when all are made and free.
func (l *Log) holds(n int) bool {
	for range l.size / l.segmentSize {
		room := l.segmentSize - segmentHead
		for {
			payload, ok := l.fit(n, room)
			if !ok {
				break
			}
			if n -= payload; n == 0 {
				return true
			}
			room -= frameSize(payload)
		}
	}
	return false
}

// free returns a free segment that the parts do not have yet, with mu held, which it gives up while one is made.
func (l *Log) free() (*segment, error) {
	for {
		if s := l.pick(); s != nil {
			return s, nil
		}
		switch {
		case l.making:
			l.made.Wait()
		case l.makeErr != nil:
			return nil, fmt.Errorf("%w: a further segment cannot be made: %w", ErrFull, l.makeErr)
		case !l.room():
			return nil, fmt.Errorf("%w: %d bytes", ErrFull, l.size)
		default:
			l.startMaking()
		}
	}
}

// pick is free for segments that there are: those that have nothing to be wiped first.
func (l *Log) pick() (found *segment) {
	for _, s := range l.segments {
		if !l.isFree(s) || l.planned(s) {
			continue
		}
		if !s.stale {
			return s
		}
		if found == nil {
			found = s
		}
	}
	return found
}

func (l *Log) planned(s *segment) bool {
	for i := range l.parts {
		if l.parts[i].segment == s {
			return true
		}
	}
	return false
}

// isFree tells whether nothing that is needed is in a segment, with mu held.
func (l *Log) isFree(s *segment) bool { return s != l.current && s.last <= l.cut }

// elsewhere tells whether a stale current segment is to be left: for a free one that is not, or since it is cut itself.
func (l *Log) elsewhere() bool {
	if l.cut >= l.last {
		return true
	}
	s := l.pick()
	return s != nil && !s.stale
}

// room tells whether one more segment may be made, with mu held.
func (l *Log) room() bool {
	size := l.segmentSize
	for _, s := range l.segments {
		size += s.size
	}
	return size <= l.size
}

// makeAhead has a segment made beside the next appends when the current one is half full and none is free, with mu held.
func (l *Log) makeAhead() {
	if l.making || l.makeErr != nil || !l.current.stale && l.current.end < l.current.size/2 {
		return
	}
	l.parts = l.parts[:0]
	if s := l.pick(); s != nil && !(l.current.stale && s.stale) || !l.room() {
		return
	}
	l.startMaking()
}

// startMaking makes a segment in a goroutine of its own, with mu held.
func (l *Log) startMaking() {
	l.making = true
	index := l.nextIndex
	l.nextIndex++
	go func() {
		s, err := l.makeSegment(index)
		if err != nil { // behind all else: what takes the log lines may be slow
			defer l.logger.Warn("a segment of the log could not be made: it goes on with those that there are", "folder", l.dir, "error", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.making, l.makeErr = false, err; err == nil {
			l.segments = append(l.segments, s)
		} else {
			l.nextIndex = index
		}
		l.made.Broadcast()
	}()
}

// Cut says that the entries up to through are not needed any more, since something else has them durably. It writes
// nothing: segments without a later entry become free.
func (l *Log) Cut(through uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if through > l.last {
		return fmt.Errorf("cannot cut through entry %d: the last one is %d", through, l.last)
	}
	l.cut = max(l.cut, through)
	l.places.cut(through)
	l.makeErr = nil // what was freed may have made room on the disk, too
	return nil
}

func writeFull(f disk.File, b []byte, at int64) error {
	n, err := f.WriteAt(b, at)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

func readFull(f disk.File, b []byte, at int64) error {
	n, err := f.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
