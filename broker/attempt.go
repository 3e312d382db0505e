package broker

import "pipit/broker/store"

// counts takes in delivery counts. The caller holds the consumer's mu.
func (o *sweepOp) counts(q *queue) {
	take := func(a store.Attempt) bool {
		if len(o.attempts) >= sweepSmall {
			o.full = true
			return false
		}
		o.attempts, o.holders = append(o.attempts, a), append(o.holders, q)
		return true
	}
	for len(q.forget) > 0 && take(q.forget[0]) {
		q.forget = q.forget[1:]
	}
	for len(q.retired) > 0 && len(o.attempts) < sweepSmall {
		last := len(q.retired) - 1
		looks := 0
		for s, l := range q.retired[last] {
			if looks++; looks > maxEnding || l.saved > 0 && !take(store.Attempt{Consumer: q.id, Priority: s.priority, Pos: s.pos}) {
				o.full = true
				break
			}
			delete(q.retired[last], s)
		}
		if len(q.retired[last]) > 0 {
			break
		}
		q.retired = q.retired[:last]
	}
	q.forgets.Store(len(q.forget)+len(q.retired) > 0)
	if q.forgets.Load() {
		o.full = true
		return // a message may wait again after a seek: its old count goes before the new one
	}
	for s := range q.unsaved {
		l := q.leases[s]
		n := l.stored()
		if !take(store.Attempt{Consumer: q.id, Priority: s.priority, Pos: s.pos, Count: n}) {
			return
		}
		l.saved = n
		delete(q.unsaved, s)
	}
}
