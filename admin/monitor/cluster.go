package monitor

import (
	"context"
	"fmt"
	"time"

	"pipit/admin/text"
	"pipit/broker"
)

const clusterPath = "/admin/system/cluster"

// KindNode is Attention.Kind of what is about a node of the cluster.
const KindNode = "node"

// ClusterStatus is how a cluster is, as the node that leads knows.
type ClusterStatus struct {
	Leader string        `json:"leader"` // empty: there is none
	Term   uint64        `json:"term"`
	Nodes  []ClusterNode `json:"nodes"` // by name

	Digests map[string]string `json:"digests,omitempty"` // of what each node has, by its name, where they were compared
}

// ClusterNode is one of its nodes.
type ClusterNode struct {
	Node    string  `json:"node"`
	Addr    string  `json:"addr"`            // host:port of its [cluster] listen
	Role    string  `json:"role"`            // leader, follower, or joining: it has not caught up yet
	Applied uint64  `json:"applied"`         // the entry of the log up to which it has everything
	Durable uint64  `json:"durable"`         // the entry up to which its database file has; the log has the others
	Lag     uint64  `json:"lag"`             // how many entries it is behind the leader
	Contact float64 `json:"contact_seconds"` // since it was heard of last; negative: not since the start
}

// Cluster is that of which this process is the node that leads. What the caller can do something about is a *broker.Error.
type Cluster interface {
	// Known is how it is by what is known already, at once.
	Known() ClusterStatus
	// Status asks all nodes, a second at most.
	Status(ctx context.Context) ClusterStatus
	// Verify compares all copies by a digest of what each has at one moment, which reads all of them.
	Verify(ctx context.Context) (ClusterStatus, error)
	// Transfer has another node lead, the named one or any, a moment after it has returned that one's name: who asked is answered before.
	Transfer(node string) (string, error)
	// Join adds a node that is reached at addr, host:port.
	Join(ctx context.Context, node, addr string) error
	// Replace lets a node begin anew that has lost its disk; one that has not is refused.
	Replace(ctx context.Context, node string) error
	// Leave takes another node out.
	Leave(node string) error
}

// ErrNoCluster: there is no Cluster.
var ErrNoCluster = &broker.Error{Code: broker.NotFound, Message: "This server is no node of a cluster: [cluster] of its configuration makes one of it"}

// Differ tells whether copies were compared and are not the same.
func (s *ClusterStatus) Differ() bool {
	one := ""
	for _, digest := range s.Digests {
		if one != "" && digest != one {
			return true
		}
		one = digest
	}
	return false
}

// cluster finds nodes that are missing or far behind. The leader asks them all the time: one that has led for less than NodeAway does not know yet.
func (n *notices) cluster(nodes []ClusterNode, leads time.Duration) {
	if leads < n.NodeAway {
		return
	}
	for _, node := range nodes {
		away := time.Duration(node.Contact * float64(time.Second))
		sentence := ""
		switch {
		case node.Contact < 0:
			sentence = fmt.Sprintf("Node %s of the cluster has not answered since this one leads", node.Node)
		case away > n.NodeAway:
			sentence = fmt.Sprintf("Node %s of the cluster has not answered for %s", node.Node, text.Duration(away))
		case node.Lag > uint64(n.NodeLag): // #nosec G115 -- never negative
			n.add(codeNodeLag, fmt.Sprintf("Node %s of the cluster is %s entries behind", node.Node, text.Number(int64(node.Lag))), clusterPath, KindNode, node.Node) // #nosec G115 -- an index
		}
		if sentence != "" {
			n.add(codeNodeAway, sentence+": the loss of another one may end all service", clusterPath, KindNode, node.Node)
		}
	}
}
