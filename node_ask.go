package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	cli "pipit/admin/command"
	"pipit/admin/monitor"
	"pipit/cluster"
	"pipit/cluster/port"
	"pipit/config"
	"pipit/db"
	"pipit/metrics"
)

// questions answers what nodes, and the command line, ask a node by its port. What the leader alone can do, a follower passes on to it.
func (n *node) questions() http.Handler {
	mux := http.NewServeMux()
	on := func(pattern string, answer func(ctx context.Context, q url.Values) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r.Context(), r.URL.Query())
			w.Header().Set("Content-Type", "application/json")
			if err != nil {
				w.WriteHeader(http.StatusConflict)
				v = map[string]string{"error": err.Error()}
			}
			_ = json.NewEncoder(w).Encode(v)
		})
	}
	on("GET /info", func(context.Context, url.Values) (any, error) { return n.engine.Info(), nil })
	on("GET /digest", func(ctx context.Context, q url.Values) (any, error) {
		index, err := strconv.ParseUint(q.Get("index"), 10, 64)
		if err != nil {
			return nil, err
		}
		return n.engine.Digest(ctx, index)
	})
	on("GET /status", func(ctx context.Context, _ url.Values) (any, error) { return n.status(ctx), nil })
	mux.HandleFunc("POST /"+askBackup, n.sendBackup)
	leading := func(name string, do func(ctx context.Context, q url.Values) error) {
		on("POST /"+name, func(ctx context.Context, q url.Values) (any, error) {
			leader, addr := n.engine.Leader()
			switch leader {
			case "":
				return nil, cluster.ErrNoLeader
			case n.cfg.Cluster.Node:
				if err := do(ctx, q); err != nil {
					return nil, err
				}
				return n.status(ctx), nil
			}
			var s monitor.ClusterStatus
			return &s, n.ask(ctx, http.MethodPost, addr, name+"?"+q.Encode(), &s)
		})
	}
	leading("transfer", func(ctx context.Context, q url.Values) error {
		heir, err := n.engine.Heir(q.Get("node"))
		if err != nil {
			return err
		}
		n.note(ctx, "transfer", heir) // which the next leader has
		if err := n.engine.Transfer(heir); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, verifyTime)
		defer cancel()
		_, _, err = n.engine.AwaitLeader(ctx)
		return err
	})
	for name, do := range map[string]func(ctx context.Context, q url.Values) error{
		"join":    func(ctx context.Context, q url.Values) error { return n.engine.Add(ctx, q.Get("node"), q.Get("addr")) },
		"replace": func(ctx context.Context, q url.Values) error { return n.engine.Replace(ctx, q.Get("node")) },
		"leave":   func(_ context.Context, q url.Values) error { return n.engine.Remove(q.Get("node")) },
	} {
		leading(name, func(ctx context.Context, q url.Values) error {
			err := do(ctx, q)
			if err == nil {
				n.note(ctx, name, q.Get("node"))
			}
			return err
		})
	}
	on("POST /verify", func(ctx context.Context, _ url.Values) (any, error) {
		if leader, addr := n.engine.Leader(); leader != "" && leader != n.cfg.Cluster.Node {
			var s monitor.ClusterStatus
			return &s, n.ask(ctx, http.MethodPost, addr, "verify", &s)
		}
		return n.compare(ctx)
	})
	return mux
}

// note takes what the command line had this node do, which leads, into the audit log.
func (n *node) note(ctx context.Context, what, of string) {
	if o := n.open.Load(); o != nil && o.admin != nil {
		o.admin.NoteAtNode(ctx, "cluster."+what, of)
	}
}

// shown is what is answered of a cluster.
func shown(s cluster.Status) monitor.ClusterStatus {
	t := monitor.ClusterStatus{Leader: s.Leader, Term: s.Term, Nodes: []monitor.ClusterNode{}}
	for _, n := range s.Nodes {
		t.Nodes = append(t.Nodes, monitor.ClusterNode(n))
	}
	return t
}

// figures are those of the metrics.
func (n *node) figures() metrics.Cluster {
	s, own := n.engine.Known(), n.engine.Info()
	c := metrics.Cluster{Leads: s.Leader == n.cfg.Cluster.Node, Term: s.Term, Applied: own.Applied, Durable: own.Durable, Changes: n.changes.Load()}
	for _, other := range s.Nodes {
		if c.Leads && other.Node != n.cfg.Cluster.Node {
			c.Nodes = append(c.Nodes, metrics.ClusterNode{Name: other.Node, Lag: other.Lag, Contact: other.Contact})
		}
	}
	return c
}

