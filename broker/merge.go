package broker

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// A consumer of a pattern receives from several topics as if they were one: by priority and, within it, in the order of
// publishing. Of each priority it knows which of its queues have something, in a heap by the time of what comes
// next: a publish puts its topic's queues there, so that a receive looks at no empty one. It reads a run of one
// topic, up to the time of what comes next in another.
//
// A time may be too early: what it was of may be gone, and after a start none is known. Then the run is empty, and the
// time right from then on.

// never is later than all times.
const never = math.MaxInt64

// merge is what a consumer of a pattern has beside one of a topic. The consumer's mu guards it.
type merge struct {
	byTopic map[uint32]*queue
	heads   [limit.MaxPriority + 1]heads
}

// merged is what one of several queues has beside a single one. The consumer's mu guards it.
type merged struct {
	index [limit.MaxPriority + 1]int32 // in merge.heads, plus one; 0: it is not there
	next  [limit.MaxPriority + 1]int64 // no message from queue.next on is due earlier, in unix microseconds
}

// front is a queue that has, or may have, something to be delivered of a priority.
type front struct {
	q  *queue
	at int64 // unix microseconds: what comes next is not due earlier
}

// heads is a heap by time.
type heads struct {
	list []front
	prio int
}

func (h *heads) Len() int           { return len(h.list) }
func (h *heads) Less(i, j int) bool { return h.list[i].at < h.list[j].at }
func (h *heads) Swap(i, j int) {
	h.list[i], h.list[j] = h.list[j], h.list[i]
	h.list[i].q.merged.index[h.prio], h.list[j].q.merged.index[h.prio] = int32(i+1), int32(j+1) // #nosec G115 -- queues, in memory
}
func (h *heads) Push(x any) {
	d := x.(front)
	h.list = append(h.list, d)
	d.q.merged.index[h.prio] = int32(len(h.list)) // #nosec G115 -- queues, in memory
}
func (h *heads) Pop() any {
	n := len(h.list) - 1
	d := h.list[n]
	d.q.merged.index[h.prio] = 0
	h.list[n] = front{}
	h.list = h.list[:n]
	return d
}

func newMerge() *merge {
	m := &merge{byTopic: map[uint32]*queue{}}
	for p := range m.heads {
		m.heads[p].prio = p
	}
	return m
}

// remove takes a queue out of the heap of a priority.
func (m *merge) remove(q *queue, p int) {
	if i := q.merged.index[p]; i > 0 {
		heap.Remove(&m.heads[p], int(i-1))
	}
}

// set puts a queue where its time says.
func (m *merge) set(q *queue, p int, at int64) {
	h := &m.heads[p]
	i := int(q.merged.index[p]) - 1
	switch {
	case i < 0:
		heap.Push(h, front{q, at})
	case h.list[i].at != at:
		h.list[i].at = at
		heap.Fix(h, i)
	}
}

// relist puts a queue where it belongs after it was read, or something came back. It is for queues of a merge alone. The
// caller holds mu.
func (q *queue) relist(p int) {
	m := q.of.merge
	if q.gone.Load() || q.topic.def.Load().Inactive {
		m.remove(q, p)
		return
	}
	ready := q.ready[p]
	switch {
	case len(ready) > 0 && ready[0].pos < q.unreadFrom(p):
		m.set(q, p, ready[0].at)
	case len(ready) > 0 || q.next[p] <= q.topic.lanes[p].tail.Load():
		m.set(q, p, q.merged.next[p])
	default:
		m.remove(q, p)
	}
}

// arrived tells a consumer of a pattern that messages were stored, the first of which is due at a time. The caller holds mu.
func (q *queue) arrived(p int, at int64) {
	if q.merged.index[p] == 0 && !q.topic.def.Load().Inactive { // all before was read
		q.merged.next[p] = at
	}
	q.relist(p)
	q.of.returned++
}

// arrived tells the consumers of patterns that messages of a topic were stored.
func (t *topic) arrived(p int, at int64) {
	for _, q := range t.ofPatterns() {
		q.of.mu.Lock()
		q.arrived(p, at)
		q.of.mu.Unlock()
	}
}

// relist puts the queues of the consumers of patterns where they belong, after the topic was activated or the opposite.
func (t *topic) relist() {
	for _, q := range t.ofPatterns() {
		q.of.mu.Lock()
		for p := range q.merged.index {
			q.relist(p)
		}
		q.of.mu.Unlock()
	}
}

