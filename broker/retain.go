package broker

import (
	"time"

	"pipit/broker/limit"
	"pipit/broker/store"
)

// A topic that retains keeps what all are done with, until it is older than Retention or the topic stores more than
// RetentionBytes. What is past that are positions of a lane before lane.keep, which the sweeper moves on, a bounded part of
// the lane at a time; what nobody needs before it is removed as in any other topic. Nothing of this is stored: after a
// start the sweeper finds it again.

// retains tells whether the topic keeps what all are done with.
func (t *Topic) retains() bool { return t.Retention > 0 || t.RetentionBytes > 0 }

// weighs tells whether it has to be known how many bytes the topic stores.
func (t *Topic) weighs() bool { return t.RetentionBytes > 0 || t.MaxBytes > 0 }

// mostKept returns past how many bytes what all are done with leaves, 0 where that is no question of bytes. What is retained is
// to keep no publisher out, where so many bytes wait for their delay.
func (t *Topic) mostKept(delayed int64) int64 {
	most := max(0, int64(t.RetentionBytes))
	if t.MaxBytes > 0 {
		if full := max(1, int64(t.MaxBytes)/10*9-delayed); most == 0 || full < most {
			most = full
		}
	}
	return most
}

func (t *topic) retains() bool {
	def := t.def.Load()
	return def != nil && def.retains() && !t.deleted.Load()
}

// expendable returns the last position of the lane that is not retained.
func (r laneRef) expendable() uint64 {
	if !r.t.retains() {
		return r.lane().next
	}
	return max(r.lane().keep, 1) - 1
}

// done returns what all consumers are past, as the running commit will leave it. It is nil where the topic has none, so
// that what it stores waits for the next one; while it has none, retention alone decides. For the committer.
func (r laneRef) done() *progress {
	q := r.t.least(r.p)
	switch {
	case q != nil:
		return q.doneNow(r.p)
	case r.t.retains():
		return &progress{Cursor: store.Cursor{Floor: r.lane().next + 1}}
	}
	return nil
}

// weight returns how many bytes the topic stores, as the running commit will leave it but for what that one removes. It is false
// while they are not known. For the committer.
func (t *topic) weight(p *putOffs) (n int64, known bool) {
	if !t.sized(p) {
		return 0, false
	}
	for p := range t.lanes {
		l := &t.lanes[p]
		if l.weight == nil || !l.weight.done() {
			return 0, false
		}
		n += l.weight.bytes + l.weight.coming
	}
	return n + t.nextDelayedBytes, true
}

// needed returns how many messages of the topic somebody still needs, as the running commit will leave it. Of a topic
// that retains it is the longest backlog of each priority: where two consumers are done with different messages out of
// order, it is less than both need together, by what they may have in flight at the most. For the committer.
func (t *topic) needed() int64 {
	if !t.retains() {
		n := t.stored()
		if t.leavesOut() {
			n = min(n, t.sum((*queue).backlog))
		}
		return n
	}
	var n int64
	for p := range t.lanes {
		var most int64
		for _, q := range t.list() {
			most = max(most, q.backlogIn(p))
		}
		n += most
	}
	return n
}

// held returns how many messages of the topic somebody still needs, how many are retained beyond that, and what all of
// them come to in bytes: -1 where it is not known. The caller holds Broker.mu.
func (t *topic) held() (needed, retained, bytes int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var stored int64
	known := true
	for p := range t.lanes {
		l := &t.lanes[p]
		stored += int64(l.tail.Load() - l.removed) // #nosec G115 -- a count of messages is far below 2^63
		bytes += l.size.Load()
		known = known && l.weighed.Load()
	}
	if !known {
		bytes = -1
	}
	if !t.retains() {
		if needed = stored; t.leavesOut() {
			needed = min(needed, t.sum((*queue).waitingLocked))
		}
		return needed, 0, bytes
	}
	for p := range t.lanes {
		var most int64
		for _, q := range t.list() {
			q.of.mu.Lock()
			most = max(most, q.waitingIn(p))
			q.of.mu.Unlock()
		}
		needed += most
	}
	return needed, stored - needed, bytes
}

// leavesOut tells whether a queue leaves messages out: what all leave out is stored, and nobody needs it.
func (t *topic) leavesOut() bool {
	for _, q := range t.list() {
		if q.of.filter.Load() == nil {
			continue
		}
		for p := range q.out {
			if q.out[p].Load() > 0 {
				return true
			}
		}
	}
	return false
}

