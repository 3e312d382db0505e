//go:build unix

package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What root makes in the folder of a service is the service's own, which could not use it else: a new database, its log, and
// what is restored, which has the owner of what it replaces.
func TestOwnerOfFiles(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	const service, other = 61185, 61186
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "pipit.backup")
	file := filepath.Join(data, "pipit.db")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(data, service, service); err != nil {
		t.Fatal(err)
	}
	owned := func(when string, by uint32, least int) {
		t.Helper()
		n := 0
		err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) { // a segment that was being made has got its name
				return nil
			}
			if err != nil {
				return err
			}
			if n++; path != data && info.Sys().(*syscall.Stat_t).Uid != by {
				t.Errorf("%s: %s is owned by %d, not by %d", when, path, info.Sys().(*syscall.Stat_t).Uid, by)
			}
			return nil
		})
		if err != nil || n < least {
			t.Errorf("%s: %d files, %v", when, n, err)
		}
	}
	p := start(t, dir, append([]string{"PIPIT_DATABASE_FILE=" + file}, anyPort...), "-config", example(t))
	if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "x"); !strings.HasPrefix(answer, "200 ") {
		t.Fatal(answer)
	}
	owned("a server that root starts", service, 4) // the folder, the database, the log and its segments
	p.stop(t, syscall.SIGTERM)
	ok(t, "backup", backup, "--database", file)
	if info, err := os.Stat(backup); err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("a backup, which has secrets, is root's alone: %v %v", info, err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	ok(t, "restore", backup, "--database", file)
	owned("restored where nothing was", service, 2)
	if err := os.Chown(file, other, other); err != nil {
		t.Fatal(err)
	}
	ok(t, "restore", backup, "--database", file)
	owned("restored in its place", other, 3)
	made := filepath.Join(data, "made.db")
	var out bytes.Buffer
	if code := run(t.Context(), []string{"admin", "create", "ann", "--database", made, "--create"}, nil, strings.NewReader("correct horse battery\n"), &out, &out); code != 0 {
		t.Fatal(code, &out)
	}
	if info, err := os.Stat(made); err != nil || info.Sys().(*syscall.Stat_t).Uid != service {
		t.Errorf("made by pipit admin create: %v %v", info, err)
	}
}
