// Command bench drives the built binary over HTTP and prints what it costs.
//
//	go run ./bench                        # every scenario but those of stalls
//	go run ./bench -run 'publish|batch'   # some of them
//	go run ./bench -run peers             # beside redis-server, where it is installed
//	go run ./bench -run steady -before FILE              # publishing and consuming, beside another binary
//	go run ./bench -run steady -rounds 1 -seconds 600    # its latencies minute by minute
//	go run ./bench -run cluster           # three nodes beside one server, all on this machine
//	go run ./bench -run stall             # what one client's work does to another's publishing
//	go run ./bench -profile prof          # with CPU profiles, and allocations a message
//
// The server runs as a child process with a configuration and a file of its own. What a figure
// is worth depends on the machine, so each is shown beside a baseline measured in the same run:
// an empty httprouter handler in a process of its own, driven by the same client, or commits of
// plain bbolt on the same file system. Figure and baseline take turns, round by round, while the
// other is idle; the table has the medians of the rounds.
//
// Beside them stand what a message came to in bytes that reached the disk, in flushes of the disk,
// and in CPU time of the server. The first two are the disk's own counts, where the system tells
// which disk it is. What others write meanwhile is in them, so the round with the least is shown, and
// what they wrote in the second before a scenario stands in its notes.
//
// Client, server and baselines share the machine. Anything else that runs on it shows.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	pipit   string // the binary; empty: it is built
	run     *regexp.Regexp
	seconds time.Duration // of each round
	rounds  int
	before  string // the binary that steady is compared with; empty: none
	dir     string // where files are made
	profile string // where profiles are written; empty: none are taken
}

// scenario is one kind of work.
type scenario struct {
	name string
	asks bool // it runs only where -run asks for it
	run  func(context.Context, *bench) error
}

var scenarios = []scenario{
	{name: "publish-1", run: publishAlone},
	{name: "publish-16", run: publishBy(16, goal{}, atMost(2_500).aiming(1_800))},
	{name: "publish-64", run: publishBy(64, atLeast(0.62, 0.75), atMost(1_800).aiming(1_300))},
	{name: "publish-256", run: publishBy(256, atLeast(0.75, 0.85), goal{})},
	{name: "peers-1", run: peers(1, atLeast(0.80, 0.95))},
	{name: "peers-64", run: peers(64, atLeast(0.85, 1))},
	{name: "peers-256", run: peers(256, atLeast(0.95, 1.10))},
	{name: "batch-100B-1", run: batch(100, 1)},
	{name: "batch-100B-2", run: batch(100, 2)},
	{name: "batch-1KiB-1", run: batch(1024, 1)},
	{name: "batch-1KiB-2", run: batch(1024, 2)},
	{name: "latency", run: latency},
	{name: "fanout", run: fanout},
	{name: "drain-1", run: drain(1)},
	{name: "drain-4", run: drain(4)},
	{name: "callback-1", run: callback(5_000, 1, "raw", 1, atLeast(0.30, 0.60))},
	{name: "callback-16", run: callback(20_000, 16, "raw", 1, atLeast(0.05, 0.20))},
	{name: "callback-100", run: callback(200_000, 1, "json", 100, atLeast(0.50, 1))},
	{name: "callbacks-down", run: callbacksDown},
	{name: "filter-1", run: filters(1)},
	{name: "filter-10", run: filters(10)},
	{name: "filter-100", run: filters(100)},
	{name: "memory", run: memory},
	{name: "steady", run: steady},
	{name: "room-100B", asks: true, run: room(100, 1)},
	{name: "room-1KiB", asks: true, run: room(1<<10, 1)},
	{name: "room-1KiB-100", asks: true, run: room(1<<10, 100)},
	{name: "room-10KiB", asks: true, run: room(10<<10, 1)},
	{name: "room-64KiB", asks: true, run: room(64<<10, 1)},
	{name: "fair-1", asks: true, run: fair(1)},
	{name: "fair-64", asks: true, run: fair(64)},
	{name: "cluster-publish-1", asks: true, run: clusterPublish(1, 0.20)},
	{name: "cluster-publish-64", asks: true, run: clusterPublish(64, 0.30)},
	{name: "cluster-batch-1KiB", asks: true, run: clusterBatch},
	{name: "cluster-drain-4", asks: true, run: clusterDrain},
	{name: "cluster-latency", asks: true, run: clusterLatency},
	{name: "cluster-memory", asks: true, run: clusterMemory},
	{name: "backup", asks: true, run: backup},
	{name: "stall-mixed", asks: true, run: stallMixed},
	{name: "stall-lifo", asks: true, run: stallLIFO},
	{name: "stall-leases", asks: true, run: stallLeases},
	{name: "stall-delayed", asks: true, run: stallDelayed},
	{name: "stall-acks", asks: true, run: stallAcks},
	{name: "stall-checkpoints", asks: true, run: stallCheckpoints},
}

