package metrics

import (
	"math"

	dto "github.com/prometheus/client_model/go"
)

// Cluster is what a node knows of its cluster.
type Cluster struct {
	Leads   bool   // this node does
	Term    uint64 // of raft
	Applied uint64 // entry of the log up to which this node has everything
	Durable uint64 // entry up to which its database file has
	Changes uint64 // of who leads, that it has seen since its start
	Nodes   []ClusterNode
}

// ClusterNode is what the node that leads knows of one of the others.
type ClusterNode struct {
	Name    string
	Lag     uint64  // entries that it is behind
	Contact float64 // seconds since it was heard of last; negative: not since the start
}

var (
	clusterLeads   = desc("pipit_cluster_leader", "1 while this node leads its cluster, else 0. There is none of pipit_cluster_ without a cluster.")
	clusterTerm    = desc("pipit_cluster_term", "The term of raft that this node is in.")
	clusterApplied = desc("pipit_cluster_applied", "The entry of the cluster's log up to which this node has everything.")
	clusterDurable = desc("pipit_cluster_durable", "The entry up to which its database file has everything; the log has the others.")
	clusterChanges = desc("pipit_cluster_leader_changes_total", "Changes of who leads, none among them, that this node has seen.")
	clusterLag     = desc("pipit_cluster_node_lag", "Entries that another node is behind; the node that leads tells it.", "node")
	clusterContact = desc("pipit_cluster_node_contact_seconds", "Since another node was heard of last, +Inf where it was not since the start; the node that leads tells it.", "node")
)

// ReadCluster has what a node knows of its cluster be told, too, from now on. state returns at once.
func (m *Metrics) ReadCluster(state func() Cluster) { m.collector.cluster.Store(&state) }

func (s *scrape) cluster(c Cluster) {
	leads := 0.0
	if c.Leads {
		leads = 1
	}
	s.gauge(clusterLeads, leads, nil)
	s.gauge(clusterTerm, float64(c.Term), nil)
	s.gauge(clusterApplied, float64(c.Applied), nil)
	s.gauge(clusterDurable, float64(c.Durable), nil)
	s.counter(clusterChanges, c.Changes, nil)
	for _, n := range c.Nodes {
		label := []*dto.LabelPair{{Name: new("node"), Value: new(n.Name)}}
		s.gauge(clusterLag, float64(n.Lag), label)
		if n.Contact < 0 {
			n.Contact = math.Inf(1)
		}
		s.gauge(clusterContact, n.Contact, label)
	}
}
