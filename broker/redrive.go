package broker

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pipit/broker/clip"
	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// A dead letter is redriven by one commit that deletes it from its dead-letter topic, for all consumers there, and puts a
// message with the same ID at the tail of the topic in which it failed. All other consumers of that topic are done with
// its position in the same commit, so that only the one for which it failed gets it, and all counts stay exact. That
// costs the cursors of these consumers a span each, however many messages one commit moves, and needs no place of the
// past to be there yet. Who seeks back to before a redrive gets what was redriven for others, too.

// Redrive says which dead letters go back to the consumers for which they failed: those of IDs, or, where there are none,
// all that the rest fits and that somebody is not done with. A field that is empty fits all.
type Redrive struct {
	IDs      []string // at most MaxSettle
	Reason   string   // why it failed: ReasonRejected and so on
	Topic    string   // in which it failed
	Consumer string   // for which it failed, as DeadLetter.Consumer names it
}

// Redriven is the answer to a Redrive.
type Redriven struct {
	Moved    int
	NotFound []string // of the IDs: no message of the topic, or none that failed
	Left     int      // that stay, since their topic or consumer is no more, or its filter does not let them through any more
	LeftWhy  error    // of the first of these: NotFound or Invalid
}

// Run moves the dead letters of a topic, a bounded part with each commit, in the order of delivery. Documents are put with
// the first. The errors are Invalid, NotFound (no such topic), Full (a consumer has no room for all of them), Unavailable and
// DiskFull, and LeftWhy where nothing but what is left was meant. What Redriven counts was moved also where there is an error.
func (r Redrive) Run(ctx context.Context, b *Broker, topic string, docs ...Document) (done Redriven, err error) {
	if err := r.validate(); err != nil {
		return done, err
	}
	if err := checkDocuments(docs); err != nil {
		return done, err
	}
	x := &redriving{b: b, t: b.topic(topic), name: topic, o: &r, docs: docs}
	if x.t == nil {
		return done, noTopic(topic)
	}
	if len(r.IDs) > 0 {
		done.NotFound, err = x.find(ctx, r.IDs)
	} else {
		err = x.all(ctx)
	}
	done.Moved, done.Left, done.LeftWhy = x.moved, x.left, x.why
	switch {
	case err != nil:
	case x.full:
		err = errFull
	case x.moved == 0:
		err = x.why
	}
	if known := ErrorOf(err); known != nil && done.Moved > 0 {
		told := *known
		told.Message += fmt.Sprintf("; %d messages were moved before", done.Moved)
		err = &told
	}
	return done, err
}

func (r *Redrive) validate() error {
	switch {
	case len(r.IDs) > limit.MaxSettle:
		return Invalidf("%d messages: allowed are at most %d", len(r.IDs), limit.MaxSettle).of("ids")
	case len(r.IDs) > 0 && (r.Reason != "" || r.Topic != "" || r.Consumer != ""):
		return Invalidf("ids: allowed without reason, topic and consumer").of("ids")
	}
	for why := range failures {
		if r.Reason == "" || r.Reason == why.String() {
			return nil
		}
	}
	return Invalidf("reason %q: allowed are %s, %s, %s and %s", clip.Input(r.Reason),
		ReasonMaxDeliveries, ReasonRejected, ReasonExpired, ReasonOverflow).of("reason")
}

// fits tells whether a message is meant.
func (r *Redrive) fits(rec *store.Record) bool {
	if rec.Extra == nil || rec.Extra.DeadLetter == nil {
		return false
	}
	d := rec.Extra.DeadLetter
	return (r.Reason == "" || r.Reason == d.Reason) && (r.Topic == "" || r.Topic == d.Topic) && (r.Consumer == "" || r.Consumer == d.Consumer)
}

// redriving is a Redrive under way.
type redriving struct {
	b    *Broker
	t    *topic
	name string // of the topic
	o    *Redrive
	docs []Document

	moved int
	full  bool  // not all had room
	left  int   // that can go nowhere
	why   error // of the first of these

	records []*store.Record // for the next commit
	bytes   int64           // of their payloads
}

// add takes in a message for the next commit. It is false where that has enough.
func (x *redriving) add(rec *store.Record) bool {
	if n := int64(len(rec.Payload)); len(x.records) > 0 && x.bytes+n > buryBytes || len(x.records) == buryMessages {
		return false
	}
	own := *rec
	own.Payload = bytes.Clone(rec.Payload)
	x.records, x.bytes = append(x.records, &own), x.bytes+int64(len(own.Payload))
	return true
}

