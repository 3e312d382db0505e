package history

import (
	"encoding/binary"
	"errors"
	"math"

	"pipit/broker/store"
)

var errDamaged = errors.New("a block of the history is damaged")

// event is an entry with the names that it refers to.
type event struct {
	entry    byte
	outcome  Outcome
	at       int64 // Unix microseconds, as all times here
	place    store.Place
	to       uint64 // of entryPassed: the last position
	topic    string
	consumer uint32
	label    string

	id, correlation, producer string
	created                   int64
	size                      int64
	delay                     uint32 // where place.Pos is 0
	deliveries                uint32
	delivered                 int64 // 0: not known
}

// reader reads the entries of a block.
type reader struct {
	rest      string
	now       int64
	bad       bool
	producers []string
	topics    map[uint32]string
	queues    map[uint32]queueName
	published uint64
	finished  uint64
	e         event
}

type queueName struct {
	topic, consumer uint32
	label           string
}

// read calls fn with what a block of a store tells, in the order in which it happened. fn keeps nothing that the event
// points to but its texts. The error says that the block is damaged: what came before that is right.
func read(value []byte, fn func(*event)) error {
	b, ok := parseHead(value)
	if !ok {
		return errDamaged
	}
	return readBody(b.first, value[headSize:], fn)
}

func readBody(first int64, body []byte, fn func(*event)) error {
	r := reader{rest: string(body), now: first, topics: map[uint32]string{}, queues: map[uint32]queueName{}}
	for r.rest != "" {
		some := r.entry()
		if r.bad {
			return errDamaged
		}
		if some {
			fn(&r.e)
		}
	}
	return nil
}

// entry reads one, and tells whether it is an event, which e is then.
func (r *reader) entry() (some bool) {
	kind := r.byte()
	r.e = event{entry: kind, at: r.now}
	switch kind {
	case entryTime:
		r.now += r.int()
		return false
	case entryProducer:
		r.producers = append(r.producers, r.text())
		return false
	case entryTopic:
		id := r.uint32()
		r.topics[id] = r.text()
		return false
	case entryQueue:
		id := r.uint32()
		r.queues[id] = queueName{r.uint32(), r.uint32(), r.text()}
		return false
	case entryPublished:
		r.publish()
		return true
	}
	r.e.outcome = Outcome(r.byte())
	switch kind {
	case entryFinished:
		r.queue()
		r.finished += uint64(r.int()) // #nosec G115 -- as it was written
		r.e.place.Pos, r.e.deliveries = r.finished, r.uint32()
		if ago := r.uint(); ago > 0 {
			r.e.delivered = r.now - int64(ago-1) // #nosec G115 -- as it was written
		}
	case entryGone:
		r.topic()
		r.e.place.Priority = r.byte()
		if r.e.place.Pos = r.uint(); r.e.place.Pos == 0 {
			r.e.id = r.text()
		}
	case entryPassed:
		r.queue()
		r.e.place.Pos, r.e.to = r.uint(), r.uint()
	case entryEnded:
		r.topic()
	default:
		r.bad = true
	}
	return true
}

func (r *reader) publish() {
	flags := r.byte()
	r.topic()
	r.e.place.Priority = r.byte()
	if flags&isDelayed == 0 {
		r.published += uint64(r.int()) // #nosec G115 -- as it was written
		r.e.place.Pos = r.published
	} else {
		r.e.delay = r.uint32()
	}
	r.e.size = int64(r.uint()) // #nosec G115 -- as it was written
	if n := r.uint(); n < uint64(len(r.producers)) {
		r.e.producer = r.producers[n]
	} else {
		r.bad = true
	}
	r.e.created = r.now + r.int()
	if flags&hasID != 0 {
		r.e.id = r.text()
	}
	if flags&hasCorrelation != 0 {
		r.e.correlation = r.text()
	}
}

// topic reads the number of one whose name is known.
func (r *reader) topic() {
	id := r.uint32()
	name, ok := r.topics[id]
	r.bad = r.bad || !ok
	r.e.place.Topic, r.e.topic = id, name
}

// queue reads the number of one that is known, and a priority.
func (r *reader) queue() {
	q, ok := r.queues[r.uint32()]
	r.bad = r.bad || !ok
	r.e.consumer, r.e.label = q.consumer, q.label
	r.e.place.Topic, r.e.topic = q.topic, r.topics[q.topic]
	r.e.place.Priority = r.byte()
}

func (r *reader) byte() byte {
	if r.rest == "" {
		r.bad = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) uint() uint64 {
	var head [binary.MaxVarintLen64]byte
	n, size := binary.Uvarint(head[:copy(head[:], r.rest)])
	if size <= 0 {
		r.bad, r.rest = true, ""
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) uint32() uint32 {
	n := r.uint()
	r.bad = r.bad || n > math.MaxUint32
	return uint32(n) // #nosec G115 -- or it is bad
}

func (r *reader) int() int64 {
	n := r.uint()
	return int64(n>>1) ^ -int64(n&1) // #nosec G115 -- as in encoding/binary
}

func (r *reader) text() string {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, ""
		return ""
	}
	s := r.rest[:n]
	r.rest = r.rest[n:]
	return s
}
