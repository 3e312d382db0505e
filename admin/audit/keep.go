package audit

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"pipit/admin/gate"
	"pipit/broker"
)

// Bounds of what is noted.
const (
	maxRepeated = 4096      // different entries that are counted at a time
	MergeWindow = time.Hour // from the first to the last of equal entries that become one
)

// Note stores an entry by itself, of what may happen very often: the first one at once; those that are equal
// to it are counted in memory, and stored with their count by the next Keep.
func (l *Log) Note(ctx context.Context, who gate.Actor, action, object string) {
	e := newEntry(l.now(), who, action, object, "")
	repeated, full := l.noted(&e)
	if full {
		l.StoreRepeated()
	}
	if !repeated {
		l.putEntries(context.WithoutCancel(ctx), []*entryRecord{&e})
	}
}

// noted counts an entry that is equal to one since repeat was cleared last, and tells whether there is one.
func (l *Log) noted(e *entryRecord) (repeated, full bool) {
	same := e.sameness()
	l.mu.Lock()
	defer l.mu.Unlock()
	before, repeated := l.repeat[same]
	if !repeated {
		l.repeat[same] = entryRecord{}
		return false, len(l.repeat) >= maxRepeated
	}
	now := *e
	if before.Count > 0 {
		now.add(&before)
	} else {
		now.Count = 1
	}
	l.repeat[same] = now
	return true, false
}

// StoreRepeated stores what was counted since it was called last.
func (l *Log) StoreRepeated() {
	l.mu.Lock()
	var entries []*entryRecord
	for _, e := range l.repeat {
		if e.Count > 0 {
			entries = append(entries, &e)
		}
	}
	clear(l.repeat)
	l.mu.Unlock()
	for some := range slices.Chunk(entries, trimBatch) {
		l.putEntries(context.Background(), some)
	}
}

// putEntries stores entries that tell of nothing else that is stored. Where that fails, the log of the server
// alone has them.
func (l *Log) putEntries(ctx context.Context, entries []*entryRecord) {
	docs := make([]broker.Document, len(entries))
	for i, e := range entries {
		docs[i] = l.committed(e)
	}
	if err := l.b.PutDocuments(ctx, docs...); err != nil {
		l.log.Warn("audit entries were not stored", "entries", len(entries), "error", err)
		for i := range docs {
			l.LogUnstored(&docs[i])
		}
	}
}

// LogUnstored writes an entry to the log of the server that was not stored, though what it tells of was done.
func (l *Log) LogUnstored(d *broker.Document) {
	if e, err := readEntry(d); err == nil { // which this package has written
		l.logEntry(&e)
	}
}

// load counts the entries. Those that stand in the ring of edits, where all once stood, and are none
// move to their own.
func (l *Log) load() error {
	var move []broker.Document
	for kind, r := range l.rings {
		err := gate.EachDocument(l.b, r.documents, func(d broker.Document) error {
			r.entries.Add(1)
			if kind != Edit {
				return nil
			}
			if e, err := readEntry(&d); err == nil && kindOf(e.Action) != Edit {
				to := l.rings[kindOf(e.Action)]
				move = append(move, broker.Document{Kind: d.Kind, Key: d.Key}, broker.Document{Kind: to.documents, Key: d.Key, Value: d.Value,
					Committed: func() { r.entries.Add(-1); to.entries.Add(1) }})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for some := range slices.Chunk(move, 2*trimBatch) {
		if err := l.b.PutDocuments(context.Background(), some...); err != nil {
			l.log.Warn("entries of the audit log were not moved to the ring of their kind", "error", err)
			break // they are listed where they are, and the next start moves them
		}
	}
	return nil
}

// Keep stores what was counted, makes one entry of equal ones, and removes the oldest.
func (l *Log) Keep(ctx context.Context) error {
	l.StoreRepeated()
	var errs []error
	for _, kind := range Kinds {
		r := l.rings[kind]
		errs = append(errs, l.merge(ctx, r), l.trim(ctx, r))
	}
	return errors.Join(errs...)
}

// mergedEntry is an entry, and the older ones that are equal to it.
type mergedEntry struct {
	key   string
	entry entryRecord
	equal []mergedEntry
}

// merge makes one entry of equal ones whose times are within MergeWindow. It looks at what is newer
// than that before its last run, which has seen the rest.
func (l *Log) merge(ctx context.Context, r *ring) error {
	if !r.more.Swap(false) {
		return nil
	}
	now := time.Now()
	equal, err := l.equalEntries(r, r.merged.Add(-MergeWindow))
	if err != nil {
		r.more.Store(true)
		return err
	}
	var docs []broker.Document
	put := func() error {
		n := len(docs)
		if n == 0 {
			return nil
		}
		err := l.b.PutDocuments(ctx, docs...)
		docs = docs[:0]
		return err
	}
	for _, m := range equal {
		for some := range slices.Chunk(m.equal, trimBatch) { // each commit has the count of what it removes
			for i := range some {
				m.entry.add(&some[i].entry)
				docs = append(docs, broker.Document{Kind: r.documents, Key: some[i].key, Committed: func() { r.entries.Add(-1) }})
			}
			docs = append(docs, broker.Document{Kind: r.documents, Key: m.key, Value: gate.Encode(m.entry)})
			if len(docs) >= trimBatch {
				if err := put(); err != nil {
					r.more.Store(true)
					return err
				}
			}
		}
	}
	if err := put(); err != nil {
		r.more.Store(true)
		return err
	}
	r.merged = now
	return nil
}

// equalEntries returns the entries since a time that have equal ones before them.
func (l *Log) equalEntries(r *ring, since time.Time) ([]*mergedEntry, error) {
	newest := map[sameness]*mergedEntry{}
	var found []*mergedEntry
	last := ""
	key := keyAt(since)
	for end := hex.EncodeToString(key[:]); ; {
		docs, err := l.b.Documents(r.documents, last, true, trimBatch)
		if err != nil {
			return nil, err
		}
		for i := range docs {
			if docs[i].Key < end {
				return found, nil
			}
			e, err := readEntry(&docs[i])
			if err != nil {
				return nil, err
			}
			m := mergedEntry{key: docs[i].Key, entry: e}
			same := e.sameness()
			if n := newest[same]; n != nil && n.entry.At.Sub(e.first()) <= MergeWindow {
				if n.equal = append(n.equal, m); len(n.equal) == 1 {
					found = append(found, n)
				}
			} else {
				newest[same] = &m
			}
		}
		if len(docs) < trimBatch {
			return found, nil
		}
		last = docs[len(docs)-1].Key
	}
}

// trim removes the oldest entries of a ring, so that MaxEntries stay. It does nothing while there are
// at most trimEntries more.
func (l *Log) trim(ctx context.Context, r *ring) error {
	if r.entries.Load() <= MaxEntries+trimEntries {
		return nil
	}
	// Go down to the last one that stays.
	last, left := "", MaxEntries
	for left > 0 {
		docs, err := l.b.Documents(r.documents, last, true, min(left, trimBatch))
		if err != nil {
			return err
		}
		if len(docs) == 0 {
			return nil
		}
		last = docs[len(docs)-1].Key
		left -= len(docs)
	}
	for {
		docs, err := l.b.Documents(r.documents, last, true, trimBatch)
		if err != nil || len(docs) == 0 {
			return err
		}
		for i := range docs {
			docs[i].Value, docs[i].Committed = nil, func() { r.entries.Add(-1) }
		}
		if err := l.b.PutDocuments(ctx, docs...); err != nil {
			return err
		}
	}
}
