package storetest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"pipit/broker/store"
)

// What waits for its delay is found in the order in which it is due, and moves to the log.
func delayed(f *fixture) {
	keep := t0.Add(5 * time.Minute)
	f.commit(&store.Batch{Delay: []*store.Record{
		later(laneA, 20, "a", keep), later(laneA, 10, "b", time.Time{}), later(laneA, 10, "b", time.Time{}), later(laneC, 600, "c", keep), later(laneC, 30, "", time.Time{}),
	}})
	at := func(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }
	if image := f.reopen(); image.Delayed[1] != 3 || image.Delayed[2] != 2 || len(image.Delayed) != 2 || !image.NextDue.Equal(at(10)) {
		f.t.Errorf("delayed %v, next %v", image.Delayed, image.NextDue)
	}
	f.wantFind(1, "a", "5/0")
	f.wantFind(1, "b", "5/0 5/0")
	keys, payloads := f.waiting("", 10)
	if want := []string{"after 10", "after 10", "after 20", "after 30", "after 600"}; !slices.Equal(payloads, want) || !slices.IsSorted(keys) {
		f.t.Fatalf("waiting: %q, keys %x", payloads, keys)
	}
	for i, key := range keys {
		for most := 1; most < 4; most++ {
			if got, _ := f.waiting(key, most); !slices.Equal(got, keys[i+1:min(len(keys), i+1+most)]) {
				f.t.Errorf("%d behind %d: %x of %x", most, i, got, keys)
			}
		}
		// Between the keys: what a key begins with comes before it.
		if got, _ := f.waiting(key[:len(key)-1], 1); len(got) != 1 || got[0] != key {
			f.t.Errorf("behind a part of %d: %x", i, got)
		}
		if got, _ := f.waiting(key+"x", 10); len(got) != len(keys)-1-i {
			f.t.Errorf("behind more than %d: %x", i, got)
		}
	}
	if got, _ := f.waiting(strings.Repeat("\xff", 100), 10); len(got) != 0 {
		f.t.Errorf("behind all: %x", got)
	}

	if list, next := f.due(t0, 10, math.MaxInt); len(list) != 0 || !next.Equal(at(10)) {
		f.t.Errorf("due at once: %v, next %v", list, next)
	}
	if list, next := f.due(at(10), 1, math.MaxInt); len(list) != 1 || !next.Equal(at(10)) {
		f.t.Errorf("one that is due after 10 s: %v, next %v", list, next)
	}
	list, next := f.due(at(20), 10, math.MaxInt)
	if len(list) != 3 || !next.Equal(at(30)) || list[0].Record.Lane != laneA || list[0].Record.Pos != 0 || list[2].Record.ID != "a" {
		f.t.Fatalf("due after 20 s: %v, next %v", list, next)
	}
	b := &store.Batch{Now: at(20), Undelay: []string{list[0].Key}} // twice does no harm
	f.move(b, list)
	f.commit(b)
	f.twice(func() {
		f.wantFind(1, "a", "5/3")
		f.wantFind(1, "b", "5/1 5/2")
		f.wantPositions(laneA, 1, false, 1, 2, 3)
		if keys, _ := f.waiting("", 10); len(keys) != 2 {
			f.t.Errorf("waiting: %x", keys)
		}
		// They expire counted from when they were due.
		if got := f.covered(at(69)); len(got) != 0 {
			f.t.Errorf("early: %v", got)
		}
		if got := f.covered(at(71)); len(got) != 2 || !got["1/5/1"] || !got["1/5/2"] {
			f.t.Errorf("after 71 s: %v", got)
		}
	})

	// An ID outlives its memory while its message waits.
	f.commit(&store.Batch{Now: keep, DropIDs: f.stale(keep)})
	f.wantFind(2, "c", "5/0")
	list, next = f.due(at(3600), 10, math.MaxInt)
	if len(list) != 2 || !next.IsZero() {
		f.t.Fatalf("due after an hour: %v, next %v", list, next)
	}
	f.commit(&store.Batch{Now: at(3600), Undelay: []string{list[0].Key, list[1].Key}})
	f.wantFind(2, "c", "")
	if image := f.reopen(); len(image.Delayed) != 0 || !image.NextDue.IsZero() {
		f.t.Errorf("delayed %v, next %v", image.Delayed, image.NextDue)
	}
}

// move has delayed messages move to the tails of their lanes.
func (f *fixture) move(b *store.Batch, list []store.Delayed) {
	for _, d := range list {
		b.Undelay = append(b.Undelay, d.Key)
		f.tails[d.Record.Lane]++
		d.Record.Pos = f.tails[d.Record.Lane]
		b.Append = append(b.Append, d.Record)
	}
}

// Payloads of any size move, and bound how many are read at once.
func delayedBytes(f *fixture) {
	payload := func(i int) []byte { return []byte(strings.Repeat(fmt.Sprint(i), 10_000*(i+1))) }
	b := &store.Batch{}
	for i := range 6 {
		r := later(laneA, 1, "", time.Time{})
		r.Created, r.Payload = t0.Add(time.Duration(i)*time.Millisecond), payload(i)
		b.Delay = append(b.Delay, r)
	}
	f.commit(b)
	now := t0.Add(time.Minute)
	if list, _ := f.due(now, 10, 1); len(list) != 1 {
		f.t.Errorf("%d are due of at most a byte: one at a time goes on", len(list))
	}
	for moved := 0; moved < 6; {
		list, _ := f.due(now, 10, 30_000)
		if len(list) == 0 {
			f.t.Fatalf("%d of 6 have moved, and none is due", moved)
		}
		moved += len(list)
		b := &store.Batch{Now: now}
		f.move(b, list)
		f.commit(b)
	}
	f.twice(func() {
		got := f.scan(laneA, 1, false)
		if len(got) != 6 {
			f.t.Fatalf("%d messages", len(got))
		}
		for i, r := range got {
			if string(r.Payload) != string(payload(i)) {
				f.t.Errorf("message %d has another payload, of %d bytes", i, len(r.Payload))
			}
		}
	})
}

// The ID of a delayed message that is deleted is known as long as that of any other that is removed.
func delayedDeleted(f *fixture) {
	keep := t0.Add(5 * time.Minute)
	f.commit(&store.Batch{Delay: []*store.Record{later(laneA, 10, "a", keep), later(laneA, 20, "made", time.Time{}), later(laneB, 30, "a", keep)}})
	keys, _ := f.waiting("", 10)
	f.commit(&store.Batch{Now: t0.Add(time.Second), Undelay: keys[:2]})
	f.twice(func() {
		f.wantFind(1, "a", "5/0 9/0")
		f.wantFind(1, "made", "")
		found := read(f, func(r store.Reader) ([]store.Sighting, error) { return r.FindID(1, "a") })
		if len(found) != 2 || found[0].Key != "" || found[1].Key != keys[2] {
			f.t.Errorf("found %+v", found)
		}
	})
	f.commit(&store.Batch{Now: t0.Add(time.Minute), Undelay: keys[2:]})
	f.commit(&store.Batch{Now: keep, DropIDs: f.stale(keep)})
	f.twice(func() { f.wantFind(1, "a", "") })
}
