package storetest

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pipit/broker/store"
)

func messages(f *fixture) {
	b := &store.Batch{}
	for range 3 { // they arrive mixed
		b.Append = append(b.Append, f.message(laneC), f.message(laneA), f.message(laneB))
	}
	b.Append[0].Payload = make([]byte, 100_000)
	b.Append[1].Payload = []byte{}
	b.Append[4].ID, b.Append[4].KeepID, b.Append[4].Expiration = "an ID", t0.Add(time.Minute), 0
	f.commit(b)
	f.twice(func() {
		f.wantPositions(laneA, 1, false, 1, 2, 3)
		f.wantPositions(laneA, 2, false, 2, 3)
		f.wantPositions(laneA, 4, false)
		f.wantPositions(laneA, 2, true, 2, 1)
		f.wantPositions(laneA, 100, true, 3, 2, 1)
		f.wantPositions(laneB, math.MaxUint64, true, 3, 2, 1)
		f.wantPositions(laneC, math.MaxUint64, true, 3, 2, 1)
		f.wantPositions(store.Lane{Topic: 3}, 1, false)
		f.wantPositions(store.Lane{}, 1, true)
		for lane, first := range map[store.Lane]int{laneC: 0, laneA: 1, laneB: 2} {
			for i, r := range f.scan(lane, 1, false) {
				if want := copyOf(b.Append[3*i+first]); !reflect.DeepEqual(r, want) {
					f.t.Errorf("got %+v, want %+v", r, want)
				}
			}
		}
		n := 0
		read(f, func(r store.Reader) (int, error) {
			stop := func() bool { n++; return false }
			if err := r.Scan(laneA, 1, false, func(*store.Record) bool { return stop() }); err != nil {
				return 0, err
			}
			return 0, r.Stored(laneA, store.Span{From: 1, To: 3}, func(uint64) bool { return stop() })
		})
		if n != 2 {
			f.t.Errorf("Scan and Stored go on after false: %d calls", n)
		}
	})
}

// What few messages have is theirs, beside payloads of any size, before and after a delay, and belongs to whoever has read it.
func extras(f *fixture) {
	b := &store.Batch{}
	var wait []*store.Record
	for n := range 12 {
		r := f.message(laneA, withID(fmt.Sprint("id ", n), t0.Add(time.Hour)))
		if n%2 == 0 {
			r.Payload = make([]byte, 50_000)
		}
		r.Extra = extra(n)
		b.Append = append(b.Append, r)
		d := later(laneB, 10, "", time.Time{})
		d.Created, d.Payload, d.Extra = t0.Add(time.Duration(n)*time.Millisecond), r.Payload, extra(n)
		wait = append(wait, d)
	}
	b.Delay = wait
	f.commit(b)
	want := func(list []store.Record) {
		f.t.Helper()
		if len(list) != 12 {
			f.t.Fatalf("%d messages", len(list))
		}
		for n := range list {
			if !sameExtra(list[n].Extra, extra(n)) {
				f.t.Errorf("message %d has %+v", n, list[n].Extra)
			}
		}
	}
	f.twice(func() {
		f.t.Helper()
		want(f.scan(laneA, 1, false))
		var waiting []store.Record
		read(f, func(r store.Reader) (int, error) {
			return 0, r.ScanDelayed("", func(d store.Delayed) bool { waiting = append(waiting, copyOf(d.Record)); return true })
		})
		want(waiting)
	})
	list, _ := f.due(t0.Add(time.Minute), 100, math.MaxInt)
	moved := &store.Batch{Now: t0.Add(time.Minute)}
	f.move(moved, list)
	f.commit(moved)
	f.twice(func() { f.t.Helper(); want(f.scan(laneB, 1, false)) })
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 1, 12), removal(laneB, 1, 12)}})
	f.twice(func() { f.wantPositions(laneA, 1, false) })
}

func sameExtra(got, want *store.Extra) bool {
	if got == nil || want == nil || got.DeadLetter == nil || want.DeadLetter == nil {
		return reflect.DeepEqual(got, want)
	}
	g, w := *got.DeadLetter, *want.DeadLetter
	same := g.At.Equal(w.At)
	g.At, w.At = time.Time{}, time.Time{}
	return same && g == w && got.CorrelationID == want.CorrelationID && got.ReplyTo == want.ReplyTo && slices.Equal(got.Attributes, want.Attributes)
}

