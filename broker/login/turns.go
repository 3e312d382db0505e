package login

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"
)

// Bounds of who waits for a slow hash, for those that are known and for strangers each.
const (
	maxWaiting       = 256 // in all; past it, who comes last in the longest line leaves
	maxWaitingInLine = 128
)

// turns gives out what few may do at once. Who waits stands in a line, such as that of its network, and
// lines are served in turn, so that one waits for as many others as there are lines, however long they are. Those
// that are known and strangers are served in turn as well.
type turns struct {
	mu     sync.Mutex
	free   int // that nobody has; while there are any, nobody waits
	queues [2]turnQueue
	next   int // the queue to serve first
}

// turnQueue is who waits, in lines. It is guarded by the mu of its turns.
type turnQueue struct {
	waiting int
	lines   map[digest]*list.Element
	order   list.List // of *turnLine, none of them empty, that which is served next first
}

type turnLine struct {
	key     digest
	tickets []*ticket
}

// ticket is the place in a line of one that waits.
type ticket struct {
	key    digest
	called chan struct{} // closed when it waits no more
	served bool          // it has its turn, else it was sent away; final when called is closed
}

var errCrowded = &Error{Code: Unavailable, Message: "Overloaded, try again",
	Reason: "too many logins wait for their password check", RetryAfter: time.Second}

func newTurns(atOnce int) *turns {
	t := &turns{free: atOnce}
	for i := range t.queues {
		t.queues[i].lines = map[digest]*list.Element{}
	}
	return t
}

// take waits in the line of a key for a turn, which ends with done. The error is Unavailable.
func (t *turns) take(ctx context.Context, key digest, known bool) (done func(), err error) {
	q := &t.queues[0]
	if known {
		q = &t.queues[1]
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return t.done, nil
	}
	w := q.join(key)
	t.mu.Unlock()
	if w == nil {
		return nil, errCrowded
	}
	select {
	case <-w.called:
	case <-ctx.Done():
		t.mu.Lock()
		left := q.leave(w)
		t.mu.Unlock()
		if left {
			return nil, callerLeft(ctx)
		}
		<-w.called // at the same moment
	}
	if !w.served {
		return nil, errCrowded
	}
	return t.done, nil
}

// done ends a turn: the next one's begins.
func (t *turns) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for range t.queues {
		w := t.queues[t.next].serve()
		t.next = (t.next + 1) % len(t.queues)
		if w != nil {
			w.served = true
			close(w.called)
			return
		}
	}
	t.free++
}

// join puts one more into the line of a key; nil, where there is no room.
func (q *turnQueue) join(key digest) *ticket {
	e := q.lines[key]
	n := 1 // in the line, with this one
	if e != nil {
		n += len(e.Value.(*turnLine).tickets)
	}
	if n > maxWaitingInLine || q.waiting >= maxWaiting && !q.shorten(n) {
		return nil
	}
	if e == nil {
		e = q.order.PushBack(&turnLine{key: key})
		q.lines[key] = e
	}
	ln, w := e.Value.(*turnLine), &ticket{key: key, called: make(chan struct{})}
	ln.tickets = append(ln.tickets, w)
	q.waiting++
	return w
}

// shorten sends the last one of the longest line away, if that has more than n.
func (q *turnQueue) shorten(n int) bool {
	var longest *turnLine
	for e := q.order.Front(); e != nil; e = e.Next() {
		if ln := e.Value.(*turnLine); len(ln.tickets) > n {
			longest, n = ln, len(ln.tickets)
		}
	}
	if longest == nil {
		return false
	}
	last := longest.tickets[n-1]
	q.leave(last)
	close(last.called)
	return true
}

// serve takes the first one out of the line whose turn it is; nil, where nobody waits.
func (q *turnQueue) serve() *ticket {
	e := q.order.Front()
	if e == nil {
		return nil
	}
	q.order.MoveToBack(e)
	w := e.Value.(*turnLine).tickets[0]
	q.leave(w)
	return w
}

// leave takes one out of its line, and tells whether it stood there.
func (q *turnQueue) leave(w *ticket) bool {
	e := q.lines[w.key]
	if e == nil {
		return false
	}
	ln := e.Value.(*turnLine)
	i := slices.Index(ln.tickets, w)
	if i < 0 {
		return false
	}
	ln.tickets = slices.Delete(ln.tickets, i, i+1)
	q.waiting--
	if len(ln.tickets) == 0 {
		delete(q.lines, w.key)
		q.order.Remove(e)
	}
	return true
}
