package db

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
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
	end := time.Now().Add(time.Minute)
	for last := int64(-1); (last != kept() || last < 64<<10) && time.Now().Before(end); time.Sleep(50 * time.Millisecond) { // lint:sleep until the commits wait, or all are done; a flush may take as long
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

// nowhere is a log that takes no memory.
type nowhere struct{ journal }

func (nowhere) Append(uint64, []byte) error { return nil }

// What tables are said to take is about what they take, of small messages and of larger ones, in large batches and one by one.
func TestTableSize(t *testing.T) {
	for _, c := range []struct {
		payload, batch int
		most           int64 // percent
	}{{100, 1000, 115}, {100, 1, 115}, {1 << 10, 64, 130}, {1 << 10, 1, 130}} {
		dir := t.TempDir()
		f := &fixture{t: t, tails: map[store.Lane]uint64{}, gone: map[store.Lane]*store.Cursor{}, removed: map[store.Lane]uint64{}}
		f.Store, _ = openTest(t, filepath.Join(dir, "pipit.db"), Options{LogSize: 128 << 20, seam: seam{fs: disktest.NewMem(dir), large: 1 << 30}})
		f.commit(f.batch())
		f.journal = nowhere{f.journal}
		heap := func() int64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc) // #nosec G115 -- a size
		}
		before := heap()
		for n := 0; n < 4<<20; n += c.batch * (c.payload + 100) {
			b := f.batch()
			for range c.batch {
				m := f.message(laneA)
				m.Payload = make([]byte, c.payload)
				b.Append = append(b.Append, m)
			}
			f.commit(b)
		}
		is, said := heap()-before, f.tables.Load().live.size
		t.Logf("%d bytes, %d a batch: %d KiB, said to be %d KiB", c.payload, c.batch, is>>10, said>>10)
		if is > said*c.most/100 || is < said/2 {
			t.Errorf("%d bytes, %d a batch: %d KiB, said to be %d KiB", c.payload, c.batch, is>>10, said>>10)
		}
		f.fail(os.ErrProcessDone) // nothing is moved
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
