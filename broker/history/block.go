package history

import (
	"encoding/binary"

	"pipit/broker/store"
)

// A block is what one document of the store has: a head, and entries one behind the other, each a byte that says what it
// is and then numbers as varints and texts with their length. Names stand in a block once, before the entry that needs
// them, so that each block can be read by itself, and what stays where others have gone. Times and positions are kept as
// the difference to those of the entry before.

// version is the first byte of a block. A block of another one is not read.
const version = 1

// headSize is how long a head is: version, the times of the first and the last entry in Unix microseconds, messages.
const headSize = 1 + 8 + 8 + 4

// What an entry is.
const (
	entryTime      = 1 // what follows happened then: the difference to the time before
	entryProducer  = 2 // a name; they are counted from 0
	entryTopic     = 3 // number, name
	entryQueue     = 4 // number, number of its topic, number of its consumer, label of that
	entryPublished = 5 // flags, topic, priority, position, size, producer, time of publishing, and what the flags say
	entryFinished  = 6 // outcome, queue, priority, position, deliveries, and how long before the last of them was; 0: it is not known
	entryGone      = 7 // outcome, topic, priority, position; 0: and the ID
	entryPassed    = 8 // outcome, queue, priority, first and last position
	entryEnded     = 9 // outcome, topic: all of its messages
)

// Flags of a published message.
const (
	hasID          = 1
	hasCorrelation = 2
	isDelayed      = 4 // its position is 0: it waits for its delay, of so many seconds
)

// Topic is what messages are published to.
type Topic interface {
	HistoryTopic() (name string)
}

// Queue is what a topic's messages are to a consumer.
type Queue interface {
	HistoryQueue() (consumer uint32, label string, topic uint32, t Topic)
}

// block is a part of the history. Blocks follow each other in time.
type block struct {
	seq         uint64
	first, last int64 // Unix microseconds
	messages    int   // that were published within it
	body        []byte
	size        int // of the body
	stored      int // so much of the body is in the store, and nothing in memory where it is full
	full        bool
}

// writer is the block that grows, and what reading it will know at its end.
type writer struct {
	block
	now       int64 // of the last entryTime
	topics    map[uint32]struct{}
	queues    map[uint32]struct{}
	producers map[string]uint64
	published uint64 // position
	finished  uint64 // position

	// Those of the last entry: most are like it.
	topic    uint32
	queue    uint32
	producer string
	index    uint64 // of producer
}

func newWriter(seq uint64, now int64) *writer {
	return &writer{
		block:  block{seq: seq, first: now, last: now, body: make([]byte, 0, blockSize+blockSize/4)},
		now:    now,
		topics: map[uint32]struct{}{}, queues: map[uint32]struct{}{}, producers: map[string]uint64{},
	}
}

func (w *writer) uint(n uint64) { w.body = binary.AppendUvarint(w.body, n) }
func (w *writer) int(n int64)   { w.body = binary.AppendVarint(w.body, n) }
func (w *writer) text(s string) { w.uint(uint64(len(s))); w.body = append(w.body, s...) }
func (w *writer) byte(b byte)   { w.body = append(w.body, b) }

// at lets what follows have happened at a time.
func (w *writer) at(now int64) {
	if now != w.now {
		w.byte(entryTime)
		w.int(now - w.now)
		w.now = now
	}
	w.last = max(w.last, now)
}

func (w *writer) define(topic uint32, t Topic) {
	if topic == w.topic && w.topic != 0 {
		return
	}
	w.topic = topic
	if _, ok := w.topics[topic]; !ok {
		w.topics[topic] = struct{}{}
		w.byte(entryTopic)
		w.uint(uint64(topic))
		w.text(t.HistoryTopic())
	}
}

func (w *writer) defineQueue(queue uint32, q Queue) {
	if queue == w.queue && w.queue != 0 {
		return
	}
	w.queue = queue
	if _, ok := w.queues[queue]; ok {
		return
	}
	w.queues[queue] = struct{}{}
	consumer, label, topic, t := q.HistoryQueue()
	w.define(topic, t)
	w.byte(entryQueue)
	w.uint(uint64(queue))
	w.uint(uint64(topic))
	w.uint(uint64(consumer))
	w.text(label)
}

