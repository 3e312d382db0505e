package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// settlement is the body of a call that settles messages.
type settlement struct {
	Ack, Reject []string
	Extend      map[string]int
	Delay       int
}

// troubled is a way to the program on which the first call of each kind is refused, with Retry-After, and the answer to the
// second is lost after the program has done what was asked. With that to a publish the program is gone, until lead.
type troubled struct {
	*httptest.Server
	mu      sync.Mutex
	addr    string         // of the program; empty while there is none
	calls   map[string]int // by kind: topic, msg, ack
	dropped int            // calls while there was no program
	settled []settlement   // which the program has answered
	changed chan struct{}  // of capacity 1
}

func newTroubled(t *testing.T, addr string) *troubled {
	w := &troubled{addr: addr, calls: map[string]int{}, changed: make(chan struct{}, 1)}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

// do changes or reads what is known of calls.
func (w *troubled) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// until waits for something to become true of the calls.
func (w *troubled) until(ctx context.Context, t *testing.T, what string, is func() bool) {
	t.Helper()
	for {
		w.mu.Lock()
		ok := is()
		w.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-w.changed:
		case <-ctx.Done():
			t.Fatalf("%s: did not come; settled: %+v", what, w.settled)
		}
	}
}

func (w *troubled) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	kind, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/zato/pubsub/"), "/")
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	n, addr, lost := 0, "", false
	w.do(func() {
		w.calls[kind]++
		n, addr = w.calls[kind], w.addr
		if addr == "" {
			w.dropped++
		}
		if lost = n == 2 && kind != "msg"; lost && kind == "topic" {
			w.addr = ""
		}
	})
	if addr == "" {
		panic(http.ErrAbortHandler)
	}
	if n == 1 {
		rw.Header().Set("Retry-After", "1")
		rw.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	if lost {
		next.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	}
	next.ServeHTTP(rw, r)
	var s settlement
	if kind == "ack" && json.Unmarshal(body, &s) == nil {
		w.do(func() { w.settled = append(w.settled, s) })
	}
}

// acked, extended and rejected are conditions for until.
func (w *troubled) acked(ids ...string) func() bool {
	return func() bool {
		var all []string
		for _, s := range w.settled {
			all = append(all, s.Ack...)
		}
		return !slices.ContainsFunc(ids, func(id string) bool { return !slices.Contains(all, id) })
	}
}

func (w *troubled) extended(id string, times, seconds int) func() bool {
	return func() bool {
		n := 0
		for _, s := range w.settled {
			if s.Extend[id] == seconds {
				n++
			}
		}
		return n >= times
	}
}

func (w *troubled) rejected(delay int, ids ...string) func() bool {
	return func() bool {
		return slices.ContainsFunc(w.settled, func(s settlement) bool { return s.Delay == delay && slices.Equal(s.Reject, ids) })
	}
}

// A handler tells what it gets. One message is slow, until there is a gate; one fails, once.
const clientHandler = `cat >"in-$PIPIT_MSG_ID"
echo "$PIPIT_MSG_ID $(sha256sum <"in-$PIPIT_MSG_ID" | cut -c1-64)"
case $(head -c4 "in-$PIPIT_MSG_ID" | tr -d '\000') in
slow) until [ -e gate ]; do sleep 0.2; done ;;
fail) [ -e failed ] || { : >failed; exit 1; } ;;
esac
`

const (
	clientTopic = "/klienti/ā b+c?"
	clientLease = 6 // seconds; at the fourth extension, at the latest, it would be over
)

const clientConfig = `
[[client]]
name = "CRM"
username = "crm"
password = 'c"r\m'

[[client]]
name = "ERP"
username = "erp"
password = "erp"

[[topic]]
name = "` + clientTopic + `"
expiration = "1h"

[[producer]]
client = "crm"
topic = "` + clientTopic + `"

[[consumer]]
client = "erp"
topic = "` + clientTopic + `"
sub_key = "` + exampleSubKey + `"
ack_timeout = "6s"
`

