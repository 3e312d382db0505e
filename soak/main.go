//go:build linux

// Command soak runs the built program for hours under random load and faults, and keeps books of what it answers.
//
//	go run ./soak -for 2h               # prints a line now and then, and a table at the end
//	go run ./soak -for 10m -seed 7      # what is drawn is the same again; what meets what is not
//	go run ./soak -dir /mnt/small       # on a small file system, which is filled at times
//
// The program is a child process on a file of its own. It is published to and consumed from over HTTP, by pulling and by
// callbacks, by patterns and filters, with failures and with dead letters, while topics and consumers come and go. Meanwhile it is
// killed, stopped, paused, reloaded and compacted, its writes fail, its disk is full, its wall clock jumps (a seam that is built
// into it by an overlay: see clock.go), and backups of it are restored to other files and read.
//
// The ledger compares each answer with those before it:
//
//   - What was published with 200 is delivered to every consumer that was there, unless it expires or is deleted.
//   - What was acknowledged with 200 never comes again; neither does anything of which the books are closed.
//   - What was refused with an error that said so was not stored.
//   - Nothing is in flight twice at a time, is delivered before its delay is over or after its expiration, or has another payload, ID,
//     priority or topic.
//   - Within a priority of a topic, messages come in the order of their publishing, and none before a higher one that waits.
//   - What was given can be acknowledged; a message is acknowledged or a dead letter, and never both.
//   - A backup has what was answered before it, and nothing that had been acknowledged.
//
// Every few minutes publishing and faults stop until everything is delivered: then nothing may be owed, no queue may have anything, the
// program's counters have to be what the books say, and its memory, files and goroutines within bounds. So the books stay small.
// It exits with 1 where anything was violated, and leaves the files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	lasts, round time.Duration
	seed         uint64
	dir, pipit   string
	rate         float64 // messages a second
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	var violations int
	if err == nil {
		violations, err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	if violations > 0 {
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.lasts, "for", 10*time.Minute, "how long")
	f.DurationVar(&o.round, "round", 4*time.Minute, "after which the books are settled, again and again")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "what is drawn follows from it") // #nosec G115 -- any number will do
	f.StringVar(&o.dir, "dir", "", "folder in which a temporary one is made for the database (default: that of the system)")
	f.StringVar(&o.pipit, "pipit", "", "program to run, whose clock does not jump then (default: it is built from the sources, with a clock that does)")
	f.Float64Var(&o.rate, "rate", 60, "messages a second")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.lasts < time.Second || o.lasts > 30*24*time.Hour:
		return o, fmt.Errorf("-for %s: allowed are 1s to 720h", o.lasts)
	case o.round < time.Second || o.round > time.Hour:
		return o, fmt.Errorf("-round %s: allowed are 1s to 1h", o.round)
	case o.rate < 1 || o.rate > 10_000:
		return o, fmt.Errorf("-rate %g: allowed are 1 to 10000", o.rate)
	}
	return o, nil
}
