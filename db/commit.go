package db

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// commit applies one batch to a view. Its memory is used again by the next one.
type commit struct {
	store *Store
	view  view
	now   uint64

	// arena holds the values that are put, for as long as a table has them: it only grows, and where it is
	// full another one begins.
	arena []byte
	key   []byte // for one key at a time: tables copy keys
	key2  []byte
	key3  []byte

	removed []removed // of one Removal
	rec     store.Record
	dec     decoder // bare
	cursor  cursor

	reading *atomic.Int64 // where the view has a transaction: see wipe

	secret bool // something secret is replaced or deleted

	// What changes in the Store when the commit went well.
	lastID uint32
	moved  map[uint32]string        // sub_keys; empty: the consumer is deleted
	ranges map[store.Lane]openRange // first 0: there is none any more
	heads  map[store.Lane]uint64
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
	arenaSize = 4 << 10 // bytes that are made at once for values
	keepList  = 1 << 14 // entries that one commit leaves to the next
)

func (c *commit) begin(s *Store, now uint64) {
	c.store, c.now = s, now
	c.dec.bare = true
	c.lastID = s.lastID
	if c.ranges == nil {
		c.heads = map[store.Lane]uint64{}
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
	s.openMu.Lock()
	defer s.openMu.Unlock()
	for l, r := range c.ranges {
		if r.first == 0 {
			delete(s.open, l)
		} else {
			s.open[l] = r
		}
	}
	for l, n := range c.heads {
		if n == 0 {
			delete(s.heads, l)
		} else {
			s.heads[l] = n
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
	clear(c.removed)
	clear(c.ranges)
	clear(c.heads)
	clear(c.counts)
	clear(c.loose)
	c.view.reset(nil, nil, nil)
	c.cursor = cursor{}
	c.moved, c.secret, c.rec = nil, false, store.Record{}
	if c.removed = c.removed[:0]; cap(c.removed) > keepList {
		c.removed = nil
	}
}

func (c *commit) bucket(no int) *bucket { return c.view.bucket(no) }

// room makes sure that so many bytes can be appended to the arena without moving it, and returns where they begin.
func (c *commit) room(n int) int {
	if cap(c.arena)-len(c.arena) < n {
		c.arena = make([]byte, 0, max(arenaSize, n))
	}
	return len(c.arena)
}

// value returns what was appended to the arena since it was start bytes long.
func (c *commit) value(start int) []byte { return c.arena[start:len(c.arena):len(c.arena)] }

// apply makes the changes of a batch to the view. What they are follows from the two alone, never from the
// clock or chance: each time that the same batches are applied to the same file, the same comes of it.
func (c *commit) apply(e *entry) error {
	c.define(e.define)
	if e.declared != "" {
		c.declare(e.declared)
	}
	if err := c.undelay(e.undelay, e.append); err != nil {
		return err
	}
	if err := c.delay(e.delay); err != nil {
		return err
	}
	if err := c.append(e.append); err != nil {
		return err
	}
	c.dropLoose()
	for i := range e.remove {
		c.remove(&e.remove[i])
	}
	for i := range e.expiries {
		c.expired(&e.expiries[i])
	}
	for i := range e.dropIDs {
		if err := c.dropID(e.dropIDs[i].Key); err != nil {
			return err
		}
	}
	c.put(e.put)
	c.states(e)
	c.forget(e.delete)
	c.purge(e.purge)
	if c.secret {
		c.bucket(bucketMeta).Put(keyWipe, []byte{1})
	}
	return c.view.err
}

// states puts the small things.
func (c *commit) states(e *entry) {
	for i := range e.lanes {
		l := &e.lanes[i]
		state := *l
		for j := range e.remove {
			if r := &e.remove[j]; r.Lane == l.Lane {
				state.Removed += uint64(r.Removed) // #nosec G115 -- a count
			}
		}
		start := c.room(3 * binary.MaxVarintLen64)
		c.arena = appendLaneState(c.arena, &state)
		c.key = appendLane(c.key[:0], l.Lane)
		c.bucket(bucketLane).Put(c.key, c.value(start))
	}
	for i := range e.cursors {
		s := &e.cursors[i]
		start := c.room((3 + 2*len(s.Cursor.Spans)) * binary.MaxVarintLen64)
		c.arena = appendCursorState(c.arena, s)
		c.key = appendLane(c.key[:0], store.Lane{Topic: s.Consumer, Priority: s.Priority})
		c.bucket(bucketCursor).Put(c.key, c.value(start))
	}
	for i := range e.attempts {
		a := &e.attempts[i]
		c.key = appendPlace(c.key[:0], store.Lane{Topic: a.Consumer, Priority: a.Priority}, a.Pos)
		if a.Count == 0 {
			c.bucket(bucketAttempt).Delete(c.key)
			continue
		}
		start := c.room(binary.MaxVarintLen64)
		c.arena = binary.AppendUvarint(c.arena, uint64(a.Count))
		c.bucket(bucketAttempt).Put(c.key, c.value(start))
	}
	for i := range e.seen {
		s := &e.seen[i]
		start := c.room(8)
		c.arena = binary.BigEndian.AppendUint64(c.arena, micros(s.At))
		c.key = appendSeen(c.key[:0], s.Kind, s.ID)
		c.bucket(bucketSeen).Put(c.key, c.value(start))
	}
}

// append puts messages at the tails of their lanes, a lane at a time: so their expiries grow together.
func (c *commit) append(list []message) error {
	if len(list) == 0 {
		return nil
	}
	if !slices.IsSortedFunc(list, byPlace) {
		slices.SortFunc(list, byPlace)
	}
	log := c.bucket(bucketLog)
	var growing growingRange
	for i := range list {
		m := &list[i]
		v, err := c.record(m)
		if err != nil {
			return err
		}
		c.key = appendPlace(c.key[:0], m.Lane, m.Pos)
		log.PutNew(c.key, v)
		c.extend(&growing, &c.rec)
		if c.rec.ID != "" {
			c.putID(&c.rec, 0, 0)
		}
	}
	c.flush(&growing)
	return nil
}

func byPlace(a, b message) int {
	if n := cmp.Compare(a.Topic, b.Topic); n != 0 {
		return n
	}
	if n := cmp.Compare(a.Priority, b.Priority); n != 0 {
		return n
	}
	return cmp.Compare(a.Pos, b.Pos)
}

// record returns the value of a message, whose payload is apart where it should be, and reads it into c.rec.
func (c *commit) record(m *message) ([]byte, error) {
	v, err := c.setApart(m)
	if err != nil {
		return nil, err
	}
	if err := c.dec.fields(v[:max(len(v)-checksumSize, 0)], &c.rec); err != nil {
		return nil, err
	}
	c.rec.Place = m.Place
	return v, nil
}

// delay puts messages aside until they are due.
func (c *commit) delay(list []message) error {
	b := c.bucket(bucketDelayed)
	for i := range list {
		m := &list[i]
		v, err := c.record(m)
		if err != nil {
			return err
		}
		d := delayedKey{due: micros(c.rec.Due()), n: b.NextSequence(), lane: m.Lane}
		c.key = appendDelayed(c.key[:0], d)
		b.PutNew(c.key, v)
		if c.rec.ID != "" {
			c.putID(&c.rec, d.n, d.due)
		}
		c.count(m.Topic, 1)
	}
	return nil
}

// undelay removes messages that are not delayed any longer. Those that moved are in moved, and
// found there by their IDs from then on; the IDs of others, which are deleted, are remembered
// until their time.
func (c *commit) undelay(keys []string, moved []message) error {
	var known map[sameMessage]bool
	for _, key := range keys {
		d, ok := parseDelayed([]byte(key))
		if !ok {
			return fmt.Errorf("not the key of a delayed message: %x", key)
		}
		b := c.bucket(bucketDelayed)
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
					if known, err = identities(moved); err != nil {
						return err
					}
				}
				forget = known[sameMessage{d.lane.Topic, c.rec.ID, c.rec.Created.UnixMicro()}]
			}
			if forget {
				c.deleteID(&c.rec, d.n)
			}
		}
		b.Delete([]byte(key))
		c.count(d.lane.Topic, -1)
	}
	return nil
}

