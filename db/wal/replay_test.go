package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pipit/db/disk/disktest"
)

// f is a frame of a table: its payload says which it is.
func f(number uint64, run uint32, chunks ...uint16) frame {
	fr := frame{number: number, run: run, chunks: 1}
	if len(chunks) != 0 {
		fr.chunk, fr.chunks = chunks[0], chunks[1]
	}
	return fr
}

// payload returns what a frame of a table has, 40 bytes.
func payload(fr frame) []byte {
	return fmt.Appendf(nil, "number %8d run %8d chunk %6d", fr.number, fr.run, fr.chunk)[:40]
}

// wrong is a frame with a wrong checksum.
func wrong(fr frame) frame {
	fr.length = -1
	return fr
}

// segmentOf draws a segment with the frames.
func segmentOf(o Options, frames []frame) []byte {
	b := segmentHeader(o.ID, o.SegmentSize)
	for _, fr := range frames {
		at := len(b)
		b = appendFrame(b, newLog(o).generation, fr, payload(fr))
		if fr.length < 0 {
			b[at+frameHead]++
		}
	}
	return append(b, make([]byte, o.SegmentSize-int64(len(b)))...)
}

// memLog returns a file system with a log of these segments.
func memLog(t testing.TB, o *Options, segments ...[]byte) *disktest.Mem {
	t.Helper()
	m := disktest.NewMem(o.Dir)
	o.FS = m
	for i, b := range segments {
		file, err := m.OpenFile(filepath.Join(o.Dir, segmentName(i+1, suffix)), os.O_RDWR|os.O_CREATE, 0)
		if err == nil {
			_, err = file.WriteAt(b, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestRecovery(t *testing.T) {
	for _, tt := range []struct {
		name     string
		after    uint64
		segments [][]frame
		want     string // number/run of each chunk of the entries
		err      string
	}{
		{"nothing", 0, [][]frame{{}}, "", ""},
		{"nothing behind a database", 9, [][]frame{{}, {}}, "", ""},
		{"in a row", 0, [][]frame{{f(1, 1), f(2, 1), f(3, 1)}}, "1/1 2/1 3/1", ""},
		{"some are in the database", 2, [][]frame{{f(1, 1), f(2, 1), f(3, 1)}}, "3/1", ""},
		{"all are in the database", 3, [][]frame{{f(1, 1), f(2, 1), f(3, 1)}}, "", ""},
		{"all are long in the database", 30, [][]frame{{f(1, 1), f(2, 1), f(3, 1)}}, "", ""},
		{"segments in any order", 2, [][]frame{{f(5, 1), f(6, 1)}, {}, {f(3, 1), f(4, 1)}, {f(7, 1)}}, "3/1 4/1 5/1 6/1 7/1", ""},
		{"stale frames behind new ones", 3, [][]frame{{f(7, 1), f(2, 1), f(3, 1)}, {f(4, 1), f(5, 1), f(6, 1)}}, "4/1 5/1 6/1 7/1", ""},
		{"a torn one at the end", 0, [][]frame{{f(1, 1), wrong(f(2, 1))}}, "1/1", ""},
		{"a torn one at the end, with stale frames behind", 2, [][]frame{{f(3, 1), wrong(f(4, 1)), f(1, 1), f(2, 1)}}, "3/1", ""},
		{"the only one is torn", 0, [][]frame{{wrong(f(1, 1))}}, "", ""},
		{"chunks in a segment", 0, [][]frame{{f(1, 1), f(2, 1, 0, 3), f(2, 1, 1, 3), f(2, 1, 2, 3), f(3, 1)}}, "1/1 2/1+2/1+2/1 3/1", ""},
		{"chunks over segments", 0, [][]frame{{f(2, 1, 1, 3)}, {f(1, 1), f(2, 1, 0, 3)}, {f(2, 1, 2, 3), f(3, 1)}}, "1/1 2/1+2/1+2/1 3/1", ""},
		{"the first chunk is torn", 0, [][]frame{{f(1, 1), wrong(f(2, 1, 0, 3)), f(2, 1, 1, 3), f(2, 1, 2, 3)}}, "1/1", ""},
		{"a chunk in the middle is torn", 0, [][]frame{{f(1, 1), f(2, 1, 0, 3), wrong(f(2, 1, 1, 3)), f(2, 1, 2, 3)}}, "1/1", ""},
		{"the last chunk is torn", 0, [][]frame{{f(1, 1), f(2, 1, 0, 3), f(2, 1, 1, 3), wrong(f(2, 1, 2, 3))}}, "1/1", ""},
		{"the last chunk is in a segment that has another", 1, [][]frame{{f(2, 1, 0, 2)}, {wrong(f(2, 1, 1, 2)), f(1, 1)}}, "", ""},
		{"chunks of one that was cut off do not complete the next one", 0, [][]frame{{f(1, 1), f(2, 2, 0, 2)}, {f(2, 1, 1, 2)}}, "1/1", ""},
		{"chunks of one that was cut off, behind the next one", 0, [][]frame{{f(1, 1), f(2, 2), f(3, 2), f(2, 1, 1, 3), f(2, 1, 2, 3)}}, "1/1 2/2 3/2", ""},
		{"chunks of one that was cut off begin a segment", 0, [][]frame{{f(1, 1), f(2, 2), f(3, 2)}, {f(2, 1, 1, 3), f(2, 1, 2, 3)}, {f(4, 2)}}, "1/1 2/2 3/2 4/2", ""},
		{"the first chunk of one that was cut off, where the next one went elsewhere", 0, [][]frame{{f(1, 1), f(2, 1, 0, 2)}, {f(2, 2, 0, 2), f(2, 2, 1, 2)}}, "1/1 2/2+2/2", ""},
		{"its number in two segments", 0, [][]frame{{f(1, 1), f(2, 2, 0, 2)}, {f(2, 1, 1, 2)}, {f(2, 2, 1, 2), f(3, 2)}}, "1/1 2/2+2/2 3/2", ""},
		{"chunks that say different numbers of chunks", 0, [][]frame{{f(1, 1), f(2, 1, 0, 2), f(2, 1, 1, 3)}}, "1/1", ""},
		{"chunks that say smaller numbers of chunks", 0, [][]frame{{f(1, 1), f(2, 1, 0, 3), f(2, 1, 1, 2)}}, "1/1", ""},
		{"starts and failed writes", 0, [][]frame{{f(1, 1), f(2, 2), f(3, 4), f(4, 4, 0, 2)}, {f(4, 5, 0, 2), f(4, 5, 1, 2), f(5, 7), f(6, 9, 0, 2)}, {f(6, 9, 1, 2), f(7, 11)}}, "1/1 2/2 3/4 4/5+4/5 5/7 6/9+6/9 7/11", ""},
		{"a segment in another order", 0, [][]frame{{f(2, 1), f(1, 1)}}, "1/1 2/1", ""},
		{"a copy of an earlier frame in a torn one", 0, [][]frame{{f(1, 1), f(2, 1), wrong(f(3, 1)), f(1, 1)}}, "1/1 2/1", ""},

		{"a hole in the middle", 0, [][]frame{{f(1, 1), wrong(f(2, 1)), f(3, 1)}}, "1/1",
			"behind entry 1, which ends in /log/segment-0001.log at offset 4168, the next one is not there or not whole, but entry 3 is: in /log/segment-0001.log behind offset 4240"},
		{"a segment is missing", 0, [][]frame{{f(1, 1)}, {f(4, 1), f(5, 1)}}, "1/1", "but entry 4 is: in /log/segment-0002.log"},
		{"a chunk is missing before another entry", 0, [][]frame{{f(1, 1), f(2, 1, 0, 2), wrong(f(2, 1, 1, 2)), f(3, 1)}}, "1/1", "but entry 3 is"},
		{"a hole of which the database has all", 3, [][]frame{{f(1, 1), wrong(f(2, 1)), f(3, 1), f(4, 1)}}, "4/1", ""},
		{"the database is older", 2, [][]frame{{f(4, 1), f(5, 1)}}, "", "it begins at entry 4, in /log/segment-0001.log at offset 4096, and the database ends at 2"},
		{"the first one is torn, and not the last", 0, [][]frame{{wrong(f(1, 1)), f(2, 1)}}, "", "it begins at entry 2, in /log/segment-0001.log at offset 4168, and the database ends at 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := crashOptions()
			o.Dir = "/log"
			var segments [][]byte
			for _, frames := range tt.segments {
				segments = append(segments, segmentOf(o, frames))
			}
			memLog(t, &o, segments...)
			l, err := Open(o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			last := tt.after
			err = l.Replay(tt.after, func(number uint64, entry []byte) error {
				var parts []string
				for chunk := range slices.Chunk(entry, 40) {
					fields := strings.Fields(string(chunk))
					parts = append(parts, fields[1]+"/"+fields[3])
				}
				got = append(got, strings.Join(parts, "+"))
				last = number
				return nil
			})
			if got := strings.Join(got, " "); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if tt.err != "" {
				if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got  %v\nwant %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// What is appended is found, and nothing that was cut off.
			for n := last + 1; n < last+40; n++ {
				mustAppend(t, l, n, testEntry(n, 1, 200))
			}
			mustClose(t, l)
			l, err = Open(o)
			if err != nil {
				t.Fatal(err)
			}
			entries := replayAll(t, l, tt.after)
			if len(entries) != len(got)+39 || !bytes.Equal(entries[len(got)], testEntry(last+1, 1, 200)) {
				t.Errorf("%d entries", len(entries))
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	good := crashOptions()
	good.Dir = "/log"
	whole := segmentOf(good, []frame{f(1, 1)})
	change := func(do func(b []byte)) []byte {
		b := bytes.Clone(whole)
		do(b)
		return b
	}
	foreign, other := good, good
	foreign.ID[15]++
	other.ID[0]++
	for name, tt := range map[string]struct {
		segments [][]byte
		want     error
	}{
		"foreign":         {[][]byte{whole, segmentOf(foreign, nil)}, ErrForeign},
		"other":           {[][]byte{segmentOf(other, nil)}, ErrForeign},
		"newer":           {[][]byte{change(func(b []byte) { b[11] = version + 1 })}, ErrNewer},
		"no segment":      {[][]byte{make([]byte, 1<<15)}, ErrDamaged},
		"empty":           {[][]byte{{}}, ErrDamaged},
		"short":           {[][]byte{whole[:40]}, ErrDamaged},
		"cut off":         {[][]byte{whole[:1<<14]}, ErrDamaged},
		"longer":          {[][]byte{append(bytes.Clone(whole), 0)}, ErrDamaged},
		"head is damaged": {[][]byte{change(func(b []byte) { b[20]++ })}, ErrDamaged},
	} {
		o := good
		memLog(t, &o, tt.segments...)
		if _, err := Open(o); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		} else if !strings.Contains(err.Error(), "/log/segment-") {
			t.Errorf("%s: %v names no file", name, err)
		}
	}
}

// What no log of this program has is refused before it costs much memory or time.
func TestHostile(t *testing.T) {
	o := crashOptions()
	o.Dir, o.SegmentSize = "/log", 4<<20
	var unordered []frame
	for n := range uint64(maxPieces + 10) {
		unordered = append(unordered, frame{number: 2*n + 1, chunks: 1})
	}
	pieces, generation := segmentHeader(o.ID, o.SegmentSize), newLog(o).generation
	for _, fr := range unordered {
		pieces = appendFrame(pieces, generation, fr, nil)
	}
	pieces = append(pieces, make([]byte, o.SegmentSize-int64(len(pieces)))...)

	heads := o
	heads.ID = [16]byte{0, 1, 0, 2, 0, 1, 0, 2} // at each multiple of 8 stands what can be the head of a frame of 64 KiB
	wrong := segmentHeader(heads.ID, o.SegmentSize)
	wrong = append(wrong, bytes.Repeat(heads.ID[:8], int(o.SegmentSize-segmentHead)/8)...)

	for _, tt := range []struct {
		o       Options
		segment []byte
		want    string
	}{{o, pieces, "in no order"}, {heads, wrong, "too many frames with a wrong checksum"}} {
		memLog(t, &tt.o, tt.segment)
		l, err := Open(tt.o)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Replay(0, func(uint64, []byte) error { return nil }); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
}

// A log of a process that started very often, and never got as far as to a Cut, is read as fast as any other.
func TestManyStarts(t *testing.T) {
	o := crashOptions()
	o.FS = disktest.NewMem("/db")
	l := mustCreate(t, o)
	for n := uint64(1); n <= 500; n++ {
		mustAppend(t, l, n, nil)
		l.run++ // as if it had been replayed
	}
	mustClose(t, l)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &replay{log: l, loaded: -1}
	if err := r.scan(0); err != nil || len(r.pieces) != 1 {
		t.Errorf("%d pieces, %v", len(r.pieces), err)
	}
	if got := replayAll(t, l, 0); len(got) != 500 {
		t.Errorf("%d entries", len(got))
	}
}

// A log that is only read is not written, and what is written is flushed before anybody goes on.
func TestReplayFlushes(t *testing.T) {
	o := crashOptions()
	o.Dir = "/log"
	m := memLog(t, &o, segmentOf(o, []frame{f(1, 1), f(2, 1, 0, 2), f(2, 1, 1, 2)}), segmentOf(o, nil))
	for _, readOnly := range []bool{false, true} {
		count := &counting{Mem: m, calls: map[string]int{}}
		o.FS, o.ReadOnly = count, readOnly
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if len(count.calls) != 0 {
			t.Errorf("Open: %v", count.calls)
		}
		replayAll(t, l, 0)
		want := map[string]int{"write": 1, "sync": 2}
		if readOnly {
			want = map[string]int{}
		}
		if !maps.Equal(count.calls, want) {
			t.Errorf("read only: %t: got %v, want %v", readOnly, count.calls, want)
		}
		if err := l.Append(3, nil); readOnly == (err == nil) {
			t.Errorf("read only: %t: %v", readOnly, err)
		}
		if err := l.Replay(0, nil); err == nil {
			t.Error("was replayed twice")
		}
	}
}

// The error of the function ends Replay.
func TestReplayStops(t *testing.T) {
	o := crashOptions()
	o.Dir = "/log"
	memLog(t, &o, segmentOf(o, []frame{f(1, 1), f(2, 1)}))
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := l.Replay(0, func(uint64, []byte) error { n++; return io.ErrNoProgress }); err != io.ErrNoProgress || n != 1 {
		t.Errorf("got %v after %d", err, n)
	}
	if err := l.Append(1, nil); err == nil {
		t.Error("appended to a log that was not replayed")
	}
}

// FuzzSegments has two segments of any bytes replayed: an error or a state, and no more bytes than there are.
func FuzzSegments(fz *testing.F) {
	base := crashOptions()
	base.Dir = "/log"
	seed := func(frames ...frame) []byte { return bytes.TrimRight(segmentOf(base, frames)[segmentHead:], "\x00") }
	fz.Add(seed(f(1, 1), f(2, 1)), seed(f(3, 1, 0, 2), f(3, 1, 1, 2)), uint64(0))
	fz.Add(seed(f(1, 1), wrong(f(2, 1)), f(3, 1)), seed(f(2, 2, 0, 2)), uint64(1))
	fz.Add(seed(f(2, 1, 1, 3), f(1, 1)), seed(f(1, 1), f(2, 1, 0, 3)), uint64(0))
	fz.Fuzz(func(t *testing.T, a, b []byte, after uint64) {
		o := base
		var segments [][]byte
		for _, data := range [][]byte{a, b} {
			s := segmentOf(o, nil)
			copy(s[segmentHead:], data)
			seal(s, newLog(o).generation)
			segments = append(segments, s)
		}
		memLog(t, &o, segments...)
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		last, size := after, 0
		err = l.Replay(after, func(number uint64, entry []byte) error {
			if number != last+1 {
				t.Fatalf("entry %d behind %d", number, last)
			}
			last, size = number, size+len(entry)
			return nil
		})
		if size > 2*int(o.SegmentSize) {
			t.Fatalf("%d bytes of two segments", size)
		}
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if last > 1<<63 {
			return
		}
		mustAppend(t, l, last+1, []byte("next"))
		mustClose(t, l)
		if l, err = Open(o); err != nil {
			t.Fatal(err)
		}
		// A frame that nothing but a fuzzer puts into another one can have come to light.
		if err := l.Replay(last, func(uint64, []byte) error { return nil }); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
	})
}

// seal gives what could be frames, where it stands at a multiple of 8 with the number of a checksum that says so, a right
// checksum: no fuzzer finds one.
func seal(b []byte, generation uint64) {
	for at := segmentHead; at+frameHead <= len(b); {
		if fr, ok := parseHead(b[at:], generation); ok && b[at+4]%4 != 0 {
			binary.BigEndian.PutUint32(b[at+4:], checksum(b[at:], fr.length))
			at += int(fr.size())
			continue
		}
		at += align
	}
}

// FuzzFrame parses any bytes as a frame; what is one is written again as it was.
func FuzzFrame(fz *testing.F) {
	fz.Add(appendFrame(nil, 7, f(1, 2, 3, 4), []byte("payload")), uint64(7))
	fz.Add(appendFrame(nil, 1, f(1, 2), nil), uint64(1))
	fz.Fuzz(func(t *testing.T, b []byte, generation uint64) {
		fr, ok := parseHead(b, generation)
		if !ok {
			return
		}
		if fr.size() > int64(len(b)) || fr.length > maxPayload || fr.number == 0 {
			t.Fatalf("%+v of %d bytes", fr, len(b))
		}
		right := fr.checked(b)
		binary.BigEndian.PutUint32(b[4:], checksum(b, fr.length))
		if !fr.checked(b) || right && fr != func() frame { g, _ := parseHead(b, generation); return g }() {
			t.Fatal("differs")
		}
		end := frameHead + fr.length
		if again := appendFrame(nil, generation, fr, b[frameHead:end]); !bytes.Equal(again[:end], b[:end]) {
			t.Fatalf("%x\n%x", again[:end], b[:end])
		}
	})
}
