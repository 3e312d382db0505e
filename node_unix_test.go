//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trio is a cluster of three processes.
type trio struct {
	t     *testing.T
	dir   string
	addrs map[string]string // of the protocol, by node
	nodes map[string]*process

	figures  map[string]string // addresses of the metrics, by node
	env      []string          // of all
	lag      uint64            // that a node may have which counts as whole
	past     []*process        // all that there were
	started  func(name string, pid int)
	programs map[string]string // of nodes that are not this one
}

var nodeNames = []string{"a", "b", "c"}

// newTrio starts three nodes of the example's configuration.
func newTrio(t *testing.T) *trio {
	t.Helper()
	base, err := os.ReadFile(example(t))
	if err != nil {
		t.Fatal(err)
	}
	return newTrioOf(t, strings.Replace(string(base), `file = "pipit.db"`, `file = "NODE.db"`, 1), direct)
}

// direct has the nodes reach each other where they listen.
func direct(_, addr string) string { return addr }

// newTrioOf starts three nodes of a configuration, in which NODE stands for a node's name, with variables. reached tells where others reach a node that
// listens at an address.
func newTrioOf(t *testing.T, base string, reached func(name, addr string) string, env ...string) *trio {
	t.Helper()
	c := layTrio(t, base, reached, env...)
	c.begin()
	return c
}

// layTrio writes what newTrioOf starts.
func layTrio(t *testing.T, base string, reached func(name, addr string) string, env ...string) *trio {
	t.Helper()
	c := &trio{t: t, dir: t.TempDir(), env: env, addrs: map[string]string{}, nodes: map[string]*process{}}
	var peers []string
	ports := map[string]string{}
	c.figures = map[string]string{}
	for _, name := range nodeNames {
		ports[name] = reserveAddr(t)
		c.addrs[name], c.figures[name] = reserveAddr(t), reserveAddr(t)
		peers = append(peers, fmt.Sprintf("%q", name+"="+reached(name, ports[name])))
	}
	for _, name := range nodeNames {
		text := strings.ReplaceAll(base, "NODE", name) + fmt.Sprintf(
			"\n[cluster]\nnode = %q\nlisten = %q\npeers = [%s]\ndirectory = %q\n", name, ports[name], strings.Join(peers, ", "), "cluster-"+name)
		if err := os.WriteFile(c.file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// begin makes node a the first of the cluster, and starts all.
func (c *trio) begin() {
	c.t.Helper()
	if out, err := c.command("cluster", "init", "--config", "a.toml"); err != nil {
		c.t.Fatalf("init: %v\n%s", err, out)
	}
	for _, name := range nodeNames {
		c.start(name)
	}
}

func (c *trio) start(name string) {
	c.t.Helper()
	cmd := program(c.t, c.dir, append([]string{"PIPIT_HTTP_LISTEN=" + c.addrs[name], "PIPIT_METRICS_LISTEN=" + c.figures[name]}, c.env...), "-config", name+".toml")
	if binary := c.programs[name]; binary != "" {
		cmd.Path = binary
	}
	c.nodes[name] = startCommand(c.t, cmd)
	c.past = append(c.past, c.nodes[name])
	if c.started != nil {
		c.started(name, c.nodes[name].cmd.Process.Pid)
	}
}

func (c *trio) command(args ...string) (string, error) {
	cmd := program(c.t, c.dir, nil, args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// transfer has a node lead, which another one is asked for. Raft gives up after a heartbeat, which can be too short for an election on a busy machine: it is tried again.
func (c *trio) transfer(to, at string) error {
	for deadline := time.Now().Add(time.Minute); ; {
		out, err := c.command("cluster", "transfer", to, "--config", at+".toml")
		if err == nil && strings.HasPrefix(out, to+" leads") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("transfer to %s: %v: %s", to, err, out)
		}
	}
}

func (c *trio) kill(name string) {
	c.t.Helper()
	_ = c.nodes[name].cmd.Process.Kill()
	<-c.nodes[name].ended
}

// whole waits until a node knows of a leader and of all nodes as followers of it that have caught up.
func (c *trio) whole(name string) (leader string) {
	c.t.Helper()
	var out string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) { // lint:sleep other processes
		var err error
		if out, err = c.command("cluster", "status", "--json", "--config", name+".toml"); err != nil {
			continue
		}
		var s struct {
			Leader string
			Term   uint64
			Nodes  []struct {
				Node, Role   string
				Applied, Lag uint64
				Contact      float64 `json:"contact_seconds"`
			}
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			c.t.Fatalf("%v: %s", err, out)
		}
		roles := []string{}
		for _, n := range s.Nodes {
			if n.Lag <= c.lag && n.Applied > 0 && n.Contact >= 0 {
				roles = append(roles, n.Role)
			}
		}
		slices.Sort(roles)
		if s.Term > 0 && slices.Equal(roles, []string{"follower", "follower", "leader"}) {
			return s.Leader
		}
	}
	c.t.Fatalf("the cluster is not whole: %s", out)
	return ""
}

// ask sends a request to a node.
func (c *trio) ask(name, method, path, body string) (status int, answer string) {
	return c.askFor(c.t.Context(), name, method, path, body)
}

func (c *trio) askFor(ctx context.Context, name, method, path, body string) (status int, answer string) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.addrs[name]+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if req.SetBasicAuth("crm", "crm"); strings.HasPrefix(path, trioQueue) {
		req.SetBasicAuth("erp", "erp")
		req.Header.Set("X-Zato-PubSub-Key", trioKey)
	}
	rsp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return rsp.StatusCode, string(text)
}

const (
	trioTopic = "/zato/pubsub/topic//customer/created/"
	trioQueue = "/zato/pubsub/msg//customer/created/"
	trioKey   = "K06Y63NEJQYGMQKTP9D4KGQQ0GB2"
)

// publish publishes a message by a node, again with the same ID as long as its outcome is not known, and at another node where that is away.
func (c *trio) publish(name string, n int) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Second) // it may be one that was stopped
		status, answer := c.askFor(ctx, name, "POST", fmt.Sprintf("%s?msg_id=m%d&expiration=3600", trioTopic, n), fmt.Sprint(n))
		cancel()
		switch status {
		case 200:
			return
		case 0, 503:
			name = nodeNames[(slices.Index(nodeNames, name)+1)%3]
		default:
			c.t.Fatalf("publishing %d at %s: %d %s", n, name, status, answer)
		}
	}
	c.t.Fatalf("%d could not be published in a minute", n)
}

