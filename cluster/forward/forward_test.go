package forward_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pipit/cluster/forward"
	"pipit/cluster/port"
)

// node is one of two, as far as requests go.
type node struct {
	handler http.Handler
	port    *port.Port
	front   *httptest.Server // what clients reach
	leads   atomic.Bool
	other   atomic.Pointer[string]
	stale   atomic.Bool // it does not lead, and does not know
	mu      sync.Mutex
	changed chan struct{}
}

func newNode(t *testing.T, here http.Handler) *node {
	t.Helper()
	n := &node{handler: here, changed: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	p, err := port.Open(port.Options{Listen: "127.0.0.1:0", Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	n.port = p
	f := forward.New(forward.Options{
		Port: p, Wait: time.Second, Logger: log,
		Leader: func() forward.Leader {
			l := forward.Leader{}
			if n.leads.Load() {
				l.Here = n
			}
			if a := n.other.Load(); a != nil {
				l.Addr = *a
			}
			return l
		},
		Changed: func() <-chan struct{} {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.changed
		},
		Refuse: func(w http.ResponseWriter, _ *http.Request, unknown bool) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "refused, unknown %t", unknown)
		},
	})
	n.front = httptest.NewServer(f.Door("wire"))
	server := &http.Server{Handler: f.Handler(http.NotFoundHandler())}
	go func() { _ = server.Serve(p.Listener(port.Request)) }()
	t.Cleanup(func() {
		n.front.Close()
		_ = server.Close()
		_ = p.Close()
	})
	return n
}

// Door and Verify are for forward.Here.

func (n *node) Door(name string) http.Handler {
	if name != "wire" {
		return nil
	}
	return n.handler
}

func (n *node) Verify(context.Context) error {
	if n.stale.Load() {
		return errors.New("another one leads")
	}
	return nil
}

// follow has a node pass on to another one.
func (n *node) follow(leader *node) {
	addr := leader.port.Addr().String()
	n.other.Store(&addr)
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.changed)
	n.changed = make(chan struct{})
}

func ask(t *testing.T, n *node, method, path string, body io.Reader, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, n.front.URL+path, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(rsp.Body)
	if err != nil {
		return rsp.StatusCode, string(text) + ": " + err.Error()
	}
	return rsp.StatusCode, string(text)
}

// What the leader gets of a request that was passed on is what the client sent, with the client's address.
func TestForwarded(t *testing.T) {
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %q %s %q %q %t %q", r.Method, r.RequestURI, body, strings.Split(r.RemoteAddr, ":")[0], r.Header["X-Forwarded-For"], r.Header["User-Agent"], r.TLS != nil, r.Header["Pipit-Client"])
	})
	a, b := newNode(t, here), newNode(t, here)
	a.leads.Store(true)
	b.follow(a)
	path := "/zato/pubsub/topic//x/%2F/?priority=5;q&a=%zz"
	header := []string{"X-Forwarded-For", "203.0.113.9", "User-Agent", "", "Pipit-Client", "203.0.113.1:1", "Pipit-Tls", "1"}
	_, direct := ask(t, a, "POST", path, strings.NewReader("body"), header[:4]...)
	status, passed := ask(t, b, "POST", path, strings.NewReader("body"), header...)
	if status != 200 || passed != direct {
		t.Errorf("passed on: %d %s\ndirectly:  %s", status, passed, direct)
	}
}

// A stream goes through piece by piece, and the leader learns that its client has left.
func TestStream(t *testing.T) {
	left := make(chan struct{})
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		for i := 0; ; i++ {
			fmt.Fprintln(w, "piece", i)
			_ = c.Flush()
			if i == 1 {
				<-r.Context().Done()
				close(left)
				return
			}
		}
	})
	a, b := newNode(t, here), newNode(t, here)
	a.leads.Store(true)
	b.follow(a)
	ctx, leave := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "GET", b.front.URL+"/", nil)
	rsp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	lines := bufio.NewScanner(rsp.Body)
	for i := range 2 {
		if !lines.Scan() || lines.Text() != fmt.Sprint("piece ", i) {
			t.Fatalf("piece %d: %q %v", i, lines.Text(), lines.Err())
		}
	}
	leave()
	<-left
}

