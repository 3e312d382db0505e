package db

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// commit is one call of Commit. Its memory is used again by the next one.
type commit struct {
	store *Store
	tx    *bbolt.Tx
	now   uint64

	// Buckets, opened when first needed: opening one is a search.
	meta, lane, log, cursor, attempt, seen, expiry, delayed, payload, waiting, id, idkeep, document *bbolt.Bucket

	// arena holds the values that are put. bbolt keeps them until the commit ends, so it
	// only grows until then; where it moves, the values put before stay where they were.
	arena []byte
	key   []byte // for one key at a time: bbolt copies keys
	key2  []byte
	key3  []byte

	order   []*store.Record // of Append, by lane and position
	removed []removed       // of one Removal
	rec     store.Record
	dec     decoder // bare

	secret bool // something secret is replaced or deleted

	// What changes in the Store when the commit went well.
	lastID uint32
	moved  map[uint32]string        // sub_keys; empty: the consumer is deleted
	ranges map[store.Lane]openRange // first 0: there is none any more
	counts map[uint32]uint64

	loose map[uint64]store.PayloadRef // payloads of delayed messages that are delayed no longer
}

// removed is a message of a Removal that was found.
type removed struct {
	pos    uint64
	second uint64 // in which it expires; 0: never
	id     string // where it is to be forgotten
	apart  uint64 // its payload, where that is kept apart
	size   int64
}

const (
	keepArena = 4 << 20 // bytes of memory that one commit leaves to the next
	keepList  = 1 << 14 // entries
)

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch) (err error) {
	if s.uncertain {
		return fmt.Errorf("database %s: an earlier commit failed", s.path)
	}
	defer func() {
		s.uncertain = err != nil && !errors.Is(err, store.ErrNoSpace) && !errors.Is(err, store.ErrNotStored)
	}()
	s.bolt.NoFreelistSync = s.skipFreelist()
	tx, err := s.bolt.Begin(true)
	if err != nil {
		return fmt.Errorf("database %s: %w", s.path, err)
	}
	c := &s.work
	c.begin(s, tx, b)
	defer c.end()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		// bbolt panics where it finds a page damaged; see reader.caught.
		if p := recover(); p != nil {
			err = fmt.Errorf("database %s: commit: %v\n%s", s.path, p, debug.Stack())
			abandon(tx)
		}
	}()
	id := tx.ID() // before Commit, which forgets it
	var part *wiping
	if b.Wipe {
		part, err = c.beginWiping()
	}
	if err == nil {
		err = c.apply(b)
	}
	if err != nil {
		_ = tx.Rollback()
		return fmt.Errorf("database %s: %w: %w", s.path, store.ErrNotStored, err)
	}
	if err = tx.Commit(); err != nil {
		// Until the last page, nothing that the file holds refers to what was written, also where
		// flushing that failed: the next commit writes whole pages again.
		switch {
		case s.lastTx() >= id: // its last page is written, but perhaps not on the disk
			return fmt.Errorf("database %s: commit: %w", s.path, err)
		case noSpace(err):
			return fmt.Errorf("database %s: %w: %w", s.path, store.ErrNoSpace, err)
		}
		return fmt.Errorf("database %s: %w: %w", s.path, store.ErrNotStored, err)
	}
	c.keep()
	if part != nil && !c.secret {
		s.overwrite(part)
	}
	return nil
}

// lastTx returns the number of the last commit that is visible. A commit that failed in its
// very last step may be.
func (s *Store) lastTx() int {
	tx, err := s.bolt.Begin(false)
	if err != nil {
		return math.MaxInt
	}
	defer tx.Rollback()
	return tx.ID()
}

// abandon ends a transaction that panicked.
func abandon(tx *bbolt.Tx) {
	defer func() { _ = recover() }()
	_ = tx.Rollback()
}

func (c *commit) begin(s *Store, tx *bbolt.Tx, b *store.Batch) {
	c.store, c.tx, c.now = s, tx, micros(b.Now)
	c.dec.bare = true
	c.lastID = s.lastID
	if c.ranges == nil {
		c.ranges, c.counts, c.loose = map[store.Lane]openRange{}, map[uint32]uint64{}, map[uint64]store.PayloadRef{}
	}
}

