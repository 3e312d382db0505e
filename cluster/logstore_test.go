package cluster

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"pipit/db/disk"
	"pipit/db/disk/disktest"
	"pipit/db/wal"
)

// kept is a logStore beside what it is to have.
type kept struct {
	t       testing.TB
	opts    Options
	s       *logStore
	failed  error
	durable uint64
	random  *rand.Rand

	want        map[uint64]raft.Log
	first, last uint64 // 0: there is none
	through     uint64 // up to where it was dropped
}

func newKept(t testing.TB, fs disk.FS) *kept {
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	k := &kept{t: t, opts: Options{Dir: t.TempDir(), LogSize: 64 << 10, Logger: discard, FS: fs}, random: rand.New(rand.NewPCG(seed, 0)), want: map[uint64]raft.Log{}}
	k.open()
	t.Cleanup(func() { k.s.close() })
	return k
}

func (k *kept) open() {
	k.t.Helper()
	var err error
	if k.s, err = openLogStore(&k.opts, func(err error) { k.failed = err }); err != nil {
		k.t.Fatal(err)
	}
	k.s.durable = func() uint64 { return k.durable }
}

func (k *kept) close() {
	k.t.Helper()
	if err := k.s.close(); err != nil {
		k.t.Fatal(err)
	}
}

// crash goes on with what another process would find.
func (k *kept) crash() {
	k.t.Helper()
	to := filepath.Join(k.t.TempDir(), "copy")
	if err := disktest.CopyDir(to, k.opts.Dir); err != nil {
		k.t.Fatal(err)
	}
	k.close()
	k.opts.Dir = to
	k.open()
}

// entries returns entries from an index on.
func (k *kept) entries(from uint64, n int) (logs []*raft.Log) {
	for i := range n {
		l := &raft.Log{Index: from + uint64(i), Term: k.random.Uint64N(9), Type: raft.LogType(k.random.IntN(6)), Data: make([]byte, k.random.IntN(3000)), AppendedAt: time.Unix(k.random.Int64N(1e9), 5)}
		for i := range l.Data {
			l.Data[i] = byte(k.random.Uint32())
		}
		if len(l.Data) == 0 {
			l.Data = nil
		}
		if k.random.IntN(4) == 0 {
			l.Extensions, l.AppendedAt = []byte("more"), time.Time{}
		}
		logs = append(logs, l)
	}
	return logs
}

// store appends entries, of which the first may take the place of one that is there, or be far behind.
func (k *kept) store(logs []*raft.Log) error {
	k.t.Helper()
	if err := k.s.StoreLogs(logs); err != nil {
		return err
	}
	from := logs[0].Index
	for i := range k.want {
		if i >= from || from > k.last+1 {
			delete(k.want, i)
		}
	}
	if from > k.last+1 || k.first == 0 || from < k.first {
		k.first = from
	}
	for _, l := range logs {
		k.want[l.Index] = *l
		k.last = l.Index
	}
	return nil
}

// dropped takes note that nothing up to an index is there.
func (k *kept) dropped(through uint64) {
	for i := range k.want {
		if i <= through {
			delete(k.want, i)
		}
	}
	k.through = through
	if k.first = through + 1; len(k.want) == 0 {
		k.first, k.last = 0, 0
	}
}

func (k *kept) verify() {
	k.t.Helper()
	first, _ := k.s.FirstIndex()
	last, _ := k.s.LastIndex()
	if first != k.first || last != k.last {
		k.t.Fatalf("it has %d to %d, want %d to %d", first, last, k.first, k.last)
	}
	for i := max(first, 3) - 3; i < last+3; i++ {
		var got raft.Log
		want, ok := k.want[i]
		switch err := k.s.GetLog(i, &got); {
		case !ok && !errors.Is(err, raft.ErrLogNotFound):
			k.t.Fatalf("entry %d, which is not there: %v", i, err)
		case ok && (err != nil || !got.AppendedAt.Equal(want.AppendedAt)):
			k.t.Fatalf("entry %d: %v", i, err)
		}
		if got.AppendedAt = want.AppendedAt; ok && !reflect.DeepEqual(got, want) {
			k.t.Fatalf("entry %d differs", i)
		}
	}
}

