package broker

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// fakeClock is a clock whose sources a test moves.
type fakeClock struct {
	*clock
	wall time.Time
	mono time.Duration
	log  bytes.Buffer
}

func newFakeClock() *fakeClock {
	f := &fakeClock{wall: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	f.clock = newClock(slog.New(slog.NewTextHandler(&f.log, nil)), f.wall, f.mono)
	return f
}

// pass lets time pass, looking every two seconds.
func (f *fakeClock) pass(d time.Duration) {
	for ; d > 0; d -= watchEvery {
		step := min(d, watchEvery)
		f.wall, f.mono = f.wall.Add(step), f.mono+step
		f.observe(f.wall, f.mono)
	}
}

// wantBack compares by how much expiry is held back.
func (f *fakeClock) wantBack(t *testing.T, when string, want time.Duration) {
	t.Helper()
	if got := f.wall.Sub(f.expiry(f.wall, f.mono)); got != want {
		t.Errorf("%s: held back by %s instead of %s", when, got, want)
	}
}

func TestClockJumps(t *testing.T) {
	f := newFakeClock()
	f.pass(time.Hour)
	f.wantBack(t, "at first", 0)
	f.wall = f.wall.Add(clockJump)
	f.wantBack(t, "adjusted", 0)
	f.pass(10 * time.Second)
	if f.log.Len() > 0 {
		t.Errorf("logged: %s", &f.log)
	}
	f.wall = f.wall.Add(time.Hour)
	f.wantBack(t, "jumped", time.Hour) // also where it is asked before it looks
	f.observe(f.wall, f.mono)
	if !strings.Contains(f.log.String(), "level=WARN") || strings.Count(f.log.String(), "\n") != 1 || !strings.Contains(f.log.String(), "by=1h0m0s") {
		t.Errorf("logged: %s", &f.log)
	}
	f.pass(time.Hour - time.Second)
	f.wantBack(t, "a second before the end", time.Hour)
	f.pass(time.Second)
	f.wantBack(t, "at the end", 0)
	f.pass(time.Hour)
	f.wantBack(t, "later", 0)
	if strings.Count(f.log.String(), "\n") != 2 {
		t.Errorf("logged: %s", &f.log)
	}
}

func TestClockPutRight(t *testing.T) {
	f := newFakeClock()
	f.wall = f.wall.Add(48 * time.Hour)
	f.pass(time.Minute)
	f.wantBack(t, "jumped", 48*time.Hour)
	f.wall = f.wall.Add(-24 * time.Hour)
	f.pass(time.Minute)
	f.wantBack(t, "half right", 24*time.Hour)
	f.wall = f.wall.Add(-25 * time.Hour)
	f.pass(time.Minute)
	f.wantBack(t, "right", 0)
	f.wall = f.wall.Add(2 * time.Hour)
	f.wantBack(t, "again", 2*time.Hour)
	f.wall = f.wall.Add(3 * time.Hour)
	f.wantBack(t, "and again", 5*time.Hour)
	f.pass(3 * time.Hour)
	f.wantBack(t, "after the longer one", 0)
}

// A clock that was far back at the start, on a machine that learns the time only then, does not keep messages for years.
func TestClockJumpsFar(t *testing.T) {
	f := newFakeClock()
	f.wall = f.wall.Add(30 * 365 * 24 * time.Hour)
	f.wantBack(t, "jumped", 30*365*24*time.Hour)
	f.pass(maxExpiryDelay)
	f.wantBack(t, "after a day", 0)
}

// Many small adjustments are no jump.
func TestClockDrifts(t *testing.T) {
	f := newFakeClock()
	for range 600 {
		f.wall = f.wall.Add(time.Second)
		f.pass(watchEvery)
	}
	f.wantBack(t, "drifted", 0)
	if f.log.Len() > 0 {
		t.Errorf("logged: %s", &f.log)
	}
}

// A time that was taken before the clock jumped, and is used after that was found, is no jump back.
func TestClockOldTime(t *testing.T) {
	f := newFakeClock()
	f.pass(time.Minute)
	wall, mono := f.wall, f.mono
	f.wall, f.mono = f.wall.Add(time.Hour+time.Second), f.mono+time.Second
	between, later := f.wall, f.mono // after the jump, but used only when a later time has found it
	f.wall, f.mono = f.wall.Add(time.Second), f.mono+time.Second
	f.wantBack(t, "jumped", time.Hour)
	if got := f.expiry(wall, mono); !got.Equal(wall) {
		t.Errorf("before the jump: %s instead of %s", got, wall)
	}
	if got := between.Sub(f.expiry(between, later)); got != time.Hour {
		t.Errorf("between: held back by %s", got)
	}
	f.wantBack(t, "afterwards", time.Hour)
}

func TestClockDoesNotAllocate(t *testing.T) {
	b := &Broker{epoch: time.Now()}
	b.clock = newClock(slog.Default(), b.wall(b.epoch), 0)
	if n := testing.AllocsPerRun(100, func() { b.expiryNow(time.Now()) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// JumpClock is for the tests outside: the wall clock has jumped by d.
func (b *Broker) JumpClock(d time.Duration) { b.clock.offset.Add(-int64(d)) }