// keep makes the commit's changes of the Store.
func (c *commit) keep() {
	s := c.store
	s.lastID = c.lastID
	for id, key := range c.moved {
		if s.consumerKey == nil {
			s.consumerKey = map[uint32]string{}
		}
		s.consumerKey[id] = key
		if key == "" {
			delete(s.consumerKey, id)
		}
	}
	if c.secret {
		s.wipe.restart(s.pages())
	}
	s.openMu.Lock()
	defer s.openMu.Unlock()
	for l, r := range c.ranges {
		if r.first == 0 {
			delete(s.open, l)
		} else {
			s.open[l] = r
		}
	}
	for t, n := range c.counts {
		if n == 0 {
			delete(s.waiting, t)
		} else {
			s.waiting[t] = n
		}
	}
}

// end lets go of all that is not for the next commit.
func (c *commit) end() {
	clear(c.order)
	clear(c.removed)
	clear(c.ranges)
	clear(c.counts)
	clear(c.loose)
	next := commit{arena: c.arena[:0], key: c.key[:0], key2: c.key2[:0], key3: c.key3[:0], order: c.order[:0], removed: c.removed[:0], dec: c.dec, ranges: c.ranges, counts: c.counts, loose: c.loose}
	if cap(next.arena) > keepArena {
		next.arena = nil
	}
	if cap(next.order) > keepList {
		next.order = nil
	}
	if cap(next.removed) > keepList {
		next.removed = nil
	}
	*c = next
}

func (c *commit) bucket(b **bbolt.Bucket, name []byte) *bbolt.Bucket {
	if *b == nil {
		*b = c.tx.Bucket(name)
	}
	return *b
}

// ascending returns a bucket whose keys come mostly in order: its pages are filled to the brim.
func (c *commit) ascending(b **bbolt.Bucket, name []byte) *bbolt.Bucket {
	if *b == nil {
		*b = c.tx.Bucket(name)
		(*b).FillPercent = 1
	}
	return *b
}

// value returns what was appended to the arena since it was start bytes long.
func (c *commit) value(start int) []byte { return c.arena[start:len(c.arena):len(c.arena)] }

func (c *commit) apply(b *store.Batch) error {
	if err := c.define(b.Define); err != nil {
		return err
	}
	if b.Declared != "" {
		if err := c.declare(b.Declared); err != nil {
			return err
		}
	}
	if err := c.undelay(b.Undelay, b.Append); err != nil {
		return err
	}
	if err := c.delay(b.Delay); err != nil {
		return err
	}
	if err := c.append(b.Append); err != nil {
		return err
	}
	if err := c.dropLoose(); err != nil {
		return err
	}
	for i := range b.Remove {
		if err := c.remove(&b.Remove[i]); err != nil {
			return err
		}
	}
	for i := range b.Expiries {
		if err := c.expired(&b.Expiries[i]); err != nil {
			return err
		}
	}
	for i := range b.DropIDs {
		if err := c.dropID(b.DropIDs[i].Key); err != nil {
			return err
		}
	}
	if err := c.put(b.Put); err != nil {
		return err
	}
	if err := c.states(b); err != nil {
		return err
	}
	if err := c.forget(b.Delete); err != nil {
		return err
	}
	if err := c.purge(b.Purge); err != nil || !c.secret {
		return err
	}
	return c.bucket(&c.meta, bucketMeta).Put(keyWipe, []byte{1})
}

