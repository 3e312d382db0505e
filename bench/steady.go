package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	steadyPublishers = 16
	steadyMax        = 100     // messages a receive
	steadyBacklog    = 100_000 // publishers wait where more than so many are not acknowledged
	steadyEvery      = time.Minute
)

// steady publishes 1 KiB a request while one consumer, on one connection, receives and acknowledges, both at full speed. It counts
// what was acknowledged, and is compared with another binary, where there is one. Each minute has a note: its latencies are
// those of publishing.
func steady(ctx context.Context, b *bench) error {
	var windows, others [][]steadyWindow
	figure := b.steadying(ctx, b.pipit, &windows)
	var baseline round
	if b.before != "" {
		baseline = b.steadying(ctx, b.before, &others)
	}
	figures, baselines, err := b.takeTurns(figure, baseline)
	if err != nil {
		return err
	}
	f := medianSample(figures)
	if baseline == nil {
		b.report.absolute(b.scenario, f.rate, goal{}, func(v float64) string { return perSecond(v, "msg") })
	} else {
		base := medianSample(baselines)
		b.report.versus(b.scenario, perSecond(f.rate, "msg"), perSecond(base.rate, "msg")+" of "+filepath.Base(b.before),
			f.rate/base.rate, atLeast(1.5, 2.5), times)
		b.noteWindows(" before", others)
		b.report.note("%s: before: %s", b.scenario, base)
	}
	b.report.costs(f)
	b.diskRow(f, atMost(3_000).aiming(2_000))
	b.steadyDrift(slices.Concat(windows...))
	b.noteWindows("", windows)
	b.report.note("%s: %s", b.scenario, f)
	b.noteProfile(ctx)
	return nil
}

// steadyDrift compares the minutes, where there are several.
func (b *bench) steadyDrift(w []steadyWindow) {
	if len(w) < 2 || w[0].length < steadyEvery {
		return
	}
	p999 := func(w steadyWindow) time.Duration { return w.latency.p999 }
	worst, usual := slices.MaxFunc(w, func(x, y steadyWindow) int { return int(p999(x) - p999(y)) }), medianOf(w, p999)
	b.report.versus(b.scenario+": p99.9 of the worst minute", short(p999(worst)), short(usual)+" of the median one",
		float64(p999(worst))/float64(usual), goal{}, times)
	first, last := w[0], w[len(w)-1]
	b.report.versus(b.scenario+": rate, last minute", perSecond(last.rate, "msg"), perSecond(first.rate, "msg")+" in the first", last.rate/first.rate, goal{}, times)
	b.report.versus(b.scenario+": file, last minute", mib(float64(last.size)), mib(float64(first.size))+" in the first", float64(last.size)/float64(first.size), goal{}, times)
}

func (b *bench) noteWindows(whose string, rounds [][]steadyWindow) {
	for i, windows := range rounds {
		for j, w := range windows {
			b.report.note("%s%s: round %d, minute %d: %s", b.scenario, whose, i+1, j+1, w)
		}
	}
}

// steadyWindow is what a minute came to, or what is left of a round; its sample is that of publishing.
type steadyWindow struct {
	sample
	length          time.Duration
	consumed        float64 // messages a second
	backlog         int64
	size, allocated int64 // of the file
}

func (w steadyWindow) String() string {
	return fmt.Sprintf("published %s, acknowledged %s, backlog %s, file %s (%s on disk); %s",
		perSecond(w.rate, "msg"), perSecond(w.consumed, "msg"), thousands(w.backlog),
		mib(float64(w.size)), mib(float64(w.allocated)), w.latency)
}

