package broker

import (
	"bytes"
	"context"
	"slices"
	"time"

	"pipit/broker/store"
)

// ReleaseMessage makes a message deliverable at once that waits for its delay, for all consumers, or,
// for one consumer (0: for all), one that is deferred or in flight. It tells whether anything has
// changed. Documents are put with it, changed or not. The error is Invalid (a document), NotFound,
// Unavailable or DiskFull.
func (b *Broker) ReleaseMessage(ctx context.Context, topic, id string, consumer uint32, docs ...Document) (bool, error) {
	if err := checkDocuments(docs); err != nil {
		return false, err
	}
	op := &releaseOp{b: b, t: b.topic(topic), name: topic, id: id, docs: docs}
	if op.t == nil {
		return false, noTopic(topic)
	}
	if consumer != 0 {
		if op.c = b.consumer(consumer); op.c == nil || op.c.queueOf(op.t.id) == nil {
			return false, noConsumer(consumer)
		}
	}
	if ctx.Err() != nil {
		return false, callerLeft(ctx)
	}
	if err := b.commits.doAlone(op); err != nil {
		return false, err
	}
	return op.changed, nil
}

// releaseOp makes a message deliverable.
type releaseOp struct {
	b    *Broker
	t    *topic
	name string    // of the topic
	c    *consumer // nil: all
	id   string
	docs documentOp

	slots   []slot
	moved   int // messages that waited for their delay
	changed bool
}

func (o *releaseOp) plan(d *draft) error {
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	if o.c != nil && o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	o.slots, o.moved = nil, 0
	var keys []string
	var records []*store.Record
	err := o.b.store.View(func(r store.Reader) error {
		return o.b.find(r, o.t.id, o.id, func(key string, rec *store.Record) {
			switch at := rec.ExpireAt(); {
			case !at.IsZero() && !at.After(o.b.expiryNow(d.now)):
			case key == "":
				o.slots = append(o.slots, slot{rec.Priority, rec.Pos})
			default:
				rec := *rec
				rec.Payload = bytes.Clone(rec.Payload)
				// It is due now, and its expiration counts from now on.
				waited := (d.now.Sub(rec.Created) + time.Second - 1) / time.Second
				rec.Delay = uint32(min(int64(rec.Delay), max(int64(waited), 0))) // #nosec G115 -- no more than before
				keys, records = append(keys, key), append(records, &rec)
			}
		})
	})
	if err != nil {
		return err
	}
	if len(o.slots)+len(records) == 0 {
		return noMessage(o.id)
	}
	for i, r := range records {
		d.batch.Undelay = append(d.batch.Undelay, keys[i])
		d.append(o.t, r)
		o.t.nextDelayed--
	}
	o.moved = len(records)
	return o.docs.plan(d)
}

func (o *releaseOp) applied(now time.Time) {
	if o.moved > 0 {
		o.b.sweeper.undelayed.Add(1)
		o.changed = true
	}
	for _, q := range o.t.list() {
		c := q.of
		if o.c != nil && c != o.c || c.held.Load() == 0 {
			continue
		}
		c.mu.Lock()
		some := c.expire(o.b.since(now)) > 0
		for _, s := range o.slots {
			if l := q.leases[s]; l != nil && (l.state == leased || l.state == deferred) {
				c.unlist(l)
				c.takeBack(l)
				some, o.changed = true, true
			}
		}
		if some {
			c.wakeOne()
		}
		c.mu.Unlock()
	}
}

func (o *releaseOp) failed() {}

func (o *releaseOp) appends() bool { return o.moved > 0 || o.docs.appends() }

// ReleaseInFlight makes what a consumer has in flight, or has rejected with a delay, deliverable at
// once. It returns how many messages that were. The errors are those of ClearBacklog.
func (b *Broker) ReleaseInFlight(ctx context.Context, consumer uint32, docs ...Document) (int, error) {
	c, err := b.intervene(ctx, consumer, docs)
	if err != nil {
		return 0, err
	}
	op := &releaseFlightOp{c: c, docs: docs}
	if err := b.commits.do(op, documentBytes(docs)); err != nil {
		return 0, err
	}
	n := 0
	c.eachTimed(b.since(time.Now()), func(l *lease) {
		c.unlist(l)
		c.takeBack(l)
		if l.state == ready {
			n++
		}
	})
	return n, nil
}

// takeBack is giveBack of a lease that an administrator releases: the last delivery that the consumer allows does not
// count then. The caller holds mu.
func (c *consumer) takeBack(l *lease) {
	if c.def.Load().exhausts(l.count) {
		l.count--
		l.q.note(l)
	}
	c.giveBack(l)
}

// eachTimed calls fn with each lease that is in flight or deferred at now, under the consumer's lock, of
// which it lets go in between.
func (c *consumer) eachTimed(now time.Duration, fn func(*lease)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expireAll(now)
	for i, l := range slices.Clone(c.timed) {
		if i%settleChunk == settleChunk-1 {
			c.wakeOne()
			c.mu.Unlock()
			c.mu.Lock()
		}
		if l.q.leases[l.slot] == l && (l.state == leased || l.state == deferred) {
			fn(l)
		}
	}
	c.wakeOne()
}

// releaseFlightOp stores the documents of a release.
type releaseFlightOp struct {
	c    *consumer
	docs documentOp
}

func (o *releaseFlightOp) plan(d *draft) error {
	if o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	return o.docs.plan(d)
}

func (o *releaseFlightOp) applied(time.Time) {}

func (o *releaseFlightOp) failed() {}

func (o *releaseFlightOp) appends() bool { return o.docs.appends() }