// The clients of clients/ publish once, also while the program is started anew, and settle what they receive, byte for byte: they extend
// leases, give back what fails and, when they are stopped, what they have not handled; and stay short.
func TestClients(t *testing.T) {
	for _, c := range []struct {
		file, program string
		packages      []string
	}{
		{"python/pipit.py", "python3", []string{"python3"}},
		{"javascript/pipit.mjs", "node", []string{"nodejs"}},
		{"php/pipit.php", "php", []string{"php-cli"}},
		{"go/main.go", "go", []string{"golang"}},
		{"go/pipit/pipit.go", "", nil},
		{"shell/pipit.sh", "sh", []string{"curl", "jq"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			file, err := filepath.Abs(filepath.Join("clients", c.file))
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(file) // #nosec G304 -- of the repository
			if n := bytes.Count(text, []byte("\n")); err != nil || n >= 150 {
				t.Errorf("%d lines, %v: who copies it reads it, allowed are fewer than 150", n, err)
			}
			if c.program == "" {
				return
			}
			run := []string{needs(t, c.program, c.packages[0]), file}
			for _, pkg := range c.packages[1:] {
				needs(t, pkg, pkg)
			}
			t.Parallel()
			dir := t.TempDir()
			if c.program == "go" { // what go run starts would outlive it
				run[1] = filepath.Join(dir, "client")
				build := exec.Command(run[0], "build", "-o", run[1], ".")
				build.Dir = filepath.Dir(file)
				if out, err := build.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				run = run[1:]
			}
			for name, text := range map[string]string{"handler.sh": clientHandler, "pipit.toml": clientConfig} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			p := start(t, dir, anyPort, "-config", "pipit.toml")
			s := &clientTest{T: t, ctx: ctx, run: run, dir: dir, p: p, way: newTroubled(t, p.addrs[0])}
			s.publishes()
			s.givesUp()
			s.consumes()
			s.endsWhileItWaits()
		})
	}
}

type clientTest struct {
	*testing.T
	ctx  context.Context
	run  []string // the client's command
	dir  string
	p    *process
	way  *troubled
	want []string // lines of the handler, of what was published
}

// command prepares the client, with variables in place of those that it needs.
func (s *clientTest) command(input string, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, s.run[0], slices.Concat(s.run[1:], args)...)
	cmd.Dir, cmd.Stdin, cmd.Stderr = s.dir, strings.NewReader(input), s.Output()
	cmd.Env = slices.Concat(os.Environ(), []string{"PIPIT_SERVER=" + s.way.URL, "PIPIT_USER=crm", `PIPIT_PASSWORD=c"r\m`, "PIPIT_SUB_KEY=" + exampleSubKey}, env)
	return cmd
}

func line(id, payload string) string { return fmt.Sprintf("%s %x", id, sha256.Sum256([]byte(payload))) }

// url is that of a call to the program, without troubles.
func (s *clientTest) url(path string) string {
	at := url.URL{Scheme: "http", User: url.UserPassword("erp", "erp"), Host: s.p.addrs[0]}
	if strings.HasPrefix(path, "topic/") {
		at.User = url.UserPassword("crm", `c"r\m`)
	}
	return at.String() + "/zato/pubsub/" + strings.Replace(path, "TOPIC", url.PathEscape(clientTopic), 1)
}

// post publishes, or receives as another process of the consumer's.
func (s *clientTest) post(path, body string) string {
	s.Helper()
	return post(s.T, s.url(path), exampleSubKey, body)
}

// publishes has the client publish, the first time on a way with troubles and while the program is killed and started anew.
func (s *clientTest) publishes() {
	payloads := []string{
		`"quotes" 'of' \ all $HOME $(id) ` + "`id`" + ` %s %00 & <b>kinds</b>`,
		"Latvian ēģļš, a fox 🦊, a separator \u2028 and a NUL \x00.",
		"\x00\xff\xfe no text \x80",
		"\xef\xbb\xbf\n lines \r\n\n\n",
		"",
		strings.Repeat("more than a pipe holds; ", 10000),
	}
	for i, payload := range payloads {
		var out strings.Builder
		cmd := s.command(payload, nil, "publish", clientTopic, fmt.Sprint("text/x-", i))
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			s.Fatal(err)
		}
		if i == 0 {
			s.way.until(s.ctx, s.T, "a publish while there is no program", func() bool { return s.way.dropped > 0 })
			s.p.stop(s.T, syscall.SIGKILL)
			s.p = start(s.T, s.dir, anyPort, "-config", "pipit.toml")
			s.way.do(func() { s.way.addr = s.p.addrs[0] })
		}
		if err := cmd.Wait(); err != nil || len(out.String()) < 2 {
			s.Fatalf("publish: %v, printed %q", err, &out)
		}
		s.want = append(s.want, line(strings.TrimSpace(out.String()), payload))
	}
	s.way.do(func() {
		if want := 2 + s.way.dropped + len(payloads); s.way.calls["topic"] != want {
			s.Errorf("%d calls to publish instead of %d", s.way.calls["topic"], want)
		}
	})
}

