package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"pipit/broker/store"
	"pipit/db"
)

// Info is what a node says of itself to others.
type Info struct {
	Node    string `json:"node"`
	ID      string `json:"id"`
	Addr    string `json:"addr"`    // host:port
	Cluster string `json:"cluster"` // hexadecimal; empty where it never was a member of one
	Entry   int    `json:"entry"`   // the highest version of entries that it reads
	Term    uint64 `json:"term"`
	Applied uint64 `json:"applied"`  // the index of the last entry with a batch that it has applied
	Durable uint64 `json:"durable"`  // that of the last one that its file has; the log has the others
	NoSpace bool   `json:"no_space"` // its disk has no room for more
}

// Status is how a cluster is, as one node sees it.
type Status struct {
	Leader string       `json:"leader"` // empty where there is none
	Term   uint64       `json:"term"`
	Nodes  []NodeStatus `json:"nodes"` // by name; of the others, who does not lead knows the names alone
}

// NodeStatus is how a node is.
type NodeStatus struct {
	Node    string  `json:"node"`
	Addr    string  `json:"addr"`
	Role    string  `json:"role"`    // leader, follower, joining: it has no vote until it has caught up
	Applied uint64  `json:"applied"` // see Info
	Durable uint64  `json:"durable"`
	Lag     uint64  `json:"lag"`             // entries that it has not applied, and the leader has
	Contact float64 `json:"contact_seconds"` // since it answered; negative where it never did
}

// members is what the leader knows of the others.
type members struct {
	mu   sync.Mutex
	seen map[string]contact // by ID
}

type contact struct {
	info Info
	at   time.Time
}

// askWait is how long a node may take to answer.
const askWait = time.Second

// Info returns what this node says of itself.
func (e *Engine) Info() Info {
	addr, _ := SplitAddress(e.opts.Transport.LocalAddr())
	i := Info{Node: e.opts.Node, ID: e.id, Addr: addr, Entry: int(e.opts.newest), Term: e.raft.CurrentTerm(), Applied: e.machine.applied.Load(), Durable: e.opts.Store.Durable()}
	i.NoSpace = errors.Is(e.opts.Store.CheckFile(), store.ErrNoSpace)
	if m := e.snaps.last(); m != nil {
		i.Cluster = m.Cluster
	}
	return i
}

// IsMember tells whether the copy is that of a cluster: it was founded here, or came from the leader.
func (e *Engine) IsMember() bool { return e.snaps.last() != nil }

// ask asks a node, and remembers its answer.
func (e *Engine) ask(ctx context.Context, addr string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	i, err := e.opts.Ask(ctx, addr)
	if err != nil {
		return i, err
	}
	e.members.mu.Lock()
	defer e.members.mu.Unlock()
	if e.members.seen == nil {
		e.members.seen = map[string]contact{}
	}
	e.members.seen[i.ID] = contact{i, time.Now()}
	return i, nil
}

// Status asks the other nodes where this one leads. It returns when all have answered, or had their second to do so.
func (e *Engine) Status(ctx context.Context) Status {
	if e.Term() != nil {
		e.askAll(ctx, e.servers())
	}
	return e.Known()
}

// Known is Status by what the others last said, at once: a leader asks them with every heartbeat.
func (e *Engine) Known() Status {
	leader, _ := e.Leader()
	s := Status{Leader: leader, Term: e.raft.CurrentTerm()}
	servers := e.servers()
	leads := e.Term() != nil
	own := e.Info()
	e.members.mu.Lock()
	defer e.members.mu.Unlock()
	for _, server := range servers {
		addr, id := SplitAddress(server.Address)
		n := NodeStatus{Node: NodeOf(id), Addr: addr, Role: "follower", Contact: -1}
		switch {
		case server.Suffrage != raft.Voter:
			n.Role = "joining"
		case n.Node == leader:
			n.Role = "leader"
		}
		c, known := e.members.seen[id]
		if id == e.id {
			c, known = contact{own, time.Now()}, true
		}
		if known && (leads || id == e.id) {
			n.Applied, n.Durable, n.Contact = c.info.Applied, c.info.Durable, time.Since(c.at).Seconds()
		}
		if known && leads {
			n.Lag = own.Applied - min(n.Applied, own.Applied)
		}
		s.Nodes = append(s.Nodes, n)
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return strings.Compare(a.Node, b.Node) })
	return s
}

// askAll asks all others at once.
func (e *Engine) askAll(ctx context.Context, servers []raft.Server) {
	var asking sync.WaitGroup
	for _, server := range servers {
		if addr, id := SplitAddress(server.Address); id != e.id {
			asking.Go(func() { _, _ = e.ask(ctx, addr) })
		}
	}
	asking.Wait()
}