// status is how the cluster is: as the leader knows, or where that is away, as this node does.
func (n *node) status(ctx context.Context) (s monitor.ClusterStatus) {
	if leader, addr := n.engine.Leader(); leader != "" && leader != n.cfg.Cluster.Node {
		if err := n.ask(ctx, http.MethodGet, addr, "status", &s); err == nil {
			return s
		}
	}
	return shown(n.engine.Status(ctx))
}

// compare has all copies tell a digest of what they have at one moment. One that is away has none.
func (n *node) compare(ctx context.Context) (s monitor.ClusterStatus, err error) {
	index, err := n.engine.AskDigest()
	if err != nil {
		return s, err
	}
	s = shown(n.engine.Status(ctx))
	s.Digests = map[string]string{}
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, other := range s.Nodes {
		asking.Go(func() {
			var digest string
			var err error
			if other.Node == n.cfg.Cluster.Node {
				digest, err = n.engine.Digest(ctx, index)
			} else {
				err = n.ask(ctx, http.MethodGet, other.Addr, fmt.Sprint("digest?index=", index), &digest)
			}
			if err != nil {
				n.log.Warn("cluster: a copy was not compared", "node", other.Node, "err", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			s.Digests[other.Node] = digest
		})
	}
	asking.Wait()
	return s, nil
}

// ask asks another node a question.
func (n *node) ask(ctx context.Context, method, addr, question string, answer any) error {
	text, err := askPort(ctx, func(ctx context.Context) (net.Conn, error) { return n.port.Dial(ctx, port.Request, addr) }, method, question)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// maxAnswer bounds what a node answers a question, in bytes.
const maxAnswer = 1 << 20

// askPort asks the node at the other end of a connection.
func askPort(ctx context.Context, dial func(context.Context) (net.Conn, error), method, question string) ([]byte, error) {
	rsp, err := openPort(ctx, dial, method, question)
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	return io.ReadAll(io.LimitReader(rsp.Body, maxAnswer))
}

// openPort is askPort with the answer as it comes, which is to be closed.
func openPort(ctx context.Context, dial func(context.Context) (net.Conn, error), method, question string) (*http.Response, error) {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }}
	req, err := http.NewRequestWithContext(ctx, method, "http://node/"+question, http.NoBody)
	if err != nil {
		return nil, err
	}
	rsp, err := transport.RoundTrip(req)
	if err != nil || rsp.StatusCode == http.StatusOK {
		return rsp, err
	}
	defer rsp.Body.Close()
	var said struct{ Error string }
	_ = json.NewDecoder(io.LimitReader(rsp.Body, maxAnswer)).Decode(&said)
	return nil, errors.New(cmp.Or(said.Error, rsp.Status))
}

// initCluster makes the node of a configuration the first of a cluster.
func initCluster(file string, env []string, log *slog.Logger) (err error) {
	cfg, err := config.Load(file, configEnv(env))
	if err != nil {
		return err
	}
	if cfg.Cluster.Node == "" {
		return fmt.Errorf("%s: cluster.node is missing: it names this node", file)
	}
	store, err := db.OpenReplica(cfg.Database.File, db.Options{Logger: log, Program: built()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if _, err := store.Load(); err != nil {
		return err
	}
	return cluster.Init(clusterOptions(cfg, store, log))
}

// askNode asks the node of a configuration, which runs.
func askNode(ctx context.Context, file string, env []string, question string) (json.RawMessage, error) {
	dial, err := dialNode(file, env)
	if err != nil {
		return nil, err
	}
	if dial == nil {
		return nil, fmt.Errorf("%s: cluster.node is missing: it is no node of a cluster", file)
	}
	method := http.MethodPost
	if question == cli.AskStatus {
		method = http.MethodGet
	}
	text, err := askPort(ctx, dial, method, question)
	return bytes.TrimSpace(text), err
}

// dialNode returns how the node of a configuration is reached, nil where that is of none.
func dialNode(file string, env []string) (func(context.Context) (net.Conn, error), error) {
	cfg, err := config.Read(file, configEnv(env))
	if err != nil || cfg.Cluster.Node == "" {
		return nil, err
	}
	certs, err := certificates(&cfg.Cluster)
	if err != nil {
		return nil, err
	}
	if certs != nil { // which are for what the peers say, where listen may be any address
		for _, p := range cfg.Cluster.ClusterPeers() {
			if p.Node == cfg.Cluster.Node {
				certs.ServerName, _, _ = net.SplitHostPort(p.Addr)
			}
		}
	}
	return func(ctx context.Context) (net.Conn, error) {
		return port.Dial(ctx, certs, port.Request, cfg.Cluster.Listen)
	}, nil
}