// steadying returns a round with a binary, on a server of its own. It appends its minutes to *windows.
func (b *bench) steadying(ctx context.Context, binary string, windows *[][]steadyWindow) round {
	return func() (out sample, err error) {
		s, err := b.newServerOf(ctx, binary, topic{name: topicName, consumers: 1})
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		req := publishRequest(topicName, payloadSize)
		if err := ask(ctx, s.target, req, receiveRequest(topicName, "max=1&ack=true")); err != nil { // the logins
			return sample{}, err
		}
		run := &steadyRun{target: s.target, publish: req, file: s.file}
		var minutes []steadyWindow
		_, err = b.measure(ctx, s, func() (err error) {
			out, minutes, err = run.work(ctx, b.seconds)
			return err
		})
		*windows = append(*windows, minutes)
		return out, err
	}
}

// steadyRun is what its publishers and its consumer share.
type steadyRun struct {
	target
	publish             []byte
	file                string // the database
	published, consumed atomic.Int64
	ended               atomic.Bool

	mu        sync.Mutex
	latencies []time.Duration // since takeLatencies; guarded by mu
}

// work publishes and consumes for d. Of what it returns the rate is that of acknowledgements, the latencies are those of publishing.
func (r *steadyRun) work(ctx context.Context, d time.Duration) (out sample, windows []steadyWindow, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{r.publishers, r.consumer} {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}
	var all []time.Duration
	m := startMeter(r.target)
	for end := m.start.Add(d); err == nil && time.Now().Before(end); {
		var w steadyWindow
		var latencies []time.Duration
		if w, latencies, err = r.window(ctx, min(steadyEvery, time.Until(end))); err == nil {
			windows, all = append(windows, w), append(all, latencies...)
		}
	}
	out = m.sample(int(r.consumed.Load()))
	out.latency = quantilesOf(all)
	r.ended.Store(true)
	late := time.AfterFunc(ioTimeout, func() { cancel(errors.New("the clients did not end in time")) })
	wg.Wait()
	late.Stop()
	return out, windows, errors.Join(err, context.Cause(ctx))
}

// window looks at what d comes to.
func (r *steadyRun) window(ctx context.Context, d time.Duration) (w steadyWindow, latencies []time.Duration, err error) {
	published, consumed, m := r.published.Load(), r.consumed.Load(), startMeter(r.target)
	if err := pause(ctx, d); err != nil {
		return w, nil, err
	}
	latencies = r.takeLatencies()
	w = steadyWindow{
		sample:   m.sample(int(r.published.Load() - published)),
		length:   d,
		consumed: float64(r.consumed.Load()-consumed) / time.Since(m.start).Seconds(),
		backlog:  r.published.Load() - r.consumed.Load(),
	}
	w.latency = quantilesOf(latencies)
	w.size, w.allocated, err = diskUse(r.file)
	return w, latencies, err
}

func (r *steadyRun) takeLatencies() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.latencies
	r.latencies = nil
	return taken
}

func (r *steadyRun) publishers(ctx context.Context) error {
	conns, closeAll, err := dialAll(ctx, r.addr, steadyPublishers)
	if err != nil {
		return err
	}
	defer closeAll()
	return each(conns, func(_ int, c *conn) error {
		for !r.ended.Load() {
			if r.published.Load()-r.consumed.Load() > steadyBacklog {
				if err := pause(ctx, 5*time.Millisecond); err != nil {
					return err
				}
				continue
			}
			sent := time.Now()
			if _, err := c.do(r.publish); err != nil {
				return err
			}
			took := time.Since(sent)
			r.published.Add(1)
			r.mu.Lock()
			r.latencies = append(r.latencies, took)
			r.mu.Unlock()
		}
		return nil
	})
}

func (r *steadyRun) consumer(ctx context.Context) error {
	c, err := dial(ctx, r.addr)
	if err != nil {
		return err
	}
	defer c.close()
	receive := receiveRequest(topicName, fmt.Sprintf("max=%d&wait=1", steadyMax))
	for !r.ended.Load() {
		body, err := c.do(receive)
		if err != nil {
			return err
		}
		ack, n := ackRequest(body)
		if n == 0 {
			continue
		}
		reply, err := c.do(ack)
		if err == nil {
			err = ackedAll(reply, n)
		}
		if err != nil {
			return err
		}
		r.consumed.Add(int64(n))
	}
	return nil
}
