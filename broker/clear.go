package broker

import (
	"context"
	"time"

	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// dropAll forgets all leases. The caller has made the consumer done with everything, and holds mu.
func (c *consumer) dropAll() {
	for _, q := range c.list() {
		q.dropAll()
	}
	c.held.Store(0)
	c.own, c.timed, c.failed = map[string]*lease{}, nil, nil
	c.failing.Store(0)
	c.deferred, c.blocked, c.fetching, c.ready = 0, 0, 0, 0
	for _, st := range c.streams {
		st.inFlight = 1
		st.left()
	}
}

// dropAll forgets a queue's leases, and leaves it to the caller to forget those of its consumer.
func (q *queue) dropAll() {
	q.retired = append(q.retired, q.leases)
	before := make(map[slot]*lease, len(q.attempts))
	for s, n := range q.attempts {
		before[s] = &lease{slot: s, saved: n}
	}
	q.retired = append(q.retired, before)
	q.forgets.Store(true)
	q.leases, q.attempts, q.unsaved = map[slot]*lease{}, map[slot]uint32{}, map[slot]struct{}{}
	q.ready = [limit.MaxPriority + 1]readyLeases{}
}

// ClearBacklog makes a consumer done with all that it has now, in flight or not, and returns how
// many messages that were. The error is Invalid (a document), NotFound, Unavailable or DiskFull.
func (b *Broker) ClearBacklog(ctx context.Context, consumer uint32, docs ...Document) (int64, error) {
	op := &clearOp{b: b, docs: docs}
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
		return nil, callerLeft(ctx)
	}
	return c, nil
}

// clearOp makes a consumer done with everything.
type clearOp struct {
	b    *Broker
	c    *consumer
	docs documentOp
	n    int64
}

func (o *clearOp) plan(d *draft) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	o.n = 0
	for _, q := range o.c.list() {
		o.n += d.clear(q)
	}
	return o.docs.plan(d)
}

// clear makes a queue done with everything, and returns how many messages that are.
func (d *draft) clear(q *queue) (n int64) {
	for prio := range q.topic.lanes {
		l := &q.topic.lanes[prio]
		if q.doneNow(prio).Lowest() > l.next {
			continue
		}
		d.touchLane(q.topic, prio).settled = true
		w := d.progress(q, prio)
		all := l.next - l.nextSkipped
		n += q.backlogIn(prio)
		d.dropLeftOut(q, prio)
		w.finished, w.Cursor = all, store.Cursor{Floor: l.next + 1}
	}
	return n
}

func (o *clearOp) applied(now time.Time) {
	o.b.recordPassed(o.c.list(), history.Cleared, nil, now)
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
	op := &clearFlightOp{settleOp{b: b, c: c, how: history.Cleared}, docs}
	c.eachTimed(b.since(time.Now()), func(l *lease) {
		if l.state != leased {
			return
		}
		if c.unlist(l); l.over() {
			c.drop(l) // it has expired
			return
		}
		l.state = settling
		op.leases = append(op.leases, l)
	})
	if err := b.commits.do(op, documentBytes(docs)); err != nil {
		return 0, err
	}
	return int(op.finished), nil
}

// clearFlightOp is a settleOp of an administrator.
type clearFlightOp struct {
	settleOp
	docs documentOp
}

func (o *clearFlightOp) plan(d *draft) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	if err := o.settleOp.plan(d); err != nil {
		return err
	}
	return o.docs.plan(d)
}

func (o *clearFlightOp) appends() bool { return o.docs.appends() }
