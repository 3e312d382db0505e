package cluster

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/db"
)

// machine is what raft calls a finite state machine: it applies the log's entries to this node's copy. What it does follows from the entries and the
// copy alone. But for pending and applied it belongs to raft's goroutine for that.
type machine struct {
	engine *Engine
	mark   db.ReplicaMark // of the copy
	parts  parts
	failed error // nothing is applied any more

	applied atomic.Uint64 // mark.Index, for others
	seen    atomic.Uint64 // the index of the last entry that came

	mu      sync.Mutex
	pending pending

	configuration atomic.Pointer[configuration] // the last one that was committed
}

// pending is the batch that this node has proposed, for what its Removals come to.
type pending struct {
	term, previous uint64
	batch          *store.Batch // nil: none
	encoded        []byte       // it
}

// configuration is which nodes there are, from an index on.
type configuration struct {
	servers raft.Configuration
	index   uint64
}

// opened is what comes of an entry that begins a term.
type opened struct{ term, number uint64 }

// looked is what comes of an entry that has all make a digest: its index.
type looked uint64

// errFenced is what comes of an entry that was skipped, by all copies alike, since it was meant for another term or another content.
var errFenced = errors.New("it came too late: another node led meanwhile")

// Apply implements raft.FSM. It returns an error, opened, or nil.
func (m *machine) Apply(l *raft.Log) any {
	if m.failed != nil {
		return m.failed
	}
	if l.Index <= m.mark.Index { // the file has it
		m.see(l.Index)
		return nil
	}
	var e entry
	if err := e.parse(l.Data, m.engine.opts.newest); err != nil {
		return m.fail(fmt.Errorf("entry %d of the cluster's log: %w", l.Index, err))
	}
	digest := e.chunks == 0 && e.chunk == chunkDigest
	if digest {
		m.engine.digests.begin(m.engine, l.Index) // before it is seen: Digest waits for that
	}
	m.see(l.Index)
	switch {
	case digest:
		return looked(l.Index)
	case e.chunks == 0:
		return opened{l.Term, m.mark.Number}
	}
	if e.term != l.Term || e.previous != m.mark.Number {
		m.engine.log.Warn("cluster: a late entry was skipped", "index", l.Index, "term", l.Term, "meant for", e.term, "behind batch", e.previous, "not", m.mark.Number)
		return errFenced
	}
	_, encoded := m.own(&e)
	batch, ok := m.parts.take(&e, encoded)
	switch {
	case !ok:
		return errFenced
	case batch == nil:
		return nil
	}
	return m.apply(l, &e, batch)
}

func (m *machine) apply(l *raft.Log, e *entry, batch []byte) any {
	m.mu.Lock() // until it is applied, Commit does not return with its batch
	defer m.mu.Unlock()
	own, _ := m.ownLocked(e)
	err := m.engine.opts.Store.Apply(l.Index, l.Term, batch, own)
	switch {
	case err == nil:
		if m.engine.opts.Store.Secret() == l.Index {
			if err := m.engine.secrets.note(l.Index); err != nil {
				return m.fail(err)
			}
		}
		m.mark.Index, m.mark.Term, m.mark.Number = l.Index, l.Term, m.mark.Number+1
		m.applied.Store(l.Index)
		return nil
	case errors.Is(err, store.ErrNotStored):
		return err
	}
	return m.fail(err)
}

// own returns the batch that this node has proposed where e is a part of it, nil where that is none of its.
func (m *machine) own(e *entry) (*store.Batch, []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ownLocked(e)
}

func (m *machine) ownLocked(e *entry) (*store.Batch, []byte) {
	if p := &m.pending; p.term == e.term && p.previous == e.previous {
		return p.batch, p.encoded
	}
	return nil, nil
}

func (m *machine) fail(err error) error {
	m.failed = err
	m.engine.fail(err)
	return err
}

// propose says which batch is to come; nil: none.
func (m *machine) propose(p pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending = p
}

// StoreConfiguration implements raft.ConfigurationStore.
func (m *machine) StoreConfiguration(index uint64, servers raft.Configuration) {
	m.configuration.Store(&configuration{servers, index})
	m.see(index)
}

func (m *machine) see(index uint64) { m.seen.Store(max(m.seen.Load(), index)) }

// catchUp begins where raft does. Of a batch that was there in part then, the log has all chunks, which come once more.
func (m *machine) catchUp() error {
	e := m.engine
	m.applied.Store(m.mark.Index)
	meta := e.snaps.last()
	if meta == nil {
		return nil
	}
	m.StoreConfiguration(meta.ConfigurationIndex, meta.Configuration)
	var l raft.Log
	for i := m.mark.Index + 1; i <= meta.Index && !meta.Whole; i++ {
		if err := e.logs.entry(i, &l); err != nil {
			return fmt.Errorf("the cluster's log in %s has no entry %d: %w", e.opts.Dir, i, err)
		}
		if l.Type == raft.LogCommand {
			m.Apply(&l)
		}
		if m.failed != nil {
			return m.failed
		}
	}
	m.see(meta.Index)
	return m.recall(meta.Index)
}

// recall learns from the log which nodes there were behind an index, up to what the file has, all of which was committed. Without it a leader that needs
// another node to commit anything could not send that one the file, since it would not know who is to be in it. Where a file was received just before a
// crash, the log ends before the file does: the leader has the rest.
func (m *machine) recall(behind uint64) error {
	var l raft.Log
	for i := behind + 1; i <= m.mark.Index; i++ {
		switch err := m.engine.logs.entry(i, &l); {
		case errors.Is(err, raft.ErrLogNotFound):
			return nil
		case err != nil:
			return err
		}
		if l.Type == raft.LogConfiguration {
			m.StoreConfiguration(i, raft.DecodeConfiguration(l.Data))
		}
		m.see(i)
	}
	return nil
}

// Snapshot implements raft.FSM. The file is the snapshot: see snapshot.go. Of what could not be applied there is none: raft takes it for applied.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.failed != nil {
		return nil, m.failed
	}
	if meta := m.engine.snaps.last(); meta != nil && m.mark.Index <= meta.Index {
		return nil, raft.ErrNothingNewToSnapshot
	}
	return persisted{m.engine.opts.Store, m.parts.chunks == 0}, nil
}

type persisted struct {
	store *db.Replica
	whole bool // see snapshotMeta
}

// Persist brings all into the file, so that the log need not keep it.
func (p persisted) Persist(sink raft.SnapshotSink) error {
	err := p.store.Checkpoint()
	if k, ok := sink.(*sinking); ok {
		k.meta.Whole, k.meta.Applied = p.whole, p.store.Durable()
	}
	return err
}

func (persisted) Release() {}

var (
	_ raft.FSM                = (*machine)(nil)
	_ raft.ConfigurationStore = (*machine)(nil)
)