// sameMessage is what a delayed message and the same one in its lane have in common.
type sameMessage struct {
	topic   uint32
	id      string
	created int64
}

func identities(list []message) (map[sameMessage]bool, error) {
	known := make(map[sameMessage]bool, len(list))
	var rec store.Record
	dec := decoder{bare: true}
	for i := range list {
		v := list[i].value
		if list[i].isApart() {
			v = list[i].refer(1, nil)
		}
		if err := dec.fields(v[:len(v)-checksumSize], &rec); err != nil {
			return nil, err
		}
		known[sameMessage{list[i].Topic, rec.ID, rec.Created.UnixMicro()}] = true
	}
	return known, nil
}

// head returns a position of a lane below which there is nothing. Entries that were deleted since the last checkpoint
// are passed one by one, and mostly stand at the beginning of their lanes: whoever looks for a message begins here.
func (c *commit) head(l store.Lane) uint64 {
	if n, ok := c.heads[l]; ok {
		return n
	}
	return max(c.store.heads[l], 1)
}

// count adds to the number of delayed messages of a topic.
func (c *commit) count(topic uint32, delta int64) {
	n, ok := c.counts[topic]
	if !ok {
		n = c.store.waiting[topic]
	}
	n = uint64(max(int64(n)+delta, 0)) // #nosec G115 -- a count of messages is far below 2^63
	c.counts[topic] = n
	b := c.bucket(bucketWaiting)
	c.key = binary.BigEndian.AppendUint32(c.key[:0], topic)
	if n == 0 {
		b.Delete(c.key)
		return
	}
	start := c.room(binary.MaxVarintLen64)
	c.arena = binary.AppendUvarint(c.arena, n)
	b.Put(c.key, c.value(start))
}