// states puts the small things.
func (c *commit) states(b *store.Batch) error {
	for i := range b.Lanes {
		l := &b.Lanes[i]
		start := len(c.arena)
		state := *l
		for j := range b.Remove {
			if r := &b.Remove[j]; r.Lane == l.Lane {
				state.Removed += uint64(r.Removed) // #nosec G115 -- a count
			}
		}
		c.arena = appendLaneState(c.arena, &state)
		c.key = appendLane(c.key[:0], l.Lane)
		if err := c.bucket(&c.lane, bucketLane).Put(c.key, c.value(start)); err != nil {
			return err
		}
	}
	for i := range b.Cursors {
		s := &b.Cursors[i]
		start := len(c.arena)
		c.arena = appendCursorState(c.arena, s)
		c.key = appendLane(c.key[:0], store.Lane{Topic: s.Consumer, Priority: s.Priority})
		if err := c.bucket(&c.cursor, bucketCursor).Put(c.key, c.value(start)); err != nil {
			return err
		}
	}
	for i := range b.Attempts {
		a := &b.Attempts[i]
		c.key = appendPlace(c.key[:0], store.Lane{Topic: a.Consumer, Priority: a.Priority}, a.Pos)
		bucket := c.bucket(&c.attempt, bucketAttempt)
		if a.Count == 0 {
			if err := bucket.Delete(c.key); err != nil {
				return err
			}
			continue
		}
		start := len(c.arena)
		c.arena = binary.AppendUvarint(c.arena, uint64(a.Count))
		if err := bucket.Put(c.key, c.value(start)); err != nil {
			return err
		}
	}
	for i := range b.Seen {
		s := &b.Seen[i]
		start := len(c.arena)
		c.arena = binary.BigEndian.AppendUint64(c.arena, micros(s.At))
		c.key = appendSeen(c.key[:0], s.Kind, s.ID)
		if err := c.bucket(&c.seen, bucketSeen).Put(c.key, c.value(start)); err != nil {
			return err
		}
	}
	return nil
}

// append puts messages at the tails of their lanes, a lane at a time, so that the pages are
// filled in order.
func (c *commit) append(list []*store.Record) error {
	if len(list) == 0 {
		return nil
	}
	size := 0
	for _, r := range list {
		size += recordBound(r)
	}
	c.arena = slices.Grow(c.arena, size)
	c.order = append(c.order[:0], list...)
	if !slices.IsSortedFunc(c.order, byPlace) {
		slices.SortFunc(c.order, byPlace)
	}
	log := c.ascending(&c.log, bucketLog)
	var growing growingRange
	for _, r := range c.order {
		apart, err := c.setApart(r)
		if err != nil {
			return err
		}
		start := len(c.arena)
		c.arena = appendRecord(c.arena, r, apart)
		c.key = appendPlace(c.key[:0], r.Lane, r.Pos)
		if err := log.Put(c.key, c.value(start)); err != nil {
			return err
		}
		if err := c.extend(&growing, r); err != nil {
			return err
		}
		if r.ID != "" {
			if err := c.putID(r, 0, 0); err != nil {
				return err
			}
		}
	}
	return c.flush(&growing)
}

func byPlace(a, b *store.Record) int {
	if n := cmp.Compare(a.Topic, b.Topic); n != 0 {
		return n
	}
	if n := cmp.Compare(a.Priority, b.Priority); n != 0 {
		return n
	}
	return cmp.Compare(a.Pos, b.Pos)
}

// delay puts messages aside until they are due.
func (c *commit) delay(list []*store.Record) error {
	for _, r := range list {
		b := c.bucket(&c.delayed, bucketDelayed)
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		d := delayedKey{due: micros(r.Due()), n: n, lane: r.Lane}
		apart, err := c.setApart(r)
		if err != nil {
			return err
		}
		start := len(c.arena)
		c.arena = appendRecord(c.arena, r, apart)
		c.key = appendDelayed(c.key[:0], d)
		if err := b.Put(c.key, c.value(start)); err != nil {
			return err
		}
		if r.ID != "" {
			if err := c.putID(r, n, d.due); err != nil {
				return err
			}
		}
		if err := c.count(r.Topic, 1); err != nil {
			return err
		}
	}
	return nil
}

