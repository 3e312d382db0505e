package broker

import (
	"bytes"
	"context"
	"slices"
	"time"

	"pipit/broker/limit"
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
	op, err := Release{Consumer: consumer}.op(ctx, b, topic)
	if err != nil {
		return false, err
	}
	op.ids, op.needed, op.docs = []string{id}, true, docs
	if err := b.commits.doAlone(op); err != nil {
		return false, err
	}
	return op.released > 0, nil
}

// Release says which messages are made deliverable at once: those of IDs that wait for their delay, or, for one consumer (0:
// for all), that are deferred or in flight.
type Release struct {
	IDs      []string // 1 to MaxSettle
	Consumer uint32
}

// Run releases messages of a topic, a bounded part with each commit, and returns how many that has changed something for.
// Those that are not there are left out. Documents are put with the first. The errors are Invalid, NotFound (no such topic or
// consumer), Unavailable and DiskFull. What is counted was released also where there is an error.
func (r Release) Run(ctx context.Context, b *Broker, topic string, docs ...Document) (n int, err error) {
	if n := len(r.IDs); n < 1 || n > limit.MaxSettle {
		return 0, Invalidf("%d messages: allowed are 1 to %d", n, limit.MaxSettle).of("ids")
	}
	if err := checkDocuments(docs); err != nil {
		return 0, err
	}
	for ids := r.IDs; len(ids) > 0; {
		op, err := r.op(ctx, b, topic)
		if err != nil {
			return n, err
		}
		op.ids, op.docs = ids[:min(len(ids), settleChunk)], docs
		if err := b.commits.doAlone(op); err != nil {
			return n, err
		}
		n, ids, docs = n+op.released, ids[op.looked:], nil
	}
	return n, nil
}

// op begins a commit.
func (r Release) op(ctx context.Context, b *Broker, topic string) (*releaseOp, error) {
	op := &releaseOp{b: b, t: b.topic(topic), name: topic}
	if op.t == nil {
		return nil, noTopic(topic)
	}
	if r.Consumer != 0 {
		if op.c = b.consumer(r.Consumer); op.c == nil || op.c.queueOf(op.t.id) == nil {
			return nil, noConsumer(r.Consumer)
		}
	}
	if ctx.Err() != nil {
		return nil, callerLeft(ctx)
	}
	return op, nil
}

// releaseOp makes messages deliverable.
type releaseOp struct {
	b      *Broker
	t      *topic
	name   string    // of the topic
	c      *consumer // nil: all
	ids    []string  // the first of them in any case, more while their payloads are small
	needed bool      // it is an error where there are none
	docs   documentOp

	looked   int // of the IDs
	slots    []slot
	moved    int // messages that waited for their delay
	released int
}

func (o *releaseOp) plan(d *draft) error {
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	if o.c != nil && o.c.deleted.Load() {
		return noConsumer(o.c.id)
	}
	o.slots, o.moved, o.looked = nil, 0, 0
	var keys []string
	var records []*store.Record
	size := 0
	err := o.b.store.View(func(r store.Reader) error {
		for _, id := range o.ids {
			err := o.b.find(r, o.t.id, id, func(key string, rec *store.Record) {
				switch at := rec.ExpireAt(); {
				case !at.IsZero() && !at.After(o.b.expiryNow(d.now)):
				case key == "":
					o.slots = append(o.slots, slot{rec.Priority, rec.Pos})
				case slices.Contains(keys, key): // an ID may be given twice
				default:
					rec := *rec
					rec.Payload = bytes.Clone(rec.Payload)
					size += len(rec.Payload)
					// It is due now, and its expiration counts from now on.
					waited := (d.now.Sub(rec.Created) + time.Second - 1) / time.Second
					rec.Delay = uint32(min(int64(rec.Delay), max(int64(waited), 0))) // #nosec G115 -- no more than before
					keys, records = append(keys, key), append(records, &rec)
				}
			})
			if o.looked++; err != nil || size > buryBytes {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if o.needed && len(o.slots)+len(records) == 0 {
		return noMessage(o.ids[0])
	}
	for i, r := range records {
		d.takeBack(o.t, keys[i], r.Size())
		d.append(o.t, r)
	}
	o.moved = len(records)
	return o.docs.plan(d)
}

func (o *releaseOp) applied(now time.Time) {
	if o.moved > 0 {
		o.b.sweeper.undelayed.Add(1)
	}
	held := map[slot]bool{}
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
				some, held[s] = true, true
			}
		}
		if some {
			c.wakeOne()
		}
		c.mu.Unlock()
	}
	o.released = o.moved + len(held)
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
