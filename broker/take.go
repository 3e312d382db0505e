package broker

import (
	"errors"
	"fmt"
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// Bounds of one step of a receive, which is one View of the store.
const (
	takeRecords = 2000
	takeTime    = 2 * time.Millisecond
)

// roomWait is until a long poll looks again that found no room for its reply.
const roomWait = 100 * time.Millisecond

var errNoRoom = &Error{Code: Unavailable, RetryAfter: time.Second, Message: "Overloaded by replies that are not read, try again"}

// errChanged is what take returns where the door may not be open any more.
var errChanged = errors.New("the consumer has changed")

// take leases what can be delivered now. With nothing, and waiting, it lists w as a waiter,
// and returns after which time to look again (0: when woken).
//
// It picks what to read holding the consumer's lock, reads without it, since whoever commits takes that
// lock too, and leases holding it again.
func (s Subscription) take(o *ReceiveOptions, w *waiter, waiting bool) (msgs []Message, next time.Duration, err error) {
	c := s.c
	c.reading <- struct{}{}
	defer func() { <-c.reading }()
	t := taker{s: s, q: s.q, o: o}
	lane := t.lanes()
	for {
		if err := t.begin(w); err != nil {
			return nil, 0, err
		}
		for p := limit.MaxPriority; p >= limit.MinPriority && !t.full(); p-- {
			if err := lane(p); err != nil {
				s.Release(t.msgs[:t.n])
				return nil, 0, err
			}
			if c.merge != nil && t.q != nil {
				t.settleQueue(p)
			}
		}
		if next, ended, err := t.end(w, waiting); ended {
			return t.msgs, next, err
		}
	}
}

// lanes returns what gathers from a priority.
func (t *taker) lanes() func(p int) error {
	if t.o.Order == FIFO {
		t.limit = never
	}
	switch lifo := t.o.Order == LIFO; {
	case t.q == nil && lifo:
		return t.mergeLIFO
	case t.q == nil:
		return t.mergeFIFO
	case lifo:
		return t.lifo
	}
	return t.fifo
}

// taker gathers the messages of one Receive. It holds the consumer's reading.
type taker struct {
	s        Subscription
	q        *queue // that is read
	limit    int64  // of a queue of several: what is due later is not read, nor, of the newest first, what is due earlier
	o        *ReceiveOptions
	most     int // max_in_flight
	tails    [limit.MaxPriority + 1]uint64
	returned uint64
	msgs     []Message // n that are leased, and behind them those that the step has read
	n        int
	bytes    int // of payload of those that are leased
	arena    []byte
	limited  bool // max_in_flight held something back
	stop     bool // the reply is as large as it may be
	refused  bool // there was no room for the next message

	// Of a step.
	now    time.Time
	over   time.Time // what expires until then is not delivered
	looked []looked
	begun  int     // n when it began
	edits  uint64  // lane.edits before it read
	filter *filter // consumer.filter when it began
	ahead  int64   // when the message is due at which limit has ended it; 0: it has not
}

// looked is a message that a step has looked at.
type looked struct {
	slot
	back *lease    // of one that came back
	id   string    // where its publisher gave it one
	msg  int       // in taker.msgs; -1 where it has expired, or the consumer's filter does not match
	over time.Time // when it expires
	at   int64     // of a queue of several: when it was due
}

func (k *looked) expired(now time.Time) bool { return !k.over.IsZero() && !k.over.After(now) }

// begin finds out whether the door is open yet, and what there is to look at.
func (t *taker) begin(w *waiter) error {
	c := t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireAll(t.s.b.since(time.Now()))
	if w != nil {
		c.leave(w)
	}
	if c.changes.Load() != t.s.changes {
		return errChanged
	}
	t.most, t.returned, t.refused = c.def.Load().MaxInFlight, c.returned, false
	for p := range t.tails {
		if t.s.q != nil {
			t.tails[p] = t.q.topic.lanes[p].tail.Load() // before the View, which then sees all of it
		}
	}
	return nil
}

// end tells whether there is an answer, or, as something came back or was published meanwhile, another
// look is worth it.
func (t *taker) end(w *waiter, waiting bool) (next time.Duration, ended bool, err error) {
	c := t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.n > 0 {
		c.wakeOne() // there may be more
		return 0, true, nil
	}
	if c.returned != t.returned {
		return 0, false, nil
	}
	for p := range t.tails {
		if t.s.q != nil && t.tails[p] != t.q.topic.lanes[p].tail.Load() {
			return 0, false, nil
		}
	}
	if t.limited {
		return 0, true, &Error{Code: Full, RetryAfter: time.Second,
			Message: fmt.Sprintf("%d messages are in flight: allowed are max_in_flight %d", c.held.Load(), t.most)}
	}
	if t.refused && !waiting {
		return 0, true, errNoRoom
	}
	if waiting {
		c.waiters = append(c.waiters, w)
		if len(c.timed) > 0 && c.timed[0].until != forever {
			next = max(c.timed[0].until-t.s.b.since(time.Now()), time.Millisecond)
		}
		if t.refused && (next == 0 || next > roomWait) {
			next = roomWait
		}
	}
	return next, true, nil
}

func (t *taker) full() bool { return t.stop || t.refused || t.n >= t.o.Max }

func (t *taker) lane(p int) store.Lane { return laneRef{t.q.topic, p}.key() }

// fifo gathers from one priority, the oldest first: what came back is older than what was not read
// yet, but for what a receive of the newest had taken.
func (t *taker) fifo(p int) error {
	for !t.full() {
		picked, span := t.pick(p)
		var err error
		switch {
		case len(picked) > 0:
			err = t.again(p, picked)
		case span.From > 0:
			err = t.unread(p, span)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pick returns what to read next of a priority: leases that came back, which are in no list from then
// on, or a span that the consumer is not done with.
func (t *taker) pick(p int) (back []*lease, span store.Span) {
	c, q := t.s.c, t.q
	c.mu.Lock()
	defer c.mu.Unlock()
	t.edits = q.topic.lanes[p].edits.Load()
	below := q.unreadFrom(p)
	for r := &q.ready[p]; len(*r) > 0 && len(back) < t.o.Max-t.n && (t.limited || (*r)[0].pos < below); {
		if l := (*r)[0]; q.merged != nil && len(back) > 0 && l.at > t.limit {
			break
		}
		back = append(back, c.fetch((*r)[0]))
	}
	if len(back) > 0 || t.limited {
		return back, store.Span{}
	}
	q.next[p] = q.done[p].Next(q.next[p])
	if q.next[p] > t.tails[p] {
		return nil, store.Span{}
	}
	return nil, store.Span{From: q.next[p], To: min(q.done[p].GapEnd(q.next[p]), t.tails[p])}
}

// again leases what came back.
func (t *taker) again(p int, back []*lease) error {
	t.step()
	i := 0 // how many were looked for
	defer t.fetched(back)
	err := t.s.b.store.View(func(r store.Reader) error {
		for ; i < len(back) && !t.refused && (i == 0 || time.Since(t.now) < takeTime); i++ {
			l := back[i]
			err := r.Scan(t.lane(p), l.pos, false, func(rec *store.Record) bool {
				if rec.Pos == l.pos {
					t.look(rec, l)
				}
				return false
			})
			if err != nil || t.refused {
				return err
			}
		}
		return nil
	})
	c := t.s.c
	c.mu.Lock()
	t.tick()
	for j := range t.looked {
		if err == nil {
			t.offer(&t.looked[j], store.Span{})
		}
	}
	for j := range t.looked {
		if k := &t.looked[j]; k.expired(t.over) && c.fetches(k.back) {
			t.q.attempts[k.slot] = k.back.count // its dead letter may want to know
		}
	}
	for j, l := range back {
		if c.fetches(l) && err == nil && !t.stop && j < i {
			c.unlist(l)
			c.drop(l) // it has expired, or is gone
		}
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return t.confirm(p)
}

// fetches tells whether a lease is yet as fetch has left it: it was not leased, and nobody settled it
// meanwhile. The caller holds mu.
func (c *consumer) fetches(l *lease) bool { return l.q.leases[l.slot] == l && l.state == fetching }

// fetched gives back what was fetched and not leased, also after a panic. Where there is no room for it, that is nothing to
// look again for: see end.
func (t *taker) fetched(back []*lease) {
	c := t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.returned
	for _, l := range back {
		if c.fetches(l) {
			c.unlist(l)
			c.giveBack(l)
		}
	}
	if t.refused {
		t.returned += c.returned - before
	}
}

// unread goes on reading one priority.
func (t *taker) unread(p int, span store.Span) error {
	end, err := t.read(p, span, false)
	if err != nil {
		return err
	}
	c := t.s.c
	c.mu.Lock()
	t.tick()
	for i := range t.looked {
		k := &t.looked[i]
		if t.offer(k, store.Span{From: min(t.q.passed[p], k.pos), To: k.pos}); t.stop || t.limited {
			end, t.ahead = k.pos, 0
			break
		}
		t.q.passed[p] = k.pos + 1
	}
	if t.filter == c.filter.Load() { // else what it has left out may match now: see refilter
		if t.ahead != 0 {
			t.q.merged.next[p] = t.ahead
		}
		t.q.next[p] = max(t.q.next[p], end)
	}
	c.mu.Unlock()
	return t.confirm(p)
}

// tick takes the time.
func (t *taker) tick() {
	t.now = time.Now()
	t.over = t.s.b.expiryNow(t.now)
}

// step begins a step.
func (t *taker) step() {
	t.tick()
	t.looked, t.begun, t.ahead, t.filter = t.looked[:0], t.n, 0, t.s.c.filter.Load()
	t.msgs = t.msgs[:t.n]
}

// read looks at messages of a span, for one step at the most, and returns where to go on.
func (t *taker) read(p int, span store.Span, down bool) (end uint64, err error) {
	t.step()
	c := t.s.c
	c.mu.Lock()
	most := max(min(t.o.Max-t.n, t.most-int(c.held.Load())), 1)
	c.mu.Unlock()
	from := span.From
	if end = span.To + 1; down {
		from, end = span.To, span.From-1
	}
	err = t.s.b.store.View(func(r store.Reader) error {
		bytes := t.bytes
		return r.Scan(t.lane(p), from, down, func(rec *store.Record) bool {
			if rec.Pos < span.From || rec.Pos > span.To {
				return down && rec.Pos > span.To
			}
			if t.q.merged != nil && t.beyond(rec, down) {
				end, t.ahead = rec.Pos, due(rec)
				return false
			}
			if t.look(rec, nil) {
				most--
				bytes += len(rec.Payload) + extraSize(rec)
			}
			if t.refused {
				end = rec.Pos
				return false
			}
			n := len(t.looked)
			if most > 0 && bytes <= limit.MaxReply && n < takeRecords && (n%64 != 0 || time.Since(t.now) < takeTime) {
				return true
			}
			if end = rec.Pos + 1; down {
				end = rec.Pos - 1
			}
			return false
		})
	})
	return end, err
}

// beyond tells whether it is the turn of another queue before a message of this one.
func (t *taker) beyond(rec *store.Record, down bool) bool {
	return !down && due(rec) > t.limit || down && due(rec) < t.limit
}

// look reads a message, unless it has expired, and tells whether it may be delivered.
func (t *taker) look(rec *store.Record, back *lease) bool {
	k := looked{slot: slot{rec.Priority, rec.Pos}, back: back, id: rec.ID, msg: -1, over: rec.ExpireAt()}
	if t.q.merged != nil {
		k.at = due(rec)
	}
	if t.filter != nil && !t.filter.match(rec) {
		t.looked = append(t.looked, k) // it waits for the sweeper: see sift.go
		return false
	}
	if k.over.IsZero() || k.over.After(t.over) {
		if t.o.Room != nil && !t.o.Room(len(rec.Payload)+extraSize(rec)) {
			t.refused = true
			return false
		}
		k.msg = len(t.msgs)
		t.add(rec)
	}
	t.looked = append(t.looked, k)
	return k.msg >= 0
}

// offer leases a message and puts it behind those that are leased, if it can be delivered. The
// consumer's mu is held.
func (t *taker) offer(k *looked, span store.Span) {
	c := t.s.c
	if k.msg < 0 || k.expired(t.over) || t.q.gone.Load() {
		return
	}
	l := t.q.leases[k.slot]
	switch {
	case k.back != nil && (l != k.back || l.state != fetching):
		return
	case k.back == nil && (l != nil && l.state != ready || t.q.done[k.priority].Has(k.pos)):
		return
	}
	m := &t.msgs[k.msg]
	if t.bytes > 0 && t.bytes+len(m.Payload) > limit.MaxReply {
		t.stop = true
		return
	}
	if l == nil && int(c.held.Load()) >= t.most {
		t.limited = true
		return
	}
	if l != nil {
		c.unlist(l)
	}
	if def := c.def.Load(); def.MaxDeliveries > 0 && def.exhausts(t.q.deliveries(k.slot)) { // max_deliveries is less than it was
		c.fail(t.q.leaseOf(k.slot, span, k.id), byDeliveries)
		return
	}
	until := forever
	if !t.o.Hold {
		until = t.s.b.since(t.now.Add(c.def.Load().AckTimeout))
	}
	if l = t.q.lease(k.slot, span, k.id, until); l == nil {
		return
	}
	l.at, l.delivered = k.at, max(t.s.b.since(t.now), 1)
	m.DeliveryCount, m.lease = int(l.count), leaseRef{t.q, k.slot, l.seq}
	if t.o.stream != nil {
		t.o.stream.add(l, m.ID)
	}
	t.bytes += len(m.Payload)
	t.msgs[t.n] = *m
	t.n++
}

// confirm takes those of the step's messages away again that were deleted while they were read:
// who deleted them could not see the lease.
func (t *taker) confirm(p int) error {
	t.msgs = t.msgs[:t.n]
	c := t.s.c
	if t.n == t.begun || t.q.topic.lanes[p].edits.Load() == t.edits {
		return nil
	}
	there := make([]bool, t.n)
	err := t.s.b.store.View(func(r store.Reader) error {
		for i := t.begun; i < t.n; i++ {
			pos := t.msgs[i].lease.pos
			err := r.Stored(t.lane(p), store.Span{From: pos, To: pos}, func(uint64) bool {
				there[i] = true
				return false
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := t.begun
	for i := t.begun; i < t.n; i++ {
		if !there[i] {
			if l := t.msgs[i].lease.lease(); l != nil {
				c.unlist(l)
				c.drop(l)
			}
			continue
		}
		t.msgs[n] = t.msgs[i]
		n++
	}
	t.msgs, t.n = t.msgs[:n], n
	return nil
}

// add puts a message behind the others.
func (t *taker) add(rec *store.Record) {
	if t.msgs == nil {
		t.msgs = make([]Message, 0, min(t.o.Max, 128))
	}
	t.msgs = append(t.msgs, t.s.message(t.q, rec, t.keep(rec.Payload)))
}

// message makes what a consumer gets of a record, but for what its delivery adds.
func (s Subscription) message(q *queue, rec *store.Record, payload []byte) Message {
	m := Message{
		ID:         s.b.idOf(rec),
		Topic:      q.topic.def.Load().Name,
		Created:    rec.Created,
		Expiration: int64(rec.Expiration),
		ExpireAt:   rec.ExpireAt(),
		Producer:   rec.Producer,
		Priority:   int(rec.Priority),
		MIMEType:   rec.MIMEType,
		Payload:    payload,
	}
	m.setExtra(rec.Extra)
	return m
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