// givesUp has the client end where it is refused, at once, and where there is no server, once its patience is over.
func (s *clientTest) givesUp() {
	count := func() (n int) { s.way.do(func() { n = s.way.calls["topic"] }); return n }
	before := count()
	for env, why := range map[string]string{"PIPIT_PASSWORD=wrong": "401", "PIPIT_SERVER=http://127.0.0.1:1": ""} {
		var stderr strings.Builder
		cmd := s.command("", []string{env, "PIPIT_PATIENCE=1"}, "publish", clientTopic)
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), why) {
			s.Errorf("%s: %v, with %q", env, err, stderr.String())
		}
	}
	if n := count() - before; n != 1 {
		s.Errorf("%d calls with a wrong password", n)
	}
}

// consumer starts the client to consume; says expects the next line that it prints.
func (s *clientTest) consumer(command ...string) (cmd *exec.Cmd, says func(want string)) {
	cmd = s.command("", []string{"PIPIT_USER=erp", "PIPIT_PASSWORD=erp", fmt.Sprint("PIPIT_LEASE=", clientLease)}, append([]string{"consume", clientTopic}, command...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	return cmd, func(want string) {
		s.Helper()
		if lines.Scan(); lines.Text() != want {
			s.Fatalf("consume printed %q instead of %q", lines.Text(), want)
		}
	}
}

// gets publishes a message and expects its line.
func (s *clientTest) gets(says func(string), payload string) (id string) {
	s.Helper()
	answer := s.post("topic/TOPIC/", payload)
	m := published.FindStringSubmatch(answer)
	if m == nil {
		s.Fatal(answer)
	}
	says(line(m[1], payload))
	return m[1]
}

// ends expects the client to end, as it was asked to, with nothing more to say.
func (s *clientTest) ends(cmd *exec.Cmd, says func(string)) {
	s.Helper()
	says("")
	if err := cmd.Wait(); err != nil {
		s.Errorf("stopped, it ended with %v", err)
	}
}

func (s *clientTest) consumes() {
	gate := filepath.Join(s.dir, "gate")
	open := func() {
		s.Helper()
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			s.Fatal(err)
		}
	}
	cmd, says := s.consumer("sh", "handler.sh")
	for _, want := range s.want {
		says(want)
		id, _, _ := strings.Cut(want, " ")
		s.way.until(s.ctx, s.T, "the acknowledgement", s.way.acked(id))
	}

	slow := s.gets(says, "slow, the lease is over before it is done")
	s.way.until(s.ctx, s.T, "the extensions", s.way.extended(slow, 4, clientLease))
	if answer := s.post("msg/TOPIC/", ""); !strings.Contains(answer, `"results_count": 0`) {
		s.Errorf("in hand, yet delivered again: %s", answer)
	}
	open()
	s.way.until(s.ctx, s.T, "the acknowledgement of the slow one", s.way.acked(slow))

	failed := s.gets(says, "fail")
	s.way.until(s.ctx, s.T, "the rejection", s.way.rejected(1, failed))
	says(line(failed, "fail"))
	s.way.until(s.ctx, s.T, "the acknowledgement of the second delivery", s.way.acked(failed))

	if err := os.Remove(gate); err != nil {
		s.Fatal(err)
	}
	batch := `{"payload": "slow two", "msg_id": "a"}` + "\n" + `{"payload": "one", "msg_id": "b ē"}` + "\n" + `{"payload": "two", "msg_id": "c/1"}` + "\n"
	if resp, err := client.Post(s.url("topic/TOPIC/?batch=true"), "application/x-ndjson", strings.NewReader(batch)); err != nil || resp.StatusCode != 200 {
		s.Fatal(err, resp)
	}
	says(line("a", "slow two"))
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.Fatal(err)
	}
	open()
	s.ends(cmd, says)
	s.way.until(s.ctx, s.T, "the acknowledgement of what was in hand", s.way.acked("a"))
	s.way.until(s.ctx, s.T, "the rejection of what was not", s.way.rejected(0, "b ē", "c/1"))
	if answer := s.post("msg/TOPIC/?ack=true", ""); !strings.Contains(answer, `"results_count": 2`) || strings.Count(answer, `"delivery_count": 2`) != 2 {
		s.Errorf("given back: %s", answer)
	}
}

