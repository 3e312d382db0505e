package main

import (
	"context"
	"errors"
)

const batchLines = 1000

// batch publishes 1,000 messages a request, against bbolt that puts as many a commit.
func batch(size, clients int) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
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

		req := batchRequest(topicName, size, batchLines)
		if err := ask(ctx, s.target, req); err != nil {
			return err
		}
		var allocations float64
		return b.compare(ctx,
			b.loading(ctx, s, clients, batchLines, req, &allocations),
			func() (sample, error) { return raw.commits(ctx, batchLines, size, b.seconds) },
			"bbolt commits of 1,000 puts", "put", atLeast(0.40, 0.70))
	}
}
