package wal

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNotThere: Read of an entry that is cut, or not appended yet.
var ErrNotThere = errors.New("the log does not have the entry")

// where is where the frames of an entry are. Most have one.
type where struct {
	part
	more []part
}

// places is where the entries are that are not cut, of a log that is read; guarded by Log.mu.
type places struct {
	first uint64 // number of the first one
	list  []where
}

// add notes where the next entry is.
func (p *places) add(number uint64, parts []part) {
	if len(p.list) == 0 {
		p.first = number
	}
	w := where{part: parts[0]}
	if len(parts) > 1 {
		w.more = slices.Clone(parts[1:])
	}
	p.list = append(p.list, w)
}

// find returns where an entry is; ok is false where it is not there.
func (p *places) find(number uint64) (w where, ok bool) {
	if number < p.first || number-p.first >= uint64(len(p.list)) {
		return w, false
	}
	return p.list[number-p.first], true
}

// cut forgets the entries up to through.
func (p *places) cut(through uint64) {
	if through < p.first || len(p.list) == 0 {
		return
	}
	n := min(through-p.first+1, uint64(len(p.list)))
	p.list = append(p.list[:0], p.list[n:]...)
	p.first += n
}

// Read appends an entry to b, as Append was given it, of a log that was opened Readable. ErrNotThere: it was cut meanwhile, or is not appended yet;
// ErrDamaged: the disk has something else in its place. It may be called beside all else.
func (l *Log) Read(number uint64, b []byte) ([]byte, error) {
	l.mu.Lock()
	w, ok := l.places.find(number)
	l.mu.Unlock()
	if !ok {
		return b, fmt.Errorf("%w: %d", ErrNotThere, number)
	}
	b, err := l.readFrame(number, 0, w.part, b)
	for i := 0; i < len(w.more) && err == nil; i++ {
		b, err = l.readFrame(number, i+1, w.more[i], b)
	}
	if err == nil {
		return b, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.places.find(number); !ok { // what is cut is written over
		return b, fmt.Errorf("%w: %d", ErrNotThere, number)
	}
	return b, err
}

// readFrame appends the payload of a frame.
func (l *Log) readFrame(number uint64, chunk int, p part, b []byte) ([]byte, error) {
	start, size := len(b), int(frameSize(p.payload))
	b = slices.Grow(b, size)[:start+size]
	got := b[start:]
	if err := readFull(p.segment.file, got, p.at); err != nil {
		return b[:start], err
	}
	f, ok := parseHead(got, l.generation)
	if !ok || f.number != number || int(f.chunk) != chunk || f.length != p.payload || !f.checked(got) {
		return b[:start], fmt.Errorf("%w: entry %d, in %s at offset %d", ErrDamaged, number, p.segment.name, p.at)
	}
	return append(b[:start], got[frameHead:frameHead+f.length]...), nil
}
