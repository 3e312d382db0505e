package broker

import (
	"cmp"
	"slices"
	"time"

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
		f.State = StateDone
		if len(queues) == 0 {
			f.State = StateWaiting
		}
	}
	for _, q := range queues {
		q.of.mu.Lock()
		for _, f := range list {
			if f.State == StateInFlight {
				continue
			}
			switch s, _, _ := q.stand(f, now); {
			case s == StateInFlight, s == StateDeferred, s == StateWaiting && f.State == StateDone:
				f.State = s
			}
		}
		q.of.mu.Unlock()
	}
}

// stand is where of a message that was found: one that the consumer's filter does not let through is done, also where the
// cursor does not have it, see sift.go. The caller holds mu.
func (q *queue) stand(f *found, now time.Duration) (state State, deliveries int, until time.Duration) {
	state, deliveries, until = q.where(f.slot, now)
	if filter := q.of.filter.Load(); state == StateWaiting && filter != nil && !filter.match(&store.Record{Extra: f.Extra}) {
		return StateDone, 0, 0
	}
	return state, deliveries, until
}

// where returns where a message stands with the consumer, how often it was delivered and,
// in flight or deferred, until when. The caller holds mu.
func (q *queue) where(s slot, now time.Duration) (state State, deliveries int, until time.Duration) {
	if q.done[s.priority].Has(s.pos) {
		return StateDone, 0, 0
	}
	l := q.leases[s]
	if l == nil {
		return StateWaiting, int(q.attempts[s]), 0
	}
	switch {
	case l.state == settling, l.state == leased && l.until > now:
		return StateInFlight, int(l.count), l.until
	case l.state == deferred && l.until > now:
		return StateDeferred, int(l.count), l.until
	}
	return StateWaiting, int(l.count), 0
}

// listHeld lists what is held in the state that is asked for, in order and no more than a page may
// look at.
func (x *browsing) listHeld() {
	queues := x.topic.list()
	if x.q != nil {
		queues = []*queue{x.q}
	}
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
			if state, _, _ := q.where(s, x.b.since(x.now)); state != x.o.State || s.compare(x.from.slot()) < 0 {
				continue
			}
			if x.slots = append(x.slots, s); len(x.slots) >= 4*MaxBrowseScan {
				x.order()
			}
		}
		q.of.mu.Unlock()
	}
	x.order()
}

// order sorts the slots and keeps the first ones.
func (x *browsing) order() {
	slices.SortFunc(x.slots, slot.compare)
	x.slots = slices.Compact(x.slots)
	x.slots = x.slots[:min(len(x.slots), MaxBrowseScan+1)]
}

func (c browseCursor) slot() slot { return slot{c.priority, c.pos} }

// compare orders slots as they are delivered.
func (s slot) compare(t slot) int {
	return cmp.Or(-cmp.Compare(s.priority, t.priority), cmp.Compare(s.pos, t.pos))
}
