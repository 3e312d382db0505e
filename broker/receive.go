package broker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Limits of receiving and settling.
const (
	DefaultReceive = 100
	MaxReceive     = 1000             // messages of one Receive
	MaxReply       = 16 << 20         // bytes of payload of one Receive, unless one message passes it
	MaxWait        = 60 * time.Second // of a long poll
	MaxSettle      = 10_000           // messages of one Settle
)

// Order is the order of messages within a priority.
type Order int

const (
	FIFO Order = iota // the oldest first
	LIFO              // the newest first
)

// ReceiveOptions say what to receive.
type ReceiveOptions struct {
	Max   int           // 1 to 1000; default 100
	Order Order         // default FIFO
	Wait  time.Duration // how long to wait for the first message, at most 60 s; default 0
	Ack   bool          // acknowledge what is returned: at most once
	Hold  bool          // what is returned has no deadline until Written, and is given back by Release
}

// Subscription is a client's door to a consumer's queue. It is a small value, made for one request.
type Subscription struct {
	b       *Broker
	c       *consumer
	key     string // the sub_key by which it was found
	changes uint32 // those of the consumer that it knows of
}

// Subscription returns the door to the queue with a sub_key. topicName, where not empty, must be
// the queue's. The error is Denied where it is not this client's or anything is not active.
func (b *Broker) Subscription(c *Client, topicName, subKey string) (Subscription, error) {
	var changes uint32
	b.mu.RLock()
	q := b.bySubKey[subKey]
	if q != nil {
		changes = q.changes.Load()
	}
	b.mu.RUnlock()
	if !c.Active {
		return Subscription{}, denied("client %q is not active", c.Username)
	}
	if q == nil {
		return Subscription{}, denied("unknown sub_key")
	}
	def, topic := q.def.Load(), q.topic.def.Load()
	switch {
	case def.Client != c.Username:
		return Subscription{}, denied("the sub_key is another client's")
	case topicName != "" && topicName != topic.Name:
		return Subscription{}, denied("the sub_key is not of topic %q", clip(topicName))
	case !topic.Active:
		return Subscription{}, denied("topic %q is not active", topic.Name)
	case !def.Active:
		return Subscription{}, denied("consumer %q of topic %q is not active", c.Username, topic.Name)
	}
	return Subscription{b, q, subKey, changes}, nil
}

// renew finds out, after a change, whether the door is still open. The error is Denied.
func (s *Subscription) renew() error {
	s.b.mu.RLock()
	c := s.b.clients[s.c.def.Load().Client]
	s.b.mu.RUnlock()
	if c == nil {
		return denied("the client of the consumer was deleted")
	}
	n, err := s.b.Subscription(&c.Client, "", s.key)
	if err == nil && n.c != s.c {
		err = denied("the sub_key is that of another consumer by now")
	}
	if err == nil {
		*s = n
	}
	return err
}

