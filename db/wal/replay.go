package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Numbers decide which frames are the log, wherever they stand. All segments are looked through, at every place that a frame
// may have, and of the frames found those count whose number is above what the database has. They are the log because of
// what Append does:
//
//   - Entry n+1 is written after entry n is durable. So no frame has a number above the last durable entry's by more than one,
//     and a frame above one that is missing is damage.
//   - A frame is written over only when its number is cut, and then the database has more than it; or where an entry was cut off.
//   - Of an entry that was cut off some frames may be left, and the next one has its number: but a higher run.
//   - What a payload has of bytes of this log is of frames that were written before it: it has lower numbers, or is equal to a
//     frame that counts.
//
// What was only in the memory of the operating system when a process was killed would be lost by a power cut later on, before
// entries that were flushed since: so all is flushed before the log goes on.

// maxPieces bounds the memory for what a damaged log may have. One that is not has a piece for each segment, and for what is
// left of entries that were cut off.
const maxPieces = 1 << 16

// place is where a frame stands in the order of frames.
type place struct {
	number uint64
	chunk  uint16
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.number, q.number), cmp.Compare(p.chunk, q.chunk))
}

// piece is a row of frames that follow on one another, in one segment. An entry whose frames were superseded by those of a
// higher run was not whole: it can only be the last one of its piece.
type piece struct {
	segment     int
	at, end     int64
	first, last place
	chunks      uint16 // of the last one's entry
	run         uint32 // of the last entry
	begin       uint32 // the run of the first one
}

// has tells whether the frame of a place is in the piece.
func (p *piece) has(at place) bool { return p.first.compare(at) <= 0 && at.compare(p.last) <= 0 }

// follows tells whether the frame f, at at, is the next one of the piece.
func (p *piece) follows(segment int, at int64, f frame) bool {
	if p.segment != segment || p.end != at {
		return false
	}
	if p.last.chunk+1 < p.chunks {
		return f.run == p.run && f.number == p.last.number && f.chunk == p.last.chunk+1 && f.chunks == p.chunks
	}
	return f.run >= p.run && f.number == p.last.number+1 && f.chunk == 0
}

// replay is one Replay.
type replay struct {
	log    *Log
	after  uint64
	pieces []piece
	wrong  int64 // bytes that had a wrong checksum

	loaded int // the segment in buf
	buf    []byte
	entry  []byte // of several chunks
	spans  []span // of the last entry
	parts  []part // of the last entry
}

// span is a row of bytes of a segment.
type span struct {
	piece   *piece
	at, end int64
}

