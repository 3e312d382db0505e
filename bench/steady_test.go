package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What was published is received and acknowledged, and counted once.
func TestSteadyRun(t *testing.T) {
	var published, received, acked atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.HasPrefix(q.URL.Path, "/zato/pubsub/topic/"):
			published.Add(1)
		case strings.HasPrefix(q.URL.Path, "/zato/pubsub/msg/"):
			for received.Load() < published.Load() && received.Add(1)%3 != 0 {
				fmt.Fprint(w, `{"msg_id": "K"}`)
			}
		default:
			ids := make([]byte, q.ContentLength)
			_, _ = q.Body.Read(ids)
			n := strings.Count(string(ids), `"K"`)
			acked.Add(int64(n))
			fmt.Fprintf(w, `{"status": "ZATO_OK", "acked": %d, "not_found": []}`, n)
		}
	}))
	defer srv.Close()
	file := filepath.Join(t.TempDir(), "pipit.db")
	if err := os.WriteFile(file, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	run := &steadyRun{target: target{addr: srv.Listener.Addr().String()}, publish: publishRequest("/a", 10), file: file}
	out, windows, err := run.work(t.Context(), 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if run.published.Load() != published.Load() || run.consumed.Load() != acked.Load() {
		t.Errorf("published %d of %d, acknowledged %d of %d, %+v", run.published.Load(), published.Load(), run.consumed.Load(), acked.Load(), out)
	}
	if len(windows) != 1 || windows[0].size != 5000 || windows[0].latency != out.latency {
		t.Errorf("windows %+v, all of it %+v", windows, out)
	}

	nowhere := httptest.NewServer(http.NotFoundHandler())
	defer nowhere.Close()
	run = &steadyRun{target: target{addr: nowhere.Listener.Addr().String()}, publish: run.publish, file: file}
	if _, _, err := run.work(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "answered 404") {
		t.Errorf("where nothing is published: %v", err)
	}
}

func TestSteadyDrift(t *testing.T) {
	minute := func(p999 time.Duration) steadyWindow {
		return steadyWindow{length: time.Minute, size: 1 << 20, sample: sample{rate: 10, latency: quantiles{p999: p999}}}
	}
	b := &bench{scenario: "steady"}
	b.steadyDrift([]steadyWindow{minute(2), minute(9), minute(3)})
	if len(b.report.rows) != 3 || b.report.rows[0].ratio != "3.00 ×" {
		t.Errorf("got %+v", b.report.rows)
	}
	b = &bench{scenario: "steady"}
	b.steadyDrift([]steadyWindow{{length: 5 * time.Second}, {length: 5 * time.Second}})
	if len(b.report.rows) != 0 {
		t.Errorf("of less than a minute: %+v", b.report.rows)
	}
}
