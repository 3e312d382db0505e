package acceptance

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pipit/admin"
	"pipit/admin/api"
	"pipit/admin/monitor"
	"pipit/broker"
)

// someNodes is a cluster of which administration sees nothing but this. That of three processes is TestClusterNodes.
type someNodes struct {
	status  monitor.ClusterStatus
	digests map[string]string
	done    []string // what it was told to do
}

func threeNodes() *someNodes {
	return &someNodes{
		status: monitor.ClusterStatus{Leader: "a", Term: 7, Nodes: []monitor.ClusterNode{
			{Node: "a", Addr: "10.0.0.1:7001", Role: "leader", Applied: 1234, Durable: 1200},
			{Node: "b", Addr: "10.0.0.2:7001", Role: "follower", Applied: 1230, Durable: 1100, Lag: 4, Contact: 0.25},
			{Node: "c", Addr: "10.0.0.3:7001", Role: "joining", Contact: -1},
		}},
		digests: map[string]string{"a": "d1", "b": "d1", "c": "d1"},
	}
}

func (s *someNodes) Known() monitor.ClusterStatus                 { return s.status }
func (s *someNodes) Status(context.Context) monitor.ClusterStatus { return s.status }

func (s *someNodes) Verify(context.Context) (monitor.ClusterStatus, error) {
	if s.digests == nil {
		return monitor.ClusterStatus{}, &broker.Error{Code: broker.Unavailable, Message: "no node leads at this moment"}
	}
	status := s.status
	status.Digests = s.digests
	return status, nil
}

func (s *someNodes) known(node string) bool {
	return slices.ContainsFunc(s.status.Nodes, func(n monitor.ClusterNode) bool { return n.Node == node })
}

func (s *someNodes) Transfer(node string) (string, error) {
	switch {
	case node == "":
		node = "b"
	case !s.known(node):
		return "", &broker.Error{Code: broker.NotFound, Message: `the cluster has no such node: "` + node + `"`}
	case node == "c":
		return "", &broker.Error{Code: broker.Unavailable, Message: `node "c" has not caught up yet`}
	}
	s.done = append(s.done, "transfer "+node)
	return node, nil
}

func (s *someNodes) Join(_ context.Context, node, addr string) error {
	if !strings.Contains(addr, ":") {
		return &broker.Error{Code: broker.Invalid, Field: "addr", Value: addr, Message: "addr: node at " + addr + " cannot be asked"}
	}
	s.done = append(s.done, "join "+node+" "+addr)
	return nil
}

func (s *someNodes) Replace(_ context.Context, node string) error {
	switch {
	case !s.known(node):
		return &broker.Error{Code: broker.NotFound, Message: `the cluster has no such node: "` + node + `"`}
	case node != "c":
		return &broker.Error{Code: broker.Denied, Message: "node " + node + " is there, and has what it had"}
	}
	s.done = append(s.done, "replace "+node)
	return nil
}

func (s *someNodes) Leave(node string) error {
	switch {
	case !s.known(node):
		return &broker.Error{Code: broker.NotFound, Message: `the cluster has no such node: "` + node + `"`}
	case node == s.status.Leader:
		return &broker.Error{Code: broker.Denied, Message: "it leads: have another node lead first"}
	}
	s.done = append(s.done, "leave "+node)
	return nil
}

