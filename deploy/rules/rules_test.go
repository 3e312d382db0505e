// Package rules tests what deploy/ has for Prometheus and Grafana with Prometheus' own parsers. It is a module of its own,
// so that the program's does not know these.
package rules

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is what testdata/metrics.txt tells of one, which a test of the program keeps as it is.
type metric struct {
	kind   string
	labels []string
}

func metrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{"up": {"gauge", []string{"job"}}} // which Prometheus adds
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		m := metric{f[1], strings.Split(f[2], ",")}
		if m.kind != "histogram" {
			all[f[0]] = m
			continue
		}
		for suffix, more := range map[string][]string{"_bucket": {"le"}, "_sum": nil, "_count": nil} {
			all[f[0]+suffix] = metric{"counter", slices.Concat(m.labels, more)}
		}
	}
	return all
}

// check tells what an expression asks for that there is not, and what it does to a metric that its kind does not allow.
func check(expr string, all map[string]metric) (faults []string, selectors int) {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}, 0
	}
	known := func(name, label string) bool {
		return label == model.MetricNameLabel || label == "instance" || label == "job" || slices.Contains(all[name].labels, label)
	}
	parser.Inspect(tree, func(n parser.Node, path []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		selectors++
		m, ok := all[s.Name]
		if !ok {
			faults = append(faults, fmt.Sprintf("there is no metric %s", s.Name))
			return nil
		}
		for _, match := range s.LabelMatchers {
			if !known(s.Name, match.Name) {
				faults = append(faults, fmt.Sprintf("%s has no label %s", s.Name, match.Name))
			}
		}
		ranged := false
		for _, p := range path {
			switch p := p.(type) {
			case *parser.MatrixSelector:
				ranged = true
			case *parser.AggregateExpr:
				for _, label := range p.Grouping {
					if !known(s.Name, label) {
						faults = append(faults, fmt.Sprintf("%s is summed by %s, which it has not", s.Name, label))
					}
				}
			}
		}
		if ranged != (m.kind == "counter") {
			faults = append(faults, fmt.Sprintf("%s is a %s: of counters a rate is looked at, of gauges the value", s.Name, m.kind))
		}
		return nil
	})
	return faults, selectors
}

// Alerts are rules that Prometheus takes, of metrics that there are.
func TestAlerts(t *testing.T) {
	groups, errs := rulefmt.ParseFile("../alerts.yaml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.Default())
	for _, err := range errs {
		t.Error(err)
	}
	unit, err := os.ReadFile("testdata/alerts_test.yaml")
	if err != nil || groups == nil {
		t.Fatal(err)
	}
	all, alerts := metrics(t), 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			alerts++
			faults, selectors := check(r.Expr, all)
			if len(faults) > 0 || selectors == 0 {
				t.Errorf("%s: %q", r.Alert, faults)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: no severity, summary or description", r.Alert)
			}
			// Once where all is well, and once where it fires.
			if n := strings.Count(string(unit), "alertname: "+r.Alert+"\n") + strings.Count(string(unit), "alertname: "+r.Alert+"}"); n < 2 {
				t.Errorf("%s has %d tests in testdata/alerts_test.yaml", r.Alert, n)
			}
		}
	}
	if alerts == 0 {
		t.Error("there are no alerts")
	}
}

// Alerts fire when they are to, and not before, as testdata/alerts_test.yaml says and promtool runs it.
func TestAlertsFire(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", "../alerts.yaml"}, {"test", "rules", "testdata/alerts_test.yaml"}} {
		if out, err := promtool(t, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", args, err, out)
		}
	}
}

// promtool is the one that is installed: to build it takes as long as all other tests.
func promtool(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	file, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatalf("%v: Debian has it in the package prometheus", err)
	}
	return exec.CommandContext(t.Context(), file, args...) // #nosec G204 -- of a test
}

// Prometheus takes the configuration that docs/monitoring.md shows.
func TestScrapeConfig(t *testing.T) {
	page, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```yaml\n(scrape_configs:.*?)```").FindSubmatch(page)
	if shown == nil {
		t.Fatal("there is none")
	}
	dir := t.TempDir()
	token, file := filepath.Join(dir, "token"), filepath.Join(dir, "prometheus.yml")
	text := regexp.MustCompile(`/etc/prometheus/\S+`).ReplaceAllString(string(shown[1]), token)
	if err := os.WriteFile(token, []byte("pipit_x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := promtool(t, "check", "config", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Each panel of the dashboard asks for metrics that there are, and all metrics of Pipit are in one.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			GridPos     struct{ H, W, X, Y int }
			Targets     []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
		Templating struct {
			List []struct {
				Name  string
				Query any
			}
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.UID == "" {
		t.Error("it has no title or uid")
	}
	all, used, ids := metrics(t), string(text), map[int]bool{}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$topic", ".*")
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%s: its id is another's, or it is too wide", p.Title)
		}
		if ids[p.ID] = true; p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("%s shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			if faults, selectors := check(variables.Replace(target.Expr), all); len(faults) > 0 || selectors == 0 {
				t.Errorf("%s: %s: %q", p.Title, target.Expr, faults)
			}
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: its data source is %q", p.Title, target.Datasource.UID)
			}
		}
	}
	for name := range all {
		base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		if strings.HasPrefix(name, "pipit_") && !strings.Contains(used, base) {
			t.Errorf("no panel shows %s", name)
		}
	}
	for _, v := range dashboard.Templating.List {
		if v.Name == "datasource" {
			continue
		}
		query, _ := v.Query.(map[string]any)["query"].(string)
		m := regexp.MustCompile(`^label_values\((\w+)(?:\{.*\})?, (\w+)\)$`).FindStringSubmatch(query)
		if m == nil || all[m[1]].kind == "" || m[2] != "instance" && !slices.Contains(all[m[1]].labels, m[2]) {
			t.Errorf("the variable %s asks for %q", v.Name, query)
		}
	}
}
