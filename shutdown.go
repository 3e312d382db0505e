package main

import (
	"errors"
	"fmt"
	"time"
)

// Bounds of a shutdown. Ten seconds is what a service manager commonly allows.
const (
	shutdownEnd = 9500 * time.Millisecond // for everything but the last lines of the log, see logFlush; requests take 8 s of it

	failureTime = time.Second // from when the database has failed, in which requests are answered with 503, to the shutdown
)

// shutdown is what has to be undone, run last in, first out.
type shutdown []step

type step struct {
	name string
	run  func() error
}

func (s *shutdown) add(name string, run func() error) { *s = append(*s, step{name, run}) }

// run runs every step, whatever the others return, and joins their errors. When limit has passed
// it returns, naming the step that has not.
func (s *shutdown) run(limit time.Duration) error {
	timeout := time.After(limit)
	var errs []error
	for ; len(*s) > 0; *s = (*s)[:len(*s)-1] {
		last := (*s)[len(*s)-1]
		done := make(chan error, 1)
		go func() { done <- last.run() }()
		select {
		case err := <-done:
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", last.name, err))
			}
		case <-timeout:
			return errors.Join(append(errs, fmt.Errorf("%s: not done after %s", last.name, limit))...)
		}
	}
	return errors.Join(errs...)
}
