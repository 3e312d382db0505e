package broker

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"pipit/broker/store"
)

// Bounds of one commit, so that it stays short.
const (
	maxCommitOps   = 4096
	maxCommitBytes = 16 << 20 // of payload; one operation may pass it
	maxRemoval     = 2000     // messages that are removed because all consumers are done with them
)

// operation is a change on its way to a commit. Only the committer calls its methods.
type operation interface {
	// plan checks the change against the state as the operations before it leave it, and adds it
	// to the draft. On an error it has added nothing.
	plan(*draft) error
	// applied runs after the commit, when the draft's changes of lanes and cursors are in memory.
	applied(now time.Time)
	// failed runs instead of applied when the commit failed.
	failed()
	// appends tells whether the change stores messages: a full disk refuses those alone.
	appends() bool
}

// task is an operation and whoever waits for it.
type task struct {
	op       operation
	bytes    int64
	client   string // whose change it is; empty: the program's
	alone    bool   // in a commit of its own
	err      error
	done     chan struct{} // one token when err is final
	answered bool          // it has the token
}

// gathering is what has gathered for the next commit, and whose turn it is to commit: that of the committer.
type gathering struct {
	mu     sync.Mutex
	tasks  []*task
	shares shares
	last   int  // tasks that the last turn took
	busy   bool // somebody commits
	closed bool
	wake   chan struct{} // of commits.loop
}

// Where several clients publish at once, those that were just answered come back within the
// time of a few requests. Giving them that long, and a processor, makes fewer and larger commits,
// which gains more than it costs. A client alone, or a few, never wait.
const (
	gatherFrom = 4
	gatherTime = 150 * time.Microsecond
)

// add leaves a task to commits.loop. Where nobody commits and few did lately it gives the caller
// the turn instead: alone, one is done sooner without handing over to another goroutine and back,
// which takes as long as half a commit. It tells whether tasks are still taken.
func (g *gathering) add(t *task) (mine, open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shares.come(t.client, time.Now())
	switch {
	case g.closed:
		return false, false
	case !g.busy && len(g.tasks) == 0 && g.last < gatherFrom:
		g.busy, g.last = true, 1
		return true, true
	}
	g.tasks = append(g.tasks, t)
	if !g.busy && len(g.tasks) == 1 {
		g.signal()
	}
	return false, true
}

// release ends the turn that add or take gave.
func (g *gathering) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
	if len(g.tasks) > 0 || g.closed {
		g.signal()
	}
}

func (g *gathering) signal() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// take waits for tasks and for the turn, and returns all tasks, but for what is more than a client's share; none when nothing
// is left after close.
func (g *gathering) take(spare []*task) []*task {
	gathered := false
	for {
		g.mu.Lock()
		n := len(g.tasks)
		switch {
		case g.busy || n == 0 && !g.closed:
			g.mu.Unlock()
			<-g.wake
		case !gathered && max(n, g.last) >= gatherFrom && n < maxCommitOps && !g.closed:
			g.mu.Unlock()
			time.Sleep(gatherTime)
			runtime.Gosched()
			gathered = true
		default:
			var tasks []*task
			tasks, g.tasks = g.shares.divide(g.tasks, spare[:0])
			g.busy, g.last = true, len(tasks)
			g.mu.Unlock()
			return tasks
		}
	}
}

func (g *gathering) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.signal()
}

// commits makes changes durable, one commit at a time, each of all that gathered during the one before. Whoever has
// the turn, a caller or loop, is the committer.
type commits struct {
	b         *Broker
	gathering gathering
	draft     draft // the committer's own
}

// do runs an operation through a commit and returns when it is durable, or refused.
func (c *commits) do(op operation, bytes int64) error { return c.doFor("", op, bytes) }

// doFor does so for a client.
func (c *commits) doFor(client string, op operation, bytes int64) error {
	return c.wait(&task{op: op, bytes: bytes, client: client, done: make(chan struct{}, 1)})
}

func (c *commits) wait(t *task) error {
	mine, open := c.gathering.add(t)
	switch {
	case !open:
		t.op.failed()
		return errClosed
	case mine:
		if c.turn([]*task{t}) {
			runtime.Gosched() // who waits for the message goes first; this one has its reply to write
		}
	}
	<-t.done
	return t.err
}

// loop commits what gathered while somebody else did.
func (c *commits) loop() {
	var spare []*task
	for {
		tasks := c.gathering.take(spare)
		if len(tasks) == 0 {
			return
		}
		c.turn(tasks)
		clear(tasks)
		spare = tasks
	}
}

// turn commits tasks and tells whether that woke a long poll. The committer is the one writer
// of the store and of everything in memory that mirrors it.
func (c *commits) turn(tasks []*task) (woke bool) {
	ended := false
	defer func() {
		if !ended { // a panic, in a request's goroutine perhaps, which does not end the process
			c.abandon(tasks)
		}
		c.gathering.release()
	}()
	for len(tasks) > 0 {
		n := portion(tasks)
		if c.commit(&c.draft, tasks[:n]) {
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
func (c *commits) commit(d *draft, tasks []*task) (woke bool) {
	now := time.Now()
	err := c.try(d, tasks, now)
	if errors.Is(err, store.ErrNoSpace) && len(d.batch.Append)+len(d.batch.Delay)+len(d.batch.Put) > 0 {
		// Acknowledgements may still fit, and they make room.
		for _, t := range tasks {
			if t.err == nil && t.op.appends() {
				t.err = diskFull(err)
				t.op.failed()
			}
		}
		_ = c.try(d, tasks, now) // d.err has its error
	}
	for _, t := range tasks {
		switch {
		case t.err != nil:
		case d.err != nil:
			t.err = d.err
			t.op.failed()
		default:
			t.op.applied(now)
		}
		t.answered = true
		t.done <- struct{}{}
	}
	return d.err == nil && d.notify()
}

// try plans the tasks that have no error yet, commits and brings memory up to date.
// d.err is what to answer the tasks where it fails.
func (c *commits) try(d *draft, tasks []*task, now time.Time) error {
	d.reset(now)
	if c.b.health.failed.Load() {
		d.err = c.b.health.refusal()
		return nil
	}
	for _, t := range tasks {
		if t.err == nil {
			if t.err = c.b.health.admit(t.op); t.err == nil {
				t.err = t.op.plan(d)
			}
			if t.err != nil {
				t.op.failed()
			}
		}
	}
	d.finish()
	if d.empty = d.batch.IsEmpty(); d.empty {
		d.apply()
		return nil
	}
	began := time.Now()
	if err := c.b.store.Commit(&d.batch); err != nil {
		d.undo()
		d.err = c.b.health.commitFailed(err, &d.batch)
		return err
	}
	if tell := c.b.opts.Committed; tell != nil {
		tell(len(d.batch.Append)+len(d.batch.Delay), time.Since(began))
	}
	d.apply()
	for i := range d.batch.Put {
		if done := d.batch.Put[i].Committed; done != nil {
			done()
		}
	}
	return nil
}

func diskFull(err error) *Error {
	return &Error{Code: DiskFull, Message: "The disk is full: nothing was stored", Err: err}
}

// doAlone runs an operation in a commit of its own: it finds the store as the commit will.
func (c *commits) doAlone(op operation) error {
	return c.wait(&task{op: op, alone: true, done: make(chan struct{}, 1)})
}
