package broker

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"pipit/broker/store"
)

// A message that failed for a consumer is finished for it by being buried: in one commit the consumer is done with it,
// and a copy of it is at the tail of the consumer's dead-letter topic, with all that it had but its time and expiration,
// which are those of the copy, and with where and why it failed. Its own ID stays, as one that is not looked at for
// duplicates. Where the consumer names no dead-letter topic, the message is dropped and counted. Where that topic is
// full, not active or not there, or the disk is full, the message waits, in the state failed: it is neither
// delivered again nor lost, takes its place among max_in_flight, and the sweeper tries again. Dead letters are messages like others,
// and may fail again for a consumer of their topic: none does so in the commit that brings it there.
//
// Payloads are read before the commit, so that it does not wait for them, and no more of them than a commit may hold.

// Bounds of one burial, which is one commit.
const (
	buryMessages = 500
	buryBytes    = 2 << 20 // of payload; one message may pass it
)

// burial finishes messages of one consumer that failed. Its leases are settling, each with why.
type burial struct {
	b      *Broker
	c      *consumer
	leases []*lease

	records []*store.Record // of the leases; nil: it is not there
	whole   bool            // they have their payloads
	bytes   int64           // of these, which are reserved

	// Of its commit.
	parts  []buried
	waits  []*lease // not for these messages: there is no room
	copied bool
}

// buried is what a queue is done with.
type buried struct {
	q       *queue
	leases  []*lease
	moved   [failures]uint64
	dropped [failures]uint64
}

// condemn makes a burial of leases, as many as go into one, and gives back those of messages that are not there. It
// returns those that are left.
func condemn(b *Broker, c *consumer, leases []*lease) (o *burial, rest []*lease) {
	slices.SortFunc(leases, byQueue)
	o = &burial{b: b, c: c, whole: c.def.Load().DeadLetterTopic != ""}
	full := false
	err := b.store.View(func(r store.Reader) error {
		for i, l := range leases {
			var rec *store.Record
			err := r.Scan(store.Lane{Topic: l.q.topic.id, Priority: l.priority}, l.pos, false, func(found *store.Record) bool {
				if found.Pos != l.pos {
					return false
				}
				if n := int64(len(found.Payload)); o.whole && (i > 0 && o.bytes+n > buryBytes || !setAside(b, n)) {
					full = true
				} else {
					rec = o.keep(found)
				}
				return false
			})
			if full || err != nil || i == buryMessages {
				rest = leases[i:]
				return err
			}
			o.leases, o.records = append(o.leases, l), append(o.records, rec)
		}
		return nil
	})
	if err != nil {
		b.health.note(byReading, err)
	}
	return o, rest
}

// setAside is Reserve without a way back.
func setAside(b *Broker, n int64) bool {
	_, err := b.Reserve(n)
	return err == nil
}

// keep returns a record that outlives the View.
func (o *burial) keep(found *store.Record) *store.Record {
	rec := *found
	rec.Payload = nil
	if o.whole {
		rec.Payload = bytes.Clone(found.Payload)
		o.bytes += int64(len(rec.Payload))
	}
	return &rec
}

func byQueue(a, b *lease) int {
	return cmp.Or(cmp.Compare(a.q.id, b.q.id), cmp.Compare(a.priority, b.priority), cmp.Compare(a.pos, b.pos))
}

// run commits the burial. On an error the messages wait.
func (o *burial) run() error {
	defer o.b.pending.Add(-o.bytes)
	if len(o.leases) == 0 {
		return nil
	}
	return o.b.commits.do(o, o.bytes)
}

func (o *burial) plan(d *draft) error {
	o.parts, o.waits, o.copied = o.parts[:0], o.waits[:0], false
	if o.c.deleted.Load() {
		return errDeleted
	}
	def := o.c.def.Load()
	for i, l := range o.leases {
		if len(o.parts) == 0 || o.parts[len(o.parts)-1].q != l.q {
			o.parts = append(o.parts, buried{q: l.q})
		}
		part := &o.parts[len(o.parts)-1]
		switch rec := o.records[i]; {
		case rec == nil || d.isOver(l): // it was removed: nobody has it any more
		case def.DeadLetterTopic == "":
			part.leases = append(part.leases, l)
			part.dropped[l.why]++
		case !o.whole: // the consumer was given the topic meanwhile
			o.waits = append(o.waits, l)
		default:
			t, err := d.graveOf(l.q, true)
			if err != nil {
				o.waits = append(o.waits, l)
				continue
			}
			d.putLetter(t, l.q, rec, l.count, l.why)
			part.leases = append(part.leases, l)
			part.moved[l.why]++
			o.copied = true
		}
	}
	for i := range o.parts {
		d.settle(o.parts[i].q, o.parts[i].leases)
	}
	return nil
}

// isOver tells whether a lease's message is removed or finished for its consumer, as the running commit leaves it.
func (d *draft) isOver(l *lease) bool {
	_, discarded := slices.BinarySearch(l.q.topic.lanes[l.priority].discarded, l.pos)
	return discarded || l.removed || l.q.gone.Load() || l.q.isDone(int(l.priority), l.pos)
}

