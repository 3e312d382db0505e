package broker

import (
	"slices"

	"pipit/broker/store"
)

// remove takes messages of a range out of a lane, as many as the commit may remove.
func (d *draft) remove(r laneRef, s store.Span, limit int, kind removalKind) {
	d.touchLane(r.t, r.p).stale = true
	d.batch.Remove = append(d.batch.Remove, store.Removal{Lane: r.key(), Range: s, Limit: limit})
	d.removals = append(d.removals, removal{r, kind})
}

// budget returns how many more messages the commit may remove that nobody needs.
func (d *draft) budget() int { return max(maxRemoval-d.removing, 0) }

// trim removes what every consumer of the topic is past. It tells whether there may be more: one commit
// removes only so much.
func (d *draft) trim(r laneRef) (more bool) {
	l := r.lane()
	done := r.done()
	if done == nil {
		return false
	}
	if from, to := l.first(), min(done.Lowest()-1, r.expendable()); to >= from {
		if n := min(d.budget(), int(min(to-from+1, maxRemoval))); n > 0 {
			d.remove(r, store.Span{From: from, To: to}, n, atHead)
			d.removing += n
			more = uint64(n) <= to-from
		} else {
			d.markRagged(r)
			more = true
		}
	}
	if len(done.Spans) > 0 {
		d.markRagged(r)
	}
	return more
}

// markRagged lets the sweeper look for what can be removed from a lane.
func (d *draft) markRagged(r laneRef) {
	if l := r.lane(); !l.ragged && (len(r.t.list()) > 0 || r.t.retains()) {
		l.ragged = true
		d.ragged = append(d.ragged, r)
	}
}

// resume lists the lanes in which the last run may have left what nobody needs.
func (d *draft) resume() {
	d.b.mu.RLock()
	defer d.b.mu.RUnlock()
	for _, t := range d.b.topics {
		for prio := range t.lanes {
			if t.lanes[prio].stored() > 0 {
				d.markRagged(laneRef{t, prio})
			}
		}
	}
}

// maxRagged bounds the lanes that a pass of the sweeper looks at.
const maxRagged = 1000

// sweep removes, from the lanes that were listed, what all consumers are done with. It tells whether
// there may be more to remove.
func (d *draft) sweep() (more bool) {
	refs := d.ragged
	n := min(len(refs), maxRagged)
	d.ragged = slices.Clone(refs[n:])
	d.refloor()
	for i, r := range refs[:n] {
		if d.budget() == 0 {
			d.ragged = append(d.ragged, refs[i:n]...)
			return true
		}
		r.lane().ragged = false
		done := r.done()
		if done == nil {
			continue // its consumers were deleted meanwhile: what it has waits for the next one
		}
		if done.Lowest() > r.lane().first() {
			more = d.trim(r) || more
		}
		if d.removeDone(r) {
			d.markRagged(r)
			more = true
		}
	}
	return more || len(d.ragged) > 0 && n == maxRagged
}

// maxCompared bounds how many spans are looked for in how many queues at once.
const maxCompared = 100_000

// removeDone removes from a lane what all consumers of the topic are done with out of order. It tells
// whether there is more: one commit removes only so much.
func (d *draft) removeDone(r laneRef) (more bool) {
	l, c := r.lane(), r.t.least(r.p)
	if c == nil {
		return false
	}
	most := max(maxCompared/len(r.t.list()), 1)
	var spans []store.Span
	for _, s := range c.doneNow(r.p).Spans {
		l.cleared.Missing(s.From, min(s.To, l.next, r.expendable()), func(m store.Span) {
			if len(spans) < most {
				spans = append(spans, m)
			} else {
				more = true
			}
		})
		if more {
			break
		}
	}
	for _, other := range r.t.list() {
		if len(spans) == 0 {
			return false
		}
		if other != c {
			spans = intersect(spans, &other.doneNow(r.p).Cursor)
		}
	}
	for _, s := range spans {
		n := d.budget()
		if n == 0 {
			return true
		}
		n = min(n, int(min(s.To-s.From+1, maxRemoval)))
		d.remove(r, s, n, done)
		d.removing += n
	}
	return more
}

