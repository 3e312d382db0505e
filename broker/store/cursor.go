package store

import (
	"math"
	"sort"
)

// Span is a range of positions, both ends included.
type Span struct{ From, To uint64 }

// Cursor is a set of positions that are done with: all below Floor, and the spans above it.
// Spans are ascending, do not touch each other and do not touch Floor. Positions begin at 1,
// so an empty Cursor has Floor 1; the zero value counts as empty too.
type Cursor struct {
	Floor uint64
	Spans []Span
}

// Count returns how many positions are in the set.
func (c *Cursor) Count() uint64 {
	n := c.Lowest() - 1
	for _, s := range c.Spans {
		n += s.To - s.From + 1
	}
	return n
}

// CountOf returns how many of the positions, which are ascending, are in the set.
func (c *Cursor) CountOf(positions []uint64) int {
	before := func(pos uint64) int {
		return sort.Search(len(positions), func(i int) bool { return positions[i] >= pos })
	}
	n := before(c.Lowest())
	if n == len(positions) {
		return n
	}
	for _, s := range c.Spans[c.search(positions[n]):] {
		if s.From > positions[len(positions)-1] {
			break
		}
		n += before(s.To+1) - before(s.From)
	}
	return n
}

// Lowest returns the lowest position that is not in the set.
func (c *Cursor) Lowest() uint64 { return max(c.Floor, 1) }

// Has tells whether pos is in the set.
func (c *Cursor) Has(pos uint64) bool {
	if pos < c.Floor {
		return true
	}
	i := c.search(pos)
	return i < len(c.Spans) && c.Spans[i].From <= pos
}

// search returns the index of the first span that ends at or after pos.
func (c *Cursor) search(pos uint64) int {
	return sort.Search(len(c.Spans), func(i int) bool { return c.Spans[i].To >= pos })
}

// Next returns the lowest position at or above pos that is not in the set.
func (c *Cursor) Next(pos uint64) uint64 {
	pos = max(pos, c.Lowest())
	if i := c.search(pos); i < len(c.Spans) && c.Spans[i].From <= pos {
		return c.Spans[i].To + 1
	}
	return pos
}

// GapEnd returns the highest position of the range from pos on, which is not in the set, that has
// nothing in the set.
func (c *Cursor) GapEnd(pos uint64) uint64 {
	if i := c.search(pos); i < len(c.Spans) {
		return c.Spans[i].From - 1
	}
	return math.MaxUint64
}

// GapStart returns the lowest position of the range up to pos, which is not in the set, that has
// nothing in the set.
func (c *Cursor) GapStart(pos uint64) uint64 {
	if i := c.search(pos); i > 0 {
		return c.Spans[i-1].To + 1
	}
	return c.Lowest()
}

// Prev returns the highest position at or below pos that is not in the set, 0 where there is none.
func (c *Cursor) Prev(pos uint64) uint64 {
	if i := c.search(pos); i < len(c.Spans) && c.Spans[i].From <= pos {
		pos = c.Spans[i].From - 1
	}
	if pos < c.Lowest() {
		return 0
	}
	return pos
}

// Add puts the positions from to to, both included, into the set.
func (c *Cursor) Add(from, to uint64) {
	c.Floor = c.Lowest()
	if to < c.Floor || to < from {
		return
	}
	if from <= c.Floor {
		c.Floor = to + 1
		c.absorb()
		return
	}
	// i: the first span that touches or follows from; j: the first that lies beyond to.
	i := sort.Search(len(c.Spans), func(i int) bool { return c.Spans[i].To >= from-1 })
	j := i
	for j < len(c.Spans) && c.Spans[j].From <= to+1 {
		from, to = min(from, c.Spans[j].From), max(to, c.Spans[j].To)
		j++
	}
	if j > i {
		c.Spans[i] = Span{from, to}
		c.Spans = append(c.Spans[:i+1], c.Spans[j:]...)
		return
	}
	c.Spans = append(c.Spans, Span{})
	copy(c.Spans[i+1:], c.Spans[i:])
	c.Spans[i] = Span{from, to}
}

// absorb moves Floor past the spans that it reached.
func (c *Cursor) absorb() {
	n := 0
	for n < len(c.Spans) && c.Spans[n].From <= c.Floor {
		c.Floor = max(c.Floor, c.Spans[n].To+1)
		n++
	}
	c.Spans = append(c.Spans[:0], c.Spans[n:]...)
}

// Missing calls fn with the spans within from and to that are not in the set, in order.
func (c *Cursor) Missing(from, to uint64, fn func(Span)) {
	for pos := c.Next(from); pos <= to; {
		end := to
		i := c.search(pos)
		if i < len(c.Spans) && c.Spans[i].From <= to {
			end = c.Spans[i].From - 1
		}
		fn(Span{pos, end})
		pos = c.Next(end + 1)
	}
}

// Clone returns a copy that shares no memory.
func (c *Cursor) Clone() Cursor {
	return Cursor{Floor: c.Lowest(), Spans: append([]Span(nil), c.Spans...)}
}
