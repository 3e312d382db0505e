//go:build linux

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// soak is one run of the command.
type soak struct {
	options
	out       io.Writer
	base, dir string // what belongs to the run; the database, on a disk that may be filled
	server    *server
	receiver  *receiver
	ledger    *ledger
	queues    []*queue
	token     string
	client    *http.Client
	began     time.Time
	abort     context.CancelFunc

	gate      sync.RWMutex // who publishes or changes objects has it; who settles has it alone
	settling  atomic.Bool
	aside     sync.WaitGroup // backups and compactions
	backingUp sync.Mutex

	clock, latest int       // what the wall clock of the program is off by, in seconds; the most that it was
	diskFailed    time.Time // when a fault of the disk ended last

	mu     sync.Mutex
	counts map[string]int
	peak   resources
	rest   []resources // of each time that the books were settled
}

// resources are what the process has.
type resources struct{ memory, files, goroutines int }

// run soaks, and returns how many violations there were.
func run(ctx context.Context, o options, out io.Writer) (int, error) {
	s := &soak{options: o, out: out, queues: newQueues(), ledger: newLedger(out), counts: map[string]int{}}
	s.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second}}
	fmt.Fprintf(out, "seed %d, for %s, %g messages a second\n", o.seed, o.lasts, o.rate)
	var err error
	if s.base, err = os.MkdirTemp("", "pipit-soak-"); err != nil {
		return 0, err
	}
	defer s.clear()
	if s.dir, err = os.MkdirTemp(cmp.Or(o.dir, s.base), "pipit-soak-"); err != nil {
		return 0, err
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return 0, err
	}
	if err := s.prepare(ctx); err != nil {
		return 0, err
	}
	defer s.receiver.server.Close()
	s.began = time.Now() // building took its time
	s.work(ctx)
	s.table()
	return s.ledger.broken(), nil
}

// clear removes the files, where nothing is to be looked for in them.
func (s *soak) clear() {
	if s.ledger.broken() > 0 {
		fmt.Fprintf(s.out, "the files are left in %s, the database in %s\n", s.base, s.dir)
		return
	}
	for _, dir := range []string{s.dir, s.base} {
		if err := os.RemoveAll(dir); err != nil {
			s.logf("%v", err)
		}
	}
}

// program is the path of the program's package, which is that of the module, whatever it is called.
func program() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Path != "" {
		return info.Main.Path
	}
	return "pipit"
}

// prepare makes the program, its configuration, a token and the process.
func (s *soak) prepare(ctx context.Context) error {
	binary, err := s.pipit, error(nil)
	if binary == "" {
		binary, err = build(ctx, program(), s.base)
	} else {
		binary, err = filepath.Abs(binary)
	}
	if err != nil {
		return err
	}
	if s.receiver, err = newReceiver(s); err != nil {
		return err
	}
	for _, q := range s.queues {
		s.ledger.add(q)
	}
	config := filepath.Join(s.base, "pipit.toml")
	if s.server, err = newServer(binary, s.dir, config, clockVariable+"="+s.clockFile()); err != nil {
		return err
	}
	if err := s.configure(usualLimits); err != nil {
		return err
	}
	file := filepath.Join(s.dir, "pipit.db")
	if _, err := s.server.command(ctx, password+"\n", "admin", "create", "soak", "--database", file, "--create"); err != nil {
		return err
	}
	token, err := s.server.command(ctx, "", "token", "create", "soak", "--scope", "admin", "--expires", "never", "--database", file)
	if err != nil {
		return err
	}
	s.token = strings.TrimSpace(token)
	return s.server.start(ctx)
}

func (s *soak) clockFile() string { return filepath.Join(s.base, "clock") }

func (s *soak) configure(l limits) error {
	next := s.server.config + ".new"
	if err := os.WriteFile(next, []byte(configuration(s.queues, s.receiver.url, l)), 0o600); err != nil {
		return err
	}
	return os.Rename(next, s.server.config)
}

// random draws for one of those that work at a time.
func (s *soak) random(i uint64) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed, i)) // #nosec G404 -- load
}

