package broker

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Settlement says what a consumer is done with, and what it wants again.
type Settlement struct {
	Ack    []string    // IDs of messages in flight
	Reject []string    // IDs of messages in flight
	Delay  int64       // seconds before the rejected ones can be delivered again
	Extend []Extension // these stay in flight for longer
}

// MaxExtend bounds Extension.Seconds: 12 hours.
const MaxExtend = 12 * 60 * 60

// Extension keeps a message in flight for some time from now.
type Extension struct {
	ID      string
	Seconds int64 // 1 to MaxExtend
}

// CheckExtend tells whether n seconds is an extension.
func CheckExtend(n int64) error {
	if n < 1 || n > MaxExtend {
		return Invalidf("extend %d: allowed are 1 to %d seconds", n, MaxExtend).of("extend")
	}
	return nil
}

// Settled is the answer to a Settlement.
type Settled struct {
	Acked, Rejected, Extended int
	NotFound                  []string // never delivered to the consumer, or finished for it
}

// Settle acknowledges and rejects messages. The acknowledgements are on disk when it returns;
// those messages are never delivered to the consumer again. A message that is not in flight is
// listed in NotFound and keeps nothing else from being settled. Rejected messages come before
// newer ones of their priority. On an error, Invalid, Denied (the consumer was deleted), Unavailable
// or DiskFull, nothing is acknowledged, and what was to be acknowledged is in flight as before.
func (s Subscription) Settle(ctx context.Context, st Settlement) (Settled, error) {
	if n := len(st.Ack) + len(st.Reject) + len(st.Extend); n < 1 || n > MaxSettle {
		return Settled{}, Invalidf("%d messages: allowed are 1 to %d", n, MaxSettle)
	}
	if err := CheckDelay(st.Delay); err != nil {
		return Settled{}, err
	}
	for _, e := range st.Extend {
		if err := CheckExtend(e.Seconds); err != nil {
			return Settled{}, err
		}
	}
	if s.c.deleted.Load() {
		return Settled{}, errDeleted
	}
	now := time.Now()
	s.c.seen.set(now)
	var done Settled
	op := &settleOp{c: s.c, leases: make([]*lease, 0, len(st.Ack))}
	if err := s.each(st.Ack, now, &done, func(l *lease) {
		s.c.unlist(l)
		l.state = settling
		op.leases = append(op.leases, l)
	}); err != nil {
		op.failed()
		return Settled{}, err
	}
	if len(op.leases) > 0 {
		if err := s.b.do(op, 0); err != nil {
			return Settled{}, err
		}
		done.Acked = len(op.leases)
	}
	err := s.each(st.Reject, now, &done, func(l *lease) {
		s.c.unlist(l)
		if st.Delay > 0 {
			s.c.hold(l, deferred, s.b.since(now.Add(time.Duration(st.Delay)*time.Second)))
		} else {
			s.c.giveBack(l)
		}
		done.Rejected++
	})
	for _, e := range st.Extend {
		if err == nil {
			err = s.each([]string{e.ID}, now, &done, func(l *lease) {
				s.c.unlist(l)
				s.c.hold(l, leased, s.b.since(now.Add(time.Duration(e.Seconds)*time.Second)))
				done.Extended++
			})
		}
	}
	if done.Rejected > 0 {
		s.c.mu.Lock()
		s.c.wakeOne()
		s.c.mu.Unlock()
	}
	return done, err
}

var errDeleted = denied("the consumer was deleted")

// settleChunk is how many messages are looked up under one hold of a consumer's lock.
const settleChunk = 256

// each calls fn, under the consumer's lock, with the lease of each message in flight, and lists
// the others in done.NotFound.
func (s Subscription) each(ids []string, now time.Time, done *Settled, fn func(*lease)) error {
	var found [settleChunk][]slot
	var single [settleChunk]slot
	for len(ids) > 0 {
		n := min(len(ids), settleChunk)
		for i, id := range ids[:n] {
			if p, _, ok := s.b.ids.decode(id); ok && p.Topic == s.c.topic.id {
				single[i] = slot{p.Priority, p.Pos}
				found[i] = single[i : i+1]
				continue
			}
			var err error
			if found[i], err = s.b.locate(s.c.topic.id, id); err != nil {
				return err
			}
		}
		before, err := s.unread(found[:n], now)
		if err != nil {
			return err
		}
		var missing []string
		s.c.mu.Lock()
		s.c.expire(s.b.since(now))
		for i, id := range ids[:n] {
			if l := s.inFlight(found[i], before); l != nil {
				fn(l)
			} else {
				missing = append(missing, id)
			}
		}
		s.c.mu.Unlock()
		for _, id := range missing {
			if err := s.eachOwn(id, now, done, fn); err != nil {
				return err
			}
		}
		ids = ids[n:]
	}
	return nil
}