// room returns an error that wraps store.ErrNoSpace where so many nodes have said that they have no room that no majority has.
func (e *Engine) room() error {
	e.members.mu.Lock()
	defer e.members.mu.Unlock()
	voters, without := 0, 0
	for _, s := range e.servers() {
		if s.Suffrage == raft.Voter {
			voters++
			if e.members.seen[string(s.ID)].info.NoSpace && string(s.ID) != e.id {
				without++
			}
		}
	}
	if voters-without > voters/2 {
		return nil
	}
	return fmt.Errorf("%w: %d of %d nodes have no room", store.ErrNoSpace, without, voters)
}

// servers returns the members, by raft's latest configuration.
func (e *Engine) servers() []raft.Server {
	f := e.raft.GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// server returns the member of a name.
func (e *Engine) server(node string) (raft.Server, error) {
	servers := e.servers()
	i := slices.IndexFunc(servers, func(s raft.Server) bool { return NodeOf(string(s.ID)) == node })
	if i < 0 {
		return raft.Server{}, fmt.Errorf("%w: %q", ErrNoNode, node)
	}
	return servers[i], nil
}

// tend has the leader add the nodes that are to be members, and give those a vote that have caught up.
func (e *Engine) tend() {
	for e.pause(e.opts.Heartbeat) {
		if e.Term() == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*askWait)
		for node, addr := range e.opts.Peers {
			if _, err := e.server(node); err != nil {
				if err := e.Add(ctx, node, addr); err != nil {
					e.log.Debug("cluster: a node was not added yet", "node", node, "error", err)
				}
			}
		}
		e.askAll(ctx, e.servers())
		e.agree()
		e.promote(ctx)
		cancel()
	}
}

// agree has the leader write the highest version of entries that all members read, as far as they have told since the term began: of one that has not, the
// oldest is known. So a cluster whose nodes are upgraded one by one goes on in the old version until the last one is.
func (e *Engine) agree() {
	t := e.Term()
	if t == nil {
		return
	}
	version := int(e.opts.newest)
	servers := e.servers()
	e.members.mu.Lock()
	for _, s := range servers {
		if string(s.ID) == e.id {
			continue
		}
		known := oldestEntry
		if c := e.members.seen[string(s.ID)]; c.at.After(t.began) {
			known = max(c.info.Entry, oldestEntry)
		}
		version = min(version, known)
	}
	e.members.mu.Unlock()
	if before := t.version.Swap(int32(version)); before != int32(version) { // #nosec G115 -- few
		e.log.Info("cluster: all nodes read another version of entries: it is written from now on", "version", version, "before", before)
	}
}

// writes returns the version of entries that is written at this time by this node, where it leads.
func (e *Engine) writes() byte {
	if t := e.Term(); t != nil {
		return byte(t.version.Load()) // #nosec G115 -- few
	}
	return oldestEntry
}

// closeBehind is how many entries a node may lack that gets a vote.
const closeBehind = 100

// promote gives nodes a vote that have caught up.
func (e *Engine) promote(ctx context.Context) {
	for _, server := range e.servers() {
		addr, id := SplitAddress(server.Address)
		if server.Suffrage == raft.Voter {
			continue
		}
		i, err := e.ask(ctx, addr)
		if err != nil || i.ID != id || i.Cluster == "" || i.Applied+closeBehind < e.machine.applied.Load() {
			continue
		}
		if err := e.await1(e.raft.AddVoter(server.ID, server.Address, 0, enqueue)); err != nil {
			e.log.Debug("cluster: a node got no vote yet", "node", i.Node, "error", err)
			continue
		}
		e.log.Info("a node joined the cluster", "node", i.Node, "address", addr)
	}
}

func (e *Engine) await1(f raft.Future) error {
	err, _ := e.await(f)
	return err
}

// Add adds a node, which is reached at addr, host:port, and gives it a vote when it has caught up. Only the leader can. A node that has
// left, or that has lost its directory while its name is one of the members, is to be removed before.
func (e *Engine) Add(ctx context.Context, node, addr string) error {
	i, err := e.ask(ctx, addr)
	own := e.Info()
	switch {
	case e.Term() == nil:
		return ErrOver
	case err != nil:
		return fmt.Errorf("node %q at %s cannot be asked: %w", node, addr, err)
	case i.Node != node:
		return fmt.Errorf("the node at %s is %q, not %q", addr, i.Node, node)
	case i.Entry < int(e.writes()):
		return fmt.Errorf("node %q is of an older Pipit: it reads entries of version %d, and this cluster has %d", node, i.Entry, e.writes())
	case i.Cluster != "":
		return fmt.Errorf("node %q was a member before: it is to begin anew, with an empty directory", node)
	}
	if s, err := e.server(node); err == nil {
		return fmt.Errorf("node %q is a member by another ID: remove it first (%s, and here %s)", node, s.ID, i.ID)
	}
	if own.ID == i.ID {
		return nil
	}
	return e.await1(e.raft.AddNonvoter(raft.ServerID(i.ID), Address(addr, i.ID), 0, enqueue))
}