// Replay calls fn with the entries after+1, after+2 and so on, each whole, and finds the end. The bytes are valid until fn
// returns; its error ends Replay and is returned as it is. An entry at the end that is not whole was never answered: it is
// cut off. ErrDamaged where entries are missing: before the first that is there, or between two. What was found is durable
// when Replay returns. It is called once, also after Create.
func (l *Log) Replay(after uint64, fn func(number uint64, entry []byte) error) error {
	if l.failed != nil {
		return l.failed
	}
	if l.replayed {
		return errors.New("the log was replayed before")
	}
	r := &replay{log: l, after: after, loaded: -1}
	for i := range l.segments {
		if err := r.scan(i); err != nil {
			return err
		}
	}
	last, err := r.walk(fn)
	if err != nil {
		return err
	}
	if err := r.hole(last); err != nil {
		return err
	}
	if !l.readOnly {
		if err := r.flush(); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run++ // scan found the highest
	l.last, l.cut, l.replayed = last, after, true
	if n := len(r.spans); n != 0 {
		l.current = l.segments[r.spans[n-1].piece.segment]
	}
	return nil
}

// flush makes durable what was found. The last entry is written once more, as it is: where its flush failed, and the process
// ended for it, the system may take for clean what the disk does not have.
func (r *replay) flush() error {
	for _, s := range r.spans {
		if err := r.load(s.piece.segment); err != nil {
			return err
		}
		if err := writeFull(r.log.segments[s.piece.segment].file, r.buf[s.at:s.end], s.at); err != nil {
			return err
		}
	}
	for _, s := range r.log.segments {
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// load reads a segment into buf.
func (r *replay) load(segment int) error {
	if r.loaded == segment {
		return nil
	}
	s := r.log.segments[segment]
	if int64(cap(r.buf)) < s.size {
		r.buf = make([]byte, s.size)
	}
	r.buf, r.loaded = r.buf[:s.size], -1
	if err := readFull(s.file, r.buf, 0); err != nil {
		return fmt.Errorf("%s: %w", r.path(segment), err)
	}
	r.loaded = segment
	return nil
}

func (r *replay) path(segment int) string {
	return filepath.Join(r.log.dir, r.log.segments[segment].name)
}

// scan finds the pieces of a segment, and where the zeros at its end begin.
func (r *replay) scan(segment int) error {
	if err := r.load(segment); err != nil {
		return err
	}
	b, generation := r.buf, r.log.generation
	for at := segmentHead; at+frameHead <= len(b); {
		if binary.BigEndian.Uint64(b[at+8:]) != generation {
			at += align
			continue
		}
		f, ok := parseHead(b[at:], generation)
		if ok && !f.checked(b[at:]) {
			if r.wrong += f.size(); r.wrong > 4*r.log.size {
				return fmt.Errorf("%w: %s: too many frames with a wrong checksum", ErrDamaged, r.path(segment))
			}
			ok = false
		}
		if !ok {
			at += align
			continue
		}
		r.log.run = max(r.log.run, f.run)
		if err := r.found(segment, int64(at), f); err != nil {
			return err
		}
		at += int(f.size())
	}
	s, dirty := r.log.segments[segment], len(b)
	for dirty > segmentHead && binary.BigEndian.Uint64(b[dirty-8:]) == 0 {
		dirty -= 8
	}
	s.dirty = int64(dirty)
	return nil
}

// found takes a frame into the last piece or begins one with it.
func (r *replay) found(segment int, at int64, f frame) error {
	if f.number <= r.after {
		return nil
	}
	here := place{f.number, f.chunk}
	if n := len(r.pieces); n != 0 && r.pieces[n-1].follows(segment, at, f) {
		p := &r.pieces[n-1]
		p.end, p.last, p.chunks, p.run = at+f.size(), here, f.chunks, f.run
		return nil
	}
	if len(r.pieces) == maxPieces {
		return fmt.Errorf("%w: %s: its frames are in no order", ErrDamaged, r.path(segment))
	}
	r.pieces = append(r.pieces, piece{segment, at, at + f.size(), here, here, f.chunks, f.run, f.run})
	return nil
}

// walk calls fn for the entries that are there, up to the first that is not whole, and returns the number of the last one.
func (r *replay) walk(fn func(number uint64, entry []byte) error) (last uint64, err error) {
	var (
		p     *piece
		at    int64
		limit uint64 // from which number on a piece of a higher run may have the entry
	)
	for last = r.after; ; last++ {
		number := last + 1
		if p == nil || at == p.end || number >= limit {
			if p = r.find(number); p == nil {
				return last, nil
			}
			limit = r.limit(p, number)
			if at, err = r.seek(p, place{number, 0}); err != nil {
				return 0, err
			}
		}
		entry, next, end, err := r.assemble(p, at)
		if err != nil || next == nil {
			return last, err
		}
		if r.log.readable {
			r.log.places.add(number, r.parts)
		}
		p, at = next, end // in another piece only behind the last entry of p: limit has find called
		if err := fn(number, entry); err != nil {
			return 0, err
		}
	}
}

// find returns the piece of the highest run that has the first frame of an entry, nil where there is none.
func (r *replay) find(number uint64) (found *piece) {
	for i := range r.pieces {
		if p := &r.pieces[i]; p.has(place{number, 0}) && (found == nil || p.run > found.run) {
			found = p
		}
	}
	return found
}

// limit returns the lowest number above the given one that a piece of a higher run begins with.
func (r *replay) limit(p *piece, number uint64) uint64 {
	limit := p.last.number + 1
	for i := range r.pieces {
		if q := &r.pieces[i]; q.run > p.run && q.first.number > number {
			limit = min(limit, q.first.number)
		}
	}
	return limit
}

// seek returns where in a piece, which has it, a frame begins.
func (r *replay) seek(p *piece, to place) (at int64, err error) {
	for at = p.at; ; {
		f, err := r.head(p, at)
		if err != nil || f.number == to.number && f.chunk == to.chunk {
			return at, err
		}
		at += f.size()
	}
}

// head reads the head of the frame that begins at at.
func (r *replay) head(p *piece, at int64) (frame, error) {
	if err := r.load(p.segment); err != nil {
		return frame{}, err
	}
	f, ok := parseHead(r.buf[at:], r.log.generation)
	if !ok { // it was there
		return frame{}, fmt.Errorf("%w: %s changes while it is read", ErrDamaged, r.path(p.segment))
	}
	return f, nil
}

// assemble returns the entry whose first frame begins at at, and where it ends; a nil piece where it is not whole.
func (r *replay) assemble(p *piece, at int64) (entry []byte, in *piece, end int64, err error) {
	f, err := r.head(p, at)
	if err != nil {
		return nil, nil, 0, err
	}
	r.parts = append(r.parts[:0], part{r.log.segments[p.segment], at, f.length})
	if f.chunks == 1 {
		r.spans = append(r.spans[:0], span{p, at, at + f.size()})
		r.count(f.number)
		return r.buf[at+frameHead:][:f.length], p, at + f.size(), nil
	}
	r.entry = r.entry[:0]
	spans := []span{{p, at, at}}
	for chunk := uint16(0); ; {
		r.entry = append(r.entry, r.buf[at+frameHead:][:f.length]...)
		at += f.size()
		spans[len(spans)-1].end = at
		if chunk++; chunk == f.chunks {
			break
		}
		if at == p.end {
			if p = r.rest(place{f.number, chunk}, f.run); p == nil {
				return nil, nil, 0, nil
			}
			at = p.at
			spans = append(spans, span{p, at, at})
		}
		next, err := r.head(p, at)
		if err != nil {
			return nil, nil, 0, err
		}
		if next.chunks != f.chunks {
			return nil, nil, 0, nil
		}
		f = next
		r.parts = append(r.parts, part{r.log.segments[p.segment], at, f.length})
	}
	r.spans = spans
	r.count(f.number)
	return r.entry, p, at, nil
}

// count notes in its segments where an entry is that is whole.
func (r *replay) count(number uint64) {
	for _, s := range r.spans {
		of := r.log.segments[s.piece.segment]
		of.last, of.end = number, max(of.end, s.end)
	}
}

// rest returns the piece that begins with a further frame of an entry of that run, nil where there is none.
func (r *replay) rest(at place, run uint32) *piece {
	for i := range r.pieces {
		if p := &r.pieces[i]; p.begin == run && p.first == at {
			return p
		}
	}
	return nil
}

// hole returns an error where there are frames behind the entry that follows on the last one that is whole.
func (r *replay) hole(last uint64) error {
	i := slices.IndexFunc(r.pieces, func(p piece) bool { return p.last.number > last+1 })
	if i < 0 {
		return nil
	}
	p := &r.pieces[i]
	number := max(p.first.number, last+2)
	if len(r.spans) == 0 {
		return fmt.Errorf("%w: it begins at entry %d, in %s at offset %d, and the database ends at %d", ErrDamaged, number, r.path(p.segment), p.at, last)
	}
	end := r.spans[len(r.spans)-1]
	return fmt.Errorf("%w: behind entry %d, which ends in %s at offset %d, the next one is not there or not whole, but entry %d is: in %s behind offset %d",
		ErrDamaged, last, r.path(end.piece.segment), end.end, number, r.path(p.segment), p.at)
}
