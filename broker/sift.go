package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/store"
)

// A queue whose consumer has a Filter is done with what that does not let through as soon as it is there: the commit that appends a
// message makes the queues done with it whose filters do not match, so that it is in no backlog, is not read, and leaves the log with
// what others are done with. All that counts and stores what a consumer is done with needs to know of no filter.
//
//   - Below queue.sifted, every message that is there matches, or the queue is done with it.
//   - What is at sifted or behind it was not looked at yet: it was there before the filter, or the queue had many spans.
//     A receive leaves out what does not match; the sweeper makes the queue done with it, and counts it in no backlog from then on.
//   - A message that the queue is done with does not wait again where the filter is changed. What waits is looked at anew.
//
// Between messages that match and wait, those that do not are a span of the queue's cursor: a cursor grows with what waits, up to maxSifted.
// As all of it is stored each time, a publish does so up to siftedAtOnce, and the sweeper, for many messages in one commit, from there on.

// Bounds of filters.
const (
	siftedAtOnce = 1000   // spans of a cursor in a lane, of 2 bytes or more each; past it, what does not match is left to the sweeper
	maxSifted    = 10_000 // spans that the sweeper makes
	siftRecords  = 2000   // that one step reads of a lane
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
			if len(now.Spans) >= siftedAtOnce {
				continue
			}
			d.skip(q, p, r.Pos)
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
	for _, q := range d.filtered(r.t) {
		q.sifted[r.p].Store(min(q.sifted[r.p].Load(), r.lane().tail.Load()+1))
	}
}

// sift looks at what waits and was not looked at, a step of each lane. It tells whether there is more.
func (s *sweeper) sift() (more bool, err error) {
	op := &siftOp{}
	s.b.mu.RLock()
	for _, c := range s.b.consumers {
		op.addAll(c.list())
	}
	s.b.mu.RUnlock()
	return op.run(s.b)
}

// siftQueues looks at all that waits in queues and was not looked at, until ctx ends; the sweeper does the rest.
func siftQueues(ctx context.Context, b *Broker, queues []*queue) error {
	for more := true; more && ctx.Err() == nil; {
		op := &siftOp{}
		op.addAll(queues)
		var err error
		if more, err = op.run(b); err != nil {
			return err
		}
	}
	return nil
}

// run looks at what was taken in, and tells whether there is more.
func (o *siftOp) run(b *Broker) (more bool, err error) {
	for i := range o.list {
		if err := o.list[i].read(b.store); err != nil {
			return false, err
		}
	}
	if len(o.list) == 0 {
		return false, nil
	}
	err = b.commits.do(o, 0)
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

// siftOp makes queues done with what their filters do not let through.
type siftOp struct {
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

// add takes in a lane of a queue that has something to be looked at.
func (o *siftOp) add(q *queue, p int, f *filter) {
	l := &q.topic.lanes[p]
	x := sifting{q: q, p: p, filter: f, sifted: q.sifted[p].Load(), tail: l.tail.Load(), edits: l.edits.Load()}
	if x.sifted > x.tail {
		return
	}
	q.of.mu.Lock()
	x.from = max(x.sifted, q.done[p].Lowest())
	full := len(q.done[p].Spans) >= maxSifted
	q.of.mu.Unlock()
	if x.from <= x.tail && !full {
		o.list = append(o.list, x)
	}
}

// read looks at messages.
func (x *sifting) read(s store.Store) error {
	n := 0
	x.through = x.tail
	return s.View(func(r store.Reader) error {
		return r.Scan(laneRef{x.q.topic, x.p}.key(), x.from, false, func(rec *store.Record) bool {
			if n++; rec.Pos > x.tail || n > siftRecords {
				x.through = min(rec.Pos-1, x.tail)
				return false
			}
			if !x.filter.match(rec) {
				x.positions = append(x.positions, rec.Pos)
			}
			return true
		})
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
		x.planned = true
		for _, pos := range x.positions {
			if x.q.doneNow(x.p).Has(pos) {
				continue
			}
			if len(x.q.doneNow(x.p).Spans) >= maxSifted {
				x.through = pos - 1
				break
			}
			d.skip(x.q, x.p, pos)
		}
		o.more = o.more || x.through < x.tail && len(x.q.doneNow(x.p).Spans) < maxSifted
	}
	return nil
}

func (o *siftOp) applied(time.Time) {
	for i := range o.list {
		if x := &o.list[i]; x.planned {
			x.q.sifted[x.p].CompareAndSwap(x.sifted, x.through+1)
		}
	}
}

func (o *siftOp) failed()       {}
func (o *siftOp) appends() bool { return false }