// TestAPICluster: who may look sees the nodes; what changes them takes the scope admin, is in the audit log, and is refused with the reason. A server by itself
// has none of it.
func TestAPICluster(t *testing.T) {
	r := newAPIRig(t)
	routes := [][3]string{{"GET", "/cluster"}, {"POST", "/cluster/verify"}, {"POST", "/cluster/transfer", `{}`}, {"POST", "/cluster/nodes", `{"node": "d", "addr": "10.0.0.4:7001"}`}, {"POST", "/cluster/nodes/c/replace"}, {"DELETE", "/cluster/nodes/b"}}
	r.a.API.Cluster = nil
	for _, route := range routes {
		r.refused(404, "not_found", route[0], route[1], route[2])
	}
	nodes := threeNodes()
	r.a.API.Cluster = nodes
	for _, route := range routes[1:] {
		r.refused(403, "forbidden", route[0], route[1], route[2], "Authorization", "Bearer "+r.writeToken)
	}
	var status monitor.ClusterStatus
	if r.ok(200, "GET", "/cluster", nil, "Authorization", "Bearer "+r.readToken).into(t, &status); status.Leader != "a" || status.Term != 7 || len(status.Nodes) != 3 || status.Nodes[1] != nodes.status.Nodes[1] || status.Digests != nil {
		t.Errorf("%+v", status)
	}
	if r.ok(200, "POST", "/cluster/verify", nil).into(t, &status); len(status.Digests) != 3 || status.Differ() {
		t.Errorf("%+v", status)
	}
	r.refused(422, "invalid", "GET", "/cluster?wait=1", nil)
	r.refused(404, "not_found", "POST", "/cluster/transfer", jsonObject{"node": "d"})
	r.refused(503, "unavailable", "POST", "/cluster/transfer", jsonObject{"node": "c"})
	r.refused(422, "invalid", "POST", "/cluster/transfer", jsonObject{"nodes": "b"})
	r.refused(422, "invalid", "POST", "/cluster/nodes", jsonObject{"node": "d", "addr": "10.0.0.4"})
	r.refused(404, "not_found", "POST", "/cluster/nodes/d/replace", nil)
	r.refused(409, "inactive", "POST", "/cluster/nodes/b/replace", nil)
	r.refused(404, "not_found", "DELETE", "/cluster/nodes/d", nil)
	r.refused(409, "inactive", "DELETE", "/cluster/nodes/a", nil)
	if len(nodes.done) > 0 {
		t.Fatalf("what was refused was done: %q", nodes.done)
	}
	var heir api.Heir
	if r.ok(202, "POST", "/cluster/transfer", jsonObject{}).into(t, &heir); heir.Node != "b" {
		t.Errorf("%+v", heir)
	}
	r.ok(202, "POST", "/cluster/transfer", jsonObject{"node": "a"})
	r.ok(201, "POST", "/cluster/nodes", jsonObject{"node": "d", "addr": "10.0.0.4:7001"})
	r.ok(200, "POST", "/cluster/nodes/c/replace", nil)
	r.ok(204, "DELETE", "/cluster/nodes/b", nil)
	if want := []string{"transfer b", "transfer a", "join d 10.0.0.4:7001", "replace c", "leave b"}; !slices.Equal(nodes.done, want) {
		t.Errorf("%q was done, want %q", nodes.done, want)
	}
	trail := string(r.ok(200, "GET", "/audit", nil).body)
	for _, action := range []string{"cluster.transfer", "cluster.join", "cluster.replace", "cluster.leave"} {
		if !strings.Contains(trail, action) {
			t.Errorf("%s is not in the audit log", action)
		}
	}
	nodes.digests = nil
	r.refused(503, "unavailable", "POST", "/cluster/verify", nil)
}

// TestClusterPage: the page shows each node and how it is, and does what its forms say, or says why not; without a cluster nothing leads to it.
func TestClusterPage(t *testing.T) {
	d := newDesk(t)
	if strings.Contains(d.get("/admin/system"), "/admin/system/cluster") {
		t.Error("a server by itself leads to a page of a cluster")
	}
	d.refused(http.StatusNotFound, "no node of a cluster", "/admin/system/cluster/verify")

	nodes := threeNodes()
	d = newDesk(t, func(o *admin.Options) { o.Cluster = nodes })
	if !strings.Contains(d.get("/admin/system"), `href="/admin/system/cluster"`) {
		t.Error("nothing leads to the page")
	}
	page := d.get("/admin/system/cluster")
	for _, want := range []string{`<span class="mono">a</span> leads in term 7`, "10.0.0.2:7001", ">1230<", ">never<", "joining", "0.2s ago"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	verify := func(want string) {
		t.Helper()
		if body := d.post("/admin/system/cluster/verify").body; !strings.Contains(body, want) {
			t.Errorf("%q is not on the page", want)
		}
	}
	verify("All copies are equal.")
	nodes.digests = map[string]string{"a": "d1", "b": "d2", "c": "d1"}
	verify("The copies differ")
	nodes.digests = map[string]string{"a": "d1", "b": "d1"}
	verify("was not compared")

	d.refused(http.StatusUnprocessableEntity, "cannot be asked", "/admin/system/cluster/nodes", "node", "d", "addr", "10.0.0.4")
	d.refused(http.StatusUnprocessableEntity, "has what it had", "/admin/system/cluster/replace", "node", "b")
	d.refused(http.StatusUnprocessableEntity, "There is no such node", "/admin/system/cluster/leave", "node", "d")
	d.refused(http.StatusUnprocessableEntity, "have another node lead first", "/admin/system/cluster/leave", "node", "a")
	if len(nodes.done) > 0 {
		t.Fatalf("what was refused was done: %q", nodes.done)
	}
	d.done("/admin/system/cluster/transfer", "node", "")
	d.done("/admin/system/cluster/nodes", "node", " d ", "addr", "10.0.0.4:7001")
	d.done("/admin/system/cluster/replace", "node", "c")
	d.done("/admin/system/cluster/leave", "node", "b")
	if want := []string{"transfer b", "join d 10.0.0.4:7001", "replace c", "leave b"}; !slices.Equal(nodes.done, want) {
		t.Errorf("%q was done, want %q", nodes.done, want)
	}
}
