package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"pipit/backup"
	"pipit/broker"
	"pipit/broker/store"
	"pipit/cluster"
	"pipit/cluster/forward"
	"pipit/cluster/port"
	"pipit/config"
	"pipit/db"
	"pipit/httpapi"
)

// node is this process as one of a cluster. The doors to a broker are open while it leads, and requests find them from all nodes.
type node struct {
	*service
	store   *db.Replica
	port    *port.Port
	engine  *cluster.Engine
	front   *forward.Forward
	backups *backup.Service
	open    atomic.Pointer[opened] // nil: it does not lead, or its broker is not open yet
	leaves  atomic.Bool            // it is about to stop
	changes atomic.Uint64          // of who leads, that it has seen

	ended chan struct{} // is closed when the node can go on no more
	cause error         // why

	config sync.Mutex // of cfg, which a reload changes while a term begins

	mu      sync.Mutex
	changed chan struct{} // is closed when open is another one, or another node leads
}

// opened is a broker of a term that this node leads.
type opened struct {
	*doors
	term      *cluster.Term
	wire, own http.Handler
}

// The names that all nodes have for their addresses.
const (
	wireDoor  = "wire"
	adminDoor = "admin"
)

// termEnd is how long the doors of a term that is over may take to close.
const termEnd = 5 * time.Second

// runNode runs the broker as a node of a cluster, as runBroker does without one.
func (s *service) runNode(ctx context.Context, configFile string, signals chan os.Signal, hangups *hangups, tell supervisor) error {
	n := &node{service: s, ended: make(chan struct{}), changed: make(chan struct{})}
	if err := s.observe(); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	warnOpen(s.cfg, configFile, s.log)
	warnWeak(s.cfg, s.log)
	if err := n.openPort(); err != nil {
		return err
	}
	if ready, err := prepare(ctx, s.listen, n.join); !ready {
		return err
	}
	s.down.add("http", s.server.Stop)
	s.serve(ctx, n.front.Door(wireDoor), n.front.Door(adminDoor), n.stopping)
	n.servePeers()
	s.log.Info("listening", "addr", s.listeners.String(), "node", s.cfg.Cluster.Node, "tls", s.cert != nil, "database", s.cfg.Database.File, "version", version)
	tell.ready()
	defer tell.stopping()
	return s.run(ctx, n, signals, hangups, tell)
}

// openStore opens this node's copy.
func (n *node) openStore() (err error) {
	c := &n.cfg.Database
	opts := db.Options{Logger: n.log, Program: built(), LogSize: int64(c.LogSize), CompactWhen: c.CompactWhen, MinFree: int64(c.MinFree)}
	if n.metrics != nil {
		opts.Checkpointed = n.metrics.Checkpointed
	}
	if n.store, err = db.OpenReplica(c.File, opts); err != nil {
		return err
	}
	n.down.add("database", n.store.Close)
	if _, err = n.store.Load(); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}

// certificates are those of the cluster's port, nil where there are none.
func certificates(c *config.Cluster) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	return port.Certificates(c.TLSCert, c.TLSKey, c.TLSCA)
}

func (n *node) openPort() error {
	certs, err := certificates(&n.cfg.Cluster)
	if err != nil {
		return err
	}
	if n.port, err = port.Open(port.Options{Listen: n.cfg.Cluster.Listen, TLS: certs, Logger: n.log}); err != nil {
		return err
	}
	n.down.add("the cluster's port", n.port.Close)
	n.front = forward.New(forward.Options{
		Port: n.port, Wait: n.cfg.Cluster.ForwardWait, Logger: n.log, Refuse: unready, Local: n.isLocal,
		Leader: n.leader, Changed: n.change,
	})
	return nil
}

// clusterOptions are what the configuration says of the engine.
func clusterOptions(c *config.Config, store *db.Replica, log *slog.Logger) cluster.Options {
	t := &c.Cluster
	peers := map[string]string{}
	for _, p := range t.ClusterPeers() {
		peers[p.Node] = p.Addr
	}
	return cluster.Options{Node: t.Node, Dir: t.Directory, Peers: peers, Store: store, Heartbeat: t.Heartbeat, LogSize: int64(t.LogSize), Logger: log}
}

// join starts the engine, which leads or follows from now on.
func (n *node) join(ctx context.Context) error {
	opts := clusterOptions(n.cfg, n.store, n.log)
	id, err := cluster.Identify(opts.Dir, opts.Node)
	if err != nil {
		return err
	}
	opts.Transport = cluster.NewTransport(n.port, opts.Peers[opts.Node], id, n.log)
	opts.Ask = func(ctx context.Context, addr string) (info cluster.Info, err error) {
		return info, n.ask(ctx, http.MethodGet, addr, "info", &info)
	}
	opts.Lead = func(t *cluster.Term) { n.lead(ctx, t) }
	opts.Fatal = func(err error) { // once
		n.cause = err
		close(n.ended)
	}
	n.config.Lock() // a term may begin at once, and is to find what is set here
	defer n.config.Unlock()
	if n.engine, err = cluster.Open(opts); err != nil {
		return err
	}
	n.down.add("cluster", n.engine.Close)
	n.backups = backup.Start(n.backUp, n.backupOptions())
	n.down.add("backups", n.backups.Stop)
	if n.metrics != nil {
		n.metrics.ReadCluster(n.figures)
	}
	go n.watch(ctx)
	return nil
}

