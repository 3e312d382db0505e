package broker

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pipit/broker/history"
	"pipit/broker/store"
)

// seeker is what a Broker does to let consumers have messages again.
type seeker struct{ b *Broker }

// Seek brings a consumer to another place of its topic: what the topic stores from there on waits for it again, also what
// it was done with, and it is done with what is before. What is in flight and behind the place stays so, and what waits
// for its delay is not touched. What waits again is counted as never delivered. No other consumer notices.
//
// It returns how many messages wait then. The errors are NotFound (the consumer, the message), Invalid (a document), Full
// (more would wait than its max_depth and its topic's allow, so that publishers would be refused), Unavailable and DiskFull.
func (s seeker) Seek(ctx context.Context, consumer uint32, to Seek, docs ...Document) (int64, error) {
	c, err := s.b.intervene(ctx, consumer, docs)
	if err != nil {
		return 0, err
	}
	return s.seek(ctx, &seekOp{c: c, queues: c.list(), to: to, docs: docs, gone: noConsumer(consumer)})
}

// SeekPreview returns what Seek would, its errors among it, and changes nothing. Of a consumer with a filter it is at most
// that: it looks at seekLooks messages, and counts all behind them.
func (s seeker) SeekPreview(ctx context.Context, consumer uint32, to Seek) (int64, error) {
	c, err := s.b.intervene(ctx, consumer, nil)
	if err != nil {
		return 0, err
	}
	return s.seek(ctx, &seekOp{c: c, queues: c.list(), to: to, dry: true, look: c.filter.Load() != nil, gone: noConsumer(consumer)})
}

// Seek is Broker.Seek by who holds the sub_key. The errors are those, and Denied where the consumer was deleted.
func (s Subscription) Seek(ctx context.Context, to Seek) (int64, error) {
	s.c.seen.set(time.Now())
	return s.b.seek(ctx, &seekOp{c: s.c, queues: s.queues(), to: to, gone: errDeleted})
}

// queues returns the queues that the door goes to.
func (s Subscription) queues() []*queue {
	if s.q == nil {
		return s.c.list()
	}
	return []*queue{s.q}
}

// seekQueues is how many queues of a consumer of a pattern go to their places in one commit; where there are more, it takes
// several, and an error may leave some where they were.
const seekQueues = 100

// seekLooks is how many messages a seek looks at to tell how many of them a filter lets through.
const seekLooks = 1_000_000

// seekTries is how often a place is found again that was removed in part meanwhile.
const seekTries = 5

// seek finds the places and commits. Nobody receives from the consumer meanwhile: who reads goes by where it was.
func (s seeker) seek(ctx context.Context, op *seekOp) (int64, error) {
	if n := b2i(op.to.Oldest) + b2i(op.to.Newest) + b2i(!op.to.Time.IsZero()) + b2i(op.to.MessageID != ""); n != 1 {
		return 0, Invalidf("a place is the oldest or newest message, a time or a message: exactly one of them is needed").of("to")
	}
	var backlog int64
	op.b = s.b
	all := op.queues
	if op.to.MessageID != "" && len(all) != 1 {
		var err error
		if op.to.Time, err = s.seekTime(all, op.to.MessageID); err != nil {
			return 0, err
		}
	}
	for part := range slices.Chunk(all, seekQueues) {
		op.queues = part
		if err := s.seekPart(ctx, op); err != nil {
			return 0, err
		}
		backlog += op.backlog
		op.docs = nil // they went with the first
	}
	if op.dry || op.c.filter.Load() == nil {
		return backlog, nil
	}
	return s.sifted(ctx, all)
}

// seekTime returns when the message, of one topic of several, could be delivered: where the others go on from. The error is
// NotFound where none has it.
func (s seeker) seekTime(queues []*queue, id string) (at time.Time, err error) {
	for _, q := range queues {
		_, due, err := s.b.commits.seekID(q.topic, id)
		if err != nil && CodeOf(err) != NotFound {
			return at, err
		}
		if due.After(at) {
			at = due
		}
	}
	if at.IsZero() {
		return at, messageNotFound(id)
	}
	return at, nil
}

// sifted returns how many messages wait in queues, without what their filter does not let through.
func (s seeker) sifted(ctx context.Context, queues []*queue) (backlog int64, err error) {
	if err := siftQueues(ctx, s.b, queues); err != nil {
		return 0, err
	}
	for _, q := range queues {
		q.topic.mu.Lock()
		q.of.mu.Lock()
		backlog += q.waiting()
		q.of.mu.Unlock()
		q.topic.mu.Unlock()
	}
	return backlog, nil
}

