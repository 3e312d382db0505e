package wal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pipit/db/disk"
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

// BenchmarkFlush is what Append is measured against: one write and one flush.
func BenchmarkFlush(b *testing.B) {
	f, err := disk.OS.OpenFile(filepath.Join(b.TempDir(), "file"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := fill(f, nil, 8<<20); err != nil {
		b.Fatal(err)
	}
	entry := testEntry(1, 0, 1<<10+frameHead)
	b.SetBytes(1 << 10)
	for at := int64(0); b.Loop(); at = (at + int64(len(entry))) % (8<<20 - int64(len(entry))) / align * align {
		if err := errors.Join(writeFull(f, entry, at), f.Sync()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay replays a full log of 64 MiB, of entries of 8 KiB. It writes nothing: a flush is the disk's to measure.
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
	mustClose(b, l)
	b.SetBytes(DefaultSize)
	o.ReadOnly = true
	b.ReportAllocs()
	for b.Loop() {
		l, err := Open(o)
		if err != nil {
			b.Fatal(err)
		}
		n := 0
		if err := l.Replay(0, func(uint64, []byte) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(n), "entries")
		mustClose(b, l)
	}
}
