package broker

import (
	"bytes"
	"context"
	"slices"
	"time"

	"pipit/broker/store"
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
		err := b.store.View(func(r store.Reader) error {
			for _, id := range part {
				late := false
				err := b.find(r, t.id, id, func(key string, rec *store.Record) {
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
	if err := b.commits.doAlone(op); err != nil {
		return 0, err
	}
	return op.n, nil
}

// doAlone runs an operation in a commit of its own: it finds the store as the commit will.
func (c *commits) doAlone(op operation) error {
	return c.wait(&task{op: op, alone: true, done: make(chan struct{}, 1)})
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
	o.keys, o.deleted = nil, nil
	err := o.b.store.View(func(r store.Reader) error {
		for _, s := range o.slots { // some may be gone by now
			err := r.Stored(store.Lane{Topic: o.t.id, Priority: s.priority}, store.Span{From: s.pos, To: s.pos}, func(uint64) bool {
				o.deleted = append(o.deleted, s)
				return false
			})
			if err != nil {
				return err
			}
		}
		for _, id := range o.late {
			err := o.b.find(r, o.t.id, id, func(key string, rec *store.Record) {
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
		prio := o.deleted[i].priority
		var positions []uint64
		for ; i < len(o.deleted) && o.deleted[i].priority == prio; i++ {
			positions = append(positions, o.deleted[i].pos)
		}
		p.discard(o.t, int(prio), positions)
	}
	o.n = len(o.deleted)
	if len(o.keys) > 0 {
		p.touch(o.t)
		o.t.nextDelayed -= int64(len(o.keys))
		p.batch.Undelay = append(p.batch.Undelay, o.keys...)
		o.n += len(o.keys)
	}
	return o.docs.plan(p)
}

func (o *deleteOp) applied(time.Time) {
	if len(o.keys) > 0 {
		o.b.sweeper.undelayed.Add(1)
	}
	for _, c := range o.t.list() {
		if c.held.Load() == 0 {
			continue
		}
		c.mu.Lock()
		for _, s := range o.deleted {
			// The acknowledgement of one that is being committed is left to its Settle.
			if l := c.leases[s]; l != nil && l.state != settling {
				c.unlist(l)
				c.drop(l)
			}
		}
		c.mu.Unlock()
	}
}

func (o *deleteOp) failed()       {}
func (o *deleteOp) appends() bool { return o.docs.appends() }

// dropAll forgets all leases. The caller has made the consumer done with everything, and holds mu.
func (q *queue) dropAll() {
	q.retired = append(q.retired, q.leases)
	before := make(map[slot]*lease, len(q.attempts))
	for s, n := range q.attempts {
		before[s] = &lease{slot: s, saved: n}
	}
	q.retired = append(q.retired, before)
	q.forgets.Store(true)
	q.leases, q.own, q.attempts, q.unsaved = map[slot]*lease{}, map[string]*lease{}, map[slot]uint32{}, map[slot]struct{}{}
	q.of.held.Store(0)
	q.timed, q.ready = nil, [MaxPriority + 1]readyLeases{}
	q.deferred, q.blocked, q.fetching = 0, 0, 0
	for _, st := range q.of.streams {
		st.inFlight = 1
		st.left()
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
	if err := b.commits.doAlone(op); err != nil {
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
	var records []*store.Record
	err := o.b.store.View(func(r store.Reader) error {
		return o.b.find(r, o.t.id, o.id, func(key string, rec *store.Record) {
			switch at := rec.ExpireAt(); {
			case !at.IsZero() && !at.After(o.b.expiryNow(p.now)):
			case key == "":
				o.slots = append(o.slots, slot{rec.Priority, rec.Pos})
			default:
				rec := *rec
				rec.Payload = bytes.Clone(rec.Payload)
				// It is due now, and its expiration counts from now on.
				waited := (p.now.Sub(rec.Created) + time.Second - 1) / time.Second
				rec.Delay = uint32(min(int64(rec.Delay), max(int64(waited), 0))) // #nosec G115 -- no more than before
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
		o.b.sweeper.undelayed.Add(1)
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
		some := c.expire(o.b.since(now)) > 0
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
	if err := b.commits.doAlone(op); err != nil {
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
		l := &o.c.topic.lanes[prio]
		if o.c.doneNow(prio).Lowest() > l.next {
			continue
		}
		p.touchLane(o.c.topic, prio).settled = true
		w := p.progress(&o.c.queue, prio)
		all := l.next - l.nextSkipped
		o.n += int64(all - w.finished) // #nosec G115 -- a count of messages is far below 2^63
		w.finished, w.Cursor = all, store.Cursor{Floor: l.next + 1}
	}
	return o.docs.plan(p)
}

func (o *clearOp) applied(time.Time) {
	o.c.mu.Lock()
	o.c.dropAll()
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
	c.eachTimed(b.since(time.Now()), func(l *lease) {
		if l.state != leased {
			return
		}
		if c.unlist(l); c.done[l.priority].Has(l.pos) {
			c.drop(l) // it has expired
			return
		}
		l.state = settling
		op.leases = append(op.leases, l)
	})
	if err := b.commits.do(op, documentBytes(docs)); err != nil {
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
	op := &releaseFlightOp{c: c, docs: docs}
	if err := b.commits.do(op, documentBytes(docs)); err != nil {
		return 0, err
	}
	n := 0
	c.eachTimed(b.since(time.Now()), func(l *lease) {
		c.unlist(l)
		c.giveBack(l)
		if l.state == ready {
			n++
		}
	})
	return n, nil
}

// eachTimed calls fn with each lease that is in flight or deferred at now, under the consumer's lock, of
// which it lets go in between.
func (q *queue) eachTimed(now time.Duration, fn func(*lease)) {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	q.expireAll(now)
	for i, l := range slices.Clone(q.timed) {
		if i%settleChunk == settleChunk-1 {
			q.of.wakeOne()
			q.of.mu.Unlock()
			q.of.mu.Lock()
		}
		if q.leases[l.slot] == l && (l.state == leased || l.state == deferred) {
			fn(l)
		}
	}
	q.of.wakeOne()
}

// releaseFlightOp stores the documents of a release.
type releaseFlightOp struct {
	c    *consumer
	docs documentOp
}

func (o *releaseFlightOp) plan(p *plan) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	return o.docs.plan(p)
}

func (o *releaseFlightOp) applied(time.Time) {}
func (o *releaseFlightOp) failed()           {}
func (o *releaseFlightOp) appends() bool     { return o.docs.appends() }
