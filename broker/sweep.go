package broker

import (
	"bytes"
	"sync/atomic"
	"time"

	"pipit/broker/store"
)

// Bounds of one pass of the sweeper.
const (
	sweepRanges  = 2000                 // of the expiry index
	sweepLeast   = 100                  // messages, where commits take long
	sweepMost    = 5000                 // messages, where they do not
	sweepTime    = 3 * time.Millisecond // what the commit of a pass should take at the most
	sweepDelayed = 500
	sweepBytes   = 2 << 20 // of delayed messages that are due: others wait for their commit
	sweepIDs     = 2000
	sweepLooks   = 5000             // delayed messages looked at for deleted topics
	sweepSmall   = 2000             // delivery counts, and last-seen times
	seenEvery    = 10 * time.Second // how far last-seen times on disk lag behind
	sweepEvery   = time.Second      // between two passes
)

// sweeper clears away, in the background and a bounded pass at a time, what is over: expired messages, leases,
// remembered IDs, what is left of deleted topics.
type sweeper struct {
	b         *Broker
	sooner    chan struct{} // a delayed message may be due before the next pass
	nextDue   atomic.Int64  // unix microseconds of the next delayed message; 0: none
	undelayed atomic.Uint64 // commits that took delayed messages away from it

	// Of its goroutine alone.
	scan delayedScan
	size int // messages of a pass
}

// loop clears away what is over, and makes delayed messages deliverable when they are due.
func (s *sweeper) loop() {
	tick := time.NewTicker(s.b.opts.sweepInterval)
	defer tick.Stop()
	flushed := time.Now()
	failed := false
	for {
		wait := s.untilDue(time.Now())
		if failed {
			wait = time.Hour // what is due stays due: the next tick tries again
		}
		due := time.NewTimer(wait)
		select {
		case <-s.b.closing:
			due.Stop()
			return
		case <-tick.C:
		case <-due.C:
		case <-s.sooner:
			due.Stop()
			continue // only the timer is to be set anew
		}
		due.Stop()
		now := time.Now()
		for more := true; more; {
			var took time.Duration
			if more, took, failed = s.pass(now, now.Sub(flushed) >= seenEvery); !more {
				break
			}
			// Others have as much of the time as the sweeper.
			select {
			case <-s.b.closing:
				return
			case <-time.After(took):
			}
			now = time.Now()
		}
		s.bury()
		endOverlaps(s.b, now)
		if now.Sub(flushed) >= seenEvery {
			flushed = now
			s.storeHistory(false)
			s.b.tally.store(now, false)
			s.warnDropped()
		}
	}
}

// untilDue returns how long to wait for the next delayed message.
func (s *sweeper) untilDue(now time.Time) time.Duration {
	if at := s.nextDue.Load(); at != 0 {
		return max(time.UnixMicro(at).Sub(now), 0)
	}
	return time.Hour
}

func (s *sweeper) setNextDue(at time.Time) {
	if at.IsZero() {
		s.nextDue.Store(0)
	} else {
		s.nextDue.Store(at.UnixMicro())
	}
}

