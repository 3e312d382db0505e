package metrics_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"pipit/broker"
	"pipit/metrics"
)

var list = flag.Bool("metricslist", false, "write the list of metrics that the rules are tested with anew")

// families returns all metrics that there are, as protocol buffers have them.
func (r *rig) families() []*dto.MetricFamily {
	resp := r.scrape("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	decoder := expfmt.NewDecoder(resp.Body, expfmt.ResponseFormat(resp.Header))
	var all []*dto.MetricFamily
	for {
		f := &dto.MetricFamily{}
		switch err := decoder.Decode(f); err {
		case nil:
			all = append(all, f)
		case io.EOF:
			return all
		default:
			r.Fatal(err)
		}
	}
}

// complete is a rig of which every metric has a series.
func complete(t *testing.T) *rig {
	r := newRig(t, metrics.Options{PerObjectLimit: 10})
	c := consumer("/a", "erp", "")
	c.DeliveryMode, c.CallbackURL = broker.DeliveryCallback, "http://127.0.0.1:1"
	r.define(broker.Definition{Topics: []broker.Topic{{Name: "/a"}}, Consumers: []broker.Consumer{c}})
	r.serve()
	r.ReadCluster(func() metrics.Cluster {
		return metrics.Cluster{Leads: true, Nodes: []metrics.ClusterNode{{Name: "b", Contact: -1}}}
	})
	r.ask("GET", "/health", "crm", "", "")
	return r
}

// The table in docs/monitoring.md has every metric with its labels, and so has the list that the dashboard and the alerts of
// deploy/ are tested with, which go test ./metrics -run TestList -metricslist writes.
func TestList(t *testing.T) {
	var told []string
	var lines bytes.Buffer
	for _, f := range complete(t).families() {
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		fmt.Fprintln(&lines, f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ","))
		if name := f.GetName(); strings.HasPrefix(name, "pipit_") {
			told = append(told, name+" "+strings.Join(labels, ","))
			if isCounter := f.GetType() == dto.MetricType_COUNTER; isCounter != strings.HasSuffix(name, "_total") || f.GetHelp() == "" {
				t.Errorf("%s is a %s: %q", name, f.GetType(), f.GetHelp())
			}
		}
	}
	page, err := os.ReadFile("../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(pipit_\\w+)` \\| (.*?) ?\\| (.+) \\|$").FindAllStringSubmatch(string(page), -1) {
		labels := strings.Split(strings.ReplaceAll(m[2], "`", ""), ", ")
		slices.Sort(labels)
		documented = append(documented, m[1]+" "+strings.Join(labels, ","))
	}
	slices.Sort(told)
	slices.Sort(documented)
	if !slices.Equal(told, documented) {
		t.Errorf("docs/monitoring.md has\n%s\nand there are\n%s", strings.Join(documented, "\n"), strings.Join(told, "\n"))
	}

	const file = "../deploy/rules/testdata/metrics.txt"
	// What the runtime and the process tell differs by the version of Go and the system: two of them are enough.
	kept := slices.DeleteFunc(strings.SplitAfter(lines.String(), "\n"), func(line string) bool {
		return !regexp.MustCompile(`^(pipit_|go_goroutines |process_(resident_memory_bytes|cpu_seconds_total|start_time_seconds) )`).MatchString(line)
	})
	now := strings.Join(kept, "")
	if *list {
		if err := os.WriteFile(file, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if had, err := os.ReadFile(file); err != nil || string(had) != now {
		t.Errorf("%s is not what there is, %v: write it with -metricslist\n%s", file, err, now)
	}
}
