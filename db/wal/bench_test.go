package wal

import (
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkAppend appends entries of 1 KiB and flushes each.
func BenchmarkAppend(b *testing.B) {
	o := Options{Dir: filepath.Join(b.TempDir(), "log"), ID: [16]byte{1}}
	l := mustCreate(b, o)
	defer l.Close()
	entry := testEntry(1, 0, 1<<10)
	number := uint64(0)
	b.ReportAllocs()
	b.SetBytes(int64(len(entry)))
	for b.Loop() {
		number++
		if err := l.Append(number, entry); err != nil {
			b.Fatal(err)
		}
		if number%16384 == 0 {
			if err := l.Cut(number); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkReplay replays a full log of 64 MiB, of entries of 1 KiB.
func BenchmarkReplay(b *testing.B) {
	o := Options{Dir: filepath.Join(b.TempDir(), "log"), ID: [16]byte{1}}
	l := mustCreate(b, o)
	entry := testEntry(1, 0, 8<<10)
	for number := uint64(1); ; number++ {
		if err := l.Append(number, entry); errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			b.Fatal(err)
		}
	}
	l.Close()
	b.SetBytes(o.Size)
	var most time.Duration
	for b.Loop() {
		l, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		n := 0
		if err := l.Replay(0, func(uint64, []byte) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
		most = max(most, time.Since(start))
		b.ReportMetric(float64(n), "entries")
		l.Close()
	}
	b.ReportMetric(float64(most.Microseconds())/1000, "ms-max")
}
