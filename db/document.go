package db

import (
	"bytes"
	"fmt"

	"pipit/broker/store"
)

// put puts and deletes documents.
func (c *commit) put(docs []store.Document) {
	for i := range docs {
		d := &docs[i]
		b := c.bucket(bucketDocument)
		c.key = appendDocument(c.key[:0], d.Kind, d.Key)
		c.secret = c.secret || d.Secret && b.Has(c.key)
		if d.Value == nil {
			b.Delete(c.key)
		} else {
			b.Put(c.key, d.Value)
		}
	}
}

// Documents implements store.Reader.
func (r *reader) Documents(kind, after string, down bool, fn func(store.Document) bool) (err error) {
	defer r.caught(&err)
	prefix := appendDocument(nil, kind, "")
	from := appendDocument(nil, kind, after)
	if down && after == "" {
		from[len(from)-1]++ // behind all keys of the kind
	}
	cur := r.bucket(bucketDocument).Cursor()
	k, v := cur.Seek(from)
	next := cur.Next
	switch {
	case down && k == nil:
		next = cur.Prev
		k, v = cur.Last()
	case down:
		next = cur.Prev
		k, v = cur.Prev()
	case bytes.Equal(k, from):
		k, v = cur.Next()
	}
	var last []byte
	for ; bytes.HasPrefix(k, prefix); k, v = next() {
		if last != nil && bytes.Compare(k, last) > 0 == down { // pages of a damaged file can form a circle
			return fmt.Errorf("database %s: document: key %x out of order", r.store.path, k)
		}
		last = append(last[:0], k...)
		if !fn(store.Document{Kind: kind, Key: string(k[len(prefix):]), Value: v}) {
			break
		}
	}
	return nil
}

// checkDocuments finds entries that are no document.
func checkDocuments(at *view, found *findings) {
	_ = at.bucket(bucketDocument).ForEach(func(k, v []byte) error {
		if kind, key, ok := parseDocument(k); !ok || kind == "" || key == "" || v == nil {
			found.add("document: entry %x", k)
		}
		return nil
	})
}

// Stats implements store.Store.
func (s *Store) Stats() store.Stats {
	st := s.bolt().Stats()
	total, free := diskSpace(s.path)
	var used, size int64 // of the log
	if s.attached.Load() {
		used, size = s.journal.Stats()
	}
	return store.Stats{
		Path:       s.path,
		Size:       s.Size(),
		Free:       int64(st.FreePageN+st.PendingPageN) * int64(s.file().page),
		LogSize:    size,
		LogUsed:    used,
		LogMost:    s.logSize,
		DiskTotal:  total,
		DiskFree:   free,
		Checkpoint: s.lastMove.get(),
		Compacted:  s.compacting.last.get(),
		Unsynced:   s.gather.every,
	}
}
