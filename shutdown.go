package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"pipit/httpapi"
)

// Bounds of a shutdown. Ten seconds is what a service manager commonly allows.
const (
	shutdownEnd = 9500 * time.Millisecond // for everything but the last lines of the log, see logFlush; requests take 8 s of it

	tracesEnd = 2 * time.Second // of it, for spans that are not sent yet, when all else is done

	failureTime = time.Second // from when the database has failed, in which requests are answered with 503, to the shutdown
)

// notifyEnd hears of the signals that end the process. main has the first one end the context, so two of them are a second one.
func notifyEnd() chan os.Signal {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	return c
}

// drain serves on for http.drain without being ready, so that load balancers turn away. A second signal ends that, as does what
// would end the process in any case; from then on a further one ends the process at once. The configuration is loaded again as ever,
// and changes anything but the time of this drain; a supervisor that waits for the end is not told.
func (s *service) drain(ctx context.Context, w work, signals chan os.Signal, hangups *hangups, tell supervisor) {
	defer signal.Stop(signals)
	d := s.cfg.HTTP.Drain
	if d == 0 {
		return
	}
	w.unready()
	tell.draining(d + shutdownEnd + time.Second)
	s.log.Info("draining: GET "+httpapi.ReadyPath+" answers 503, all else goes on", "for", d.String())
	timeout := time.After(d)
	for ended := 0; ended < 2; {
		select {
		case <-timeout:
			return
		case <-w.failed():
			return
		case <-hangups.c:
			if s.hangup(context.WithoutCancel(ctx), w, hangups) { // ctx has ended
				return
			}
		case <-signals:
			ended++ // the first of them has begun the drain
		}
	}
}

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
