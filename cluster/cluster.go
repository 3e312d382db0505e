// Package cluster keeps a database on several machines, so that it survives the loss of one of three: the same binary on each, and
// nothing else to run. Consensus is hashicorp/raft's; what is here is what a broker's store needs around it.
//
// A batch of changes is one entry of raft's log, or a few where it is large (entry.go). Once a majority has flushed it, every node applies it
// to its own copy, a db.Replica (machine.go). The node that leads has a Term, which is a store.Store: a broker is opened on it, and thrown
// away when the term ends, since another node may have gone on by then (leader.go).
//
// A leader that was stopped for a while does not know that it leads no more. Two things keep it from doing harm. What it commits names
// the term and the batch before it, and is skipped by all copies where these do not fit: Commit then fails, and stored nothing. What it answers
// without a commit it answers after Term.Verify, which asks a majority (verify.go).
//
// The log is cut off by its size. A copy that is farther behind gets the leader's file, as it is at that moment (snapshot.go), also when it joins
// (member.go): a node whose name is one of Options.Peers and that never was a member is added by the leader. A node has a
// random ID in its directory beside its name: where it loses that, it is a stranger, whose vote counts for nothing. So that raft's messages for
// the one never reach the other, the address of a node in raft's configuration has its ID behind it: see Address.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/cluster/name"
	"pipit/db"
	"pipit/db/disk"
)

// Options say what a node is and how it reaches others.
type Options struct {
	Node      string            // its name, of letters, digits, dots, dashes and underscores
	Dir       string            // of the log and what else the cluster keeps; it is made where it is not there
	Peers     map[string]string // the address, host:port, of each node that is added by itself, this one among them
	Store     *db.Replica       // loaded; it stays the caller's to close, after Close
	Transport raft.Transport    // whose local address is Address of this node's; it refuses what is meant for another ID

	Heartbeat time.Duration // without which a follower stands for election, and a leader gives up; default 1 s
	LogSize   int64         // bytes of entries that the log keeps at most, beside those that the file does not have; default 64 MiB
	Logger    *slog.Logger  // default: slog.Default()
	FS        disk.FS       // of the log; default disk.OS

	// Ask returns what the node at an address, host:port, says of itself: its Engine.Info.
	Ask func(ctx context.Context, addr string) (Info, error)

	// Lead is called when this node begins to lead, and returns when the term is over (Term.Done) and nothing uses it any more. Where it returns
	// earlier, the node does not want to lead, and another one is to. It is called once at a time.
	Lead func(*Term)

	// Fatal is called, once, when this node can go on no more: a flush or a restore failed, or an entry cannot be understood. The process is to end.
	Fatal func(error)

	newest byte // the newest version of entries that it reads and may write; default newestEntry; for tests
}

const (
	defaultHeartbeat = time.Second
	defaultLogSize   = 64 << 20
	maxAppend        = 16 // entries that are sent at once: 8 MiB

	// enqueue is how long an entry may wait for raft to take it.
	enqueue = 5 * time.Second
)

// Errors of Commit and Verify. The first two wrap store.ErrOver.
var (
	// ErrUnknown: leadership was lost while a batch was on its way. It may have been stored: it is to be repeated with the same msg_id.
	ErrUnknown = fmt.Errorf("the outcome is unknown: leadership was lost meanwhile: %w", store.ErrOver)
	// ErrOver: the term is over, this node leads no more.
	ErrOver = fmt.Errorf("this node leads no more: %w", store.ErrOver)
	// ErrNoNode: the cluster has no node of that name.
	ErrNoNode = errors.New("the cluster has no such node")
	// ErrBehind: a node is away, or has not caught up.
	ErrBehind = errors.New("it is not ready to lead")
	// ErrThere: the node is to be replaced, and has lost nothing.
	ErrThere = errors.New("is there, and has what it had: stop it, and take it out or let it begin anew, with neither directory nor database")
	// ErrLeads: the node leads, and is to have another one lead first.
	ErrLeads = errors.New("it leads: have another node lead first")
	// ErrNoLeader: there is none that this node knows of.
	ErrNoLeader = errors.New("no node leads at this moment")
	// ErrNotInitialized: Open of a directory and a database that are of no cluster yet, and not empty.
	ErrNotInitialized = errors.New("it has content of its own, which that of a cluster would replace: make it the first of a cluster by init, or move it away")
)

// Engine is one node of a cluster.
type Engine struct {
	opts    Options
	id      string
	raft    *raft.Raft
	logs    *logStore
	snaps   *snapshots
	machine *machine
	log     *slog.Logger

	closed  chan struct{} // when it begins to close
	gone    chan struct{} // when raft has ended
	closing sync.Once
	fatal   sync.Once
	working sync.WaitGroup
	leading chan struct{} // tells that leadership was won
	term    atomic.Pointer[Term]
	members members
	secrets secrets
	digests digests
	awaited atomic.Int64 // futures of raft
}

