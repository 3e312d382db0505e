package main

import (
	"context"
	"errors"
)

// fanout publishes to a topic with 1,000 consumers, none of which receives, against one with a
// single such consumer, in another process.
func fanout(ctx context.Context, b *bench) (err error) {
	const clients, consumers = 64, 1000
	many, err := b.newServer(ctx, topic{name: topicName, consumers: consumers})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.discard()) }()
	one, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.discard()) }()

	req := publishRequest(topicName, payloadSize)
	if err := errors.Join(ask(ctx, many.target, req), ask(ctx, one.target, req)); err != nil {
		return err
	}
	var allocations float64
	return b.compare(ctx,
		b.loading(ctx, many, clients, 1, req, &allocations),
		func() (sample, error) { return load(ctx, one.target, clients, 1, b.seconds, req) },
		"with 1 consumer", "msg", atLeast(0.90, 0))
}