// A Store keeps nothing of a batch's memory.
func memoryOfABatch(f *fixture) {
	r, d := f.message(laneA), later(laneB, 10, "id", t0.Add(time.Hour))
	value := []byte("a value")
	f.commit(&store.Batch{Append: []*store.Record{r}, Delay: []*store.Record{d}, Put: []store.Document{{Kind: "k", Key: "1", Value: value}}})
	want := copyOf(r)
	for _, memory := range [][]byte{r.Payload, d.Payload, value} {
		for i := range memory {
			memory[i] = 'x'
		}
	}
	r.Producer = "another"
	if got := f.scan(laneA, 1, false); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		f.t.Errorf("got %+v, want %+v", got, want)
	}
	if _, payloads := f.waiting("", 10); !slices.Equal(payloads, []string{"after 10"}) {
		f.t.Errorf("delayed: %q", payloads)
	}
	f.wantDocuments("k", "", false, "1=a value")
}

// A batch that cannot be committed leaves nothing behind, wherever in it the fault is.
func allOrNothing(f *fixture) {
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA)}, Put: []store.Document{{Kind: "k", Key: "1", Value: []byte("old")}}})
	whole := func() bool { return len(f.scan(laneA, 2, false)) > 0 }
	for _, spoil := range []func(*store.Batch){
		func(b *store.Batch) { b.Undelay = []string{"no key of this store"} },
		func(b *store.Batch) { b.DropIDs = []store.StaleID{{Key: "no key of this store"}} },
	} {
		before := f.tails[laneA]
		b := &store.Batch{
			Append: []*store.Record{f.message(laneA, withID("new", t0.Add(time.Hour)))}, Delay: []*store.Record{later(laneB, 10, "", time.Time{})},
			Put: []store.Document{{Kind: "k", Key: "1", Value: []byte("new")}}, Define: []store.Object{{Kind: store.Topic, Key: "/a", ID: 1, Value: []byte(`{"ID":1}`)}},
			Cursors: []store.CursorState{{Consumer: 3, Priority: 5, Cursor: store.Cursor{Floor: 2}}}, Now: t0,
		}
		spoil(b)
		err := f.Commit(b)
		if err != nil && !unchanged(err) {
			f.reopen() // it is not to be used any more
		}
		if err == nil || whole() {
			f.t.Log("a batch with a key of no message was taken:", err)
			if err == nil != whole() {
				f.t.Errorf("error %v, but stored", err)
			}
			f.twice(func() { f.wantDocuments("k", "", false, "1=new"); f.wantFind(1, "new", "5/2") })
			return
		}
		f.tails[laneA] = before
		var image *store.Image
		check := func() {
			f.wantPositions(laneA, 1, false, 1)
			f.wantDocuments("k", "", false, "1=old")
			f.wantFind(1, "new", "")
			if keys, _ := f.waiting("", 10); len(keys) > 0 || image != nil && len(image.Objects)+len(image.Cursors)+len(image.Delayed) > 0 {
				f.t.Errorf("of a batch that failed there is: %q, %+v", keys, image)
			}
		}
		check()
		image = f.reopen()
		check()
	}
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA)}})
	f.wantPositions(laneA, 1, false, 1, 2)
}

