package admin

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
	mergeWindow = time.Hour // from the first to the last of equal entries that become one
)

// note stores an entry by itself, of what may happen very often: the first one at once; those that are equal
// to it are counted in memory, and stored with their count within keepInterval.
func (a *Admin) note(ctx context.Context, who actor, action, object string) {
	e := newEntry(a.trail.now(), who, action, object, "")
	repeated, full := a.trail.noted(&e)
	if full {
		a.storeRepeated()
	}
	if !repeated {
		a.putEntries(context.WithoutCancel(ctx), []*entryRecord{&e})
	}
}

// noted counts an entry that is equal to one since repeat was cleared last, and tells whether there is one.
func (t *trail) noted(e *entryRecord) (repeated, full bool) {
	same := e.sameness()
	t.mu.Lock()
	defer t.mu.Unlock()
	before, repeated := t.repeat[same]
	if !repeated {
		t.repeat[same] = entryRecord{}
		return false, len(t.repeat) >= maxRepeated
	}
	now := *e
	if before.Count > 0 {
		now.add(&before)
	} else {
		now.Count = 1
	}
	t.repeat[same] = now
	return true, false
}

// storeRepeated stores what was counted since it was called last.
func (a *Admin) storeRepeated() {
	t := a.trail
	t.mu.Lock()
	var entries []*entryRecord
	for _, e := range t.repeat {
		if e.Count > 0 {
			entries = append(entries, &e)
		}
	}
	clear(t.repeat)
	t.mu.Unlock()
	for some := range slices.Chunk(entries, trimBatch) {
		a.putEntries(context.Background(), some)
	}
}

// putEntries stores entries that tell of nothing else that is stored. Where that fails, the log of the server
// alone has them.
func (a *Admin) putEntries(ctx context.Context, entries []*entryRecord) {
	docs := make([]broker.Document, len(entries))
	for i, e := range entries {
		docs[i] = a.auditDocument(e)
	}
	if err := a.b.PutDocuments(ctx, docs...); err != nil {
		a.log.Warn("audit entries were not stored", "entries", len(entries), "error", err)
		for i := range docs {
			a.logUnstored(&docs[i])
		}
	}
}

// logUnstored writes an entry to the log of the server that was not stored, though what it tells of was done.
func (a *Admin) logUnstored(d *broker.Document) {
	if e, err := readEntry(d); err == nil { // which this package has written
		a.logEntry(&e)
	}
}

// loadAudit counts the entries. Those that stand in the ring of edits, where all once stood, and are none
// move to their own.
func (a *Admin) loadAudit() error {
	var move []broker.Document
	for kind, r := range a.trail.rings {
		err := gate.EachDocument(a.b, r.documents, func(d broker.Document) error {
			r.entries.Add(1)
			if kind != AuditEdit {
				return nil
			}
			if e, err := readEntry(&d); err == nil && auditKindOf(e.Action) != AuditEdit {
				to := a.trail.rings[auditKindOf(e.Action)]
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
		if err := a.b.PutDocuments(context.Background(), some...); err != nil {
			a.log.Warn("entries of the audit log were not moved to the ring of their kind", "error", err)
			break // they are listed where they are, and the next start moves them
		}
	}
	return nil
}

// keepAudit stores what was counted, makes one entry of equal ones, and removes the oldest.
func (a *Admin) keepAudit(ctx context.Context) error {
	a.storeRepeated()
	var errs []error
	for _, kind := range AuditKinds {
		r := a.trail.rings[kind]
		errs = append(errs, a.mergeAudit(ctx, r), a.trimAudit(ctx, r))
	}
	return errors.Join(errs...)
}

// mergedEntry is an entry, and the older ones that are equal to it.
type mergedEntry struct {
	key   string
	entry entryRecord
	equal []mergedEntry
}

// mergeAudit makes one entry of equal ones whose times are within mergeWindow. It looks at what is newer
// than that before its last run, which has seen the rest.
func (a *Admin) mergeAudit(ctx context.Context, r *auditRing) error {
	if !r.more.Swap(false) {
		return nil
	}
	now := time.Now()
	equal, err := a.equalEntries(r, r.merged.Add(-mergeWindow))
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
		err := a.b.PutDocuments(ctx, docs...)
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
func (a *Admin) equalEntries(r *auditRing, since time.Time) ([]*mergedEntry, error) {
	newest := map[sameness]*mergedEntry{}
	var found []*mergedEntry
	last := ""
	key := auditKeyAt(since)
	for end := hex.EncodeToString(key[:]); ; {
		docs, err := a.b.Documents(r.documents, last, true, trimBatch)
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
			if n := newest[same]; n != nil && n.entry.At.Sub(e.first()) <= mergeWindow {
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

// trimAudit removes the oldest entries of a ring, so that maxEntries stay. It does nothing while there are
// at most trimEntries more.
func (a *Admin) trimAudit(ctx context.Context, r *auditRing) error {
	if r.entries.Load() <= maxEntries+trimEntries {
		return nil
	}
	// Go down to the last one that stays.
	last, left := "", maxEntries
	for left > 0 {
		docs, err := a.b.Documents(r.documents, last, true, min(left, trimBatch))
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
		docs, err := a.b.Documents(r.documents, last, true, trimBatch)
		if err != nil || len(docs) == 0 {
			return err
		}
		for i := range docs {
			docs[i].Value, docs[i].Committed = nil, func() { r.entries.Add(-1) }
		}
		if err := a.b.PutDocuments(ctx, docs...); err != nil {
			return err
		}
	}
}
