package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// stallGoal is by how much the probe's p99 may grow.
const stallGoal = 3

// stallLead is how long the probe runs before what is to happen at one moment.
const stallLead = 500 * time.Millisecond

// stallSide is one of two loads that differ in what may cause a stall.
type stallSide struct {
	topic  topic
	limit  float64                             // of the p99's growth; 0: stallGoal
	ready  func(context.Context, target) error // before the probe begins; may be nil
	during func(context.Context, target) error // while it runs
}

// stall lets the load with the cause and the one without take turns, each on a server of its own,
// and reports the probe's p99 and the server's memory beside one another.
func (b *bench) stall(ctx context.Context, cause, control stallSide) error {
	var causeHeld, controlHeld []residentMemory
	figures, baselines, err := b.takeTurns(b.probing(ctx, cause, &causeHeld), b.probing(ctx, control, &controlHeld))
	if err != nil {
		return err
	}
	f, base := medianSample(figures), medianSample(baselines)
	limit := cause.limit
	if limit == 0 {
		limit = stallGoal
	}
	b.report.versus(b.scenario+": probe's p99", short(f.latency.p99), short(base.latency.p99)+" without the cause",
		float64(f.latency.p99)/float64(base.latency.p99), atMost(limit), times)
	if len(causeHeld) > 0 && len(controlHeld) > 0 {
		anonymous := func(m residentMemory) float64 { return m.anonymous }
		held, without := medianOf(causeHeld, anonymous), medianOf(controlHeld, anonymous)
		b.report.versus(b.scenario+": resident", mib(held), mib(without)+" without the cause", held/without, goal{}, times)
	}
	b.report.note("%s: probe %s", b.scenario, f.latency)
	b.report.note("%s: without the cause %s", b.scenario, base.latency)
	b.noteProfile(ctx)
	return nil
}