// The results of a removal are what is left and what was there.
func removals(f *fixture) {
	b := &store.Batch{}
	for range 10 {
		b.Append = append(b.Append, f.message(laneA), f.message(laneB))
	}
	for i, r := range b.Append {
		switch i / 2 % 3 {
		case 1:
			r.Extra = &store.Extra{CorrelationID: "c", ReplyTo: "/there", Attributes: []store.Attribute{{Name: "a", Value: "1"}, {Name: "bb", Value: "22"}}}
		case 2:
			r.Extra = &store.Extra{DeadLetter: &store.DeadLetter{Topic: "/t", Consumer: "c", Reason: "rejected", Count: 1, At: t0}}
		}
	}
	f.commit(b)
	sizes := map[uint64]int64{}
	for _, r := range b.Append {
		sizes[r.Pos] = r.Size()
	}
	remove := func(r store.Removal, through uint64, removed ...uint64) {
		f.t.Helper()
		var bytes int64
		for _, pos := range removed {
			bytes += sizes[pos]
		}
		b := &store.Batch{Remove: []store.Removal{r}}
		f.commit(b)
		if r := b.Remove[0]; r.Removed != len(removed) || r.Through != through || r.Bytes != bytes {
			f.t.Errorf("removal of %v, at most %d: %d of %d bytes through %d, want %v of %d bytes through %d", r.Range, r.Limit, r.Removed, r.Bytes, r.Through, removed, bytes, through)
		}
	}
	limited := func(from, to uint64, limit int) store.Removal {
		r := removal(laneA, from, to)
		r.Limit = limit
		return r
	}
	remove(removal(laneA, 2, 3), 3, 2, 3)
	remove(removal(laneA, 2, 3), 3) // once more
	remove(limited(1, 8, 3), 5, 1, 4, 5)
	remove(limited(1, 7, 2), 7, 6, 7)      // as many as there are
	remove(removal(laneA, 10, 20), 20, 10) // beyond the tail
	want := func() {
		f.t.Helper()
		f.wantPositions(laneA, 1, false, 8, 9)
		f.wantPositions(laneA, 10, true, 9, 8)
		f.wantPositions(laneB, 1, false, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
	}
	want()
	image := f.reopen()
	want()
	i := slices.IndexFunc(image.Lanes, func(l store.LaneState) bool { return l.Lane == laneA })
	if i < 0 || image.Lanes[i] != (store.LaneState{Lane: laneA, Tail: 10, Removed: 8, Head: 8}) {
		f.t.Errorf("lanes %+v", image.Lanes)
	}
	// Messages and their removal in one commit.
	b = &store.Batch{Append: []*store.Record{f.message(laneA), f.message(laneA)}, Remove: []store.Removal{removal(laneA, 8, 11)}}
	f.commit(b)
	if b.Remove[0].Removed != 3 {
		f.t.Errorf("removed %d", b.Remove[0].Removed)
	}
	f.twice(func() { f.wantPositions(laneA, 1, false, 12) })
}

// A tail follows from the messages, and outlives them.
func tails(f *fixture) {
	tail := func(want store.LaneState) {
		f.t.Helper()
		image := f.reopen()
		i := slices.IndexFunc(image.Lanes, func(l store.LaneState) bool { return l.Lane == laneB })
		if i < 0 || image.Lanes[i] != want {
			f.t.Errorf("lanes %+v, want %+v", image.Lanes, want)
		}
	}
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA), f.message(laneB), f.message(laneB)}})
	tail(store.LaneState{Lane: laneB, Tail: 2, Head: 1})
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneB, 1, 2)}})
	tail(store.LaneState{Lane: laneB, Tail: 2, Removed: 2, Head: 3})
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneB)}})
	tail(store.LaneState{Lane: laneB, Tail: 3, Removed: 2, Head: 3})
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneB, 3, 3)}, Append: []*store.Record{f.message(laneB)}})
	tail(store.LaneState{Lane: laneB, Tail: 4, Removed: 3, Head: 4})
}

func purge(f *fixture) {
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA), f.message(laneC)}})
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 1, 1)}})
	f.commit(&store.Batch{Purge: []store.Lane{laneA, laneB}})
	if image := f.reopen(); len(image.Lanes) != 1 || image.Lanes[0].Lane != laneC {
		f.t.Errorf("lanes %+v", image.Lanes)
	}
	f.wantPositions(laneA, math.MaxUint64, true)
	f.wantPositions(laneC, 1, false, 1)
}

