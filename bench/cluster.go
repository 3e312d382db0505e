package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Three nodes of a cluster run beside a single server, all on this machine and its one disk: each flush of the single one stands against three, two of
// which wait for the first. What the shares say of three machines is that they do at least as well.

// cluster is three nodes; the one that leads is asked.
type cluster struct {
	nodes  []*server
	leader *server
}

// newCluster founds a cluster and starts its nodes.
func (b *bench) newCluster(ctx context.Context, t topic) (c *cluster, err error) {
	c = &cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.discard())
		}
	}()
	var addrs, peers []string
	for i := range 3 {
		addr, err := freeAddr()
		if err != nil {
			return c, err
		}
		addrs = append(addrs, addr)
		peers = append(peers, quote(fmt.Sprintf("%c=%s", 'a'+i, addr)))
	}
	for i, addr := range addrs {
		s, err := b.prepare(b.pipit, t)
		if err != nil {
			return c, err
		}
		if i > 0 {
			s.profile = "" // that of the first one, which leads
		}
		c.nodes = append(c.nodes, s)
		f, err := os.OpenFile(s.configFile(), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return c, err
		}
		_, err = fmt.Fprintf(f, "\n[cluster]\nnode = \"%c\"\nlisten = %s\ndirectory = \"cluster\"\npeers = [%s]\n", 'a'+i, quote(addr), strings.Join(peers, ", "))
		if err = errors.Join(err, f.Close()); err != nil {
			return c, err
		}
	}
	if _, err := c.command(ctx, "init"); err != nil {
		return c, err
	}
	for _, s := range c.nodes {
		if err := s.start(ctx); err != nil {
			return c, err
		}
	}
	return c, c.await(ctx)
}

// command runs a command on the first node.
func (c *cluster) command(ctx context.Context, args ...string) ([]byte, error) {
	s := c.nodes[0]
	cmd := exec.CommandContext(ctx, s.binary, append(append([]string{"cluster"}, args...), "--config", s.configFile())...) // #nosec G204 -- the program that is measured
	cmd.Dir = s.dir
	out, err := cmd.Output()
	if ended := (*exec.ExitError)(nil); errors.As(err, &ended) {
		err = fmt.Errorf("cluster %s: %w: %s", args[0], err, bytes.TrimSpace(ended.Stderr))
	}
	return out, err
}

// await returns when all are members and have what there is.
func (c *cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		var status struct {
			Leader string
			Nodes  []struct {
				Role string
				Lag  uint64
			}
		}
		out, err := c.command(ctx, "status", "--json")
		if err == nil {
			err = json.Unmarshal(out, &status)
		}
		if err == nil && status.Leader != "" && len(status.Nodes) == len(c.nodes) && !slices.ContainsFunc(status.Nodes, func(n struct {
			Role string
			Lag  uint64
		}) bool {
			return n.Role == "joining" || n.Lag > 0
		}) {
			c.leader = c.nodes[status.Leader[0]-'a']
			return nil
		}
		if perr := pause(ctx, 50*time.Millisecond); perr != nil {
			return errors.Join(perr, err)
		}
	}
}

func (c *cluster) discard() error {
	var errs []error
	for _, s := range c.nodes {
		errs = append(errs, s.stop())
	}
	for _, s := range c.nodes {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// beside has work done by three nodes and by a single server in turns.
func (b *bench) beside(ctx context.Context, t topic, work func(s *server) (sample, error), report func(figures, baselines []sample)) (err error) {
	single, err := b.newServer(ctx, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, single.discard()) }()
	c, err := b.newCluster(ctx, t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.discard()) }()
	figures, baselines, err := b.takeTurns(
		func() (out sample, err error) {
			_, err = b.measure(ctx, c.leader, func() (err error) { out, err = work(c.leader); return err })
			return out, err
		},
		func() (sample, error) { return work(single) })
	if err == nil {
		report(figures, baselines)
		b.noteProfile(ctx)
	}
	return err
}