// endsWhileItWaits has the client print messages, and stops it while there are none: the next one is for others.
func (s *clientTest) endsWhileItWaits() {
	stop := syscall.SIGINT
	if signal.Ignored(stop) { // as of a job in the background; a shell then cannot catch it
		stop = syscall.SIGTERM
	}
	cmd, says := s.consumer()
	if answer := s.post("topic/TOPIC/?msg_id=plain", "plain"); !strings.HasPrefix(answer, "200 ") {
		s.Fatal(answer)
	}
	says("plain")
	calls := 0
	s.way.until(s.ctx, s.T, "the acknowledgement", func() bool { calls = s.way.calls["msg"]; return s.way.acked("plain")() })
	s.way.until(s.ctx, s.T, "the next long poll", func() bool { return s.way.calls["msg"] > calls || calls > 1 })
	if err := cmd.Process.Signal(stop); err != nil {
		s.Fatal(err)
	}
	s.ends(cmd, says)
	s.post("topic/TOPIC/", "next")
	if answer := s.post("msg/TOPIC/?wait=30&ack=true", ""); !strings.Contains(answer, `"payload": "next"`) || !strings.Contains(answer, `"delivery_count": 1`) {
		s.Errorf("after it had ended: %s", answer)
	}
}

// What docs/clients.md shows is published by one language and consumed by another.
func TestDocumentedClients(t *testing.T) {
	python, node, php, sh := needs(t, "python3", "python3"), needs(t, "node", "nodejs"), needs(t, "php", "php-cli"), needs(t, "sh", "dash")
	addr := start(t, t.TempDir(), anyPort, "-config", example(t)).addrs[0]
	page := strings.ReplaceAll(pages(t)["docs/clients.md"], "127.0.0.1:11223", addr)
	shown := regexp.MustCompile(`(?m)^    (.*)$`).FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1)
	if len(shown) != 4 {
		t.Fatalf("%d commands were found", len(shown))
	}
	block := func(language string) string {
		_, rest, ok := strings.Cut(page, "\n```"+language+"\n")
		text, _, _ := strings.Cut(rest, "\n```\n")
		if !ok {
			t.Fatalf("docs/clients.md has no program in %s", language)
		}
		return text
	}
	cmd := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "PYTHONPATH=clients/python", "PYTHONDONTWRITEBYTECODE=1")
		cmd.Stderr = t.Output()
		return cmd
	}
	prints := func(cmd *exec.Cmd, patterns ...string) {
		t.Helper()
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for _, pattern := range patterns {
			if lines.Scan(); !regexp.MustCompile("^" + pattern + "$").MatchString(lines.Text()) {
				t.Fatalf("printed %q instead of %s", lines.Text(), pattern)
			}
		}
		_ = cmd.Process.Signal(syscall.SIGTERM) // or it has ended already
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	prints(cmd(sh, "-ec", shown[0][1]+"\n"+shown[1][1]+"\n"+shown[2][1]+"\nexec "+shown[3][1]), `[0-9a-f-]{36}`, `[0-9a-f-]{36}: {"number": 17}`)
	if out, err := cmd(python, "-c", block("python")).Output(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := cmd(php, "-r", strings.Replace(block("php"), "'pipit.php'", "'clients/php/pipit.php'", 1)).Output(); err != nil || string(out) != "customer-18" {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	library, err := os.ReadFile("clients/javascript/pipit.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"pipit.mjs": string(library), "program.mjs": block("javascript")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	prints(cmd(node, filepath.Join(dir, "program.mjs")), `customer-17 { number: 17 }`, `customer-18 { number: 18 }`)
}
