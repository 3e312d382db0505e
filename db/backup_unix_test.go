//go:build unix

package db

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What root restores belongs to whom the database belonged, or to whom its folder belongs: a service has a user of its own.
func TestRestoreKeepsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const folder, file = 12345, 12346
	dir := t.TempDir()
	saved, path := filepath.Join(dir, "saved"), filepath.Join(dir, "var", "test.db")
	s, err := Open(filepath.Join(dir, "a.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Backup(t.Context(), saved, nil), s.Close(), os.Mkdir(filepath.Dir(path), 0o700), os.Chown(filepath.Dir(path), folder, folder)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint32{folder, file} {
		if _, err := Restore(t.Context(), saved, path, Options{}, nil); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != want || st.Gid != want || info.Mode().Perm() != 0o600 {
			t.Errorf("it belongs to %d:%d, mode %v, want %d", st.Uid, st.Gid, info.Mode(), want)
		}
		if err := os.Chown(path, file, file); err != nil {
			t.Fatal(err)
		}
	}
}
