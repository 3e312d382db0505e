package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// troubled is a way to the program on which the first call of each kind is refused, with Retry-After, and the answer to the
// second is lost after the program has done what was asked.
type troubled struct {
	*httptest.Server
	mu      sync.Mutex
	calls   map[string]int         // by kind: topic, msg, ack
	settled map[string][]string    // by ack and reject: the messages, once the program has answered
	got     chan struct{}          // of capacity 1: settled has grown
	next    *httputil.ReverseProxy // to the program
}

func newTroubled(t *testing.T, addr string) *troubled {
	w := &troubled{calls: map[string]int{}, settled: map[string][]string{}, got: make(chan struct{}, 1)}
	w.next = httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

func (w *troubled) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/zato/pubsub/"), "/")
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	w.mu.Lock()
	w.calls[kind]++
	n := w.calls[kind]
	w.mu.Unlock()
	switch {
	case n == 1:
		rw.Header().Set("Retry-After", "1")
		rw.WriteHeader(http.StatusServiceUnavailable)
	case n == 2 && kind != "msg":
		w.next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	default:
		w.next.ServeHTTP(rw, r)
		if kind == "ack" {
			w.settle(body)
		}
	}
}

func (w *troubled) settle(body []byte) {
	var s struct{ Ack, Reject []string }
	if json.Unmarshal(body, &s) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settled["ack"] = append(w.settled["ack"], s.Ack...)
	w.settled["reject"] = append(w.settled["reject"], s.Reject...)
	select {
	case w.got <- struct{}{}:
	default:
	}
}

// The programs of docs/clients.md publish once and settle what they receive, as far as they could handle it, while calls are
// refused and answers lost.
func TestDocumentedClients(t *testing.T) {
	for _, c := range []struct {
		language, program, pkg, file string
	}{
		{"python", "python3", "python3", "client.py"},
		{"javascript", "node", "nodejs", "client.mjs"},
		{"go", "go", "golang", "client.go"},
		{"sh", "sh", "dash", "client.sh"},
	} {
		t.Run(c.language, func(t *testing.T) {
			interpreter := needs(t, c.program, c.pkg)
			if c.language == "sh" {
				needs(t, "jq", "jq")
				needs(t, "curl", "curl")
			}
			t.Parallel()
			dir := t.TempDir()
			_, rest, _ := strings.Cut(pages(t)["docs/clients.md"], "\n```"+c.language+"\n")
			text, _, ok := strings.Cut(rest, "\n```\n")
			if !ok {
				t.Fatalf("docs/clients.md has no program in %s", c.language)
			}
			file := filepath.Join(dir, c.file)
			if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			run := []string{interpreter, file}
			if c.language == "go" { // what go run starts would outlive it
				run = []string{filepath.Join(dir, "client")}
				if out, err := exec.Command(interpreter, "build", "-o", run[0], file).CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
			}
			command := func(url, user string, args ...string) *exec.Cmd {
				cmd := exec.CommandContext(t.Context(), run[0], slices.Concat(run[1:], args)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "PUBSUB_URL="+url, "PUBSUB_TOPIC=/customer/created", "PUBSUB_USER="+user, "PUBSUB_PASSWORD="+user,
					"PUBSUB_KEY="+exampleSubKey)
				cmd.Stderr = t.Output()
				return cmd
			}
			testClient(t, command)
		})
	}
}

func testClient(t *testing.T, command func(url, user string, args ...string) *exec.Cmd) {
	p := start(t, t.TempDir(), anyPort, "-config", example(t))
	way := newTroubled(t, p.addrs[0])
	bad := published.FindStringSubmatch(post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/?priority=9", "", "no JSON"))
	if bad == nil {
		t.Fatal("nothing was published")
	}
	out, err := command(way.URL, "crm", "publish", `{"number": 17}`).Output()
	id := strings.TrimSpace(string(out))
	if err != nil || id == "" || way.calls["topic"] != 3 {
		t.Fatalf("publish: %v, printed %q after %d calls", err, out, way.calls["topic"])
	}

	consumer := command(way.URL, "erp", "consume")
	stdout, err := consumer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := consumer.Start(); err != nil {
		t.Fatal(err)
	}
	defer consumer.Wait()
	defer consumer.Process.Kill()
	lines := bufio.NewScanner(stdout)
	if !lines.Scan() || lines.Text() != "number 17" {
		t.Fatalf("consume printed %q", lines.Text())
	}
	for {
		<-way.got
		way.mu.Lock()
		acked, rejected := slices.Clone(way.settled["ack"]), slices.Clone(way.settled["reject"])
		way.mu.Unlock()
		if slices.Contains(acked, id) && slices.Contains(rejected, bad[1]) {
			break
		}
	}
	if answer := post(t, "http://erp:erp@"+p.addrs[0]+"/zato/pubsub/msg//customer/created/", exampleSubKey, ""); !strings.Contains(answer, `"results_count": 0`) {
		t.Errorf("published once, acknowledged and rejected with a delay, yet there is %s", answer)
	}
}