// probing returns a round of the probe beside a load. It appends what the server holds at its end
// to *held.
func (b *bench) probing(ctx context.Context, side stallSide, held *[]residentMemory) round {
	side.topic.name, side.topic.probed = topicName, true
	return func() (out sample, err error) {
		s, err := b.newServer(ctx, side.topic)
		if err != nil {
			return sample{}, err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		if err := ask(ctx, s.target, publishRequest(probeTopic, 1), receiveRequest(topicName, "max=1")); err != nil { // the logins
			return sample{}, err
		}
		if side.ready != nil {
			if err := side.ready(ctx, s.target); err != nil {
				return sample{}, err
			}
		}
		_, err = b.measure(ctx, s, func() (err error) {
			out, err = probe(ctx, s.target, func(ctx context.Context) error { return side.during(ctx, s.target) })
			return err
		})
		if m, ok := memoryOf(s.pid); ok {
			*held = append(*held, m)
		}
		return out, err
	}
}

// idling is a load that consists of waiting.
func idling(d time.Duration) func(context.Context, target) error {
	return func(ctx context.Context, _ target) error { return pause(ctx, d) }
}

// caller sends a request again and again, so long after each answer.
type caller struct {
	request []byte
	pause   time.Duration
}

// calling is a load of some callers. That a limit is reached is an answer as good as any.
func calling(d time.Duration, callers ...caller) func(context.Context, target) error {
	return func(ctx context.Context, t target) error {
		conns, closeAll, err := dialAll(ctx, t.addr, len(callers))
		if err != nil {
			return err
		}
		defer closeAll()
		end := time.Now().Add(d)
		return each(conns, func(i int, c *conn) error {
			_ = c.SetDeadline(end.Add(ioTimeout))
			for time.Now().Before(end) {
				status, body, err := c.exchange(callers[i].request)
				if err != nil {
					return err
				}
				if status != 200 && status != 429 {
					return fmt.Errorf("answered %d: %.200s", status, body)
				}
				if err := pause(ctx, callers[i].pause); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// publishing keeps the topic busy, so that commits have to do with its consumer.
func publishing() caller { return caller{publishRequest(topicName, 1), 50 * time.Millisecond} }

// stallMixed publishes 20,000 messages of one byte, every second of which expires soon, to 1,000
// consumers that do not come. Without the cause none expires.
func stallMixed(ctx context.Context, b *bench) error {
	const messages, lines, consumers = 20_000, 1000, 1000
	const lifetime = 2 // seconds
	mixed := fmt.Appendf(nil, "{\"payload\": \"x\"}\n{\"payload\": \"x\", \"expiration\": %d}\n", lifetime)
	side := func(req []byte) stallSide {
		return stallSide{
			topic: topic{consumers: consumers, expiration: 3600},
			during: func(ctx context.Context, t target) error {
				if err := repeat(ctx, t, req, messages/lines); err != nil {
					return err
				}
				return pause(ctx, lifetime*time.Second+b.seconds)
			},
		}
	}
	return b.stall(ctx,
		side(linesRequest(topicName, bytes.Repeat(mixed, lines/2))),
		side(batchRequest(topicName, 1, lines)))
}

// stallLIFO asks for the newest message over and over again where the consumer has as many in
// flight as it may, and 200,000 wait. Without the cause its queue is empty but for the few messages
// that are published meanwhile.
func stallLIFO(ctx context.Context, b *bench) error {
	const backlog, limit = 200_000, 100
	newest := caller{receiveRequest(topicName, "dir=lifo&max=1"), 20 * time.Millisecond}
	control := stallSide{
		topic:  topic{consumers: 1, expiration: 3600, maxInFlight: limit, ackTimeout: time.Hour},
		during: calling(b.seconds, newest, newest, publishing()),
	}
	cause := control
	cause.ready = func(ctx context.Context, t target) error {
		if err := fill(ctx, t, topicName, 1, backlog); err != nil {
			return err
		}
		return ask(ctx, t, receiveRequest(topicName, fmt.Sprintf("dir=lifo&max=%d", limit)))
	}
	return b.stall(ctx, cause, control)
}

// stallLeases lets 100,000 leases of a consumer, taken newest first, end one upon another, while
// somebody publishes and receives. Without the cause the messages were never received.
func stallLeases(ctx context.Context, b *bench) error {
	const leases, receiveMax = 100_000, 1000
	const ackTimeout = 15 * time.Second
	poll := caller{receiveRequest(topicName, "max=1&wait=1"), 20 * time.Millisecond}
	control := stallSide{
		topic: topic{consumers: 1, expiration: 3600, maxInFlight: 2 * leases, ackTimeout: ackTimeout},
		ready: func(ctx context.Context, t target) error {
			return fill(ctx, t, topicName, 1, leases)
		},
		during: calling(stallLead+b.seconds, poll, publishing()),
	}
	cause := control
	cause.ready = func(ctx context.Context, t target) error {
		if err := control.ready(ctx, t); err != nil {
			return err
		}
		begun := time.Now()
		take := receiveRequest(topicName, fmt.Sprintf("dir=lifo&max=%d", receiveMax))
		if err := repeat(ctx, t, take, leases/receiveMax); err != nil {
			return err
		}
		return pauseUntil(ctx, begun.Add(ackTimeout-stallLead))
	}
	return b.stall(ctx, cause, control)
}

// pauseUntil waits until at. That it is past already is an error.
func pauseUntil(ctx context.Context, at time.Time) error {
	left := time.Until(at)
	if left < 0 {
		return fmt.Errorf("the load was ready %s too late", short(-left))
	}
	return pause(ctx, left)
}

// stallDelayed lets 200 messages of 1 MiB become due within one second. Without the cause they
// were published before without a delay.
func stallDelayed(ctx context.Context, b *bench) error {
	const messages, size = 200, 1 << 20
	const lead = 15 * time.Second // for publishing them
	side := func(delayed bool) stallSide {
		return stallSide{
			topic: topic{consumers: 1, expiration: 3600},
			ready: func(ctx context.Context, t target) error {
				due := time.Now().Add(lead)
				for range messages {
					path := "/zato/pubsub/topic/" + topicName + "/"
					if delayed {
						path += fmt.Sprintf("?delay=%.0f", max(1, time.Until(due).Seconds()))
					}
					if err := ask(ctx, t, request(producerName, path, "Content-Type: text/plain\r\n", payload(size))); err != nil {
						return err
					}
				}
				return pauseUntil(ctx, due.Add(-time.Second)) // delays are rounded
			},
			during: idling(2*time.Second + b.seconds),
		}
	}
	return b.stall(ctx, side(true), side(false))
}

// stallCheckpoints publishes 20 MB a second, so that the log fills and is moved into the database all the time. Without
// the cause the log is so large that nothing is.
func stallCheckpoints(ctx context.Context, b *bench) error {
	const size, lines, every = 1024, 64, 3200 * time.Microsecond // larger batches would go past the log
	req := batchRequest(topicName, size, lines)
	side := func(database string) stallSide {
		return stallSide{
			topic: topic{consumers: 1, expiration: 3600, database: database},
			limit: 2,
			during: func(ctx context.Context, t target) error {
				return atPace(ctx, t, req, every, b.seconds)
			},
		}
	}
	return b.stall(ctx, side(""), side("log_size = \"64GiB\"\n"))
}

// atPace sends a request whenever one is due, for about d: what could not be sent in time is sent later, and not dropped.
func atPace(ctx context.Context, t target, req []byte, every, d time.Duration) error {
	c, err := dial(ctx, t.addr)
	if err != nil {
		return err
	}
	defer c.close()
	due := time.Now()
	for end := due.Add(d); due.Before(end); due = due.Add(every) {
		if err := pause(ctx, time.Until(due)); err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(ioTimeout))
		if _, err := c.do(req); err != nil {
			return err
		}
	}
	return nil
}

// stallAcks acknowledges one message at a time as one of 10,000 consumers of a topic, against the
// only one in another process.
func stallAcks(ctx context.Context, b *bench) (err error) {
	const consumers = 10_000
	many, err := b.newServer(ctx, topic{name: topicName, consumers: consumers, expiration: 3600})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, many.discard()) }()
	one, err := b.newServer(ctx, topic{name: topicName, consumers: 1, expiration: 3600})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, one.discard()) }()

	figures, baselines, err := b.takeTurns(
		func() (out sample, err error) {
			_, err = b.measure(ctx, many, func() (err error) {
				out, err = acknowledgeSingly(ctx, many.target, b.seconds)
				return err
			})
			return out, err
		},
		func() (sample, error) { return acknowledgeSingly(ctx, one.target, b.seconds) })
	if err != nil {
		return err
	}
	f, base := medianSample(figures), medianSample(baselines)
	b.report.versus(b.scenario+": p50", short(f.latency.p50), short(base.latency.p50)+" with 1 consumer",
		float64(f.latency.p50)/float64(base.latency.p50), atMost(stallGoal), times)
	b.report.note("%s: %s", b.scenario, f.latency)
	b.report.note("%s: with 1 consumer %s", b.scenario, base.latency)
	b.noteProfile(ctx)
	return nil
}

// acknowledgeSingly receives up to 1,000 messages and acknowledges them one by one, for about d. The
// latencies are those of the acknowledgements.
func acknowledgeSingly(ctx context.Context, t target, d time.Duration) (sample, error) {
	c, err := dial(ctx, t.addr)
	if err != nil {
		return sample{}, err
	}
	defer c.close()
	receive := receiveRequest(topicName, "max=1000")
	var latencies []time.Duration
	m := startMeter(t)
	end := m.start.Add(d)
	_ = c.SetDeadline(end.Add(ioTimeout))
	for time.Now().Before(end) {
		if err := fill(ctx, t, topicName, 1, 1000); err != nil {
			return sample{}, err
		}
		body, err := c.do(receive)
		if err != nil {
			return sample{}, err
		}
		for _, message := range bytes.Split(bytes.Clone(body), []byte(`{"payload": `))[1:] {
			ack, n := ackRequest(message)
			sent := time.Now()
			if sent.After(end) {
				break // what is left comes again in a later round
			}
			reply, err := c.do(ack)
			if err == nil {
				err = ackedAll(reply, n)
			}
			if err != nil {
				return sample{}, err
			}
			latencies = append(latencies, time.Since(sent))
		}
	}
	s := m.sample(len(latencies))
	s.latency = quantilesOf(latencies)
	return s, nil
}