// Open starts a node. Where its directory is new it waits to be added by the leader.
func Open(opts Options) (*Engine, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{opts: opts, log: opts.Logger, closed: make(chan struct{}), gone: make(chan struct{}), leading: make(chan struct{}, 1)}
	if e.id, err = Identify(opts.Dir, opts.Node); err != nil {
		return nil, err
	}
	if err := e.openLog(); err != nil {
		return nil, err
	}
	if err := e.start(); err != nil {
		return nil, errors.Join(err, e.logs.close())
	}
	return e, nil
}

func (o Options) withDefaults() (Options, error) {
	if err := name.Check(o.Node); err != nil {
		return o, err
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = defaultHeartbeat
	}
	if o.LogSize <= 0 {
		o.LogSize = defaultLogSize
	}
	if o.newest == 0 {
		o.newest = newestEntry
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Ask == nil {
		o.Ask = func(context.Context, string) (Info, error) { return Info{}, errors.New("there is no way to ask it") }
	}
	return o, nil
}

// openLog opens what the directory has.
func (e *Engine) openLog() (err error) {
	if e.logs, err = openLogStore(&e.opts, e.fail); err != nil {
		return err
	}
	for _, open := range []func() error{func() (err error) { e.snaps, err = openSnapshots(e); return err }, e.openSecrets} {
		if err := open(); err != nil {
			return errors.Join(err, e.logs.close())
		}
	}
	return nil
}

func (o *Options) raftConfig(id string, log *slog.Logger) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(id)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = o.Heartbeat, o.Heartbeat, o.Heartbeat/2
	c.CommitTimeout = min(c.CommitTimeout, o.Heartbeat/10)
	c.MaxAppendEntries = maxAppend
	c.NoSnapshotRestoreOnStart = true // the file has what was restored
	c.NoLegacyTelemetry = true
	c.TrailingLogs = 1                                            // logStore keeps what is to be kept
	c.SnapshotThreshold, c.SnapshotInterval = 1<<62, 24*time.Hour // see cutLog
	c.Logger = hclogOf(log)
	return c
}

// start brings the copy to where the log's last snapshot is, and starts raft.
func (e *Engine) start() error {
	mark, err := e.opts.Store.Applied()
	if err != nil {
		return err
	}
	e.machine = &machine{engine: e, mark: mark}
	if err := e.snaps.fits(mark); err != nil {
		return err
	}
	if err := e.machine.catchUp(); err != nil {
		return err
	}
	c := e.opts.raftConfig(e.id, e.log)
	notify := make(chan bool, 16)
	c.NotifyCh = notify
	trans := &afterFile{e.opts.Transport, e.snaps.last, make(chan raft.RPC)}
	if e.raft, err = raft.NewRaft(c, e.machine, e.logs, e.logs.stable, e.snaps, trans); err != nil {
		return fmt.Errorf("the cluster's log in %s: %w", e.opts.Dir, err)
	}
	for _, run := range []func(){func() { trans.pass(e.gone) }, func() { e.watch(notify) }, e.lead, e.cutLog, e.wipeLog, e.tend} {
		e.working.Go(run)
	}
	return nil
}

// fail ends the node's part for good.
func (e *Engine) fail(err error) {
	e.fatal.Do(func() {
		e.log.Error("this node can take part in its cluster no more", "error", err)
		if e.opts.Fatal != nil {
			go e.opts.Fatal(err)
		}
	})
}

// Close ends the node's part: it hands leadership on where it has it, waits for Lead to return, and closes the log. The Store has what was
// applied.
func (e *Engine) Close() error {
	var err error
	e.closing.Do(func() {
		if e.raft.State() == raft.Leader {
			_ = e.Transfer("") // or the others find out by themselves
		}
		close(e.closed)
		e.endTerm(ErrOver)
		waiting := time.AfterFunc(closeWait, e.opts.Store.GiveUp) // a full disk may hold it up
		e.settle()
		err = e.raft.Shutdown().Error()
		waiting.Stop()
		close(e.gone)
		e.working.Wait()
		e.digests.working.Wait()
		err = errors.Join(err, e.logs.close())
	})
	return err
}

// settle waits for what raft was asked, as long as a leader without a majority may take to find out: raft forgets some of that where it is shut down
// meanwhile, and who waits would do so for ever.
func (e *Engine) settle() {
	look := time.NewTicker(settleLook)
	defer look.Stop()
	for end := time.Now().Add(min(2*e.opts.Heartbeat, closeWait)); e.awaited.Load() > 0 && time.Now().Before(end); {
		<-look.C
	}
}

const settleLook = time.Millisecond

// closeWait is how long Close waits for what is being applied.
const closeWait = 5 * time.Second

// ID returns the random ID of this node, with its name before it.
func (e *Engine) ID() string { return e.id }

// done tells whether the node is closed.
func (e *Engine) done() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// pause waits, and tells whether the node is still there.
func (e *Engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-e.closed:
		return false
	case <-t.C:
		return true
	}
}
