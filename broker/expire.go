package broker

import (
	"bytes"
	"sort"
	"time"

	"pipit/broker/history"
	"pipit/broker/store"
)

// What has expired is removed for all consumers, by ranges of the expiry index. Where a consumer wants it in its
// dead-letter topic, it goes there in the same commit. Where it cannot go there yet, or it has failed and waits for the
// same reason, the range moves to a later second of the index, so that no other range waits for it, and no pass looks at
// it before. What is in flight for such a consumer can be acknowledged, and has not expired for it until then.

// expiryAgain is after which the sweeper looks again at what has expired and could not be removed.
const expiryAgain = 10 * time.Second

// expired is an entry of the expiry index and those of its positions that have a message.
type expired struct {
	store.Expiry
	t         *topic // nil: it was deleted
	edits     uint64 // of the lane, before it was looked at
	positions []uint64
	through   uint64                   // it was looked at so far
	letters   map[uint64]*store.Record // copies of positions that a consumer wants in its dead-letter topic
}

// overdue are expired messages of one lane, ascending. Where messages that expire and those that do not take
// turns, each is an entry of its own; to discard costs as much as the topic has consumers, for one as for many.
type overdue struct {
	t         *topic
	prio      uint8
	positions []uint64
}

// lapse is how many messages expired before a consumer was done with them.
type lapse struct {
	q *queue
	n int
}

// listExpired takes in what of the expiry index is over. It comes before the View that looks at the messages, so that
// this sees whatever edits counts.
func (o *sweepOp) listExpired() error {
	var ranges []store.Expiry
	err := o.b.store.View(func(r store.Reader) (err error) {
		ranges, err = r.Expired(o.expiry, sweepRanges)
		return err
	})
	o.more = o.more || len(ranges) == sweepRanges
	o.b.mu.RLock()
	defer o.b.mu.RUnlock()
	for _, e := range ranges {
		x := expired{Expiry: e, t: o.b.topicIDs[e.Lane.Topic], through: e.Range.To}
		if x.t != nil {
			x.edits = x.t.lanes[e.Lane.Priority].edits.Load()
		}
		o.listed = append(o.listed, x)
	}
	return err
}

// findExpired looks for messages that have expired, most of them at most.
func (o *sweepOp) findExpired(r store.Reader, most int) error {
	start := time.Now()
	for i, x := range o.listed {
		if o.found >= most || i%64 == 63 && time.Since(start) > sweepTime {
			o.more = true
			return nil
		}
		if x.t != nil {
			err := r.Stored(x.Lane, x.Range, func(pos uint64) bool {
				if o.found++; o.found > most && len(x.positions) > 0 {
					x.through = x.positions[len(x.positions)-1]
					return false
				}
				x.positions = append(x.positions, pos)
				return true
			})
			if err == nil {
				err = o.findLetters(r, &x)
			}
			if err != nil {
				return err
			}
			if len(x.positions) == 0 && x.through < x.Range.From {
				continue // the next pass begins with it
			}
		}
		o.expired = append(o.expired, x)
	}
	return nil
}

// expire removes expired messages, of which every consumer is done then.
func (o *sweepOp) expire(d *draft, x *expired) {
	if x.t != nil {
		l := &x.t.lanes[x.Lane.Priority]
		if x.t.deleted.Load() || x.edits != l.edits.Load() {
			o.more = true // some of them may be gone: look again
			return
		}
		i := sort.Search(len(x.positions), func(i int) bool { return x.positions[i] >= l.head })
		positions := x.positions[i:]
		if n := o.bury(d, x, positions); n < len(positions) {
			o.gather(d, x, positions[:n])
			d.batch.Expiries = append(d.batch.Expiries, store.Expired{Expiry: x.Expiry, Through: positions[n] - 1, Again: o.expiry.Add(expiryAgain).Truncate(time.Second)})
			return
		}
		o.gather(d, x, positions)
	}
	o.more = o.more || x.through < x.Range.To
	d.batch.Expiries = append(d.batch.Expiries, store.Expired{Expiry: x.Expiry, Through: x.through})
}

// gather notes that positions of x are to be discarded, together with those before them where they follow these.
func (o *sweepOp) gather(d *draft, x *expired, positions []uint64) {
	if len(positions) == 0 {
		return
	}
	n := len(o.over.positions)
	if n > 0 && (o.over.t != x.t || o.over.prio != x.Lane.Priority || o.over.positions[n-1] >= positions[0]) {
		o.discard(d)
	}
	o.over.t, o.over.prio = x.t, x.Lane.Priority
	o.over.positions = append(o.over.positions, positions...)
}