// recount lets it be counted anew how many messages the consumers of patterns take. For the committer.
func (t *topic) recount() {
	for _, q := range t.ofPatterns() {
		q.of.room, q.of.freed = 0, true
	}
}

// due returns the time of a record for merging.
func due(r *store.Record) int64 { return r.Due().UnixMicro() }

// mergeFIFO gathers from one priority of all topics, the oldest first.
func (t *taker) mergeFIFO(p int) error {
	for !t.full() {
		if t.limited {
			return t.mergeBack(p, false)
		}
		if !t.pickQueue(p) {
			return nil
		}
		back, span := t.pick(p)
		var err error
		switch {
		case len(back) > 0:
			err = t.again(p, back)
		case span.From > 0:
			err = t.unread(p, span)
		}
		t.settleQueue(p)
		if err != nil {
			return err
		}
	}
	return nil
}

// pickQueue takes the queue whose turn it is, up to when it is another's. It tells whether there is one.
func (t *taker) pickQueue(p int) bool {
	c := t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	h := &c.merge.heads[p]
	if len(h.list) == 0 {
		return false
	}
	t.q, t.limit = h.list[0].q, never
	for _, i := range []int{1, 2} { // the next one is below the first
		if i < len(h.list) {
			t.limit = min(t.limit, h.list[i].at)
		}
	}
	t.limit = max(t.limit, h.list[0].at)
	t.tails[p] = t.q.topic.lanes[p].tail.Load()
	return true
}

// settleQueue puts the queue that was read where it belongs now.
func (t *taker) settleQueue(p int) {
	t.s.c.mu.Lock()
	t.q.relist(p)
	t.s.c.mu.Unlock()
}

// mergeBack leases what came back of a priority of all topics, the oldest or the newest first.
func (t *taker) mergeBack(p int, newest bool) error {
	c := t.s.c
	var list []*lease
	c.mu.Lock()
	for _, h := range c.merge.heads[p].list {
		list = append(list, h.q.ready[p]...)
	}
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b *lease) int {
		if newest {
			a, b = b, a
		}
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.pos, b.pos))
	})
	for len(list) > 0 && !t.full() {
		n := 1
		for n < len(list) && n < settleChunk && list[n].q == list[0].q {
			n++
		}
		t.q = list[0].q
		if err := t.backOf(p, list[:n]); err != nil {
			return err
		}
		t.settleQueue(p)
		list = list[n:]
	}
	if newest {
		t.stillLimited()
	}
	return nil
}

// mergeLIFO gathers from one priority of all topics, the newest first. It knows of each topic when the last
// message came, and looks at those alone that may have the newest.
func (t *taker) mergeLIFO(p int) error {
	c := t.s.c
	var downs downs
	c.mu.Lock()
	limited := int(c.held.Load()) >= t.most
	for _, h := range c.merge.heads[p].list {
		l := &h.q.topic.lanes[p]
		tail := l.tail.Load()
		at := l.lastDue.Load()
		if at == 0 {
			at = never
		}
		downs = append(downs, down{h.q, tail, tail, at})
	}
	c.mu.Unlock()
	if limited {
		return t.mergeBack(p, true)
	}
	heap.Init(&downs)
	for len(downs) > 0 && !t.full() && !t.limited {
		d := &downs[0]
		t.q, t.limit = d.q, 0
		for _, i := range []int{1, 2} {
			if i < len(downs) {
				t.limit = max(t.limit, downs[i].at)
			}
		}
		t.limit = min(t.limit, d.at)
		if err := t.downward(p, d); err != nil {
			return err
		}
		if d.pos == 0 {
			heap.Pop(&downs)
		} else {
			heap.Fix(&downs, 0)
		}
	}
	if t.limited {
		return t.mergeBack(p, true) // it is within the limit already
	}
	return nil
}

// down is how far a queue has been read from its newest message downwards.
type down struct {
	q          *queue
	pos, upper uint64 // see taker.pickDown; pos is 0 at the end
	at         int64  // the next message is not due later
}

// downs is a heap by time, the newest first.
type downs []down

func (h downs) Len() int           { return len(h) }
func (h downs) Less(i, j int) bool { return h[i].at > h[j].at }
func (h downs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *downs) Push(any)          { panic("downs are made as a whole") }
func (h *downs) Pop() any {
	n := len(*h) - 1
	d := (*h)[n]
	*h = (*h)[:n]
	return d
}
