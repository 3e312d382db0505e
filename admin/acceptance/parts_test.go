package acceptance

import (
	"context"
	"strings"
	"time"

	"pipit/admin"
	"pipit/admin/gate"
	"pipit/admin/monitor"
)

// pagePaths returns the paths of all pages, as the router takes them.
func pagePaths(a *admin.Admin) []string {
	var paths []string
	for _, r := range a.Web.Routes() {
		switch {
		case r.Method != "GET" || strings.HasPrefix(r.Path, gate.AssetsPath):
		case r.Path == "/admin/live" || r.Path == "/admin/history" || r.Path == "/admin/connect/live": // what the script reads
		default:
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// postPaths returns the paths that forms post to, as the router takes them.
func postPaths(a *admin.Admin) []string {
	var paths []string
	for _, r := range a.Web.Routes() {
		if r.Method == "POST" {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// sampling makes a test the clock of the rates and charts, which begin anew at start. Each call of
// what it returns takes a sample.
func sampling(a *admin.Admin, start time.Time) (sample func(time.Time)) {
	a.Monitor.Close()
	a.Monitor = monitor.New(a.Web.Broker, "", start)
	a.Web.Monitor = a.Monitor
	return a.Monitor.Sample
}

// endSessions ends all sessions, as another administrator would.
func endSessions(ctx context.Context, a *admin.Admin) error {
	_, err := a.Users.EndSessions(ctx, gate.Actor{Name: "bob"}, "")
	return err
}