// clusterRate compares what gets done in a second.
func clusterRate(share float64, work func(ctx context.Context, b *bench, s *server) (sample, error)) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) error {
		return b.beside(ctx, topic{name: topicName, expiration: 3600, consumers: 1},
			func(s *server) (sample, error) { return work(ctx, b, s) },
			func(figures, baselines []sample) {
				f, base := medianSample(figures), medianSample(baselines)
				b.report.versus(b.scenario, perSecond(f.rate, "msg"), perSecond(base.rate, "msg")+" of one node", f.rate/base.rate, atLeast(share, share), percent)
				var ratios []string
				for i := range figures {
					ratios = append(ratios, percent(figures[i].rate/baselines[i].rate))
				}
				b.report.note("%s: rounds %s; the leader: %s", b.scenario, strings.Join(ratios, ", "), f)
				b.report.note("%s: one node: %s", b.scenario, base)
			})
	}
}

func clusterPublish(clients int, share float64) func(context.Context, *bench) error {
	req := publishRequest(topicName, payloadSize)
	return clusterRate(share, func(ctx context.Context, b *bench, s *server) (sample, error) {
		if err := ask(ctx, s.target, req); err != nil { // the login
			return sample{}, err
		}
		return load(ctx, s.target, clients, 1, b.seconds, req)
	})
}

func clusterBatch(ctx context.Context, b *bench) error {
	req := batchRequest(topicName, payloadSize, batchLines)
	return clusterRate(0.15, func(ctx context.Context, b *bench, s *server) (sample, error) {
		return load(ctx, s.target, 1, batchLines, b.seconds, req)
	})(ctx, b)
}

func clusterDrain(ctx context.Context, b *bench) error {
	return clusterRate(0.30, func(ctx context.Context, _ *bench, s *server) (sample, error) {
		if err := fill(ctx, s.target, topicName, payloadSize, drainBacklog); err != nil {
			return sample{}, err
		}
		return drainOnce(ctx, s.target, 4)
	})(ctx, b)
}

// clusterLatency compares the time from publishing to receiving.
func clusterLatency(ctx context.Context, b *bench) error {
	return b.beside(ctx, topic{name: topicName, consumers: 1},
		func(s *server) (sample, error) {
			if err := ask(ctx, s.target, publishAt(topicName, time.Now()), receiveRequest(topicName, "max=1")); err != nil { // the logins
				return sample{}, err
			}
			return latencyOnce(ctx, s.target, b.seconds)
		},
		func(figures, baselines []sample) {
			f, base := medianSample(figures), medianSample(baselines)
			b.report.versus(b.scenario+" p50", short(f.latency.p50), short(base.latency.p50)+" of one node", float64(f.latency.p50)/float64(base.latency.p50), atMost(6), times)
			b.report.note("%s: %s; one node: %s", b.scenario, f, base)
		})
}

// clusterMemory publishes batches of 16 MiB and looks at the memory of each node.
func clusterMemory(ctx context.Context, b *bench) (err error) {
	c, err := b.newCluster(ctx, topic{name: topicName, expiration: 3600, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.discard()) }()
	req := batchRequest(topicName, 16_700, batchLines)
	var (
		looks sync.WaitGroup
		most  = make([][]residentMemory, len(c.nodes))
		over  = make(chan struct{})
	)
	for i, s := range c.nodes {
		looks.Go(func() {
			most[i], _ = mostMemory(s.pid, func() error { <-over; return nil })
		})
	}
	_, err = load(ctx, c.leader.target, 2, 1, time.Duration(b.rounds)*b.seconds, req)
	close(over)
	looks.Wait()
	for i, s := range c.nodes {
		what := "a node that follows, batches of 16 MiB"
		if s == c.leader {
			what = "the leader, batches of 16 MiB"
		}
		b.memoryRow(what, most[i], 200<<20)
	}
	return err
}
