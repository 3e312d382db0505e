package db

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// reader is a store.Reader over one transaction.
type reader struct {
	store *Store
	view
	cursor cursor
	key    []byte
	rec    store.Record
	dec    decoder
}

// View implements store.Store.
func (s *Store) View(fn func(store.Reader) error) error {
	r, _ := s.readers.Get().(*reader)
	if r == nil {
		r = &reader{store: s}
	}
	in, err := s.enter(&r.view)
	if err != nil {
		return err
	}
	defer in.leave()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // see caught
	err = fn(r)
	// The strings that the decoder knows are worth keeping, what points into the content is not.
	r.reset(nil, nil, nil)
	r.rec, r.cursor = store.Record{}, cursor{}
	s.readers.Put(r)
	return err
}

// entered is a reader of the file: it is counted, so that none of its pages is overwritten meanwhile.
type entered struct {
	tx      *bbolt.Tx
	reading *atomic.Int64
}

// leave ends it.
func (e entered) leave() {
	_ = e.tx.Rollback()
	e.reading.Add(-1)
}

// enter makes v the content of this moment, until it is left.
func (s *Store) enter(v *view) (entered, error) {
	reading := s.wipe.enter()
	for {
		tx, f, err := s.begin()
		if err != nil {
			reading.Add(-1)
			return entered{}, fmt.Errorf("database %s: %w", s.path, err)
		}
		now := s.tables.Load()
		if now.goWith(f, tx.ID()) {
			v.reset(now.live, now.frozen, tx)
			return entered{tx, reading}, nil
		}
		// Between the two the file got what was in a table, or a batch, or another one took its place.
		_ = tx.Rollback()
	}
}

// caught makes an error of a panic: bbolt panics where it finds a page damaged, and an entry of
// a damaged page may lie where the file has nothing.
func (r *reader) caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("database %s: read: %v\n%s", r.store.path, p, debug.Stack())
	}
}

// Scan implements store.Reader.
func (r *reader) Scan(l store.Lane, from uint64, down bool, fn func(*store.Record) bool) (err error) {
	defer r.caught(&err)
	r.key = appendPlace(r.key[:0], l, from)
	lane := r.key[:laneSize]
	cur := &r.cursor
	r.bucket(bucketLog).reuse(cur)
	k, v := cur.Seek(r.key)
	next := cur.Next
	if down {
		next = cur.Prev
		if k == nil {
			k, v = cur.Last()
		} else if !bytes.Equal(k, r.key) {
			k, v = cur.Prev()
		}
	}
	var last uint64
	for n := 0; bytes.HasPrefix(k, lane); k, v = next() {
		p, ok := parsePlace(k)
		if !ok {
			r.store.logDamage(bucketLog, k, errRecordShort)
			continue
		}
		if n++; n > 1 && p.Pos > last == down { // pages of a damaged file can form a circle
			return fmt.Errorf("database %s: log: key %x out of order", r.store.path, k)
		}
		last = p.Pos
		if err := r.decode(&r.dec, v, &r.rec); err != nil {
			r.store.logDamage(bucketLog, k, err)
			continue
		}
		r.rec.Place = p
		if !fn(&r.rec) {
			break
		}
	}
	return nil
}

// Stored implements store.Reader.
func (r *reader) Stored(l store.Lane, s store.Span, fn func(pos uint64) bool) (err error) {
	defer r.caught(&err)
	r.key = appendPlace(r.key[:0], l, s.From)
	cur := &r.cursor
	r.bucket(bucketLog).reuse(cur)
	var last uint64
	for k, _ := cur.Seek(r.key); bytes.HasPrefix(k, r.key[:laneSize]); k, _ = cur.Next() {
		p, ok := parsePlace(k)
		if !ok {
			continue
		}
		if p.Pos <= last { // as in Scan
			return fmt.Errorf("database %s: log: key %x out of order", r.store.path, k)
		}
		if last = p.Pos; p.Pos > s.To || !fn(p.Pos) {
			break
		}
	}
	return nil
}

// Due implements store.Reader.
func (r *reader) Due(now time.Time, limit, bytes int) (list []store.Delayed, next time.Time, err error) {
	defer r.caught(&err)
	until, size := micros(now), 0
	cur := r.bucket(bucketDelayed).Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		d, ok := parseDelayed(k)
		if !ok {
			r.store.logDamage(bucketDelayed, k, errRecordShort)
			continue
		}
		if d.due > until || len(list) >= limit || size >= bytes {
			return list, microTime(d.due), nil
		}
		rec := &store.Record{Place: store.Place{Lane: d.lane}}
		if err := r.dec.decode(v, rec); err != nil {
			r.store.logDamage(bucketDelayed, k, err)
			continue
		}
		size += len(rec.Payload)
		list = append(list, store.Delayed{Key: string(k), Record: rec})
	}
	return list, time.Time{}, nil
}

// ScanDelayed implements store.Reader.
func (r *reader) ScanDelayed(after string, fn func(store.Delayed) bool) (err error) {
	defer r.caught(&err)
	cur := r.bucket(bucketDelayed).Cursor()
	k, v := cur.Seek([]byte(after))
	if string(k) == after {
		k, v = cur.Next()
	}
	last := after
	for ; k != nil; k, v = cur.Next() {
		if string(k) <= last { // as in Scan
			return fmt.Errorf("database %s: delayed: key %x out of order", r.store.path, k)
		}
		last = string(k)
		d, ok := parseDelayed(k)
		if !ok {
			r.store.logDamage(bucketDelayed, k, errRecordShort)
			continue
		}
		if err := r.decode(&r.dec, v, &r.rec); err != nil {
			r.store.logDamage(bucketDelayed, k, err)
			continue
		}
		r.rec.Place = store.Place{Lane: d.lane}
		if !fn(store.Delayed{Key: last, Record: &r.rec}) {
			break
		}
	}
	return nil
}