func (w *writer) defineProducer(name string) {
	if name == w.producer && len(w.producers) > 0 {
		return
	}
	w.producer = name
	index, ok := w.producers[name]
	if !ok {
		index = uint64(len(w.producers))
		w.producers[name] = index
		w.byte(entryProducer)
		w.text(name)
	}
	w.index = index
}

func (w *writer) publish(t Topic, r *store.Record) {
	w.define(r.Topic, t)
	w.defineProducer(r.Producer)
	w.messages++
	var flags byte
	correlation := ""
	if r.Extra != nil {
		correlation = r.Extra.CorrelationID
	}
	if r.ID != "" {
		flags |= hasID
	}
	if correlation != "" {
		flags |= hasCorrelation
	}
	if r.Pos == 0 {
		flags |= isDelayed
	}
	size := uint64(len(r.Payload))
	if r.Apart.Number != 0 {
		size = uint64(r.Apart.Size)
	}
	w.body = append(w.body, entryPublished, flags)
	w.uint(uint64(r.Topic))
	w.byte(r.Priority)
	if flags&isDelayed == 0 {
		w.int(int64(r.Pos - w.published)) // #nosec G115 -- positions stay below 2^56
		w.published = r.Pos
	} else {
		w.uint(uint64(r.Delay))
	}
	w.uint(size)
	w.uint(w.index)
	w.int(r.Created.UnixMicro() - w.now)
	if flags&hasID != 0 {
		w.text(r.ID)
	}
	if flags&hasCorrelation != 0 {
		w.text(correlation)
	}
}

func (w *writer) finish(queue uint32, q Queue, o Outcome, priority uint8, pos uint64, deliveries uint32, delivered int64) {
	w.defineQueue(queue, q)
	w.body = append(w.body, entryFinished, byte(o))
	w.uint(uint64(queue))
	w.byte(priority)
	w.int(int64(pos - w.finished)) // #nosec G115 -- positions stay below 2^56
	w.finished = pos
	w.uint(uint64(deliveries))
	ago := uint64(0)
	if delivered != 0 {
		ago = uint64(max(w.now-delivered, 0)) + 1 // #nosec G115 -- not negative
	}
	w.uint(ago)
}

func (w *writer) gone(t Topic, o Outcome, p store.Place, id string) {
	w.define(p.Topic, t)
	w.body = append(w.body, entryGone, byte(o))
	w.uint(uint64(p.Topic))
	w.byte(p.Priority)
	w.uint(p.Pos)
	if p.Pos == 0 {
		w.text(id)
	}
}

func (w *writer) pass(queue uint32, q Queue, o Outcome, priority uint8, s store.Span) {
	w.defineQueue(queue, q)
	w.body = append(w.body, entryPassed, byte(o))
	w.uint(uint64(queue))
	w.byte(priority)
	w.uint(s.From)
	w.uint(s.To)
}

func (w *writer) end(topic uint32, t Topic, o Outcome) {
	w.define(topic, t)
	w.body = append(w.body, entryEnded, byte(o))
	w.uint(uint64(topic))
}

// value is a block as the store has it.
func (b *block) value() []byte {
	v := make([]byte, headSize, headSize+len(b.body))
	v[0] = version
	binary.BigEndian.PutUint64(v[1:], uint64(b.first))     // #nosec G115 -- back and forth
	binary.BigEndian.PutUint64(v[9:], uint64(b.last))      // #nosec G115
	binary.BigEndian.PutUint32(v[17:], uint32(b.messages)) // #nosec G115 -- bounded by the bytes of a block
	return append(v, b.body...)
}

// parseHead reads what a block's head says. It is false where the block is none of this version.
func parseHead(v []byte) (b block, ok bool) {
	if len(v) < headSize || v[0] != version {
		return b, false
	}
	b.first = int64(binary.BigEndian.Uint64(v[1:])) // #nosec G115 -- back and forth
	b.last = int64(binary.BigEndian.Uint64(v[9:]))  // #nosec G115
	b.messages = int(binary.BigEndian.Uint32(v[17:]))
	b.size = len(v) - headSize
	return b, true
}