// Remove takes another node out of the cluster. Only the leader can. Where its directory is made empty, it is added again as a new one, if Options.Peers names it.
func (e *Engine) Remove(node string) error {
	s, err := e.server(node)
	switch {
	case err != nil:
		return err
	case string(s.ID) == e.id:
		return fmt.Errorf("node %q cannot leave: %w", node, ErrLeads)
	}
	return e.await1(e.raft.RemoveServer(s.ID, 0, enqueue))
}

// Replace takes a node out of the cluster that has lost what it had, and adds the one that has its name and address by now; where none
// answers there, Options.Peers has it added when it comes. Only the leader can. A node that is there as the member that it was stays.
func (e *Engine) Replace(ctx context.Context, node string) error {
	s, err := e.server(node)
	if err != nil {
		return err
	}
	addr, id := SplitAddress(s.Address)
	i, err := e.ask(ctx, addr)
	switch {
	case err == nil && i.ID == id:
		return fmt.Errorf("node %q %w", node, ErrThere)
	case err == nil && i.Cluster != "":
		return fmt.Errorf("node %q was a member before: it is to begin anew, with an empty directory", node)
	}
	gone := err
	if err := e.Remove(node); err != nil || gone != nil {
		return err
	}
	return e.Add(ctx, node, addr)
}

// Transfer has another node lead: the named one, or where the name is empty the one that has most. Only the leader can.
func (e *Engine) Transfer(node string) error {
	s, err := e.heir(node)
	if err != nil || string(s.ID) == e.id {
		return err
	}
	return e.await1(e.raft.LeadershipTransferToServer(s.ID, s.Address))
}

// Heir returns the name of the node that Transfer would have lead.
func (e *Engine) Heir(node string) (string, error) {
	s, err := e.heir(node)
	return NodeOf(string(s.ID)), err
}

// heir returns the named node, or of those with a vote that were heard of just now the one that has most.
func (e *Engine) heir(node string) (heir raft.Server, err error) {
	if e.raft.State() != raft.Leader {
		return heir, ErrOver
	}
	if node != "" {
		if heir, err = e.server(node); err == nil && heir.Suffrage != raft.Voter {
			err = fmt.Errorf("node %q has not caught up yet: %w", node, ErrBehind)
		}
		return heir, err
	}
	servers := e.servers()
	e.members.mu.Lock()
	defer e.members.mu.Unlock()
	var most uint64
	err = fmt.Errorf("no other node with a vote is there: %w", ErrBehind)
	for _, s := range servers {
		c := e.members.seen[string(s.ID)]
		if string(s.ID) == e.id || s.Suffrage != raft.Voter || time.Since(c.at) > 2*e.opts.Heartbeat+askWait {
			continue
		}
		if err != nil || c.info.Applied > most {
			heir, most, err = s, c.info.Applied, nil
		}
	}
	return heir, err
}

// Init makes a database, which may have content, the first copy of a cluster of one node, which is not running. Options need Node, Dir, Store, and in Peers the node's own
// address. Where it is cut short it is to be repeated.
func Init(opts Options) (err error) {
	opts, err = opts.withDefaults()
	if err != nil {
		return err
	}
	addr := opts.Peers[opts.Node]
	if addr == "" {
		return fmt.Errorf("the peers do not name node %q", opts.Node)
	}
	id, err := Identify(opts.Dir, opts.Node)
	if err != nil {
		return err
	}
	e := &Engine{opts: opts, log: opts.Logger}
	if e.snaps, err = openSnapshots(e); err != nil {
		return err
	}
	if e.snaps.last() != nil {
		return fmt.Errorf("the directory %s is that of a node of a cluster already", opts.Dir)
	}
	// What an Init that was cut short has left goes, or what a node has that waits to be added.
	if err := removeLog(&opts); err != nil {
		return err
	}
	logs, err := openLogStore(&opts, func(error) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, logs.close()) }()
	nodes := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(id), Address: Address(addr, id)}}}
	if err := raft.BootstrapCluster(opts.raftConfig(id, e.log), logs, logs.stable, e.snaps, nil, nodes); err != nil {
		return err
	}
	// The log begins behind its first entry, so that who joins gets the file before.
	if err := logs.drop(1); err != nil {
		return err
	}
	var cluster db.ClusterID
	rand.Read(cluster[:]) // never fails
	if err := opts.Store.Found(cluster, 1, 1); err != nil {
		return err
	}
	return e.snaps.save(snapshotMeta{Cluster: hex.EncodeToString(cluster[:]), Index: 1, Term: 1, Applied: 1, Whole: true, Configuration: nodes, ConfigurationIndex: 1})
}
