package db

import (
	"bytes"
	"fmt"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"
)

// view is the content of one moment: the tables, and what they say nothing of in the file. One in which live
// is a fork can be changed.
type view struct {
	live, frozen *table
	base         *bbolt.Tx
	begin        func() *bbolt.Tx // where base is nil: returns it when it is needed first; nil where it cannot be had

	buckets [len(bucketNames)]bucket
	err     error // the first: of an entry that the file cannot take
}

func (v *view) fail(err error) {
	if v.err == nil {
		v.err = err
	}
}

// bucket returns the bucket of a name. It is valid as long as the view.
func (v *view) bucket(no int) *bucket {
	b := &v.buckets[no]
	if b.view == nil {
		b.view, b.no = v, no
		b.frozen = nil
		if v.frozen != nil {
			b.frozen = v.frozen.buckets[no]
		}
	}
	return b
}

// tx returns the transaction of the file.
func (v *view) tx() *bbolt.Tx {
	if v.base == nil {
		v.base = v.begin()
	}
	return v.base
}

// reset makes it a view that has nothing open.
func (v *view) reset(live, frozen *table, base *bbolt.Tx) {
	*v = view{live: live, frozen: frozen, base: base, begin: v.begin}
}

// bucket is a bucket of a view: of each key, the newest entry of the live table, the frozen one and the file.
type bucket struct {
	view   *view
	no     int
	frozen *btree.Map[string, value]
	below  *bbolt.Bucket // opened when first needed
	opened bool
}

func (b *bucket) live() *btree.Map[string, value] { return b.view.live.buckets[b.no] }

// base returns the file's bucket, nil where there is none.
func (b *bucket) base() *bbolt.Bucket {
	if !b.opened {
		b.below = b.view.tx().Bucket(bucketNames[b.no])
		b.opened = true
	}
	return b.below
}

// Get returns the value of a key, nil where there is none. It must not be changed, and is valid as long as
// the view.
func (b *bucket) Get(key []byte) []byte {
	if v, ok := b.tabled(key); ok {
		return v
	}
	if b.no == bucketPayload {
		return b.apart(key)
	}
	if base := b.base(); base != nil {
		return base.Get(key)
	}
	return nil
}

// tabled returns what the tables have of a key.
func (b *bucket) tabled(key []byte) (v []byte, ok bool) {
	if live := b.live(); live != nil {
		if v, ok := live.Get(string(key)); ok {
			return v.b, true
		}
	}
	if b.frozen != nil {
		if v, ok := b.frozen.Get(string(key)); ok {
			return v.b, true
		}
	}
	return nil, false
}

// Has tells whether there is an entry of a key.
func (b *bucket) Has(key []byte) bool {
	if v, ok := b.tabled(key); ok {
		return v != nil
	}
	base := b.base()
	if base == nil {
		return false
	}
	k, _ := base.Cursor().Seek(key)
	return bytes.Equal(k, key) && k != nil
}

// apart returns a payload that the file keeps apart.
func (b *bucket) apart(key []byte) []byte {
	base := b.base()
	if base == nil {
		return nil
	}
	if own := base.Bucket(key); own != nil {
		return own.Get(keyPayload)
	}
	return nil
}

// Put puts an entry, and keeps the value.
func (b *bucket) Put(key, v []byte) { b.put(key, v, false) }

// PutNew is Put of a key that there never was.
func (b *bucket) PutNew(key, v []byte) { b.put(key, v, true) }

func (b *bucket) put(key, v []byte, fresh bool) {
	if len(key) == 0 || len(key) > bbolt.MaxKeySize {
		b.view.fail(fmt.Errorf("%s: a key has from 1 to %d bytes, not %d", bucketNames[b.no], bbolt.MaxKeySize, len(key)))
		return
	}
	if v == nil {
		v = []byte{}
	}
	t := b.view.live
	m := t.own(b.no)
	old, had := m.Set(string(key), value{v, fresh})
	if had && old.fresh != fresh {
		m.Set(string(key), value{v, old.fresh})
	}
	if !had {
		t.size += beside
	}
}

// Delete deletes an entry, where there is one.
func (b *bucket) Delete(key []byte) {
	t := b.view.live
	if t.buckets[b.no] != nil {
		if old, ok := t.buckets[b.no].Get(string(key)); ok {
			if old.fresh {
				t.own(b.no).Delete(string(key))
				t.size -= beside
				return
			}
		}
	}
	if _, had := t.own(b.no).Set(string(key), value{}); !had {
		t.size += beside
	}
}

// NextSequence returns the next number of a bucket that numbers its keys, from 1 on.
func (b *bucket) NextSequence() uint64 {
	n := b.view.live.sequences[b.no]
	if n == 0 && b.view.frozen != nil {
		n = b.view.frozen.sequences[b.no]
	}
	if n == 0 {
		if base := b.base(); base != nil {
			n = base.Sequence()
		}
	}
	n++
	b.view.live.sequences[b.no] = n
	return n
}

