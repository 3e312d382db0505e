package broker

import (
	"slices"

	"pipit/broker/store"
)

// lifo gathers from one priority, the newest first.
func (t *taker) lifo(p int) error {
	c := t.s.c
	c.mu.Lock()
	limited := int(c.held.Load()) >= t.most
	c.mu.Unlock()
	if limited {
		return t.newestBack(p)
	}
	for d := (down{t.q, t.tails[p], t.tails[p], never}); d.pos > 0 && !t.full() && !t.limited; {
		if err := t.downward(p, &d); err != nil {
			return err
		}
	}
	if t.limited {
		return t.newestBack(p) // it is within the limit already
	}
	return nil
}

// downward goes on reading one priority of a queue, the newest first.
func (t *taker) downward(p int, d *down) error {
	low, pos, upper := t.pickDown(p, d.pos, d.upper)
	if d.pos, d.upper = pos, upper; pos == 0 || low > pos {
		return nil // low is above pos where it was leased all along
	}
	end, err := t.read(p, store.Span{From: low, To: pos}, true)
	if err != nil {
		return err
	}
	c := t.s.c
	c.mu.Lock()
	t.tick()
	for i := range t.looked {
		k := &t.looked[i]
		if t.offer(k, store.Span{From: k.pos, To: max(upper, k.pos)}); t.stop || t.limited {
			break
		}
		if upper = k.pos - 1; i == len(t.looked)-1 && end < low {
			if l := t.q.leases[k.slot]; l != nil && l.state != settling {
				l.From = min(l.From, low) // it is the oldest of the span
			}
		}
	}
	c.mu.Unlock()
	if d.pos, d.upper = end, upper; t.ahead != 0 {
		d.at = t.ahead
	}
	return t.confirm(p)
}

// pickDown returns the span to read below pos, and as upper what the newest message in it can have
// without a message above it. It leaves off what is leased at its upper end. pos is 0 at the end; low
// is above pos where there is more to skip.
func (t *taker) pickDown(p int, pos, upper uint64) (low, top, up uint64) {
	q := t.q
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	t.edits = q.topic.lanes[p].edits.Load()
	for n := 0; ; n++ {
		if next := q.done[p].Prev(pos); next != pos {
			pos, upper = next, next
		}
		if pos == 0 {
			return 0, 0, 0
		}
		l := q.leases[slot{uint8(p), pos}] // #nosec G115 -- a priority is 1 to 9
		if l == nil || l.state == ready {
			return q.done[p].GapStart(pos), pos, upper
		}
		if n == takeRecords {
			return pos + 1, pos, upper
		}
		pos--
		upper = pos
	}
}

// newestBack leases what came back of a priority, the newest first.
func (t *taker) newestBack(p int) error {
	c := t.s.c
	c.mu.Lock()
	list := slices.Clone(t.q.ready[p])
	c.mu.Unlock()
	slices.SortFunc(list, func(a, b *lease) int { return b.slot.compare(a.slot) })
	for part := range slices.Chunk(list, settleChunk) {
		if t.full() {
			break
		}
		if err := t.backOf(p, part); err != nil {
			return err
		}
	}
	t.stillLimited()
	return nil
}

// backOf leases those of a priority that are still ready, until there is no more room. What has expired takes none: others
// of the list get it.
func (t *taker) backOf(p int, list []*lease) error {
	for !t.full() {
		back := t.fetchReady(p, list)
		if len(back) == 0 {
			return nil
		}
		if err := t.again(p, back); err != nil {
			return err
		}
	}
	return nil
}

// fetchReady fetches those of a priority that are still ready, as many as there is room for.
func (t *taker) fetchReady(p int, list []*lease) (back []*lease) {
	c := t.s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	t.edits = t.q.topic.lanes[p].edits.Load()
	for _, l := range list {
		if t.q.leases[l.slot] == l && l.state == ready && len(back) < t.o.Max-t.n {
			back = append(back, c.fetch(l))
		}
	}
	return back
}

// stillLimited finds out whether max_in_flight holds anything back, after all that came back was looked at.
// What expired or was deleted in flight is held, and waits no more.
func (t *taker) stillLimited() {
	c := t.s.c
	unread := int64(0)
	for _, q := range c.list() {
		q.topic.mu.Lock()
		c.mu.Lock()
		unread += q.waiting()
		for _, l := range q.leases {
			if !l.over() {
				unread--
			}
		}
		c.mu.Unlock()
		q.topic.mu.Unlock()
	}
	t.limited = unread > 0
}
