package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	steadyPublishers = 64
	steadyConsumers  = 4       // connections of one consumer
	steadyBacklog    = 100_000 // publishers wait where more than so many are not acknowledged
	steadyEvery      = 30 * time.Second
)

// steady publishes 1 KiB a request and consumes at full speed, and looks at the file, the rates
// and the latencies of publishing every 30 seconds: none of them should drift.
func steady(ctx context.Context, b *bench) (err error) {
	s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	req := publishRequest(topicName, payloadSize)
	if err := ask(ctx, s.target, req, receiveRequest(topicName, "max=1&ack=true")); err != nil { // the logins
		return err
	}
	run := &steadyRun{target: s.target, publish: req}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{run.publishers, run.consumers} {
		wg.Go(func() {
			if err := part(ctx); err != nil {
				cancel(err)
			}
		})
	}

	var first, last steadyWindow
	end := time.Now().Add(b.minutes)
	for n := 1; time.Now().Before(end) && err == nil; n++ {
		published, consumed, m := run.published.Load(), run.consumed.Load(), startMeter(s.pid)
		if err = pause(ctx, min(steadyEvery, time.Until(end))); err != nil {
			break
		}
		w := steadyWindow{
			sample:   m.sample(int(run.published.Load() - published)),
			consumed: float64(run.consumed.Load()-consumed) / time.Since(m.start).Seconds(),
			backlog:  run.published.Load() - run.consumed.Load(),
		}
		w.latency = quantilesOf(run.takeLatencies())
		if w.size, w.allocated, err = diskUse(s.file); err != nil {
			break
		}
		fmt.Fprintf(b.progress, "  %s\n", w)
		b.report.note("steady %s: %s", time.Duration(n)*steadyEvery, w)
		if n == 1 {
			first = w
		}
		last = w
	}
	run.ended.Store(true)
	late := time.AfterFunc(ioTimeout, func() { cancel(errors.New("the clients did not end in time")) })
	wg.Wait()
	late.Stop()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err != nil {
		return err
	}
	b.report.versus("steady: rate, last window", perSecond(last.rate, "msg"), perSecond(first.rate, "msg")+" in the first", last.rate/first.rate, goal{}, percent)
	b.report.versus("steady: p99, last window", short(last.latency.p99), short(first.latency.p99)+" in the first", float64(last.latency.p99)/float64(first.latency.p99), goal{}, percent)
	b.report.versus("steady: file, last window", mib(float64(last.size)), mib(float64(first.size))+" in the first", float64(last.size)/float64(first.size), goal{}, percent)
	return nil
}

// steadyWindow is what 30 seconds came to; its sample is that of publishing.
type steadyWindow struct {
	sample
	consumed        float64 // messages a second
	backlog         int64
	size, allocated int64 // of the file
}

func (w steadyWindow) String() string {
	return fmt.Sprintf("published %s, consumed %s, backlog %s, file %s (%s on disk); %s",
		perSecond(w.rate, "msg"), perSecond(w.consumed, "msg"), thousands(w.backlog),
		mib(float64(w.size)), mib(float64(w.allocated)), w.sample)
}

// steadyRun is what its publishers and consumers share.
type steadyRun struct {
	target
	publish             []byte
	published, consumed atomic.Int64
	ended               atomic.Bool

	mu        sync.Mutex
	latencies []time.Duration // since takeLatencies; guarded by mu
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

func (r *steadyRun) consumers(ctx context.Context) error {
	conns, closeAll, err := dialAll(ctx, r.addr, steadyConsumers)
	if err != nil {
		return err
	}
	defer closeAll()
	receive := receiveRequest(topicName, "max=100&wait=1")
	return each(conns, func(_ int, c *conn) error {
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
	})
}
