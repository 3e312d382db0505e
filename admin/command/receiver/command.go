// Package receiver handles the messages of a queue by a command of the user's, which is run for each: the payload is its standard
// input, and the metadata are variables of its environment. The shell reads the command line, so that it can be a path as
// well as a pipeline.
//
// A run has a process group of its own. So Ctrl-C on the terminal, which is meant for who runs it, does not reach it, and what
// a time limit ends is all that the command has started.
package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// Exit codes with a meaning.
const (
	tempFail    = 75 // EX_TEMPFAIL of sysexits.h: it may work later
	notRunnable = 126
	notFound    = 127 // both by a shell, of what it was to run
)

// Grace is how long what a time limit ends has from SIGTERM to SIGKILL.
const Grace = 5 * time.Second

// leftOpen is how long the pipe of the payload may be held open by what a command leaves behind.
const leftOpen = time.Second

// groupCheck is how often is looked whether all of a process group have ended.
const groupCheck = 20 * time.Millisecond

var (
	// ErrTimeout is of a run that took too long and was ended.
	ErrTimeout = errors.New("time limit")

	// ErrStart is of a command that cannot be run at all, whatever the message is.
	ErrStart = errors.New("cannot be run")
)

// UnrunnableError is ErrStart of a command, for which no message can be handled.
type UnrunnableError struct {
	Code  int // of its exit, as a shell has it
	cause error
}

func (e *UnrunnableError) Error() string { return e.cause.Error() }
func (e *UnrunnableError) Unwrap() error { return e.cause }

// Command is what is run once a message. It does not change.
type Command struct {
	Line           string        // as the shell reads it: sh -c, and on Windows cmd /c
	Env            []string      // of its environment, beside what a message has: "NAME=value"
	Stdout, Stderr io.Writer     // of all runs; a file is handed on as it is
	Timeout        time.Duration // of a run; 0: none
}

// Run runs the command and returns its exit code: 128 and the number of the signal where one ended it. The errors are
// ErrTimeout, ErrStart, then with the code that a shell has for it, and the cause for which ctx ended: that kills the
// run at once. Whichever of them it is, nothing of its process group goes on. What a run that ended by itself has left in the background does.
func (c *Command) Run(ctx context.Context, payload []byte, vars []string) (code int, err error) {
	cmd := shell(c.Line)
	cmd.Env = append(c.Env[:len(c.Env):len(c.Env)], vars...)
	cmd.Stdin = bytes.NewReader(payload)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.WaitDelay = leftOpen
	if err := cmd.Start(); err != nil {
		return notRunnable, fmt.Errorf("%w: %w", ErrStart, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var late <-chan time.Time
	if c.Timeout > 0 {
		t := time.NewTimer(c.Timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case err := <-done:
		return ended(cmd, err)
	case <-ctx.Done():
		killGroup(cmd.Process)
		<-done
		return 0, context.Cause(ctx)
	case <-late:
		endGroup(ctx, cmd.Process)
		<-done
		return 0, ErrTimeout
	}
}

// ended tells how a command has ended, of which Wait has returned err.
func ended(cmd *exec.Cmd, err error) (int, error) {
	if cmd.ProcessState == nil {
		return 0, err
	}
	code := exitCode(cmd.ProcessState)
	if code == notRunnable || code == notFound {
		return code, fmt.Errorf("%w: exit code %d", ErrStart, code)
	}
	return code, nil
}
