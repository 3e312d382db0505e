//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// faults are what is done to the program, and how often in comparison.
var faults = []struct {
	name  string
	often int
	do    func(*soak, context.Context, *rand.Rand)
}{
	{"killed", 6, (*soak).kill},
	{"killed at its start", 2, (*soak).killStarting},
	{"stopped and started", 2, (*soak).restart},
	{"paused", 3, (*soak).stall},
	{"writes failed as on a full disk", 3, (*soak).failWrites},
	{"disk filled", 3, (*soak).fillDisk},
	{"too little room for publishing", 1, (*soak).lackRoom},
	{"clock jumped", 4, (*soak).jump},
	{"configuration loaded again", 3, (*soak).reload},
	{"compacted", 3, (*soak).compact},
	{"backup", 3, (*soak).backUp},
	{"nothing", 6, func(_ *soak, ctx context.Context, rnd *rand.Rand) {
		pause(ctx, time.Duration(rnd.IntN(10))*time.Second)
	}},
}

// disturb does one thing after another to the program until the round ends; what it has begun it ends, unless ctx does.
func (s *soak) disturb(round, ctx context.Context, rnd *rand.Rand) {
	all := 0
	for _, f := range faults {
		all += f.often
	}
	for {
		pause(round, time.Duration(500+rnd.IntN(5000))*time.Millisecond)
		if round.Err() != nil {
			return
		}
		if s.died(ctx) {
			continue
		}
		x := rnd.IntN(all)
		for _, f := range faults {
			if x -= f.often; x < 0 {
				s.logf("%s", f.name)
				f.do(s, ctx, rnd)
				break
			}
		}
	}
}

// died starts the program again where it has ended by itself, which it may do where a write failed.
func (s *soak) died(ctx context.Context) bool {
	cmd, exited := s.server.process()
	select {
	case <-exited:
	default:
		return false
	}
	if time.Since(s.diskFailed) > 10*time.Second {
		s.ledger.wrong("the program ended by itself: %s", cmd.ProcessState)
	}
	s.count("ended by itself, as a write failed")
	over := s.ledger.fault()
	s.ledger.nextEpoch()
	s.ledger.nextEpoch()
	s.check(ctx)
	s.start(ctx)
	over()
	return true
}

// start starts the program; where that fails there is nothing to go on with.
func (s *soak) start(ctx context.Context, env ...string) {
	if err := s.server.start(ctx, env...); err != nil && ctx.Err() == nil {
		s.ledger.wrong("%v", err)
		s.abort()
	}
}

// end ends the process by a signal.
func (s *soak) end(sig syscall.Signal) {
	s.ledger.nextEpoch()
	if err := s.server.end(sig); err != nil && time.Since(s.diskFailed) > 10*time.Second {
		s.ledger.wrong("%v", err)
	}
	s.ledger.nextEpoch()
}

func (s *soak) kill(ctx context.Context, rnd *rand.Rand) {
	s.count("killed")
	over := s.ledger.fault()
	defer over()
	s.end(syscall.SIGKILL)
	if rnd.IntN(4) == 0 {
		s.check(ctx)
	}
	s.start(ctx)
}

// check has the program read the whole file that it left.
func (s *soak) check(ctx context.Context) {
	s.count("files checked")
	if _, err := s.server.command(ctx, "", "check", filepath.Join(s.dir, "pipit.db")); err != nil && ctx.Err() == nil {
		s.ledger.wrong("%v", err)
	}
}

func (s *soak) killStarting(ctx context.Context, rnd *rand.Rand) {
	over := s.ledger.fault()
	defer over()
	s.end(syscall.SIGKILL)
	for range 1 + rnd.IntN(3) {
		s.count("killed at its start")
		soon, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(200_000))*time.Microsecond)
		err := s.server.start(soon)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			s.ledger.wrong("%v", err)
		}
		s.end(syscall.SIGKILL)
	}
	s.start(ctx)
}

func (s *soak) restart(ctx context.Context, _ *rand.Rand) {
	s.count("stopped and started")
	over := s.ledger.fault()
	defer over()
	s.end(syscall.SIGTERM)
	s.start(ctx)
}

func (s *soak) stall(ctx context.Context, rnd *rand.Rand) {
	s.count("paused")
	over := s.ledger.fault()
	defer over()
	s.server.signal(syscall.SIGSTOP)
	pause(ctx, time.Duration(200+rnd.IntN(6000))*time.Millisecond)
	s.server.signal(syscall.SIGCONT)
}