// work lets everything loose, and settles the books every round and at the end, also where that comes early since stop has ended.
func (s *soak) work(stop context.Context) {
	var ctx context.Context
	ctx, s.abort = context.WithCancel(context.WithoutCancel(stop))
	defer s.abort()
	var workers sync.WaitGroup
	for i := range uint64(publishers) {
		workers.Go(func() { s.publish(ctx, s.random(i), s.rate/publishers) })
	}
	for i, q := range s.queues {
		for j := range habitsOf[q.name].receivers {
			workers.Go(func() { s.consume(ctx, s.random(uint64(100+10*i+j)), q, habitsOf[q.name]) }) // #nosec G115 -- small
		}
	}
	workers.Go(func() { s.churn(ctx, s.random(1000), "/x/a") })
	workers.Go(func() { s.churn(ctx, s.random(1001), "/x/b") })
	workers.Go(func() { s.watch(ctx) })
	chaos := s.random(2000)
	for end := s.began.Add(s.lasts); ctx.Err() == nil; {
		round, cancel := context.WithTimeout(ctx, min(s.round, time.Until(end)))
		unhook := context.AfterFunc(stop, cancel)
		s.disturb(round, ctx, chaos)
		unhook()
		cancel()
		s.settle(ctx)
		if stop.Err() != nil || !time.Now().Before(end) {
			break
		}
	}
	s.abort()
	workers.Wait()
	s.aside.Wait()
	s.end(syscall.SIGTERM)
	s.check(context.Background())
	if err := s.server.log.Close(); err != nil {
		s.logf("%v", err)
	}
}

// enter waits while the books are settled; it is false where the run is over.
func (s *soak) enter(ctx context.Context) bool {
	s.gate.RLock()
	if ctx.Err() != nil {
		s.gate.RUnlock()
		return false
	}
	return true
}

func (s *soak) leave() { s.gate.RUnlock() }

// settle has everything delivered, and compares what there is with the books.
func (s *soak) settle(ctx context.Context) {
	s.died(ctx)
	s.aside.Wait()
	s.settling.Store(true)
	defer s.settling.Store(false)
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.latest > s.clock {
		s.setClock(s.latest) // so that what was delayed by a later time comes
	}
	end := time.Now().Add(settleTimeout)
	for ctx.Err() == nil {
		if n, _ := s.ledger.owed(); n == 0 || time.Now().After(end) {
			break
		}
		pause(ctx, 100*time.Millisecond)
	}
	if ctx.Err() == nil {
		s.compareCounters(ctx, end)
	}
	if ctx.Err() != nil {
		return
	}
	s.ledger.settle()
	s.tell()
}

const settleTimeout = 2 * time.Minute

// tell writes how far it is.
func (s *soak) tell() {
	s.ledger.mu.Lock()
	t := s.ledger.totals
	s.ledger.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.rest[len(s.rest)-1]
	s.logf("settled: %d published, %d deliveries, %d acknowledged, %d killed, %d backups read; %d MiB, %d files, %d goroutines at rest",
		t.published, t.delivered, t.acked, s.counts["killed"], s.counts["backups restored and read"], now.memory>>20, now.files, now.goroutines)
}

func (s *soak) logf(format string, args ...any) {
	fmt.Fprintf(s.out, "%s %s %s\n", clockTime(time.Now()), time.Since(s.began).Round(time.Second), fmt.Sprintf(format, args...))
}

func (s *soak) count(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what]++
}

// table writes the end.
func (s *soak) table() {
	fmt.Fprintf(s.out, "\n%-40s %s\n%-40s %d\n%s", "ran for", time.Since(s.began).Round(time.Second), "seed", s.seed, s.ledger.totals)
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		fmt.Fprintf(s.out, "%-40s %d\n", what, s.counts[what])
	}
	fmt.Fprintf(s.out, "%-40s %d MiB, %d, %d\n", "most memory, files, goroutines", s.peak.memory>>20, s.peak.files, s.peak.goroutines)
	if len(s.rest) > 0 {
		first, last := s.rest[0], s.rest[len(s.rest)-1]
		fmt.Fprintf(s.out, "%-40s %d MiB, %d, %d\n%-40s %d MiB, %d, %d\n", "  at the first rest", first.memory>>20, first.files, first.goroutines,
			"  at the last", last.memory>>20, last.files, last.goroutines)
	}
	fmt.Fprintf(s.out, "%-40s %d\n", "books settled", len(s.rest))
	fmt.Fprintf(s.out, "%-40s %d\n", "VIOLATIONS", s.ledger.broken())
}
