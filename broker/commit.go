package broker

import (
	"errors"
	"runtime"
	"sync"
	"time"
)

// Bounds of one commit, so that it stays short.
const (
	maxCommitOps   = 4096
	maxCommitBytes = 16 << 20 // of payload; one operation may pass it
	maxRemoval     = 10_000   // positions that are removed because all consumers are done with them
)

// operation is a change on its way to the committer, which alone calls its methods.
type operation interface {
	// plan checks the change against the state as the operations before it leave it, and adds it
	// to the plan. On an error it has added nothing.
	plan(*plan) error
	// applied runs after the commit, when the plan's changes of lanes and cursors are in memory.
	applied(now time.Time)
	// failed runs instead of applied when the commit failed.
	failed()
	// appends tells whether the change stores messages: a full disk refuses those alone.
	appends() bool
}

// task is an operation and whoever waits for it.
type task struct {
	op    operation
	bytes int64
	alone bool // in a commit of its own
	err   error
	done  chan struct{} // one token when err is final
}

// queue is what has gathered for the next commit, and whose turn it is to commit.
type queue struct {
	mu     sync.Mutex
	tasks  []*task
	last   int  // tasks that the last turn took
	busy   bool // somebody commits
	closed bool
	wake   chan struct{} // of the committer
}

// Where several clients publish at once, those that were just answered come back within the
// time of a few requests. Giving them that long, and a processor, makes fewer and larger commits,
// which gains more than it costs. A client alone, or a few, never wait.
const (
	gatherFrom = 4
	gatherTime = 50 * time.Microsecond
)

// add queues a task for the committer. Where nobody commits and few did lately it gives the caller
// the turn instead: alone, one is done sooner without handing over to another goroutine and back,
// which takes as long as half a commit. It tells whether the queue is still open.
func (q *queue) add(t *task) (mine, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return false, false
	case !q.busy && len(q.tasks) == 0 && q.last < gatherFrom:
		q.busy, q.last = true, 1
		return true, true
	}
	q.tasks = append(q.tasks, t)
	if !q.busy && len(q.tasks) == 1 {
		q.signal()
	}
	return false, true
}

