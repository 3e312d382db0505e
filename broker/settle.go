package broker

import (
	"cmp"
	"slices"
	"time"

	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// Settlement says what a consumer is done with, and what it wants again.
type Settlement struct {
	Ack        []string      // IDs of messages in flight
	Reject     []string      // IDs of messages in flight
	DeadLetter []string      // IDs of messages in flight that are rejected for good
	Delay      int64         // seconds before the rejected ones can be delivered again; 0: as Consumer.RetryBackoff says
	Wait       time.Duration // in place of Delay, for who counts in less than seconds; 0: as that says
	Extend     []Extension   // these stay in flight for longer
}

// Extension keeps a message in flight for some time from now.
type Extension struct {
	ID      string
	Seconds int64 // 1 to MaxExtend
}

// Settled is the answer to a Settlement.
type Settled struct {
	Acked, Rejected, Extended int
	DeadLettered              int      // of Settlement.DeadLetter
	NotFound                  []string // never delivered to the consumer, or finished for it
}

// Settle acknowledges and rejects messages. The acknowledgements are on disk when it returns;
// those messages are never delivered to the consumer again. A message that is not in flight is
// listed in NotFound and keeps nothing else from being settled. Rejected messages come before
// newer ones of their priority. What is rejected for good, or for the last time that MaxDeliveries allows, is in the
// consumer's dead-letter topic when Settle returns, or waits for room there and is delivered no more; a consumer without
// one drops it. On an error, Invalid, Denied (the consumer was deleted), Unavailable
// or DiskFull, nothing is acknowledged, and what was to be acknowledged is in flight as before. It does
// not end early: the fate of the messages is known when it returns.
func (s Subscription) Settle(st Settlement) (Settled, error) {
	if n := len(st.Ack) + len(st.Reject) + len(st.DeadLetter) + len(st.Extend); n < 1 || n > limit.MaxSettle {
		return Settled{}, Invalidf("%d messages: allowed are 1 to %d", n, limit.MaxSettle)
	}
	if err := limit.CheckDelay(st.Delay); err != nil {
		return Settled{}, ours(err)
	}
	if st.Wait < 0 || st.Wait > limit.MaxDelay*time.Second {
		return Settled{}, Invalidf("wait %s: allowed are 0s to %s", property.FormatDuration(st.Wait), property.FormatDuration(limit.MaxDelay*time.Second))
	}
	for _, e := range st.Extend {
		if err := limit.CheckExtend(e.Seconds); err != nil {
			return Settled{}, ours(err)
		}
	}
	if s.c.deleted.Load() {
		return Settled{}, errDeleted
	}
	now := time.Now()
	if !s.callback || len(st.Ack) > 0 { // that nobody answers is no sign of life
		s.c.seen.set(now)
	}
	var done Settled
	op := &settleOp{b: s.b, c: s.c, leases: make([]*lease, 0, len(st.Ack)), how: history.Acknowledged}
	if err := s.each(st.Ack, &done, func(i int, l *lease) {
		s.c.unlist(l)
		l.state, l.index = settling, i
		op.leases = append(op.leases, l)
	}); err != nil {
		op.failed()
		return Settled{}, err
	}
	if len(op.leases) > 0 {
		if err := s.b.commits.doFor(s.c.def.Load().Client, op, 0); err != nil {
			return Settled{}, err
		}
		done.Acked = len(op.leases) - len(op.lost)
		for _, l := range op.lost {
			done.NotFound = append(done.NotFound, st.Ack[l.index])
		}
	}
	err := s.reject(&st, &done)
	if err != nil || len(st.Extend) == 0 {
		return done, err
	}
	ids := make([]string, len(st.Extend))
	for i := range st.Extend {
		ids[i] = st.Extend[i].ID
	}
	return done, s.each(ids, &done, func(i int, l *lease) {
		s.c.unlist(l)
		s.c.hold(l, leased, s.b.since(time.Now().Add(time.Duration(st.Extend[i].Seconds)*time.Second)))
		l.q.note(l)
		done.Extended++
	})
}

// reject settles what is rejected.
func (s Subscription) reject(st *Settlement, done *Settled) error {
	var over []*lease // not to be delivered again
	give := func(l *lease) {
		l.state = settling
		over = append(over, l)
	}
	wait := cmp.Or(st.Wait, time.Duration(st.Delay)*time.Second)
	err := s.each(st.Reject, done, func(_ int, l *lease) {
		s.c.unlist(l)
		if s.c.refuse(l, wait, s.b.since(time.Now())) {
			give(l)
		}
		done.Rejected++
		s.c.counters.rejected.Add(1)
		l.q.topic.counters.rejected.Add(1)
	})
	if err == nil {
		err = s.each(st.DeadLetter, done, func(_ int, l *lease) {
			if s.c.unlist(l); l.state != failed {
				l.why = byReject
			}
			give(l)
			done.DeadLettered++
			s.c.counters.rejected.Add(1)
			l.q.topic.counters.rejected.Add(1)
		})
	}
	if done.Rejected > 0 {
		s.c.mu.Lock()
		s.c.wakeOne()
		s.c.mu.Unlock()
	}
	bury(s.b, s.c, over)
	return err
}

var errDeleted = denied("the consumer was deleted")

// settleChunk is how many messages are looked up under one hold of a consumer's lock.
const settleChunk = 256

// each calls fn, under the consumer's lock, with the index and the lease of each message that was
// delivered and is not finished, and lists the others in done.NotFound.
func (s Subscription) each(ids []string, done *Settled, fn func(i int, l *lease)) error {
	var found [settleChunk][]spot
	var single [settleChunk]spot
	var own [settleChunk]string // the ID, where a publisher chose it
	var places whereabouts
	for begin := 0; begin < len(ids); begin += settleChunk {
		part := ids[begin:min(begin+settleChunk, len(ids))]
		for i, id := range part {
			if q, sl := s.locate(id); q != nil {
				single[i] = spot{q, sl}
				found[i], own[i] = single[i:i+1], ""
				continue
			}
			var err error
			own[i] = id
			if found[i], err = s.locateOwn(id, &places); err != nil {
				return err
			}
		}
		before, err := s.unread(found[:len(part)])
		if err != nil {
			return err
		}
		var missing []int
		s.c.mu.Lock()
		s.c.expire(s.b.since(time.Now()))
		for i := range part {
			if l := s.outstanding(found[i], own[i], before); l != nil {
				fn(begin+i, l)
			} else {
				missing = append(missing, begin+i)
			}
		}
		s.c.mu.Unlock()
		for _, i := range missing {
			if err := s.eachOwn(ids, i, &places, done, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

// spot is a place within one of a consumer's topics.
type spot struct {
	q *queue
	slot
}

// locate returns the place that an ID of the broker's own tells. The queue is nil where it is not one of a message
// of the consumer.
func (s Subscription) locate(id string) (*queue, slot) {
	p, _, ok := s.b.ids.decode(id)
	if !ok {
		return nil, slot{}
	}
	return s.c.queueOf(p.Topic), slot{p.Priority, p.Pos}
}

// eachOwn is each for an ID that was not found. Where it is one that the broker has made, a
// publisher may have used it again, and of one's own there may be several messages.
func (s Subscription) eachOwn(ids []string, i int, places *whereabouts, done *Settled, fn func(int, *lease)) error {
	slots, err := s.sightings(ids[i], places)
	if err != nil {
		return err
	}
	before, err := s.unread([][]spot{slots})
	if err != nil {
		return err
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if l := s.outstanding(slots, ids[i], before); l != nil {
		fn(i, l)
	} else {
		done.NotFound = append(done.NotFound, ids[i])
	}
	return nil
}

// locateOwn returns the slots of the topic's messages that were published with an ID: that alone which
// is in flight, where one is.
func (s Subscription) locateOwn(id string, places *whereabouts) ([]spot, error) {
	s.c.mu.Lock()
	l := s.c.own[id]
	s.c.mu.Unlock()
	if l != nil {
		return []spot{{l.q, l.slot}}, nil
	}
	return s.sightings(id, places)
}

// sightings returns the slots of the topic's messages that were published with an ID. It may be one that
// the broker has made, here or in another topic.
func (s Subscription) sightings(id string, places *whereabouts) ([]spot, error) {
	if limit.CheckMessageID(id) != nil {
		return nil, nil
	}
	if s.c.merge == nil {
		return s.sightingsIn(s.c.list(), id)
	}
	places.find(s.c)
	slots, err := s.sightingsIn(places.held, id)
	if err != nil {
		return nil, err
	}
	s.c.mu.Lock()
	known := slices.ContainsFunc(slots, func(sl spot) bool { return sl.q.leases[sl.slot] != nil })
	s.c.mu.Unlock()
	if known {
		return slots, nil
	}
	more, err := s.sightingsIn(places.before, id)
	return append(slots, more...), err
}

// whereabouts are those of the queues of a consumer of a pattern that may have a message that was delivered and is not
// finished. A Settle finds them once, so that IDs that are nowhere are not looked for in all of its topics.
type whereabouts struct {
	found  bool
	held   []*queue
	before []*queue // without what is held: see queue.wasBefore
}

func (w *whereabouts) find(c *consumer) {
	if w.found {
		return
	}
	w.found = true
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, q := range c.list() {
		if len(q.leases) > 0 {
			w.held = append(w.held, q)
		} else if q.anyBefore() {
			w.before = append(w.before, q)
		}
	}
}

// sightingsIn is sightings in the topics of some of the consumer's queues.
func (s Subscription) sightingsIn(queues []*queue, id string) (slots []spot, err error) {
	const together = 100 // queues that share a View
	for part := range slices.Chunk(queues, together) {
		err := s.b.store.View(func(r store.Reader) error {
			for _, q := range part {
				sightings, err := r.FindID(q.topic.id, id)
				if err != nil {
					return err
				}
				for _, s := range sightings {
					if s.Pos > 0 {
						slots = append(slots, spot{q, slot{s.Priority, s.Pos}})
					}
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(slots, func(a, b spot) int { return cmp.Compare(a.pos, b.pos) })
	return slots, nil
}

// unread returns those of the slots that were not delivered since the start but may have been
// before it: a restart has ended their leases, yet their acknowledgement is honoured.
func (s Subscription) unread(found [][]spot) (map[spot]bool, error) {
	var candidates []spot
	c := s.c
	c.mu.Lock()
	for _, slots := range found {
		for _, sl := range slots {
			if sl.q.wasBefore(sl.slot) {
				candidates = append(candidates, sl)
			}
		}
	}
	c.mu.Unlock()
	if candidates == nil {
		return nil, nil
	}
	stored := map[spot]bool{}
	err := s.b.store.View(func(r store.Reader) error {
		f := c.filter.Load()
		for _, sl := range candidates {
			lane := store.Lane{Topic: sl.q.topic.id, Priority: sl.priority}
			if f != nil {
				err := r.Scan(lane, sl.pos, false, func(rec *store.Record) bool {
					if rec.Pos == sl.pos && f.match(rec) {
						stored[sl] = true
					}
					return false
				})
				if err != nil {
					return err
				}
				continue
			}
			err := r.Stored(lane, store.Span{From: sl.pos, To: sl.pos}, func(uint64) bool {
				stored[sl] = true
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
func (q *queue) wasBefore(sl slot) bool {
	p := sl.priority
	return !q.gone.Load() && sl.pos <= q.topic.lanes[p].bootTail && sl.pos >= q.next[p] && q.leases[sl] == nil && !q.done[p].Has(sl.pos)
}

// anyBefore tells whether wasBefore may be true of a message. The caller holds mu.
func (q *queue) anyBefore() bool {
	for p := range q.next {
		if q.next[p] <= q.topic.lanes[p].bootTail {
			return true
		}
	}
	return false
}

// outstanding returns the lease of the slots' message that was delivered and is not finished, in time or
// late: the one that is in flight, else the one that was delivered last. own is the ID, where a
// publisher chose it. The caller holds the consumer's mu.
func (s Subscription) outstanding(slots []spot, own string, before map[spot]bool) (found *lease) {
	c := s.c
	for _, sl := range slots {
		l := sl.q.leases[sl.slot]
		switch {
		case l == nil || l.state == settling || l.count == 0:
		case l.state == leased:
			return l
		case found == nil || l.seq > found.seq:
			found = l
		}
	}
	if found != nil {
		return found
	}
	for _, sl := range slots {
		if before[sl] && sl.q.wasBefore(sl.slot) {
			if c.own[own] != nil {
				own = "" // another one of this ID is being settled with it
			}
			l := sl.q.lease(sl.slot, store.Span{From: sl.pos, To: sl.pos}, own, s.b.since(time.Now().Add(c.def.Load().AckTimeout)))
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
	b        *Broker
	c        *consumer
	leases   []*lease
	finished int64 // messages that the consumer was not done with before
	parts    []settledOf
	one      [1]settledOf    // most consumers have one queue
	lost     []*lease        // their topic was deleted meanwhile, or they have moved
	how      history.Outcome // what the history says of them
}

func (o *settleOp) plan(d *draft) error {
	if o.c.deleted.Load() {
		return errDeleted
	}
	o.finished, o.parts, o.lost = 0, o.one[:0], nil
	slices.SortFunc(o.leases, byQueue)
	for leases := o.leases; len(leases) > 0; {
		q, n := leases[0].q, 1
		for n < len(leases) && leases[n].q == q {
			n++
		}
		if q.gone.Load() {
			o.lost, leases = append(o.lost, leases[:n]...), leases[n:]
			continue
		}
		finished := d.settle(q, o.there(leases[:n]))
		o.finished += finished
		o.parts = append(o.parts, settledOf{q, finished})
		leases = leases[n:]
	}
	return nil
}

// there returns those of leases whose messages did not go elsewhere meanwhile.
func (o *settleOp) there(leases []*lease) []*lease {
	if !slices.ContainsFunc(leases, wentElsewhere) {
		return leases
	}
	for _, l := range leases {
		if l.elsewhere {
			o.lost = append(o.lost, l)
		}
	}
	return slices.DeleteFunc(slices.Clone(leases), wentElsewhere)
}

func wentElsewhere(l *lease) bool { return l.elsewhere }

// settledOf is how many messages a queue was not done with before.
type settledOf struct {
	q        *queue
	finished int64
}

// settle makes a queue done with the messages of its leases, in order. It returns with how many it was not yet.
func (d *draft) settle(q *queue, leases []*lease) (finished int64) {
	for i := 0; i < len(leases); {
		prio, all := int(leases[i].priority), leases[i].extent()
		w, l := d.progress(q, prio), d.touchLane(q.topic, prio)
		l.settled = true
		for ; i < len(leases) && int(leases[i].priority) == prio && leases[i].extent().From <= all.To+1; i++ {
			span := leases[i].extent()
			all.From, all.To = min(all.From, span.From), max(all.To, span.To)
			if _, removed := slices.BinarySearch(l.discarded, leases[i].pos); !removed && !leases[i].removed && !q.isDone(prio, leases[i].pos) {
				w.finished++
				finished++
			}
		}
		d.cover(q, prio, all.From, all.To)
	}
	return finished
}

func (o *settleOp) applied(now time.Time) {
	c := o.c
	o.b.recordSettled(o, now)
	c.counters.acked.Add(uint64(o.finished)) // #nosec G115 -- a count
	for _, p := range o.parts {
		p.q.topic.counters.acked.Add(uint64(p.finished)) // #nosec G115 -- a count
	}
	c.mu.Lock()
	full := int(c.held.Load()) >= c.def.Load().MaxInFlight
	for _, l := range o.leases {
		c.drop(l)
	}
	if full {
		c.wakeOne() // there is room
	}
	c.mu.Unlock()
}

func (o *settleOp) failed() {
	o.c.mu.Lock()
	for _, l := range o.leases {
		if l.q.gone.Load() || l.over() {
			o.c.drop(l) // it was deleted meanwhile
		} else {
			o.c.hold(l, leased, l.until)
		}
	}
	o.c.mu.Unlock()
}

func (o *settleOp) appends() bool { return false }