// sum returns how many messages the queues have together, which somebody needs at the most.
func (t *topic) sum(backlog func(*queue) int64) (n int64) {
	for _, q := range t.list() {
		n += backlog(q)
	}
	return n
}

// retainAnew lets the sweeper find out what is past the retention, which has changed. The caller is the committer, or
// nobody else has the broker yet.
func (t *topic) retainAnew(b *Broker) {
	t.mu.Lock()
	for p := range t.lanes {
		l := &t.lanes[p]
		l.keep, l.spent = 0, 0
		if w := l.weight; w != nil && !t.def.Load().weighs() {
			(&countOp{end: []*counting{w}}).applied(time.Time{})
		}
	}
	t.mu.Unlock()
	for p := range t.lanes {
		if t.lanes[p].stored() > 0 {
			b.commits.draft.markRagged(laneRef{t, p})
		}
	}
}

// lull is what the sweeper knows of a lane, so that it need not look at it again.
type lull struct {
	keep   uint64    // with this lane.keep
	due    time.Time // the first message behind that could be delivered then
	weight *counting // that it has begun
}

// Bounds of one pass over topics that retain.
const (
	retireLane = 500  // messages of one lane
	retireAll  = 5000 // messages in all
)

// retire moves on what is not retained any more: what could be delivered before over less the retention, and what is
// too much. It tells whether there is more.
func (s *sweeper) retire(over time.Time) (more bool, err error) {
	op := &retireOp{b: s.b}
	for _, t := range s.retaining() {
		if op.looked >= retireAll {
			more = true // the order of the topics is another one each time
			break
		}
		delayed, err := s.weighPutOff(t) // before the rest, so that nobody is told a part
		if err != nil {
			return false, err
		}
		weighing := delayed
		if !delayed {
			if weighing, err = s.weigh(t); err != nil {
				return false, err
			}
		}
		more = more || weighing
		if !t.retains() {
			continue
		}
		x := retiring{t: t, def: t.def.Load(), over: over}
		if err := x.find(s.b, op); err != nil {
			return false, err
		}
		more = more || x.more
	}
	if len(op.list) == 0 {
		return more, nil
	}
	err = s.b.commits.do(op, 0)
	return more, err
}

// retaining returns the topics that retain, and those whose bytes are to be known.
func (s *sweeper) retaining() (list []*topic) {
	s.b.mu.RLock()
	defer s.b.mu.RUnlock()
	for _, t := range s.b.topics {
		if t.retains() || t.def.Load().weighs() {
			list = append(list, t)
		}
	}
	return list
}

// retiring looks for what is past the retention of a topic.
type retiring struct {
	t      *topic
	def    *Topic
	over   time.Time
	excess int64 // bytes
	lanes  [limit.MaxPriority + 1]retiringLane
	more   bool
}

type retiringLane struct {
	keep, from, tail, edits uint64
	heads                   []head
	cut                     bool // there is more behind heads
}

// head is a message that may be past the retention.
type head struct {
	pos  uint64
	due  time.Time
	size int64
}