// release ends the turn that add or take gave.
func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy = false
	if len(q.tasks) > 0 || q.closed {
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for tasks and for the turn, and returns all tasks; none when the queue is closed
// and empty.
func (q *queue) take(spare []*task) []*task {
	gathered := false
	for {
		q.mu.Lock()
		n := len(q.tasks)
		switch {
		case q.busy || n == 0 && !q.closed:
			q.mu.Unlock()
			<-q.wake
		case !gathered && max(n, q.last) >= gatherFrom && n < maxCommitOps && !q.closed:
			q.mu.Unlock()
			time.Sleep(gatherTime)
			runtime.Gosched()
			gathered = true
		default:
			tasks := q.tasks
			q.busy, q.tasks, q.last = true, spare[:0], n
			q.mu.Unlock()
			return tasks
		}
	}
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// do runs an operation through a commit and returns when it is durable, or refused.
func (b *Broker) do(op operation, bytes int64) error {
	t := &task{op: op, bytes: bytes, done: make(chan struct{}, 1)}
	return b.wait(t)
}

func (b *Broker) wait(t *task) error {
	mine, open := b.queue.add(t)
	switch {
	case !open:
		t.op.failed()
		return errClosed
	case mine:
		if b.turn([]*task{t}) {
			runtime.Gosched() // who waits for the message goes first; this one has its reply to write
		}
	}
	<-t.done
	return t.err
}

// commitLoop commits what was queued while somebody else did.
func (b *Broker) commitLoop() {
	var spare []*task
	for {
		tasks := b.queue.take(spare)
		if len(tasks) == 0 {
			return
		}
		b.turn(tasks)
		clear(tasks)
		spare = tasks
	}
}

// turn commits tasks and tells whether that woke a long poll. Whoever has the turn is the one writer
// of the store and of everything in memory that mirrors it.
func (b *Broker) turn(tasks []*task) (woke bool) {
	ended := false
	defer func() {
		if !ended { // a panic, in a request's goroutine perhaps, which does not end the process
			b.failed.Store(true)
		}
		b.queue.release()
	}()
	for len(tasks) > 0 {
		n := portion(tasks)
		if b.commit(&b.plan, tasks[:n]) {
			woke = true
		}
		tasks = tasks[n:]
	}
	ended = true
	return woke
}

// portion returns how many of the tasks the next commit takes.
func portion(tasks []*task) int {
	if tasks[0].alone {
		return 1
	}
	var bytes int64
	for i, t := range tasks {
		bytes += t.bytes
		if i > 0 && (t.alone || i == maxCommitOps || bytes > maxCommitBytes) {
			return i
		}
	}
	return len(tasks)
}

// commit makes one batch of the tasks, stores it, and answers them. It tells whether it woke a
// long poll.
func (b *Broker) commit(p *plan, tasks []*task) (woke bool) {
	now := time.Now()
	err := b.try(p, tasks, now)
	if errors.Is(err, ErrNoSpace) && len(p.batch.Append)+len(p.batch.Delay)+len(p.batch.Put) > 0 {
		// Acknowledgements may still fit, and they make room.
		for _, t := range tasks {
			if t.err == nil && t.op.appends() {
				t.err = diskFull(err)
				t.op.failed()
			}
		}
		if again := b.try(p, tasks, now); again != nil {
			err = again
		}
	}
	if err != nil {
		b.noteFailure(err)
	} else if p.err == nil && !p.empty && b.health.Load() != nil {
		b.health.Store(nil)
	}
	for _, t := range tasks {
		switch {
		case t.err != nil:
		case p.err != nil:
			t.err = p.err
			t.op.failed()
		default:
			t.op.applied(now)
		}
		t.done <- struct{}{}
	}
	return p.err == nil && p.notify()
}

// try plans the tasks that have no error yet, commits and brings memory up to date.
// p.err is what to answer the tasks where it fails.
func (b *Broker) try(p *plan, tasks []*task, now time.Time) error {
	p.reset(now)
	if b.failed.Load() {
		p.err = &Error{Code: Unavailable, Message: "The database failed", Reason: "a restart is needed", RetryAfter: time.Minute}
		return nil
	}
	for _, t := range tasks {
		if t.err == nil {
			if t.err = t.op.plan(p); t.err != nil {
				t.op.failed()
			}
		}
	}
	p.finish()
	if p.empty = p.batch.isEmpty(); p.empty {
		p.apply()
		return nil
	}
	if err := b.store.Commit(&p.batch); err != nil {
		p.undo()
		if errors.Is(err, ErrNoSpace) {
			p.err = diskFull(err)
		} else {
			b.failed.Store(true)
			p.err = &Error{Code: Unavailable, Message: "The database failed", RetryAfter: time.Minute, Err: err}
		}
		return err
	}
	p.apply()
	return nil
}

func (b *Broker) noteFailure(err error) {
	if b.health.Load() == nil {
		b.log.Error("nothing can be stored", "error", err)
	}
	b.health.Store(&err)
}

func diskFull(err error) *Error {
	return &Error{Code: DiskFull, Message: "The disk is full: nothing was stored", Err: err}
}

// plan is one commit in the making: the batch for the store, and what it touches in memory.
// It is reused.
type plan struct {
	b     *Broker
	now   time.Time
	batch Batch
	err   error // what to answer where the commit failed
	empty bool  // nothing had to be stored

	ids       map[idKey]struct{} // explicit IDs that this commit stores
	topics    []*topic
	lanes     []laneRef
	consumers []*consumer
	ragged    []laneRef // lives on between commits: lanes for the sweeper to look at
	removed   uint64    // positions
}

type idKey struct {
	topic uint32
	id    string
}

type laneRef struct {
	t *topic
	p int
}

func (r laneRef) lane() *lane { return &r.t.lanes[r.p] }
func (r laneRef) key() Lane   { return Lane{r.t.id, uint8(r.p)} }

func (p *plan) reset(now time.Time) {
	b := &p.batch
	clear(b.Append)
	clear(b.Delay)
	clear(b.Put)
	*b = Batch{
		Append: b.Append[:0], Delay: b.Delay[:0], Undelay: b.Undelay[:0], Remove: b.Remove[:0], Lanes: b.Lanes[:0],
		Cursors: b.Cursors[:0], Attempts: b.Attempts[:0], Expiries: b.Expiries[:0], DropIDs: b.DropIDs[:0], Seen: b.Seen[:0],
		Purge: b.Purge[:0], Put: b.Put[:0],
		Now: now,
	}
	p.now, p.err, p.removed = now, nil, 0
	clear(p.ids)
	p.topics, p.lanes, p.consumers = p.topics[:0], p.lanes[:0], p.consumers[:0]
}

func (b *Batch) isEmpty() bool {
	return len(b.Append)+len(b.Delay)+len(b.Undelay)+len(b.Remove)+len(b.Lanes)+len(b.Cursors)+len(b.Attempts)+
		len(b.Expiries)+len(b.DropIDs)+len(b.Seen)+len(b.Purge)+len(b.Put) == 0 && b.Define == nil && b.Delete == nil
}

// touch lists a topic as changed by this commit.
func (p *plan) touch(t *topic) {
	if !t.touched {
		t.touched = true
		p.topics = append(p.topics, t)
	}
}

// touchLane lists a lane as changed by this commit.
func (p *plan) touchLane(t *topic, prio int) *lane {
	l := &t.lanes[prio]
	if !l.dirty {
		l.dirty = true
		p.lanes = append(p.lanes, laneRef{t, prio})
		p.touch(t)
	}
	return l
}

func (p *plan) touchConsumer(c *consumer) {
	if !c.dirty {
		c.dirty = true
		p.consumers = append(p.consumers, c)
	}
}

// append puts a message at the tail of its lane.
func (p *plan) append(t *topic, r *Record) {
	l := p.touchLane(t, int(r.Priority))
	l.next++
	r.Pos = l.next
	p.batch.Append = append(p.batch.Append, r)
}

// fits tells whether n more messages are within all limits of a topic, and takes the room.
func (p *plan) fits(t *topic, n int64) error {
	if t.room < n {
		// Counting costs a look at every consumer, so it is done once a commit at the most.
		if t.touched && t.room < 0 {
			return errFull
		}
		p.touch(t)
		if t.room = t.countRoom(); t.room < n {
			if t.room <= 0 {
				t.room = -1
			}
			return errFull
		}
	}
	p.touch(t)
	t.room -= n
	return nil
}

var errFull = &Error{Code: Full, Message: "The topic or the backlog of one of its consumers is full (max_depth)", RetryAfter: time.Second}

// countRoom returns how many more messages the topic and each of its consumers take.
func (t *topic) countRoom() int64 {
	room := t.def.Load().MaxDepth - t.stored()
	for _, c := range t.list() {
		room = min(room, c.def.Load().MaxDepth-c.backlog())
	}
	return room - t.nextDelayed
}

// remove takes the messages of a range, which are done for every consumer, out of a lane, at most
// maxRemoval positions, and returns the last position that it dealt with.
func (p *plan) remove(t *topic, prio int, from, to uint64) uint64 {
	l := p.touchLane(t, prio)
	gone := l.goneWork()
	if from = gone.Next(from); from > to {
		return to
	}
	to = min(to, from+maxRemoval-1)
	gone.Missing(from, to, func(s Span) {
		p.batch.Remove = append(p.batch.Remove, Removal{Lane{t.id, uint8(prio)}, s})
	})
	gone.Add(from, to)
	p.removed += to - from + 1
	return to
}

// budget returns how many more positions the commit may remove that nobody needs.
func (p *plan) budget() uint64 { return maxRemoval - min(p.removed, maxRemoval) }

// finish removes what the commit's acknowledgements leave nobody in need of, and lists the
// states to be stored.
func (p *plan) finish() {
	for _, r := range p.lanes {
		if l := r.lane(); l.settled {
			l.settled = false
			p.trimHead(r)
		}
	}
	for _, c := range p.consumers {
		for prio, w := range c.work {
			if w != nil && c.store[prio] {
				p.batch.Cursors = append(p.batch.Cursors, CursorState{c.id, uint8(prio), *w})
			}
		}
	}
	for _, r := range p.lanes {
		if l := r.lane(); l.work != nil {
			p.batch.Lanes = append(p.batch.Lanes, LaneState{r.key(), l.next, *l.work})
		}
	}
}

// trimHead removes what every consumer of the topic is past.
func (p *plan) trimHead(r laneRef) {
	l := r.lane()
	consumers := r.t.list()
	if len(consumers) == 0 {
		return
	}
	head := l.goneNow().floor()
	floor := consumers[0].doneNow(r.p).floor()
	ragged := false
	for _, c := range consumers {
		d := c.doneNow(r.p)
		floor = min(floor, d.floor())
		ragged = ragged || len(d.Spans) > 0
		if floor <= head && ragged {
			break
		}
	}
	if floor > head {
		to := min(floor-1, head+p.budget()-1)
		ragged = to < head || p.remove(r.t, r.p, head, to) < floor-1 || ragged
	}
	if ragged {
		p.look(r)
	}
}

// look lets the sweeper look for what can be removed from a lane.
func (p *plan) look(r laneRef) {
	if l := r.lane(); !l.ragged && len(r.t.list()) > 0 {
		l.ragged = true
		p.ragged = append(p.ragged, r)
	}
}

// resume lists the lanes in which the last run may have left what nobody needs.
func (p *plan) resume() {
	p.b.mu.RLock()
	defer p.b.mu.RUnlock()
	for _, t := range p.b.topics {
		for prio := range t.lanes {
			if l := &t.lanes[prio]; l.gone.Count() < l.next {
				p.look(laneRef{t, prio})
			}
		}
	}
}

// trim removes, from the lanes in which consumers are done out of order, what all of them are done
// with. It tells whether there is more to remove.
func (p *plan) trim() bool {
	refs := p.ragged
	p.ragged = nil
	for i, r := range refs {
		r.lane().ragged = false
		if len(r.t.list()) == 0 {
			continue // its consumers were deleted meanwhile: what it has waits for the next one
		}
		p.trimHead(r) // lists the lane again where it is still ragged
		if !p.removeDone(r) {
			p.look(r)
			p.ragged = append(p.ragged, refs[i+1:]...)
			return true
		}
	}
	return false
}

// removeDone removes from a lane what all consumers of the topic, of which there is one at least, are
// done with. It tells whether that was all: one commit removes only so much.
func (p *plan) removeDone(r laneRef) bool {
	done := r.t.list()[0].doneNow(r.p)
	spans := append([]Span{{1, done.floor() - 1}}, done.Spans...)
	for _, c := range r.t.list()[1:] {
		spans = intersect(spans, c.doneNow(r.p))
	}
	for _, s := range spans {
		for s.From = r.lane().goneNow().Next(s.From); s.From <= s.To; s.From = r.lane().goneNow().Next(s.From) {
			if len(p.batch.Remove) > maxRemoval/10 || p.budget() == 0 {
				return false
			}
			s.From = p.remove(r.t, r.p, s.From, min(s.To, s.From+p.budget()-1)) + 1
		}
	}
	return true
}

// intersect returns the parts of the spans that are in the set too.
func intersect(spans []Span, c *Cursor) []Span {
	var out []Span
	for _, s := range spans {
		from := s.From
		c.Missing(s.From, s.To, func(m Span) {
			if m.From > from {
				out = append(out, Span{from, m.From - 1})
			}
			from = m.To + 1
		})
		if from <= s.To {
			out = append(out, Span{from, s.To})
		}
	}
	return out
}

// apply brings memory to what the commit has stored.
func (p *plan) apply() {
	for _, r := range p.lanes {
		l := r.lane()
		l.dirty = false
		if l.work != nil {
			r.t.mu.Lock()
			l.gone = *l.work
			r.t.mu.Unlock()
			l.work = nil
		}
		l.tail.Store(l.next)
	}
	for _, c := range p.consumers {
		c.dirty, c.store = false, [MaxPriority + 1]bool{}
		c.mu.Lock()
		for i, w := range c.work {
			if w != nil {
				c.done[i] = *w
				c.work[i] = nil
			}
		}
		c.mu.Unlock()
	}
	for _, t := range p.topics {
		t.touched = false
		t.room = max(t.room, 0)
		t.delayed.Store(t.nextDelayed)
	}
}

// undo forgets what the commit would have done.
func (p *plan) undo() {
	for _, r := range p.lanes {
		l := r.lane()
		l.dirty, l.settled, l.next, l.work = false, false, l.tail.Load(), nil
		p.look(r) // what it would have removed is still there
	}
	for _, c := range p.consumers {
		c.dirty, c.store, c.work = false, [MaxPriority + 1]bool{}, [MaxPriority + 1]*Cursor{}
	}
	for _, t := range p.topics {
		t.touched, t.room, t.nextDelayed = false, 0, t.delayed.Load()
	}
}

// notify wakes the long polls of the topics that got messages, and tells whether there was one. A
// long poll counts itself as waiting before it looks at the tails, so that one of the two sees the
// other.
func (p *plan) notify() (woke bool) {
	for _, t := range p.topics {
		if t.waiting.Load() == 0 {
			continue
		}
		for _, c := range t.list() {
			if c.waiting.Load() > 0 {
				c.mu.Lock()
				c.wakeOne()
				c.mu.Unlock()
				woke = true
			}
		}
	}
	return woke
}
