package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
)

// room publishes 100 MB of messages of a size, in batches that go by the log, for so many consumers that do not receive, and
// looks at what each takes of the file once that is closed and compacted: it becomes longer by 16 MiB at a time.
func room(size, consumers int) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		lines := min(500, 90<<10/size)
		messages := 100_000_000 / size / lines * lines
		s, err := b.newServer(ctx, topic{name: topicName, expiration: 3600, consumers: consumers})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		m := startMeter(s.target)
		if err := fillBy(ctx, s.target, topicName, size, messages, lines); err != nil {
			return err
		}
		filled := m.sample(messages)
		if err := s.stop(); err != nil {
			return err
		}
		// #nosec G204 -- the program that is measured
		if out, err := exec.CommandContext(ctx, s.binary, "compact", s.file).CombinedOutput(); err != nil {
			return fmt.Errorf("pipit compact: %w: %s", err, out)
		}
		bytes, _, err := diskUse(s.file)
		if err != nil {
			return err
		}
		b.report.absolute(b.scenario+": bytes of the file a message", float64(bytes)/float64(messages), atMost(1.25*float64(size)+100), whole)
		b.report.costs(filled)
		return nil
	}
}
