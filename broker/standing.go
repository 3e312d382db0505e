package broker

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"pipit/broker/browse"
	"pipit/broker/store"
)

// stand sets the states of what was found.
func (x *browsing) stand() {
	now := x.b.since(x.now)
	if x.q == nil {
		list := make([]*found, len(x.found))
		for i := range x.found {
			list[i] = &x.found[i]
		}
		x.topic.stand(list, now)
		return
	}
	x.q.of.mu.Lock()
	defer x.q.of.mu.Unlock()
	for i := range x.found {
		f := &x.found[i]
		f.State, f.Deliveries, _ = x.q.stand(f, now)
	}
}

// stand sets the states of messages with the topic as a whole.
func (t *topic) stand(list []*found, now time.Duration) {
	queues := t.list()
	for _, f := range list {
		f.State = browse.Done
		if len(queues) == 0 {
			f.State = browse.Waiting
		}
	}
	for _, q := range queues {
		q.of.mu.Lock()
		for _, f := range list {
			if f.State == browse.InFlight {
				continue
			}
			switch s, _, _ := q.stand(f, now); {
			case s == browse.InFlight, s == browse.Deferred, s == browse.Waiting && f.State == browse.Done:
				f.State = s
			}
		}
		q.of.mu.Unlock()
	}
}

// stand is where of a message that was found: one that the consumer's filter does not let through is done, also where the
// cursor does not have it, see sift.go. The caller holds mu.
func (q *queue) stand(f *found, now time.Duration) (state browse.State, deliveries int, until time.Duration) {
	state, deliveries, until = q.where(f.slot, now)
	if filter := q.of.filter.Load(); state == browse.Waiting && filter != nil && !filter.match(&store.Record{Extra: f.Extra}) {
		return browse.Done, 0, 0
	}
	return state, deliveries, until
}

// where returns where a message stands with the consumer, how often it was delivered and,
// in flight or deferred, until when. The caller holds mu.
func (q *queue) where(s slot, now time.Duration) (state browse.State, deliveries int, until time.Duration) {
	if q.done[s.priority].Has(s.pos) {
		return browse.Done, 0, 0
	}
	l := q.leases[s]
	if l == nil {
		return browse.Waiting, int(q.attempts[s]), 0
	}
	switch {
	case l.state == settling, l.state == leased && l.until > now:
		return browse.InFlight, int(l.count), l.until
	case l.state == deferred && l.until > now:
		return browse.Deferred, int(l.count), l.until
	}
	return browse.Waiting, int(l.count), 0
}

// listHeld lists what is held in the state that is asked for, from where the page begins, in the order of the page, so many
// at a time.
func (x *browsing) listHeld() {
	queues := x.topic.list()
	if x.q != nil {
		queues = []*queue{x.q}
	}
	x.slots, x.cut = x.slots[:0], false
	for _, q := range queues {
		n := 0
		q.of.mu.Lock()
		if q == x.q {
			x.next = q.next
		}
		for s := range q.leases {
			if n++; n%4096 == 0 { // others may have the lock now, and change the map
				q.of.mu.Unlock()
				q.of.mu.Lock()
			}
			if state, _, _ := q.where(s, x.b.since(x.now)); state != x.o.State || x.compare(s, x.from.slot()) < 0 {
				continue
			}
			if x.slots = append(x.slots, s); len(x.slots) >= 4*maxHeldListed {
				x.order()
			}
		}
		q.of.mu.Unlock()
	}
	x.order()
}

// order sorts the slots and keeps the first ones.
func (x *browsing) order() {
	slices.SortFunc(x.slots, x.compare)
	x.slots = slices.Compact(x.slots)
	if len(x.slots) > maxHeldListed {
		x.slots, x.cut = x.slots[:maxHeldListed], true
	}
}

// compare orders slots as the page has them.
func (x *browsing) compare(s, t slot) int {
	if s.priority == t.priority && x.o.Newest && t.pos != 0 { // 0: all of the priority
		return cmp.Compare(t.pos, s.pos)
	}
	return s.compare(t)
}

// listed narrows what is left of a lane to that of which all is listed that is held, where it is listed in parts.
func (x *browsing) listed(p int, low, high uint64) (uint64, uint64) {
	if !x.cut {
		return low, high
	}
	begin := slot{uint8(p), x.begin(store.Span{From: low, To: high})} // #nosec G115 -- a priority is 1 to 9
	if x.compare(x.slots[len(x.slots)-1], begin) < 0 {
		x.from.priority, x.from.pos = begin.priority, begin.pos
		if x.listHeld(); !x.cut {
			return low, high
		}
	}
	last := x.slots[len(x.slots)-1]
	switch {
	case last.priority != begin.priority:
	case x.o.Newest:
		low = max(low, last.pos)
	default:
		high = min(high, last.pos)
	}
	return low, high
}

// held returns the next ranges of what listHeld has listed between two positions, at most so many, in the order of the page.
func (x *browsing) held(p int, low, high uint64, most int) (list []store.Span) {
	begin := slot{uint8(p), x.begin(store.Span{From: low, To: high})} // #nosec G115 -- a priority is 1 to 9
	i := sort.Search(len(x.slots), func(i int) bool { return x.compare(x.slots[i], begin) >= 0 })
	for ; i < len(x.slots) && len(list) < most; i++ {
		s := x.slots[i]
		if int(s.priority) != p || s.pos < low || s.pos > high {
			break
		}
		list = addSpan(list, store.Span{From: s.pos, To: s.pos})
	}
	return list
}

// addSpan appends a span behind the others.
func addSpan(list []store.Span, s store.Span) []store.Span {
	n := len(list)
	switch {
	case n > 0 && list[n-1].To+1 == s.From:
		list[n-1].To = s.To
	case n > 0 && list[n-1].From == s.To+1: // downwards
		list[n-1].From = s.From
	default:
		list = append(list, s)
	}
	return list
}

func (c browseCursor) slot() slot { return slot{c.priority, c.pos} }

// compare orders slots as they are delivered.
func (s slot) compare(t slot) int {
	return cmp.Or(-cmp.Compare(s.priority, t.priority), cmp.Compare(s.pos, t.pos))
}
