package broker

import (
	"container/heap"
	"math"
	"sort"
	"sync"
	"sync/atomic"
	"time"
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
	settling                   // its acknowledgement is being committed
)

// lease is a message that was delivered to a consumer and is not done.
type lease struct {
	slot
	state leaseState
	index int           // in consumer.timed, for leased and deferred
	until time.Duration // since Broker.epoch, for leased and deferred
	count uint32        // deliveries
	seq   uint64        // of the last delivery: no two of a consumer have the same
	saved uint32        // the count that the store has; 0: none
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
	counters counters
	begun    uint64        // counters.published of the topic when the consumer began
	deleted  atomic.Bool   // set by the committer, for good
	changes  atomic.Uint32 // counts what may end its requests; changes while Broker.mu is held

	waiting atomic.Int32 // long polls that wait or are about to
	held    atomic.Int32 // len(leases)

	mu       sync.Mutex
	done     [MaxPriority + 1]Cursor // written by the committer alone, holding mu; it reads without
	next     [MaxPriority + 1]uint64 // all below is done, leased or expired: where reading goes on
	leases   map[slot]*lease
	lastSeq  uint64                    // of the leases
	timed    timedLeases               // the leases with a time, the earliest first
	deferred int                       // how many of timed are deferred
	ready    [MaxPriority + 1][]uint64 // positions of the ready leases, ascending
	attempts map[slot]uint32           // deliveries before the start, of messages not delivered since
	unsaved  map[slot]struct{}         // leases whose count is to be stored
	forget   []Attempt                 // stored counts that are of no use any more
	forgets  atomic.Bool               // forget is not empty
	waiters  []*waiter                 // the longest waiting first

	// The committer's own.
	work  [MaxPriority + 1]*Cursor // done, as this commit will leave it; nil: untouched
	store [MaxPriority + 1]bool    // work is to be stored: expiry is known from the lane's cursor
	dirty bool                     // listed in plan.consumers
}

// waiter is a long poll.
type waiter struct{ wake chan struct{} }

// newConsumer makes a consumer that has everything before it.
func newConsumer(id uint32, t *topic) *consumer {
	c := &consumer{id: id, topic: t, leases: map[slot]*lease{}, attempts: map[slot]uint32{}, unsaved: map[slot]struct{}{}}
	for p := range c.next {
		c.next[p] = 1
	}
	return c
}

// doneNow returns what the consumer is done with, as the running commit will leave it.
// For the committer.
func (c *consumer) doneNow(p int) *Cursor {
	if c.work[p] != nil {
		return c.work[p]
	}
	return &c.done[p]
}

// doneWork returns the cursor that the running commit may change. For the committer.
func (c *consumer) doneWork(p int) *Cursor {
	if c.work[p] == nil {
		w := c.done[p].Clone()
		c.work[p] = &w
	}
	return c.work[p]
}

// backlog returns how many messages wait or are in flight, as the running commit will leave it.
// For the committer.
func (c *consumer) backlog() int64 {
	var n int64
	for p := range c.topic.lanes {
		n += int64(c.topic.lanes[p].next - c.doneNow(p).Count())
	}
	return n
}

// lease takes a message into flight. The caller holds mu.
func (c *consumer) lease(s slot, until time.Duration) *lease {
	l := c.leases[s]
	if l == nil {
		l = &lease{slot: s}
		if n, ok := c.attempts[s]; ok {
			l.count, l.saved = n, n
			delete(c.attempts, s)
		}
		c.leases[s] = l
		c.held.Add(1)
	}
	l.count++
	c.lastSeq++
	l.seq = c.lastSeq
	if l.count > 1 {
		c.unsaved[s] = struct{}{}
	}
	c.hold(l, leased, until)
	return l
}

// hold gives a lease a state with a time. The lease is in no list. The caller holds mu.
func (c *consumer) hold(l *lease, state leaseState, until time.Duration) {
	l.state, l.until = state, until
	if state == deferred {
		c.deferred++
	}
	heap.Push(&c.timed, l)
}

// unlist takes a lease out of the list that its state has put it in. The caller holds mu.
func (c *consumer) unlist(l *lease) {
	switch l.state {
	case leased, deferred:
		c.untime(l)
	case ready:
		r := c.ready[l.priority]
		if i := sort.Search(len(r), func(i int) bool { return r[i] >= l.pos }); i < len(r) && r[i] == l.pos {
			if i == 0 {
				c.ready[l.priority] = r[1:]
			} else {
				c.ready[l.priority] = append(r[:i], r[i+1:]...)
			}
		}
	}
}

// untime takes a lease out of those with a time. The caller holds mu.
func (c *consumer) untime(l *lease) {
	if l.state == deferred {
		c.deferred--
	}
	heap.Remove(&c.timed, l.index)
}

// giveBack makes a lease, which is in no list, deliverable again, unless its message is done.
// The caller holds mu.
func (c *consumer) giveBack(l *lease) {
	if c.done[l.priority].Has(l.pos) {
		c.drop(l)
		return
	}
	l.state = ready
	r := c.ready[l.priority]
	i := sort.Search(len(r), func(i int) bool { return r[i] >= l.pos })
	r = append(r, 0)
	copy(r[i+1:], r[i:])
	r[i] = l.pos
	c.ready[l.priority] = r
}

// drop forgets a lease, which is in no list. The caller holds mu.
func (c *consumer) drop(l *lease) {
	delete(c.leases, l.slot)
	c.held.Add(-1)
	delete(c.unsaved, l.slot)
	if l.saved > 0 {
		c.forgetAttempt(l.slot)
	}
}

// forgetAttempt lets the sweeper delete a stored count. The caller holds mu.
func (c *consumer) forgetAttempt(s slot) {
	c.forget = append(c.forget, Attempt{Consumer: c.id, Priority: s.priority, Pos: s.pos})
	c.forgets.Store(true)
}

// expire returns what has been held until now. It tells whether anything became deliverable.
// The caller holds mu.
func (c *consumer) expire(now time.Duration) bool {
	some := false
	for len(c.timed) > 0 && c.timed[0].until <= now {
		l := c.timed[0]
		c.untime(l)
		c.giveBack(l)
		some = true
	}
	return some
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
