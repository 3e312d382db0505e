package broker

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"pipit/broker/stats"
)

// The counters of topics, producers and consumers go on over restarts: what they have come to is stored once a minute, where
// anything was counted, and by Close, so a crash loses a minute. Objects whose IDs are near share a document; one that is
// deleted is not in it the next time.
//
//	document: format 1, entries
//	entry: ID, the counters, when the old sub_key was used last and until when it is valid, both 0 where there is none
//
// Numbers are uvarints. An entry takes 17 to some 60 bytes.
const (
	tallyKind   = "tally"
	tallyFormat = 1
	tallyEvery  = time.Minute
	tallyShare  = 256    // IDs of a document: of the largest numbers it has 41 KiB
	tallyMost   = 10_000 // objects of a kind that are kept, those with the lowest IDs
)

// Kinds of objects that count.
const (
	tallyTopic    = 't'
	tallyProducer = 'p'
	tallyConsumer = 'c'
)

// tally stores counters. It is the sweeper's, and that of Close.
type tally struct {
	b      *Broker
	stored map[string]string // documents by their keys
	at     time.Time         // when it looked last
}

// tallied is an entry.
type tallied struct {
	id uint32
	stats.Counters
	oldSeen  uint64 // unix microseconds
	oldUntil uint64 // unix seconds: it tells one old sub_key from the next
}

// numbers are those of an entry, in the order in which they are stored.
func (e *tallied) numbers() []*uint64 {
	c := &e.Counters
	return []*uint64{
		&c.Published, &c.Delivered, &c.Acked, &c.Expired, &c.Rejected, &c.Redelivered,
		&c.DeadLettered.MaxDeliveries, &c.DeadLettered.Rejected, &c.DeadLettered.Expired, &c.DeadLettered.Overflow,
		&c.Dropped.MaxDeliveries, &c.Dropped.Rejected, &c.Dropped.Expired, &c.Dropped.Overflow,
		&e.oldSeen, &e.oldUntil,
	}
}

// load brings the objects to what was stored of them, before anything is counted.
func (t *tally) load(b *Broker) error {
	t.b, t.stored, t.at = b, map[string]string{}, time.Now()
	docs, err := b.Documents(tallyKind, "", false, 3*tallyMost)
	if err != nil {
		return err
	}
	for _, d := range docs {
		t.stored[d.Key] = string(d.Value)
		if len(d.Value) == 0 || d.Value[0] != tallyFormat {
			continue
		}
		for rest := d.Value[1:]; len(rest) > 0; {
			var e tallied
			if rest = e.take(rest); rest == nil {
				break
			}
			t.restore(d.Key[0], &e)
		}
	}
	return nil
}

// take reads an entry and returns what is behind it, nil where it is none.
func (e *tallied) take(b []byte) (rest []byte) {
	var id uint64
	for _, to := range append([]*uint64{&id}, e.numbers()...) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return nil
		}
		*to, b = v, b[n:]
	}
	e.id = uint32(id) // #nosec G115 -- it was one
	return b
}

func (t *tally) restore(kind byte, e *tallied) {
	switch kind {
	case tallyTopic:
		if x := t.b.topicIDs[e.id]; x != nil {
			x.counters.earlier = e.Counters
		}
	case tallyProducer:
		if x := t.b.producers[e.id]; x != nil {
			x.earlier = e.Published
		}
	case tallyConsumer:
		x := t.b.consumers[e.id]
		if x == nil {
			return
		}
		x.counters.earlier = e.Counters
		if old := x.def.Load().Old; e.oldSeen != 0 && uint64(old.Until.Unix()) == e.oldUntil { // #nosec G115 -- since 1970
			x.oldSeen.set(time.UnixMicro(int64(e.oldSeen))) // #nosec G115 -- it was one
		}
	}
}

// store stores what has changed, once it is time for that, and at the end. What fails is tried again.
func (t *tally) store(now time.Time, end bool) {
	if now.Sub(t.at) < tallyEvery && !end {
		return
	}
	t.at = now
	docs := t.changed()
	if len(docs) == 0 || t.b.commits.do(documentOp(docs), documentBytes(docs)) != nil {
		return
	}
	for _, d := range docs {
		if t.stored[d.Key] = string(d.Value); d.Value == nil {
			delete(t.stored, d.Key)
		}
	}
}

// changed are the documents that are not stored as they are to be.
func (t *tally) changed() (docs []Document) {
	values := map[string][]byte{}
	for kind, list := range t.entries() {
		slices.SortFunc(list, func(x, y tallied) int { return cmp.Compare(x.id, y.id) })
		for i := range list[:min(len(list), tallyMost)] {
			e := &list[i]
			key := fmt.Sprintf("%c%08x", kind, e.id/tallyShare)
			if values[key] == nil {
				values[key] = []byte{tallyFormat}
			}
			b := binary.AppendUvarint(values[key], uint64(e.id))
			for _, n := range e.numbers() {
				b = binary.AppendUvarint(b, *n)
			}
			values[key] = b
		}
	}
	for key, v := range values {
		if t.stored[key] != string(v) {
			docs = append(docs, Document{Kind: tallyKind, Key: key, Value: v})
		}
	}
	for key := range t.stored {
		if values[key] == nil {
			docs = append(docs, Document{Kind: tallyKind, Key: key})
		}
	}
	slices.SortFunc(docs, func(x, y Document) int { return cmp.Compare(x.Key, y.Key) })
	return docs
}

// entries are those of all objects that have counted anything, by kind.
func (t *tally) entries() map[byte][]tallied {
	b, of := t.b, map[byte][]tallied{}
	add := func(kind byte, e tallied) {
		if (e != tallied{id: e.id}) {
			of[kind] = append(of[kind], e)
		}
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, x := range b.topics {
		add(tallyTopic, tallied{id: x.id, Counters: x.counters.total()})
	}
	for _, x := range b.producers {
		add(tallyProducer, tallied{id: x.id, Counters: stats.Counters{Published: x.total()}})
	}
	for _, x := range b.consumers {
		e := tallied{id: x.id, Counters: x.counted()}
		if at := x.oldSeen.time(); !at.IsZero() {
			e.oldSeen, e.oldUntil = uint64(at.UnixMicro()), uint64(x.def.Load().Old.Until.Unix()) // #nosec G115 -- since 1970
		}
		add(tallyConsumer, e)
	}
	return of
}
