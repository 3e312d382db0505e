package db

import (
	"encoding/binary"
	"time"

	"pipit/broker/store"
)

// openRange is an entry of the expiry index that the next message of its lane may extend. The file
// has it with the last position that it had when it was put; how far it has grown since is known in
// memory, so that a commit need not put it again. It is put when it stops growing, and the
// start finds it by the last message of the lane, which is always of the range that is open.
type openRange struct {
	second, first, last uint64
	stored              uint64 // last, as the file has it
}

// growingRange is the entry that a commit is extending, before it is put.
type growingRange struct {
	lane store.Lane
	openRange
}

// openRange returns the entry that a lane's next message may extend; first is 0 where there is none.
func (c *commit) openRange(l store.Lane) openRange {
	r, ok := c.ranges[l]
	if !ok {
		r = c.store.open[l]
	}
	return r
}

// extend takes a message that was appended into the expiry index. The records come by lane and
// position. Where a range ends, it is put; flush puts the last.
func (c *commit) extend(g *growingRange, r *store.Record) {
	second := expirySecond(r)
	if g.first != 0 && g.lane == r.Lane && g.second == second && g.last+1 == r.Pos {
		g.last = r.Pos
		return
	}
	c.flush(g)
	o := c.openRange(r.Lane)
	if o.first != 0 && o.second == second && o.last+1 == r.Pos {
		g.lane, g.openRange = r.Lane, o
		g.last = r.Pos
		return
	}
	if o.first != 0 {
		c.closeRange(r.Lane, o)
	}
	if second != 0 {
		g.lane, g.openRange = r.Lane, openRange{second: second, first: r.Pos, last: r.Pos}
	}
}

// flush puts the range that grew, where the file does not have it yet.
func (c *commit) flush(g *growingRange) {
	if g.first == 0 {
		return
	}
	if g.stored == 0 {
		c.putRange(g.lane, g.openRange)
	} else {
		c.ranges[g.lane] = g.openRange
	}
	g.openRange = openRange{}
}

// closeRange puts a range that does not grow any more.
func (c *commit) closeRange(l store.Lane, r openRange) {
	if r.last != r.stored {
		c.putRange(l, r)
	}
	c.ranges[l] = openRange{}
}

// putRange puts an entry and lets the next message of the lane extend it.
func (c *commit) putRange(l store.Lane, r openRange) {
	r.stored = r.last
	c.ranges[l] = r
	start := c.room(8)
	c.arena = binary.BigEndian.AppendUint64(c.arena, r.last)
	c.key = appendExpiry(c.key[:0], r.second, l, r.first)
	c.bucket(bucketExpiry).Put(c.key, c.value(start))
}

// deleteRange deletes the entry of c.key, which is of this lane, second and first position.
func (c *commit) deleteRange(l store.Lane, second, first uint64) {
	if o := c.openRange(l); o.second == second && o.first == first {
		c.ranges[l] = openRange{}
	}
	c.key = appendExpiry(c.key[:0], second, l, first)
	c.bucket(bucketExpiry).Delete(c.key)
}

// forgetExpiry deletes the entries of which no message is left after the removal of r.
func (c *commit) forgetExpiry(r *store.Removal) {
	if len(c.removed) == 0 {
		return
	}
	var looked openRange // the entry looked at last: most messages are in the same one
	for i := range c.removed {
		m := &c.removed[i]
		if m.second == 0 || m.second == looked.second && m.pos <= looked.last {
			continue
		}
		e, ok := c.findRange(r.Lane, m.second, m.pos)
		if !ok {
			looked = openRange{second: m.second, first: m.pos, last: m.pos}
			continue
		}
		looked = e
		if !c.any(r.Lane, e.first, e.last) {
			c.deleteRange(r.Lane, e.second, e.first)
		}
	}
	// A start finds how far a range has grown by its last message: where that is removed, the file has to say it.
	if o := c.openRange(r.Lane); o.first != 0 && o.last != o.stored && c.removed[len(c.removed)-1].pos >= o.last {
		c.putRange(r.Lane, o)
	}
}

