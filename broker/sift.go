package broker

import (
	"context"
	"math"
	"slices"
	"time"

	"pipit/broker/store"
)

// A queue whose consumer has a Filter is done with what that does not let through as soon as it is there: the commit that appends a
// message makes the queues done with it whose filters do not match, so that it is in no backlog, is not read, and leaves the log with
// what others are done with. All that stores what a consumer is done with needs to know of no filter.
//
//   - Below queue.sifted, every message that is there matches, or the queue is done with it or leaves it out.
//   - What is at sifted or behind it was not looked at yet: it was there before the filter, before the start or before a seek.
//     A receive leaves out what does not match; the sweeper looks at it, and it is in no backlog from then on.
//   - A message that the queue is done with does not wait again where the filter is changed. What waits is looked at anew.
//
// Between messages that match and wait, those that do not are a span of the queue's cursor: a cursor grows with what waits, and all
// of it is stored each time. So a publish adds spans up to siftedAtOnce and the sweeper, for many messages in one commit, up to
// maxSifted. What goes beyond that is left out: the queue has its positions in memory alone, subtracts them from the backlog, and is
// done with them once it is with what is beside them. After a start they are looked at again.

// Bounds of filters.
const (
	siftedAtOnce = 1000      // spans of a cursor in a lane, of 2 bytes or more each
	maxSifted    = 10_000    // spans that the sweeper makes
	maxLeftOut   = 1_000_000 // runs that a queue leaves out of a lane, of 4 bytes each; past it, the backlog has what follows
	siftRecords  = 20_000    // that one step reads of a lane
	siftTime     = 2 * time.Millisecond
	siftPlanned  = 500 // that the commit of a step reads, of those that came since
)