// pass is one, bounded so that no commit takes long. It tells whether there is more to do, how long
// the commit took, and whether the pass failed.
func (s *sweeper) pass(now time.Time, withSeen bool) (more bool, took time.Duration, failed bool) {
	over := s.b.expiryNow(now)
	sifting, err := s.sift() // before what does not match expires as what does
	if err != nil {
		return false, 0, true
	}
	retiring, err := s.retire(over)
	op := &sweepOp{b: s.b, expiry: over, more: retiring || sifting, dueKnown: s.nextDue.Load(), undelayed: s.undelayed.Load()}
	if err != nil {
		return false, 0, true
	}
	if err := op.listExpired(); err != nil {
		s.b.health.note(byReading, err)
		return false, 0, true
	}
	err = s.b.store.View(func(r store.Reader) (err error) {
		if err = op.findExpired(r, s.size); err != nil {
			return err
		}
		if op.ids, err = r.StaleIDs(over, sweepIDs); err != nil {
			return err
		}
		if err = s.scanDelayed(r, op); err != nil {
			return err
		}
		if at := op.dueKnown; at == 0 || time.UnixMicro(at).After(now) {
			op.dueSkipped = true
			return nil
		}
		if op.due, op.nextDue, err = r.Due(now, sweepDelayed, sweepBytes); err != nil {
			return err
		}
		for i := range op.due {
			rec := *op.due[i].Record
			rec.Payload = bytes.Clone(rec.Payload)
			op.due[i].Record = &rec
		}
		return nil
	})
	if s.b.health.note(byReading, err); err != nil {
		return false, 0, true
	}
	consumers := s.collect(op, withSeen)
	if err := op.findGaps(consumers); err != nil {
		s.b.health.note(byReading, err)
		return false, 0, true
	}
	var bytes int64
	for i := range op.due {
		bytes += int64(len(op.due[i].Record.Payload))
	}
	err = s.b.commits.do(op, bytes+op.letters)
	if CodeOf(err) == DiskFull && op.appends() {
		// What is over can still be cleared away, and makes room.
		op.due, op.dueSkipped, op.noLetters, failed = nil, true, true, true
		err = s.b.commits.do(op, 0)
	}
	if err != nil {
		return false, 0, true
	}
	s.scan = op.scan
	s.size = op.nextSize(s.size)
	more = op.more || len(op.due) > 0 && !op.nextDue.IsZero() && !op.nextDue.After(now) || len(op.ids) == sweepIDs
	return more, op.took, failed
}

// flush stores what is written now and then.
func (s *sweeper) flush() error {
	for {
		op := &sweepOp{b: s.b, dueSkipped: true}
		s.collect(op, true)
		if err := s.b.commits.do(op, 0); err != nil || !op.full {
			return err
		}
	}
}

// collect returns leases that are over, and gathers delivery counts and last-seen times. It returns all
// consumers.
func (s *sweeper) collect(op *sweepOp, withSeen bool) (consumers []*consumer) {
	s.b.mu.RLock()
	consumers = make([]*consumer, 0, len(s.b.bySubKey))
	for _, c := range s.b.bySubKey {
		consumers = append(consumers, c)
	}
	s.b.mu.RUnlock()
	for _, c := range consumers {
		op.see(&c.seen, store.Seen{Kind: store.SeenConsumer, ID: c.id}, withSeen)
		held := c.held.Load() > 0
		for i, q := range c.list() {
			if !held && !q.forgets.Load() {
				continue
			}
			c.mu.Lock()
			if i == 0 && c.expireAll(s.b.since(time.Now())) {
				c.wakeOne()
			}
			op.counts(q)
			c.mu.Unlock()
		}
	}
	if !withSeen {
		return consumers
	}
	s.b.mu.RLock()
	defer s.b.mu.RUnlock()
	for _, p := range s.b.producers {
		op.see(&p.seen, store.Seen{Kind: store.SeenProducer, ID: p.id}, withSeen)
	}
	return consumers
}

// see takes in a last-seen time that is not stored yet.
func (o *sweepOp) see(s *lastSeen, what store.Seen, withSeen bool) {
	at, ok := s.unstored()
	if !ok || !withSeen {
		return
	}
	if len(o.seen) >= sweepSmall {
		o.full = true
		return
	}
	what.At = at
	o.seen, o.stamps = append(o.seen, what), append(o.stamps, s)
}

