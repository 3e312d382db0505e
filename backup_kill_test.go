package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server that is killed while it makes a backup leaves none that is not whole, under a name that says so what it had of it,
// which the next start removes, and a whole database.
func TestKilledInBackup(t *testing.T) {
	dir, backups := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	p := start(t, dir, anyPort, "-config", example(t))
	payload := strings.Repeat("x", 500_000)
	for range 40 {
		if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/?expiration=3600", "", payload); !strings.HasPrefix(answer, "200 ") {
			t.Fatal(answer)
		}
	}
	p.stop(t, syscall.SIGTERM)
	env := slices.Concat(anyPort, []string{"PIPIT_BACKUP_DIRECTORY=" + backups, "PIPIT_BACKUP_EVERY=1h"})
	there := func(pattern string) []string {
		list, _ := filepath.Glob(filepath.Join(backups, pattern))
		return list
	}
	var left []string
	for round := 0; round < 3 || len(left) == 0 && round < 20; round++ {
		p = start(t, dir, env, "-config", example(t))
		for len(there("*")) == 0 {
			time.Sleep(time.Millisecond) // lint:sleep the backup is begun by another process
		}
		time.Sleep(rand.N(20 * time.Millisecond / time.Duration(1+round))) // lint:sleep any moment of it
		p.cmd.Process.Kill()
		<-p.ended
		p.cmd.Wait()
		if list := there("*.part"); len(list) > 0 {
			left = list
		}
		ok(t, "check", filepath.Join(dir, "pipit.db"))
		for i, name := range there("*.backup") {
			ok(t, "restore", name, "--file", filepath.Join(t.TempDir(), fmt.Sprint(i)))
			os.Remove(name)
		}
	}
	if len(left) == 0 {
		t.Error("no backup was broken off")
	}
	p = start(t, dir, env, "-config", example(t))
	p.line(t, `"msg":"a backup is made"`)
	if list := there("*.part"); len(list) > 0 {
		t.Errorf("%q are left", list)
	}
	list := there("*.backup")
	if len(list) != 1 {
		t.Fatalf("backups %q", list)
	}
	ok(t, "restore", list[0], "--file", filepath.Join(dir, "restored.db"))
	ok(t, "check", filepath.Join(dir, "restored.db"))
}

// ok runs a command, which is to end with exit code 0.
func ok(t *testing.T, args ...string) {
	t.Helper()
	var out bytes.Buffer
	if code := run(t.Context(), args, nil, strings.NewReader(""), &out, &out); code != 0 {
		t.Errorf("%q: exit code %d\n%s", args, code, &out)
	}
}
