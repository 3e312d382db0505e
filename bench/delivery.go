package main

import (
	"context"
	"errors"
)

// filters publishes to a topic with so many consumers whose filters let nothing through beside one that does not receive,
// against one with that alone, in another process.
func filters(consumers int) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		const clients = 64
		many, err := b.newServer(ctx, topic{name: topicName, consumers: consumers + 1, idle: "filter = 'country = \"LV\"'\n"})
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
			"without them", "msg", atLeast(0.85, 0))
	}
}
