package broker

import (
	"container/heap"
	"sync/atomic"

	"pipit/broker/store"
)

// lane is one priority of a topic at work.
type lane struct {
	tail     atomic.Uint64 // position of the last committed message
	removed  uint64        // messages ever removed
	skipped  uint64        // see CursorState.Finished
	bootTail uint64        // tail when the process began
	edits    atomic.Uint64 // commits that removed messages that somebody was not done with
	weighed  atomic.Bool   // size is known
	size     atomic.Int64  // bytes stored, as they count for retention_bytes

	// Of topics that retain; written holding topic.mu. What is before keep is removed once nobody needs it.
	keep    uint64
	spent   int64        // bytes stored before keep
	lastDue atomic.Int64 // when the last committed message was due, in unix microseconds; 0: not known

	// The committer's own.
	head        uint64   // no message is stored before it
	next        uint64   // tail, as this commit will leave it
	nextSkipped uint64   // skipped, as this commit will leave it
	firstDue    int64    // when the first message was due that this commit appends; 0: none is
	nextDue     int64    // lastDue, as this commit will leave it
	discarded   []uint64 // positions that this commit removes though somebody is not done with them
	floors      floors
	cleared     store.Cursor // known to be removed before the head is there: all were done out of order
	dirty       bool         // listed in draft.lanes
	stale       bool         // its LaneState is to be stored
	settled     bool         // this commit moves a consumer's cursor
	ragged      bool         // listed in draft.ragged
	countings   []*counting
	weight      *counting // of the bytes; nil: nobody wants to know them

	calm lull // the sweeper's own
}

// first returns the first position that may have a message. For the committer.
func (l *lane) first() uint64 { return max(l.head, 1) }

// stored returns how many messages the lane has, as the last commit left it, and those that this one
// appends. For the committer.
func (l *lane) stored() uint64 { return l.next - l.removed }

// floors is a heap of the queues of a topic by how far each is done with a lane, so that an
// acknowledgement need not look at all of them.
type floors struct {
	of   *[]*queue // the list of which it was made
	prio int
	heap []floorOf
}

type floorOf struct {
	floor uint64
	q     *queue
}

func (f *floors) Len() int           { return len(f.heap) }
func (f *floors) Less(i, j int) bool { return f.heap[i].floor < f.heap[j].floor }
func (f *floors) Swap(i, j int) {
	f.heap[i], f.heap[j] = f.heap[j], f.heap[i]
	f.heap[i].q.at[f.prio], f.heap[j].q.at[f.prio] = int32(i), int32(j) // #nosec G115 -- consumers of a topic, in memory
}
func (f *floors) Push(any) { panic("floors are made as a whole") }
func (f *floors) Pop() any { panic("floors are made as a whole") }

// least returns the queue that is done with least of a lane, as this commit will leave it; nil
// where the topic has none.
func (t *topic) least(prio int) *queue {
	f := &t.lanes[prio].floors
	if list := t.queues.Load(); f.of != list {
		f.of, f.prio = list, prio
		clear(f.heap)
		f.heap = f.heap[:0]
		for i, q := range t.list() {
			q.at[prio] = int32(i)
			f.heap = append(f.heap, floorOf{q.doneNow(prio).Lowest(), q})
		}
		heap.Init(f)
	}
	if len(f.heap) == 0 {
		return nil
	}
	return f.heap[0].q
}

// refloor tells the heap of a lane that a queue's floor may have moved.
func (t *topic) refloor(q *queue, prio int) {
	f := &t.lanes[prio].floors
	i := int(q.at[prio])
	if f.of != t.queues.Load() || i >= len(f.heap) || f.heap[i].q != q {
		return // it will be made anew, or the queue is no more
	}
	if floor := q.doneNow(prio).Lowest(); floor != f.heap[i].floor {
		f.heap[i].floor = floor
		heap.Fix(f, i)
	}
}
