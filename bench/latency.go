package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	latencyRate       = 500 // messages a second
	latencyPublishers = 16  // connections, so that the pace is kept while commits are waited for
)

// latency publishes at a steady pace to one consumer that polls long, and acknowledges over a
// second connection. The time is from when a message was given to the publishing connections, free
// or not, until the answer that holds it was read. The baseline is the time that half of all flushes of
// 4 KiB take.
func latency(ctx context.Context, b *bench) (err error) {
	s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	raw, err := openRawFile(s.dir)
	if err != nil {
		return err
	}
	defer raw.close()
	if err := ask(ctx, s.target, receiveRequest(topicName, "max=1")); err != nil {
		return err
	}
	if err := ask(ctx, s.target, publishAt(topicName, time.Now())); err != nil { // the logins
		return err
	}

	figures, baselines, err := b.takeTurns(
		func() (out sample, err error) {
			_, err = b.measure(ctx, s, func() (err error) {
				out, err = latencyOnce(ctx, s.target, b.seconds)
				return err
			})
			return out, err
		},
		func() (sample, error) { return raw.flushes(ctx, b.seconds) })
	if err != nil {
		return err
	}
	f, base := medianSample(figures), medianSample(baselines)
	one := fmt.Sprintf("one flush of 4 KiB %s (its p99 %s)", short(base.latency.p50), short(base.latency.p99))
	b.report.versus(b.scenario+" p50", short(f.latency.p50), one, float64(f.latency.p50)/float64(base.latency.p50), atMost(3).aiming(2), times)
	b.report.costs(f)
	b.report.versus(b.scenario+" p99", short(f.latency.p99), one, float64(f.latency.p99)/float64(base.latency.p50), atMost(8).aiming(4), times)
	b.report.note("%s: publish to receive at %s: %s", b.scenario, perSecond(f.rate, "msg"), f)
	b.report.note("%s: baseline %s", b.scenario, base)
	b.noteProfile(ctx)
	return nil
}

// publishAt publishes 1 KiB that begins with a time.
func publishAt(topic string, t time.Time) []byte {
	body := payload(payloadSize)
	copy(body, fmt.Sprintf("due %019d ", t.UnixNano()))
	return request(producerName, "/zato/pubsub/topic/"+topic+"/", "Content-Type: text/plain\r\n", body)
}

// latencyOnce publishes for d and receives all of it, and what there was before.
func latencyOnce(ctx context.Context, t target, d time.Duration) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, d+ioTimeout)
	defer cancel()
	publishers, closePublishers, err := dialAll(ctx, t.addr, latencyPublishers)
	if err != nil {
		return sample{}, err
	}
	defer closePublishers()
	pair, closePair, err := dialAll(ctx, t.addr, 2)
	if err != nil {
		return sample{}, err
	}
	defer closePair()

	var (
		want      = int(d.Seconds() * latencyRate)
		due       = make(chan time.Time, want)
		received  = make(chan []byte, want) // bodies to acknowledge
		latencies []time.Duration
		wg        sync.WaitGroup
		errPub    error
		errSub    error
	)
	m := startMeter(t)
	wg.Go(func() { pace(ctx, m.start, want, due) })
	wg.Go(func() {
		errPub = each(publishers, func(_ int, c *conn) error {
			for at := range due {
				if _, err := c.do(publishAt(topicName, at)); err != nil {
					return err
				}
			}
			return nil
		})
		if errPub != nil {
			cancel()
		}
	})
	wg.Go(func() {
		errSub = each(pair, func(i int, c *conn) error {
			if i == 1 {
				return acknowledge(c, received)
			}
			defer close(received)
			req := receiveRequest(topicName, "max=100&wait=30")
			for len(latencies) < want {
				body, err := c.do(req)
				if err != nil {
					return err
				}
				now := time.Now()
				latencies, err = since(latencies, body, m.start, now)
				if err != nil {
					return err
				}
				received <- bytes.Clone(body)
			}
			return nil
		})
		if errSub != nil {
			cancel()
		}
	})
	wg.Wait()
	if err := errors.Join(errPub, errSub); err != nil {
		return sample{}, err
	}
	s := m.sample(len(latencies))
	s.latency = quantilesOf(latencies)
	return s, nil
}

// acknowledge does so for each body that comes.
func acknowledge(c *conn, received <-chan []byte) error {
	for body := range received {
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
	}
	return nil
}

// since appends how long the messages of a body were on their way, but for those from before start.
func since(latencies []time.Duration, body []byte, start, now time.Time) ([]time.Duration, error) {
	mark := []byte(`"payload": "due `)
	for {
		_, rest, found := bytes.Cut(body, mark)
		if !found {
			return latencies, nil
		}
		if len(rest) < 19 {
			return nil, errors.New("a payload came back shorter than it was")
		}
		nano, err := strconv.ParseInt(string(rest[:19]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("a payload came back changed: %w", err)
		}
		if nano >= start.UnixNano() {
			latencies = append(latencies, now.Sub(time.Unix(0, nano)))
		}
		body = rest
	}
}

// pace sends n times to due, as they come from start on at latencyRate, and closes it.
func pace(ctx context.Context, start time.Time, n int, due chan<- time.Time) {
	defer close(due)
	tick := time.NewTicker(time.Second / latencyRate)
	defer tick.Stop()
	for i := range n {
		next := start.Add(time.Duration(i) * time.Second / latencyRate)
		for time.Now().Before(next) {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		due <- time.Now()
	}
}
