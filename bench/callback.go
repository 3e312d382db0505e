package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// callback publishes messages of 1 KiB, 1,000 a request, to a consumer that is sent them on so many connections, each call
// with so many of them, until the receiver has answered for all. The receiver reads the body and answers 200; it is in this
// process. The baseline is what the empty handler answers on as many connections; of one message at a time, each of which
// waits for the commit of the one before, it is commits of bbolt.
func callback(messages, concurrency int, format string, batch int, g goal) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		calls := make(chan int, 1024)
		url, stop, err := startReceiver(calls)
		if err != nil {
			return err
		}
		defer stop()
		s, err := b.newServer(ctx, topic{name: topicName, expiration: 3600, consumers: 1, callback: fmt.Sprintf(
			"delivery_mode = \"callback-url\"\ncallback_url = %s\ncallback_format = %s\ncallback_concurrency = %d\ncallback_batch = %d\n",
			quote(url), quote(format), concurrency, batch)})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		empty, stopEmpty, err := startEmpty(ctx)
		if err != nil {
			return err
		}
		defer stopEmpty()
		raw, err := openRawBolt(s.dir)
		if err != nil {
			return err
		}
		defer raw.close()
		req := publishRequest(topicName, payloadSize)
		if err := errors.Join(ask(ctx, s.target, req), ask(ctx, empty, req)); err != nil {
			return err
		}
		<-calls
		baseline, what, unit := func() (sample, error) { return load(ctx, empty, concurrency, 1, b.seconds, req) },
			fmt.Sprintf("empty handler, %d connections", concurrency), "req"
		if concurrency*batch == 1 {
			baseline, what, unit = func() (sample, error) { return raw.commits(ctx, 1, payloadSize, b.seconds) }, "bbolt commits of one put", "put"
		}
		return b.compare(ctx,
			func() (out sample, err error) {
				_, err = b.measure(ctx, s, func() error {
					m := startMeter(s.target)
					if err := fill(ctx, s.target, topicName, payloadSize, messages); err != nil {
						return err
					}
					err := takeAll(ctx, calls, messages*payloadSize)
					out = m.sample(messages)
					return err
				})
				return out, err
			},
			baseline, what, unit, g)
	}
}

// takeAll waits until calls had so many bytes.
func takeAll(ctx context.Context, calls <-chan int, bytes int) error {
	for bytes > 0 {
		select {
		case n := <-calls:
			bytes -= n
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// startReceiver starts a receiver, which tells of each call how many bytes of payload it had, as far as that can be told
// by its length: a message of JSON has less than payloadSize of metadata.
func startReceiver(calls chan<- int) (url string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := &http.Server{ReadHeaderTimeout: ioTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK)
		calls <- int(n) / payloadSize * payloadSize
	})}
	go func() { _ = srv.Serve(l) }()
	return "http://" + l.Addr().String() + "/", func() { _ = srv.Close() }, nil
}

// callbacksDown publishes to a topic with 1,000 consumers to whom messages are to be sent, and nobody listens, against one
// with a single consumer that does not receive, in another process.
func callbacksDown(ctx context.Context, b *bench) (err error) {
	const clients, consumers = 64, 1001
	nowhere, err := freeAddr()
	if err != nil {
		return err
	}
	many, err := b.newServer(ctx, topic{name: topicName, consumers: consumers, idle: fmt.Sprintf(
		"delivery_mode = \"callback-url\"\ncallback_url = %s\n", quote("http://"+nowhere+"/"))})
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
	select {
	case <-time.After(time.Second): // all of them have failed
	case <-ctx.Done():
		return ctx.Err()
	}
	var allocations float64
	return b.compare(ctx,
		b.loading(ctx, many, clients, 1, req, &allocations),
		func() (sample, error) { return load(ctx, one.target, clients, 1, b.seconds, req) },
		"with 1 consumer that is not called", "msg", atLeast(0.85, 0))
}