// sweepOp stores what a pass of the sweeper found.
type sweepOp struct {
	b          *Broker
	expiry     time.Time // by which messages expire: expiryNow
	listed     []expired // that were not looked at
	expired    []expired
	found      int // messages of expired
	due        []store.Delayed
	dueKnown   int64 // sweeper.nextDue when the pass looked
	nextDue    time.Time
	dueSkipped bool   // the pass did not look for due messages
	undelayed  uint64 // sweeper.undelayed before the pass looked
	ids        []store.StaleID
	attempts   []store.Attempt
	holders    []*queue // of attempts
	seen       []store.Seen
	stamps     []*lastSeen // of seen
	over       overdue
	lapsed     []lapse
	letters    int64   // bytes of payload of expired messages that go to dead-letter topics
	noLetters  bool    // the disk has no room for these
	buried     []lapse // expired messages that went there
	endings    []ending
	mended     []mending
	began      time.Time
	took       time.Duration   // the commit
	full       bool            // there are more counts or times
	scan       delayedScan     // where it will be after this pass
	scanned    map[uint32]bool // topics that it has looked through
	lost       []store.Delayed // of deleted topics
	purged     []*topic        // orphans of which nothing is left
	more       bool
}

// nextSize returns how many messages the next pass may remove, by how long this one's commit took.
func (o *sweepOp) nextSize(size int) int {
	switch {
	case o.took > 2*sweepTime:
		return max(size/2, sweepLeast)
	case o.took < sweepTime && o.found >= size:
		return min(size*2, sweepMost)
	}
	return size
}

// delayedScan is how far the sweeper has looked for delayed messages of deleted topics. They are
// found by looking at all delayed messages, since these are in the order of their times.
type delayedScan struct {
	topics map[uint32]bool // those that it looks for; nil: it is not under way
	after  string          // the last key that it has looked at
}

// scanDelayed goes on looking, or begins to where there are new deleted topics. Its outcome counts
// when op is done.
func (s *sweeper) scanDelayed(r store.Reader, op *sweepOp) error {
	op.scan = s.scan
	if op.scan.topics == nil {
		s.b.mu.RLock()
		for id, t := range s.b.orphans {
			if t.delayed.Load() > 0 {
				if op.scan.topics == nil {
					op.scan.topics = map[uint32]bool{}
				}
				op.scan.topics[id] = true
			}
		}
		s.b.mu.RUnlock()
		if op.scan.topics == nil {
			return nil
		}
	}
	looked := 0
	err := r.ScanDelayed(op.scan.after, func(d store.Delayed) bool {
		op.scan.after = d.Key
		if id := d.Record.Topic; op.scan.topics[id] {
			op.lost = append(op.lost, store.Delayed{Key: d.Key, Record: &store.Record{Place: d.Record.Place}})
		}
		looked++
		return looked < sweepLooks
	})
	if looked < sweepLooks {
		op.scan, op.scanned = delayedScan{}, op.scan.topics
	}
	return err
}

func (o *sweepOp) plan(d *draft) error {
	o.b.mu.RLock()
	defer o.b.mu.RUnlock()
	o.began = time.Now()
	for i, a := range o.attempts {
		if !o.holders[i].gone.Load() {
			d.batch.Attempts = append(d.batch.Attempts, a)
		}
	}
	for i, s := range o.seen {
		if !o.stamps[i].over.Load() {
			d.batch.Seen = append(d.batch.Seen, s)
		}
	}
	d.batch.DropIDs = append(d.batch.DropIDs, o.ids...)
	o.lapsed, o.buried, o.purged, o.over.positions = o.lapsed[:0], o.buried[:0], nil, o.over.positions[:0]
	o.endings = o.endings[:0]
	o.more = o.more || o.full || o.scan.topics != nil
	for i := range o.expired {
		o.expire(d, &o.expired[i])
	}
	o.discard(d)
	o.mend(d)
	if len(o.due) > 0 && o.undelayed != o.b.sweeper.undelayed.Load() {
		o.due, o.dueSkipped, o.more = nil, true, true // some of them may be gone: look again
	}
	lost := map[string]bool{}
	for _, m := range o.lost {
		lost[m.Key] = true
		o.dropDelayed(d, m)
	}
	for _, m := range o.due {
		if t := o.b.topicIDs[m.Record.Topic]; t != nil {
			d.takeBack(t, m.Key, m.Record.Size())
			d.append(t, m.Record)
		} else if !lost[m.Key] {
			o.dropDelayed(d, m)
		}
	}
	o.more = d.sweep() || o.more
	o.purge(d)
	return nil
}