// ForEach calls fn with all entries in the order of their keys. A payload in the file has no value here.
func (b *bucket) ForEach(fn func(k, v []byte) error) error {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

// cursor goes through a bucket. What it returns is valid until its next move, values as long as the view. The bucket
// must not be changed while it is used.
type cursor struct {
	base   *bbolt.Cursor
	bk, bv []byte
	over   [2]layer // live, frozen
	layers int
	down   bool
	key    []byte // of the entry that it stands at, in memory of its own
	at     bool
}

// layer is a table's part of a cursor.
type layer struct {
	iter btree.MapIter[string, value]
	ok   bool
}

// Cursor returns a cursor that stands nowhere.
func (b *bucket) Cursor() *cursor {
	c := &cursor{}
	b.reuse(c)
	return c
}

// reuse makes c a cursor of the bucket that stands nowhere.
func (b *bucket) reuse(c *cursor) {
	c.base, c.bk, c.bv, c.layers, c.at = nil, nil, nil, 0, false
	if base := b.base(); base != nil {
		c.base = base.Cursor()
	}
	for _, m := range []*btree.Map[string, value]{b.live(), b.frozen} {
		if m != nil && m.Len() > 0 {
			c.over[c.layers] = layer{iter: m.Iter()}
			c.layers++
		}
	}
}

// First, Last, Seek, Next and Prev are those of bbolt.Cursor.
func (c *cursor) First() (k, v []byte) {
	c.down = false
	if c.base != nil {
		c.bk, c.bv = c.base.First()
	}
	for i := range c.over[:c.layers] {
		c.over[i].ok = c.over[i].iter.First()
	}
	return c.pick()
}

func (c *cursor) Last() (k, v []byte) {
	c.down = true
	if c.base != nil {
		c.bk, c.bv = c.base.Last()
	}
	for i := range c.over[:c.layers] {
		c.over[i].ok = c.over[i].iter.Last()
	}
	return c.pick()
}

// Seek moves to the first key at or behind key.
func (c *cursor) Seek(key []byte) (k, v []byte) {
	c.down = false
	if c.base != nil {
		c.bk, c.bv = c.base.Seek(key)
	}
	for i := range c.over[:c.layers] {
		c.over[i].ok = c.over[i].iter.Seek(string(key))
	}
	return c.pick()
}

func (c *cursor) Next() (k, v []byte) {
	switch {
	case !c.at:
		return nil, nil
	case c.layers == 0:
		c.bk, c.bv = c.base.Next()
		return c.pick()
	case c.down:
		c.Seek(append([]byte(nil), c.key...)) // it stands there again
	}
	c.step(c.key)
	return c.pick()
}

func (c *cursor) Prev() (k, v []byte) {
	switch {
	case !c.at:
		return nil, nil
	case c.layers == 0:
		c.down = true
		c.bk, c.bv = c.base.Prev()
		return c.pick()
	case !c.down:
		c.turn(c.key)
		return c.pick()
	}
	c.step(c.key)
	return c.pick()
}

// step moves what stands at key on.
func (c *cursor) step(key []byte) {
	if c.base != nil && bytes.Equal(c.bk, key) && c.bk != nil {
		if c.down {
			c.bk, c.bv = c.base.Prev()
		} else {
			c.bk, c.bv = c.base.Next()
		}
	}
	for i := range c.over[:c.layers] {
		if l := &c.over[i]; l.ok && l.iter.Key() == string(key) {
			if c.down {
				l.ok = l.iter.Prev()
			} else {
				l.ok = l.iter.Next()
			}
		}
	}
}

// turn moves all to the last key before key.
func (c *cursor) turn(key []byte) {
	c.down = true
	if c.base != nil {
		c.bk, c.bv = seekBefore(c.base, key)
	}
	for i := range c.over[:c.layers] {
		l := &c.over[i]
		if l.iter.Seek(string(key)) {
			l.ok = l.iter.Prev()
		} else {
			l.ok = l.iter.Last()
		}
	}
}

func seekBefore(c *bbolt.Cursor, key []byte) (k, v []byte) {
	if k, _ = c.Seek(key); k == nil {
		return c.Last()
	}
	return c.Prev()
}

// pick returns the entry that comes first of those at which the layers stand, and passes those that are deleted.
func (c *cursor) pick() (k, v []byte) {
	for {
		if c.layers == 0 {
			c.at = c.bk != nil
			return c.bk, c.bv
		}
		best := -1
		for i := range c.over[:c.layers] {
			if l := &c.over[i]; l.ok && (best < 0 || c.before(l.iter.Key(), c.over[best].iter.Key())) {
				best = i
			}
		}
		if best < 0 || c.bk != nil && c.baseFirst(c.over[best].iter.Key()) {
			if c.bk == nil {
				c.at = false
				return nil, nil
			}
			c.key, c.at = append(c.key[:0], c.bk...), true
			return c.bk, c.bv
		}
		l := &c.over[best]
		c.key, c.at = append(c.key[:0], l.iter.Key()...), true
		if v := l.iter.Value(); v.b != nil {
			return c.key, v.b
		}
		c.step(c.key)
	}
}

// baseFirst tells whether the file's entry comes before a key. A conversion within a comparison copies nothing.
func (c *cursor) baseFirst(key string) bool {
	if c.down {
		return string(c.bk) > key
	}
	return string(c.bk) < key
}

func (c *cursor) before(a, b string) bool {
	if c.down {
		return a > b
	}
	return a < b
}