// find moves the dead letters of IDs, and returns the IDs that have none.
func (x *redriving) find(ctx context.Context, ids []string) (missing []string, err error) {
	for len(ids) > 0 {
		n := 0
		err := x.b.store.View(func(r store.Reader) error {
			for _, id := range ids[:min(len(ids), settleChunk)] {
				found, room := false, true
				err := x.b.find(r, x.t.id, id, func(key string, rec *store.Record) {
					if key == "" && room && x.o.fits(rec) {
						found, room = true, x.add(rec)
					}
				})
				if err != nil || !room {
					return err
				}
				if n++; !found {
					missing = append(missing, id)
				}
			}
			return nil
		})
		if err == nil {
			err = x.commit(ctx)
		}
		if err != nil {
			return missing, err
		}
		ids = ids[n:]
	}
	return missing, nil
}

// all moves all dead letters that are meant, up to those that are the last when it begins.
func (x *redriving) all(ctx context.Context) error {
	var tails [limit.MaxPriority + 1]uint64
	for p := range tails {
		tails[p] = x.t.lanes[p].tail.Load()
	}
	for p := limit.MaxPriority; p >= limit.MinPriority; p-- {
		for pos := uint64(1); pos <= tails[p]; {
			next := tails[p] + 1
			err := x.b.store.View(func(r store.Reader) error {
				looks := 0
				return r.Scan(laneRef{x.t, p}.key(), pos, false, func(rec *store.Record) bool {
					looks++
					if next = rec.Pos; next > tails[p] || looks > takeRecords || x.o.fits(rec) && x.t.needs(p, next) && !x.add(rec) {
						return false
					}
					next = tails[p] + 1
					return true
				})
			})
			if err == nil {
				err = x.commit(ctx)
			}
			if err != nil {
				return err
			}
			pos = next
		}
	}
	return nil
}

// needs tells whether a consumer of the topic is not done with a position, or there is none.
func (t *topic) needs(p int, pos uint64) bool {
	list := t.list()
	for _, q := range list {
		q.of.mu.Lock()
		done := q.done[p].Has(pos)
		q.of.mu.Unlock()
		if !done {
			return true
		}
	}
	return len(list) == 0
}

// commit moves what was added.
func (x *redriving) commit(ctx context.Context) error {
	records := x.records
	x.records, x.bytes = nil, 0
	if ctx.Err() != nil {
		return callerLeft(ctx)
	}
	if len(records) == 0 {
		return nil
	}
	op := &redriveOp{redriving: x, records: records}
	if err := x.b.commits.doAlone(op); err != nil {
		return err
	}
	x.docs = nil
	x.moved += len(op.moved)
	x.full = x.full || op.short
	x.left, x.why = x.left+op.left, cmp.Or(x.why, op.leftWhy)
	return nil
}

// redriveOp moves dead letters of a topic, in a commit of its own.
type redriveOp struct {
	*redriving
	records []*store.Record

	moved   []slot
	short   bool
	left    int
	leftWhy error
}

// redriven is a dead letter and the queue to which it goes.
type redriven struct {
	q   *queue
	rec *store.Record
}

