package cluster

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"pipit/db"
)

// snapshots is a raft.SnapshotStore. The live file is the snapshot: what is kept here of one is up to where the log may be cut off, and which nodes
// there were. A copy that needs one gets the file as it is when it is opened, with the place that it says of itself.
//
// What is received lies beside the database until it takes its place.
type snapshots struct {
	engine *Engine
	path   string // of what is kept

	mu       sync.Mutex
	meta     *snapshotMeta // nil: this node never was a member
	received *received
}

// snapshotMeta is what is kept of one.
type snapshotMeta struct {
	Cluster            string
	Index, Term        uint64
	Applied            uint64 // the index of the last batch that the file had by then
	Whole              bool   // at that place, no batch was there in part: the file is the state of that place, whatever it says of itself
	Configuration      raft.Configuration
	ConfigurationIndex uint64
}

// received is one that came from the leader.
type received struct {
	id, path string
	meta     snapshotMeta
}

func openSnapshots(e *Engine) (*snapshots, error) {
	s := &snapshots{engine: e, path: filepath.Join(e.opts.Dir, "snapshot")}
	if err := os.Remove(s.incoming()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var m snapshotMeta
	switch err := readJSON(s.path, &m); {
	case err == nil:
		s.meta = &m
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("the cluster's directory %s: %w", e.opts.Dir, err)
	}
	return s, nil
}

// incoming is where a received file lies.
func (s *snapshots) incoming() string { return s.engine.opts.Store.Path() + ".incoming" }

// last returns what is kept, nil where nothing is.
func (s *snapshots) last() *snapshotMeta {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.meta
}

func (s *snapshots) save(m snapshotMeta) error {
	if err := writeJSON(s.path, m); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.meta = &m
	return nil
}

// fits tells whether the directory and the database go together.
func (s *snapshots) fits(mark db.ReplicaMark) error {
	path, dir := s.engine.opts.Store.Path(), s.engine.opts.Dir
	meta := s.last()
	switch {
	case meta != nil && meta.Cluster != hex.EncodeToString(mark.Cluster[:]):
		return fmt.Errorf("database %s is not the copy of a cluster that the directory %s belongs to: it was lost, restored, or used without the cluster. To begin again as a new node, remove the directory, and this node from the cluster", path, dir)
	case meta != nil && mark.Index < meta.Applied:
		return fmt.Errorf("database %s is an older state of the copy that the directory %s belongs to: it has what was stored up to entry %d of the cluster's log, and had up to %d. To begin again as a new node, remove both, and this node from the cluster", path, dir, mark.Index, meta.Applied)
	case meta != nil:
		return nil
	case mark.Cluster != (db.ClusterID{}):
		s.engine.log.Warn("the directory of the cluster is new, and the database is an old copy: this node is a stranger until it is added", "directory", dir, "file", path)
		return nil
	}
	empty, err := s.engine.opts.Store.IsEmpty()
	if err == nil && !empty {
		err = fmt.Errorf("database %s: %w", path, ErrNotInitialized)
	}
	return err
}

func idOf(kind string, index, term uint64) string { return fmt.Sprint(kind, "-", index, "-", term) }

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	m := s.last()
	if m == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{{Version: raft.SnapshotVersionMax, ID: idOf("file", m.Index, m.Term), Index: m.Index, Term: m.Term, Configuration: m.Configuration, ConfigurationIndex: m.ConfigurationIndex}}, nil
}

// Open implements raft.SnapshotStore: for who is to have the file, and for Restore.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	if r := s.received; r != nil && r.id == id {
		s.mu.Unlock()
		return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: id, Index: r.meta.Index, Term: r.meta.Term}, io.NopCloser(nil), nil
	}
	s.mu.Unlock()
	kept := s.last() // before the file is looked at, which has all that this says
	n, err := s.engine.opts.Store.Snapshot()
	m := s.engine.machine
	c := m.configuration.Load()
	if err == nil && (c == nil || m.seen.Load() < n.Mark.Index) {
		err = errors.Join(errors.New("which nodes there are is not known yet"), n.Close())
	}
	if err != nil {
		s.engine.pause(openAgain)
		return nil, nil, err
	}
	index, term := n.Mark.Index, n.Mark.Term
	if kept != nil && kept.Whole && kept.Index > index { // without a batch between the two
		index, term = kept.Index, kept.Term
	}
	return &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, ID: id, Index: index, Term: term, Configuration: c.servers, ConfigurationIndex: c.index, Size: n.Size},
		&sending{n, s.engine.logs.hold(index)}, nil
}

