package broker

import (
	"context"
	"math"
	"slices"
	"time"

	"pipit/broker/store"
)

// Bounds of one step of a counting, which is one View of the store.
const (
	countKeys  = 20_000
	countTime  = 2 * time.Millisecond
	countTries = 100 // steps that changes under way may spoil, before it is given up
)

var errBusy = &Error{Code: Unavailable, RetryAfter: time.Second, Message: "The topic changes too fast to be counted, try again"}

// counting counts what a lane stores from a position on, a View at a time and beside all that goes on, and from then on
// follows what is appended and removed. What is removed while it counts is subtracted by the committer, which also takes in
// what a View has counted: only then is it known that the View has not seen a removal that is subtracted later. All of it is
// the committer's own, but that who has begun it may read from, to and at.
type counting struct {
	laneRef
	sized bool // of all the lane, and its bytes

	from     uint64
	to       uint64 // the tail when it began: what is appended later needs no look
	at       uint64 // counted up to here; math.MaxUint64: all of it
	messages uint64
	bytes    int64
	coming   int64 // bytes that the running commit appends
	dirty    bool  // something that the View may have counted was removed
	torn     bool  // a removal was in part of what is counted, in part of what is not
}

// done tells whether all is counted.
func (c *counting) done() bool { return c.at == math.MaxUint64 }

// now returns how many messages the lane stores from the position on, as the running commit will leave it but for what
// that one removes.
func (c *counting) now() uint64 { return c.messages + c.lane().next - c.to }

// removed takes in a removal.
func (c *counting) removed(x *store.Removal) {
	from, through := x.Range.From, x.Through
	switch {
	case x.Removed == 0 || through < c.from:
	case from < c.from:
		c.torn = true
	case c.done() || from > c.to || through < c.at:
		c.messages -= uint64(x.Removed) // #nosec G115 -- a count
		c.bytes -= x.Bytes
	case from >= c.at && through <= c.to:
		c.dirty = true
	default:
		c.torn = true
	}
}

// countOp begins and ends countings, or takes in what a View has counted of one. It stores nothing.
type countOp struct {
	end, begin []*counting
	step       *counting
	messages   uint64
	bytes      int64
	at         uint64 // where the next step goes on
	spoilt     bool   // the step was for nothing
	torn       bool   // and all before it
}

func (o *countOp) plan(*draft) error { return nil }

func (o *countOp) applied(time.Time) {
	for _, c := range o.end {
		l := c.lane()
		l.countings = slices.DeleteFunc(l.countings, func(x *counting) bool { return x == c })
		if l.weight == c {
			l.weight = nil
			l.weighed.Store(false)
		}
	}
	for _, c := range o.begin {
		l := c.lane()
		c.to, c.messages, c.bytes, c.dirty, c.torn = l.tail.Load(), 0, 0, false, false
		if c.at = c.from; c.from > c.to {
			c.from, c.at = c.to+1, math.MaxUint64
		}
		l.countings = append(l.countings, c)
		if c.sized {
			l.weight = c
			l.weigh()
		}
	}
	if c := o.step; c != nil {
		o.torn = c.torn
		if o.spoilt = c.dirty || c.torn; !o.spoilt {
			c.messages, c.bytes, c.at = c.messages+o.messages, c.bytes+o.bytes, o.at
		}
		c.dirty = false // the View of the next step begins after all that is removed by now
		c.lane().weigh()
	}
}

func (o *countOp) failed()       {}
func (o *countOp) appends() bool { return false }

// look is the View of one step.
func (o *countOp) look(r store.Reader) error {
	c, start := o.step, time.Now()
	o.messages, o.bytes, o.at = 0, 0, math.MaxUint64
	next := func(pos uint64, every uint64) bool {
		if pos > c.to {
			return false
		}
		o.messages++
		if o.messages < countKeys && (o.messages%every > 0 || time.Since(start) < countTime) {
			return true
		}
		if pos < c.to {
			o.at = pos + 1
		}
		return false
	}
	if !c.sized {
		return r.Stored(c.key(), store.Span{From: c.at, To: c.to}, func(pos uint64) bool { return next(pos, 256) })
	}
	return r.Scan(c.key(), c.at, false, func(rec *store.Record) bool {
		if rec.Pos <= c.to {
			o.bytes += rec.Size()
		}
		return next(rec.Pos, 16)
	})
}

// weigh tells others what the weight has come to. For the committer.
func (l *lane) weigh() {
	if l.weight != nil && l.weight.done() {
		l.size.Store(l.weight.bytes)
		l.weighed.Store(true)
	}
}

// count begins countings and brings them to their ends. From then on they follow what is appended and removed, until
// uncount, which the caller owes them in any case. The errors are Unavailable, that of ctx, and those of the store.
func (x *commits) count(ctx context.Context, list []*counting) error {
	if len(list) == 0 {
		return nil
	}
	if err := x.do(&countOp{begin: list}, 0); err != nil {
		return err
	}
	tries := countTries
	for _, c := range list {
		for !c.done() {
			if ctx.Err() != nil {
				return callerLeft(ctx)
			}
			o := &countOp{step: c}
			if err := x.b.store.View(o.look); err != nil {
				return err
			}
			if err := x.do(o, 0); err != nil {
				return err
			}
			if !o.spoilt {
				continue
			}
			if tries--; tries == 0 {
				return errBusy
			}
			if o.torn {
				if err := x.do(&countOp{end: []*counting{c}, begin: []*counting{c}}, 0); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// uncount lets go of countings.
func (x *commits) uncount(list []*counting) {
	if len(list) > 0 {
		_ = x.do(&countOp{end: list}, 0) // closed: nobody counts any more
	}
}
