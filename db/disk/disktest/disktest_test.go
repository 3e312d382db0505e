package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"pipit/db/disk"
)

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// record records what do does to a folder that has the file old, and returns all states that come about, each as one line.
func record(t *testing.T, do func(r *Recorder, check func(error))) (states []string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mem := NewMem("/top")
	f := must[disk.File](t)(mem.OpenFile("/top/old", os.O_RDWR|os.O_CREATE, 0))
	_, err := f.WriteAt([]byte("old"), 0)
	check(err)
	r := must[*Recorder](t)(NewRecorder(mem, "/top"))
	do(r, check)
	all := map[string]bool{}
	for s := range r.States(200*r.Points(), 1) {
		var line []string
		for _, m := range s.Marks {
			line = append(line, fmt.Sprint(m))
		}
		for _, d := range s.dirs {
			line = append(line, d+"/")
		}
		for _, name := range slices.Sorted(maps.Keys(s.files)) {
			line = append(line, name+"="+short(s.files[name]))
		}
		all[strings.Join(line, " ")] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// short writes a row of the same bytes as one with its number.
func short(b []byte) string {
	var s strings.Builder
	for len(b) != 0 {
		n := len(b) - len(bytes.TrimLeft(b, string(b[:1])))
		if s.WriteByte(max(b[0], '0')); n > 1 {
			fmt.Fprint(&s, n)
		}
		b = b[n:]
	}
	return s.String()
}

// The states are those that a disk can leave, all of them, and no others.
func TestStates(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(r *Recorder, check func(error))
		want []string
	}{
		{"nothing", func(*Recorder, func(error)) {}, []string{"old=old"}},
		{"a write is torn until a flush", func(r *Recorder, check func(error)) {
			f, err := r.OpenFile("/top/old", os.O_RDWR, 0)
			check(err)
			_, err = f.WriteAt(bytes.Repeat([]byte("x"), 1024), 0)
			check(err)
			check(f.Sync())
			r.Mark("flushed")
		}, []string{"flushed old=x1024", "old=old", "old=old0509x512", "old=x1024", "old=x512"}},
		{"writes come in any order", func(r *Recorder, check func(error)) {
			f, err := r.OpenFile("/top/old", os.O_RDWR, 0)
			check(err)
			for i, b := range []string{"a", "b"} {
				_, err = f.WriteAt([]byte(b), int64(i))
				check(err)
			}
		}, []string{"old=old", "old=ald", "old=abd", "old=obd"}},
		{"a flush is for one file", func(r *Recorder, check func(error)) {
			f, err := r.OpenFile("/top/old", os.O_RDWR, 0)
			check(err)
			check(f.Truncate(1))
			g, err := r.OpenFile("/top/new", os.O_RDWR|os.O_CREATE, 0)
			check(err)
			check(g.Sync())
			check(r.SyncDir("/top"))
			r.Mark("flushed")
		}, []string{"flushed new= old=o", "flushed new= old=old", "new= old=o", "new= old=old", "old=o", "old=old"}},
		{"a file that takes the place of another", func(r *Recorder, check func(error)) {
			f, err := r.OpenFile("/top/new", os.O_RDWR|os.O_CREATE, 0)
			check(err)
			_, err = f.WriteAt([]byte("n"), 0)
			check(err)
			check(f.Sync())
			check(r.Rename("/top/new", "/top/old"))
			check(r.SyncDir("/top"))
			r.Mark("flushed")
		}, []string{"flushed old=n", "old=n", "new=n old=old", "new= old=old", "old=old"}},
		{"a file that was given up never takes the place that the next one of its name takes", func(r *Recorder, check func(error)) {
			for _, b := range []string{"g", "n"} {
				if b == "n" {
					check(r.Remove("/top/new"))
				}
				f, err := r.OpenFile("/top/new", os.O_RDWR|os.O_CREATE, 0)
				check(err)
				_, err = f.WriteAt([]byte(b), 0)
				check(err)
				check(f.Sync())
			}
			check(r.Rename("/top/new", "/top/old"))
		}, []string{"old=old", "new= old=old", "new=g old=old", "new=n old=old", "old=n"}},
		{"names in a folder that is gone are gone", func(r *Recorder, check func(error)) {
			check(r.Mkdir("/top/sub", 0))
			_, err := r.OpenFile("/top/sub/f", os.O_RDWR|os.O_CREATE, 0)
			check(err)
			check(r.SyncDir("/top/sub"))
			r.Mark("inner")
			check(r.Remove("/top/old"))
			check(r.SyncDir("/top"))
			r.Mark("outer")
		}, []string{"inner old=old", "inner", "inner sub/ old=old sub/f=", "inner sub/ sub/f=", "inner outer sub/ sub/f=", "old=old", "sub/ old=old", "sub/ old=old sub/f="}},
		{"a commit of another library", func(r *Recorder, check func(error)) {
			page := func(meta, data, size string) []byte { return []byte(meta + "p" + data + size) }
			check(r.Foreign("/top/db", 1, page("1", "aa", ""), page("2", "bc", "d"), Bolt()...))
			r.Mark("done")
		}, []string{"old=old", "db= old=old", "db=1pa2 old=old", "db=1pa20 old=old", "db=1pa2d old=old", "db=1pac old=old", "db=1pac0 old=old", "db=1pacd old=old",
			"db=1pba old=old", "db=1pba0 old=old", "db=1pbad old=old", "db=1pbc old=old", "db=1pbc0 old=old", "db=1pbcd old=old", "db=2pbcd old=old", "done db=2pbcd old=old"}},
		{"what another library writes before a flush", func(r *Recorder, check func(error)) {
			check(r.Unflushed("/top/old", 1, []byte("old"), []byte("okdx")))
			r.Mark("written")
			check(r.Flushed("/top/old"))
			r.Mark("flushed")
		}, []string{"old=old", "old=old0", "old=okd", "old=okd0", "old=oldx", "old=okdx",
			"written old=old", "written old=old0", "written old=okd", "written old=okd0", "written old=oldx", "written old=okdx", "written flushed old=okdx"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := record(t, tt.do)
			slices.Sort(tt.want)
			for _, s := range tt.want {
				if !slices.Contains(got, s) {
					t.Errorf("never: %q", s)
				}
			}
			for _, s := range got {
				if !slices.Contains(tt.want, s) {
					t.Errorf("cannot be: %q", s)
				}
			}
		})
	}
}

// A flush makes durable what was written when it began, whoever else writes.
func TestRecordConcurrently(t *testing.T) {
	dir := t.TempDir()
	r := must[*Recorder](t)(NewRecorder(disk.OS, dir))
	var all sync.WaitGroup
	const n, writes = 4, 50
	for i := range n {
		all.Go(func() {
			f, err := r.OpenFile(filepath.Join(dir, "f"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			for w := range writes {
				if _, err := f.WriteAt([]byte{byte(w + 1)}, int64(i)*sector); err != nil {
					t.Error(err)
				}
				if err := f.Sync(); err != nil {
					t.Error(err)
				}
				r.Mark([2]int{i, w + 1})
			}
		})
	}
	all.Wait()
	if err := r.SyncDir(dir); err != nil {
		t.Error(err)
	}
	i := 0
	for s := range r.States(2*r.Points(), 1) {
		var flushed [n]int
		for _, m := range s.Marks {
			at := m.([2]int)
			flushed[at[0]] = at[1]
		}
		data, ok := s.files["f"]
		for i, w := range flushed {
			if ok && w != 0 && (len(data) <= i*sector || int(data[i*sector]) < w) {
				t.Fatalf("state %d of point %d: write %d of %d is not there", s.Seed, s.Point, w, i)
			}
		}
		if i++; i%100 != 0 || !ok {
			continue
		}
		to := t.TempDir()
		if err := s.Write(to); err != nil {
			t.Fatal(err)
		}
		if got := must[[]byte](t)(os.ReadFile(filepath.Join(to, "f"))); !bytes.Equal(got, data) {
			t.Error("what was written differs")
		}
	}
}

// A change that was not recorded is found, and a folder that is not.
func TestForeignRefuses(t *testing.T) {
	r := must[*Recorder](t)(NewRecorder(NewMem("/top"), "/top"))
	for _, tt := range []struct {
		path, before, after string
		ok                  bool
	}{
		{"/top/db", "a", "b", true},
		{"/top/db", "b", "c", true},
		{"/top/db", "b", "d", false},
		{"/else/db", "", "", false},
		{"/top/not/there", "", "", false},
	} {
		if err := r.Foreign(tt.path, 1, []byte(tt.before), []byte(tt.after), Bolt()...); (err == nil) != tt.ok {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// The file system in memory answers as that of the operating system does, and so do one that records and one that has no fault.
func TestSame(t *testing.T) {
	dir := t.TempDir()
	systems := map[string]disk.FS{"os": disk.OS, "mem": NewMem(dir), "fault": &Fault{FS: NewMem(dir)}}
	systems["recorder"] = must[*Recorder](t)(NewRecorder(NewMem(dir), dir))
	got := map[string]string{}
	for name, system := range systems {
		var s strings.Builder
		path := func(name string) string { return filepath.Join(dir, name) }
		say := func(what string, err error) {
			for _, known := range []error{fs.ErrNotExist, fs.ErrExist, nil} {
				if errors.Is(err, known) {
					err = known
					break
				}
			}
			fmt.Fprintf(&s, "%s: %v\n", what, err)
		}
		_, err := system.OpenFile(path("a"), os.O_RDWR, 0)
		say("open", err)
		f, err := system.OpenFile(path("a"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		say("create", err)
		_, err = system.OpenFile(path("a"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		say("create again", err)
		_, err = system.OpenFile(path("no/a"), os.O_RDWR|os.O_CREATE, 0o600)
		say("create nowhere", err)
		n, err := f.WriteAt([]byte("hello"), 3)
		say(fmt.Sprint("write ", n), err)
		b := make([]byte, 10)
		n, err = f.ReadAt(b, 1)
		fmt.Fprintln(&s, n, err, b)
		n, err = f.ReadAt(b, 100)
		fmt.Fprintln(&s, n, err)
		say("truncate", f.Truncate(4))
		say("sync", f.Sync())
		info, err := f.Stat()
		fmt.Fprintln(&s, info.Name(), info.Size(), info.IsDir(), info.Mode().IsRegular(), err)
		say("mkdir", system.Mkdir(path("d"), 0o700))
		say("mkdir again", system.Mkdir(path("d"), 0o700))
		say("mkdir nowhere", system.Mkdir(path("no/d"), 0o700))
		g, err := system.OpenFile(path("d/b"), os.O_RDWR|os.O_CREATE, 0o600)
		say("create", err)
		say("close", g.Close())
		say("rename", system.Rename(path("d"), path("e")))
		say("rename again", system.Rename(path("d"), path("e")))
		_, err = system.Stat(path("e/b"))
		say("stat", err)
		say("remove", system.Remove(path("e/b")))
		say("remove again", system.Remove(path("e/b")))
		say("sync folder", system.SyncDir(dir))
		say("sync no folder", system.SyncDir(path("no")))
		entries, err := system.ReadDir(dir)
		for _, e := range entries {
			fmt.Fprintln(&s, e.Name(), e.IsDir())
		}
		say("read", err)
		say("remove folder", system.Remove(path("e")))
		_, err = system.ReadDir(path("e"))
		say("read no folder", err)
		f, err = system.OpenFile(path("a"), os.O_RDWR|os.O_TRUNC, 0)
		say("open", err)
		info, err = f.Stat()
		fmt.Fprintln(&s, info.Size(), err)
		got[name] = s.String()
	}
	for name, s := range got {
		if s != got["os"] {
			t.Errorf("%s:\n%s\nos:\n%s", name, s, got["os"])
		}
	}
}

// A folder is copied, and read, while a file in it goes by two names in turn.
func TestCopyDir(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	names := []string{filepath.Join(from, "f.new"), filepath.Join(from, "f.log")}
	if err := errors.Join(os.WriteFile(filepath.Join(from, "a"), []byte("a"), 0o600), os.WriteFile(names[0], []byte("f"), 0o600)); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var renaming sync.WaitGroup
	renaming.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := os.Rename(names[i%2], names[1-i%2]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 50 {
		if err := CopyDir(to, from); err != nil {
			t.Error(err)
			break
		}
		copied, read := map[string][]byte{}, map[string][]byte{}
		if err := errors.Join(ReadTree(copied, to), ReadTree(read, from)); err != nil {
			t.Error(err)
			break
		}
		if got := string(copied[filepath.Join(to, "a")]) + string(read[filepath.Join(from, "a")]); got != "aa" {
			t.Errorf("%q", got)
		}
	}
	close(stop)
	renaming.Wait()
}

func TestFault(t *testing.T) {
	for kind, want := range map[Kind]string{Before: "", Short: "ab", After: "abcd"} {
		mem := NewMem("/top")
		fault := &Fault{FS: mem, Err: syscall.EIO, Kind: kind}
		fault.Fail(2)
		f := must[disk.File](t)(fault.OpenFile("/top/a", os.O_RDWR|os.O_CREATE, 0))
		if _, err := f.WriteAt([]byte("abcd"), 0); err != syscall.EIO {
			t.Errorf("got %v", err)
		}
		if got := string(mem.nodes["/top/a"].data); got != want {
			t.Errorf("kind %d: %q, want %q", kind, got, want)
		}
		if err := f.Sync(); err != nil || !fault.Failed() || fault.Calls() != 3 {
			t.Errorf("%v, %t, %d calls", err, fault.Failed(), fault.Calls())
		}
	}
}
