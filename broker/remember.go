package broker

import (
	"math"
	"slices"
	"time"

	"pipit/broker/history"
	"pipit/broker/store"
)

// What the history is told of a commit, by the committer and after it: see package history. Nothing is read for it but
// what is in memory, and no delivery is told: the lease has how often and when the last one was, until its message is
// finished.

// witnesses is how many consumers are named that an expired message was not acknowledged by. Of a topic with more, the
// message tells that it expired.
const witnesses = 16

// HistoryTopic returns the name, for history.Topic.
func (t *topic) HistoryTopic() string {
	if def := t.def.Load(); def != nil {
		return def.Name
	}
	return "" // deleted before the start
}

// HistoryQueue is for history.Queue.
func (q *queue) HistoryQueue() (consumer uint32, label string, topic uint32, t history.Topic) {
	return q.of.id, q.of.def.Load().Label(), q.topic.id, q.topic
}

// deliveredAt returns when the last delivery of a lease was, the zero time where that is not known.
func (x tracer) deliveredAt(l *lease) time.Time {
	if l.delivered == 0 {
		return time.Time{}
	}
	return x.b.epoch.Add(l.delivered)
}

func (x tracer) recordFinished(r history.Recorder, l *lease, how history.Outcome) {
	r.Finished(l.q.id, l.q, how, l.priority, l.pos, l.count, x.deliveredAt(l))
}

// recordPublished records what a commit has stored. The caller is the committer, for which the maps stand still.
func (d *draft) recordPublished() {
	if len(d.batch.Append)+len(d.batch.Delay) == 0 {
		return
	}
	r, on := d.b.tracer.log.Begin(d.now)
	if !on {
		return
	}
	defer r.End()
	var t *topic
	for _, list := range [][]*store.Record{d.batch.Delay, d.batch.Append} {
		for _, rec := range list {
			if t == nil || t.id != rec.Topic {
				if t = d.b.topicIDs[rec.Topic]; t == nil {
					continue
				}
			}
			r.Published(t, rec)
		}
	}
}

// recordSeized records what consumers gave up for the messages of a commit.
func (d *draft) recordSeized() {
	if len(d.seized) == 0 {
		return
	}
	r, on := d.b.tracer.log.Begin(d.now)
	if !on {
		return
	}
	defer r.End()
	for _, s := range d.seized {
		how := history.Dropped
		if s.moved {
			how = history.DeadLettered
		}
		d.b.recordFinished(r, s.l, how+history.Outcome(byOverflow))
	}
}

func (x tracer) recordSettled(o *settleOp, now time.Time) {
	r, on := x.log.Begin(now)
	if !on {
		return
	}
	defer r.End()
	for _, l := range o.leases {
		if len(o.lost) == 0 || !slices.Contains(o.lost, l) {
			x.recordFinished(r, l, o.how)
		}
	}
}

func (x tracer) recordBuried(o *burial, now time.Time) {
	r, on := x.log.Begin(now)
	if !on {
		return
	}
	defer r.End()
	how := history.Dropped
	if o.copied {
		how = history.DeadLettered
	}
	for i := range o.parts {
		for _, l := range o.parts[i].leases {
			x.recordFinished(r, l, how+history.Outcome(l.why))
		}
	}
}

// recordGone records messages of a topic that ended as a whole: those of slots, and those that waited for their delay.
func (x tracer) recordGone(t *topic, how history.Outcome, slots []slot, delayed []string, now time.Time) {
	r, on := x.log.Begin(now)
	if !on {
		return
	}
	defer r.End()
	for _, s := range slots {
		r.Gone(t, how, store.Place{Lane: store.Lane{Topic: t.id, Priority: s.priority}, Pos: s.pos}, "")
	}
	for _, id := range delayed {
		r.Gone(t, how, store.Place{Lane: store.Lane{Topic: t.id}}, id)
	}
}