func (s seeker) seekPart(ctx context.Context, op *seekOp) error {
	for range seekTries {
		if again, err := s.seekOnce(ctx, op); err != nil || !again {
			return err
		}
	}
	return errBusy
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s seeker) seekOnce(ctx context.Context, op *seekOp) (again bool, err error) {
	x := &s.b.commits
	op.places = op.places[:0]
	defer func() {
		for _, p := range op.places {
			x.leave(p)
		}
	}()
	for _, q := range op.queues {
		p, err := x.place(ctx, q.topic, op.to)
		if err != nil {
			return false, err
		}
		op.places = append(op.places, p)
	}
	if looked := 0; op.look {
		for _, p := range op.places {
			if err := p.match(ctx, s.b.store, op.c.filter.Load(), &looked); err != nil {
				return false, err
			}
		}
	}
	select {
	case op.c.reading <- struct{}{}:
	case <-ctx.Done():
		return false, callerLeft(ctx)
	}
	defer func() { <-op.c.reading }()
	if err := x.doAlone(op); err != nil || op.torn || op.dry {
		return op.torn, err
	}
	for _, q := range op.queues {
		q.dropDone()
	}
	return false, nil
}

// seekOp brings queues of a consumer to their places.
type seekOp struct {
	b      *Broker
	c      *consumer
	queues []*queue
	to     Seek
	docs   documentOp
	gone   error // what to answer where the consumer was deleted
	dry    bool
	look   bool // count what the filter lets through alone

	places  []*place // of queues
	backlog int64
	torn    bool
}

func (o *seekOp) plan(d *draft) error {
	if o.c.deleted.Load() {
		return o.gone
	}
	o.backlog, o.torn = 0, false
	before := o.c.backlog()
	rest := before
	for i, p := range o.places {
		if o.torn = p.torn(); o.torn {
			return nil
		}
		rest -= o.queues[i].backlog()
		o.backlog += p.backlog()
	}
	if all := o.backlog + rest; all > before {
		if most := o.c.def.Load().MaxDepth; all > most {
			return o.tooMany(all, most, "the consumer")
		}
		for _, p := range o.places {
			if n, most := p.backlog(), p.t.def.Load().MaxDepth; p.t.retains() && n > most {
				return o.tooMany(n, most, "the topic")
			}
		}
	}
	if o.dry {
		return nil
	}
	for i, p := range o.places {
		for prio := range p.from {
			if l := &p.t.lanes[prio]; l.next > 0 {
				*d.progress(o.queues[i], prio) = p.progress(prio)
				d.dropLeftOut(o.queues[i], prio)
				d.touchLane(p.t, prio).settled = true
			}
		}
		d.touch(p.t)
		p.t.room = 0
	}
	return o.docs.plan(d)
}

// tooMany is the error of a seek that would leave too many waiting, unless it is to be told first how many of them the
// filter lets through.
func (o *seekOp) tooMany(n, most int64, of string) error {
	if !o.look && o.c.filter.Load() != nil {
		o.look, o.torn = true, true
		return nil
	}
	return &Error{Code: Full, RetryAfter: time.Minute,
		Message: fmt.Sprintf("%d messages would wait: allowed by max_depth of %s are %d", n, of, most)}
}

func (o *seekOp) applied(now time.Time) {
	if o.torn || o.dry {
		return
	}
	o.b.recordPassed(o.queues, history.Skipped, o.places, now)
	o.c.mu.Lock()
	defer o.c.mu.Unlock()
	for _, q := range o.queues {
		q.placed++
		for prio := range q.done {
			if q.merged != nil {
				q.merged.next[prio] = 0 // what is there may be as early as any
			}
			q.begin(prio)
			// What waits again has to be looked at by the filter. It is another value than before, so that a step of
			// the sweeper that shares the commit does not take what it has looked at for all.
			q.sifted[prio].Store(1 - min(q.sifted[prio].Load(), 1))
		}
	}
}

func (o *seekOp) failed()       {}
func (o *seekOp) appends() bool { return o.docs.appends() }

// dropDone forgets what a seek has made the queue done with, and lets others look for what waits again.
func (q *queue) dropDone() {
	c, n := q.of, 0
	c.mu.Lock()
	defer c.mu.Unlock()
	pause := func() {
		if n++; n%settleChunk == 0 {
			c.mu.Unlock()
			c.mu.Lock()
		}
	}
	for s, l := range q.leases {
		if pause(); q.leases[s] == l && l.state != settling && q.done[s.priority].Has(s.pos) {
			c.unlist(l)
			c.drop(l)
		}
	}
	for s := range q.attempts {
		if pause(); q.done[s.priority].Has(s.pos) {
			if _, there := q.attempts[s]; there {
				delete(q.attempts, s)
				q.forgetAttempt(s)
			}
		}
	}
	c.returned++ // what a long poll has not seen
	c.wakeOne()
}

// extent returns the positions that are done when the lease is. Those beside its message were without one as the queue
// was then: after a seek, messages that wait again may be there.
func (l *lease) extent() store.Span {
	if l.placed != l.q.placed {
		return store.Span{From: l.pos, To: l.pos}
	}
	return l.Span
}
