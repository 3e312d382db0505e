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
