package api

import (
	"net/http"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
)

// clustering is the API of the cluster that this process leads.
type clustering struct{ *API }

// newNode is a node that is to join.
type newNode struct {
	Node string `json:"node"` // its name
	Addr string `json:"addr"` // host:port of its [cluster] listen
}

// newLeader is who is to lead.
type newLeader struct {
	Node string `json:"node"` // its name; empty: any
}

// Heir is who leads from now on.
type Heir struct {
	Node string `json:"node"`
}

func (c clustering) routes() []gate.Route {
	all := gate.V1 + "/cluster"
	return []gate.Route{
		gate.Get(all, c.with(c.status), gate.Read),
		gate.Post(all+"/verify", c.with(c.verify), gate.Admin),
		gate.Post(all+"/transfer", c.with(c.transfer), gate.Admin),
		gate.Post(all+"/nodes", c.with(c.join), gate.Admin),
		gate.Post(all+"/nodes/:node/replace", c.with(c.replace), gate.Admin),
		gate.Delete(all+"/nodes/:node", c.with(c.leave), gate.Admin),
	}
}

// with is a handler of a node of a cluster.
func (c clustering) with(h gate.Handler) gate.Handler {
	return func(w http.ResponseWriter, r *http.Request, p gate.Params) error {
		if c.Cluster == nil {
			return monitor.ErrNoCluster
		}
		return h(w, r, p)
	}
}

func (c clustering) status(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return reply(w, http.StatusOK, c.Cluster.Status(r.Context()))
}

// verifyTime is how long the copies may take to be compared.
const verifyTime = time.Hour

func (c clustering) verify(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, verifyTime)
	s, err := c.Cluster.Verify(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (c clustering) transfer(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	var in, none newLeader
	if err := readObject(r, &in, &none, TypeJSON); err != nil {
		return err
	}
	heir, err := c.Cluster.Transfer(in.Node)
	if err != nil {
		return err
	}
	c.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterTransfer, heir)
	return reply(w, http.StatusAccepted, Heir{heir})
}

func (c clustering) join(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	var in, none newNode
	if err := readObject(r, &in, &none, TypeJSON); err != nil {
		return err
	}
	if err := c.Cluster.Join(r.Context(), in.Node, in.Addr); err != nil {
		return err
	}
	c.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterJoin, in.Node)
	return reply(w, http.StatusCreated, c.Cluster.Status(r.Context()))
}

func (c clustering) replace(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	if err := c.Cluster.Replace(r.Context(), p["node"]); err != nil {
		return err
	}
	c.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterReplace, p["node"])
	return reply(w, http.StatusOK, c.Cluster.Status(r.Context()))
}

func (c clustering) leave(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	if err := c.Cluster.Leave(p["node"]); err != nil {
		return err
	}
	c.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterLeave, p["node"])
	w.WriteHeader(http.StatusNoContent)
	return nil
}
