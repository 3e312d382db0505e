package history

import (
	"fmt"
	"strconv"
	"time"

	"pipit/broker/store"
)

// Kind is that of the documents.
const Kind = "history"

// Bounds of writing.
const (
	writeBytes = 128 << 10   // of one commit; one block may pass it
	hastyEvery = time.Minute // how often much is written, of which the next time may find little
)

func keyOf(seq uint64) string { return fmt.Sprintf("%016x", seq) }

// Load takes in which blocks there are. It is called once, before anything is recorded.
func (l *Log) Load(r store.Reader, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := r.Documents(Kind, "", false, func(d store.Document) bool {
		seq, err := strconv.ParseUint(d.Key, 16, 64)
		if err != nil || keyOf(seq) != d.Key {
			return true // nothing that a Log has written
		}
		l.seq = max(l.seq, seq+1)
		b, ok := parseHead(d.Value)
		if !ok {
			l.stale = append(l.stale, seq)
			return true
		}
		b.seq, b.stored, b.full = seq, b.size, true
		l.blocks = append(l.blocks, b)
		l.messages += b.messages
		l.bytes += b.size
		return true
	})
	l.trim(now)
	return err
}

// Writing is what is to be stored in one commit.
type Writing struct {
	Documents []store.Document
	More      bool // there is more to be stored

	blocks []written
	stale  int
}

type written struct {
	seq  uint64
	size int
}

// Due tells whether it is time to store what was gathered: where that is much, most of it may be forgotten before the
// next time, and that is later.
func (l *Log) Due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gathered > hasty && now.Sub(l.written) < hastyEvery {
		return false
	}
	l.written, l.gathered = now, 0
	l.trim(now)
	return true
}

// Unwritten returns what is to be stored next; without Documents, nothing is. One goroutine at a time writes: after the
// commit it calls Written, or, where that failed, nothing.
func (l *Log) Unwritten() (w Writing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bytes := 0
	for _, seq := range l.stale {
		w.Documents = append(w.Documents, store.Document{Kind: Kind, Key: keyOf(seq)})
		if w.stale++; len(w.Documents) == 1000 {
			w.More = true
			return w
		}
	}
	add := func(b *block) bool {
		if bytes > 0 && bytes+len(b.body) > writeBytes {
			w.More = true
			return false
		}
		bytes += len(b.body)
		w.Documents = append(w.Documents, store.Document{Kind: Kind, Key: keyOf(b.seq), Value: b.value()})
		w.blocks = append(w.blocks, written{b.seq, len(b.body)})
		return true
	}
	for i := range l.blocks {
		if b := &l.blocks[i]; b.stored < b.size && !add(b) {
			return w
		}
	}
	if o := l.open; o != nil && o.stored < len(o.body) {
		add(&o.block)
	}
	return w
}

// Written takes in that w is stored.
func (l *Log) Written(w *Writing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stale = append(l.stale[:0], l.stale[w.stale:]...)
	for _, x := range w.blocks {
		if b := l.find(x.seq); b == nil {
			l.stale = append(l.stale, x.seq) // it was forgotten meanwhile
		} else if b.stored = x.size; b.full && b.stored == b.size {
			b.body = nil // the store has it
		}
	}
}

// find returns a block, nil where it was forgotten. The caller holds mu.
func (l *Log) find(seq uint64) *block {
	if l.open != nil && l.open.seq == seq {
		return &l.open.block
	}
	for i := range l.blocks {
		if l.blocks[i].seq == seq {
			return &l.blocks[i]
		}
	}
	return nil
}
