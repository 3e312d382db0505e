package broker

import (
	"slices"
	"sort"

	"pipit/broker/store"
)

// leftOut is a set of positions of a lane: those of messages that a filter does not let through and that the queue's cursor
// does not have, see sift.go. It is made for what begins and ends often over a long way: a run takes 4 bytes, whatever its length.
// Runs end where a chunk does.
type leftOut struct {
	chunks []outChunk // ascending, none is empty
	n      uint64     // positions
	runs   int
}

// outChunk has the positions that agree in all but their last outBits.
type outChunk struct {
	key  uint64
	runs []outRun // ascending; they do not touch each other
}

// outRun is a range, both ends included.
type outRun struct{ from, to uint16 }

const outBits = 16

// chunk returns the index of the first chunk from a key on.
func (o *leftOut) chunk(key uint64) int {
	return sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i].key >= key })
}

// search returns the index of the first run that ends at or after pos.
func (c *outChunk) search(pos uint16) int {
	return sort.Search(len(c.runs), func(i int) bool { return c.runs[i].to >= pos })
}

func (c *outChunk) span(r outRun) store.Span {
	return store.Span{From: c.key<<outBits | uint64(r.from), To: c.key<<outBits | uint64(r.to)}
}

// first returns the lowest run. It is false where the set is empty.
func (o *leftOut) first() (s store.Span, ok bool) {
	if o == nil || o.n == 0 {
		return s, false
	}
	return o.chunks[0].span(o.chunks[0].runs[0]), true
}

// at returns the run that has a position. It is false where none has it.
func (o *leftOut) at(pos uint64) (s store.Span, ok bool) {
	if o == nil || o.n == 0 {
		return s, false
	}
	i := o.chunk(pos >> outBits)
	if i == len(o.chunks) || o.chunks[i].key != pos>>outBits {
		return s, false
	}
	c := &o.chunks[i]
	j := c.search(uint16(pos)) // #nosec G115 -- the last bits are meant
	if j == len(c.runs) {
		return s, false
	}
	s = c.span(c.runs[j])
	return s, s.From <= pos
}

func (o *leftOut) has(pos uint64) bool {
	_, ok := o.at(pos)
	return ok
}

// add puts positions into the set, none of which is there, and all of one chunk.
func (o *leftOut) add(s store.Span) {
	key := s.From >> outBits
	i := len(o.chunks) - 1
	if i < 0 || o.chunks[i].key != key { // else it is the last, as mostly
		if i = o.chunk(key); i == len(o.chunks) || o.chunks[i].key != key {
			o.chunks = slices.Insert(o.chunks, i, outChunk{key: key})
		}
	}
	c := &o.chunks[i]
	r := outRun{uint16(s.From), uint16(s.To)} // #nosec G115 -- the last bits are meant
	j := len(c.runs)
	if j > 0 && c.runs[j-1].to >= r.from {
		j = c.search(r.from)
	}
	before := j > 0 && uint32(c.runs[j-1].to)+1 == uint32(r.from)
	behind := j < len(c.runs) && uint32(r.to)+1 == uint32(c.runs[j].from)
	o.n += s.To - s.From + 1
	switch {
	case before && behind:
		c.runs[j-1].to = c.runs[j].to
		c.runs = slices.Delete(c.runs, j, j+1)
		o.runs--
	case before:
		c.runs[j-1].to = r.to
	case behind:
		c.runs[j].from = r.from
	default:
		c.runs = slices.Insert(c.runs, j, r)
		o.runs++
	}
}

// cut takes the positions of a range out of the set, and returns how many those were. removed, which may be nil, is called
// with them, run by run.
func (o *leftOut) cut(from, to uint64, removed func(store.Span)) (n uint64) {
	if o == nil || o.n == 0 || from > to {
		return 0
	}
	i := o.chunk(from >> outBits)
	j, emptied := i, false
	for ; j < len(o.chunks) && o.chunks[j].key <= to>>outBits; j++ {
		c := &o.chunks[j]
		low, high := uint16(0), uint16(1<<outBits-1)
		if c.key == from>>outBits {
			low = uint16(from) // #nosec G115 -- the last bits are meant
		}
		if c.key == to>>outBits {
			high = uint16(to) // #nosec G115 -- the last bits are meant
		}
		runs := len(c.runs)
		n += c.cut(low, high, removed)
		o.runs += len(c.runs) - runs
		emptied = emptied || len(c.runs) == 0
	}
	if emptied {
		k := i
		for ; i < j; i++ {
			if len(o.chunks[i].runs) > 0 {
				o.chunks[k] = o.chunks[i]
				k++
			}
		}
		o.chunks = slices.Delete(o.chunks, k, j)
	}
	o.n -= n
	return n
}

func (c *outChunk) cut(low, high uint16, removed func(store.Span)) (n uint64) {
	i := c.search(low)
	var rest []outRun
	j := i
	for ; j < len(c.runs) && c.runs[j].from <= high; j++ {
		r := c.runs[j]
		if r.from < low {
			rest = append(rest, outRun{r.from, low - 1})
			r.from = low
		}
		if r.to > high {
			rest = append(rest, outRun{high + 1, r.to})
			r.to = high
		}
		n += uint64(r.to-r.from) + 1
		if removed != nil {
			removed(c.span(r))
		}
	}
	if j > i {
		c.runs = slices.Replace(c.runs, i, j, rest...)
	}
	return n
}