// TestLogStore: the log has what it is to have, whatever was appended, taken back, cut off and kept, also when it is opened again, or the process was killed.
func TestLogStore(t *testing.T) {
	k := newKept(t, nil)
	for range 300 {
		next := max(k.last, k.through) + 1
		switch k.random.IntN(12) {
		default:
			if err := k.store(k.entries(next, 1+k.random.IntN(20))); err != nil {
				t.Fatal(err)
			}
		case 5, 6: // a leader's end takes the place of another one's
			if k.last == 0 {
				continue
			}
			from := k.first + k.random.Uint64N(k.last-k.first+1)
			k.durable = from - 1
			if err := k.s.DeleteRange(from, k.last); err != nil {
				t.Fatal(err)
			}
			if err := k.store(k.entries(from, 1+k.random.IntN(5))); err != nil {
				t.Fatal(err)
			}
		case 7: // behind a file that was received, and behind that of the next leader, which has less
			for _, through := range []uint64{next + 20, next + 10} {
				if err := k.s.drop(through); err != nil {
					t.Fatal(err)
				}
				k.dropped(through)
			}
			if err := k.store(k.entries(next+11, 3)); err != nil {
				t.Fatal(err)
			}
		case 8:
			if k.last == 0 {
				continue
			}
			through := k.first + k.random.Uint64N(k.last-k.first+1)
			if err := k.s.drop(through); err != nil {
				t.Fatal(err)
			}
			k.dropped(through)
		case 9:
			if _, err := k.s.keep(); err != nil {
				t.Fatal(err)
			}
		case 10:
			k.close()
			k.open()
		case 11:
			k.crash()
		}
		k.verify()
	}
}

