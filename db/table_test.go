package db

import (
	"testing"
	"time"

	"pipit/broker/store"
)

// While a checkpoint does not get on, commits go on as far as memory is allowed for them, and then wait for it: also those that
// are a few bytes in the log.
func TestTablesAreBounded(t *testing.T) {
	f := newFixture(t)
	f.logSize, f.freezeAt = 256<<10, 64<<10
	const all, each = 20_000, 100
	for range all / 1000 {
		b := f.batch()
		for range 1000 {
			b.Append = append(b.Append, f.message(laneA))
		}
		f.commit(b)
	}
	f.checkpoint()
	f.hold()
	var batches []*store.Batch
	for from := uint64(1); from < all; from += each {
		b := f.batch()
		b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: from, To: from + each - 1}}}
		f.complete(b)
		f.removed[laneA] += each
		batches = append(batches, b)
	}
	done := make(chan error, 1)
	go func() {
		for _, b := range batches {
			if err := f.Commit(b); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	kept := func() (n int64) {
		now := f.tables.Load()
		if now.frozen != nil {
			n = now.frozen.size
		}
		return n + now.live.size
	}
	for last := int64(-1); last != kept(); time.Sleep(50 * time.Millisecond) { // lint:sleep until the commits wait, or all are done
		last = kept()
	}
	if n := kept(); n < 64<<10 || n > 300<<10 {
		t.Errorf("%d bytes are kept in memory", n)
	}
	f.letGo()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	f.wantPositions(laneA, 1, false)
}

// A table keeps the encoding of a batch, with all that was allocated for it, and counts what is in it.
func TestTableCountsWhatItKeeps(t *testing.T) {
	f := newFixture(t)
	for _, messages := range []int{1, 1000} {
		b := f.batch()
		for range messages {
			b.Append = append(b.Append, f.message(laneA))
		}
		encoded, err := f.encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(encoded) == 0 || cap(encoded) > len(encoded)/2*3 {
			t.Errorf("%d messages: %d bytes in %d", messages, len(encoded), cap(encoded))
		}
	}
}