// bench is one run of the command. Scenarios run one after another.
type bench struct {
	options
	out      io.Writer
	progress io.Writer
	dir      string // temporary; removed at the end
	disk     device // that has dir
	scenario string // the one that runs
	report   report
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == emptyFlag {
		exit(serveEmpty(os.Stdin, os.Stdout))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 4 && os.Args[1] == loudFlag {
		exit(beLoud(ctx, os.Stdin, os.Args[2], os.Args[3]))
	}
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "pipit-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	b := &bench{options: o, out: os.Stdout, progress: os.Stderr, dir: dir, disk: deviceOf(dir)}
	if b.pipit == "" {
		if b.pipit, err = build(ctx, dir, o.profile != ""); err != nil {
			return err
		}
	}
	if b.pipit, err = filepath.Abs(b.pipit); err != nil {
		return err
	}
	if b.before != "" {
		if b.before, err = filepath.Abs(b.before); err != nil {
			return err
		}
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o750); err != nil {
			return err
		}
	}

	found := false
	for _, s := range scenarios {
		if !o.run.MatchString(s.name) || s.asks && o.run.String() == "" {
			continue
		}
		found = true
		if serr := b.one(ctx, s); serr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, serr))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if !found {
		return fmt.Errorf("-run %q: no scenario is called that", o.run)
	}
	b.report.print(b.out)
	return err
}

// one runs a scenario in a directory and within a time of its own.
func (b *bench) one(ctx context.Context, s scenario) error {
	limit := 3*time.Minute + 4*time.Duration(b.rounds)*b.seconds
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	fmt.Fprintf(b.progress, "%s …\n", s.name)
	b.scenario = s.name
	if err := b.noteOthers(ctx); err != nil {
		return err
	}
	return s.run(ctx, b)
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.pipit, "pipit", "", "binary to drive (default: built from the sources)")
	expr := f.String("run", "", "run the scenarios whose names match this regular expression")
	seconds := f.Float64("seconds", 5, "seconds of each round")
	f.IntVar(&o.rounds, "rounds", 3, "rounds, of which the medians are shown")
	f.StringVar(&o.before, "before", "", "another binary, which the scenario steady is compared with")
	f.StringVar(&o.dir, "dir", ".", "directory on the file system to measure; a temporary one is made in it")
	f.StringVar(&o.profile, "profile", "", "directory for CPU profiles of the server, which is built for it")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.run, err = regexp.Compile(*expr); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	o.seconds = time.Duration(*seconds * float64(time.Second))
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.seconds < 100*time.Millisecond || o.seconds > 10*time.Minute:
		return o, fmt.Errorf("-seconds %g: allowed are 0.1 to 600", *seconds)
	case o.rounds < 1 || o.rounds > 100:
		return o, fmt.Errorf("-rounds %d: allowed are 1 to 100", o.rounds)
	case o.pipit != "" && o.profile != "":
		return o, errors.New("-profile needs a binary that is built for it: it cannot be used with -pipit")
	}
	return o, nil
}

// machine says where the figures come from.
func machine() string {
	return fmt.Sprintf("%s/%s, %d cores, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version())
}
