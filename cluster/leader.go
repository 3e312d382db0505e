package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/db"
)

// Term is the store of the node that leads, for as long as it does. A broker is opened on it, and thrown away when it is over; the copy below
// stays. Reads show this node's copy: what is answered by them alone is to be answered after Verify.
type Term struct {
	copied
	engine   *Engine
	term     uint64
	verifier verifier
	began    time.Time
	version  atomic.Int32 // of the entries that it writes

	turn   sync.Mutex // of Commit
	number uint64     // of the last batch that the broker knows of

	mu   sync.Mutex
	done chan struct{}
	err  error // why it is over
}

// copied is what a Term hands on of this node's copy.
type copied interface {
	store.Store
	store.FileChecker
	store.Wiper
	store.Backuper
	store.Compacter
	Check() error
}

var _ copied = (*db.Replica)(nil)

var (
	_ store.Store       = (*Term)(nil)
	_ store.FileChecker = (*Term)(nil)
	_ store.Wiper       = (*Term)(nil)
	_ store.Backuper    = (*Term)(nil)
	_ store.Compacter   = (*Term)(nil)
)

// Number returns the number of the term: of two, the later one is higher.
func (t *Term) Number() uint64 { return t.term }

// Done is closed when the term is over.
func (t *Term) Done() <-chan struct{} { return t.done }

// Err returns why the term is over, nil while it is not: an error that wraps ErrOver, and ErrUnknown where it is unknown what became of the last batch.
func (t *Term) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// end ends the term, once.
func (t *Term) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
		close(t.done)
	}
}

// Close implements store.Store: it gives up the term. The copy stays open.
func (t *Term) Close() error {
	t.end(ErrOver)
	return nil
}

// Stats implements store.Store. The log is that of the cluster.
func (t *Term) Stats() store.Stats {
	s := t.copied.Stats()
	s.LogUsed, s.LogSize, s.LogMost = t.engine.logs.stats()
	return s
}

// CheckFile implements store.FileChecker. The disk is that of this node, and there is room where a majority has it.
func (t *Term) CheckFile() error {
	if err := t.copied.CheckFile(); err != nil {
		return err
	}
	return t.engine.room()
}

// Wiping implements store.Wiper. It is of this node's disk.
func (t *Term) Wiping() int { return t.engine.Wiping() }

// Verify makes sure that no other node leads: a majority was asked after Verify was called, and this is still the same term. An error
// wraps ErrOver, or is that of ctx.
func (t *Term) Verify(ctx context.Context) error {
	if err := t.Err(); err != nil {
		return err
	}
	if err := t.verifier.verify(ctx); err != nil {
		return err
	}
	if t.engine.raft.CurrentTerm() != t.term { // while others were asked it was the same all the time
		t.end(ErrOver)
	}
	return t.Err()
}

// Commit implements store.Store: it returns nil when a majority has the batch on its disks and this node has applied it. An error that wraps
// store.ErrNotStored says that it never will be; where the term is over, it wraps ErrOver, too. Else it wraps ErrUnknown, and the term is over.
func (t *Term) Commit(b *store.Batch) error {
	t.turn.Lock()
	defer t.turn.Unlock()
	if err := t.Err(); err != nil {
		return notStored(err)
	}
	encoded, err := t.engine.opts.Store.Encode(b)
	if err != nil {
		return err
	}
	n := chunksOf(encoded)
	if n > maxChunks {
		return notStored(fmt.Errorf("a batch of %d bytes is larger than %d", len(encoded), maxChunks*chunkSize))
	}
	if err := t.engine.logs.awaitRoom(t.done); err != nil {
		return err
	}
	m := t.engine.machine
	m.propose(pending{t.term, t.number, b, encoded})
	defer m.propose(pending{})
	err = t.propose(encoded, n)
	for errors.Is(err, raft.ErrLeadershipTransferInProgress) && t.Err() == nil && t.engine.pause(transferLook) { // which fails, or ends the term
		err = t.propose(encoded, n)
	}
	switch {
	case err == nil:
		t.number++
	case errors.Is(err, errFenced):
		t.end(ErrOver)
		err = notStored(fmt.Errorf("%w: %w", ErrOver, err))
	case errors.Is(err, ErrUnknown):
		t.end(fmt.Errorf("%w: %w", ErrOver, err))
	case errors.Is(err, raft.ErrNotLeader):
		t.end(ErrOver)
		err = notStored(fmt.Errorf("%w: %w", ErrOver, err))
	}
	return err
}

// transferLook is how often a commit looks whether leadership was handed on.
const transferLook = 2 * time.Millisecond

func notStored(err error) error {
	if errors.Is(err, store.ErrNotStored) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrNotStored, err)
}

// inFlight is how many chunks of a batch are on their way at once.
const inFlight = 4

// propose proposes the chunks of a batch, and returns what became of it.
func (t *Term) propose(encoded []byte, n int) error {
	var waiting []raft.ApplyFuture
	for chunk := range n {
		if len(waiting) == inFlight {
			if err := t.outcome(waiting[0], false); err != nil {
				return err
			}
			waiting = waiting[1:]
		}
		e := entry{version: byte(t.version.Load()), term: t.term, previous: t.number, chunk: uint32(chunk), chunks: uint32(n), bytes: chunkOf(encoded, chunk)} // #nosec G115 -- few
		waiting = append(waiting, t.engine.raft.Apply(e.append(make([]byte, 0, entryHead+len(e.bytes))), enqueue))
	}
	for _, f := range waiting {
		if err := t.outcome(f, true); err != nil {
			return err
		}
	}
	return nil
}

