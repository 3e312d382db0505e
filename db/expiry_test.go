package db

import (
	"testing"
	"time"

	"pipit/broker/store"
)

func TestExpiryRangesGrow(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA), f.message(laneA), f.message(laneB), f.message(laneA, expiresIn(0)))
	f.commit(b)
	f.wantExpiries("61:1/5:1-2", "61:1/9:1-1") // created at a quarter second, so rounded up

	b = f.batch()
	b.Append = append(b.Append, f.message(laneB), f.message(laneA), f.message(laneA), f.message(laneA, expiresIn(70)))
	f.commit(b) // position 3 of A does not expire: a new range
	f.wantExpiries("61:1/5:1-2", "61:1/5:4-5", "61:1/9:1-2", "71:1/5:6-6")

	b = f.batch()
	b.Append = append(b.Append, f.message(laneA, expiresIn(70)))
	f.commit(b)
	f.wantExpiries("61:1/5:1-2", "61:1/5:4-5", "61:1/9:1-2", "71:1/5:6-7")

	f.reopen() // the start finds the range that was growing, and how far
	b = f.batch()
	b.Append = append(b.Append, f.message(laneB))
	f.commit(b)
	f.wantExpiries("61:1/5:1-2", "61:1/5:4-5", "61:1/9:1-3", "71:1/5:6-7")

	if list := f.expired(t0.Add(60 * time.Second)); len(list) != 0 {
		t.Errorf("early: %v", list)
	}
	if list := f.expired(t0.Add(61 * time.Second)); len(list) != 3 {
		t.Errorf("got %v", list)
	}
}

func TestExpiryPartialPops(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	for range 10 {
		b.Append = append(b.Append, f.message(laneA))
	}
	f.commit(b)
	e := f.expired(t0.Add(time.Hour))[0]

	// The range grows between the look at it and the pop; what came after stays.
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	b = f.batch()
	b.Expiries = []store.Expired{{Expiry: e, Through: 4}}
	f.commit(b)
	f.wantExpiries("61:1/5:5-11")

	b = f.batch() // still the range that grows, under its new key; popped and extended at once
	b.Append = append(b.Append, f.message(laneA))
	e = f.expired(t0.Add(time.Hour))[0]
	b.Expiries = []store.Expired{{Expiry: e, Through: 10}}
	f.commit(b)
	f.wantExpiries("61:1/5:11-12")

	b = f.batch()
	e = f.expired(t0.Add(time.Hour))[0]
	b.Expiries = []store.Expired{{Expiry: e, Through: 12}, {Expiry: e, Through: 12}}
	f.commit(b)
	f.wantExpiries()

	b = f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	f.wantExpiries("61:1/5:13-13")
}

func TestExpiryPopOfOldRangeLeavesOpenOne(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA), f.message(laneA), f.message(laneA, expiresIn(70)))
	f.commit(b)
	b = f.batch()
	b.Expiries = []store.Expired{{Expiry: f.expired(t0.Add(time.Hour))[0], Through: 1}}
	f.commit(b)
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA, expiresIn(70)))
	f.commit(b)
	f.wantExpiries("61:1/5:2-2", "71:1/5:3-4")
}

func TestRemovalForgetsExpiry(t *testing.T) {
	f := newFixture(t)
	remove := func(from, to uint64) {
		t.Helper()
		b := f.batch()
		b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: from, To: to}}}
		f.commit(b)
	}
	b := f.batch()
	for i := range 10 {
		b.Append = append(b.Append, f.message(laneA, expiresIn(uint32(60+10*(i/5)))))
	}
	f.commit(b)
	f.wantExpiries("61:1/5:1-5", "71:1/5:6-10")
	remove(1, 4)
	f.wantExpiries("61:1/5:1-5", "71:1/5:6-10") // 5 is still there
	remove(5, 5)
	f.wantExpiries("71:1/5:6-10") // the lane has nothing below 6
	remove(7, 10)
	f.wantExpiries("71:1/5:6-10")
	remove(6, 6)
	f.wantExpiries()

	// The range that was to grow is gone; the next message begins another.
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA, expiresIn(70)))
	f.commit(b)
	f.wantExpiries("71:1/5:11-11")

	// Appended and removed in one commit.
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA, expiresIn(70)), f.message(laneA, expiresIn(70)))
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 11, To: 12}}}
	f.commit(b)
	f.wantExpiries("71:1/5:11-13")
	remove(13, 13)
	f.wantExpiries()
	f.wantEmpty(bucketExpiry, bucketLog)
}

func TestFailedCommitLeavesMemory(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA))
	b.Delay = []*store.Record{f.message(laneC)}
	b.DropIDs = []store.StaleID{{Key: "x"}} // fails, late
	if err := f.Commit(b); err == nil {
		t.Fatal("no error")
	}
	if o := f.open[laneA]; o.last != 1 || len(f.waiting) != 0 {
		t.Errorf("memory changed: %+v %v", o, f.waiting)
	}
	b.DropIDs = nil
	f.commit(b)
	f.wantExpiries("61:1/5:1-2")
}