// What one look shows is of one moment, whatever is committed meanwhile.
func view(f *fixture) {
	for round := range 20 {
		var done atomic.Bool
		finished := make(chan error)
		b := &store.Batch{Append: []*store.Record{f.message(laneA), f.message(laneC)}, Put: []store.Document{{Kind: "k", Key: fmt.Sprintf("%02d", round), Value: []byte{}}}}
		f.complete(b)
		read(f, func(r store.Reader) (int, error) {
			go func() {
				err := f.Commit(b)
				done.Store(true)
				finished <- err
			}()
			const looks = 600 // it may be that the commit waits for this look to end
			for i := 0; i < looks; i++ {
				if done.Load() {
					i = looks
				} else if i > looks/2 {
					time.Sleep(time.Millisecond) // lint:sleep the commit, a flush, may take longer than all looks that do not wait
				}
				docs := 0
				a, err := scan(r, laneA, 1, false)
				if err != nil {
					return 0, err
				}
				c, err := scan(r, laneC, 1, false)
				if err != nil {
					return 0, err
				}
				if err := r.Documents("k", "", false, func(store.Document) bool { docs++; return true }); err != nil {
					return 0, err
				}
				if len(a) != round || len(c) != round || docs != round {
					f.t.Errorf("round %d: %d and %d messages, %d documents", round, len(a), len(c), docs)
					break
				}
			}
			return 0, nil
		})
		if err := <-finished; err != nil {
			f.t.Fatal(err)
		}
		if f.t.Failed() {
			return
		}
		f.wantPositions(laneA, uint64(round)+1, false, uint64(round)+1)
	}
}

// An explicit ID is known while its message is stored, and until KeepID at least.
func ids(f *fixture) {
	keep := t0.Add(5 * time.Minute)
	f.commit(&store.Batch{Append: []*store.Record{
		f.message(laneA, withID("a", keep)), f.message(laneA, withID("b", keep)), f.message(laneA, withID("c", time.Time{})), f.message(laneC, withID("a", keep)),
	}})
	f.twice(func() {
		f.wantFind(1, "a", "5/1")
		f.wantFind(1, "b", "5/2")
		f.wantFind(1, "c", "5/3")
		f.wantFind(2, "a", "5/1")
		f.wantFind(2, "b", "")
		f.wantFind(1, "", "")
	})
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 1, 1), removal(laneA, 3, 3)}})
	f.twice(func() {
		f.wantFind(1, "a", "5/1") // remembered
		f.wantFind(1, "c", "")    // never is
	})
	if list := f.stale(keep.Add(-time.Microsecond)); len(list) != 0 {
		f.t.Errorf("stale before their time: %v", list)
	}
	if one := read(f, func(r store.Reader) ([]store.StaleID, error) { return r.StaleIDs(keep, 1) }); len(one) != 1 {
		f.t.Errorf("StaleIDs of at most 1: %v", one)
	}
	f.commit(&store.Batch{Now: keep, DropIDs: f.stale(keep)})
	f.twice(func() {
		f.wantFind(1, "a", "")    // neither stored nor kept
		f.wantFind(1, "b", "5/2") // stored
		f.wantFind(2, "a", "5/1")
		if list := f.stale(keep); len(list) != 0 {
			f.t.Errorf("stale after all were dropped: %v", list)
		}
	})
	// Removed after its time, before it was dropped.
	f.commit(&store.Batch{Now: keep, Append: []*store.Record{f.message(laneB, withID("d", keep.Add(time.Second)))}})
	f.commit(&store.Batch{Now: keep.Add(time.Second), Remove: []store.Removal{removal(laneB, 1, 1), removal(laneA, 2, 2)}})
	f.commit(&store.Batch{Now: keep.Add(time.Second), DropIDs: f.stale(keep.Add(time.Second))})
	f.twice(func() {
		f.wantFind(1, "d", "")
		f.wantFind(1, "b", "")
	})
}

// The oldest of an ID comes first, wherever it stands.
func sameID(f *fixture) {
	at := func(s int) func(*store.Record) {
		return func(r *store.Record) { r.Created = t0.Add(time.Duration(s) * time.Second) }
	}
	f.commit(&store.Batch{Append: []*store.Record{
		f.message(laneA, withID("a", time.Time{}), at(2)), f.message(laneB, withID("a", time.Time{}), at(1)), f.message(laneA, withID("ab", time.Time{})),
	}})
	f.twice(func() { f.wantFind(1, "a", "9/1 5/1") })
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneB, 1, 1)}})
	f.twice(func() { f.wantFind(1, "a", "5/1") })
}

// covered are the positions of ranges that expire up to now, "topic/priority/position".
func (f *fixture) covered(now time.Time) map[string]bool {
	f.t.Helper()
	all := map[string]bool{}
	for _, e := range f.expired(now) {
		for pos := e.Range.From; pos <= e.Range.To; pos++ {
			all[fmt.Sprintf("%d/%d/%d", e.Lane.Topic, e.Lane.Priority, pos)] = true
		}
	}
	return all
}