// intersect returns the parts of the spans that are in the set too.
func intersect(spans []store.Span, c *store.Cursor) []store.Span {
	var out []store.Span
	for _, s := range spans {
		from := s.From
		c.Missing(s.From, s.To, func(m store.Span) {
			if m.From > from {
				out = append(out, store.Span{From: from, To: m.From - 1})
			}
			from = m.To + 1
		})
		if from <= s.To {
			out = append(out, store.Span{From: from, To: s.To})
		}
	}
	return out
}

// discard removes messages of a lane that not all consumers are done with: they have expired, or an
// administrator deletes them. Positions are ascending, and each has a message. It returns for how many
// messages of each queue that was, in the order of the topic's list.
func (d *draft) discard(t *topic, prio int, positions []uint64) []int {
	l := d.touchLane(t, prio)
	t.recount()
	l.stale, l.settled = true, true // what all are done with behind them may be at the head now
	var spans []store.Span
	for _, pos := range positions {
		spans = addSpan(spans, store.Span{From: pos, To: pos})
	}
	for _, s := range spans {
		if s.From < l.keep && l.keep <= s.To { // see applyRemoval
			d.remove(laneRef{t, prio}, store.Span{From: s.From, To: l.keep - 1}, 0, discarded)
			s.From = l.keep
		}
		d.remove(laneRef{t, prio}, s, 0, discarded)
	}
	if l.discarded = append(l.discarded, positions...); !slices.IsSorted(l.discarded) {
		slices.Sort(l.discarded)
	}
	n := len(positions)
	list := t.list()
	missed := make([]int, len(list))
	all, none := 0, 0
	for i, q := range list {
		missed[i] = n - q.doneNow(prio).CountOf(positions)
		switch missed[i] {
		case n:
			all++
		case 0:
			none++
		}
	}
	base := 0
	if all > none {
		base = n // see CursorState.Finished
		l.nextSkipped += uint64(n)
	}
	for i, q := range list {
		if missed[i] != base {
			w := d.progress(q, prio)
			w.finished = uint64(int64(w.finished) + int64(missed[i]-base)) // #nosec G115 -- a count of messages is far below 2^63
		}
		missed[i] -= d.cutLeftOut(q, prio, positions)
	}
	return missed
}

// forget makes the queues of a topic forget messages that were discarded, positions of a lane. Whoever
// has one in flight can still settle it.
func (t *topic) forget(prio int, positions []uint64) {
	for _, q := range t.list() {
		if q.done[prio].Lowest() > positions[len(positions)-1] {
			continue
		}
		q.of.mu.Lock()
		if q.next[prio] > positions[0] || len(q.leases) > 0 || len(q.attempts) > 0 {
			q.discarded(prio, positions)
			q.countOut(prio)
			q.fray(prio)
			t.refloor(q, prio)
		}
		q.of.mu.Unlock()
	}
}

// discarded forgets messages, and makes the consumer done with the places of those that it has passed.
// The caller holds mu.
func (q *queue) discarded(prio int, positions []uint64) {
	done := &q.done[prio]
	for _, pos := range positions {
		s := slot{uint8(prio), pos} // #nosec G115 -- a priority is 1 to 9
		l := q.leases[s]
		switch {
		case l != nil:
			l.removed = true
			span := l.extent()
			q.cover(prio, done, span.From, span.To, nil)
			switch l.state {
			case ready, deferred, blocked, failed:
				q.of.unlist(l)
				q.of.drop(l)
			case settling: // it came behind the commit that moved the message
				l.elsewhere = q.of.def.Load().OnExpiry == ExpiryDeadLetter
			}
		case pos < q.next[prio]:
			q.cover(prio, done, pos, pos, nil)
		}
		if _, ok := q.attempts[s]; ok {
			delete(q.attempts, s)
			q.forgetAttempt(s)
		}
	}
}
