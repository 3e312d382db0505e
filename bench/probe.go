package main

import (
	"context"
	"time"
)

const (
	probeTopic = "/probe"
	probeEvery = 20 * time.Millisecond
)

// probe publishes one byte to a topic of its own every 20 ms until load returns. Each time counts
// from when the byte was due, so that a stall counts for all that it held up.
func probe(ctx context.Context, t target, load func(context.Context) error) (sample, error) {
	c, err := dial(ctx, t.addr)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	running, stop := context.WithCancel(ctx)
	defer stop()
	loaded := make(chan error, 1)
	m := startMeter(t)
	go func() {
		defer stop()
		loaded <- load(running)
	}()

	req := publishRequest(probeTopic, 1)
	var latencies []time.Duration
	for due := m.start; ; due = due.Add(probeEvery) {
		if wait := time.Until(due); wait > 0 && pause(running, wait) != nil {
			break
		}
		_ = c.SetDeadline(time.Now().Add(ioTimeout))
		if _, err := c.do(req); err != nil {
			stop()
			<-loaded
			return sample{}, err
		}
		latencies = append(latencies, time.Since(due))
	}
	if err := <-loaded; err != nil {
		return sample{}, err
	}
	s := m.sample(len(latencies))
	s.latency = quantilesOf(latencies)
	return s, ctx.Err()
}
