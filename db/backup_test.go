package db

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
	"pipit/db/disk/disktest"
)

// files are the names in a folder.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func (f *fixture) backup(path string) {
	f.t.Helper()
	if err := f.Backup(f.t.Context(), path, nil); err != nil {
		f.t.Fatal(err)
	}
}

func TestBackupWhileCommitting(t *testing.T) {
	f := newFixture(t)
	for range 50 {
		b := f.batch()
		b.Append = append(b.Append, f.message(laneA, large('a', 64<<10)), f.message(laneB))
		f.commit(b)
	}
	f.checkpoint() // dump tells of payloads in the file as they are in the other
	before := f.dump()
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	commits, whole := 0, atomic.Bool{}
	err := f.Backup(t.Context(), path, func(done, total int64) {
		if _, err := os.Stat(path); err == nil && done < total {
			t.Error("the backup has its name before it is whole")
		}
		if done > 0 && commits < 20 { // pages are freed and used again
			commits++
			b := f.batch()
			b.Append = append(b.Append, f.message(laneA, large('b', 64<<10)))
			b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: uint64(commits), To: uint64(commits)}}}
			f.commit(b)
			f.checkpoint()
		}
		whole.Store(done == total)
	})
	if err != nil {
		t.Fatal(err)
	}
	if commits == 0 || !whole.Load() {
		t.Errorf("%d commits beside it; progress came to its end: %t", commits, whole.Load())
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files: %q", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := info.Mode().Perm(); m&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("others can read it: mode %o", m)
	}
	restored := filepath.Join(dir, "restored.db")
	if kept, err := Restore(t.Context(), path, restored, Options{Logger: silent}, nil); kept != "" || err != nil {
		t.Fatal(kept, err)
	}
	wantDump(t, restored, before)
	wantDump(t, path, before) // it is a database itself
}

// wantDump looks at a file that needs no log.
func wantDump(t *testing.T, path, want string) {
	t.Helper()
	bolt, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := readState(bolt)
	if err != nil || st.format != Format || st.mark != (mark{}) {
		t.Errorf("the file says %+v, %v", st, err)
	}
	if err := bolt.Close(); err != nil {
		t.Fatal(err)
	}
	f := fixture{t: t, Store: openChecked(t, path)}
	if got := f.dump(); got != want {
		t.Errorf("it has\n%.500s\ninstead of\n%.500s", got, want)
	}
	f.closeChecked()
}

func TestBackupHasNoFreePages(t *testing.T) {
	f := newFixture(t)
	const secret = "nobody is to find this again"
	b := f.batch()
	for range 200 {
		b.Append = append(b.Append, f.message(laneA, func(r *store.Record) { r.Payload = []byte(strings.Repeat(secret, 50)) }))
	}
	f.commit(b)
	f.checkpoint()
	b = f.batch()
	b.Remove = []store.Removal{{Lane: laneA, Range: store.Span{From: 1, To: 200}}}
	f.commit(b)
	path := filepath.Join(t.TempDir(), "backup")
	f.backup(path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(secret)) {
		t.Error("the backup has what was removed before")
	}
}

func TestBackupIsBrokenOff(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA, large('a', 4<<20)))
	f.commit(b)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	if err := f.Backup(ctx, filepath.Join(dir, "backup"), func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := files(t, dir); len(got) > 0 {
		t.Errorf("left over: %q", got)
	}
	f.backup(filepath.Join(dir, "backup"))
}

func TestBackupReplacesBackupsAlone(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	f.backup(path)
	f.backup(path)
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte(strings.Repeat("mine", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Backup(t.Context(), other, nil); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := f.Backup(t.Context(), f.path, nil); err == nil {
		t.Error("the database was replaced by its backup")
	}
	if err := f.Backup(t.Context(), filepath.Join(dir, "none", "backup"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestSaveBackup(t *testing.T) {
	f := newFixture(t)
	dir := t.TempDir()
	path, saved := filepath.Join(dir, "backup"), filepath.Join(dir, "saved")
	f.backup(path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := SaveBackup(t.Context(), saved, bytes.NewReader(text[:len(text)-1])); !errors.Is(err, ErrNoBackup) {
		t.Error(err)
	}
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("left over: %q", got)
	}
	if err := SaveBackup(t.Context(), saved, bytes.NewReader(text)); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(saved); err != nil || !bytes.Equal(got, text) {
		t.Error("it was not saved as it is", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA, large('a', 64<<10)))
	f.commit(b)
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	f.backup(path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	database := filepath.Join(dir, "there.db")
	if err := os.WriteFile(database, []byte("it stays"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := filepath.Join(dir, "damaged")
	refused := func(why string, text []byte) {
		t.Helper()
		if err := os.WriteFile(damaged, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(t.Context(), damaged, database, Options{Logger: silent}, nil); err == nil {
			t.Errorf("%s: it was restored", why)
		}
		if got, err := os.ReadFile(database); err != nil || string(got) != "it stays" {
			t.Errorf("%s: the database was replaced", why)
		}
	}
	for at := 0; at < len(text); at += len(text) / 20 {
		wrong := bytes.Clone(text)
		wrong[at] ^= 1
		refused("a bit is wrong", wrong)
		refused("cut short", text[:at])
	}
	refused("its last byte is missing", text[:len(text)-1])
	refused("its checksum is missing", text[:len(text)-sumSize])
	wrong := bytes.Clone(text)
	wrong[len(wrong)-1] ^= 1
	refused("its checksum is wrong", wrong)
	// Right by its checksum, and no database.
	none := filepath.Join(dir, "none")
	nb, err := newBackup(none)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nb.file.WriteString(strings.Repeat("no database ", 5000)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(nb.seal(&pace{ctx: t.Context()}, func(int64) {}), nb.finish()); err != nil {
		t.Fatal(err)
	}
	if text, err = os.ReadFile(none); err != nil {
		t.Fatal(err)
	}
	refused("no database", text)
	if got := files(t, dir); len(got) != 4 {
		t.Errorf("left over: %q", got)
	}
	if _, err := Restore(t.Context(), path, f.path, Options{Logger: silent}, nil); !errors.Is(err, store.ErrInUse) {
		t.Error("it was restored over a database that is open:", err)
	}
}

func TestRestoreKeepsWhatItReplaces(t *testing.T) {
	f := newFixture(t)
	b := f.batch()
	b.Append = append(b.Append, f.message(laneA))
	f.commit(b)
	old := f.dump()
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	f.backup(path)
	b = f.batch()
	b.Append = append(b.Append, f.message(laneA), f.message(laneB))
	f.commit(b)
	now := f.dump()
	// As a crash leaves it: with its log.
	crashed := filepath.Join(dir, "crashed.db")
	copyFile(t, f.path, crashed)
	if err := disktest.CopyDir(logDir(crashed), logDir(f.path)); err != nil {
		t.Fatal(err)
	}
	kept, err := Restore(t.Context(), path, crashed, Options{Logger: silent}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantDump(t, crashed, old)
	k := fixture{t: t, Store: openChecked(t, kept)}
	if got := k.dump(); got != now {
		t.Errorf("kept is\n%.500s\ninstead of\n%.500s", got, now)
	}
	k.closeChecked()
}