// Receive returns messages by priority and, within it, in order, each in flight until it is
// settled or the consumer's ack timeout passes. With nothing to deliver it returns none,
// after Wait, when ctx ends or the broker drains. The errors are Invalid, Denied (meanwhile the
// consumer, its topic or its client was deleted or deactivated, or it has another sub_key),
// Full (MaxInFlight is reached) and, with Ack, those of Settle.
func (s Subscription) Receive(ctx context.Context, o ReceiveOptions) ([]Message, error) {
	if o.Max == 0 {
		o.Max = DefaultReceive
	}
	if o.Max < 1 || o.Max > MaxReceive {
		return nil, Invalidf("max %d: allowed are 1 to %d", o.Max, MaxReceive)
	}
	if o.Wait < 0 || o.Wait > MaxWait {
		return nil, Invalidf("wait %s: allowed are 0s to %s", o.Wait, MaxWait)
	}
	c := s.c
	start := time.Now()
	c.seen.set(start)
	var w *waiter
	if o.Wait > 0 {
		w = &waiter{wake: make(chan struct{}, 1)}
		c.waiting.Add(1)
		c.topic.waiting.Add(1)
		defer c.waiting.Add(-1)
		defer c.topic.waiting.Add(-1)
	}
	for now := start; ; now = time.Now() {
		left := start.Add(o.Wait).Sub(now)
		msgs, slots, next, err := s.take(now, &o, w, left > 0)
		if err == errChanged {
			if err := s.renew(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(msgs) > 0 {
			return s.taken(msgs, slots, o.Ack)
		}
		if left <= 0 {
			return nil, nil
		}
		if next > 0 {
			left = min(left, next)
		}
		timer := time.NewTimer(left)
		var end bool
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			end = true
		case <-s.b.done:
			end, o.Wait = true, 0
		}
		timer.Stop()
		c.mu.Lock()
		c.leave(w)
		if end {
			c.wakeOne() // whoever waits next may have been meant to be told by this one
		}
		c.mu.Unlock()
		if end && ctx.Err() != nil {
			return nil, nil
		}
	}
}

// errChanged is what take returns where the door may not be open any more.
var errChanged = errors.New("the consumer has changed")

// taken acknowledges what was taken, where that is wanted.
func (s Subscription) taken(msgs []Message, slots []slot, ack bool) ([]Message, error) {
	if !ack {
		s.delivered(len(msgs))
		return msgs, nil
	}
	op := &settleOp{c: s.c}
	s.c.mu.Lock()
	for _, sl := range slots {
		l := s.c.leases[sl]
		if l == nil || l.state != leased {
			continue // somebody who knows its ID has settled it meanwhile
		}
		s.c.unlist(l)
		l.state = settling
		op.leases = append(op.leases, l)
	}
	s.c.mu.Unlock()
	if err := s.b.do(op, 0); err != nil {
		s.release(slots)
		return nil, err
	}
	s.delivered(len(msgs))
	return msgs, nil
}

func (s Subscription) delivered(n int) {
	s.c.counters.delivered.Add(uint64(n))
	s.c.topic.counters.delivered.Add(uint64(n))
}

// take leases what can be delivered now. With nothing, and waiting, it lists w as a waiter,
// and returns after which time to look again (0: when woken).
func (s Subscription) take(now time.Time, o *ReceiveOptions, w *waiter, waiting bool) (msgs []Message, slots []slot, next time.Duration, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != s.changes {
		return nil, nil, 0, errChanged
	}
	c.expire(s.b.since(now))
	if waiting {
		c.leave(w)
	}
	def := c.def.Load()
	t := taker{s: s, o: o, now: now, until: s.b.since(now.Add(def.AckTimeout)), most: def.MaxInFlight}
	if o.Hold {
		t.until = forever
	}
	for p := range c.next {
		t.tails[p] = c.topic.lanes[p].tail.Load() // before the View, which then sees all of it
	}
	if t.some() {
		err = s.b.store.View(func(r Reader) error {
			for p := MaxPriority; p >= MinPriority && !t.full(); p-- {
				if err := t.lane(r, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err != nil {
		s.giveBack(t.slots)
		return nil, nil, 0, err
	}
	if len(t.msgs) == 0 && t.limited {
		return nil, nil, 0, &Error{Code: Full, RetryAfter: time.Second,
			Message: fmt.Sprintf("%d messages are in flight: allowed are max_in_flight %d", len(c.leases), def.MaxInFlight)}
	}
	if len(t.msgs) > 0 {
		c.wakeOne() // there may be more
	} else if waiting {
		c.waiters = append(c.waiters, w)
		if len(c.timed) > 0 {
			next = max(c.timed[0].until-s.b.since(now), time.Millisecond)
		}
	}
	return t.msgs, t.slots, next, nil
}

// taker gathers the messages of one Receive. The consumer's mu is held.
type taker struct {
	s       Subscription
	o       *ReceiveOptions
	now     time.Time
	until   time.Duration
	most    int
	tails   [MaxPriority + 1]uint64
	msgs    []Message
	slots   []slot
	bytes   int
	arena   []byte
	limited bool // max_in_flight held something back
	stop    bool // the reply is as large as it may be
}

func (t *taker) full() bool { return t.stop || len(t.msgs) >= t.o.Max }

// some tells, without the store, whether there can be anything to deliver.
func (t *taker) some() bool {
	c := t.s.c
	for p := range c.next {
		if len(c.ready[p]) > 0 || c.next[p] <= t.tails[p] {
			return true
		}
	}
	return false
}

// lane gathers from one priority.
func (t *taker) lane(r Reader, p int) error {
	c := t.s.c
	key := Lane{c.topic.id, uint8(p)}
	if t.o.Order == LIFO {
		return t.down(r, p, key)
	}
	// What came back is older than what was not read yet, but for what a LIFO receive had taken.
	if err := t.again(r, p, key, c.next[p]); err != nil {
		return err
	}
	if err := t.unread(r, p, key); err != nil {
		return err
	}
	if t.limited {
		return t.again(r, p, key, math.MaxUint64) // it is within the limit already
	}
	return nil
}

// again gathers what came back of one priority, below a position.
func (t *taker) again(r Reader, p int, key Lane, below uint64) error {
	c := t.s.c
	for !t.full() && len(c.ready[p]) > 0 && c.ready[p][0] < below {
		pos := c.ready[p][0]
		found := false
		err := r.Scan(key, pos, false, func(rec *Record) bool {
			found = rec.Pos == pos && t.offer(rec)
			return false
		})
		if err != nil {
			return err
		}
		if !found && !t.stop {
			l := c.leases[slot{uint8(p), pos}]
			c.unlist(l)
			c.drop(l)
		}
	}
	return nil
}

// unread goes on reading one priority.
func (t *taker) unread(r Reader, p int, key Lane) error {
	c := t.s.c
	for !t.full() && !t.limited {
		c.next[p] = c.done[p].Next(c.next[p])
		if c.next[p] > t.tails[p] {
			return nil
		}
		jump := false
		err := r.Scan(key, c.next[p], false, func(rec *Record) bool {
			if rec.Pos > t.tails[p] {
				return false
			}
			if jump = c.done[p].Has(rec.Pos); jump {
				c.next[p] = rec.Pos
				return false
			}
			t.offer(rec)
			if t.stop || t.limited {
				return false
			}
			c.next[p] = rec.Pos + 1
			return !t.full()
		})
		if err != nil {
			return err
		}
		if !jump {
			if !t.full() && !t.limited {
				c.next[p] = t.tails[p] + 1
			}
			return nil
		}
	}
	return nil
}

// down gathers from one priority, the newest first.
func (t *taker) down(r Reader, p int, key Lane) error {
	c := t.s.c
	for pos := c.done[p].Prev(t.tails[p]); pos > 0 && !t.full(); pos = c.done[p].Prev(pos) {
		jump := false
		from := pos
		pos = 0
		err := r.Scan(key, from, true, func(rec *Record) bool {
			if rec.Pos > from {
				return true
			}
			if jump = c.done[p].Has(rec.Pos); jump {
				pos = rec.Pos
				return false
			}
			t.offer(rec)
			return !t.full()
		})
		if err != nil {
			return err
		}
		if !jump {
			return nil
		}
	}
	return nil
}

// offer leases a message and adds it to the reply, if it can be delivered.
func (t *taker) offer(rec *Record) bool {
	c := t.s.c
	sl := slot{rec.Priority, rec.Pos}
	l := c.leases[sl]
	if l != nil && l.state != ready {
		return false
	}
	expireAt := rec.ExpireAt()
	if !expireAt.IsZero() && !expireAt.After(t.now) {
		return false
	}
	if t.bytes > 0 && t.bytes+len(rec.Payload) > MaxReply {
		t.stop = true
		return false
	}
	if l == nil && len(c.leases) >= t.most {
		t.limited = true
		return false
	}
	if l != nil {
		c.unlist(l)
	}
	l = c.lease(sl, t.until)
	id := rec.ID
	if id == "" {
		id = t.s.b.ids.encode(rec.Place, rec.Created)
	}
	t.bytes += len(rec.Payload)
	if t.msgs == nil {
		t.msgs = make([]Message, 0, min(t.o.Max, 128))
	}
	t.msgs = append(t.msgs, Message{
		ID:            id,
		Topic:         c.topic.def.Load().Name,
		Created:       rec.Created,
		Expiration:    int64(rec.Expiration),
		ExpireAt:      expireAt,
		Producer:      rec.Producer,
		Priority:      int(rec.Priority),
		MIMEType:      rec.MIMEType,
		DeliveryCount: int(l.count),
		Payload:       t.keep(rec.Payload),
		lease:         leaseRef{sl, l.seq},
	})
	t.slots = append(t.slots, sl)
	return true
}

// keep copies a payload, which is valid only while the View lasts.
func (t *taker) keep(b []byte) []byte {
	if len(b) > cap(t.arena)-len(t.arena) {
		t.arena = make([]byte, 0, max(len(b), min(64<<10, len(b)*t.o.Max)))
	}
	n := len(t.arena)
	t.arena = append(t.arena, b...)
	return t.arena[n:len(t.arena):len(t.arena)]
}

// Release gives back messages that could not be handed over: they can be delivered again at once.
// Those that somebody else was given since are left alone.
func (s Subscription) Release(msgs []Message) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for i := range msgs {
		if l := s.c.delivery(msgs[i].lease); l != nil {
			s.c.unlist(l)
			s.c.giveBack(l)
		}
	}
	s.c.wakeOne()
}

// Written begins the ack timeout of messages that were received with Hold: now they are handed over.
// Those that somebody else was given since are left alone.
func (s Subscription) Written(msgs []Message) {
	until := s.b.since(time.Now().Add(s.c.def.Load().AckTimeout))
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for i := range msgs {
		if l := s.c.delivery(msgs[i].lease); l != nil {
			s.c.untime(l)
			s.c.hold(l, leased, until)
		}
	}
}

func (s Subscription) release(slots []slot) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.giveBack(slots)
	s.c.wakeOne()
}

// giveBack makes leased messages deliverable again. The caller holds the consumer's mu.
func (s Subscription) giveBack(slots []slot) {
	for _, sl := range slots {
		if l := s.c.leases[sl]; l != nil && l.state == leased {
			s.c.unlist(l)
			s.c.giveBack(l)
		}
	}
}

// locate returns the slots of a topic's messages with an ID: one, but where clients have used
// an ID again.
func (b *Broker) locate(topic uint32, id string) ([]slot, error) {
	if p, _, ok := b.ids.decode(id); ok && p.Topic == topic {
		return []slot{{p.Priority, p.Pos}}, nil
	}
	return b.locateOwn(topic, id)
}

// locateOwn returns the slots of a topic's messages that were published with an ID. It may be one
// that the broker has made, here or in another topic.
func (b *Broker) locateOwn(topic uint32, id string) ([]slot, error) {
	if CheckMessageID(id) != nil {
		return nil, nil
	}
	var slots []slot
	err := b.store.View(func(r Reader) error {
		sightings, err := r.FindID(topic, id)
		for _, s := range sightings {
			if s.Pos > 0 {
				slots = append(slots, slot{s.Priority, s.Pos})
			}
		}
		return err
	})
	slices.SortFunc(slots, func(a, b slot) int { return int(int64(a.pos) - int64(b.pos)) })
	return slots, err
}
