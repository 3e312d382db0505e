package store_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"pipit/broker/store"
)

// cursorModel is a Cursor as a map: positions from 1 to its length less 1.
type cursorModel [300]bool

func (m *cursorModel) add(from, to uint64) {
	for p := max(from, 1); p <= to && p < uint64(len(m)); p++ {
		m[p] = true
	}
}

// check compares all that a Cursor tells, and its form.
func (m *cursorModel) check(t *testing.T, c *store.Cursor) {
	t.Helper()
	count := uint64(0)
	for p := uint64(1); p < uint64(len(m)); p++ {
		if m[p] {
			count++
		}
		if c.Has(p) != m[p] {
			t.Fatalf("%v: Has(%d) is %t", *c, p, c.Has(p))
		}
	}
	if c.Count() != count {
		t.Fatalf("%v: Count is %d, want %d", *c, c.Count(), count)
	}
	next := uint64(len(m)) // nothing is ever added from there on
	end := uint64(math.MaxUint64)
	for p := uint64(len(m)) - 1; p > 0; p-- {
		if m[p] {
			end = p - 1
		} else if next = p; c.GapEnd(p) != end {
			t.Fatalf("%v: GapEnd(%d) is %d, want %d", *c, p, c.GapEnd(p), end)
		}
		if got := c.Next(p); got != next {
			t.Fatalf("%v: Next(%d) is %d, want %d", *c, p, got, next)
		}
	}
	prev, start := uint64(0), uint64(1)
	for p := uint64(1); p < uint64(len(m)); p++ {
		if m[p] {
			start = p + 1
		} else if prev = p; c.GapStart(p) != start {
			t.Fatalf("%v: GapStart(%d) is %d, want %d", *c, p, c.GapStart(p), start)
		}
		if got := c.Prev(p); got != prev {
			t.Fatalf("%v: Prev(%d) is %d, want %d", *c, p, got, prev)
		}
	}
	last := c.Floor // spans do not touch it, nor each other
	for _, s := range c.Spans {
		if s.From <= last || s.To < s.From {
			t.Fatalf("%v: span %v is out of place", *c, s)
		}
		last = s.To + 1
	}
}

// checkCountOf compares CountOf for each step-th position from from to to.
func (m *cursorModel) checkCountOf(t *testing.T, c *store.Cursor, from, to, step uint64) {
	t.Helper()
	var positions []uint64
	want := 0
	for p := from; p <= to; p += step {
		if positions = append(positions, p); m[p] {
			want++
		}
	}
	if got := c.CountOf(positions); got != want {
		t.Fatalf("%v: CountOf(%v) is %d, want %d", *c, positions, got, want)
	}
}

// checkMissing compares Missing for one range.
func (m *cursorModel) checkMissing(t *testing.T, c *store.Cursor, from, to uint64) {
	t.Helper()
	var got cursorModel
	last := uint64(0)
	c.Missing(from, to, func(s store.Span) {
		if s.From < from || s.To > to || s.To < s.From || last > 0 && s.From <= last+1 {
			t.Fatalf("%v: Missing(%d, %d) calls with %v after %d", *c, from, to, s, last)
		}
		last = s.To
		got.add(s.From, s.To)
	})
	for p := uint64(1); p < uint64(len(m)); p++ {
		if want := p >= from && p <= to && !m[p]; got[p] != want {
			t.Fatalf("%v: Missing(%d, %d): %d is %t", *c, from, to, p, got[p])
		}
	}
}

func TestCursor(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		var c store.Cursor
		var m cursorModel
		if rnd.IntN(2) == 0 {
			c.Floor = 1
		}
		m.check(t, &store.Cursor{Floor: 1})
		width := 1 + rnd.Uint64N(40)
		for range 1 + rnd.IntN(40) {
			from := rnd.Uint64N(uint64(len(m)) - width)
			to := from + rnd.Uint64N(width)
			switch rnd.IntN(6) {
			case 1: // a clone shares no memory
				d := c.Clone()
				d.Add(1, 250)
				d.Add(280, 290)
			case 2:
				m.checkMissing(t, &c, max(from, 1), to)
				m.checkCountOf(t, &c, max(from, 1), to, 1+rnd.Uint64N(3))
				continue
			case 3: // nothing
				c.Add(to+1, to)
			default:
				c.Add(from, to)
				m.add(from, to)
			}
			m.check(t, &c)
		}
	}
}

func FuzzCursor(f *testing.F) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		b := make([]byte, 4*rnd.IntN(40))
		for i := range b {
			b[i] = byte(rnd.IntN(256))
		}
		f.Add(b)
	}
	f.Add([]byte{0, 1, 0, 3, 0, 5, 0, 7, 0, 4, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c store.Cursor
		var m cursorModel
		for ; len(b) >= 4; b = b[4:] {
			from := uint64(binary.BigEndian.Uint16(b)) % uint64(len(m))
			to := uint64(binary.BigEndian.Uint16(b[2:])) % uint64(len(m))
			c.Add(from, to)
			if from <= to {
				m.add(from, to)
			}
		}
		c.Add(0, 0)
		m.check(t, &c)
		d := c.Clone()
		m.check(t, &d)
		m.checkMissing(t, &c, 1, uint64(len(m))-1)
		m.checkMissing(t, &c, 100, 200)
		m.checkCountOf(t, &c, 1, uint64(len(m))-1, 1)
	})
}