// refilter takes in what the filter of a consumer is. For the committer, or before there is one.
func (c *consumer) refilter(b *Broker, text string) {
	if f := c.filter.Load(); f == nil && text == "" || f != nil && f.text == text {
		return
	}
	f, err := parseFilter(text)
	if err != nil { // it was checked
		b.log.Error("a consumer's filter is damaged: it lets all messages through", "consumer", c.id, "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filter.Store(f)
	b.commits.draft.filters++
	for _, q := range c.list() {
		for p := range q.sifted {
			q.sifted[p].Store(0)
			q.leftOut[p] = nil
			q.countOut(p)
			q.next[p] = q.done[p].Lowest() // what a receive has left out may match now
			if q.merged != nil {
				q.merged.next[p] = 0
				q.relist(p)
			}
		}
	}
	c.returned++
	c.wakeOne()
}

// filtered returns the queues of a topic that have a filter. For the committer.
func (d *draft) filtered(t *topic) []*queue {
	if list := t.queues.Load(); t.filteredOf != list || t.filteredAt != d.filters {
		t.filteredOf, t.filteredAt, t.filteredNow = list, d.filters, nil
		for _, q := range t.list() {
			if q.of.filter.Load() != nil {
				t.filteredNow = append(t.filteredNow, q)
			}
		}
	}
	return t.filteredNow
}

// sift makes queues done with a message that is appended where their filters do not let it through.
func (d *draft) sift(t *topic, r *store.Record) {
	for _, q := range d.filtered(t) {
		p := int(r.Priority)
		now := q.doneNow(p)
		if max(q.sifted[p].Load(), now.Lowest()) != r.Pos {
			continue // others before it come first
		}
		if !q.of.filter.Load().match(r) {
			if len(now.Spans) < d.b.opts.siftedAtOnce {
				d.skip(q, p, r.Pos)
			} else if !q.leave(p, r.Pos) {
				continue
			}
		}
		q.sifted[p].Store(r.Pos + 1)
	}
}

// skip makes a queue done with a message that its filter does not let through.
func (d *draft) skip(q *queue, p int, pos uint64) {
	w, l := d.progress(q, p), d.touchLane(q.topic, p)
	l.settled = true
	if _, removed := slices.BinarySearch(l.discarded, pos); !removed && !w.Has(pos) {
		w.finished++
	}
	w.Add(pos, pos)
}

// unsift forgets what a commit would have looked at in a lane, as it failed.
func (d *draft) unsift(r laneRef) {
	tail := r.lane().tail.Load()
	for _, q := range d.filtered(r.t) {
		q.sifted[r.p].Store(min(q.sifted[r.p].Load(), tail+1))
		q.leftOut[r.p].cut(tail+1, math.MaxUint64, nil)
	}
}

// leave leaves a message out that a filter does not let through. It is false where the queue leaves too many out.
func (q *queue) leave(p int, pos uint64) bool {
	o := q.leftOut[p]
	if o == nil {
		o = &leftOut{}
		q.leftOut[p] = o
	}
	if o.runs >= maxLeftOut {
		return false
	}
	o.add(store.Span{From: pos, To: pos})
	return true
}

// isDone tells whether a queue is done with a message or leaves it out, as the running commit will leave it. For the committer.
func (q *queue) isDone(p int, pos uint64) bool {
	return q.doneNow(p).Has(pos) || q.leftOut[p].has(pos)
}

// cover makes a queue done with a range, and with what it leaves out there and beside it. For the committer, which counts
// what is left out once the commit is done.
func (d *draft) cover(q *queue, p int, from, to uint64) {
	q.cover(p, d.progress(q, p), from, to, func(s store.Span) { d.cuts = append(d.cuts, leftOutCut{q: q, p: p, span: s}) })
}

func (q *queue) cover(p int, w *progress, from, to uint64, cut func(store.Span)) {
	o := q.leftOut[p]
	if o == nil || o.n == 0 {
		w.Add(from, to)
		return
	}
	for s, ok := o.at(from - 1); ok; s, ok = o.at(from - 1) {
		from = s.From
	}
	for s, ok := o.at(to + 1); ok; s, ok = o.at(to + 1) {
		to = s.To
	}
	w.finished += o.cut(from, to, cut)
	w.Add(from, to)
	for s, ok := o.at(w.Lowest()); ok; s, ok = o.at(w.Lowest()) { // else what is in no other queue would stay in the log
		w.finished += o.cut(s.From, s.To, cut)
		w.Add(s.From, s.To)
	}
}

// leftOutCut is what the running commit takes out of a queue's leftOut.
type leftOutCut struct {
	q    *queue
	p    int
	span store.Span
	all  *leftOut // all of it; else nil
}

// cutLeftOut takes positions out of what a queue leaves out, as they are removed, and returns how many of them were there.
func (d *draft) cutLeftOut(q *queue, p int, positions []uint64) (n int) {
	o := q.leftOut[p]
	if o == nil || o.n == 0 {
		return 0
	}
	for _, pos := range positions {
		n += int(o.cut(pos, pos, func(s store.Span) { d.cuts = append(d.cuts, leftOutCut{q: q, p: p, span: s}) })) // #nosec G115 -- 0 or 1
	}
	return n
}

// dropLeftOut lets a queue leave out nothing.
func (d *draft) dropLeftOut(q *queue, p int) {
	if o := q.leftOut[p]; o != nil {
		d.cuts = append(d.cuts, leftOutCut{q: q, p: p, all: o})
		q.leftOut[p] = nil
	}
}

// uncut puts back what the commit would have cut, as it failed.
func (d *draft) uncut() {
	for _, c := range slices.Backward(d.cuts) {
		if c.all != nil {
			c.q.leftOut[c.p] = c.all
		} else {
			c.q.leftOut[c.p].add(c.span)
		}
	}
}

// countOut tells others how many messages are left out. For the committer.
func (q *queue) countOut(p int) {
	var n uint64
	if o := q.leftOut[p]; o != nil {
		n = o.n
	}
	q.out[p].Store(n)
}

// sift looks at what waits and was not looked at, a step of each lane. It tells whether there is more.
func (s *sweeper) sift() (more bool, err error) {
	op := &siftOp{b: s.b}
	s.b.mu.RLock()
	for _, c := range s.b.consumers {
		op.addAll(c.list())
	}
	s.b.mu.RUnlock()
	return op.run()
}

// siftQueues looks at all that waits in queues and was not looked at, until ctx ends; the sweeper does the rest.
func siftQueues(ctx context.Context, b *Broker, queues []*queue) error {
	for more := true; more && ctx.Err() == nil; {
		op := &siftOp{b: b}
		op.addAll(queues)
		var err error
		if more, err = op.run(); err != nil {
			return err
		}
	}
	return nil
}

// run looks at what was taken in, and tells whether there is more.
func (o *siftOp) run() (more bool, err error) {
	for i := range o.list {
		if err := o.list[i].read(o.b.store); err != nil {
			return false, err
		}
	}
	if len(o.list) == 0 {
		return false, nil
	}
	err = o.b.commits.doAlone(o)
	return o.more, err
}

// addAll takes in what queues have to be looked at.
func (o *siftOp) addAll(queues []*queue) {
	for _, q := range queues {
		if f := q.of.filter.Load(); f != nil {
			for p := range q.sifted {
				o.add(q, p, f)
			}
		}
	}
}

// siftOp makes queues done with what their filters do not let through, or lets them leave it out. It is alone in its commit.
type siftOp struct {
	b    *Broker
	list []sifting
	more bool
}

// sifting is a step of one lane of a queue.
type sifting struct {
	q         *queue
	p         int
	filter    *filter
	sifted    uint64 // as it was
	tail      uint64
	edits     uint64   // of the lane, before it was read
	from      uint64   // where the step begins
	through   uint64   // what it has looked at
	positions []uint64 // of what does not match
	planned   bool
}

// add takes in a lane of a queue that has something to be looked at, or leaves out what its cursor has room for.
func (o *siftOp) add(q *queue, p int, f *filter) {
	l := &q.topic.lanes[p]
	x := sifting{q: q, p: p, filter: f, sifted: q.sifted[p].Load(), tail: l.tail.Load(), edits: l.edits.Load()}
	out := q.out[p].Load()
	if x.sifted > x.tail && out == 0 {
		return
	}
	q.of.mu.Lock()
	x.from = max(x.sifted, q.done[p].Lowest())
	room := len(q.done[p].Spans) < o.b.opts.maxSifted
	q.of.mu.Unlock()
	if x.through = x.tail; x.from <= x.tail || out > 0 && room {
		o.list = append(o.list, x)
	}
}

// read looks at messages.
func (x *sifting) read(s store.Store) error {
	n, start := 0, time.Now()
	return s.View(func(r store.Reader) error {
		return x.scan(r, func() bool {
			n++
			return n > siftRecords || n%64 == 0 && time.Since(start) > siftTime
		})
	})
}

// scan takes in what does not match, up to the tail, or before where stop says.
func (x *sifting) scan(r store.Reader, stop func() bool) error {
	x.through = x.tail
	if x.from > x.tail {
		return nil
	}
	return r.Scan(laneRef{x.q.topic, x.p}.key(), x.from, false, func(rec *store.Record) bool {
		if rec.Pos > x.tail || stop() {
			x.through = min(rec.Pos-1, x.tail)
			return false
		}
		if !x.filter.match(rec) {
			x.positions = append(x.positions, rec.Pos)
		}
		return true
	})
}

func (o *siftOp) plan(d *draft) error {
	o.more = false
	for i := range o.list {
		x := &o.list[i]
		x.planned = false
		l := &x.q.topic.lanes[x.p]
		switch {
		case x.q.of.deleted.Load() || x.q.topic.deleted.Load():
			continue
		case x.q.of.filter.Load() != x.filter || x.q.sifted[x.p].Load() != x.sifted || l.edits.Load() != x.edits:
			o.more = true // look again
			continue
		}
		if err := x.follow(o.b); err != nil {
			return err
		}
		x.planned = true
		x.plan(d)
		o.more = o.more || x.through < x.tail
	}
	return nil
}

// follow looks at what came since the step has read: else a publish, which goes on from there, would never do so where
// others come all the time.
func (x *sifting) follow(b *Broker) error {
	tail := x.q.topic.lanes[x.p].tail.Load()
	if x.through < x.tail || tail == x.tail || tail-x.tail > siftPlanned {
		return nil
	}
	x.from, x.tail = x.tail+1, tail
	return b.store.View(func(r store.Reader) error { return x.scan(r, func() bool { return false }) })
}

// plan deals with what does not match, and makes the queue done with what it leaves out where nothing else is to be looked at.
func (x *sifting) plan(d *draft) {
	for _, pos := range x.positions {
		if x.q.isDone(x.p, pos) {
			continue
		}
		if len(x.q.doneNow(x.p).Spans) < d.b.opts.siftedAtOnce {
			d.skip(x.q, x.p, pos)
		} else if !x.q.leave(x.p, pos) {
			x.through, x.tail = pos-1, pos-1 // until there is room
			return
		}
	}
	if x.through < x.tail {
		return
	}
	for s, ok := x.q.leftOut[x.p].first(); ok && len(x.q.doneNow(x.p).Spans) < d.b.opts.maxSifted; s, ok = x.q.leftOut[x.p].first() {
		d.touchLane(x.q.topic, x.p).settled = true
		d.cover(x.q, x.p, s.From, s.To)
	}
}

func (o *siftOp) applied(time.Time) {
	for i := range o.list {
		if x := &o.list[i]; x.planned {
			x.q.countOut(x.p)
			x.q.sifted[x.p].CompareAndSwap(x.sifted, max(x.sifted, x.through+1))
			x.q.dropSifted(x.p, x.positions)
		}
	}
}

// failed lets the backlog be without what is left out: that is not stored anyway.
func (o *siftOp) failed() {
	for i := range o.list {
		if x := &o.list[i]; x.planned {
			x.q.countOut(x.p)
		}
	}
}

// dropSifted forgets what came back of messages that the queue is done with by now, or leaves out. What is in flight ends with
// its lease. For the committer.
func (q *queue) dropSifted(p int, positions []uint64) {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	if len(q.leases)+len(q.attempts) == 0 {
		return
	}
	for _, pos := range positions {
		s := slot{uint8(p), pos} // #nosec G115 -- a priority is 1 to 9
		if !q.isDone(p, pos) {
			continue
		}
		if l := q.leases[s]; l != nil && (l.state == ready || l.state == deferred || l.state == blocked || l.state == failed) {
			q.of.unlist(l)
			q.of.drop(l)
		}
		if _, ok := q.attempts[s]; ok {
			delete(q.attempts, s)
			q.forgetAttempt(s)
		}
	}
}

func (o *siftOp) appends() bool { return false }
