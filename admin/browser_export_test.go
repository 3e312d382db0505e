package admin

import (
	"context"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
)

// PagePaths returns the paths of all pages, as the router takes them.
func (a *Admin) PagePaths() []string {
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

// PostPaths returns the paths that forms post to, as the router takes them.
func (a *Admin) PostPaths() []string {
	var paths []string
	for _, r := range a.Web.Routes() {
		if r.Method == "POST" {
			paths = append(paths, r.Path)
		}
	}
	return paths
}

// Sampling makes a test the clock of the rates and charts, which begin anew at start. Each call of
// what it returns takes a sample.
func (a *Admin) Sampling(start time.Time) (sample func(time.Time)) {
	a.Monitor.Close()
	a.Monitor = monitor.New(a.b, "", start)
	a.Web.Monitor = a.Monitor
	return a.Monitor.Sample
}

// EndSessions ends all sessions, as another administrator would.
func (a *Admin) EndSessions(ctx context.Context) error {
	_, err := a.Users.EndSessions(ctx, gate.Actor{Name: "bob"}, "")
	return err
}
