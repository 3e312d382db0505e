package broker

import (
	"sync"
	"sync/atomic"
)

// topic is a Topic at work.
type topic struct {
	id  uint32
	def atomic.Pointer[Topic]

	producers map[string]*producer // by username; guarded by Broker.mu
	revision  string               // of def; guarded by Broker.mu

	consumers atomic.Pointer[[]*consumer] // replaced, never changed
	waiting   atomic.Int32                // long polls that wait in all consumers
	delayed   atomic.Int64                // stored messages that wait for their delay

	counters    counters
	lastPublish atomic.Int64 // unix microseconds; 0: never, as far as is known
	deleted     atomic.Bool  // set by the committer, for good

	mu    sync.Mutex // guards lanes[].gone against readers beside the committer, its one writer
	lanes [MaxPriority + 1]lane

	// The committer's own.
	room        int64 // at least so many messages fit yet; counted anew when used up
	nextDelayed int64 // delayed, as this commit will leave it
	touched     bool  // listed in plan.topics
}

func (t *topic) list() []*consumer {
	if l := t.consumers.Load(); l != nil {
		return *l
	}
	return nil
}

// lane is one priority of a topic at work.
type lane struct {
	tail     atomic.Uint64 // position of the last committed message
	gone     Cursor        // removed positions
	bootTail uint64        // tail when the process began

	// The committer's own.
	next    uint64  // tail, as this commit will leave it
	work    *Cursor // gone, as this commit will leave it; nil: untouched
	dirty   bool    // listed in plan.lanes
	settled bool    // this commit moves a consumer's cursor
	ragged  bool    // consumers are done with positions out of order, or more than one commit removes
}

// goneWork returns the cursor of removed positions that the running commit may change.
func (l *lane) goneWork() *Cursor {
	if l.work == nil {
		c := l.gone.Clone()
		l.work = &c
	}
	return l.work
}

// goneNow returns the removed positions as the running commit will leave them.
func (l *lane) goneNow() *Cursor {
	if l.work != nil {
		return l.work
	}
	return &l.gone
}

// stored returns how many messages of the topic are stored, as the running commit will leave it.
func (t *topic) stored() int64 {
	var n int64
	for p := range t.lanes {
		n += int64(t.lanes[p].next - t.lanes[p].goneNow().Count())
	}
	return n
}

// depth returns how many messages of the topic are stored, without those that wait for their delay.
func (t *topic) depth() int64 {
	var gone [MaxPriority + 1]uint64
	t.mu.Lock()
	for p := range t.lanes {
		gone[p] = t.lanes[p].gone.Count()
	}
	t.mu.Unlock()
	var n int64
	for p := range t.lanes {
		n += max(int64(t.lanes[p].tail.Load()-gone[p]), 0) // a commit moves gone first, then the tail
	}
	return n
}

// producer is a Producer at work.
type producer struct {
	id       uint32
	topic    *topic
	def      atomic.Pointer[Producer]
	revision string // of def; guarded by Broker.mu
	seen     lastSeen

	published atomic.Uint64
	deleted   atomic.Bool // set by the committer, for good
}
