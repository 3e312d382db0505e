package broker

import (
	"math"
	"time"

	"pipit/broker/store"
)

// slot is a place within a queue's topic.
type slot struct {
	priority uint8
	pos      uint64
}

// leaseState says where a delivered message stands with its consumer.
type leaseState uint8

const (
	leased   leaseState = iota // in flight until a time
	deferred                   // rejected with a delay: not before a time
	ready                      // to be delivered again
	blocked                    // to be delivered when the one in flight with the same ID is not any more
	fetching                   // it was ready, and a receive is reading it
	settling                   // its acknowledgement, or where else it goes, is being committed
	failed                     // it failed for good: not delivered again, but moved to the dead-letter topic or dropped
)

// lease is a message that was delivered to a consumer and is not done.
type lease struct {
	q *queue
	slot
	store.Span        // the slot's position, and those beside it that have no message: see extent
	placed     uint32 // queue.placed when it began
	id         string // where its publisher gave it one
	blocked    []*lease
	state      leaseState
	index      int           // in consumer.timed, for leased and deferred, or consumer.failed, or queue.ready
	until      time.Duration // since Broker.epoch, for leased and deferred
	count      uint32        // deliveries
	seq        uint64        // of the last delivery: no two of a consumer have the same
	delivered  time.Duration // when that was, since Broker.epoch; 0: it is not known
	saved      uint32        // the count that the store has; 0: none
	at         int64         // of a queue of several: when its message was due, in unix microseconds; 0: not known
	stream     *Stream       // that was sent the last delivery, if any
	why        failure       // of failed, and of settling where it is one
	elsewhere  bool          // its message has moved while its acknowledgement waited for a commit
	removed    bool          // its message expired or was deleted: it can be settled, and counts for nothing
}

// over tells whether the consumer is done with the message, or it was removed: a seek back makes what is removed not done. The
// caller holds the consumer's mu.
func (l *lease) over() bool { return l.removed || l.q.done[l.priority].Has(l.pos) }

// leaseRef names one delivery of a message.
type leaseRef struct {
	q *queue
	slot
	seq uint64
}

// forever is the end of a lease that lasts until it is told otherwise.
const forever = time.Duration(math.MaxInt64)

// timedLeases is a heap by time.
type timedLeases []*lease

func (h timedLeases) Len() int           { return len(h) }
func (h timedLeases) Less(i, j int) bool { return h[i].until < h[j].until }
func (h timedLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timedLeases) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *timedLeases) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// readyLeases is a heap by position.
type readyLeases []*lease

func (h readyLeases) Len() int           { return len(h) }
func (h readyLeases) Less(i, j int) bool { return h[i].pos < h[j].pos }
func (h readyLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *readyLeases) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *readyLeases) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}

// failedLeases is a heap by queue and place.
type failedLeases []*lease

func (h failedLeases) Len() int           { return len(h) }
func (h failedLeases) Less(i, j int) bool { return byQueue(h[i], h[j]) < 0 }
func (h failedLeases) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *failedLeases) Push(x any) {
	l := x.(*lease)
	l.index = len(*h)
	*h = append(*h, l)
}
func (h *failedLeases) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
