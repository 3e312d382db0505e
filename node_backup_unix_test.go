//go:build unix

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Each node makes the backups that are due of its own copy, whether it leads or not, and one of its copy where somebody asks for that.
func TestClusterBackups(t *testing.T) {
	base, err := os.ReadFile(example(t))
	if err != nil {
		t.Fatal(err)
	}
	c := newTrioOf(t, strings.NewReplacer(`file = "pipit.db"`, `file = "NODE.db"`, "\n[backup]\n", "\n[backup]\nevery = \"1h\"\n").Replace(string(base)), direct)
	leader := c.whole("a")
	for n := range 5 {
		c.publish("b", n)
	}
	follower := nodeNames[(slices.Index(nodeNames, leader)+1)%3]
	c.whole(leader) // without lag: what was published is in each copy
	const file = "of-one.backup"
	if out, err := c.command("backup", file, "--config", follower+".toml"); err != nil {
		t.Fatalf("backup of a follower: %v\n%s", err, out)
	}
	c.nodes[follower].line(t, "a backup of this node's copy was asked for") // it is who made it
	for _, name := range nodeNames {
		var list []string
		for deadline := time.Now().Add(time.Minute); len(list) == 0 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // lint:sleep other processes
			list, _ = filepath.Glob(filepath.Join(c.dir, name+".db-backups", "pipit-*.backup"))
		}
		if len(list) != 1 {
			t.Fatalf("%s has the backups %q: want one, which was due", name, list)
		}
		if out, err := c.command("check", list[0]); err != nil {
			t.Errorf("what %s made: %v\n%s", name, err, out)
		}
	}
	for _, name := range nodeNames {
		c.kill(name)
	}

	// A cluster begins anew with it.
	for _, name := range nodeNames {
		for _, gone := range []string{"cluster-" + name, name + ".db"} {
			if gone == "a.db" { // restore keeps it
				continue
			}
			if err := os.RemoveAll(filepath.Join(c.dir, gone)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := c.command("restore", file, "--config", "a.toml"); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	c.begin()
	c.whole("b")
	if got := c.received("c"); len(got) != 5 {
		t.Errorf("%d messages are in the backup: want 5", len(got))
	}
}

// A configuration may be loaded again at any moment, also while a term begins or ends; which keys of [cluster] need a restart is said.
func TestClusterReload(t *testing.T) {
	c := newTrio(t)
	leader := c.whole("a")
	for range 3 {
		hangup := func() {
			for _, name := range nodeNames {
				if err := c.nodes[name].cmd.Process.Signal(syscall.SIGHUP); err != nil {
					t.Fatal(err)
				}
			}
		}
		done := make(chan error, 1)
		leader = nodeNames[(slices.Index(nodeNames, leader)+1)%3]
		go func() { done <- c.transfer(leader, "b") }()
		for moved := false; !moved; {
			hangup()
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				moved = true
			case <-time.After(5 * time.Millisecond): // lint:sleep other processes
			}
		}
	}
	c.whole("c")
	c.publish("a", 1)
	for _, name := range nodeNames {
		text, err := os.ReadFile(c.file(name))
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[name].reload(t, c.file(name), strings.Replace(string(text), "\n[cluster]\n", "\n[cluster]\nforward_wait = \"3s\"\nheartbeat = \"2s\"\n", 1),
			`(?s)"changed":\["cluster.forward_wait"\].*need a restart","keys":\["cluster.heartbeat"\]`)
	}
	for _, name := range nodeNames {
		if code, log := c.nodes[name].stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "DATA RACE") || strings.Contains(log, `"level":"ERROR"`) {
			t.Errorf("%s ended with %d:\n%s", name, code, log)
		}
	}
}
