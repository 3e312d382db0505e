package wal

// wipePart is how much WipeStep overwrites at most.
const wipePart = 256 << 10

// StartWipe has all that the log holds now overwritten with zeros by WipeStep, as soon as it is cut: from now on appends go
// elsewhere where there is room. That wiping is to be done is not kept over a restart: the caller keeps it, and starts again.
func (l *Log) StartWipe() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		s.stale = s.stale || s.dirty > segmentHead
	}
}

// WipeStep overwrites at most 256 KiB, or flushes what was overwritten, and returns how many bytes are left at least; 0: all
// that StartWipe meant is durably gone. Where what is left waits for a Cut it does nothing. An error leaves the step to be
// done again.
func (l *Log) WipeStep() (left int64, err error) {
	l.io.Lock()
	s, from, to := l.nextWipe()
	if from < to {
		err = writeFull(s.file, make([]byte, to-from), from)
		if err == nil {
			l.mu.Lock()
			s.dirty = from // from the end on, so that this says how far it has come
			l.mu.Unlock()
		}
	}
	l.io.Unlock()
	if s != nil && from == to {
		if err = s.file.Sync(); err == nil {
			l.mu.Lock()
			s.stale = s.dirty > segmentHead // it was appended to meanwhile: that may be meant by a further StartWipe
			l.mu.Unlock()
		}
	}
	return l.toWipe(), err
}

// nextWipe returns what the next step overwrites; the same place twice: the segment is to be flushed; nil: there is nothing
// before a Cut.
func (l *Log) nextWipe() (s *segment, from, to int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.replayed || l.readOnly || l.failed != nil {
		return nil, 0, 0
	}
	if l.current != nil && l.current.stale && l.cut >= l.last {
		l.current = nil
	}
	for _, s := range l.segments {
		if !s.stale {
			continue
		}
		if l.isFree(s) {
			s.end = segmentHead
		} else if s.dirty <= s.end {
			continue
		}
		return s, max(s.end, s.dirty-wipePart), max(s.end, s.dirty)
	}
	return nil, 0, 0
}

// toWipe returns how many bytes are left to be wiped.
func (l *Log) toWipe() (left int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.stale {
			left += max(s.dirty-segmentHead, 1)
		}
	}
	return left
}