// Whatever is stored and over is in a range; a range that is dealt with up to a position comes again from behind it.
func expired(f *fixture) {
	want := func(now time.Time, positions string) {
		f.t.Helper()
		f.twice(func() {
			f.t.Helper()
			got := f.covered(now)
			for _, p := range strings.Fields(positions) {
				if !got[p] {
					f.t.Errorf("%v: %s does not expire: %v", now.Sub(t0), p, got)
				}
				delete(got, p)
			}
			if len(got) > 0 {
				f.t.Errorf("%v: too much expires: %v", now.Sub(t0), got)
			}
		})
	}
	f.commit(&store.Batch{Append: []*store.Record{
		f.message(laneA), f.message(laneA), f.message(laneC), f.message(laneA, expiresIn(0)), f.message(laneA, expiresIn(70)), f.message(laneA),
	}})
	// Within the second of their time, never before.
	want(t0.Add(60*time.Second-time.Microsecond), "")
	want(t0.Add(61*time.Second), "1/5/1 1/5/2 2/5/1 1/5/5")
	want(t0.Add(71*time.Second), "1/5/1 1/5/2 2/5/1 1/5/5 1/5/4")
	if one := read(f, func(r store.Reader) ([]store.Expiry, error) { return r.Expired(t0.Add(time.Hour), 1) }); len(one) != 1 {
		f.t.Errorf("Expired of at most 1: %v", one)
	}

	list := f.expired(t0.Add(61 * time.Second))
	i := slices.IndexFunc(list, func(e store.Expiry) bool { return e.Lane == laneA && e.Range.From == 1 })
	if i < 0 {
		f.t.Fatalf("no range begins at 1: %v", list)
	}
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 1, 1)}, Expiries: []store.Expired{{Expiry: list[i], Through: 1}}})
	want(t0.Add(61*time.Second), "1/5/2 2/5/1 1/5/5")
	var all []store.Expired // as often as one likes
	for range 2 {
		for _, e := range f.expired(t0.Add(time.Hour)) {
			all = append(all, store.Expired{Expiry: e, Through: e.Range.To})
		}
	}
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 2, 5), removal(laneC, 1, 1)}, Expiries: all})
	want(t0.Add(time.Hour), "")
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA)}})
	want(t0.Add(61*time.Second), "1/5/6")
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 6, 6)}})
	want(t0.Add(time.Hour), "") // of what was removed nothing is left

	// What cannot be dealt with now is looked at later, and is in nobody's way until then.
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA), f.message(laneA), f.message(laneA), f.message(laneC)}})
	var later []store.Expired
	for _, e := range f.expired(t0.Add(61 * time.Second)) {
		through := e.Range.From // all but the first, or all
		if e.Lane == laneC {
			through = 0
		}
		later = append(later, store.Expired{Expiry: e, Through: through, Again: t0.Add(90 * time.Second)})
	}
	f.commit(&store.Batch{Remove: []store.Removal{removal(laneA, 7, 7)}, Expiries: later})
	want(t0.Add(89*time.Second), "")
	want(t0.Add(90*time.Second), "1/5/8 1/5/9 2/5/2")
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA)}})
	want(t0.Add(89*time.Second), "1/5/10")
	f.reopen()
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneC)}})
	want(t0.Add(89*time.Second), "1/5/10 2/5/3")
	want(t0.Add(90*time.Second), "1/5/10 2/5/3 1/5/8 1/5/9 2/5/2")

	// What expires never or later stays out of a range, also after a restart, though both ends of it expire at once.
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA, expiresIn(3000)), f.message(laneA)}})
	i = slices.IndexFunc(f.expired(t0.Add(61*time.Second)), func(e store.Expiry) bool { return e.Lane == laneA && e.Range.From == 12 })
	f.commit(&store.Batch{Expiries: []store.Expired{{Expiry: f.expired(t0.Add(61 * time.Second))[i], Through: 11, Again: t0.Add(95 * time.Second)}}})
	f.reopen()
	want(t0.Add(61*time.Second), "1/5/10 2/5/3")
	f.commit(&store.Batch{Append: []*store.Record{f.message(laneA)}})
	want(t0.Add(95*time.Second), "1/5/8 1/5/9 1/5/10 1/5/12 1/5/13 2/5/2 2/5/3")
}