// remove deletes the messages of a range, and what else there is of them.
func (c *commit) remove(r *store.Removal) {
	log := c.bucket(bucketLog)
	c.removed = c.removed[:0]
	r.Through, r.Bytes = r.Range.To, 0
	c.key = appendPlace(c.key[:0], r.Lane, max(r.Range.From, c.head(r.Lane)))
	c.key2 = appendPlace(c.key2[:0], r.Lane, r.Range.To)
	cur := &c.cursor
	log.reuse(cur)
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
			m.second, m.size = expirySecond(&c.rec), c.rec.Size()+c.dec.without
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
		log.Delete(c.key)
		c.dropApart(m.apart)
		if m.id != "" {
			c.key = appendID(c.key[:0], idKey{place: store.Place{Lane: r.Lane, Pos: m.pos}, id: m.id})
			c.bucket(bucketID).Delete(c.key)
		}
	}
	r.Removed = len(c.removed)
	if n := len(c.removed); n > 0 && r.Range.From <= c.head(r.Lane) {
		c.heads[r.Lane] = c.removed[n-1].pos + 1 // not behind Through: more may come there
	}
	c.forgetExpiry(r)
}

// lastTx returns the number of the last transaction that is visible. One that failed in its
// very last step may be.
func (s *Store) lastTx() int {
	tx, _, err := s.begin()
	if err != nil {
		return math.MaxInt
	}
	defer tx.Rollback()
	return tx.ID()
}

// abandon ends a transaction that did not end by itself.
func abandon(tx *bbolt.Tx) {
	defer func() { _ = recover() }()
	_ = tx.Rollback()
}

// beginRead returns a transaction of a commit that reads the file.
func (s *Store) beginRead() *bbolt.Tx {
	s.work.reading = s.wipe.enter()
	tx, _, err := s.begin()
	if err != nil {
		s.work.reading.Add(-1)
		panic(err) // see guard
	}
	return tx
}

// closeBase ends the transaction that reads the file, where there is one.
func (c *commit) closeBase() {
	if c.view.base != nil {
		_ = c.view.base.Rollback()
		c.reading.Add(-1)
	}
}