// watch takes note of who leads, so that requests turn to that one.
func (n *node) watch(ctx context.Context) {
	look := time.NewTicker(n.cfg.Cluster.Heartbeat / 20)
	defer look.Stop()
	member := n.engine.IsMember()
	for before := ""; ; {
		if !member && n.engine.IsMember() {
			member = true
			n.config.Lock()
			n.backups.Adjust(n.backupOptions())
			n.config.Unlock()
		}
		if _, addr := n.engine.Leader(); addr != before {
			before = addr
			n.changes.Add(1)
			n.tell()
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// lead has the doors to a broker open until a term is over. Where they cannot be opened it returns, and another node is to lead.
func (n *node) lead(ctx context.Context, t *cluster.Term) {
	o := &opened{doors: &doors{service: n.service, down: &shutdown{}, cluster: membership{n}}, term: t}
	defer func() {
		if err := o.down.run(termEnd); err != nil && !errors.Is(err, store.ErrOver) {
			n.log.Warn("the doors of a term were not closed in order", "err", err)
		}
	}()
	if err := n.openDoors(ctx, o); err != nil {
		n.log.Error("this node cannot lead", "err", err)
		return
	}
	defer func() { // not while a reload uses them
		n.config.Lock()
		defer n.config.Unlock()
		n.set(nil)
	}()
	select {
	case <-t.Done():
	case <-o.b.Failed():
	}
	o.b.Drain()
}

// openDoors opens what leads to the broker of a term, by the configuration of this moment.
func (n *node) openDoors(ctx context.Context, o *opened) error {
	n.config.Lock()
	defer n.config.Unlock()
	o.backups = n.backups
	err := o.openOn(o.term)
	for _, step := range []func(context.Context) error{o.declare, o.openAll} {
		if err == nil {
			err = step(ctx)
		}
	}
	if err != nil {
		return err
	}
	o.wire, o.own = o.handlers()
	n.set(o)
	o.announce()
	return nil
}

// set opens the doors to others, or closes them.
func (n *node) set(o *opened) {
	n.open.Store(o)
	n.tell()
}

// tell wakes requests that wait for another leader.
func (n *node) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) change() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changed
}

// leader is where requests are to go.
func (n *node) leader() forward.Leader {
	if o := n.open.Load(); o != nil {
		return forward.Leader{Here: o}
	}
	if name, addr := n.engine.Leader(); name != n.cfg.Cluster.Node {
		return forward.Leader{Addr: addr}
	}
	return forward.Leader{} // it leads, and its doors are not open yet
}

// Door is for forward.Here.
func (o *opened) Door(name string) http.Handler {
	switch name {
	case wireDoor:
		return o.wire
	case adminDoor:
		return o.own
	}
	return nil
}

// Verify is for forward.Here: it is that of the term whose doors these are, and of no later one.
func (o *opened) Verify(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	return o.term.Verify(ctx)
}

// verifyTime is how long a majority may take to say who leads.
const verifyTime = 10 * time.Second

// unready answers what cannot be answered while nobody leads.
func unready(w http.ResponseWriter, r *http.Request, unknown bool) {
	e := &broker.Error{Code: broker.Unavailable, Message: "No node of the cluster leads at this moment: nothing was done", RetryAfter: time.Second}
	if unknown {
		e.Message = "The node that leads has changed meanwhile: the outcome is unknown, repeat with the same msg_id"
	}
	httpapi.Answer(w, r, e)
}

// isLocal answers the probes that are of this node and not of the one that leads, and tells whether it did.
func (n *node) isLocal(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.URL.Path == httpapi.AlivePath:
		httpapi.Answer(w, r, nil)
	case r.URL.Path == httpapi.ReadyPath && n.leaves.Load():
		httpapi.Answer(w, r, &broker.Error{Code: broker.Unavailable, Message: "The server is about to stop", RetryAfter: 5 * time.Second})
	case r.URL.Path == httpapi.ReadyPath && r.URL.Query().Get("leader") == "true" && n.open.Load() == nil:
		httpapi.Answer(w, r, &broker.Error{Code: broker.Unavailable, Message: "Another node leads", RetryAfter: time.Second})
	default:
		return false
	}
	return true
}

// stopping ends requests that wait, as the process is to end.
func (n *node) stopping() {
	if o := n.open.Load(); o != nil {
		o.b.Drain()
	}
}

// servePeers takes what other nodes pass on and ask.
func (n *node) servePeers() {
	srv := httpapi.NewServer(n.front.Handler(n.questions()), 0)
	srv.ErrorLog = slog.NewLogLogger(n.log.Handler(), slog.LevelDebug)
	go func() { _ = srv.Serve(n.port.Listener(port.Request)) }() // until the port is closed
	n.down.add("requests of other nodes", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), termEnd)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			return srv.Close()
		}
		return nil
	})
}

// failed, failure, unready and reload are for work.

func (n *node) failed() <-chan struct{} { return n.ended }

func (n *node) failure() error { return fmt.Errorf("cluster: %w", n.cause) }

func (n *node) unready() { n.leaves.Store(true) }

// reload has all that the configuration declares applied where this node leads, and elsewhere what is the process'.
func (n *node) reload(ctx context.Context) {
	n.config.Lock()
	defer n.config.Unlock()
	again := &reloader{load: n.load, cfg: n.cfg, log: n.log, stderr: n.stderr}
	again.onChange(n.adjust)
	again.onChange(func(*config.Config) { n.backups.Adjust(n.backupOptions()) })
	if o := n.open.Load(); o != nil {
		again = &o.again
	}
	again.reload(ctx)
	n.front.Adjust(n.cfg.Cluster.ForwardWait)
}