// Three processes are a cluster by one command. Each takes any request; what was answered is there after the leader was killed, after
// all were, and when one of them is a database of its own again.
func TestClusterNodes(t *testing.T) {
	c := newTrio(t)
	leader := c.whole("b")
	if leader != "a" {
		t.Errorf("%s leads: want a, whose database it was", leader)
	}
	sent := 0
	for _, name := range nodeNames {
		c.publish(name, sent)
		sent++
	}
	if status, answer := c.ask("b", "GET", "/readyz", ""); status != 200 {
		t.Errorf("a follower is not ready: %d %s", status, answer)
	}
	for _, name := range nodeNames {
		if status, answer := c.ask(name, "GET", "/readyz?leader=true", ""); (status == 200) != (name == leader) {
			t.Errorf("%s says of its lead: %d %s", name, status, answer)
		}
	}

	// Each node tells how it stands, and the leader of the others, too.
	for _, name := range nodeNames {
		text := c.scrape(name)
		leads := strings.Contains(text, "\npipit_cluster_leader 1\n")
		tells := strings.Count(text, "\npipit_cluster_node_lag{")
		if want := map[bool]int{true: 2, false: 0}[name == leader]; leads != (name == leader) || tells != want || !strings.Contains(text, "\npipit_cluster_applied ") {
			t.Errorf("%s tells of its cluster, leading %v, of %d others:\n%s", name, leads, tells, text)
		}
	}

	for _, name := range nodeNames {
		if name != leader { // which changes for a follower as well what is not of the broker
			c.debug(name)
		}
	}
	c.kill(leader)
	for range 20 {
		c.publish("b", sent)
		sent++
	}
	c.start(leader)
	after := c.whole(leader)
	if after == leader {
		t.Errorf("%s leads still", leader)
	}
	if log := c.nodes[after].lines(); !strings.Contains(log, "DEBUG") {
		t.Errorf("%s was told to log more:\n%s", after, log)
	}
	if err := c.transfer(leader, "c"); err != nil {
		t.Error(err)
	}
	text := c.scrape(after)
	for deadline := time.Now().Add(time.Minute); strings.Contains(text, "pipit_queue_messages") && time.Now().Before(deadline); text = c.scrape(after) {
		time.Sleep(20 * time.Millisecond) // lint:sleep another process, which closes its doors
	}
	if strings.Contains(text, "pipit_queue_messages") {
		t.Errorf("%s leads no more, and tells of queues:\n%s", after, text)
	}
	c.publish("c", sent)
	sent++
	if log := c.nodes[after].lines(); strings.Contains(log, "ERROR") || strings.Contains(log, "not closed in order") {
		t.Errorf("%s leads no more, which is no error:\n%s", after, log)
	}
	if out, err := c.command("cluster", "status", "--verify", "--config", "b.toml"); err != nil {
		t.Errorf("the copies are not the same: %v\n%s", err, out)
	}

	// A node that has lost its disk is a stranger until it is replaced.
	lost := nodeNames[(slices.Index(nodeNames, leader)+1)%3]
	c.kill(lost)
	for _, name := range []string{lost + ".db", "cluster-" + lost} {
		if err := os.RemoveAll(filepath.Join(c.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c.start(lost)
	if out, err := c.command("cluster", "replace", lost, "--config", leader+".toml"); err != nil {
		t.Errorf("replace: %v\n%s", err, out)
	}
	c.whole(leader)

	for _, name := range nodeNames {
		c.kill(name)
	}
	for _, name := range nodeNames {
		c.start(name)
	}
	leader = c.whole("c")
	if got := c.received("c"); len(got) != sent {
		t.Errorf("%d messages are there: want %d", len(got), sent)
	}

	for _, name := range nodeNames {
		if name != leader {
			if code, log := c.nodes[name].stop(t, syscall.SIGTERM); code != 0 {
				t.Errorf("%s ended with %d:\n%s", name, code, log)
			}
		}
	}
	if code, log := c.nodes[leader].stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("%s ended with %d:\n%s", leader, code, log)
	}
	if out, err := c.command("check", leader+".db"); err != nil {
		t.Errorf("check: %v %s", err, out)
	}
	alone := start(t, c.dir, []string{"PIPIT_HTTP_LISTEN=" + c.addrs[leader], "PIPIT_DATABASE_FILE=" + leader + ".db"}, "-config", example(t))
	c.nodes = map[string]*process{leader: alone}
	if got := c.received(leader); len(got) != sent {
		t.Errorf("%d messages are in the file of one: want %d", len(got), sent)
	}
}

// debug has a node load a configuration by which it logs more.
func (c *trio) debug(name string) {
	c.t.Helper()
	file := c.file(name)
	text, err := os.ReadFile(file)
	if err != nil {
		c.t.Fatal(err)
	}
	c.nodes[name].reload(c.t, file, strings.Replace(string(text), "\n[log]\n", "\n[log]\nlevel = \"debug\"\n", 1), "configuration loaded again")
}

// scrape returns a node's own figures.
func (c *trio) scrape(name string) string {
	c.t.Helper()
	rsp, err := client.Get("http://" + c.figures[name] + "/metrics")
	if err != nil {
		c.t.Fatal(err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// received looks at what waits, without acknowledging it.
func (c *trio) received(name string) (payloads []string) {
	c.t.Helper()
	status, answer := c.ask(name, "POST", trioQueue+"?max=1000", "")
	if status != 200 {
		c.t.Fatalf("receiving at %s: %d %s", name, status, answer)
	}
	var doc struct{ Results []struct{ Payload string } }
	if err := json.Unmarshal([]byte(answer), &doc); err != nil {
		c.t.Fatalf("%v: %s", err, answer)
	}
	for _, m := range doc.Results {
		payloads = append(payloads, m.Payload)
	}
	return payloads
}

// file is the path of a node's configuration.
func (c *trio) file(name string) string { return filepath.Join(c.dir, name+".toml") }
