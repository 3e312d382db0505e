package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// redisProgram is looked for in PATH.
const redisProgram = "redis-server"

// peers publishes 1 KiB a request with so many clients, beside a server of Redis that has the same payloads added to a stream, one a
// command, and flushes before it answers, as Pipit does. Its other settings are its defaults. Nobody receives from either.
func peers(clients int, g goal) func(context.Context, *bench) error {
	return func(ctx context.Context, b *bench) (err error) {
		program, err := exec.LookPath(redisProgram)
		if err != nil {
			b.report.note("%s: skipped: %s is not installed", b.scenario, redisProgram)
			return nil
		}
		s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.discard()) }()
		redis, stop, err := b.startRedis(ctx, program)
		if err != nil {
			return err
		}
		defer stop()

		req := publishRequest(topicName, payloadSize)
		if err := ask(ctx, s.target, req); err != nil {
			return err
		}
		add := redisCommand("XADD", topicName, "*", "payload", string(payload(payloadSize)))
		var allocations float64
		return b.compare(ctx,
			b.loading(ctx, s, clients, 1, req, &allocations),
			func() (sample, error) { return load(ctx, redis, clients, 1, b.seconds, add) },
			"XADD of "+redisProgram+", appendfsync always", "msg", g)
	}
}

// startRedis runs Redis as a child, which stop ends, with files in a directory of its own.
func (b *bench) startRedis(ctx context.Context, program string) (t target, stop func(), err error) {
	dir, err := os.MkdirTemp(b.dir, "redis-")
	if err != nil {
		return t, nil, err
	}
	t = target{disk: b.disk, do: (*conn).redis}
	if t.addr, err = freeAddr(); err != nil {
		return t, nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log")) // #nosec G304 -- in a directory of ours
	if err != nil {
		return t, nil, err
	}
	defer log.Close() // the child has its own
	port := t.addr[len("127.0.0.1:"):]
	cmd := exec.CommandContext(ctx, program, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--daemonize", "no", // #nosec G204 -- Redis
		"--appendonly", "yes", "--appendfsync", "always", "--save", "")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return terminate(cmd.Process) }
	cmd.WaitDelay = stopTimeout
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	t.pid = cmd.Process.Pid
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	stop = func() {
		_ = terminate(cmd.Process)
		<-exited
		_ = os.RemoveAll(dir)
	}
	if err := awaitRedis(ctx, t, exited); err != nil {
		text, _ := os.ReadFile(log.Name())
		stop()
		return t, nil, fmt.Errorf("%s: %w\n%s", program, err, text)
	}
	return t, stop, nil
}

// awaitRedis waits until Redis answers.
func awaitRedis(ctx context.Context, t target, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		err := pingRedis(ctx, t)
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-exited:
			return errors.New("it ended at its start")
		case <-ctx.Done():
			return fmt.Errorf("it did not start in time: %w", err)
		}
	}
}

func pingRedis(ctx context.Context, t target) error {
	c, err := dial(ctx, t.addr)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.redis(redisCommand("PING"))
	return err
}

// redisCommand builds a command in RESP, the protocol of Redis.
func redisCommand(args ...string) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(args))
	for _, a := range args {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b
}

// redis sends a command and returns its reply, a line, a number or a string, which is valid until the next call.
func (c *conn) redis(command []byte) ([]byte, error) {
	if _, err := c.Write(command); err != nil {
		return nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) == 0 {
		return nil, errors.New("an empty reply")
	}
	c.body = c.body[:0]
	switch kind, rest := line[0], line[1:]; kind {
	case '+', ':':
		c.body = append(c.body, rest...)
		return c.body, nil
	case '$':
		n, err := strconv.ParseUint(string(rest), 10, 31)
		if err != nil {
			return nil, fmt.Errorf("not a string: %q", line)
		}
		if err := c.read(int(n)); err != nil {
			return nil, err
		}
		_, err = c.r.Discard(2)
		return c.body, err
	default:
		return nil, fmt.Errorf("answered %q", line)
	}
}
