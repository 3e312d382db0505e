package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/command/receiver"
)

// Bounds of consume --exec.
const (
	maxConcurrency = 256
	defaultTimeout = 10 * time.Minute
)

// execFlags are those of consume --exec.
type execFlags struct {
	line         string
	concurrency  int
	timeout      fieldflag.Duration
	deadLetterOn []int
}

func (f *execFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.line, "exec", "", "run this `COMMAND` of the shell once a message")
	flags.IntVar(&f.concurrency, "concurrency", 1, fmt.Sprintf("with --exec, run at most `N` at a time, up to %d; 1 keeps the order", maxConcurrency))
	f.timeout = fieldflag.Duration(defaultTimeout)
	flags.Var(&f.timeout, "timeout", "with --exec, end a run after this `DURATION`; 0: never")
	flags.IntSliceVar(&f.deadLetterOn, "dead-letter-on", nil, "with --exec, messages for which it exits with this `CODE` go to the dead-letter topic; once for each")
	_ = cmd.RegisterFlagCompletionFunc("exec", files)
}

// check tells what is wrong with the flags. on tells whether --exec is among them.
func (f *execFlags) check(cmd *cobra.Command) (on bool, err error) {
	on = cmd.Flags().Changed("exec")
	for _, name := range []string{"concurrency", "timeout", "dead-letter-on"} {
		if !on && cmd.Flags().Changed(name) {
			return on, fmt.Errorf("--%s is for --exec", name)
		}
	}
	switch {
	case on && strings.TrimSpace(f.line) == "":
		return on, fmt.Errorf("exec %q: allowed is a command", f.line)
	case f.concurrency < 1 || f.concurrency > maxConcurrency:
		return on, fmt.Errorf("concurrency %d: allowed are 1 to %d", f.concurrency, maxConcurrency)
	}
	for _, code := range f.deadLetterOn {
		if code < 1 || code > 255 {
			return on, fmt.Errorf("dead-letter-on %d: allowed are 1 to 255", code)
		}
	}
	return on, nil
}

// errAtOnce is why runs end of whom a second signal reached.
var errAtOnce = errors.New("interrupted twice")

// exec runs a command for each message, f.max at the most, until ctx ends or it cannot be run. It then waits for the runs that
// have begun, but for a second signal, which ends these and gives their messages back.
func (c *cli) exec(ctx context.Context, topic string, f *consumeFlags) error {
	hup := !signal.Ignored(syscall.SIGHUP) // nohup has it ignored
	if hup {
		var stop func()
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP)
		defer stop()
	}
	// Main has SIGPIPE ignored, which commands would inherit: one that is handled they do not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	runs, atOnce := context.WithCancelCause(context.WithoutCancel(ctx))
	defer atOnce(nil)
	defer onSecondSignal(hup, func() { atOnce(errAtOnce) })()

	q, err := c.patientQueue(ctx, topic, f)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	r := receiver.Runner{
		Queue: q, Concurrency: f.exec.concurrency, DeadLetterOn: f.exec.deadLetterOn, Note: c.out.notef,
		NotNow: func(err error) bool { return exitCode(err) == exitNotNow },
		Command: receiver.Command{
			Line: f.exec.line, Env: receiver.Without(c.Env, envPassword, envSubKey), Stdout: c.Stdout, Stderr: c.Stderr, Timeout: time.Duration(f.exec.timeout),
		},
	}
	return r.Run(ctx, runs, f.max)
}

// onSecondSignal calls fn at the second of the signals that end a process. The third one does. With hup a SIGHUP is one of them,
// but never the second: a terminal that is closed sends it, and then its shell sends it again.
func onSecondSignal(hup bool, fn func()) (stop func()) {
	c, done := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	if hup {
		signal.Notify(c, syscall.SIGHUP)
	}
	go func() {
		defer signal.Stop(c)
		for n := 0; n < 2; {
			select {
			case s := <-c:
				if n == 0 || s != syscall.SIGHUP {
					n++
				}
			case <-done:
				return
			}
		}
		fn()
	}()
	return func() { close(done) }
}

// patientQueue is queue that waits for a server which is not there yet, as when both start with the machine.
func (c *cli) patientQueue(ctx context.Context, topic string, f *consumeFlags) (receiver.Queue, error) {
	var p receiver.Pauses
	for {
		q, err := c.queue(ctx, topic, f)
		if err == nil || exitCode(err) != exitNotNow {
			return q, err
		}
		pause := p.Next()
		c.out.notef("%v: asking again in %s", err, pause)
		if !receiver.Sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}
