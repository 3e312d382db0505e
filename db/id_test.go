package db

import (
	"testing"
	"time"

	"pipit/broker/store"
)

func TestIDIsKnownWhileStoredOrKept(t *testing.T) {
	f := newFixture(t)
	keep := t0.Add(5 * time.Minute)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA, withID("a", keep)), f.message(laneA, withID("b", keep)), f.message(laneA, withID("c", time.Time{})), f.message(laneC, withID("a", keep)))
	f.commit(b)
	f.wantFind(1, "a", "5/1")
	f.wantFind(1, "b", "5/2")
	f.wantFind(1, "c", "5/3")
	f.wantFind(2, "a", "5/1")
	f.wantFind(2, "b", "")
	f.wantFind(1, "", "")

	// Removed early: a is remembered, c never is.
	b = f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 1}}, {Lane: laneA, Range: store.Span{From: 3, To: 3}}}
	f.commit(b)
	f.wantFind(1, "a", "5/1")
	f.wantFind(1, "c", "")

	if list := f.stale(keep.Add(-time.Microsecond)); len(list) != 0 {
		t.Errorf("early: %v", list)
	}
	b = &store.Batch{Now: keep, DropIDs: f.stale(keep)}
	if len(b.DropIDs) != 3 {
		t.Errorf("stale: %v", b.DropIDs)
	}
	f.commit(b)
	f.wantFind(1, "a", "")    // neither stored nor kept
	f.wantFind(1, "b", "5/2") // stored
	f.wantFind(2, "a", "5/1")

	b = &store.Batch{Now: keep, Remove: []store.Removal{{Lane: laneA, Range: store.Span{From: 2, To: 2}}, {Lane: laneC, Range: store.Span{From: 1, To: 1}}}}
	f.commit(b)
	f.wantEmpty(bucketID, bucketIDKeep)
}

func TestRemovedLateBeforeDropped(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA, withID("a", t0.Add(time.Second))))
	f.commit(b)
	b = &store.Batch{Now: t0.Add(time.Second), Remove: []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 1}}}}
	f.commit(b)
	f.wantFind(1, "a", "")
	b = &store.Batch{Now: t0.Add(time.Second), DropIDs: f.stale(t0.Add(time.Second))}
	f.commit(b)
	f.wantEmpty(bucketID, bucketIDKeep)
}

func TestDelayed(t *testing.T) {
	f := newFixture(t)
	delayed := func(l store.Lane, delay uint32, id string, keep time.Time) *store.Record {
		return &store.Record{Place: store.Place{Lane: l}, Created: t0, Delay: delay, Expiration: 60, ID: id, KeepID: keep, MIMEType: "text/plain", Payload: []byte(id)}
	}
	keep := t0.Add(5 * time.Minute)
	b := f.batch()
	b.Delay = []*store.Record{delayed(laneA, 20, "a", keep), delayed(laneA, 10, "b", time.Time{}), delayed(laneA, 10, "b", time.Time{}), delayed(laneC, 600, "c", keep), delayed(laneC, 30, "", time.Time{})}
	f.commit(b)
	f.wantFind(1, "a", "5/0")
	f.wantFind(1, "b", "5/0 5/0")

	img := f.reopen()
	if img.Delayed[1] != 3 || img.Delayed[2] != 2 || len(img.Delayed) != 2 || !img.NextDue.Equal(t0.Add(10*time.Second)) {
		t.Errorf("delayed %v, next %v", img.Delayed, img.NextDue)
	}
	if list, next := f.due(t0, 10); len(list) != 0 || !next.Equal(t0.Add(10*time.Second)) {
		t.Errorf("got %v %v", list, next)
	}
	if list, next := f.due(t0.Add(10*time.Second), 1); len(list) != 1 || !next.Equal(t0.Add(10*time.Second)) {
		t.Errorf("got %v %v", list, next)
	}
	list, next := f.due(t0.Add(20*time.Second), 10)
	if len(list) != 3 || !next.Equal(t0.Add(30*time.Second)) || string(list[2].Record.Payload) != "a" || list[0].Record.Lane != laneA || list[0].Record.Pos != 0 {
		t.Fatalf("got %v %v", list, next)
	}

	// They move: the same records at their places.
	b = &store.Batch{Now: t0.Add(20 * time.Second)}
	for _, d := range list {
		b.Undelay = append(b.Undelay, d.Key)
		f.tails[laneA]++
		d.Record.Pos = f.tails[laneA]
		b.Append = append(b.Append, d.Record)
	}
	b.Undelay = append(b.Undelay, list[0].Key) // twice does no harm
	f.commit(b)
	f.wantFind(1, "a", "5/3")
	f.wantFind(1, "b", "5/1 5/2")
	f.wantPositions(laneA, 1, false, 1, 2, 3)
	f.wantExpiries("71:1/5:1-2", "81:1/5:3-3") // counted from when they were due

	// An ID outlives its memory while the message is still delayed.
	b = &store.Batch{Now: keep, DropIDs: f.stale(keep)}
	f.commit(b)
	f.wantFind(2, "c", "5/0")
	list, next = f.due(t0.Add(time.Hour), 10)
	if len(list) != 2 || !next.IsZero() {
		t.Fatalf("got %v %v", list, next)
	}
	b = &store.Batch{Now: t0.Add(time.Hour), Undelay: []string{list[0].Key, list[1].Key}}
	f.commit(b)
	f.wantFind(2, "c", "")
	f.wantEmpty(bucketDelayed, bucketWaiting)
	if img := f.reopen(); len(img.Delayed) != 0 || !img.NextDue.IsZero() {
		t.Errorf("delayed %v, next %v", img.Delayed, img.NextDue)
	}
}
