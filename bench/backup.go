package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	backupPublishers = 16
	backupFirst      = 200_000 // messages that there are before the first backup
)

// backup publishes 1 KiB a request while one backup after another is made, against the same without.
func backup(ctx context.Context, b *bench) (err error) {
	s, err := b.newServer(ctx, topic{name: topicName, consumers: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.discard()) }()
	token, err := s.token(ctx)
	if err != nil {
		return err
	}
	const lines = 1000
	if err := repeat(ctx, s.target, batchRequest(topicName, payloadSize, lines), backupFirst/lines); err != nil {
		return err
	}
	made := 0
	req := publishRequest(topicName, payloadSize)
	publish := func() (sample, error) { return load(ctx, s.target, backupPublishers, 1, b.seconds, req) }
	err = b.compare(ctx, func() (sample, error) {
		ctx, cancel := context.WithTimeout(ctx, b.seconds)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			for ctx.Err() == nil {
				cmd := exec.CommandContext(ctx, s.binary, "backup", filepath.Join(s.dir, "backup"), "--server", "http://"+s.addr) // #nosec G204 -- the program that is measured
				cmd.Env = []string{"PIPIT_TOKEN=" + token}
				if out, err := cmd.CombinedOutput(); err != nil && ctx.Err() == nil {
					ended <- fmt.Errorf("pipit backup: %w: %s", err, bytes.TrimSpace(out))
					return
				}
				made++
			}
			ended <- nil
		}()
		out, err := publish()
		return out, errors.Join(err, <-ended)
	}, publish, "without backups", "msg", atLeast(0.8, 0))
	b.report.note("%s: %d backups, the last one perhaps not to its end", b.scenario, made)
	return err
}

// token makes an administrator and a token of the server, which is started again.
func (s *server) token(ctx context.Context) (string, error) {
	if err := s.stop(); err != nil {
		return "", err
	}
	var out []byte
	for _, args := range [][]string{{"admin", "create", "bench"}, {"token", "create", "bench", "--scope", "admin"}} {
		var stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, s.binary, append(args, "--database", s.file)...) // #nosec G204 -- the program that is measured
		cmd.Stdin, cmd.Stderr = bytes.NewReader([]byte(time.Now().String()+"\n")), &stderr
		var err error
		if out, err = cmd.Output(); err != nil {
			return "", fmt.Errorf("pipit %s: %w: %s", args[0], err, bytes.TrimSpace(stderr.Bytes()))
		}
	}
	return string(bytes.TrimSpace(out)), s.start(ctx)
}