// dropDelayed deletes a delayed message of a deleted topic.
func (o *sweepOp) dropDelayed(d *draft, m store.Delayed) {
	if t := o.b.orphans[m.Record.Topic]; t != nil {
		d.takeBack(t, m.Key, 0) // nobody asks what they come to
	} else {
		d.batch.Undelay = append(d.batch.Undelay, m.Key)
	}
}

// purge removes what is stored of deleted topics, as much as a commit may, and forgets the topics of
// which nothing is left. What is remembered of IDs goes at its time.
func (o *sweepOp) purge(d *draft) {
	for id, t := range o.b.orphans {
		left := t.nextDelayed > 0 && !o.scanned[id] // some may be damaged: then they are never found
		for prio := range t.lanes {
			l := &t.lanes[prio]
			if l.first() > l.next {
				continue
			}
			left, o.more = true, true
			n := d.budget()
			if n == 0 {
				return
			}
			d.remove(laneRef{t, prio}, store.Span{From: l.first(), To: l.next}, n, atHead)
			d.removing += int(min(uint64(n), l.next-l.first()+1)) // #nosec G115 -- between 0 and n
		}
		if left {
			continue
		}
		for prio := range t.lanes {
			if t.lanes[prio].next > 0 {
				d.batch.Purge = append(d.batch.Purge, store.Lane{Topic: id, Priority: uint8(prio)})
			}
		}
		o.purged = append(o.purged, t)
	}
}

func (o *sweepOp) applied(now time.Time) {
	o.b.recordExpired(o.endings, now)
	o.took = time.Since(o.began)
	for i, s := range o.stamps {
		s.stored.Store(o.seen[i].At.UnixMicro())
	}
	if !o.dueSkipped {
		// A publish may have set an earlier time meanwhile: then that one stands.
		at := int64(0)
		if !o.nextDue.IsZero() {
			at = o.nextDue.UnixMicro()
		}
		if !o.b.sweeper.nextDue.CompareAndSwap(o.dueKnown, at) {
			o.b.sweeper.soonerDue(o.nextDue)
		}
	}
	if len(o.purged) > 0 {
		o.b.mu.Lock()
		for _, t := range o.purged {
			delete(o.b.orphans, t.id)
		}
		o.b.mu.Unlock()
	}
	for _, l := range o.buried {
		l.q.of.counters.deadLettered[byExpiry].Add(uint64(l.n))    // #nosec G115 -- a count
		l.q.topic.counters.deadLettered[byExpiry].Add(uint64(l.n)) // #nosec G115 -- a count
	}
	for _, l := range o.lapsed {
		l.q.of.counters.expired.Add(uint64(l.n))    // #nosec G115 -- a count
		l.q.topic.counters.expired.Add(uint64(l.n)) // #nosec G115 -- a count
	}
}

// soonerDue lets the sweeper look at at, if it would not look before.
func (s *sweeper) soonerDue(at time.Time) {
	if at.IsZero() {
		return
	}
	for {
		known := s.nextDue.Load()
		if known != 0 && known <= at.UnixMicro() {
			return
		}
		if s.nextDue.CompareAndSwap(known, at.UnixMicro()) {
			select {
			case s.sooner <- struct{}{}:
			default:
			}
			return
		}
	}
}

// failed lets a later pass store the delivery counts.
func (o *sweepOp) failed() {
	for i, a := range o.attempts {
		q, s := o.holders[i], slot{a.Priority, a.Pos}
		q.of.mu.Lock()
		if q.leases[s] != nil {
			q.unsaved[s] = struct{}{}
		} else {
			q.forgetAttempt(s)
		}
		q.of.mu.Unlock()
	}
}

func (o *sweepOp) appends() bool { return len(o.due)+len(o.buried) > 0 }
