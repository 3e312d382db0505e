package broker

import (
	"time"

	"pipit/broker/store"
)

// oldest is the first message of a lane that a queue is not done with. Where it stands at the first place that is looked at, it is that one
// as long as this is the same, nobody has removed it, and it has not expired: so a backlog that nobody works off is read once.
type oldest struct {
	priority int
	from     uint64 // where it was looked for first
	there    bool   // that is where it is
	edits    uint64 // of the lane, before that
	at       time.Time
	expires  time.Time // zero: never
}

// look looks for the oldest message of a queue.
type look struct {
	q     *queue
	found []oldest
	todo  []lanePart // that are to be read
}

// lanePart is where in a lane the oldest message may be.
type lanePart struct {
	oldest
	spans []store.Span
}

// begin finds out what is known, and what is to be read.
func (k *look) begin(q *queue, now time.Time) {
	k.q = q
	var before []oldest
	if p := q.oldest.Load(); p != nil {
		before = *p
	}
	for p := range q.topic.lanes {
		l := &q.topic.lanes[p]
		part := lanePart{oldest: oldest{priority: p, edits: l.edits.Load()}} // which is read first, and counted behind a commit
		if part.spans = q.needed(p, 1, l.tail.Load(), 4); len(part.spans) == 0 {
			continue
		}
		part.from = part.spans[0].From
		if !k.remember(before, &part, now) {
			k.todo = append(k.todo, part)
		}
	}
}

// remember takes what was found before, where that still is so.
func (k *look) remember(before []oldest, part *lanePart, now time.Time) bool {
	for _, o := range before {
		if o.there && o.priority == part.priority && o.from == part.from && o.edits == part.edits && (o.expires.IsZero() || o.expires.After(now)) {
			k.found = append(k.found, o)
			return true
		}
	}
	return false
}

// read looks for what is not known.
func (k *look) read(r store.Reader, now time.Time) error {
	for i := range k.todo {
		part := &k.todo[i]
		if err := part.read(r, store.Lane{Topic: k.q.topic.id, Priority: uint8(part.priority)}, now); err != nil { // #nosec G115 -- 0 to 9
			return err
		}
	}
	return nil
}

// read looks for the first message that has not expired; where many have, the last of those it has looked at. at is zero where
// there are no messages.
func (part *lanePart) read(r store.Reader, l store.Lane, now time.Time) error {
	looked, alive := 0, false
	for _, s := range part.spans {
		err := r.Scan(l, s.From, false, func(rec *store.Record) bool {
			if rec.Pos > s.To {
				return false
			}
			part.at, part.expires, part.there = rec.Created, rec.ExpireAt(), rec.Pos == part.from
			alive = part.expires.IsZero() || part.expires.After(now)
			looked++
			return !alive && looked < stepFound
		})
		if err != nil || alive || looked == stepFound {
			return err
		}
	}
	return nil
}

// end returns when the oldest message was created, and keeps what was found. It is zero where there is none.
func (k *look) end() (at time.Time) {
	for i := range k.todo {
		if o := k.todo[i].oldest; !o.at.IsZero() {
			k.found = append(k.found, o)
		}
	}
	for i := range k.found {
		if o := &k.found[i]; at.IsZero() || o.at.Before(at) {
			at = o.at
		}
	}
	if len(k.todo) > 0 {
		found := k.found // alone: not what it was found by
		k.q.oldest.Store(&found)
	}
	return at
}
