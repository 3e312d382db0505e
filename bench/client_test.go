package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestConn(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			t.Error(err)
		}
		switch q.URL.Path {
		case "/chunks":
			for range 3 {
				fmt.Fprint(w, string(body), strings.Repeat("y", 20_000))
				w.(http.Flusher).Flush()
			}
		case "/echo":
			_, _ = w.Write(body)
		default:
			http.Error(w, "full", http.StatusTooManyRequests)
		}
	}))
	defer srv.Close()
	c, err := dial(t.Context(), srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 2 { // the connection stays in step
		part := "a" + strings.Repeat("y", 20_000)
		for path, want := range map[string]string{"/echo": "a", "/chunks": part + part + part} {
			got, err := c.do(request("crm", path, "", []byte("a")))
			if err != nil || string(got) != want {
				t.Fatalf("%s: %d bytes, %v; want %d bytes", path, len(got), err, len(want))
			}
		}
		if _, err := c.do(request("crm", "/", "", nil)); err == nil || !strings.Contains(err.Error(), "answered 429: full") {
			t.Fatalf("status 429: error %v", err)
		}
	}
}

func TestAckRequest(t *testing.T) {
	body := `{"status": "ZATO_OK", "results_count": 2, "results": [{"payload": "x", "metadata": {"msg_id": "K1", "topic": "/a"}}, {"payload": "x", "metadata": {"msg_id": "K2", "topic": "/a"}}]}`
	req, n := ackRequest([]byte(body))
	if n != 2 || !strings.HasSuffix(string(req), "\r\n\r\n"+`{"ack": ["K1", "K2"]}`) {
		t.Errorf("got %d, %s", n, req)
	}
	if _, n := ackRequest([]byte(`{"status": "ZATO_OK", "results_count": 0, "results": []}`)); n != 0 {
		t.Errorf("got %d of none", n)
	}
	if err := ackedAll([]byte(`{"status": "ZATO_OK", "acked": 2, "rejected": 0, "not_found": []}`), 2); err != nil {
		t.Error(err)
	}
	if err := ackedAll([]byte(`{"status": "ZATO_OK", "acked": 20, "rejected": 0, "not_found": []}`), 2); err == nil {
		t.Error("20 are not 2")
	}
}

// The baselines work, and so does the client that drives them.
func TestBaselines(t *testing.T) {
	hold, release := io.Pipe()
	read, write := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- serveEmpty(hold, write) }()
	addr, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	empty := target{addr: strings.TrimSpace(addr)}
	s, err := load(t.Context(), empty, 8, 1, 50*time.Millisecond, publishRequest("/a", 1024))
	if err != nil || s.rate <= 0 || s.latency.p50 <= 0 || s.latency.p999 < s.latency.p50 {
		t.Errorf("empty handler: %+v, %v", s, err)
	}
	other := request("erp", "/zato/pubsub/topic//a/", "", nil)
	if _, err := load(t.Context(), empty, 2, 1, 50*time.Millisecond, other); err == nil {
		t.Error("the empty handler takes wrong credentials")
	}
	_ = release.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}

	raw, err := openRawBolt(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.close()
	if s, err := raw.commits(t.Context(), 10, 100, 50*time.Millisecond); err != nil || s.rate <= 0 {
		t.Errorf("bbolt: %+v, %v", s, err)
	}

	file, err := openRawFile(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer file.close()
	if s, err := file.flushes(t.Context(), 50*time.Millisecond); err != nil || s.rate <= 0 || s.latency.p50 <= 0 || file.at == 0 {
		t.Errorf("flushes: %+v, %v", s, err)
	}
}

func TestQuantiles(t *testing.T) {
	var d []time.Duration
	for i := range 1000 {
		d = append(d, time.Duration(1000-i))
	}
	if got := quantilesOf(d); got != (quantiles{501, 991, 1000, 1000}) {
		t.Errorf("got %v", got)
	}
	if got := quantilesOf(nil); got != (quantiles{}) {
		t.Errorf("of none: %v", got)
	}
	if got := thousands(1234567); got != "1,234,567" {
		t.Error(got)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		g    goal
		v    float64
		want string
	}{
		{atLeast(0.4, 0.6), 0.3, "BELOW FLOOR"},
		{atLeast(0.4, 0.6), 0.4, "floor holds"},
		{atLeast(0.4, 0.6), 0.6, "aim reached"},
		{atLeast(0.9, 0), 0.95, "holds"},
		{atMost(2), 2.1, "ABOVE LIMIT"},
		{atMost(2), 1.9, "holds"},
		{goal{}, 1, ""},
	} {
		if got := c.g.verdict(c.v); got != c.want {
			t.Errorf("%+v of %g: %q, want %q", c.g, c.v, got, c.want)
		}
	}
}

func TestReport(t *testing.T) {
	var r report
	unknown := writes{bytes: -1, flushes: -1}
	r.versus("a", "1", "2", 0.5, atLeast(0.4, 0.6), percent)
	r.costs(sample{serverCPU: 90 * time.Microsecond, wrote: writes{bytes: 5500, flushes: 1}})
	r.versus("b", "1", "2", 7, atMost(8).aiming(4), times)
	r.costs(sample{serverCPU: -1, wrote: unknown})
	var text strings.Builder
	r.print(&text)
	lines := strings.Split(text.String(), "\n")
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if got := squeeze(lines[2]); got != "a 1 2 50 % ≥ 40 % ≥ 60 % floor holds 5.50 KB 1.000 90.0 µs" {
		t.Error(got)
	}
	if got := squeeze(lines[3]); got != "b 1 2 7.00 × ≤ 8.00 × ≤ 4.00 × floor holds" {
		t.Error(got)
	}

	text.Reset()
	r = report{}
	r.note("c: skipped")
	r.print(&text)
	if !strings.HasSuffix(text.String(), "\nc: skipped\n") {
		t.Errorf("a note alone: %q", text.String())
	}
}

func TestMedianSample(t *testing.T) {
	got := medianSample([]sample{
		{rate: 3, wrote: writes{bytes: 900, flushes: 1}},
		{rate: 1, wrote: writes{bytes: 500, flushes: 2}},
		{rate: 2, wrote: writes{bytes: 700, flushes: 3}},
	})
	if got.rate != 2 || got.wrote != (writes{bytes: 500, flushes: 1}) {
		t.Errorf("got %+v", got)
	}
}