// discard removes what was gathered.
func (o *sweepOp) discard(d *draft) {
	if len(o.over.positions) == 0 {
		return
	}
	o.witness(d)
	missed := d.discard(o.over.t, int(o.over.prio), o.over.positions)
	for i, q := range o.over.t.list() {
		if missed[i] > 0 {
			o.lapsed = append(o.lapsed, lapse{q, missed[i]})
		}
	}
	o.over.positions = o.over.positions[:0]
}

// letterQueues returns the queues of a topic from which messages go to dead-letter topics, and whether some of these want
// what has expired.
func (t *topic) letterQueues() (list []*queue, wanted bool) {
	for _, q := range t.list() {
		if def := q.of.def.Load(); def.DeadLetterTopic != "" {
			list, wanted = append(list, q), wanted || def.OnExpiry == ExpiryDeadLetter
		}
	}
	return list, wanted
}

// findLetters reads those of x that are to go to dead-letter topics, and leaves off where these are as many as go into
// one commit.
func (o *sweepOp) findLetters(r store.Reader, x *expired) error {
	queues, wanted := x.t.letterQueues()
	if !wanted || len(x.positions) == 0 {
		return nil
	}
	last := x.positions[len(x.positions)-1]
	return r.Scan(x.Lane, x.positions[0], false, func(rec *store.Record) bool {
		if rec.Pos > last {
			return false
		}
		if !anyNeeds(queues, int(x.Lane.Priority), rec.Pos) {
			return true
		}
		if n := int64(len(rec.Payload)); o.letters > 0 && o.letters+n > buryBytes {
			i := sort.Search(len(x.positions), func(i int) bool { return x.positions[i] >= rec.Pos })
			x.positions, x.through, o.more = x.positions[:i], rec.Pos-1, true
			return false
		}
		if x.letters == nil {
			x.letters = map[uint64]*store.Record{}
		}
		own := *rec
		own.Payload = bytes.Clone(rec.Payload)
		x.letters[rec.Pos] = &own
		o.letters += max(int64(len(own.Payload)), 1)
		return true
	})
}

// anyNeeds tells whether one of the queues is not done with a position.
func anyNeeds(queues []*queue, p int, pos uint64) bool {
	for _, q := range queues {
		q.of.mu.Lock()
		done := q.done[p].Has(pos)
		q.of.mu.Unlock()
		if !done {
			return true
		}
	}
	return false
}

// bury moves positions of x to the dead-letter topics of the consumers that want them, and returns how many of them are
// dealt with: those from there on have to wait.
func (o *sweepOp) bury(d *draft, x *expired, positions []uint64) int {
	queues, _ := x.t.letterQueues()
	if len(queues) == 0 {
		return len(positions)
	}
	prio := int(x.Lane.Priority)
	var goes []*queue
	for i, pos := range positions {
		goes = goes[:0]
		s := slot{x.Lane.Priority, pos}
		for _, q := range queues {
			if q.isDone(prio, pos) {
				continue
			}
			wanted := q.of.def.Load().OnExpiry == ExpiryDeadLetter
			if q.holds(s, wanted) {
				return i
			}
			if wanted {
				goes = append(goes, q)
			}
		}
		rec := x.letters[pos]
		if len(goes) > 0 && (rec == nil || o.noLetters) {
			return i
		}
		for _, q := range goes {
			if _, err := d.graveOf(q, len(goes) == 1); err != nil {
				return i
			}
		}
		for _, q := range goes {
			o.letter(d, q, rec)
		}
	}
	return len(positions)
}

// letter moves an expired message, for which there is room, to a queue's dead-letter topic.
func (o *sweepOp) letter(d *draft, q *queue, rec *store.Record) {
	s := slot{rec.Priority, rec.Pos}
	q.of.mu.Lock()
	n := q.deliveries(s)
	q.of.mu.Unlock()
	d.putLetter(d.b.topics[q.of.def.Load().DeadLetterTopic], q, rec, n, byExpiry)
	o.endings = append(o.endings, ending{q: q, how: history.DeadLettered + history.Outcome(byExpiry), slot: s, deliveries: n})
	if last := len(o.buried) - 1; last >= 0 && o.buried[last].q == q {
		o.buried[last].n++
	} else {
		o.buried = append(o.buried, lapse{q, 1})
	}
}

// holds tells whether a message that has expired is not to be removed yet: it waits to be moved, or, where the consumer
// wants what has expired, it is in flight.
func (q *queue) holds(s slot, wanted bool) bool {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	l := q.leases[s]
	switch {
	case l == nil:
		return false
	case l.state == failed, l.state == settling:
		return true
	}
	return wanted && (l.state == leased || l.state == fetching)
}
