package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	topicName   = "/customer/created"
	payloadSize = 1024 // bytes

	maxAllocations = 60 // a publish, in the whole server
)

// publishBy publishes 1 KiB a request with so many clients, against the empty handler. Nobody
// receives: the backlog of the topic's one consumer grows. disk is the goal of what reaches the
// disk for a message.
func publishBy(clients int, g, disk goal) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		empty, stop, err := startEmpty(ctx)
		if err != nil {
			return err
		}
		defer stop()

		req := publishRequest(topicName, payloadSize)
		if err := errors.Join(ask(ctx, s.target, req), ask(ctx, empty, req)); err != nil {
			return err
		}
		var allocations float64
		f, err := b.compared(ctx,
			b.loading(ctx, s, clients, 1, req, &allocations),
			func() (sample, error) { return load(ctx, empty, clients, 1, b.seconds, req) },
			"empty handler", "req", g)
		if err != nil {
			return err
		}
		if disk != (goal{}) {
			b.diskRow(f, disk)
		}
		if allocations > 0 {
			b.report.absolute(b.scenario+": allocations a message", allocations, atMost(maxAllocations), whole)
		}
		return nil
	}
}

// publishAlone publishes with one client, against one goroutine that commits one put at a time, and
// looks at what the server does beyond what the empty handler does.
func publishAlone(ctx context.Context, b *bench) (err error) {
	s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	raw, err := openRawBolt(s.dir)
	if err != nil {
		return err
	}
	defer raw.close()

	empty, stop, err := startEmpty(ctx)
	if err != nil {
		return err
	}
	defer stop()

	req := publishRequest(topicName, payloadSize)
	if err := errors.Join(ask(ctx, s.target, req), ask(ctx, empty, req)); err != nil {
		return err
	}
	var (
		allocations float64
		empties     []sample
	)
	f, err := b.compared(ctx,
		b.loading(ctx, s, 1, 1, req, &allocations),
		func() (sample, error) {
			e, err := load(ctx, empty, 1, 1, b.seconds, req)
			if err != nil {
				return sample{}, err
			}
			empties = append(empties, e)
			return raw.commits(ctx, 1, payloadSize, b.seconds)
		},
		"bbolt commits of one put", "put", atLeast(1.05, 1.20))
	if err != nil {
		return err
	}
	b.diskRow(f, atMost(9_000).aiming(5_500))
	if f.wrote.flushes >= 0 {
		// One is waited for. Those of checkpoints, and of others, are in the count.
		b.report.absolute(b.scenario+": flushes a message", f.wrote.flushes, atMost(1.1), twoDigits)
	}
	if e := medianSample(empties); f.serverCPU >= 0 && e.serverCPU >= 0 {
		beyond := float64(f.serverCPU - e.serverCPU)
		b.report.versus(b.scenario+": server CPU beyond", microseconds(float64(f.serverCPU)), microseconds(float64(e.serverCPU))+" of the empty handler",
			beyond, atMost(float64(150*time.Microsecond)).aiming(float64(110*time.Microsecond)), microseconds)
	}
	return nil
}

func whole(v float64) string     { return fmt.Sprintf("%.0f", v) }
func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }
