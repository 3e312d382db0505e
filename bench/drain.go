package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	drainBacklog = 100_000
	drainMax     = 100 // messages a receive
)

// drain receives a backlog of 1 KiB messages, 100 at a time, and acknowledges each such batch by
// one request, over so many connections of one consumer. On one connection each batch waits for
// the commit of the one before. The baseline are the empty handler's requests with 64 clients.
func drain(clients int) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		s, err := b.newServer(ctx, topic{name: topicName, expiration: 3600, consumers: 1})
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
		return b.compare(ctx,
			func() (out sample, err error) {
				if err := fill(ctx, s.target, topicName, payloadSize, drainBacklog); err != nil {
					return sample{}, err
				}
				_, err = b.measure(ctx, s, func() (err error) {
					out, err = drainOnce(ctx, s.target, clients)
					return err
				})
				return out, err
			},
			func() (sample, error) { return load(ctx, empty, 64, 1, b.seconds, req) },
			"empty handler", "req", atLeast(50_000.0/60_000, 100_000.0/60_000))
	}
}

// drainOnce receives and acknowledges until drainBacklog messages are done.
func drainOnce(ctx context.Context, t target, clients int) (sample, error) {
	conns, closeAll, err := dialAll(ctx, t.addr, clients)
	if err != nil {
		return sample{}, err
	}
	defer closeAll()
	receive := receiveRequest(topicName, fmt.Sprintf("max=%d", drainMax))
	// The login is hashed once, before the time begins.
	if err := ask(ctx, t, request(consumerName, "/zato/pubsub/ack/", keyHeader+"Content-Type: application/json\r\n", []byte(`{"ack": ["none"]}`))); err != nil {
		return sample{}, err
	}

	var done atomic.Int64
	latencies := make(chan []time.Duration, clients)
	m := startMeter(t)
	err = each(conns, func(_ int, c *conn) error {
		_ = c.SetDeadline(time.Now().Add(ioTimeout))
		var took []time.Duration
		for done.Load() < drainBacklog {
			sent := time.Now()
			body, err := c.do(receive)
			if err != nil {
				return err
			}
			ack, n := ackRequest(body)
			if n == 0 {
				continue // the last ones are in flight on another connection
			}
			reply, err := c.do(ack)
			if err == nil {
				err = ackedAll(reply, n)
			}
			if err != nil {
				return err
			}
			took = append(took, time.Since(sent))
			done.Add(int64(n))
		}
		latencies <- took
		return nil
	})
	if err != nil {
		return sample{}, err
	}
	s := m.sample(int(done.Load()))
	close(latencies)
	var all []time.Duration
	for l := range latencies {
		all = append(all, l...)
	}
	s.latency = quantilesOf(all)
	if n := done.Load(); n != drainBacklog {
		return sample{}, errors.New("received " + thousands(n) + " of " + thousands(drainBacklog))
	}
	return s, nil
}
