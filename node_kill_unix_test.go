//go:build unix

package main

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

var clusterKills = flag.Int("cluster-kills", 0, "how often TestKillCluster kills the leader, a follower, or all nodes, with the usual heartbeat; 0: three times, with a shorter one")

// quickly has the nodes find out soon that one is away, where a test is to be short.
const quickly = "PIPIT_CLUSTER_HEARTBEAT=300ms"

// TestKillCluster kills one node after another, or all, while messages go through all of them: nothing that was answered is missing in the end, nothing
// that was acknowledged comes again, and no message is in two hands. With -v it tells how long it took until a publish was answered again.
func TestKillCluster(t *testing.T) {
	rounds, env := *clusterKills, []string(nil)
	if rounds == 0 {
		rounds, env = 3, []string{quickly}
	}
	c := newTrioOf(t, trafficConfig, direct, env...)
	c.lag = 100 // as it changes all the time
	leader := c.whole("a")
	l := newTraffic(c, 20, 10*time.Millisecond, 20*time.Second)
	l.next(time.Now())
	took := map[string][]time.Duration{}
	for i := range rounds {
		what := []string{"leader", "follower", "all", "leader"}[i%4]
		var victims []string
		switch what {
		case "leader":
			victims = []string{leader}
		case "follower":
			victims = []string{other(leader)}
		case "all":
			victims = nodeNames
		}
		began := time.Now()
		for _, name := range victims {
			if err := c.nodes[name].cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range victims {
			<-c.nodes[name].ended
		}
		if what != "all" {
			took[what] = append(took[what], l.next(began).Sub(began))
		}
		for _, name := range victims {
			c.start(name)
		}
		if what == "all" {
			took[what] = append(took[what], l.next(began).Sub(began))
		}
		leader = c.whole(leader)

		// Another one leads as it is told to.
		next := other(leader)
		began = time.Now()
		if text, err := askNode(t.Context(), c.file(leader), nil, "transfer?node="+next); err != nil {
			t.Logf("%s did not take over: %v %s", next, err, text)
			leader = c.whole(leader)
			continue
		}
		took["transfer"] = append(took["transfer"], l.gap(began, l.next(time.Now())))
		leader = c.whole(next)
	}
	if lost := l.drain(); len(lost) > 0 {
		t.Errorf("lost: %v", lost)
	}
	l.judge(t)
	if out, err := c.command("cluster", "status", "--verify", "--config", "b.toml"); err != nil {
		t.Errorf("the copies are not the same: %v\n%s", err, out)
	}
	for _, p := range c.past { // it is of the configuration, and is not to hold up a term
		if log := p.lines(); strings.Count(log, "is weak: it is the username") != 1 {
			t.Errorf("a node tells of its weak password more than once, or never:\n%s", log)
		}
	}
	t.Logf("%d messages published, %d calls\n%s", l.last, len(l.calls), times(took))
}

func other(name string) string { return nodeNames[(slices.Index(nodeNames, name)+1)%3] }

// times tells the median and the most of some times.
func times(took map[string][]time.Duration) string {
	var b strings.Builder
	for _, what := range []string{"leader", "follower", "all", "transfer"} {
		list := took[what]
		if len(list) == 0 {
			continue
		}
		slices.Sort(list)
		fmt.Fprintf(&b, "%-9s %3d times, until a publish was answered: median %4d ms, most %4d ms\n", what, len(list), list[len(list)/2].Milliseconds(), list[len(list)-1].Milliseconds())
	}
	return b.String()
}