// failWrites has every write past some bytes of a file fail, for a while.
func (s *soak) failWrites(ctx context.Context, rnd *rand.Rand) {
	s.count("writes failed as on a full disk")
	over := s.ledger.fault()
	defer over()
	most := uint64(1) << (12 + rnd.IntN(12)) // 4 KiB to 8 MiB
	s.diskFailed = time.Now()                // it may end by itself
	if err := s.server.limitFiles(most); err != nil {
		if !errors.Is(err, syscall.ESRCH) { // it has ended
			s.ledger.wrong("%v", err)
		}
		return
	}
	pause(ctx, time.Duration(200+rnd.IntN(4000))*time.Millisecond)
	if err := s.server.limitFiles(^uint64(0)); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.ledger.wrong("%v", err)
	}
	s.diskFailed = time.Now()
}

// smallDisk is how much room there may be for fillDisk to fill it.
const smallDisk = 2 << 30

// fillDisk fills the file system, where it is a small one of its own.
func (s *soak) fillDisk(ctx context.Context, rnd *rand.Rand) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &st); err != nil || st.Bavail*uint64(st.Bsize) > smallDisk { // #nosec G115 -- sizes
		return
	}
	s.count("disk filled")
	over := s.ledger.fault()
	defer over()
	file := filepath.Join(s.dir, "ballast")
	f, err := os.Create(file) // #nosec G304 -- in the folder of the run
	if err != nil {
		return // it is full already
	}
	block := make([]byte, 64<<10)
	for err = nil; err == nil && ctx.Err() == nil; {
		_, err = f.Write(block)
	}
	pause(ctx, time.Duration(200+rnd.IntN(6000))*time.Millisecond)
	if err := errors.Join(f.Close(), os.Remove(file)); err != nil {
		s.ledger.wrong("the disk stays full: %v", err)
	}
	s.diskFailed = time.Now()
}

// lackRoom runs the program for a while as if the disk had too little room: publishing is refused, and nothing else.
func (s *soak) lackRoom(ctx context.Context, rnd *rand.Rand) {
	s.count("too little room for publishing")
	over := s.ledger.fault()
	defer over()
	s.end(syscall.SIGTERM)
	s.start(ctx, "PIPIT_DATABASE_MIN_FREE=1TiB")
	pause(ctx, time.Duration(1000+rnd.IntN(5000))*time.Millisecond)
	s.end(syscall.SIGTERM)
	s.start(ctx)
}

// jump sets the clock of the program, by seconds or by hours, ahead or back.
func (s *soak) jump(_ context.Context, rnd *rand.Rand) {
	if s.pipit != "" {
		return
	}
	s.count("clock jumped")
	by := []int{1 + rnd.IntN(50), 60 + rnd.IntN(3600), 3600 * (1 + rnd.IntN(3))}[rnd.IntN(3)]
	if rnd.IntN(5) < 2 || s.clock > 86400*5 {
		by = -by
	}
	s.setClock(s.clock + by)
}

func (s *soak) setClock(to int) {
	s.ledger.clockJumped()
	s.clock, s.latest = to, max(s.latest, to)
	next := s.clockFile() + ".new"
	err := os.WriteFile(next, fmt.Append(nil, to), 0o600)
	if err == nil {
		err = os.Rename(next, s.clockFile())
	}
	if err != nil {
		s.logf("the clock: %v", err)
	}
}

func (s *soak) reload(ctx context.Context, rnd *rand.Rand) {
	s.count("configuration loaded again")
	l := usualLimits
	if rnd.IntN(3) > 0 {
		l = limits{maxPending: 16 << rnd.IntN(5), maxReplies: 4 << rnd.IntN(6), historyMessages: 100 + rnd.IntN(50_000), calls: 4 + rnd.IntN(60), level: []string{"info", "debug"}[rnd.IntN(2)]}
	}
	if err := s.configure(l); err != nil {
		s.logf("%v", err)
		return
	}
	const line = "configuration loaded again"
	before := s.server.logged(line)
	_, exited := s.server.process()
	s.server.signal(syscall.SIGHUP)
	for end := time.Now().Add(20 * time.Second); s.server.logged(line) == before; pause(ctx, 20*time.Millisecond) {
		select {
		case <-exited: // as a write failed, or died tells
			return
		case <-ctx.Done():
			return
		default:
		}
		if time.Now().After(end) {
			s.ledger.wrong("the configuration was not loaded again within 20s")
			return
		}
	}
}

// compact has the file compacted, while all goes on and faults come.
func (s *soak) compact(ctx context.Context, _ *rand.Rand) {
	s.aside.Go(func() {
		a := s.admin(ctx, http.MethodPost, "/database/compact", nil)
		switch {
		case a.err == nil && a.status == http.StatusOK:
			s.count("compacted")
		case a.err != nil, a.status == http.StatusServiceUnavailable, a.status == http.StatusInsufficientStorage:
			s.count("compacting cut short")
		default:
			s.ledger.wrong("compacting was answered with %d: %s", a.status, a.body)
		}
	})
}
