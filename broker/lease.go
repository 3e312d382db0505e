package broker

import (
	"container/heap"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker/store"
)

// slot is a place within a consumer's topic.
type slot struct {
	priority uint8
	pos      uint64
}

// leaseState says where a delivered message stands with its consumer.
type leaseState uint8

const (
	leased   leaseState = iota // in flight until a time
	deferred                   // rejected with a delay: not before a time
	ready                      // to be delivered again
	blocked                    // to be delivered when the one in flight with the same ID is not any more
	fetching                   // it was ready, and a receive is reading it
	settling                   // its acknowledgement is being committed
)

// lease is a message that was delivered to a consumer and is not done.
type lease struct {
	slot
	store.Span        // the slot's position, and those beside it that have no message: done when it is
	id         string // where its publisher gave it one
	blocked    []*lease
	state      leaseState
	index      int           // in consumer.timed, for leased and deferred, or consumer.ready
	until      time.Duration // since Broker.epoch, for leased and deferred
	count      uint32        // deliveries
	seq        uint64        // of the last delivery: no two of a consumer have the same
	saved      uint32        // the count that the store has; 0: none
	stream     *Stream       // that was sent the last delivery, if any
}

// leaseRef names one delivery of a message.
type leaseRef struct {
	slot
	seq uint64
}

// forever is the end of a lease that lasts until it is told otherwise.
const forever = time.Duration(math.MaxInt64)

// consumer is a Consumer at work.
type consumer struct {
	id    uint32
	def   atomic.Pointer[Consumer]
	topic *topic
	seen  lastSeen

	revision string // of def; guarded by Broker.mu
	declared string // of its record; guarded by Broker.defining
	counters counters
	begun    uint64        // counters.published of the topic when the consumer began
	deleted  atomic.Bool   // set by the committer, for good
	changes  atomic.Uint32 // counts what may end its requests; changes while Broker.mu is held

	waiting atomic.Int32 // long polls that wait or are about to
	held    atomic.Int32 // len(leases)

	// reading holds a token of who receives, over reading the store: one at a time. See topic.mu for the order.
	reading chan struct{}
	passed  [MaxPriority + 1]uint64 // guarded by reading: from here to next nothing is stored that is not leased

	mu       sync.Mutex
	done     [MaxPriority + 1]progress // written by the committer alone, holding mu; it reads without
	next     [MaxPriority + 1]uint64   // all below is done, leased or expired: where reading goes on
	leases   map[slot]*lease
	own      map[string]*lease            // leased or settling ones by the IDs that publishers gave
	lastSeq  uint64                       // of the leases
	timed    timedLeases                  // the leases with a time, the earliest first
	deferred int                          // how many of timed are deferred
	blocked  int                          // how many leases are
	fetching int                          // how many leases are
	ready    [MaxPriority + 1]readyLeases // the lowest position first
	returned uint64                       // counts what became ready
	attempts map[slot]uint32              // deliveries before the start, of messages not delivered since
	unsaved  map[slot]struct{}            // leases whose count is to be stored
	forget   []store.Attempt              // stored counts that are of no use any more
	retired  []map[slot]*lease            // leases of which stored counts are of no use any more
	forgets  atomic.Bool                  // forget or retired is not empty
	frayed   atomic.Bool                  // a cursor may be mended
	waiters  []*waiter                    // the longest waiting first
	streams  []*Stream                    // those that run, and the last that have ended

	// The committer's own.
	work   [MaxPriority + 1]*progress // done, as this commit will leave it; nil: untouched
	store  [MaxPriority + 1]bool      // work is to be stored
	at     [MaxPriority + 1]int32     // in the lanes' floors
	mended [MaxPriority + 1]int       // spans that the last mending left
	dirty  bool                       // listed in plan.consumers
}

// progress is what a consumer is done with in a lane.
type progress struct {
	store.Cursor
	finished uint64 // see CursorState.Finished
}

// waiter is a long poll.
type waiter struct{ wake chan struct{} }

// newConsumer makes a consumer that has everything before it.
func newConsumer(id uint32, t *topic) *consumer {
	c := &consumer{
		id: id, topic: t, reading: make(chan struct{}, 1),
		leases: map[slot]*lease{}, own: map[string]*lease{}, attempts: map[slot]uint32{}, unsaved: map[slot]struct{}{},
	}
	for p := range c.next {
		c.next[p], c.passed[p] = 1, 1
	}
	return c
}

// begin lets reading of a priority begin at what the consumer is done with.
func (c *consumer) begin(p int) {
	c.next[p] = c.done[p].Lowest()
	c.passed[p] = c.next[p]
}

// doneNow returns what the consumer is done with, as the running commit will leave it.
// For the committer.
func (c *consumer) doneNow(p int) *progress {
	if c.work[p] != nil {
		return c.work[p]
	}
	return &c.done[p]
}

