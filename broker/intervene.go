package broker

import (
	"bytes"
	"container/heap"
	"context"
	"slices"
	"time"
)

// DeleteMessages deletes messages of a topic, for all consumers and in one commit, also those in
// flight, whose acknowledgement will not find them. It returns how many there were of the IDs,
// of which there are 1 to MaxSettle. Documents are put with it. The errors are Invalid, NotFound
// (no such topic), Unavailable and DiskFull.
func (b *Broker) DeleteMessages(ctx context.Context, topic string, ids []string, docs ...Document) (int, error) {
	if n := len(ids); n < 1 || n > MaxSettle {
		return 0, Invalidf("%d messages: allowed are 1 to %d", n, MaxSettle).of("ids")
	}
	if err := checkDocuments(docs); err != nil {
		return 0, err
	}
	t := b.topic(topic)
	if t == nil {
		return 0, noTopic(topic)
	}
	op := &deleteOp{b: b, t: t, name: topic, docs: docs}
	for part := range slices.Chunk(ids, settleChunk) {
		if ctx.Err() != nil {
			return 0, gone(ctx)
		}
		err := b.store.View(func(r Reader) error {
			for _, id := range part {
				late := false
				err := b.find(r, t.id, id, func(key string, rec *Record) {
					if late = late || key != ""; key == "" {
						op.slots = append(op.slots, slot{rec.Priority, rec.Pos})
					}
				})
				if err != nil {
					return err
				}
				if late {
					op.late = append(op.late, id)
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if err := b.doAlone(op); err != nil {
		return 0, err
	}
	return op.n, nil
}

// doAlone runs an operation in a commit of its own: it finds the store as the commit will.
func (b *Broker) doAlone(op operation) error {
	return b.wait(&task{op: op, alone: true, done: make(chan struct{}, 1)})
}

// deleteOp deletes messages of a topic.
type deleteOp struct {
	b     *Broker
	t     *topic
	name  string // of the topic
	slots []slot
	late  []string // IDs of messages that may wait for their delay
	docs  documentOp

	n       int
	deleted []slot
	keys    []string // of delayed messages
}

func (o *deleteOp) plan(p *plan) error {
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	o.n, o.keys, o.deleted = 0, nil, slices.Clone(o.slots)
	err := o.b.store.View(func(r Reader) error {
		for _, id := range o.late {
			err := o.b.find(r, o.t.id, id, func(key string, rec *Record) {
				if key != "" {
					o.keys = append(o.keys, key)
				} else {
					o.deleted = append(o.deleted, slot{rec.Priority, rec.Pos})
				}
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
	slices.Sort(o.keys)
	o.keys = slices.Compact(o.keys)
	slices.SortFunc(o.deleted, slot.compare)
	o.deleted = slices.Compact(o.deleted)
	for i := 0; i < len(o.deleted); {
		prio := int(o.deleted[i].priority)
		var spans []Span
		for ; i < len(o.deleted) && int(o.deleted[i].priority) == prio; i++ {
			spans = addSpan(spans, Span{o.deleted[i].pos, o.deleted[i].pos})
		}
		o.n += p.delete(o.t, prio, spans)
	}
	if len(o.keys) > 0 {
		p.touch(o.t)
		o.t.nextDelayed -= int64(len(o.keys))
		p.batch.Undelay = append(p.batch.Undelay, o.keys...)
		o.n += len(o.keys)
	}
	return o.docs.plan(p)
}

// delete takes messages out of a lane and makes every consumer done with them. It returns how
// many there were. Spans are ascending and do not touch each other.
func (p *plan) delete(t *topic, prio int, spans []Span) int {
	n := 0
	var left []Span
	for _, s := range spans {
		t.lanes[prio].goneNow().Missing(s.From, s.To, func(s Span) {
			left = append(left, s)
			n += int(s.To - s.From + 1)
			p.batch.Remove = append(p.batch.Remove, Removal{Lane{t.id, uint8(prio)}, s})
		})
	}
	if n == 0 {
		return 0
	}
	l := p.touchLane(t, prio)
	l.settled = true // what all are done with behind it may be at the head now
	l.goneWork().AddSpans(left)
	for _, c := range t.list() {
		p.touchConsumer(c)
		c.doneWork(prio).AddSpans(left) // not to be stored: it follows from the lane's cursor
	}
	return n
}

func (o *deleteOp) applied(time.Time) {
	if len(o.keys) > 0 {
		o.b.undelayed.Add(1)
	}
	for _, c := range o.t.list() {
		c.mu.Lock()
		if len(o.deleted) > stepFound {
			c.dropDone(true)
		} else {
			for _, s := range o.deleted {
				c.dropSlot(s)
			}
		}
		c.mu.Unlock()
	}
}

func (o *deleteOp) failed()       {}
func (o *deleteOp) appends() bool { return o.docs.appends() }

// dropSlot forgets what the consumer knows of a message that it is done with. The acknowledgement
// of one that is being committed is left to its Settle. The caller holds mu.
func (c *consumer) dropSlot(s slot) {
	if l := c.leases[s]; l != nil {
		if l.state != settling {
			c.unlist(l)
			c.drop(l)
		}
	} else if _, ok := c.attempts[s]; ok {
		delete(c.attempts, s)
		c.forgetAttempt(s)
	}
}

// dropDone is dropSlot for all messages that the consumer is done with; those in flight only with
// flying. The caller holds mu.
func (c *consumer) dropDone(flying bool) {
	held := len(c.leases)
	for s, l := range c.leases {
		if (l.state == ready || l.state == deferred || l.state == leased && flying) && c.done[s.priority].Has(s.pos) {
			c.drop(l)
		}
	}
	if len(c.leases) < held {
		c.relist()
	}
	for s := range c.attempts {
		if c.done[s.priority].Has(s.pos) {
			delete(c.attempts, s)
			c.forgetAttempt(s)
		}
	}
}

// relist takes leases that were dropped out of the lists. The caller holds mu.
func (c *consumer) relist() {
	c.timed = slices.DeleteFunc(c.timed, func(l *lease) bool {
		gone := c.leases[l.slot] != l
		if gone && l.state == deferred {
			c.deferred--
		}
		return gone
	})
	for i, l := range c.timed {
		l.index = i
	}
	heap.Init(&c.timed)
	for p := range c.ready {
		c.ready[p] = slices.DeleteFunc(c.ready[p], func(pos uint64) bool { return c.leases[slot{uint8(p), pos}] == nil })
	}
}

// ReleaseMessage makes a message deliverable at once that waits for its delay, for all consumers, or,
// for one consumer (0: for all), one that is deferred or in flight. It tells whether anything has
// changed. Documents are put with it, changed or not. The error is Invalid (a document), NotFound,
// Unavailable or DiskFull.
func (b *Broker) ReleaseMessage(ctx context.Context, topic, id string, consumer uint32, docs ...Document) (bool, error) {
	if err := checkDocuments(docs); err != nil {
		return false, err
	}
	op := &releaseOp{b: b, t: b.topic(topic), name: topic, id: id, docs: docs}
	if op.t == nil {
		return false, noTopic(topic)
	}
	if consumer != 0 {
		if op.c = b.consumer(consumer); op.c == nil || op.c.topic != op.t {
			return false, noConsumer(consumer)
		}
	}
	if ctx.Err() != nil {
		return false, gone(ctx)
	}
	if err := b.doAlone(op); err != nil {
		return false, err
	}
	return op.changed, nil
}

// releaseOp makes a message deliverable.
type releaseOp struct {
	b    *Broker
	t    *topic
	name string    // of the topic
	c    *consumer // nil: all
	id   string
	docs documentOp

	slots   []slot
	moved   int // messages that waited for their delay
	changed bool
}

func (o *releaseOp) plan(p *plan) error {
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	if o.c != nil && o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	o.slots, o.moved = nil, 0
	var keys []string
	var records []*Record
	err := o.b.store.View(func(r Reader) error {
		return o.b.find(r, o.t.id, o.id, func(key string, rec *Record) {
			switch at := rec.ExpireAt(); {
			case !at.IsZero() && !at.After(p.now):
			case key == "":
				o.slots = append(o.slots, slot{rec.Priority, rec.Pos})
			default:
				rec := *rec
				rec.Payload = bytes.Clone(rec.Payload)
				// It is due now, and its expiration counts from now on.
				waited := (p.now.Sub(rec.Created) + time.Second - 1) / time.Second
				rec.Delay = uint32(min(int64(rec.Delay), max(int64(waited), 0)))
				keys, records = append(keys, key), append(records, &rec)
			}
		})
	})
	if err != nil {
		return err
	}
	if len(o.slots)+len(records) == 0 {
		return noMessage(o.id)
	}
	for i, r := range records {
		p.batch.Undelay = append(p.batch.Undelay, keys[i])
		p.append(o.t, r)
		o.t.nextDelayed--
	}
	o.moved = len(records)
	return o.docs.plan(p)
}

func (o *releaseOp) applied(now time.Time) {
	if o.moved > 0 {
		o.b.undelayed.Add(1)
		o.changed = true
	}
	list := o.t.list()
	if o.c != nil {
		list = []*consumer{o.c}
	}
	for _, c := range list {
		if c.held.Load() == 0 {
			continue
		}
		c.mu.Lock()
		some := c.expire(o.b.since(now))
		for _, s := range o.slots {
			if l := c.leases[s]; l != nil && (l.state == leased || l.state == deferred) {
				c.unlist(l)
				c.giveBack(l)
				some, o.changed = true, true
			}
		}
		if some {
			c.wakeOne()
		}
		c.mu.Unlock()
	}
}

func (o *releaseOp) failed()       {}
func (o *releaseOp) appends() bool { return o.moved > 0 || o.docs.appends() }

// ClearBacklog makes a consumer done with all that it has now, in flight or not, and returns how
// many messages that were. The error is Invalid (a document), NotFound, Unavailable or DiskFull.
func (b *Broker) ClearBacklog(ctx context.Context, consumer uint32, docs ...Document) (int64, error) {
	op := &clearOp{docs: docs}
	var err error
	if op.c, err = b.intervene(ctx, consumer, docs); err != nil {
		return 0, err
	}
	if err := b.doAlone(op); err != nil {
		return 0, err
	}
	return op.n, nil
}

// intervene checks what all changes of a consumer's queue need.
func (b *Broker) intervene(ctx context.Context, consumer uint32, docs []Document) (*consumer, error) {
	if err := checkDocuments(docs); err != nil {
		return nil, err
	}
	c := b.consumer(consumer)
	if c == nil {
		return nil, noConsumer(consumer)
	}
	if ctx.Err() != nil {
		return nil, gone(ctx)
	}
	return c, nil
}

// clearOp makes a consumer done with everything.
type clearOp struct {
	c    *consumer
	docs documentOp
	n    int64
}

func (o *clearOp) plan(p *plan) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	o.n = 0
	for prio := range o.c.topic.lanes {
		if tail := o.c.topic.lanes[prio].next; o.c.doneNow(prio).Next(1) <= tail {
			o.n += p.settle(o.c, prio, 1, tail)
		}
	}
	return o.docs.plan(p)
}

func (o *clearOp) applied(time.Time) {
	o.c.mu.Lock()
	o.c.dropDone(true)
	o.c.mu.Unlock()
}

func (o *clearOp) failed()       {}
func (o *clearOp) appends() bool { return o.docs.appends() }

// ClearInFlight makes a consumer done with what it has in flight, as if it had acknowledged it.
// It returns how many messages that were. The errors are those of ClearBacklog.
func (b *Broker) ClearInFlight(ctx context.Context, consumer uint32, docs ...Document) (int, error) {
	c, err := b.intervene(ctx, consumer, docs)
	if err != nil {
		return 0, err
	}
	op := &clearFlightOp{settleOp{c: c}, docs}
	c.mu.Lock()
	if c.expire(b.since(time.Now())) {
		c.wakeOne()
	}
	for s, l := range c.leases {
		if l.state != leased {
			continue
		}
		c.unlist(l)
		if c.done[s.priority].Has(s.pos) {
			c.drop(l) // it has expired
			continue
		}
		l.state = settling
		op.leases = append(op.leases, l)
	}
	c.mu.Unlock()
	if err := b.do(op, documentBytes(docs)); err != nil {
		return 0, err
	}
	return int(op.fresh), nil
}

// clearFlightOp is a settleOp of an administrator.
type clearFlightOp struct {
	settleOp
	docs documentOp
}

func (o *clearFlightOp) plan(p *plan) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	if err := o.settleOp.plan(p); err != nil {
		return err
	}
	return o.docs.plan(p)
}

func (o *clearFlightOp) appends() bool { return o.docs.appends() }

// ReleaseInFlight makes what a consumer has in flight, or has rejected with a delay, deliverable at
// once. It returns how many messages that were. The errors are those of ClearBacklog.
func (b *Broker) ReleaseInFlight(ctx context.Context, consumer uint32, docs ...Document) (int, error) {
	c, err := b.intervene(ctx, consumer, docs)
	if err != nil {
		return 0, err
	}
	op := &releaseFlightOp{b: b, c: c, docs: docs}
	if err := b.do(op, documentBytes(docs)); err != nil {
		return 0, err
	}
	return op.n, nil
}

// releaseFlightOp gives back all leases of a consumer, once the documents are stored.
type releaseFlightOp struct {
	b    *Broker
	c    *consumer
	docs documentOp
	n    int
}

func (o *releaseFlightOp) plan(p *plan) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	return o.docs.plan(p)
}

func (o *releaseFlightOp) applied(now time.Time) {
	c := o.c
	c.mu.Lock()
	defer c.mu.Unlock()
	some := c.expire(o.b.since(now))
	if o.n = c.giveBackAll(); o.n > 0 || some {
		c.wakeOne()
	}
}

// giveBackAll is giveBack for all leases with a time. It returns how many messages became
// deliverable. The caller holds mu.
func (c *consumer) giveBackAll() int {
	n := 0
	for _, l := range c.timed {
		if c.done[l.priority].Has(l.pos) {
			c.drop(l)
			continue
		}
		l.state = ready
		c.ready[l.priority] = append(c.ready[l.priority], l.pos)
		n++
	}
	clear(c.timed)
	c.timed, c.deferred = c.timed[:0], 0
	for p := range c.ready {
		slices.Sort(c.ready[p])
	}
	return n
}

func (o *releaseFlightOp) failed()       {}
func (o *releaseFlightOp) appends() bool { return o.docs.appends() }
