package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// memory stores a million messages of 100 bytes for two consumers, restarts the server, and
// looks at what it costs: the time until the first message is received, memory and disk. It looks
// at a server with nothing stored, too.
func memory(ctx context.Context, b *bench) (err error) {
	const messages, size = 1_000_000, 100
	if err := b.idleMemory(ctx); err != nil {
		return err
	}
	s, err := b.newServer(ctx, topic{name: topicName, expiration: 3600, consumers: 2})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	m := startMeter(s.target)
	most, err := mostMemory(s.pid, func() error {
		return fillBy(ctx, s.target, topicName, size, messages, 500) // larger ones would go past the log, and nothing be kept for it
	})
	if err != nil {
		return err
	}
	filled := m.sample(messages)
	// The log was full then, and with it the table of what the file does not have yet.
	b.memoryRow("while 1,000,000 messages were published", most, 100<<20)
	b.report.costs(filled)

	receive := receiveRequest(topicName, "max=1")
	var starts []time.Duration
	var held []residentMemory
	for i := range b.rounds {
		if err := s.stop(); err != nil {
			return err
		}
		if err := s.start(ctx); err != nil {
			return err
		}
		c, err := dial(ctx, s.addr)
		if err != nil {
			return err
		}
		_ = c.SetDeadline(time.Now().Add(ioTimeout))
		body, err := c.do(receive)
		took := time.Since(s.started)
		if err == nil {
			if _, n := ackRequest(body); n != 1 {
				err = fmt.Errorf("received %d messages instead of 1", n)
			}
		}
		c.close()
		if err != nil {
			return err
		}
		starts = append(starts, took)
		if m, ok := memoryOf(s.pid); ok {
			held = append(held, m)
		}
		fmt.Fprintf(b.progress, "  %d: first receive after %s\n", i+1, short(took))
	}
	took := medianOf(starts, func(d time.Duration) time.Duration { return d })
	b.report.absolute(b.scenario+": start to first receive, 1,000,000 messages", took.Seconds(), atMost(1), seconds)
	b.memoryRow("1,000,000 messages", held, 100<<20)

	if err := s.stop(); err != nil {
		return err
	}
	bytes, allocated, err := diskUse(s.file)
	if err != nil {
		return err
	}
	b.report.absolute(b.scenario+": bytes of the file a message", float64(bytes)/messages, atMost(2*size+150), whole)
	b.report.absolute(b.scenario+": bytes on disk a message", float64(allocated)/messages, atMost(2*size+150), whole)
	return nil
}

// mostMemory calls f and returns the most that a process holds meanwhile, empty where the system does not tell.
func mostMemory(pid int, f func() error) (most []residentMemory, err error) {
	done := make(chan error, 1)
	go func() { done <- f() }()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if m, ok := memoryOf(pid); ok && (most == nil || m.anonymous > most[0].anonymous) {
			most = []residentMemory{m}
		}
		select {
		case err := <-done:
			return most, err
		case <-look.C:
		}
	}
}

// idleMemory looks at a server that stores nothing.
func (b *bench) idleMemory(ctx context.Context) (err error) {
	s, err := b.newServer(ctx, topic{name: topicName, consumers: 2})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	if err := ask(ctx, s.target, receiveRequest(topicName, "max=1")); err != nil {
		return err
	}
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	var held []residentMemory
	if m, ok := memoryOf(s.pid); ok {
		held = append(held, m)
	}
	b.memoryRow("idle", held, 25<<20)
	return nil
}

// memoryRow reports resident memory without the file's mapped pages, and notes it with them.
func (b *bench) memoryRow(what string, held []residentMemory, limit float64) {
	if len(held) == 0 {
		b.report.add(row{scenario: b.scenario + ": resident, " + what, figure: "n/a"})
		return
	}
	anonymous := medianOf(held, func(m residentMemory) float64 { return m.anonymous })
	b.report.absolute(b.scenario+": resident, "+what, anonymous, atMost(limit), mib)
	b.report.note("%s: %s: RssAnon %s, VmRSS %s with the mapped pages of the program and the file",
		b.scenario, what, mib(anonymous), mib(medianOf(held, func(m residentMemory) float64 { return m.all })))
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