// Without a leader, or with one that cannot be reached, nothing was done; with one that breaks off, nobody knows.
func TestNoLeader(t *testing.T) {
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	a, b := newNode(t, here), newNode(t, here)
	want := func(when string, want string) {
		t.Helper()
		if status, got := ask(t, b, "POST", "/", strings.NewReader("x")); status != 503 || got != want {
			t.Errorf("%s: %d %q: want 503 %q", when, status, got, want)
		}
	}
	want("no leader", "refused, unknown false")
	nowhere := "127.0.0.1:1"
	b.other.Store(&nowhere)
	want("a leader that is away", "refused, unknown false")
	b.follow(a)
	want("who does not lead", "refused, unknown false")
	a.leads.Store(true)
	want("a leader that breaks off", "refused, unknown true")
}

// How long a request waits can be changed, and counts for the next one.
func TestAdjust(t *testing.T) {
	f := forward.New(forward.Options{
		Wait: time.Hour, Leader: func() forward.Leader { return forward.Leader{} }, Changed: func() <-chan struct{} { return nil },
		Refuse: func(w http.ResponseWriter, _ *http.Request, _ bool) { w.WriteHeader(http.StatusServiceUnavailable) },
	})
	f.Adjust(0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w := httptest.NewRecorder()
	f.Door("wire").ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", http.NoBody))
	if w.Code != http.StatusServiceUnavailable || ctx.Err() != nil {
		t.Errorf("status %d, %v", w.Code, ctx.Err())
	}
}

// A node that leads no more, and does not know, answers nothing from its memory.
func TestStaleLeader(t *testing.T) {
	var begun, hold atomic.Pointer[chan struct{}]
	here := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/empty" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("X-Secret", "1")
		fmt.Fprint(w, "first")
		if r.URL.Path == "/stream" {
			_ = http.NewResponseController(w).Flush()
			close(*begun.Load())
			<-*hold.Load()
			fmt.Fprint(w, "second")
		}
	})
	a := newNode(t, here)
	a.leads.Store(true)
	if status, got := ask(t, a, "GET", "/", nil); status != 200 || got != "first" {
		t.Errorf("of the leader: %d %q", status, got)
	}
	one, two := make(chan struct{}), make(chan struct{})
	begun.Store(&one)
	hold.Store(&two)
	go func() {
		<-one
		a.stale.Store(true)
		close(two)
	}()
	if status, got := ask(t, a, "GET", "/stream", nil); status != 200 || !strings.HasPrefix(got, "first") || strings.Contains(got, "second") || !strings.Contains(got, "EOF") {
		t.Errorf("a stream: %d %q: want it cut off behind the first piece", status, got)
	}
	for _, path := range []string{"/", "/empty"} {
		for method, want := range map[string]string{"POST": "refused, unknown true", "GET": "refused, unknown false"} {
			if status, got := ask(t, a, method, path, nil); status != 503 || got != want {
				t.Errorf("%s %s of who was the leader: %d %q, want 503 %q", method, path, status, got, want)
			}
		}
	}
}

// A request that only reads, and whose answer is lost with the leader, is answered by the next one, wherever it came to.
func TestReadAgain(t *testing.T) {
	var a, b, c *node
	lose := func() {
		a.stale.Store(true)
		a.leads.Store(false)
		c.leads.Store(true)
		a.follow(c)
		b.follow(c)
	}
	old := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Secret", "1")
		if lose(); r.URL.Path == "/killed" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, "old")
	})
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "next%s%s", w.Header().Get("X-Secret"), w.Header().Get("Pipit-Again"))
	})
	for _, path := range []string{"/", "/killed"} {
		for _, door := range []string{"a", "b"} {
			a, b, c = newNode(t, old), newNode(t, old), newNode(t, next)
			a.leads.Store(true)
			b.follow(a)
			at := map[string]*node{"a": a, "b": b}[door]
			if path == "/killed" && door == "a" {
				continue // with its client's connection
			}
			if status, got := ask(t, at, "GET", path, nil); status != 200 || got != "next" {
				t.Errorf("%s at %s: %d %q", path, door, status, got)
			}
		}
	}
}

// A request that was passed on to a node which answers nothing more is not held up by it when another one leads.
func TestStoppedLeader(t *testing.T) {
	began, released := make(chan struct{}), make(chan struct{})
	stopped := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-released
	})
	a, b, c := newNode(t, stopped), newNode(t, stopped), newNode(t, stopped)
	t.Cleanup(func() { close(released) })
	a.leads.Store(true)
	b.follow(a)
	go func() {
		<-began
		b.follow(c)
	}()
	if status, got := ask(t, b, "POST", "/", strings.NewReader("x")); status != 503 || got != "refused, unknown true" {
		t.Errorf("%d %q: want 503, and that the outcome is unknown", status, got)
	}
}
