package db

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// BenchmarkCommit publishes messages of 1 KiB in batches, beside raw bbolt puts of the same size.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("raw/%d", n), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "raw.db"), 0o600, &bbolt.Options{InitialMmapSize: 1 << 30})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucketNames[bucketLog]); return err }); err != nil {
				b.Fatal(err)
			}
			payload := make([]byte, 1024)
			pos := uint64(0)
			measure(b, n, func() {
				if err := db.Update(func(tx *bbolt.Tx) error {
					log := tx.Bucket(bucketNames[bucketLog])
					for range n {
						pos++
						if err := log.Put(binary.BigEndian.AppendUint64(nil, pos), payload); err != nil {
							return err
						}
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
			})
		})
		b.Run(fmt.Sprintf("store/%d", n), func(b *testing.B) { benchmarkCommit(b, n, "") })
		b.Run(fmt.Sprintf("store-id/%d", n), func(b *testing.B) { benchmarkCommit(b, n, "id") })
	}
}

func benchmarkCommit(b *testing.B, n int, id string) {
	s := openChecked(b, filepath.Join(b.TempDir(), "store.db"))
	defer s.Close()
	records := make([]store.Record, n)
	batch := &store.Batch{Append: make([]*store.Record, n), Lanes: make([]store.LaneState, 1)}
	ids := make([]string, 0, n)
	payload := make([]byte, 1024)
	pos := uint64(0)
	measure(b, n, func() {
		now := time.Now().Truncate(time.Microsecond)
		ids = ids[:0]
		for i := range records {
			pos++
			records[i] = store.Record{
				Place: store.Place{Lane: laneA, Pos: pos}, Created: now, Expiration: 60,
				Producer: "CRM", MIMEType: plainMIMEType, Payload: payload,
			}
			if id != "" {
				records[i].ID, records[i].KeepID = fmt.Sprintf("%x-%d", pos*0x9e3779b97f4a7c15, pos), now.Add(5*time.Minute)
			}
			batch.Append[i] = &records[i]
		}
		batch.Now = now
		batch.Lanes[0] = store.LaneState{Lane: laneA, Tail: pos}
		if err := s.Commit(batch); err != nil {
			b.Fatal(err)
		}
	})
}

func measure(b *testing.B, n int, commit func()) {
	for range 20 {
		commit()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		commit()
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkRemove removes a batch of 1,000 messages at the head of a lane of 1 KiB each.
func BenchmarkRemove(b *testing.B) {
	f := newFixture(b)
	for range b.N {
		b.StopTimer()
		batch := f.batch()
		for range 1000 {
			batch.Append = append(batch.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 1024) }))
		}
		f.commit(batch)
		batch = f.batch()
		batch.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: f.tails[laneA] - 999, To: f.tails[laneA]}}}
		f.complete(batch)
		b.StartTimer()
		if err := f.Commit(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*1000)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkScan reads 100,000 messages of 1 KiB.
func BenchmarkScan(b *testing.B) {
	f := newFixture(b)
	for range 100 {
		batch := f.batch()
		for range 1000 {
			batch.Append = append(batch.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 1024) }))
		}
		f.commit(batch)
	}
	b.ReportAllocs()
	b.ResetTimer()
	n := 0
	for range b.N {
		f.view(func(r store.Reader) {
			_ = r.Scan(laneA, 1, false, func(*store.Record) bool { n++; return true })
		})
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msgs/s")
}

// BenchmarkStart opens a file with 200,000 messages of 1 KiB, after a clean end and after a
// crash without a list of free pages.
func BenchmarkStart(b *testing.B) {
	f := newFixture(b)
	for range 3200 {
		batch := f.batch()
		for range 64 { // more would go past the log
			batch.Append = append(batch.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 1024) }))
		}
		f.commit(batch)
	}
	path, pages := f.path, f.Store.file().pages()
	start := func(b *testing.B) {
		for range b.N {
			s := openChecked(b, path)
			_ = s.bolt().Close() // as a crash would
		}
		b.ReportMetric(float64(pages), "pages")
		b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(pages), "ns/page")
	}
	f.closeChecked()
	b.Run("clean", start)
	s := openChecked(b, path)
	s.bolt().NoFreelistSync = true
	if err := s.bolt().Update(func(tx *bbolt.Tx) error { return nil }); err != nil {
		b.Fatal(err)
	}
	_ = s.bolt().Close()
	b.Run("crashed", start)
}

// BenchmarkCompact compacts a file of 1 GiB of which 70 % are free, and reports how long the longest commit beside it took,
// until the old file is let go of, and the longest one in as long a time after it.
func BenchmarkCompact(b *testing.B) {
	const letGo = 5 * time.Second
	for range b.N {
		f := newFixture(b)
		for range 1024 {
			batch := f.batch()
			for range 1000 {
				batch.Append = append(batch.Append, f.message(laneA, func(r *store.Record) { r.Payload = make([]byte, 900) }))
			}
			f.commit(batch)
		}
		batch := f.batch()
		batch.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: f.tails[laneA] / 10 * 7}}}
		f.commit(batch)
		f.checkpoint()
		before := sizeOf(b, f.path)
		b.ResetTimer()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- f.Compact(context.Background()) }()
		var took time.Duration
		beside, n := f.longest(func() bool {
			if took == 0 && len(done) > 0 {
				took = time.Since(start)
			}
			return took == 0 || time.Since(start) < took+letGo
		})
		b.StopTimer()
		if err := <-done; err != nil {
			b.Fatal(err)
		}
		until := time.Now().Add(took + letGo)
		alone, m := f.longest(func() bool { return time.Now().Before(until) })
		b.ReportMetric(beside.Seconds()*1000, "ms-longest")
		b.ReportMetric(alone.Seconds()*1000, "ms-longest-alone")
		b.ReportMetric(float64(n)/float64(m), "rate-of-alone")
		b.ReportMetric(float64(before)/(1<<20), "MiB-before")
		b.ReportMetric(float64(sizeOf(b, f.path))/(1<<20), "MiB-after")
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(took.Seconds(), "s")
	}
}

// longest commits one message after another, and returns how long the longest commit took, and how many there were.
func (f *fixture) longest(more func() bool) (longest time.Duration, n int) {
	for ; more(); n++ {
		batch := f.batch()
		batch.Append = append(batch.Append, f.message(laneB, func(r *store.Record) { r.Payload = make([]byte, 1000) }))
		start := time.Now()
		f.commit(batch)
		longest = max(longest, time.Since(start))
	}
	return longest, n
}