// eachOwn is each for an ID that was not found. Where it is one that the broker has made, a
// publisher may have used it again.
func (s Subscription) eachOwn(id string, now time.Time, done *Settled, fn func(*lease)) error {
	if p, _, ok := s.b.ids.decode(id); ok && p.Topic == s.c.topic.id {
		slots, err := s.b.locateOwn(s.c.topic.id, id)
		if err != nil {
			return err
		}
		before, err := s.unread([][]slot{slots}, now)
		if err != nil {
			return err
		}
		s.c.mu.Lock()
		l := s.inFlight(slots, before)
		if l != nil {
			fn(l)
		}
		s.c.mu.Unlock()
		if l != nil {
			return nil
		}
	}
	done.NotFound = append(done.NotFound, id)
	return nil
}

// unread returns those of the slots that were not delivered since the start but may have been
// before it: a restart has ended their leases, yet their acknowledgement is honoured.
func (s Subscription) unread(found [][]slot, now time.Time) (map[slot]bool, error) {
	var candidates []slot
	c := s.c
	c.mu.Lock()
	for _, slots := range found {
		for _, sl := range slots {
			if c.wasBefore(sl) {
				candidates = append(candidates, sl)
			}
		}
	}
	c.mu.Unlock()
	if candidates == nil {
		return nil, nil
	}
	stored := map[slot]bool{}
	err := s.b.store.View(func(r Reader) error {
		for _, sl := range candidates {
			err := r.Scan(Lane{c.topic.id, sl.priority}, sl.pos, false, func(rec *Record) bool {
				if rec.Pos == sl.pos {
					stored[sl] = true
				}
				return false
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return stored, err
}

// wasBefore tells whether a message can have been delivered before the start and was not since.
// The caller holds mu.
func (c *consumer) wasBefore(sl slot) bool {
	p := sl.priority
	return sl.pos <= c.topic.lanes[p].bootTail && sl.pos >= c.next[p] && c.leases[sl] == nil && !c.done[p].Has(sl.pos)
}

// inFlight returns the lease of the first of the slots that is in flight. The caller holds
// the consumer's mu.
func (s Subscription) inFlight(slots []slot, before map[slot]bool) *lease {
	c := s.c
	for _, sl := range slots {
		if l := c.leases[sl]; l != nil {
			if l.state == leased {
				return l
			}
			continue
		}
		if before[sl] && c.wasBefore(sl) {
			l := c.lease(sl, s.b.since(time.Now().Add(c.def.Load().AckTimeout)))
			if l.saved > 0 {
				l.count = l.saved // the delivery is one of those
			}
			return l
		}
	}
	return nil
}

// settleOp stores acknowledgements of one consumer. Its leases are settling, so nobody else
// touches them.
type settleOp struct {
	c      *consumer
	leases []*lease
	fresh  int64 // messages that the consumer was not done with before
}

func (o *settleOp) plan(p *plan) error {
	c := o.c
	if c.deleted.Load() {
		return errDeleted
	}
	o.fresh = 0
	slices.SortFunc(o.leases, func(a, b *lease) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), cmp.Compare(a.pos, b.pos))
	})
	for i := 0; i < len(o.leases); {
		first := o.leases[i]
		last := first.pos
		for i++; i < len(o.leases) && o.leases[i].priority == first.priority && o.leases[i].pos == last+1; i++ {
			last++
		}
		o.fresh += p.settle(c, int(first.priority), first.pos, last)
	}
	return nil
}

// settle makes a consumer done with a range of positions. It returns with how many it was not yet.
func (p *plan) settle(c *consumer, prio int, from, to uint64) (fresh int64) {
	c.doneNow(prio).Missing(from, to, func(s Span) { fresh += int64(s.To - s.From + 1) })
	p.touchConsumer(c)
	p.touchLane(c.topic, prio).settled = true
	c.doneWork(prio).Add(from, to)
	c.store[prio] = true
	return fresh
}

func (o *settleOp) applied(time.Time) {
	o.c.counters.acked.Add(uint64(o.fresh))
	o.c.topic.counters.acked.Add(uint64(o.fresh))
	o.c.mu.Lock()
	for _, l := range o.leases {
		o.c.drop(l)
	}
	o.c.mu.Unlock()
}

func (o *settleOp) failed() {
	o.c.mu.Lock()
	for _, l := range o.leases {
		if o.c.done[l.priority].Has(l.pos) {
			o.c.drop(l) // it was deleted meanwhile
		} else {
			o.c.hold(l, leased, l.until)
		}
	}
	o.c.mu.Unlock()
}

func (o *settleOp) appends() bool { return false }