// recordPassed records that queues are done with all before their places, or, without any, with all.
func (x tracer) recordPassed(queues []*queue, how history.Outcome, places []*place, now time.Time) {
	r, on := x.log.Begin(now)
	if !on {
		return
	}
	defer r.End()
	for i, q := range queues {
		for p := range q.topic.lanes {
			to := q.topic.lanes[p].tail.Load()
			if places != nil && places[i].from[p] != math.MaxUint64 {
				to = min(to, max(places[i].from[p], 1)-1)
			}
			if to > 0 {
				r.Passed(q.id, q, how, uint8(p), store.Span{From: 1, To: to}) // #nosec G115 -- a priority is 1 to 9
			}
		}
	}
}

// recordDeleted records topics, and consumers of others, that are about to be taken out of the maps.
func (o *changeOp) recordDeleted() {
	r, on := o.b.tracer.log.Begin(time.Now())
	if !on {
		return
	}
	defer r.End()
	d := &o.x.drop
	for name := range d.topics {
		t := o.b.topics[name]
		r.Ended(t.id, t, history.TopicGone)
	}
	for q := range d.queues {
		if name := q.topic.HistoryTopic(); d.topics[name] {
			continue
		}
		for p := range q.topic.lanes {
			if to := q.topic.lanes[p].tail.Load(); to > 0 {
				r.Passed(q.id, q, history.Unsubscribed, uint8(p), store.Span{From: 1, To: to}) // #nosec G115 -- a priority is 1 to 9
			}
		}
	}
}

// ending is how an expired message ended: for a queue, or, where that is nil, as a whole.
type ending struct {
	q   *queue
	t   *topic
	how history.Outcome
	slot
	deliveries uint32
	delivered  time.Time
}

// witness gathers, of what is about to be discarded, which consumers were not done with it.
func (o *sweepOp) witness(d *draft) {
	if !o.b.tracer.log.On() {
		return
	}
	t, prio := o.over.t, int(o.over.prio)
	var named []*queue
	for _, q := range t.list() {
		if def := q.of.def.Load(); len(named) < witnesses && (def.DeadLetterTopic == "" || def.OnExpiry != ExpiryDeadLetter) { // else see letter
			named = append(named, q)
		}
	}
	for _, q := range named {
		done := q.doneNow(prio)
		q.of.mu.Lock()
		for _, pos := range o.over.positions {
			if done.Has(pos) || q.leftOut[prio].has(pos) {
				continue
			}
			s := slot{o.over.prio, pos}
			e := ending{q: q, how: history.Expired, slot: s, deliveries: q.deliveries(s)}
			if l := q.leases[s]; l != nil {
				e.delivered = o.b.deliveredAt(l)
			}
			o.endings = append(o.endings, e)
		}
		q.of.mu.Unlock()
	}
	for _, pos := range o.over.positions {
		o.endings = append(o.endings, ending{t: t, how: history.Expired, slot: slot{o.over.prio, pos}})
	}
}

func (x tracer) recordExpired(endings []ending, now time.Time) {
	if len(endings) == 0 {
		return
	}
	r, on := x.log.Begin(now)
	if !on {
		return
	}
	defer r.End()
	for i := range endings {
		e := &endings[i]
		if e.q == nil {
			r.Gone(e.t, e.how, store.Place{Lane: store.Lane{Topic: e.t.id, Priority: e.priority}, Pos: e.pos}, "")
		} else {
			r.Finished(e.q.id, e.q, e.how, e.priority, e.pos, e.deliveries, e.delivered)
		}
	}
}

// storeHistory stores what the history has gathered, where it is time for that; at the end always.
func (s *sweeper) storeHistory(end bool) {
	log := s.b.tracer.log
	if !log.Due(time.Now()) && !end {
		return
	}
	for {
		w := log.Unwritten()
		if len(w.Documents) == 0 {
			return
		}
		began := time.Now()
		if err := s.b.commits.do(documentOp(w.Documents), documentBytes(w.Documents)); err != nil {
			return // it stays, within its bounds, for the next time; what is wrong others have told
		}
		if log.Written(&w); !w.More {
			return
		}
		if end {
			continue
		}
		select { // others have as much of the time
		case <-s.b.closing:
			return
		case <-time.After(time.Since(began)):
		}
	}
}
