package broker

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// Bounds of one pass of the sweeper.
const (
	sweepRanges   = 256 // of the expiry index
	sweepMessages = 5000
	sweepDelayed  = 500
	sweepIDs      = 2000
	sweepLooks    = 5000             // delayed messages looked at for deleted topics
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
	op := &sweepOp{b: b, dueKnown: b.nextDue.Load(), undelayed: b.undelayed.Load()}
	err := b.store.View(func(r Reader) error {
		var err error
		if op.expired, err = r.Expired(now, sweepRanges); err != nil {
			return err
		}
		if op.ids, err = r.StaleIDs(now, sweepIDs); err != nil {
			return err
		}
		if err = b.scanDelayed(r, op); err != nil {
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
	b.scan = op.scan
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
	dueSkipped bool   // the pass did not look for due messages
	undelayed  uint64 // Broker.undelayed before the pass looked
	ids        []StaleID
	attempts   []Attempt
	holders    []*consumer // of attempts
	seen       []Seen
	stamps     []*lastSeen     // of seen
	cleared    []*consumer     // that expired messages concern
	lapsed     []uint64        // how many of these messages a consumer of cleared was not done with
	scan       delayedScan     // where it will be after this pass
	scanned    map[uint32]bool // topics for which it has seen everything
	lost       []Delayed       // of deleted topics
	purged     []*topic        // orphans of which nothing is left
	more       bool
}

// delayedScan is how far the sweeper has looked for delayed messages of deleted topics. They are
// found by looking at all delayed messages, since these are in the order of their times.
type delayedScan struct {
	topics map[uint32]bool // those that it looks for; nil: it is not under way
	after  string          // the last key that it has looked at
}

// scanDelayed goes on looking, or begins to where there are new deleted topics. Its outcome counts
// when op is done.
func (b *Broker) scanDelayed(r Reader, op *sweepOp) error {
	op.scan = b.scan
	if op.scan.topics == nil {
		b.mu.RLock()
		for id, t := range b.orphans {
			if t.delayed.Load() > 0 {
				if op.scan.topics == nil {
					op.scan.topics = map[uint32]bool{}
				}
				op.scan.topics[id] = true
			}
		}
		b.mu.RUnlock()
		if op.scan.topics == nil {
			return nil
		}
	}
	looked := 0
	err := r.ScanDelayed(op.scan.after, func(d Delayed) bool {
		op.scan.after = d.Key
		if id := d.Record.Topic; op.scan.topics[id] {
			op.lost = append(op.lost, Delayed{Key: d.Key, Record: &Record{Place: d.Record.Place}})
		}
		looked++
		return looked < sweepLooks
	})
	if looked < sweepLooks {
		op.scan, op.scanned = delayedScan{}, op.scan.topics
	}
	return err
}

func (o *sweepOp) plan(p *plan) error {
	o.b.mu.RLock()
	defer o.b.mu.RUnlock()
	for i, a := range o.attempts {
		if !o.holders[i].deleted.Load() {
			p.batch.Attempts = append(p.batch.Attempts, a)
		}
	}
	for i, s := range o.seen {
		if !o.stamps[i].over.Load() {
			p.batch.Seen = append(p.batch.Seen, s)
		}
	}
	p.batch.DropIDs = append(p.batch.DropIDs, o.ids...)
	o.cleared, o.lapsed, o.purged = o.cleared[:0], o.lapsed[:0], nil
	o.more = o.scan.topics != nil
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
	if len(o.due) > 0 && o.undelayed != o.b.undelayed.Load() {
		o.due, o.dueSkipped, o.more = nil, true, true // some of them may be gone: look again
	}
	lost := map[string]bool{}
	for _, d := range o.lost {
		lost[d.Key] = true
		o.dropDelayed(p, d)
	}
	for _, d := range o.due {
		if t := o.b.topicIDs[d.Record.Topic]; t != nil {
			p.batch.Undelay = append(p.batch.Undelay, d.Key)
			p.append(t, d.Record)
			t.nextDelayed--
		} else if !lost[d.Key] {
			o.dropDelayed(p, d)
		}
	}
	o.more = p.trim() || o.more
	o.purge(p, budget)
	return nil
}

// dropDelayed deletes a delayed message of a deleted topic.
func (o *sweepOp) dropDelayed(p *plan, d Delayed) {
	p.batch.Undelay = append(p.batch.Undelay, d.Key)
	if t := o.b.orphans[d.Record.Topic]; t != nil {
		p.touch(t)
		t.nextDelayed--
	}
}

// purge removes what is stored of deleted topics, budget messages at most, and forgets the topics of
// which nothing is left. What is remembered of IDs goes at its time.
func (o *sweepOp) purge(p *plan, budget uint64) {
	for id, t := range o.b.orphans {
		left := t.nextDelayed > 0 && !o.scanned[id] // some may be damaged: then they are never found
		for prio := range t.lanes {
			l := &t.lanes[prio]
			for from := l.goneNow().Next(1); from <= l.next; from = l.goneNow().Next(from) {
				left = true
				if budget == 0 {
					o.more = true
					return
				}
				to := p.remove(t, prio, from, min(l.next, from+budget-1))
				budget -= to - from + 1
				o.more = true
			}
		}
		if left {
			continue
		}
		for prio := range t.lanes {
			if t.lanes[prio].next > 0 {
				p.batch.Purge = append(p.batch.Purge, Lane{id, uint8(prio)})
			}
		}
		o.purged = append(o.purged, t)
	}
}

// expire removes expired messages, and makes every consumer done with them.
func (o *sweepOp) expire(p *plan, t *topic, prio int, from, to uint64) uint64 {
	if t.lanes[prio].goneNow().Next(from) > to {
		return to
	}
	to = p.remove(t, prio, from, to)
	for _, c := range t.list() {
		p.touchConsumer(c)
		n := uint64(0)
		c.doneNow(prio).Missing(from, to, func(s Span) { n += s.To - s.From + 1 })
		c.doneWork(prio).Add(from, to)
		o.cleared, o.lapsed = append(o.cleared, c), append(o.lapsed, n)
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
	if len(o.purged) > 0 {
		o.b.mu.Lock()
		for _, t := range o.purged {
			delete(o.b.orphans, t.id)
		}
		o.b.mu.Unlock()
	}
	for i, c := range o.cleared {
		c.counters.expired.Add(o.lapsed[i])
		c.topic.counters.expired.Add(o.lapsed[i])
	}
	slices.SortFunc(o.cleared, func(a, b *consumer) int { return cmp.Compare(a.id, b.id) })
	for _, c := range slices.Compact(o.cleared) {
		c.mu.Lock()
		c.dropDone(false) // whoever has one in flight can still settle it
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
