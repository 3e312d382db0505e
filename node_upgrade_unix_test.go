//go:build unix

package main

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var clusterBefore = flag.String("cluster-before", "", "program that TestClusterUpgrade replaces by this one; empty: this one, by one that writes newer entries")

// newerProgram builds this program with another version of entries.
func newerProgram(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	source, err := filepath.Abs("cluster/entry.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const version = "newestEntry = 1\n"
	if !strings.Contains(string(text), version) {
		t.Fatalf("%s has no %q", source, version)
	}
	other, list, binary := filepath.Join(dir, "entry.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "pipit")
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{source: other}})
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{other: strings.Replace(string(text), version, "newestEntry = 2\n", 1), list: string(overlay)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", list, "-ldflags", "-X main.version=99.0.0", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// TestClusterUpgrade replaces the program of one node after another, the followers first, as docs/cluster.md says, while messages go through all of
// them. Then the nodes write what the program of before does not read: it is not gone back to.
func TestClusterUpgrade(t *testing.T) {
	c := layTrio(t, trafficConfig, direct, quickly)
	c.lag, c.programs = 100, map[string]string{}
	after := "" // this one
	if *clusterBefore == "" {
		after = newerProgram(t)
	}
	for _, name := range nodeNames {
		c.programs[name] = *clusterBefore
	}
	c.begin()
	leader := c.whole("a")
	l := newTraffic(c, 20, 10*time.Millisecond, 20*time.Second)
	upgrade := func(name string) {
		t.Helper()
		if code, log := c.nodes[name].stop(t, syscall.SIGTERM); code != 0 {
			t.Fatalf("%s ended with %d:\n%s", name, code, log)
		}
		c.programs[name] = after
		c.start(name)
		leader = c.whole(name)
		l.next(time.Now())
	}
	first, last := other(leader), leader
	upgrade(first)
	upgrade(other(first))
	for ; leader != first; leader = c.whole(first) {
		if err := c.transfer(first, last); err != nil {
			t.Fatal(err)
		}
	}
	upgrade(last)
	if lost := l.drain(); len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
	l.judge(t)
	if out, err := c.command("cluster", "status", "--verify", "--config", "b.toml"); err != nil {
		t.Errorf("the copies are not the same: %v\n%s", err, out)
	}
	t.Logf("%d messages published, %d calls", l.last, len(l.calls))
	if *clusterBefore != "" {
		return
	}
	c.kill(last)
	c.programs[last] = ""
	c.start(last)
	if log := c.nodes[last].line(t, `.*this node can take part in its cluster no more.*`); !strings.Contains(log[0], "version 2; this one reads 1 to 1") {
		t.Errorf("the program of before says: %s", log)
	}
	<-c.nodes[last].ended
}
