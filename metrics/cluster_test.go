package metrics_test

import (
	"io"
	"strings"
	"testing"

	"pipit/metrics"
)

// A node of a cluster that does not lead has no broker, and tells how it stands all the same.
func TestCluster(t *testing.T) {
	r := newRig(t, metrics.Options{})
	state := metrics.Cluster{Term: 3, Applied: 17, Durable: 15, Changes: 2}
	r.ReadCluster(func() metrics.Cluster { return state })
	scrape := func() string {
		text, err := io.ReadAll(r.scrape("").Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	expect := func(text string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			if !strings.Contains(text, "\n"+line+"\n") {
				t.Errorf("%q is not in\n%s", line, text)
			}
		}
	}
	text := scrape()
	expect(text, "pipit_cluster_leader 0", "pipit_cluster_term 3", "pipit_cluster_applied 17", "pipit_cluster_durable 15", "pipit_cluster_leader_changes_total 2")
	if strings.Contains(text, "pipit_cluster_node") {
		t.Error("one that does not lead tells of the others")
	}
	state.Leads, state.Nodes = true, []metrics.ClusterNode{{Name: "b", Lag: 4, Contact: .5}, {Name: "c", Contact: -1}}
	expect(scrape(), "pipit_cluster_leader 1", `pipit_cluster_node_lag{node="b"} 4`, `pipit_cluster_node_contact_seconds{node="b"} 0.5`, `pipit_cluster_node_contact_seconds{node="c"} +Inf`)
}