// find gathers for op what is past the retention.
func (x *retiring) find(b *Broker, op *retireOp) error {
	if !x.begin() {
		return nil
	}
	err := b.store.View(func(r store.Reader) error {
		start := time.Now()
		for p := range x.lanes {
			l := &x.lanes[p]
			if l.from > l.tail {
				continue
			}
			err := r.Scan(laneRef{x.t, p}.key(), l.from, false, func(rec *store.Record) bool {
				if rec.Pos > l.tail {
					return false
				}
				l.heads = append(l.heads, head{rec.Pos, rec.Due(), rec.Size()})
				op.looked++
				l.cut = len(l.heads) == retireLane || len(l.heads)%16 == 0 && time.Since(start) > sweepTime
				return !l.cut && !x.stays(rec.Due(), 0) // those that stay need no look, but for the first
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if b.health.note(byReading, err); err == nil {
		x.merge(op)
	}
	return err
}

// begin finds out where to look, and tells whether it is worth it.
func (x *retiring) begin() (some bool) {
	t := x.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if most := x.def.mostKept(t.delayedBytes.Load()); most > 0 {
		x.excess = -most
		for p := range t.lanes {
			l := &t.lanes[p]
			if !l.weighed.Load() {
				x.excess = 0
				break
			}
			x.excess += l.size.Load() - l.spent
		}
	}
	for p := range t.lanes {
		l := &t.lanes[p]
		k := retiringLane{keep: l.keep, from: max(l.keep, l.head, 1), tail: l.tail.Load(), edits: l.edits.Load()}
		if c := &l.calm; c.keep == k.keep && !c.due.IsZero() && x.stays(c.due, 0) {
			k.from = k.tail + 1
		}
		x.lanes[p] = k
		some = some || k.from <= k.tail
	}
	return some
}

// stays tells whether a message is retained that could be delivered at due, where taken bytes go before it.
func (x *retiring) stays(due time.Time, taken int64) bool {
	return x.excess <= taken && (x.def.Retention <= 0 || due.Add(x.def.Retention).After(x.over))
}

// earliest returns the priority whose next message could be delivered before those of the others. It is false where there is none.
func (x *retiring) earliest(next *[limit.MaxPriority + 1]int) (first int, ok bool) {
	var due time.Time
	for p := range x.lanes {
		if l := &x.lanes[p]; next[p] < len(l.heads) {
			if at := l.heads[next[p]].due; !ok || at.Before(due) {
				first, due, ok = p, at, true
			}
		}
	}
	return first, ok
}

// merge gathers what is past the retention, the oldest of all priorities first.
func (x *retiring) merge(op *retireOp) {
	var taken int64
	var next [limit.MaxPriority + 1]int
	var list [limit.MaxPriority + 1]retirement
	for {
		first, ok := x.earliest(&next)
		if !ok {
			break
		}
		l := &x.lanes[first]
		h := l.heads[next[first]]
		if x.stays(h.due, taken) {
			break
		}
		taken += h.size
		next[first]++
		r := &list[first]
		r.keep, r.bytes = h.pos+1, r.bytes+h.size
		if x.more = next[first] == len(l.heads) && l.cut; x.more {
			break
		}
	}
	for p := range x.lanes {
		l := &x.lanes[p]
		switch {
		case l.from > l.tail:
		case next[p] < len(l.heads): // the message stays, or others are to be looked at first
			x.t.lanes[p].calm.keep, x.t.lanes[p].calm.due = max(list[p].keep, l.keep), l.heads[next[p]].due
		case !l.cut: // nothing is left
			list[p].keep = l.tail + 1
		}
		if r := list[p]; r.keep > 0 {
			r.laneRef, r.def, r.was, r.edits = laneRef{x.t, p}, x.def, l.keep, l.edits
			op.list = append(op.list, r)
		}
	}
}

// retirement is how far a lane is past the retention.
type retirement struct {
	laneRef
	def   *Topic
	was   uint64 // lane.keep
	keep  uint64
	bytes int64 // between them
	edits uint64
}

// retireOp moves on what is not retained. It stores nothing.
type retireOp struct {
	b      *Broker
	list   []retirement
	looked int // messages
}

func (o *retireOp) plan(*draft) error { return nil }

func (o *retireOp) applied(time.Time) {
	for _, r := range o.list {
		l := r.lane()
		if r.t.deleted.Load() || r.t.def.Load() != r.def || l.keep != r.was || l.edits.Load() != r.edits {
			continue // the next pass looks again
		}
		r.t.mu.Lock()
		l.keep, l.spent = r.keep, l.spent+r.bytes
		r.t.mu.Unlock()
		o.b.commits.draft.markRagged(r.laneRef)
	}
}

func (o *retireOp) failed()       {}
func (o *retireOp) appends() bool { return false }

// weigh goes on finding out how many bytes a topic stores whose bytes are bounded, and tells whether there is more to do.
func (s *sweeper) weigh(t *topic) (more bool, err error) {
	if !t.def.Load().weighs() {
		return false, nil
	}
	for p := range t.lanes {
		l := &t.lanes[p]
		if l.weighed.Load() {
			continue
		}
		op := &countOp{step: l.calm.weight}
		if w := l.calm.weight; w == nil || w.done() {
			l.calm.weight = &counting{laneRef: laneRef{t, p}, sized: true, from: 1}
			op = &countOp{begin: []*counting{l.calm.weight}}
		} else {
			err := s.b.store.View(op.look)
			if s.b.health.note(byReading, err); err != nil {
				return false, err
			}
		}
		if err := s.b.commits.do(op, 0); err != nil {
			return false, err
		}
		if op.torn {
			again := []*counting{op.step}
			if err := s.b.commits.do(&countOp{end: again, begin: again}, 0); err != nil {
				return false, err
			}
		}
		if !l.weighed.Load() {
			return true, nil
		}
	}
	return false, nil
}
