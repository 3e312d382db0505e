package broker

import (
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// draft is one commit in the making: the batch for the store, and what it touches in memory.
// It is reused.
type draft struct {
	b     *Broker
	now   time.Time
	batch store.Batch
	err   error // what to answer where the commit failed
	empty bool  // nothing had to be stored

	ids      map[idKey]struct{} // explicit IDs that this commit stores
	topics   []*topic
	lanes    []laneRef
	queues   []*queue
	removals []removal // what the entries of batch.Remove are
	removing int       // messages, at the most

	yielders   map[*consumer]*yielder
	seized     []seized
	letters    []store.Record // of seized
	yieldBytes int            // of payload that was read for yielders

	cuts []leftOutCut

	ragged  []laneRef // lives on between commits: lanes for the sweeper to look at
	filters uint64    // lives on between commits: counts changes of consumers' filters
}

// removal says what an entry of Batch.Remove is.
type removal struct {
	laneRef
	kind removalKind
}

type removalKind uint8

const (
	atHead    removalKind = iota // all are past it
	done                         // all are done with it out of order
	discarded                    // somebody is not done with it
)

type idKey struct {
	topic uint32
	id    string
}

type laneRef struct {
	t *topic
	p int
}

func (r laneRef) lane() *lane     { return &r.t.lanes[r.p] }
func (r laneRef) key() store.Lane { return store.Lane{Topic: r.t.id, Priority: uint8(r.p)} } // #nosec G115 -- a priority is 1 to 9

func (d *draft) reset(now time.Time) {
	d.batch.Reset(now)
	d.now, d.err, d.removing = now, nil, 0
	clear(d.ids)
	clear(d.yielders)
	clear(d.letters)
	d.seized, d.letters, d.yieldBytes = d.seized[:0], d.letters[:0], 0
	d.topics, d.lanes, d.queues, d.removals = d.topics[:0], d.lanes[:0], d.queues[:0], d.removals[:0]
	clear(d.cuts)
	d.cuts = d.cuts[:0]
}

// touch lists a topic as changed by this commit.
func (d *draft) touch(t *topic) {
	if !t.touched {
		t.touched = true
		d.topics = append(d.topics, t)
	}
}

// touchLane lists a lane as changed by this commit.
func (d *draft) touchLane(t *topic, prio int) *lane {
	l := &t.lanes[prio]
	if !l.dirty {
		l.dirty = true
		d.lanes = append(d.lanes, laneRef{t, prio})
		d.touch(t)
	}
	return l
}

func (d *draft) touchQueue(q *queue) {
	if !q.dirty {
		q.dirty, q.of.freed = true, true
		d.queues = append(d.queues, q)
		d.touch(q.topic)
	}
}

// progress returns what this commit makes of a queue's progress, which is to be stored.
func (d *draft) progress(q *queue, prio int) *progress {
	d.touchQueue(q)
	q.store[prio] = true
	return q.doneWork(prio)
}

// append puts a message at the tail of its lane.
func (d *draft) append(t *topic, r *store.Record) {
	l := d.touchLane(t, int(r.Priority))
	l.next++
	r.Pos = l.next
	if l.weight != nil {
		l.weight.coming += r.Size()
	}
	at := due(r)
	if l.firstDue == 0 {
		l.firstDue = at
	}
	l.nextDue = max(l.nextDue, at)
	for _, q := range t.yielding {
		q.of.spare--
	}
	d.batch.Append = append(d.batch.Append, r)
	d.sift(t, r)
}

// fits tells whether n more messages are within all limits of a topic, and takes the room.
func (d *draft) fits(t *topic, n int64) error {
	if n == 0 {
		return nil
	}
	if t.room < n {
		// Counting costs a look at every consumer, so it is done once a commit at the most.
		if t.touched && t.room < 0 && n == 1 {
			return errFull
		}
		d.touch(t)
		if t.room = t.countRoom(); t.room < n {
			if t.room <= 0 {
				t.room = -1
			}
			if most := t.mostDepth(); n > most {
				return Invalidf("batch of %d messages: allowed by max_depth are %d", n, most).of("max_depth")
			}
			return errFull
		}
	}
	if !d.fitPatterns(t, n) {
		return errFull
	}
	d.touch(t)
	t.room -= n
	return nil
}

// fitPatterns tells whether n more messages of a topic are within the limits of its consumers that have other topics,
// too, and takes the room.
func (d *draft) fitPatterns(t *topic, n int64) bool {
	for _, q := range t.ofPatterns() {
		c := q.of
		if c.def.Load().yields() {
			continue // see makeRoom
		}
		if c.room < n && c.freed { // else it was counted, and nothing has left it since
			c.room, c.freed = c.countRoom(), false
		}
		if c.room < n {
			return false
		}
	}
	for _, q := range t.ofPatterns() {
		q.of.room -= n // of no meaning where it yields
	}
	return true
}

// countRoom returns how many more messages of all its topics a consumer takes.
func (c *consumer) countRoom() int64 {
	room := c.def.Load().MaxDepth - c.backlog()
	for _, q := range c.list() {
		room -= q.topic.nextDelayed
	}
	return room
}

var errFullBytes = &Error{Code: Full, Message: "The topic is full (max_bytes)", RetryAfter: time.Second}

var errFull = &Error{Code: Full, Message: "The topic or the backlog of one of its consumers is full (max_depth)", RetryAfter: time.Second}

// mostDepth returns how many messages the topic and each of its consumers take when they are empty.
func (t *topic) mostDepth() int64 {
	most := t.def.Load().MaxDepth
	for _, q := range t.list() {
		most = min(most, q.of.def.Load().MaxDepth)
	}
	return most
}

// countRoom returns how many more messages the topic and each of its consumers take.
func (t *topic) countRoom() int64 {
	room := t.def.Load().MaxDepth - t.needed()
	t.yielding = t.yielding[:0]
	for _, q := range t.list() {
		switch def := q.of.def.Load(); {
		case def.yields():
			t.yielding, q.of.spare = append(t.yielding, q), 0
		case q.merged == nil: // else see fitPatterns
			room = min(room, def.MaxDepth-q.backlog())
		}
	}
	return room - t.nextDelayed
}

// finish removes what the commit's acknowledgements leave nobody in need of, and lists the
// states to be stored.
func (d *draft) finish() {
	d.refloor()
	for _, r := range d.lanes {
		if l := r.lane(); l.settled {
			l.settled = false
			d.trim(r)
		}
	}
	for _, q := range d.queues {
		for prio, w := range q.work {
			if w != nil && q.store[prio] {
				d.batch.Cursors = append(d.batch.Cursors, store.CursorState{Consumer: q.id, Priority: uint8(prio), Cursor: w.Cursor, Finished: w.finished})
			}
		}
	}
	for _, r := range d.lanes {
		if l := r.lane(); l.stale {
			d.batch.Lanes = append(d.batch.Lanes, store.LaneState{Lane: r.key(), Tail: l.next, Removed: l.removed, Skipped: l.nextSkipped})
		}
	}
}

// refloor brings the floors of the lanes up to date.
func (d *draft) refloor() {
	for _, q := range d.queues {
		for prio, w := range q.work {
			if w != nil {
				q.topic.refloor(q, prio)
			}
		}
	}
}

// apply brings memory to what the commit has stored.
func (d *draft) apply() {
	d.recordPublished()
	for _, t := range d.topics {
		t.mu.Lock()
	}
	for i := range d.batch.Remove {
		d.applyRemoval(d.removals[i], &d.batch.Remove[i])
	}
	for _, r := range d.lanes {
		l := r.lane()
		l.skipped = l.nextSkipped
		l.tail.Store(l.next)
		l.lastDue.Store(l.nextDue)
		l.dirty, l.stale = false, false
		if w := l.weight; w != nil {
			w.bytes, w.coming = w.bytes+w.coming, 0
			l.weigh()
		}
		if l.firstDue != 0 {
			r.t.arrived(r.p, l.firstDue)
			l.firstDue = 0
		}
		for _, q := range d.filtered(r.t) {
			q.countOut(r.p)
		}
	}
	for _, q := range d.queues {
		q.dirty, q.store = false, [limit.MaxPriority + 1]bool{}
		q.of.mu.Lock()
		for i, w := range q.work {
			if w != nil {
				q.done[i] = *w
				q.work[i] = nil
				q.fray(i)
			}
		}
		q.of.mu.Unlock()
	}
	d.yielded()
	for _, t := range d.topics {
		t.touched = false
		t.room = max(t.room, 0)
		t.delayed.Store(t.nextDelayed)
		t.delayedBytes.Store(t.nextDelayedBytes)
		t.mu.Unlock()
	}
	for _, r := range d.lanes {
		if l := r.lane(); l.discarded != nil {
			r.t.forget(r.p, l.discarded)
			d.markRagged(r) // floors may have moved
			l.discarded = nil
		}
	}
}

// applyRemoval takes in what a removal came to.
func (d *draft) applyRemoval(r removal, x *store.Removal) {
	l := r.lane()
	l.removed += uint64(x.Removed) // #nosec G115 -- a count
	switch r.kind {
	case atHead:
		l.head = max(l.head, x.Through+1)
		if l.cleared.Floor <= x.Through {
			l.cleared.Add(1, x.Through)
		}
	case done:
		l.cleared.Add(x.Range.From, x.Through)
	case discarded:
		l.edits.Add(1)
	}
	if x.Through < l.keep {
		l.spent -= x.Bytes
	}
	for _, c := range l.countings {
		c.removed(x)
	}
	if x.Through < x.Range.To {
		d.markRagged(r.laneRef)
	}
}

// undo forgets what the commit would have done.
func (d *draft) undo() {
	d.restore(0)
	d.uncut()
	for _, r := range d.lanes {
		l := r.lane()
		l.dirty, l.stale, l.settled, l.discarded = false, false, false, nil
		l.next, l.nextSkipped = l.tail.Load(), l.skipped
		if l.weight != nil {
			l.weight.coming = 0
		}
		l.firstDue, l.nextDue = 0, l.lastDue.Load()
		d.markRagged(r) // what it would have removed is still there
		d.unsift(r)
	}
	for _, q := range d.queues {
		for prio, w := range q.work {
			if q.work[prio] = nil; w != nil {
				q.topic.refloor(q, prio)
			}
		}
		q.dirty, q.store = false, [limit.MaxPriority + 1]bool{}
	}
	for _, t := range d.topics {
		t.touched, t.room, t.nextDelayed, t.nextDelayedBytes = false, 0, t.delayed.Load(), t.delayedBytes.Load()
		t.recount()
	}
}

// notify wakes the long polls of the topics that got messages, and tells whether there was one. A
// long poll counts itself as waiting before it looks at the tails, so that one of the two sees the
// other.
func (d *draft) notify() (woke bool) {
	for _, t := range d.topics {
		list := t.list()
		if t.waiting.Load() == 0 {
			list = t.ofPatterns()
		}
		for _, q := range list {
			if c := q.of; c.waiting.Load() > 0 {
				c.mu.Lock()
				c.wakeOne()
				c.mu.Unlock()
				woke = true
			}
		}
	}
	return woke
}