// TestLogIsCutOff: what is cut off is all but half of what the log may have, and nothing that the file does not have or a copy needs.
func TestLogIsCutOff(t *testing.T) {
	k := newKept(t, nil)
	for k.s.total < 3*k.opts.LogSize {
		if err := k.store(k.entries(k.last+1, 5)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-k.s.large:
	default:
		t.Error("nobody was told")
	}
	cut := func(what string, through uint64) {
		t.Helper()
		if err := k.s.DeleteRange(1, k.last); err != nil {
			t.Fatal(err)
		}
		if first, _ := k.s.FirstIndex(); first < through-20 || first > through+1 {
			t.Errorf("%s: it begins at %d, want near %d", what, first, through+1)
		}
	}
	k.durable = 30
	cut("what the file has", 29)
	release := k.s.hold(50)
	k.durable = k.last
	cut("what a copy needs", 49)
	if !k.s.held(50) || k.s.held(49) {
		t.Error("it does not know what is held")
	}
	release()
	if err := k.s.DeleteRange(1, k.last); err != nil {
		t.Fatal(err)
	}
	if used, size, most := k.s.stats(); used != 0 || size > most/2 || size < most/4 || most != k.opts.LogSize {
		t.Errorf("%d, %d of %d bytes", used, size, most)
	}
}

// TestLogFaults: each call of the file system fails once. What was answered is there; an append that may have been stored ends the node, one that was not may
// be tried again.
func TestLogFaults(t *testing.T) {
	for _, kind := range []disktest.Kind{disktest.Before, disktest.Short, disktest.After} {
		fault := &disktest.Fault{FS: disk.OS, Err: syscall.EIO, Kind: kind}
		k := newKept(t, fault)
		ended, again := 0, 0
		for n := 1; n <= 6; n++ {
			logs := k.entries(k.last+1, 4)
			fault.Fail(n)
			err := k.store(logs)
			fault.Fail(0)
			switch {
			case err == nil:
			case k.failed != nil:
				ended++
				if err := k.store(logs); !errors.Is(err, wal.ErrUncertain) {
					t.Fatalf("after a failed flush: %v", err)
				}
				k.failed = nil
				k.close()
				k.open()
				if last, _ := k.s.LastIndex(); last > k.last { // it was stored
					for _, l := range logs {
						k.want[l.Index], k.last = *l, l.Index
					}
				}
			default:
				again++
				if err := k.store(logs); err != nil {
					t.Fatal(err)
				}
			}
			if k.first == 0 && k.last > 0 {
				k.first = 1
			}
			k.verify()
		}
		if ended == 0 || again == 0 && kind != disktest.After {
			t.Errorf("kind %d: it ended %d times, and was tried again %d times", kind, ended, again)
		}
	}
}

// TestLogDamage: a log that was cut short within its last record goes on before it; one with a hole is refused.
func TestLogDamage(t *testing.T) {
	k := newKept(t, nil)
	for range 3 {
		if err := k.store(k.entries(k.last+1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	k.close()
	segments, err := filepath.Glob(filepath.Join(k.opts.Dir, "log", "*"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	whole, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(whole, "\x00"))
	flip := func(at int) {
		t.Helper()
		b := bytes.Clone(whole)
		b[at] ^= 1
		if err := os.WriteFile(segments[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flip(5000)
	if _, err := openLogStore(&k.opts, nil); !errors.Is(err, wal.ErrDamaged) {
		t.Errorf("a flipped bit in the first record: %v", err)
	}
	flip(end - 1)
	k.open()
	k.last = 4
	delete(k.want, 5)
	delete(k.want, 6)
	k.verify()
}

// TestLogIsWiped: what was cut off is on the disk no more, and what is left is.
func TestLogIsWiped(t *testing.T) {
	k := newKept(t, nil)
	secret := []byte("a secret that is no more")
	logs := k.entries(1, 9)
	logs[3].Data = bytes.Clone(secret)
	for _, part := range [][]*raft.Log{logs[:2], logs[2:6], logs[6:]} { // a record has entries that stay, too
		if err := k.store(part); err != nil {
			t.Fatal(err)
		}
	}
	has := func() (n int) {
		files := map[string][]byte{}
		if err := disktest.ReadTree(files, k.opts.Dir); err != nil {
			t.Fatal(err)
		}
		for _, b := range files {
			n += bytes.Count(b, secret)
		}
		return n
	}
	if has() != 1 {
		t.Fatal("it is not there")
	}
	if err := k.s.drop(4); err != nil {
		t.Fatal(err)
	}
	k.dropped(4)
	k.s.wal.StartWipe()
	for tries := 0; ; tries++ {
		err := k.s.wipe()
		k.verify()
		if err == nil {
			break
		}
		if !errors.Is(err, errWipeLater) || tries == 100 {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // lint:sleep a segment is being made
	}
	if n := has(); n != 0 {
		t.Errorf("it is there %d times", n)
	}
	k.crash()
	k.verify()
}

// FuzzRecord: a record of anything is read or refused; what is read is what its encoding is of.
func FuzzRecord(f *testing.F) {
	k := &kept{random: rand.New(rand.NewPCG(1, 1))}
	f.Add(appendRecord(nil, k.entries(1, 3)))
	f.Add(appendRecord(nil, k.entries(1<<40, 1)))
	f.Add([]byte{recordVersion, 1, 255, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		logs, err := parseRecord(b)
		if err != nil {
			if !errors.Is(err, errRecord) {
				t.Error(err)
			}
			return
		}
		list := make([]*raft.Log, len(logs))
		for i := range logs {
			list[i] = &logs[i]
		}
		again, err := parseRecord(appendRecord(nil, list))
		if err != nil || !reflect.DeepEqual(again, logs) {
			t.Errorf("%v: %+v, want %+v", err, again, logs)
		}
	})
}

// TestLargestBatch: a batch as large as there may be is stored, though the log is to keep far less.
func TestLargestBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newThree(t, small)
		c.commit(3, 100)
		for range 3 {
			if err := c.leader().Commit(c.message(maxChunks*chunkSize - 4096)); err != nil {
				t.Fatal(err)
			}
		}
		c.commit(3, 100)
		c.wantEqual()
	})
}
