package broker

import (
	"bytes"
	"slices"
	"time"
)

// Bounds of one pass of the sweeper.
const (
	sweepRanges   = 256 // of the expiry index
	sweepMessages = 5000
	sweepDelayed  = 500
	sweepIDs      = 2000
	seenEvery     = 10 * time.Second // how far last-seen times on disk lag behind
)

// sweepLoop clears away what is over, and makes delayed messages deliverable when they are due.
func (b *Broker) sweepLoop() {
	tick := time.NewTicker(b.opts.SweepInterval)
	defer tick.Stop()
	flushed := time.Now()
	failed := false
	for {
		wait := b.untilDue(time.Now())
		if failed {
			wait = time.Hour // what is due stays due: the next tick tries again
		}
		due := time.NewTimer(wait)
		select {
		case <-b.closing:
			due.Stop()
			return
		case <-tick.C:
		case <-due.C:
		case <-b.sweepNow:
			due.Stop()
			continue // only the timer is to be set anew
		}
		due.Stop()
		now := time.Now()
		for more := true; more; {
			if more, failed = b.sweep(now, now.Sub(flushed) >= seenEvery); !more {
				break
			}
			select {
			case <-b.closing:
				return
			default:
			}
			now = time.Now()
		}
		if now.Sub(flushed) >= seenEvery {
			flushed = now
		}
	}
}

// untilDue returns how long to wait for the next delayed message.
func (b *Broker) untilDue(now time.Time) time.Duration {
	if at := b.nextDue.Load(); at != 0 {
		return max(time.UnixMicro(at).Sub(now), 0)
	}
	return time.Hour
}

func (b *Broker) setNextDue(at time.Time) {
	if at.IsZero() {
		b.nextDue.Store(0)
	} else {
		b.nextDue.Store(at.UnixMicro())
	}
}

// sweep is one pass, bounded so that no commit takes long. It tells whether there is more to do,
// and whether it failed.
func (b *Broker) sweep(now time.Time, seen bool) (more, failed bool) {
	op := &sweepOp{b: b, dueKnown: b.nextDue.Load()}
	err := b.store.View(func(r Reader) error {
		var err error
		if op.expired, err = r.Expired(now, sweepRanges); err != nil {
			return err
		}
		if op.ids, err = r.StaleIDs(now, sweepIDs); err != nil {
			return err
		}
		if at := op.dueKnown; at == 0 || time.UnixMicro(at).After(now) {
			op.dueSkipped = true
			return nil
		}
		if op.due, op.nextDue, err = r.Due(now, sweepDelayed); err != nil {
			return err
		}
		for i := range op.due {
			rec := *op.due[i].Record
			rec.Payload = bytes.Clone(rec.Payload)
			op.due[i].Record = &rec
		}
		return nil
	})
	if err != nil {
		b.log.Error("the sweeper cannot read", "error", err)
		return false, true
	}
	op.ids = slices.Clone(op.ids)
	b.collect(op, now, seen)
	err = b.do(op, 0)
	if CodeOf(err) == DiskFull && len(op.due) > 0 {
		// What is over can still be cleared away, and makes room.
		op.due, op.dueSkipped, failed = nil, true, true
		err = b.do(op, 0)
	}
	if err != nil {
		return false, true
	}
	return op.more || len(op.expired) == sweepRanges || len(op.due) == sweepDelayed || len(op.ids) == sweepIDs, failed
}

// flush stores what is written now and then.
func (b *Broker) flush(now time.Time) error {
	op := &sweepOp{b: b, dueSkipped: true}
	b.collect(op, now, true)
	return b.do(op, 0)
}

// collect returns leases that are over, and gathers delivery counts and last-seen times.
func (b *Broker) collect(op *sweepOp, now time.Time, seen bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, c := range b.bySubKey {
		if at, ok := c.seen.unstored(); ok && seen {
			op.seen = append(op.seen, Seen{SeenConsumer, c.id, at})
			op.stamps = append(op.stamps, &c.seen)
		}
		if c.held.Load() == 0 && !c.forgets.Load() {
			continue
		}
		c.mu.Lock()
		if c.expire(b.since(now)) {
			c.wakeOne()
		}
		for s := range c.unsaved {
			l := c.leases[s]
			l.saved = l.count
			op.attempts = append(op.attempts, Attempt{c.id, s.priority, s.pos, l.count})
			op.holders = append(op.holders, c)
		}
		clear(c.unsaved)
		op.attempts = append(op.attempts, c.forget...)
		for range c.forget {
			op.holders = append(op.holders, c)
		}
		c.forget = nil
		c.forgets.Store(false)
		c.mu.Unlock()
	}
	if !seen {
		return
	}
	for _, t := range b.topics {
		for _, p := range t.producers {
			if at, ok := p.seen.unstored(); ok {
				op.seen = append(op.seen, Seen{SeenProducer, p.id, at})
				op.stamps = append(op.stamps, &p.seen)
			}
		}
	}
}

