package broker

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"time"

	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/store"
)

// Message returns a message of a topic with its payload, and where it stands with each consumer;
// of several with the same ID, the newest. The error is NotFound.
func (b *Broker) Message(topic, id string) (browse.Stored, []browse.Standing, error) {
	t := b.topic(topic)
	if t == nil {
		return browse.Stored{}, nil, noTopic(topic)
	}
	now := time.Now()
	var f found
	err := b.store.View(func(r store.Reader) error {
		return b.find(r, t.id, id, func(key string, rec *store.Record) {
			at := rec.ExpireAt()
			if !at.IsZero() && !at.After(b.expiryNow(now)) || f.ID != "" && rec.Created.Before(f.Created) {
				return
			}
			f = found{Stored: b.stored(t, rec, -1), slot: slot{rec.Priority, rec.Pos}, key: key}
		})
	})
	if err != nil {
		return browse.Stored{}, nil, err
	}
	if f.ID == "" {
		return browse.Stored{}, nil, noMessage(id)
	}
	if f.key == "" {
		t.stand([]*found{&f}, b.since(now))
	} else {
		f.State = browse.Delayed
	}
	standings := make([]browse.Standing, 0, len(t.list()))
	for _, q := range t.list() {
		c := q.of
		s := browse.Standing{Consumer: c.id, Client: c.def.Load().Client, State: browse.Delayed}
		if f.key == "" {
			var until time.Duration
			c.mu.Lock()
			s.State, s.Deliveries, until = q.stand(&f, b.since(now))
			c.mu.Unlock()
			if until != 0 && until != forever {
				s.Until = b.epoch.Add(until).UTC().Truncate(time.Microsecond)
			}
		}
		standings = append(standings, s)
	}
	slices.SortFunc(standings, func(x, y browse.Standing) int {
		return cmp.Or(cmp.Compare(x.Client, y.Client), cmp.Compare(x.Consumer, y.Consumer))
	})
	return f.Stored, standings, nil
}

// find calls fn with each stored message of a topic that has an ID, and with its key where it waits
// for its delay. The record is reused between calls.
func (b *Broker) find(r store.Reader, topic uint32, id string, fn func(key string, rec *store.Record)) error {
	at := func(p store.Place) error {
		return r.Scan(p.Lane, p.Pos, false, func(rec *store.Record) bool {
			if rec.Pos == p.Pos && b.idOf(rec) == id {
				fn("", rec)
			}
			return false
		})
	}
	if p, _, ok := b.ids.decode(id); ok && p.Topic == topic {
		if err := at(p); err != nil {
			return err
		}
	}
	if limit.CheckMessageID(id) != nil {
		return nil
	}
	sightings, err := r.FindID(topic, id)
	for _, s := range sightings {
		if err != nil {
			break
		}
		if s.Pos > 0 {
			err = at(s.Place)
		} else if s.Key != "" {
			// What a key begins with comes before it.
			err = r.ScanDelayed(s.Key[:len(s.Key)-1], func(d store.Delayed) bool {
				if d.Key == s.Key {
					fn(d.Key, d.Record)
				}
				return d.Key < s.Key
			})
		}
	}
	return err
}

// Oldest returns, for each of the consumers that has a backlog, when the oldest message was
// created that it is not done with.
func (b *Broker) Oldest(consumers ...uint32) (map[uint32]time.Time, error) {
	const together = 100 // queues that share a View
	var list []*queue
	b.mu.RLock()
	for _, id := range consumers {
		if c := b.consumers[id]; c != nil {
			list = append(list, c.list()...)
		}
	}
	b.mu.RUnlock()
	oldest := make(map[uint32]time.Time, len(consumers))
	now := b.expiryNow(time.Now())
	for part := range slices.Chunk(list, together) {
		looks := make([]look, len(part))
		unknown := 0
		for i, q := range part {
			looks[i].begin(q, now)
			unknown += len(looks[i].todo)
		}
		if unknown > 0 {
			err := b.store.View(func(r store.Reader) error {
				for i := range looks {
					if err := looks[i].read(r, now); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		for i, q := range part {
			at := looks[i].end()
			if was, ok := oldest[q.of.id]; !at.IsZero() && (!ok || at.Before(was)) {
				oldest[q.of.id] = at
			}
		}
	}
	return oldest, nil
}

// consumer returns a consumer, nil where there is none.
func (b *Broker) consumer(id uint32) *consumer {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.consumers[id]
}

// topic returns a topic, nil where there is none.
func (b *Broker) topic(name string) *topic {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.topics[name]
}

func noTopic(name string) *Error {
	message := fmt.Sprintf("No topic %q", clip.Input(name))
	if isPattern(name) {
		message += ": a pattern or a template has no messages of its own"
	}
	return &Error{Code: NotFound, Message: message}
}

func noConsumer(id uint32) *Error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("No consumer %d", id)}
}

func noMessage(id string) *Error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("No message %q", clip.Input(id))}
}

// stored returns a message with at most n bytes of its payload, all of it where n is negative.
func (b *Broker) stored(t *topic, r *store.Record, n int) browse.Stored {
	if n < 0 || n > len(r.Payload) {
		n = len(r.Payload)
	}
	return browse.Stored{
		ID:         b.idOf(r),
		Topic:      t.def.Load().Name,
		Priority:   int(r.Priority),
		Created:    r.Created,
		Due:        r.Due(),
		Expiration: int64(r.Expiration),
		ExpireAt:   r.ExpireAt(),
		Producer:   r.Producer,
		MIMEType:   r.MIMEType,
		Size:       len(r.Payload),
		Payload:    bytes.Clone(r.Payload[:n:n]),
		Extra:      r.Extra,
	}
}

// idOf returns the ID under which a message that has its place is known.
func (b *Broker) idOf(r *store.Record) string {
	if r.ID != "" {
		return r.ID
	}
	return b.ids.encode(r.Place, r.Created)
}
