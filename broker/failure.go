package broker

import (
	"container/heap"
	"sync/atomic"
	"time"

	"pipit/broker/stats"
	"pipit/broker/store"
)

// failure is why a message is finished for a consumer that has not acknowledged it.
type failure uint8

const (
	byDeliveries failure = iota // it was delivered as often as max_deliveries allows
	byReject                    // the consumer rejected it for good
	byExpiry
	byOverflow
	failures
)

func (f failure) String() string {
	return [failures]string{ReasonMaxDeliveries, ReasonRejected, ReasonExpired, ReasonOverflow}[f]
}

// failureCounters are Failures at work.
type failureCounters [failures]atomic.Uint64

func (c *failureCounters) read() stats.Failures {
	return stats.Failures{MaxDeliveries: c[byDeliveries].Load(), Rejected: c[byReject].Load(), Expired: c[byExpiry].Load(), Overflow: c[byOverflow].Load()}
}

// Label is how a dead letter names its consumer: the client's username, and behind a slash its Name where it has one.
func (c *Consumer) Label() string {
	if c.Name == "" {
		return c.Client
	}
	return c.Client + "/" + c.Name
}

// exhausts tells whether a message that was delivered n times is not to be delivered again.
func (c *Consumer) exhausts(n uint32) bool {
	return c.MaxDeliveries > 0 && int64(n) >= int64(c.MaxDeliveries)
}

// yields tells whether the consumer refuses no publish, but is done with its oldest messages.
func (c *Consumer) yields() bool {
	return c.Overflow == OverflowDropOldest || c.Overflow == OverflowDeadLetter
}

// backoff returns how long a message waits that was delivered n times and failed. Who sends messages knows by CallbackRetry.
func (c *Consumer) backoff(n uint32) time.Duration {
	if c.RetryBackoff.IsZero() || c.DeliveryMode == DeliveryCallback {
		return 0
	}
	list := c.RetryBackoff.List()
	return list[min(max(int(n), 1), len(list))-1]
}

// fail puts a lease, which is in no list, aside for good: it is moved or dropped by the next pass of the sweeper.
// The caller holds mu.
func (c *consumer) fail(l *lease, why failure) {
	l.state, l.why = failed, why
	heap.Push(&c.failed, l)
	c.failing.Store(int32(len(c.failed))) // #nosec G115 -- at most max_in_flight
	l.q.note(l)
	c.land(l)
}

// miss is what becomes of a lease, which is in no list, whose time in flight was over at at. The caller holds mu.
func (c *consumer) miss(l *lease, at time.Duration) {
	def := c.def.Load()
	if wait := def.backoff(l.count); wait > 0 && !def.exhausts(l.count) && !l.over() {
		c.hold(l, deferred, at+wait)
		return
	}
	c.giveBack(l)
}

// refuse is what becomes of a lease, which is in no list, that its receiver rejected at now. It tells whether the
// message is not to be delivered again: then it is the caller's to move. The caller holds mu.
func (c *consumer) refuse(l *lease, delay time.Duration, now time.Duration) (over bool) {
	def := c.def.Load()
	if l.state == failed { // it waits to be moved
		return true
	}
	if def.exhausts(l.count) {
		l.why = byDeliveries
		return true
	}
	if delay == 0 {
		delay = def.backoff(l.count)
	}
	if delay > 0 && !l.over() {
		c.hold(l, deferred, now+delay)
	} else {
		c.giveBack(l)
	}
	return false
}

// doomed is set in a stored count of deliveries where the message failed by something else than that count.
const doomed = 1 << 31

// stored is the count of a lease as it is stored, 0 where it is not worth that.
func (l *lease) stored() uint32 {
	switch {
	case l.state == failed && l.why != byDeliveries:
		return l.count | doomed
	case l.count > 1 || l.q.of.def.Load().MaxDeliveries == 1:
		return l.count
	}
	return 0
}

// recall takes over the stored count of a message. One that was in flight for the last time when the process ended has
// the consumer's ack timeout from now on to be acknowledged yet: who comes for it is not given it again. One that had
// failed goes on waiting. now is a lease time.
func (q *queue) recall(s slot, count uint32, now time.Duration) {
	def := q.of.def.Load()
	if n := count &^ doomed; n == count && !def.exhausts(n) {
		q.attempts[s] = n
		return
	}
	c := q.of
	c.lastSeq++
	l := &lease{q: q, slot: s, Span: store.Span{From: s.pos, To: s.pos}, count: count &^ doomed, saved: count, seq: c.lastSeq}
	q.leases[s] = l
	c.held.Add(1)
	if count&doomed != 0 {
		c.fail(l, byReject)
	} else {
		c.hold(l, leased, now+def.AckTimeout)
	}
}
