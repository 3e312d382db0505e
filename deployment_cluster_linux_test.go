package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The configuration of the containers, with keys made as docs/cluster.md says, is that of a cluster: three processes talk by TLS alone, and the front passes
// requests on to the one that leads.
func TestDeployedCluster(t *testing.T) {
	sh := needs(t, "bash", "bash")
	needs(t, "openssl", "openssl")
	blocks := regexp.MustCompile("(?s)```sh\n(openssl .*?)```").FindStringSubmatch(pages(t)["docs/cluster.md"])
	text, err := os.ReadFile("deploy/container/cluster/pipit.toml")
	if err != nil || blocks == nil {
		t.Fatalf("%v, keys %q", err, blocks)
	}
	c := &trio{t: t, dir: t.TempDir(), addrs: map[string]string{}, nodes: map[string]*process{}, figures: map[string]string{}}
	keys := exec.CommandContext(t.Context(), sh, "-ec", strings.ReplaceAll(blocks[1], "DNS:$name", "IP:127.0.0.1"))
	keys.Dir = c.dir
	if out, err := keys.CombinedOutput(); err != nil {
		t.Fatalf("the keys: %v\n%s", err, out)
	}
	reached := map[string]string{}
	all := []string{}
	for _, name := range nodeNames {
		c.addrs[name], c.figures[name], reached[name] = reserveAddr(t), reserveAddr(t), reserveAddr(t)
		all = append(all, `"`+name+"="+name+`:7001"`, `"`+name+"="+reached[name]+`"`)
	}
	for _, name := range nodeNames {
		_, port, _ := strings.Cut(reached[name], ":")
		own := fmt.Sprintf("[cluster]\nnode = %q\ntls_ca = \"ca.pem\"\ntls_cert = \"%[1]s.pem\"\ntls_key = \"%[1]s.key\"\n", name) // which are variables there
		said := strings.NewReplacer(append(all, `":7001"`, `":`+port+`"`, "/data/pipit.db", name+".db", "/data/cluster", "cluster-"+name, "[cluster]\n", own)...).Replace(string(text))
		if strings.Contains(said, `:7001"`) || strings.Contains(said, "/data") {
			t.Fatal(said)
		}
		if err := os.WriteFile(c.file(name), []byte(said), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c.begin()
	if leader := c.whole("b"); leader != "a" {
		t.Errorf("%s leads: want a, whose database it was", leader)
	}
	if status, answer := c.ask("c", "GET", "/readyz", ""); status != 200 {
		t.Errorf("a follower is not ready: %d %s", status, answer)
	}
	c.front()
}

// front has HAProxy, by the configuration of the containers, find the node that leads.
func (c *trio) front() {
	c.t.Helper()
	path := needs(c.t, "haproxy", "haproxy")
	text, err := os.ReadFile("deploy/container/cluster/haproxy.cfg")
	if err != nil {
		c.t.Fatal(err)
	}
	addr := reserveAddr(c.t)
	pairs := []string{"bind :11223", "bind " + addr}
	for _, name := range nodeNames {
		pairs = append(pairs, name+":11223", c.addrs[name])
	}
	file := filepath.Join(c.dir, "haproxy.cfg")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(c.t.Context(), path, "-db", "-f", file)
	cmd.Stdout, cmd.Stderr = c.t.Output(), c.t.Output()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	c.addrs["front"] = addr
	status, answer := 0, ""
	for deadline := time.Now().Add(time.Minute); status != 200 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) { // lint:sleep another process
		status, answer = c.ask("front", "GET", "/readyz?leader=true", "")
	}
	if status != 200 { // no other node says so
		c.t.Errorf("by the front: %d %s", status, answer)
	}
}