// outcome waits for what becomes of an entry. Of a batch whose last chunk has not been proposed nothing is stored; else an entry that was taken may get into
// the log all the same, and so may those behind it.
func (t *Term) outcome(f raft.ApplyFuture, proposed bool) error {
	err, ended := t.engine.await(f)
	switch {
	case err == nil:
		if err, _ := f.Response().(error); err != nil {
			if !errors.Is(err, store.ErrNotStored) && !errors.Is(err, errFenced) { // this node failed to apply it: others did
				return fmt.Errorf("%w: %w", ErrUnknown, err)
			}
			return err
		}
		return nil
	case !ended && (!proposed || isRefused(err)):
		return notStored(err)
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// isRefused tells whether an error of raft says that an entry is not in the log.
func isRefused(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, raft.ErrEnqueueTimeout)
}

// await waits for a future. Raft forgets some where it is shut down: ended tells that.
func (e *Engine) await(f raft.Future) (err error, ended bool) {
	done := make(chan error, 1)
	e.awaited.Add(1)
	go func() {
		done <- f.Error()
		e.awaited.Add(-1)
	}()
	select {
	case err := <-done:
		return err, false
	case <-e.gone:
		return raft.ErrRaftShutdown, true
	}
}

// watch takes note of when leadership is won and lost.
func (e *Engine) watch(notify <-chan bool) {
	for {
		select {
		case <-e.closed:
			return
		case leads := <-notify:
			if !leads {
				e.endTerm(ErrOver)
				continue
			}
			select {
			case e.leading <- struct{}{}:
			default:
			}
		}
	}
}

func (e *Engine) endTerm(err error) {
	if t := e.term.Load(); t != nil {
		t.end(err)
	}
}

// lead has one term after another.
func (e *Engine) lead() {
	for {
		select {
		case <-e.closed:
			return
		case <-e.leading:
		}
		for e.raft.State() == raft.Leader && !e.done() {
			t, err := e.begin()
			if err != nil { // where it leads raft's term still, such as after leadership was to be handed on, it tries again
				e.log.Info("cluster: the term ended before it began", "error", err)
				e.pause(e.opts.Heartbeat / 10)
				continue
			}
			e.serve(t)
			if e.done() {
				return
			}
			// The node may still lead raft's term, where this one was given up.
			if e.raft.State() == raft.Leader {
				if err := e.Transfer(""); err != nil {
					e.log.Info("cluster: no other node took over", "error", err)
					e.pause(e.opts.Heartbeat)
				}
			}
		}
	}
}

// serve has a term until it is over.
func (e *Engine) serve(t *Term) {
	e.log.Info("this node leads the cluster", "node", e.opts.Node, "term", t.term)
	e.term.Store(t)
	if e.raft.State() != raft.Leader || e.raft.CurrentTerm() != t.term || e.done() { // watch did not know of it
		t.end(ErrOver)
	}
	if e.opts.Lead != nil {
		e.opts.Lead(t)
	} else {
		<-t.done
	}
	t.end(ErrOver)
	e.log.Info("this node leads the cluster no more", "node", e.opts.Node, "term", t.term)
}

// begin begins a term by an entry of its own. When that is applied, so is everything before it; and it comes back with the term that it was appended in.
func (e *Engine) begin() (*Term, error) {
	e.awaited.Add(1)
	defer e.awaited.Add(-1)
	if e.done() { // after that, Close sees that this has begun
		return nil, ErrOver
	}
	head := entry{term: e.raft.CurrentTerm()}
	f := e.raft.Apply(head.append(nil), enqueue)
	if err, _ := e.await(f); err != nil {
		return nil, err
	}
	switch r := f.Response().(type) {
	case opened:
		t := &Term{copied: e.opts.Store, engine: e, term: r.term, number: r.number, began: time.Now(), done: make(chan struct{})}
		t.version.Store(oldestEntry)
		t.verifier.term = t
		return t, nil
	case error:
		return nil, r
	}
	return nil, errors.New("the entry was applied before")
}

// Term returns the term that this node leads, nil where it leads none.
func (e *Engine) Term() *Term {
	if t := e.term.Load(); t != nil && t.Err() == nil {
		return t
	}
	return nil
}

// Verify is that of the Term, and an error that wraps ErrOver where there is none.
func (e *Engine) Verify(ctx context.Context) error {
	t := e.Term()
	if t == nil {
		return ErrOver
	}
	return t.Verify(ctx)
}

// Leader returns the name and the address, host:port, of the node that leads as far as this one knows; both are empty where none does.
func (e *Engine) Leader() (node, addr string) {
	at, id := e.raft.LeaderWithID()
	addr, _ = SplitAddress(at)
	return NodeOf(string(id)), addr
}

// AwaitLeader returns when there is a leader, and an error that wraps ErrNoLeader where ctx ends before.
func (e *Engine) AwaitLeader(ctx context.Context) (node, addr string, err error) {
	look := time.NewTicker(e.opts.Heartbeat / 20)
	defer look.Stop()
	for {
		if node, addr = e.Leader(); node != "" && (node != e.opts.Node || e.Term() != nil) {
			return node, addr, nil
		}
		select {
		case <-ctx.Done():
			return "", "", ErrNoLeader
		case <-e.closed:
			return "", "", ErrNoLeader
		case <-look.C:
		}
	}
}
