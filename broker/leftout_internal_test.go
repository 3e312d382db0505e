package broker

import (
	"math/rand/v2"
	"testing"

	"pipit/broker/store"
)

// TestLeftOut: the set has what a plain one has, over the ends of chunks, and is undone by what a cut tells.
func TestLeftOut(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const base, width = 1<<outBits - 100, 200
	for range 200 {
		o, m := &leftOut{}, map[uint64]bool{}
		check := func() {
			t.Helper()
			runs := 0
			for pos := uint64(base); pos < base+width; pos++ {
				if o.has(pos) != m[pos] {
					t.Fatalf("%d: %t in %+v", pos, o.has(pos), o)
				}
				s, ok := o.at(pos)
				if ok && (s.From > pos || s.To < pos || m[s.From-1] && s.From%(1<<outBits) > 0 || m[s.To+1] && (s.To+1)%(1<<outBits) > 0) {
					t.Fatalf("%d is in the run %v of %+v", pos, s, o)
				}
				if ok && s.From == pos {
					runs++
				}
			}
			if int(o.n) != len(m) || o.runs != runs {
				t.Fatalf("%d positions in %d runs, want %d in %d: %+v", o.n, o.runs, len(m), runs, o)
			}
			s, ok := o.first()
			for pos := uint64(base); pos < base+width; pos++ {
				if m[pos] {
					if !ok || s.From != pos {
						t.Fatalf("first is %v, want %d", s, pos)
					}
					return
				}
			}
			if ok {
				t.Fatalf("first of nothing is %v", s)
			}
		}
		for range 60 {
			from := base + rnd.Uint64N(width-20)
			to := from + rnd.Uint64N(20)
			if rnd.IntN(3) > 0 {
				for pos := from; pos <= to; pos++ {
					if !m[pos] {
						o.add(store.Span{From: pos, To: pos})
						m[pos] = true
					}
				}
				check()
				continue
			}
			want := uint64(0)
			for pos := from; pos <= to; pos++ {
				if m[pos] {
					want++
				}
			}
			var cuts []store.Span
			if n := o.cut(from, to, func(s store.Span) { cuts = append(cuts, s) }); n != want {
				t.Fatalf("cut %d, want %d", n, want)
			}
			if rnd.IntN(2) == 0 {
				for _, s := range cuts {
					o.add(s)
				}
			} else {
				for pos := from; pos <= to; pos++ {
					delete(m, pos)
				}
			}
			check()
		}
	}
}
