package broker

import (
	"context"
	"slices"
	"time"

	"pipit/broker/history"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// DeleteMessages deletes messages of a topic, for all consumers and in one commit, also those in
// flight, whose acknowledgement will not find them. It returns how many there were of the IDs,
// of which there are 1 to MaxSettle. Documents are put with it. The errors are Invalid, NotFound
// (no such topic), Unavailable and DiskFull.
func (b *Broker) DeleteMessages(ctx context.Context, topic string, ids []string, docs ...Document) (int, error) {
	if n := len(ids); n < 1 || n > limit.MaxSettle {
		return 0, Invalidf("%d messages: allowed are 1 to %d", n, limit.MaxSettle).of("ids")
	}
	if err := checkDocuments(docs); err != nil {
		return 0, err
	}
	t := b.topic(topic)
	if t == nil {
		return 0, noTopic(topic)
	}
	op := &deleteOp{b: b, t: t, name: topic, docs: docs}
	for part := range slices.Chunk(ids, settleChunk) {
		if ctx.Err() != nil {
			return 0, callerLeft(ctx)
		}
		err := b.store.View(func(r store.Reader) error {
			for _, id := range part {
				late := false
				err := b.find(r, t.id, id, func(key string, rec *store.Record) {
					if late = late || key != ""; key == "" {
						op.slots = append(op.slots, slot{rec.Priority, rec.Pos})
					}
				})
				if err != nil {
					return err
				}
				if late {
					op.late = append(op.late, id)
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
	}
	if err := b.commits.doAlone(op); err != nil {
		return 0, err
	}
	return op.n, nil
}

// deleteOp deletes messages of a topic.
type deleteOp struct {
	b     *Broker
	t     *topic
	name  string // of the topic
	slots []slot
	late  []string // IDs of messages that may wait for their delay
	docs  documentOp

	n       int
	deleted []slot
	keys    []string         // of delayed messages
	sizes   map[string]int64 // and of how many bytes they are

	undelayed []string // IDs of these
}

func (o *deleteOp) plan(d *draft) error {
	if o.t.deleted.Load() {
		return noTopic(o.name)
	}
	o.keys, o.sizes, o.deleted, o.undelayed = nil, map[string]int64{}, nil, nil
	err := o.b.store.View(func(r store.Reader) error {
		for _, s := range o.slots { // some may be gone by now
			err := r.Stored(store.Lane{Topic: o.t.id, Priority: s.priority}, store.Span{From: s.pos, To: s.pos}, func(uint64) bool {
				o.deleted = append(o.deleted, s)
				return false
			})
			if err != nil {
				return err
			}
		}
		for _, id := range o.late {
			before := len(o.keys)
			err := o.b.find(r, o.t.id, id, func(key string, rec *store.Record) {
				if key != "" {
					o.keys, o.sizes[key] = append(o.keys, key), rec.Size()
				} else {
					o.deleted = append(o.deleted, slot{rec.Priority, rec.Pos})
				}
			})
			if err != nil {
				return err
			}
			if len(o.keys) > before {
				o.undelayed = append(o.undelayed, id)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.Sort(o.keys)
	o.keys = slices.Compact(o.keys)
	slices.SortFunc(o.deleted, slot.compare)
	o.deleted = slices.Compact(o.deleted)
	d.discardSlots(o.t, o.deleted)
	o.n = len(o.deleted)
	for _, key := range o.keys {
		d.takeBack(o.t, key, o.sizes[key])
	}
	o.n += len(o.keys)
	return o.docs.plan(d)
}

func (o *deleteOp) applied(now time.Time) {
	o.b.recordGone(o.t, history.Deleted, o.deleted, o.undelayed, now)
	if len(o.keys) > 0 {
		o.b.sweeper.undelayed.Add(1)
	}
	o.t.unlease(o.deleted, false)
}

// discardSlots is discard for messages of several lanes, in order.
func (d *draft) discardSlots(t *topic, slots []slot) {
	for i := 0; i < len(slots); {
		prio := slots[i].priority
		var positions []uint64
		for ; i < len(slots) && slots[i].priority == prio; i++ {
			positions = append(positions, slots[i].pos)
		}
		d.discard(t, int(prio), positions)
	}
}

// unlease ends what consumers have in flight of messages that were deleted, or have moved.
func (t *topic) unlease(slots []slot, moved bool) {
	for _, q := range t.list() {
		c := q.of
		if c.held.Load() == 0 {
			continue
		}
		c.mu.Lock()
		for _, s := range slots {
			switch l := q.leases[s]; {
			case l == nil:
			case l.state == settling:
				l.elsewhere = moved // its acknowledgement, which is being committed, is left to its Settle
			default:
				c.unlist(l)
				c.drop(l)
			}
		}
		c.mu.Unlock()
	}
}

func (o *deleteOp) failed() {}

func (o *deleteOp) appends() bool { return o.docs.appends() }
