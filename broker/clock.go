package broker

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// What is made of a wall clock that jumps.
const (
	clockJump      = time.Minute    // against monotonic time; less is an adjustment
	maxExpiryDelay = 24 * time.Hour // after which the new time is taken for the right one, however far it jumped
)

// clock holds expiry back after the wall clock has jumped ahead, for as long as it jumped: who puts
// it right again within that time has lost no message. A jump is what wall time passes by more than
// monotonic time. Its methods may be called from any goroutine.
type clock struct {
	log    *slog.Logger
	offset atomic.Int64 // of the wall clock against monotonic time, when it was last looked at; nanoseconds
	held   atomic.Bool  // back is not 0

	mu    sync.Mutex
	back  time.Duration // by how much expiry is held back
	until time.Duration // monotonic time at which that ends
	at    time.Duration // monotonic time at which the last jump was found
	found []func()      // what is to be logged, by observe: others ask with locks held
}

func newClock(log *slog.Logger, wall time.Time, mono time.Duration) *clock {
	c := &clock{log: log}
	c.offset.Store(offsetOf(wall, mono))
	return c
}

func offsetOf(wall time.Time, mono time.Duration) int64 { return wall.UnixNano() - int64(mono) }

// expiry returns the time by which messages expire, when the clocks show wall and mono.
func (c *clock) expiry(wall time.Time, mono time.Duration) time.Time {
	jump := time.Duration(offsetOf(wall, mono) - c.offset.Load())
	if jump.Abs() <= clockJump && !c.held.Load() {
		return wall
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	jump = time.Duration(offsetOf(wall, mono) - c.offset.Load())
	if jump.Abs() > clockJump {
		if mono < c.at {
			return wall // taken before the clock jumped
		}
		c.jumped(jump, wall, mono)
	}
	if c.back > 0 && mono >= c.until {
		c.delayExpiry(0, 0)
		c.warn("messages expire by the wall clock again", "time", wall)
	}
	return wall.Add(-c.back)
}

// observe is called every few seconds: it follows the adjustments of the wall clock, so that many small
// ones do not look like a jump.
func (c *clock) observe(wall time.Time, mono time.Duration) {
	c.expiry(wall, mono)
	c.mu.Lock()
	if offset := offsetOf(wall, mono); time.Duration(offset-c.offset.Load()).Abs() <= clockJump {
		c.offset.Store(offset)
	}
	found := c.found
	c.found = nil
	c.mu.Unlock()
	for _, log := range found {
		log()
	}
}

// warn has a warning logged soon; the caller holds mu.
func (c *clock) warn(msg string, args ...any) {
	c.found = append(c.found, func() { c.log.Warn(msg, args...) })
}

// jumped takes note of a jump; the caller holds mu.
func (c *clock) jumped(jump time.Duration, wall time.Time, mono time.Duration) {
	c.offset.Store(offsetOf(wall, mono))
	c.at = mono
	if jump < 0 {
		c.delayExpiry(max(c.back+jump, 0), c.until)
		c.warn("the wall clock went back", "by", -jump, "time", wall)
		return
	}
	c.delayExpiry(c.back+jump, max(c.until, mono+min(jump, maxExpiryDelay)))
	c.warn("the wall clock jumped ahead: the expiry of messages is held back", "by", jump, "time", wall, "for", c.until-mono)
}

// delayExpiry holds expiry back until a monotonic time; the caller holds mu.
func (c *clock) delayExpiry(back, until time.Duration) {
	if back == 0 {
		until = 0
	}
	c.back, c.until = back, until
	c.held.Store(back > 0)
}

// expiryNow returns the time by which messages expire at now, which has to be of time.Now: earlier
// than now while expiry is held back. What is expired by it can be removed, or not be handed out.
func (b *Broker) expiryNow(now time.Time) time.Time {
	return b.clock.expiry(b.wall(now), b.since(now))
}
