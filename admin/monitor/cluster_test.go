package monitor

import (
	"testing"
	"testing/synctest"
	"time"
)

// knowing is a cluster of which it is known how it is.
type knowing struct {
	Cluster
	status func() ClusterStatus
}

func (k knowing) Known() ClusterStatus { return k.status() }

// TestClusterAttention: nodes that do not answer, or are far behind, need attention, once the leader has had time to ask them.
func TestClusterAttention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		defer w.close()
		other := ClusterNode{Node: "b", Role: "follower", Contact: -1}
		w.m.Cluster = knowing{status: func() ClusterStatus {
			return ClusterStatus{Leader: "a", Nodes: []ClusterNode{{Node: "a", Role: "leader"}, other}}
		}}
		expect := func(code, want string) {
			t.Helper()
			if got := w.found(code); got != want {
				t.Errorf("%s, %+v: %q, want %q", code, other, got, want)
			}
		}
		time.Sleep(10*time.Second - 1)
		expect(codeNodeAway, "")
		time.Sleep(time.Nanosecond)
		const risk = ": the loss of another one may end all service"
		expect(codeNodeAway, "Node b of the cluster has not answered since this one leads"+risk)
		other.Contact, other.Lag = 10, 10000
		expect(codeNodeAway, "")
		expect(codeNodeLag, "")
		other.Contact, other.Lag = 11, 10001
		expect(codeNodeAway, "Node b of the cluster has not answered for 11s"+risk)
		expect(codeNodeLag, "")
		other.Contact = 1
		expect(codeNodeAway, "")
		expect(codeNodeLag, "Node b of the cluster is 10,001 entries behind")
	})
}
