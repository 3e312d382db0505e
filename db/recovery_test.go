package db

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
	"pipit/db/page"
)

// FuzzRecovery opens a good file with a log whose segments have any bytes: there is an error, or a state.
func FuzzRecovery(f *testing.F) {
	dir := f.TempDir()
	s, _ := openSmall(f, pathIn(dir), nil, nil)
	for range 3 {
		if err := s.Commit(&store.Batch{Now: t0, Put: []store.Document{{Kind: "kind", Key: "key", Value: make([]byte, 300)}}}); err != nil {
			f.Fatal(err)
		}
	}
	file, err := os.ReadFile(pathIn(dir))
	if err != nil {
		f.Fatal(err)
	}
	segment, err := os.ReadFile(filepath.Join(logDir(pathIn(dir)), "segment-0001.log"))
	if err := errors.Join(err, s.Close()); err != nil {
		f.Fatal(err)
	}
	h, err := page.ReadHead(bytes.NewReader(file))
	if err == nil { // what making it reserved takes only time; nothing that follows writes to it
		err = os.WriteFile(pathIn(dir), file[:int64(h.HighWater)*h.PageSize], 0o600) // #nosec G115 -- a number of pages
	}
	if err != nil {
		f.Fatal(err)
	}
	const head = 4 << 10 // of a segment: without it there is nothing to be read
	f.Add(segment[head:head+2000], uint16(0))
	f.Add(segment[head+400:head+1200], uint16(400))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		fs := disktest.NewMem(dir)
		changed := append([]byte(nil), segment...)
		copy(changed[head+int(at)%(len(segment)-head):], b)
		if err := fs.Mkdir(logDir(pathIn(dir)), 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := fs.OpenFile(filepath.Join(logDir(pathIn(dir)), "segment-0001.log"), os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			_, err = out.WriteAt(changed, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := Open(pathIn(dir), Options{Logger: silent, LogSize: smallLog, leave: true, seam: seam{fs: fs, segmentSize: smallLog / 6}})
		if err != nil {
			return
		}
		if _, err := s.Load(); err == nil {
			err = s.View(func(r store.Reader) error {
				return r.Documents("kind", "", false, func(store.Document) bool { return true })
			})
			if err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 64<<20 {
			t.Errorf("%d bytes allocated", after.TotalAlloc-before.TotalAlloc)
		}
	})
}