// graveOf returns the dead-letter topic of a queue's consumer, and takes the room for one message there. deep is false where no
// other may go for that. The error says why there is none.
func (d *draft) graveOf(q *queue, deep bool) (*topic, error) {
	name := q.of.def.Load().DeadLetterTopic
	t := d.b.topics[name]
	switch {
	case t == nil || t == q.topic:
		return nil, noTopic(name)
	case t.def.Load().Inactive:
		return nil, denied("topic %q is not active", name)
	}
	if n, known := t.weight(&d.b.putOffs); known && t.def.Load().MaxBytes > 0 && n >= int64(t.def.Load().MaxBytes) {
		return nil, errFullBytes
	}
	if err := d.fits(t, 1); err != nil {
		return nil, err
	}
	return t, d.makeRoom(t, oneMore, deep)
}

func oneMore(*filter) int64 { return 1 }

// putLetter appends the copy of a message that failed for a queue's consumer after so many deliveries to a dead-letter
// topic that has room for it.
func (d *draft) putLetter(t *topic, q *queue, rec *store.Record, count uint32, why failure) {
	extra := store.Extra{}
	if rec.Extra != nil {
		extra = *rec.Extra
	}
	now := d.now.UTC().Truncate(time.Microsecond)
	extra.DeadLetter = &store.DeadLetter{
		Topic: q.topic.def.Load().Name, Consumer: q.of.def.Load().Label(), Reason: why.String(), Count: count, Number: q.of.id, At: now,
	}
	d.append(t, &store.Record{
		Place:      store.Place{Lane: store.Lane{Topic: t.id, Priority: rec.Priority}},
		ID:         d.b.idOf(rec),
		Created:    now,
		Expiration: uint32(max(0, t.def.Load().Expiration)), // #nosec G115 -- a valid one
		Producer:   rec.Producer,
		MIMEType:   rec.MIMEType,
		Payload:    rec.Payload,
		Extra:      &extra,
	})
}

func (o *burial) applied(now time.Time) {
	o.b.recordBuried(o, now)
	c := o.c
	c.mu.Lock()
	full := int(c.held.Load()) >= c.def.Load().MaxInFlight
	waits := map[*lease]bool{}
	for _, l := range o.waits {
		waits[l] = true
		o.wait(l)
	}
	for _, l := range o.leases {
		if !waits[l] {
			c.drop(l)
		}
	}
	if full {
		c.wakeOne() // there is room
	}
	c.mu.Unlock()
	for i := range o.parts {
		p := &o.parts[i]
		c.counters.finish(&p.moved, &p.dropped)
		p.q.topic.counters.finish(&p.moved, &p.dropped)
	}
}

// wait puts a lease back among those that wait. The caller holds the consumer's mu.
func (o *burial) wait(l *lease) {
	if l.over() || l.q.leases[l.slot] != l { // it was deleted meanwhile
		o.c.drop(l)
		return
	}
	o.c.fail(l, l.why)
}

func (o *burial) failed() {
	o.c.mu.Lock()
	for _, l := range o.leases {
		o.wait(l)
	}
	o.c.mu.Unlock()
	o.waits = o.leases
}

func (o *burial) appends() bool { return o.copied }

// bury finishes the messages of leases, which are settling. Those for which there is no room wait; it tells whether
// there were any.
func bury(b *Broker, c *consumer, leases []*lease) (waiting bool) {
	for len(leases) > 0 {
		o, rest := condemn(b, c, leases)
		err := o.run()
		waiting = waiting || len(o.waits) > 0
		if err != nil || len(o.leases) == 0 {
			waiting = true
			(&burial{b: b, c: c, leases: rest}).failed()
			break
		}
		leases = rest
	}
	return waiting
}

// bury finishes what has failed for the consumers. Of what found no room the last time, it tries one message first.
func (s *sweeper) bury() {
	s.b.mu.RLock()
	var list []*consumer
	for _, c := range s.b.consumers {
		if c.failing.Load() > 0 {
			list = append(list, c)
		}
	}
	s.b.mu.RUnlock()
	for _, c := range list {
		for most := buryMessages; ; {
			if c.stuck {
				most = 1
			}
			leases := c.takeFailed(most)
			if len(leases) == 0 {
				break
			}
			if c.stuck = bury(s.b, c, leases); c.stuck {
				break
			}
			most = buryMessages
		}
	}
}

// takeFailed takes leases out of those that failed, at most most, the first of a queue, to bury them.
func (c *consumer) takeFailed(most int) (leases []*lease) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.failed) > 0 && len(leases) < most {
		l := c.failed[0]
		c.unlist(l)
		l.state = settling
		leases = append(leases, l)
	}
	return leases
}

// warnDropped logs what was dropped of which consumers since it was last called.
func (s *sweeper) warnDropped() {
	s.b.mu.RLock()
	defer s.b.mu.RUnlock()
	for _, c := range s.b.consumers {
		now := c.counters.dropped.read()
		if last := c.warned; now != last {
			c.warned = now
			def := c.def.Load()
			s.b.log.Warn("messages were dropped that failed for a consumer", "client", def.Client, "topic", def.Topic, "name", def.Name,
				ReasonMaxDeliveries, now.MaxDeliveries-last.MaxDeliveries, ReasonRejected, now.Rejected-last.Rejected, ReasonOverflow, now.Overflow-last.Overflow)
		}
	}
}
