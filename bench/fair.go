package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	quietClients = 99
	quietEvery   = 500 * time.Millisecond // between two messages of one
	quietTopic   = "/quiet"
)

// fair lets 99 clients publish a message of 1 KiB every half second each, beside one that publishes at full speed by so many
// connections, to a topic of its own, and without it. The latencies are those of the 99.
func fair(connections int) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		s, err := b.newServer(ctx, topic{name: topicName, consumers: 1, quiet: quietClients})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		for i := range quietClients { // the logins
			if err := ask(ctx, s.target, quietRequest(i)); err != nil {
				return err
			}
		}
		alone := func() (sample, error) { return quiet(ctx, s.target, b.seconds) }
		beside := func() (sample, error) {
			stop, err := startLoud(ctx, s.addr, connections)
			if err != nil {
				return sample{}, err
			}
			out, err := quiet(ctx, s.target, b.seconds)
			return out, errors.Join(err, stop())
		}
		figures, baselines, err := b.takeTurns(beside, alone)
		if err != nil {
			return err
		}
		f, base := medianSample(figures), medianSample(baselines)
		b.report.versus(b.scenario+": p99 of 99 quiet clients", short(f.latency.p99), short(base.latency.p99)+" without the loud one",
			float64(f.latency.p99)/float64(base.latency.p99), atMost(2), times)
		b.report.note("%s: beside it %s", b.scenario, f.latency)
		b.report.note("%s: without it %s", b.scenario, base.latency)
		b.noteProfile(ctx)
		return nil
	}
}

// loudFlag makes this command the loud client: another process, so that the quiet ones do not wait for it before they are sent.
const loudFlag = "-be-loud"

// beLoud publishes to an address by so many connections at full speed until in ends.
func beLoud(ctx context.Context, in io.Reader, addr, connections string) error {
	n, err := strconv.Atoi(connections)
	if err != nil {
		return err
	}
	conns, closeAll, err := dialAll(ctx, addr, n)
	if err != nil {
		return err
	}
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		ended.Store(true)
		closeAll()
	}()
	req := publishRequest(topicName, payloadSize)
	return each(conns, func(_ int, c *conn) error {
		for {
			if _, err := c.do(req); ended.Load() {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// startLoud runs the loud client as a child, which stop ends.
func startLoud(ctx context.Context, addr string, connections int) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, loudFlag, addr, strconv.Itoa(connections)) // #nosec G204 -- this program
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe() // it ends with us, however we end
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() error {
		_ = in.Close()
		return cmd.Wait()
	}, nil
}

func quietName(i int) string { return fmt.Sprintf("quiet-%d", i) }

func quietRequest(i int) []byte {
	return request(quietName(i), "/zato/pubsub/topic/"+quietTopic+"/", "Content-Type: text/plain\r\n", payload(payloadSize))
}

// quiet has each of the quiet clients publish for about d, one after another. Each time counts from when the message was due.
func quiet(ctx context.Context, t target, d time.Duration) (sample, error) {
	conns, closeAll, err := dialAll(ctx, t.addr, quietClients)
	if err != nil {
		return sample{}, err
	}
	defer closeAll()
	m := startMeter(t)
	latencies := make([][]time.Duration, quietClients)
	err = each(conns, func(i int, c *conn) error {
		req := quietRequest(i)
		for due := m.start.Add(quietEvery * time.Duration(i) / quietClients); due.Before(m.start.Add(d)); due = due.Add(quietEvery) {
			if err := pause(ctx, time.Until(due)); err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(ioTimeout))
			if _, err := c.do(req); err != nil {
				return err
			}
			latencies[i] = append(latencies[i], time.Since(due))
		}
		return nil
	})
	if err != nil {
		return sample{}, err
	}
	all := slices.Concat(latencies...)
	s := m.sample(len(all))
	s.latency = quantilesOf(all)
	return s, nil
}