// undelay removes messages that are not delayed any longer. Those that moved are in moved, and
// found there by their IDs from then on; the IDs of others, which are deleted, are remembered
// until their time.
func (c *commit) undelay(keys []string, moved []*store.Record) error {
	type message struct {
		topic   uint32
		id      string
		created int64
	}
	var known map[message]bool
	for _, key := range keys {
		d, ok := parseDelayed([]byte(key))
		if !ok {
			return fmt.Errorf("not the key of a delayed message: %x", key)
		}
		b := c.bucket(&c.delayed, bucketDelayed)
		v := b.Get([]byte(key))
		if v == nil {
			continue
		}
		err := c.dec.fields(v[:max(len(v)-checksumSize, 0)], &c.rec)
		if ref := c.rec.Apart; err == nil && ref.Number != 0 && whole(v) {
			c.loose[ref.Number] = ref
		}
		if err == nil && c.rec.ID != "" {
			c.rec.Place = store.Place{Lane: d.lane}
			forget := micros(c.rec.KeepID) <= c.now || !c.remembered(idKey{place: c.rec.Place, id: c.rec.ID, n: d.n}, c.rec.KeepID)
			if !forget {
				if known == nil {
					known = make(map[message]bool, len(moved))
					for _, r := range moved {
						known[message{r.Topic, r.ID, r.Created.UnixMicro()}] = true
					}
				}
				forget = known[message{d.lane.Topic, c.rec.ID, c.rec.Created.UnixMicro()}]
			}
			if forget {
				if err := c.deleteID(&c.rec, d.n); err != nil {
					return err
				}
			}
		}
		if err := b.Delete([]byte(key)); err != nil {
			return err
		}
		if err := c.count(d.lane.Topic, -1); err != nil {
			return err
		}
	}
	return nil
}

// count adds to the number of delayed messages of a topic.
func (c *commit) count(topic uint32, delta int64) error {
	n, ok := c.counts[topic]
	if !ok {
		n = c.store.waiting[topic]
	}
	n = uint64(max(int64(n)+delta, 0)) // #nosec G115 -- a count of messages is far below 2^63
	c.counts[topic] = n
	b := c.bucket(&c.waiting, bucketWaiting)
	c.key = binary.BigEndian.AppendUint32(c.key[:0], topic)
	if n == 0 {
		return b.Delete(c.key)
	}
	start := len(c.arena)
	c.arena = binary.AppendUvarint(c.arena, n)
	return b.Put(c.key, c.value(start))
}

// remove deletes the messages of a range, and what else there is of them.
func (c *commit) remove(r *store.Removal) error {
	log := c.ascending(&c.log, bucketLog)
	c.removed = c.removed[:0]
	r.Through, r.Bytes = r.Range.To, 0
	c.key = appendPlace(c.key[:0], r.Lane, r.Range.From)
	c.key2 = appendPlace(c.key2[:0], r.Lane, r.Range.To)
	cur := log.Cursor()
	for k, v := cur.Seek(c.key); k != nil && bytes.Compare(k, c.key2) <= 0; k, v = cur.Next() {
		p, ok := parsePlace(k)
		if !ok {
			continue
		}
		if r.Limit > 0 && len(c.removed) == r.Limit {
			r.Through = c.removed[r.Limit-1].pos
			break
		}
		m := removed{pos: p.Pos}
		if c.dec.fields(v[:max(len(v)-checksumSize, 0)], &c.rec) == nil {
			m.second, m.size = expirySecond(&c.rec), c.rec.Size()
			if n := c.rec.Apart.Number; n != 0 && whole(v) {
				m.apart = n
			}
			if c.rec.ID != "" && (micros(c.rec.KeepID) <= c.now || !c.remembered(idKey{place: p, id: c.rec.ID}, c.rec.KeepID)) {
				m.id = c.rec.ID
			}
		}
		c.removed = append(c.removed, m)
	}
	for i := range c.removed {
		m := &c.removed[i]
		r.Bytes += m.size
		c.key = appendPlace(c.key[:0], r.Lane, m.pos)
		if err := log.Delete(c.key); err != nil {
			return err
		}
		if err := c.dropApart(m.apart); err != nil {
			return err
		}
		if m.id != "" {
			c.key = appendID(c.key[:0], idKey{place: store.Place{Lane: r.Lane, Pos: m.pos}, id: m.id})
			if err := c.bucket(&c.id, bucketID).Delete(c.key); err != nil {
				return err
			}
		}
	}
	r.Removed = len(c.removed)
	return c.forgetExpiry(r)
}