// openAgain is how long it takes to say that there is no file yet, or that an entry cannot be read: raft asks again at once while it hands on leadership.
const openAgain = 50 * time.Millisecond

// sending is a file on its way, for which the log keeps what comes behind it.
type sending struct {
	*db.Snapshot
	release func()
}

// catchUpWait is how long the log keeps what comes behind a file that was sent.
const catchUpWait = 5 * time.Second

// Close implements io.Closer.
func (s *sending) Close() error {
	time.AfterFunc(catchUpWait, s.release)
	return s.Snapshot.Close()
}

// Create implements raft.SnapshotStore: of one of this node's own, or of one that is received.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, nodes raft.Configuration, nodesIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	mark, err := s.engine.opts.Store.Applied()
	if err != nil {
		return nil, err
	}
	return &sinking{snapshots: s, meta: snapshotMeta{Whole: true, Cluster: hex.EncodeToString(mark.Cluster[:]), Index: index, Term: term, Configuration: nodes, ConfigurationIndex: nodesIndex}}, nil
}

// sinking is a raft.SnapshotSink. It has a file where something is written.
type sinking struct {
	snapshots *snapshots
	meta      snapshotMeta
	file      *os.File
}

// ID implements raft.SnapshotSink.
func (k *sinking) ID() string { return idOf("received", k.meta.Index, k.meta.Term) }

// Write implements io.Writer.
func (k *sinking) Write(b []byte) (n int, err error) {
	if k.file == nil {
		if k.file, err = os.OpenFile(k.snapshots.incoming(), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
			return 0, err
		}
	}
	return k.file.Write(b)
}

// Close implements io.Closer: what was received is there for Restore, which makes it valid.
func (k *sinking) Close() error {
	if k.file == nil {
		return k.snapshots.save(k.meta)
	}
	if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
		return err
	}
	k.snapshots.mu.Lock()
	defer k.snapshots.mu.Unlock()
	k.snapshots.received = &received{k.ID(), k.file.Name(), k.meta}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *sinking) Cancel() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), os.Remove(k.file.Name()))
}

// Restore implements raft.FSM: it puts what was received in the place of the file. Only then is it kept that it was: where that is cut short
// between, the file is ahead of what the log says, and what comes again is passed by.
func (m *machine) Restore(io.ReadCloser) error {
	s := m.engine.snaps
	s.mu.Lock()
	r := s.received
	s.received = nil
	s.mu.Unlock()
	if m.failed != nil || r == nil {
		return errors.Join(m.failed, errors.New("nothing was received"))
	}
	copied := m.engine.opts.Store
	unchanged, err := copied.Install(r.path)
	if err != nil && unchanged {
		return errors.Join(err, os.Remove(r.path))
	}
	if err == nil {
		m.mark, err = copied.Applied()
	}
	if err == nil && m.mark.Index > r.meta.Index {
		err = fmt.Errorf("the file that was received is that of entry %d, not of %d", m.mark.Index, r.meta.Index)
	}
	if err == nil {
		r.meta.Applied = m.mark.Index
		r.meta.Cluster = hex.EncodeToString(m.mark.Cluster[:])
		err = s.save(r.meta)
	}
	if err == nil {
		err = m.engine.logs.drop(r.meta.Index)
	}
	if err != nil {
		return m.fail(err)
	}
	m.parts = parts{}
	m.StoreConfiguration(r.meta.ConfigurationIndex, r.meta.Configuration)
	m.applied.Store(m.mark.Index)
	m.see(r.meta.Index)
	m.engine.log.Info("the database was replaced by that of the leader", "file", copied.Path(), "index", m.mark.Index)
	return nil
}

// cutLog cuts off the log whenever it is too large.
func (e *Engine) cutLog() {
	for {
		select {
		case <-e.closed:
			return
		case <-e.logs.large:
		}
		if err := e.cutOff(); err != nil && !e.done() {
			e.log.Warn("the cluster's log could not be cut off: it is tried again", "error", err)
		}
		if !e.pause(time.Second) {
			return
		}
		e.logs.look()
	}
}

// cutOff has the file take everything, and lets go of what the log need not have then.
func (e *Engine) cutOff() error {
	if meta := e.snaps.last(); meta == nil || e.machine.applied.Load() > meta.Index {
		return e.await1(e.raft.Snapshot())
	}
	first, err := e.logs.FirstIndex() // more may go now than when the snapshot was made
	if err != nil || first == 0 || first > e.opts.Store.Durable() {
		return err
	}
	return e.logs.DeleteRange(first, e.snaps.last().Index)
}