func (o *redriveOp) plan(d *draft) error {
	o.moved, o.short, o.left, o.leftWhy = nil, false, 0, nil
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	var list []redriven
	err := o.b.store.View(func(r store.Reader) error {
		for _, rec := range o.records { // some may be gone by now
			there := false
			err := r.Stored(rec.Lane, store.Span{From: rec.Pos, To: rec.Pos}, func(uint64) bool { there = true; return false })
			if err != nil {
				return err
			}
			if !there {
				continue
			}
			q, err := o.target(rec)
			if err != nil {
				o.left, o.leftWhy = o.left+1, cmp.Or(o.leftWhy, err)
				continue
			}
			list = append(list, redriven{q, rec})
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Those of one queue and lane get positions that follow each other.
	slices.SortStableFunc(list, func(a, b redriven) int {
		return cmp.Or(cmp.Compare(a.q.id, b.q.id), cmp.Compare(a.rec.Priority, b.rec.Priority), cmp.Compare(a.rec.Pos, b.rec.Pos))
	})
	list = slices.CompactFunc(list, func(a, b redriven) bool { return a.rec.Place == b.rec.Place }) // an ID may be given twice
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].q == list[0].q && list[n].rec.Priority == list[0].rec.Priority {
			n++
		}
		fit := min(n, int(max(0, min(int64(n), d.roomOf(list[0].q)))))
		o.short = o.short || fit < n
		d.redrive(list[:fit])
		for _, m := range list[:fit] {
			o.moved = append(o.moved, slot{m.rec.Priority, m.rec.Pos})
		}
		list = list[n:]
	}
	slices.SortFunc(o.moved, slot.compare)
	d.discardSlots(o.t, o.moved)
	if len(o.moved) == 0 {
		return nil
	}
	return documentOp(o.docs).plan(d)
}

// target returns the queue that gets a dead letter again.
func (o *redriveOp) target(rec *store.Record) (*queue, error) {
	q, err := failedFor(o.b, rec.Extra.DeadLetter)
	if err != nil {
		return nil, err
	}
	if f := q.of.filter.Load(); f != nil && !f.match(rec) {
		return nil, Invalidf("message %q: it does not match the filter of consumer %q of topic %q, for which it failed",
			clip.Input(o.b.idOf(rec)), q.of.def.Load().Label(), q.topic.def.Load().Name)
	}
	return q, nil
}

// failedFor returns the queue for which a message failed: that of the consumer of this number, else of the only one that
// is called so.
func failedFor(b *Broker, l *store.DeadLetter) (*queue, error) {
	t := b.topics[l.Topic]
	if t == nil {
		return nil, noTopic(l.Topic)
	}
	var found *queue
	for _, q := range t.list() {
		switch {
		case q.of.id == l.Number:
			return q, nil
		case q.of.def.Load().Label() != l.Consumer:
		case found != nil:
			return nil, &Error{Code: NotFound, Message: fmt.Sprintf("Several consumers %q of topic %q", clip.Input(l.Consumer), clip.Input(l.Topic))}
		default:
			found = q
		}
	}
	if found == nil {
		return nil, &Error{Code: NotFound, Message: fmt.Sprintf("No consumer %q of topic %q", clip.Input(l.Consumer), clip.Input(l.Topic))}
	}
	return found, nil
}

// roomOf returns how many more messages a queue's topic and its consumer take, whatever others have.
func (d *draft) roomOf(q *queue) int64 {
	t := q.topic
	return min(t.def.Load().MaxDepth-t.needed(), q.of.def.Load().MaxDepth-q.of.backlog()) - t.nextDelayed
}

// redrive appends messages for one queue, all of one priority.
func (d *draft) redrive(list []redriven) {
	if len(list) == 0 {
		return
	}
	q, prio := list[0].q, int(list[0].rec.Priority)
	t, n := q.topic, len(list)
	t.room = max(0, t.room-int64(n))
	q.of.room -= int64(n) // the others are done with it
	now := d.now.UTC().Truncate(time.Microsecond)
	for _, m := range list {
		r := &store.Record{
			Place:      store.Place{Lane: store.Lane{Topic: t.id, Priority: m.rec.Priority}},
			ID:         d.b.idOf(m.rec),
			Created:    now,
			Expiration: uint32(max(0, t.def.Load().Expiration)), // #nosec G115 -- a valid one
			Producer:   m.rec.Producer,
			MIMEType:   m.rec.MIMEType,
			Payload:    m.rec.Payload,
		}
		if x := *m.rec.Extra; x.CorrelationID != "" || x.ReplyTo != "" || len(x.Attributes) > 0 {
			x.DeadLetter = nil
			r.Extra = &x
		}
		d.append(t, r)
	}
	l := d.touchLane(t, prio)
	l.settled = true
	last := l.next
	for _, other := range t.list() {
		if other != q {
			w, first := d.progress(other, prio), last-uint64(n)+1
			w.Missing(first, last, func(s store.Span) { w.finished += s.To - s.From + 1 })
			other.leftOut[prio].cut(first, last, nil) // they came with this commit
			d.cover(other, prio, first, last)
		}
	}
}

func (o *redriveOp) applied(now time.Time) {
	o.b.recordGone(o.t, history.Redriven, o.moved, nil, now)
	o.t.unlease(o.moved, true)
}

func (o *redriveOp) failed() {}

func (o *redriveOp) appends() bool { return true }