// doneWork returns the progress that the running commit may change. For the committer.
func (c *consumer) doneWork(p int) *progress {
	if c.work[p] == nil {
		c.work[p] = &progress{c.done[p].Clone(), c.done[p].finished}
	}
	return c.work[p]
}

// backlog returns how many messages wait or are in flight, as the running commit will leave it.
// For the committer.
func (c *consumer) backlog() int64 {
	var n int64
	for p := range c.topic.lanes {
		if l := &c.topic.lanes[p]; l.next > 0 {
			n += int64(l.next - l.nextSkipped - c.doneNow(p).finished) // #nosec G115 -- a count of messages is far below 2^63
		}
	}
	return n
}

// lease takes a message into flight, and with it the positions of a span around it that have no
// message. id is what its publisher named it. It returns nil where another message of this ID is in
// flight: then this one waits for that. The caller holds mu.
func (c *consumer) lease(s slot, span store.Span, id string, until time.Duration) *lease {
	l := c.leases[s]
	if l == nil {
		l = &lease{slot: s, Span: span, id: id}
		if n, ok := c.attempts[s]; ok {
			l.count, l.saved = n, n
			delete(c.attempts, s)
		}
		c.leases[s] = l
		c.held.Store(int32(len(c.leases))) // #nosec G115 -- at most max_in_flight
	}
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
	c.note(l)
	c.hold(l, leased, until)
	return l
}

// note lets the sweeper store how often a message was delivered, where that is worth it. The caller
// holds mu.
func (c *consumer) note(l *lease) {
	if l.count > 1 || l.saved > 0 {
		c.unsaved[l.slot] = struct{}{}
	} else {
		delete(c.unsaved, l.slot)
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
		heap.Remove(&c.ready[l.priority], l.index)
	case fetching:
		c.fetching--
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

// giveBack makes a lease, which is in no list, deliverable again, unless its message is done.
// The caller holds mu.
func (c *consumer) giveBack(l *lease) {
	if c.done[l.priority].Has(l.pos) {
		c.drop(l)
		return
	}
	l.state = ready
	heap.Push(&c.ready[l.priority], l)
	c.returned++
	c.land(l)
}

// drop forgets a lease, which is in no list. The caller holds mu.
func (c *consumer) drop(l *lease) {
	if c.leases[l.slot] == l {
		delete(c.leases, l.slot)
		c.held.Store(int32(len(c.leases))) // #nosec G115 -- at most max_in_flight
	}
	delete(c.unsaved, l.slot)
	if l.saved > 0 {
		c.forgetAttempt(l.slot)
	}
	c.land(l)
}

// forgetAttempt lets the sweeper delete a stored count. The caller holds mu.
func (c *consumer) forgetAttempt(s slot) {
	c.forget = append(c.forget, store.Attempt{Consumer: c.id, Priority: s.priority, Pos: s.pos})
	c.forgets.Store(true)
}

// maxEnding is how many leases that are over are returned under one hold of a consumer's lock.
const maxEnding = 2000

// expire returns what has been held until now, maxEnding leases at most. It tells how many there were.
// The caller holds mu.
func (c *consumer) expire(now time.Duration) int {
	n := 0
	for len(c.timed) > 0 && c.timed[0].until <= now && n < maxEnding {
		l := c.timed[0]
		c.unlist(l)
		c.giveBack(l)
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

// wakeOne lets the longest waiting long poll look again. The caller holds mu.
func (c *consumer) wakeOne() {
	if len(c.waiters) > 0 {
		select {
		case c.waiters[0].wake <- struct{}{}:
		default:
		}
	}
}

// end lets all requests that wait find out whether they may go on. The caller has changed what
// that depends on and holds Broker.mu, so that who comes later finds the change.
func (c *consumer) end() {
	c.changes.Add(1)
	if c.waiting.Load() == 0 {
		return // who is about to wait has not looked at changes yet
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiters {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// leave takes w out of the waiters. The caller holds mu.
func (c *consumer) leave(w *waiter) {
	for i, x := range c.waiters {
		if x == w {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			return
		}
	}
}

// timedLeases is a heap by time.
type timedLeases []*lease

func (h timedLeases) Len() int           { return len(h) }
func (h timedLeases) Less(i, j int) bool { return h[i].until < h[j].until }
func (h timedLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timedLeases) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *timedLeases) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// delivery returns the lease of a delivery, nil where that has ended. The caller holds mu.
func (c *consumer) delivery(r leaseRef) *lease {
	if l := c.leases[r.slot]; l != nil && l.state == leased && l.seq == r.seq {
		return l
	}
	return nil
}

// readyLeases is a heap by position.
type readyLeases []*lease

func (h readyLeases) Len() int           { return len(h) }
func (h readyLeases) Less(i, j int) bool { return h[i].pos < h[j].pos }
func (h readyLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *readyLeases) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *readyLeases) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
