package main

import (
	"context"
	"errors"
	"fmt"
)

const (
	topicName   = "/customer/created"
	payloadSize = 1024 // bytes

	maxAllocations = 60 // a publish, in the whole server
)

// publishBy publishes 1 KiB a request with so many clients, against the empty handler. Nobody
// receives: the backlog of the topic's one consumer grows.
func publishBy(clients int, g goal) func(context.Context, *bench) error {
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
		err = b.compare(ctx,
			b.loading(ctx, s, clients, 1, req, &allocations),
			func() (sample, error) { return load(ctx, empty, clients, 1, b.seconds, req) },
			"empty handler", "req", g)
		if err == nil && allocations > 0 {
			b.report.absolute(b.scenario+": allocations a message", allocations, atMost(maxAllocations), whole)
		}
		return err
	}
}

// publishAlone publishes with one client, against one goroutine that commits one put at a time.
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

	req := publishRequest(topicName, payloadSize)
	if err := ask(ctx, s.target, req); err != nil {
		return err
	}
	var allocations float64
	return b.compare(ctx,
		b.loading(ctx, s, 1, 1, req, &allocations),
		func() (sample, error) { return raw.commits(ctx, 1, payloadSize, b.seconds) },
		"bbolt commits of one put", "put", atLeast(0.65, 0.90))
}

func whole(v float64) string { return fmt.Sprintf("%.0f", v) }