// any tells whether a lane has a message from first to last.
func (c *commit) any(l store.Lane, first, last uint64) bool {
	c.key = appendPlace(c.key[:0], l, max(first, c.head(l)))
	c.bucket(bucketLog).reuse(&c.cursor)
	k, _ := c.cursor.Seek(c.key)
	p, ok := parsePlace(k)
	return ok && p.Lane == l && p.Pos <= last
}

// findRange returns the entry that pos of a lane is in.
func (c *commit) findRange(l store.Lane, second, pos uint64) (openRange, bool) {
	e, ok := c.rangeBefore(l, second, pos)
	return e, ok && pos <= e.last
}

// rangeBefore returns the last entry of a lane and second that begins at or before pos.
func (c *commit) rangeBefore(l store.Lane, second, pos uint64) (openRange, bool) {
	c.key = appendExpiry(c.key[:0], second, l, pos)
	cur := &c.cursor
	c.bucket(bucketExpiry).reuse(cur)
	k, v := cur.Seek(c.key)
	if k == nil || string(k) != string(c.key) {
		if k == nil {
			k, v = cur.Last()
		} else {
			k, v = cur.Prev()
		}
	}
	s, first, ok := parseExpiry(k)
	if !ok || len(v) != 8 || s != second || first.Lane != l {
		return openRange{}, false
	}
	e := openRange{second: s, first: first.Pos, last: binary.BigEndian.Uint64(v)}
	e.stored = e.last
	if o := c.openRange(l); o.second == s && o.first == e.first {
		e = o
	}
	return e, e.first <= pos
}

// expired deletes an entry, or cuts off its beginning where not all of it is dealt with. It may
// have grown since the caller saw it. What is to be looked at again later moves to that second: no removal of its
// messages finds it there, so it goes at its time.
func (c *commit) expired(x *store.Expired) {
	second := micros(x.At) / 1_000_000
	c.key = appendExpiry(c.key[:0], second, x.Lane, x.Range.From)
	b := c.bucket(bucketExpiry)
	v := b.Get(c.key)
	if len(v) != 8 {
		b.Delete(c.key)
		return
	}
	if x.Through < x.Range.From && x.Again.IsZero() {
		return
	}
	last := binary.BigEndian.Uint64(v)
	o := c.openRange(x.Lane)
	open := o.second == second && o.first == x.Range.From
	if open {
		last = o.last
	}
	c.deleteRange(x.Lane, second, x.Range.From)
	if x.Through >= last {
		return
	}
	if !x.Again.IsZero() {
		second, open = micros(x.Again)/1_000_000, false
	}
	before, had := c.ranges[x.Lane]
	c.putRange(x.Lane, openRange{second: second, first: max(x.Through+1, x.Range.From), last: last})
	if !open { // the entry that can grow is another
		if had {
			c.ranges[x.Lane] = before
		} else {
			delete(c.ranges, x.Lane)
		}
	}
}

// grown returns the last position of an open range, 0 where the range is not open.
func (s *Store) grown(first store.Place, second uint64) uint64 {
	s.openMu.Lock()
	defer s.openMu.Unlock()
	if o := s.open[first.Lane]; o.second == second && o.first == first.Pos {
		return o.last
	}
	return 0
}

// Expired implements store.Reader.
func (r *reader) Expired(now time.Time, limit int) (list []store.Expiry, err error) {
	defer r.caught(&err)
	until := micros(now) / 1_000_000
	cur := r.bucket(bucketExpiry).Cursor()
	for k, v := cur.First(); k != nil && len(list) < limit; k, v = cur.Next() {
		second, first, ok := parseExpiry(k)
		if !ok || len(v) != 8 {
			r.store.logDamage(bucketExpiry, k, errRecordShort)
			continue
		}
		if second > until {
			break
		}
		list = append(list, store.Expiry{
			At:    time.Unix(int64(second), 0).UTC(), // #nosec G115 -- at most until, a time
			Lane:  first.Lane,
			Range: store.Span{From: first.Pos, To: max(binary.BigEndian.Uint64(v), r.store.grown(first, second))},
		})
	}
	return list, nil
}