// sweepOp stores what a pass of the sweeper found.
type sweepOp struct {
	b          *Broker
	expired    []Expiry
	due        []Delayed
	dueKnown   int64 // Broker.nextDue when the pass looked
	nextDue    time.Time
	dueSkipped bool // the pass did not look for due messages
	ids        []StaleID
	attempts   []Attempt
	holders    []*consumer // of attempts
	seen       []Seen
	stamps     []*lastSeen // of seen
	cleared    []*consumer // that expired messages concern
	more       bool
}

func (o *sweepOp) plan(p *plan) error {
	o.b.mu.RLock()
	defer o.b.mu.RUnlock()
	p.batch.Attempts = append(p.batch.Attempts, o.attempts...)
	p.batch.Seen = append(p.batch.Seen, o.seen...)
	p.batch.DropIDs = append(p.batch.DropIDs, o.ids...)
	o.cleared = o.cleared[:0]
	o.more = false
	budget := uint64(sweepMessages)
	for _, e := range o.expired {
		through := e.Range.To
		if t := o.b.topicIDs[e.Lane.Topic]; t != nil {
			if budget == 0 {
				o.more = true
				break
			}
			through = min(through, e.Range.From+budget-1)
			budget -= through - e.Range.From + 1
			through = o.expire(p, t, int(e.Lane.Priority), e.Range.From, through)
		}
		o.more = o.more || through < e.Range.To
		p.batch.Expiries = append(p.batch.Expiries, Expired{e, through})
	}
	for _, d := range o.due {
		p.batch.Undelay = append(p.batch.Undelay, d.Key)
		if t := o.b.topicIDs[d.Record.Topic]; t != nil {
			p.append(t, d.Record)
			t.nextDelayed--
		}
	}
	o.more = p.trim() || o.more
	return nil
}

// expire removes expired messages, and makes every consumer done with them.
func (o *sweepOp) expire(p *plan, t *topic, prio int, from, to uint64) uint64 {
	if t.lanes[prio].goneNow().Next(from) > to {
		return to
	}
	to = p.remove(t, prio, from, to)
	for _, c := range t.list() {
		p.touchConsumer(c)
		c.doneWork(prio).Add(from, to)
		o.cleared = append(o.cleared, c)
	}
	return to
}

func (o *sweepOp) applied(time.Time) {
	for i, s := range o.stamps {
		s.stored.Store(o.seen[i].At.UnixMicro())
	}
	if !o.dueSkipped {
		// A publish may have set an earlier time meanwhile: then that one stands.
		at := int64(0)
		if !o.nextDue.IsZero() {
			at = o.nextDue.UnixMicro()
		}
		if !o.b.nextDue.CompareAndSwap(o.dueKnown, at) {
			o.b.soonerDue(o.nextDue)
		}
	}
	for _, c := range o.cleared {
		if c.held.Load() == 0 && len(c.attempts) == 0 {
			continue
		}
		c.mu.Lock()
		for s, l := range c.leases {
			if (l.state == ready || l.state == deferred) && c.done[s.priority].Has(s.pos) {
				c.unlist(l)
				c.drop(l)
			}
		}
		for s := range c.attempts {
			if c.done[s.priority].Has(s.pos) {
				delete(c.attempts, s)
				c.forgetAttempt(s)
			}
		}
		c.mu.Unlock()
	}
}

// soonerDue lets the sweeper look at at, if it would not look before.
func (b *Broker) soonerDue(at time.Time) {
	if at.IsZero() {
		return
	}
	for {
		known := b.nextDue.Load()
		if known != 0 && known <= at.UnixMicro() {
			return
		}
		if b.nextDue.CompareAndSwap(known, at.UnixMicro()) {
			select {
			case b.sweepNow <- struct{}{}:
			default:
			}
			return
		}
	}
}

// failed lets a later pass store the delivery counts.
func (o *sweepOp) failed() {
	for i, a := range o.attempts {
		c, s := o.holders[i], slot{a.Priority, a.Pos}
		c.mu.Lock()
		if c.leases[s] != nil {
			c.unsaved[s] = struct{}{}
		} else {
			c.forgetAttempt(s)
		}
		c.mu.Unlock()
	}
}

func (o *sweepOp) appends() bool { return len(o.due) > 0 }
