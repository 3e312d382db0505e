package main

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestLayout keeps the arrows between the packages: main knows all, httpapi and admin know broker
// and httpapi's exchange, forwarded and refused, config the defaults and rules of these three, serve httpapi, admin/command knows admin, too, db knows
// broker/store alone and nothing of HTTP, broker knows none of them. metrics asks broker and callback, and nobody but main knows it, and config its default.
func TestLayout(t *testing.T) {
	// What each package may import, beside the standard library.
	allowed := map[string][]string{
		"pipit":                   {"pipit/cluster/name", "pipit/cluster", "pipit/cluster/forward", "pipit/cluster/port", "pipit/backup", "pipit/admin/access", "pipit/admin/alert", "pipit/broker", "pipit/broker/limit", "pipit/broker/store", "pipit/config", "pipit/db", "pipit/httpapi", "pipit/httpapi/callback", "pipit/httpapi/forwarded", "pipit/httpapi/serve", "pipit/admin", "pipit/admin/command", "pipit/admin/monitor", "pipit/winservice", "github.com/KimMachineGun/automemlimit/memlimit", "github.com/coreos/go-systemd/v22/activation", "github.com/coreos/go-systemd/v22/daemon", "pipit/metrics", "golang.org/x/crypto/x509roots/fallback", "github.com/DeRuina/timberjack", "pipit/tracing"},
		"pipit/backup":            {"pipit/broker", "pipit/broker/clip"},
		"pipit/admin":             {"pipit/backup", "pipit/httpapi/callback", "pipit/admin/access", "pipit/admin/alert", "pipit/admin/audit", "pipit/admin/gate", "pipit/admin/api", "pipit/admin/monitor", "pipit/admin/object", "pipit/admin/web", "pipit/broker", "pipit/broker/limit", "pipit/httpapi/exchange", "pipit/httpapi/forwarded", "pipit/httpapi/refused", "github.com/julienschmidt/httprouter"},
		"pipit/admin/object":      {"pipit/admin/audit", "pipit/admin/gate", "pipit/admin/monitor", "pipit/broker", "pipit/broker/change", "pipit/broker/browse", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/clip", "pipit/broker/login", "golang.org/x/text/encoding", "golang.org/x/text/transform"},
		"pipit/admin/api":         {"pipit/backup", "pipit/httpapi/callback", "pipit/admin/access", "pipit/admin/alert", "pipit/admin/audit", "pipit/admin/gate", "pipit/admin/monitor", "pipit/admin/object", "pipit/broker", "pipit/broker/browse", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/change", "pipit/broker/clip"},
		"pipit/admin/web":         {"pipit/backup", "pipit/httpapi/callback", "pipit/admin/access", "pipit/admin/alert", "pipit/admin/audit", "pipit/admin/gate", "pipit/admin/monitor", "pipit/admin/object", "pipit/admin/text", "pipit/admin/web/payload", "pipit/admin/web/shell", "pipit/broker", "pipit/broker/signing", "pipit/broker/change", "pipit/broker/stats", "pipit/broker/browse", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/clip", "pipit/broker/store"},
		"pipit/admin/web/payload": {},
		"pipit/admin/web/shell":   {},
		"pipit/admin/openapi":     {},
		"pipit/admin/access":      {"pipit/admin/audit", "pipit/admin/gate", "pipit/broker", "pipit/broker/property", "pipit/broker/clip", "pipit/broker/login"},
		"pipit/admin/alert":       {"pipit/admin/gate", "pipit/admin/monitor", "pipit/broker", "pipit/broker/change", "pipit/broker/clip", "pipit/httpapi/callback", "github.com/wneessen/go-mail", "github.com/wneessen/go-mail/smtp"},
		"pipit/admin/audit":       {"pipit/admin/gate", "pipit/broker", "pipit/broker/clip", "pipit/broker/login"},
		"pipit/admin/monitor":     {"pipit/admin/gate", "pipit/admin/text", "pipit/broker", "pipit/broker/change", "pipit/broker/stats", "pipit/broker/limit", "pipit/broker/clip", "pipit/broker/store", "pipit/httpapi/refused"},
		"pipit/admin/text":        {"pipit/broker", "pipit/broker/property"},
		"pipit/admin/gate":        {"pipit/broker", "pipit/broker/clip", "pipit/httpapi/forwarded"},
		"pipit/admin/command": {"pipit/admin/access", "pipit/admin/alert", "pipit/admin/command/fieldflag", "pipit/admin/command/manual", "pipit/admin/command/receiver", "pipit/admin/api", "pipit/admin/audit", "pipit/admin/gate", "pipit/admin/monitor", "pipit/admin/object", "pipit/admin/web/shell", "pipit/admin", "pipit/winservice", "pipit/broker", "pipit/broker/browse", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/login", "pipit/broker/store", "github.com/BurntSushi/toml", "github.com/rivo/uniseg", "github.com/schollz/progressbar/v3",
			"github.com/spf13/cobra", "github.com/spf13/pflag", "golang.org/x/term", "golang.org/x/sys/unix"},
		"pipit/admin/command/fieldflag": {"pipit/broker", "pipit/broker/property", "github.com/spf13/cobra", "github.com/spf13/pflag"},
		"pipit/admin/command/manual":    {"github.com/spf13/cobra", "github.com/spf13/pflag"},
		"pipit/admin/command/receiver":  {"pipit/broker"},
		"pipit/bench":                   {"pipit/broker/login", "go.etcd.io/bbolt", "github.com/julienschmidt/httprouter"},
		"pipit/soak":                    {"golang.org/x/sys/unix"},
		"pipit/broker/history":          {"pipit/broker/store"},
		"pipit/broker":                  {"pipit/broker/signing", "pipit/broker/change", "pipit/broker/stats", "pipit/broker/browse", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/history", "pipit/broker/store", "pipit/broker/login", "pipit/broker/clip", "github.com/segmentio/ksuid"},
		"pipit/config":                  {"pipit/cluster/name", "pipit/backup", "pipit/admin/access", "pipit/admin/alert", "pipit/admin/gate", "pipit/admin/monitor", "pipit/broker", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/store", "pipit/httpapi", "pipit/httpapi/callback", "pipit/httpapi/forwarded", "github.com/BurntSushi/toml", "pipit/metrics", "pipit/tracing"},
		"pipit/cluster/clustertest":     {"pipit/broker/store", "pipit/cluster", "pipit/db", "pipit/db/disk", "github.com/hashicorp/raft"},
		"pipit/cluster/name":            {},
		"pipit/cluster/port":            {},
		"pipit/cluster/forward":         {"pipit/cluster/port"},
		"pipit/winservice":              {"golang.org/x/sys/windows", "golang.org/x/sys/windows/svc", "golang.org/x/sys/windows/svc/eventlog", "golang.org/x/sys/windows/svc/mgr"},
		"pipit/internal/rename":         {},
		"pipit/broker/login":            {"golang.org/x/crypto/bcrypt", "golang.org/x/sync/errgroup", "golang.org/x/sync/singleflight"},
		"pipit/broker/store":            {},
		"pipit/broker/storetest":        {"pipit/broker/store"},
		"pipit/db":                      {"pipit/db/disk", "pipit/db/wal", "pipit/db/page", "pipit/broker/store", "github.com/tidwall/btree", "go.etcd.io/bbolt", "go.etcd.io/bbolt/errors", "golang.org/x/sys/unix", "golang.org/x/sys/windows"},
		"pipit/cluster":                 {"pipit/cluster/name", "pipit/cluster/port", "pipit/broker/store", "pipit/db", "pipit/db/disk", "pipit/db/wal", "github.com/hashicorp/go-hclog", "github.com/hashicorp/raft", "go.etcd.io/bbolt", "go.etcd.io/bbolt/errors"},
		"pipit/broker/clip":             {},
		"pipit/broker/signing":          {},
		"pipit/broker/change":           {"pipit/broker/clip"},
		"pipit/broker/stats":            {},
		"pipit/broker/browse":           {"pipit/broker/store"},
		"pipit/broker/limit":            {"pipit/broker/clip", "pipit/broker/history", "pipit/broker/property", "pipit/broker/store"},
		"pipit/broker/property":         {"pipit/broker/clip"},
		"pipit/db/page":                 {},
		"pipit/db/disk":                 {},
		"pipit/db/disk/disktest":        {"pipit/db/disk"},
		"pipit/db/wal":                  {"pipit/db/disk"},
		"pipit/httpapi":                 {"pipit/broker", "pipit/broker/limit", "pipit/broker/clip", "pipit/httpapi/exchange", "pipit/httpapi/forwarded", "pipit/httpapi/presence", "pipit/httpapi/quota", "pipit/httpapi/refused", "pipit/httpapi/webhook", "github.com/julienschmidt/httprouter", "pipit/tracing"},
		"pipit/httpapi/callback":        {"pipit/broker", "pipit/broker/signing", "pipit/broker/change", "pipit/broker/stats", "pipit/broker/limit", "pipit/broker/clip", "pipit/httpapi", "pipit/tracing"},
		"pipit/httpapi/exchange":        {"pipit/broker", "pipit/broker/clip", "pipit/httpapi/refused", "github.com/julienschmidt/httprouter", "github.com/segmentio/ksuid"},
		"pipit/httpapi/forwarded":       {},
		"pipit/httpapi/presence":        {"golang.org/x/sys/unix"},
		"pipit/httpapi/quota":           {"pipit/broker", "pipit/broker/limit", "golang.org/x/time/rate"},
		"pipit/httpapi/webhook":         {"pipit/broker", "pipit/broker/signing", "pipit/broker/limit", "pipit/broker/property", "pipit/broker/clip"},
		"pipit/metrics":                 {"pipit/broker", "pipit/broker/stats", "pipit/broker/store", "pipit/httpapi/callback", "github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/collectors", "github.com/prometheus/client_golang/prometheus/promhttp", "github.com/prometheus/client_model/go"},
		"pipit/httpapi/limit":           {"pipit/broker", "golang.org/x/time/rate"},
		"pipit/httpapi/refused":         {"pipit/broker/clip", "pipit/broker/login", "pipit/httpapi/forwarded"},

		"pipit/httpapi/serve":           {"pipit/broker/login", "pipit/httpapi", "pipit/httpapi/forwarded", "pipit/httpapi/refused"},
		"pipit/httpapi/serve/servetest": {},
		"pipit/tracing/tracingtest":     {"go.opentelemetry.io/proto/otlp/common/v1", "go.opentelemetry.io/proto/otlp/trace/v1", "google.golang.org/protobuf/proto"},
		"pipit/tracing": {"pipit/broker", "pipit/broker/limit", "pipit/broker/clip", "golang.org/x/net/http/httpguts", "go.opentelemetry.io/otel", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/exporters/otlp/otlptrace", "go.opentelemetry.io/otel/propagation",
			"go.opentelemetry.io/otel/sdk/resource", "go.opentelemetry.io/otel/sdk/trace", "go.opentelemetry.io/otel/semconv/v1.43.0", "go.opentelemetry.io/otel/trace", "go.opentelemetry.io/proto/otlp/trace/v1", "google.golang.org/protobuf/proto"},
	}
	module := strings.TrimSpace(goList(t, "-m"))
	for line := range strings.Lines(goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...")) {
		fields := strings.Fields(line)
		for i, path := range fields { // the table calls the module pipit, whatever its path is
			if rest, ok := strings.CutPrefix(path, module); ok && (rest == "" || rest[0] == '/') {
				fields[i] = "pipit" + rest
			}
		}
		pkg, imports := fields[0], fields[1:]
		if slices.Contains([]string{"util", "utils", "common", "internal", "mocks"}, path.Base(pkg)) {
			t.Errorf("%s: a package is named for what it holds", pkg)
		}
		may, known := allowed[pkg]
		if !known {
			t.Errorf("%s: a new package needs a line here and a reason in docs/architecture.md", pkg)
		}
		for _, imp := range imports {
			if first, _, _ := strings.Cut(imp, "/"); imp != "pipit" && first != "pipit" && !strings.Contains(first, ".") {
				continue // the standard library
			}
			if !slices.Contains(may, imp) {
				t.Errorf("%s imports %s", pkg, imp)
			}
		}
	}
	for _, pkg := range []string{"./broker", "./db"} {
		deps := strings.Fields(goList(t, "-deps", pkg))
		if slices.Contains(deps, "net/http") {
			t.Errorf("%s depends on net/http", pkg)
		}
		if pkg == "./broker" && slices.ContainsFunc(deps, func(d string) bool { return strings.HasPrefix(d, "go.etcd.io/") }) {
			t.Errorf("%s depends on the engine of its store", pkg)
		}
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %q: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}
