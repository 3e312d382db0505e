package broker

import (
	"container/heap"
	"slices"
	"sync/atomic"
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// queue is what one topic's messages are to a consumer: which it is done with, which are in flight, and
// which are to be delivered again. Its consumer's mu guards it, and who says "the caller holds mu" means that.
type queue struct {
	id    uint32 // the store knows its cursors and attempts by it; the consumer's, where it has one topic
	of    *consumer
	topic *topic
	begun uint64 // counters.published of the topic when the queue began

	passed [limit.MaxPriority + 1]uint64 // guarded by consumer.reading: from here to next nothing is stored that is not leased

	done     [limit.MaxPriority + 1]progress // written by the committer alone, holding mu; it reads without
	next     [limit.MaxPriority + 1]uint64   // all below is done, leased or expired: where reading goes on
	placed   uint32                          // counts how often it was brought to another place
	leases   map[slot]*lease
	ready    [limit.MaxPriority + 1]readyLeases // the lowest position first
	attempts map[slot]uint32                    // deliveries before the start, of messages not delivered since
	unsaved  map[slot]struct{}                  // leases whose count is to be stored
	forget   []store.Attempt                    // stored counts that are of no use any more
	retired  []map[slot]*lease                  // leases of which stored counts are of no use any more
	forgets  atomic.Bool                        // forget or retired is not empty
	frayed   atomic.Bool                        // a cursor may be mended
	gone     atomic.Bool                        // its consumer or its topic was deleted; set by the committer holding mu, for good
	merged   *merged                            // of a queue of several; else nil
	oldest   atomic.Pointer[[]oldest]           // as Oldest has found it last, by lane

	sifted [limit.MaxPriority + 1]atomic.Uint64 // see sift.go; set by the committer alone
	out    [limit.MaxPriority + 1]atomic.Uint64 // how many positions leftOut has; set by the committer alone, with done

	// The committer's own.
	work   [limit.MaxPriority + 1]*progress // done, as this commit will leave it; nil: untouched
	store  [limit.MaxPriority + 1]bool      // work is to be stored
	at     [limit.MaxPriority + 1]int32     // in the lanes' floors
	mended [limit.MaxPriority + 1]int       // spans that the last mending left
	dirty  bool                             // listed in draft.queues

	leftOut [limit.MaxPriority + 1]*leftOut // as this commit will leave it; nil: nothing
}

// progress is what a consumer is done with in a lane.
type progress struct {
	store.Cursor
	finished uint64 // see CursorState.Finished
}

// newQueue makes a queue that has everything before it.
func newQueue(id uint32, of *consumer, t *topic) *queue {
	q := &queue{id: id, of: of, topic: t, begun: t.counters.published.Load()}
	q.leases, q.attempts, q.unsaved = map[slot]*lease{}, map[slot]uint32{}, map[slot]struct{}{}
	for p := range q.next {
		q.next[p], q.passed[p] = 1, 1
	}
	if of.merge != nil {
		q.merged = &merged{}
	}
	return q
}

// begin lets reading of a priority begin at what the consumer is done with.
func (q *queue) begin(p int) {
	q.next[p] = q.done[p].Lowest()
	q.passed[p] = q.next[p]
	if q.merged != nil {
		q.relist(p)
	}
}

// unreadFrom returns where what was not read yet begins. The caller holds mu.
func (q *queue) unreadFrom(p int) uint64 { return max(q.next[p], q.done[p].Lowest()) }

// doneNow returns what the consumer is done with, as the running commit will leave it.
// For the committer.
func (q *queue) doneNow(p int) *progress {
	if q.work[p] != nil {
		return q.work[p]
	}
	return &q.done[p]
}

// doneWork returns the progress that the running commit may change. For the committer.
func (q *queue) doneWork(p int) *progress {
	if q.work[p] == nil {
		q.work[p] = &progress{q.done[p].Clone(), q.done[p].finished}
	}
	return q.work[p]
}

// backlog returns how many messages wait or are in flight, as the running commit will leave it.
// For the committer.
func (q *queue) backlog() int64 {
	var n int64
	for p := range q.topic.lanes {
		n += q.backlogIn(p)
	}
	return n
}

// backlogIn is backlog of one priority.
func (q *queue) backlogIn(p int) int64 {
	l := &q.topic.lanes[p]
	if l.next == 0 {
		return 0
	}
	n := l.next - l.nextSkipped - q.doneNow(p).finished
	if o := q.leftOut[p]; o != nil {
		n -= o.n
	}
	return int64(n) // #nosec G115 -- a count of messages is far below 2^63
}

// lease takes a message into flight, and with it the positions of a span around it that have no
// message. id is what its publisher named it. It returns nil where another message of this ID is in
// flight: then this one waits for that. The caller holds mu.
func (q *queue) lease(s slot, span store.Span, id string, until time.Duration) *lease {
	c, l := q.of, q.leaseOf(s, span, id)
	if id != "" {
		if other := c.own[id]; other != nil && other != l {
			other.blocked = append(other.blocked, l)
			l.state = blocked
			c.blocked++
			return nil
		}
	}
	l.count++
	c.lastSeq++
	l.seq, l.stream = c.lastSeq, nil
	q.note(l)
	c.hold(l, leased, until)
	return l
}

// leaseOf returns the lease of a message, which it makes where there is none: then that is in no list, and in no state
// yet. The caller holds mu.
func (q *queue) leaseOf(s slot, span store.Span, id string) *lease {
	l := q.leases[s]
	if l == nil {
		l = &lease{q: q, slot: s, Span: span, placed: q.placed, id: id}
		if n, ok := q.attempts[s]; ok {
			l.count, l.saved = n, n
			delete(q.attempts, s)
		}
		q.leases[s] = l
		q.of.held.Add(1)
	}
	if l.id == "" {
		l.id = id
	}
	return l
}

// deliveries returns how often a message was delivered. The caller holds mu.
func (q *queue) deliveries(s slot) uint32 {
	if l := q.leases[s]; l != nil {
		return l.count
	}
	return q.attempts[s]
}

// note lets the sweeper store how often a message was delivered, where that is worth it. The caller
// holds mu.
func (q *queue) note(l *lease) {
	if l.stored() != l.saved {
		q.unsaved[l.slot] = struct{}{}
	} else {
		delete(q.unsaved, l.slot)
	}
}

// hold gives a lease a state with a time. The lease is in no list. The caller holds mu.
func (c *consumer) hold(l *lease, state leaseState, until time.Duration) {
	l.state, l.until = state, until
	if state == deferred {
		c.deferred++
		c.land(l)
	} else {
		if l.id != "" {
			c.own[l.id] = l
		}
		if l.stream != nil {
			l.stream.inFlight++
		}
	}
	heap.Push(&c.timed, l)
}

// unlist takes a lease out of the list that its state has put it in. The caller holds mu.
func (c *consumer) unlist(l *lease) {
	switch l.state {
	case leased, deferred:
		if l.state == deferred {
			c.deferred--
		} else if l.stream != nil {
			l.stream.left()
		}
		heap.Remove(&c.timed, l.index)
	case ready:
		c.ready--
		heap.Remove(&l.q.ready[l.priority], l.index)
	case fetching:
		c.fetching--
	case failed:
		heap.Remove(&c.failed, l.index)
		c.failing.Store(int32(len(c.failed))) // #nosec G115 -- at most max_in_flight
	case blocked:
		c.blocked--
		if other := c.own[l.id]; other != nil {
			other.blocked = slices.DeleteFunc(other.blocked, func(b *lease) bool { return b == l })
		}
	}
}

// fetch takes a lease out of the ready ones, for a receive that is about to read its message. The caller
// holds mu.
func (c *consumer) fetch(l *lease) *lease {
	c.unlist(l)
	l.state = fetching
	c.fetching++
	return l
}

// land tells that a lease is not in flight any more: those of the same ID can be delivered. It is in no
// list. The caller holds mu.
func (c *consumer) land(l *lease) {
	if l.id == "" || c.own[l.id] != l {
		return
	}
	delete(c.own, l.id)
	waiting := l.blocked
	l.blocked = nil
	for _, b := range waiting {
		c.blocked--
		c.giveBack(b)
	}
	if len(waiting) > 0 {
		c.wakeOne()
	}
}

// giveBack makes a lease, which is in no list, deliverable again, unless its message is done, or was delivered as often
// as the consumer allows. The caller holds mu.
func (c *consumer) giveBack(l *lease) {
	if l.over() {
		c.drop(l)
		return
	}
	if c.def.Load().exhausts(l.count) {
		c.fail(l, byDeliveries)
		return
	}
	l.state = ready
	heap.Push(&l.q.ready[l.priority], l)
	c.ready++
	if c.merge != nil {
		l.q.relist(int(l.priority))
	}
	c.returned++
	c.land(l)
}

// drop forgets a lease, which is in no list. The caller holds mu.
func (c *consumer) drop(l *lease) {
	q := l.q
	if q.leases[l.slot] == l {
		delete(q.leases, l.slot)
		c.held.Add(-1)
	}
	delete(q.unsaved, l.slot)
	if l.saved > 0 {
		q.forgetAttempt(l.slot)
	}
	c.land(l)
}

// forgetAttempt lets the sweeper delete a stored count. The caller holds mu.
func (q *queue) forgetAttempt(s slot) {
	q.forget = append(q.forget, store.Attempt{Consumer: q.id, Priority: s.priority, Pos: s.pos})
	q.forgets.Store(true)
}

// maxEnding is how many leases that are over are returned under one hold of a consumer's lock.
const maxEnding = 2000

// expire gives back what has been held until now, maxEnding leases at most. It tells how many there were.
// The caller holds mu.
func (c *consumer) expire(now time.Duration) int {
	n := 0
	for len(c.timed) > 0 && c.timed[0].until <= now && n < maxEnding {
		l := c.timed[0]
		missed := l.state == leased
		if c.unlist(l); missed {
			c.miss(l, l.until)
		} else {
			c.giveBack(l)
		}
		n++
	}
	return n
}

// expireAll is expire for all of them. It lets go of mu in between, which the caller holds.
func (c *consumer) expireAll(now time.Duration) (some bool) {
	for {
		n := c.expire(now)
		some = some || n > 0
		if n < maxEnding {
			return some
		}
		c.mu.Unlock()
		c.mu.Lock()
	}
}

// delivery returns the lease of a delivery, nil where that has ended. The caller holds mu.
func (r leaseRef) lease() *lease {
	if l := r.q.leases[r.slot]; l != nil && l.state == leased && l.seq == r.seq {
		return l
	}
	return nil
}
