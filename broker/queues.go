package broker

import (
	"cmp"
	"slices"
	"time"

	"pipit/broker/browse"
	"pipit/broker/stats"
)

// lister is how a Broker shows what it holds, and the doors to it.
type lister struct{ b *Broker }

// Queues returns a consumer's queues, that with the most messages first, limit of them at the most, and how many there
// are: one of a consumer of a topic, and one for each topic that matches of a consumer of a pattern. The error is
// NotFound.
func (l lister) Queues(consumer uint32, limit int) (list []stats.Queue, total int, err error) {
	c := l.b.consumer(consumer)
	if c == nil {
		return nil, 0, noConsumer(consumer)
	}
	type entry struct {
		q *queue
		stats.Queue
	}
	queues := c.list()
	all := make([]entry, len(queues))
	for i, q := range queues {
		q.topic.mu.Lock()
		c.mu.Lock()
		all[i] = entry{q, stats.Queue{Topic: q.topic.def.Load().Name, Backlog: q.waiting()}}
		c.mu.Unlock()
		q.topic.mu.Unlock()
	}
	slices.SortFunc(all, func(x, y entry) int {
		return cmp.Or(cmp.Compare(y.Backlog, x.Backlog), cmp.Compare(x.Topic, y.Topic))
	})
	now := l.b.since(time.Now())
	for _, e := range all[:min(limit, len(all))] {
		e.InFlight, e.Deferred = e.q.flying(now)
		list = append(list, e.Queue)
	}
	return list, len(all), nil
}

// flying returns how many messages are in flight, and how many are deferred.
func (q *queue) flying(now time.Duration) (inFlight, deferred int64) {
	n := 0
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	for s := range q.leases {
		if n++; n%4096 == 0 { // others may have the lock now, and change the map
			q.of.mu.Unlock()
			q.of.mu.Lock()
		}
		switch state, _, _ := q.where(s, now); state {
		case browse.InFlight:
			inFlight++
		case browse.Deferred:
			deferred++
		}
	}
	return inFlight, deferred
}
