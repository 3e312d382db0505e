package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// The test binary is the program, too, where this variable says so.
const asProgram = "RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Unsetenv(asProgram)
		main()
		return
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // under nohup, programs that are started here would ignore it, too
	go func() {
		<-hangup
		os.Exit(1)
	}()
	os.Exit(m.Run())
}

// process is the program, started as a user starts it.
type process struct {
	cmd   *exec.Cmd
	addrs []string      // that it listens on
	ended chan struct{} // closed when log is complete

	mu   sync.Mutex
	log  *strings.Builder // guarded by mu until ended
	more *sync.Cond       // of mu: log has grown
}

// lines returns what it has logged so far.
func (p *process) lines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// line waits for a line that matches.
func (p *process) line(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if m := re.FindStringSubmatch(p.log.String()); m != nil {
			return m
		}
		select {
		case <-p.ended:
			t.Fatalf("no %s in:\n%s", pattern, p.log)
		default:
		}
		p.more.Wait()
	}
}

// program prepares it with its working directory and variables.
func program(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{asProgram + "=1", "GOCOVERDIR=" + t.TempDir()}, env...)
	return cmd
}

// start starts the program and waits until it listens.
func start(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	return startCommand(t, program(t, dir, env, args...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, log: &strings.Builder{}, ended: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.cmd.Process.Kill(); <-p.ended; p.cmd.Wait() })
	listening := make(chan []string, 1)
	go func() {
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.more.Broadcast()
		}()
		defer close(p.ended)
		defer close(listening)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(p.log, lines.Text())
			p.more.Broadcast()
			p.mu.Unlock()
			var entry struct{ Msg, Addr string }
			if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Msg == "listening" {
				select {
				case listening <- strings.Split(entry.Addr, ","):
				default: // a node says so in each term that it leads
				}
			}
		}
	}()
	addrs, ok := <-listening
	if !ok {
		t.Fatalf("did not start:\n%s", p.log)
	}
	p.addrs = addrs
	return p
}

// stop sends a signal and returns the exit code and all that was logged.
func (p *process) stop(t *testing.T, sig os.Signal) (int, string) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	p.cmd.Wait()
	return p.cmd.ProcessState.ExitCode(), p.log.String()
}

// client opens a connection for each request, so that a shutdown finds none of them idle: those
// that were accepted are answered.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func post(t *testing.T, url, subKey, body string) string {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if subKey != "" {
		req.Header.Set("X-Zato-PubSub-Key", subKey)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(resp.StatusCode, " ", string(answer))
}

// example is config.example.toml; its addresses and its file are to be overridden.
func example(t *testing.T) string {
	t.Helper()
	file, err := filepath.Abs("config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

const exampleSubKey = "K06Y63NEJQYGMQKTP9D4KGQQ0GB2"

var (
	published = regexp.MustCompile(`^200 \{"status": "ZATO_OK", "msg_id": "([0-9A-Za-z]{28})"\}$`)
	anyPort   = []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0,127.0.0.1:0"}
)

func receivedOne(id, payload string) *regexp.Regexp {
	const when = `"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"`
	return regexp.MustCompile(`^200 \{"status": "ZATO_OK", "results_count": 1, "results": \[\{"payload": "` + regexp.QuoteMeta(payload) +
		`", "metadata": \{"msg_id": "` + id + `", "topic": "/customer/created", "creation_time_utc": ` + when +
		`, "expiration": 60, "expire_at_utc": ` + when + `, "producer": "CRM", "priority": 5, "mime_type": "text/plain", "delivery_count": 1\}\}\]\}$`)
}

// What README.md shows: publish, the process is killed, receive; then it is asked to stop.
func TestExampleOverHTTP(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, anyPort, "-config", example(t))
	if len(p.addrs) != 2 {
		t.Fatalf("listens on %q", p.addrs)
	}
	answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "Hello pub/sub!")
	m := published.FindStringSubmatch(answer)
	if m == nil {
		t.Fatal(answer)
	}
	p.cmd.Process.Kill()
	<-p.ended
	p.cmd.Wait()

	p = start(t, dir, anyPort, "-config", example(t))
	answer = post(t, "http://erp:erp@"+p.addrs[1]+"/zato/pubsub/msg//customer/created/", exampleSubKey, "")
	if !receivedOne(m[1], "Hello pub/sub!").MatchString(answer) {
		t.Error(answer)
	}
	if info, err := os.Stat(filepath.Join(dir, "pipit.db")); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	code, log := p.stop(t, syscall.SIGTERM)
	if code != 0 || !strings.Contains(log, `"stopped"`) {
		t.Errorf("exit code %d\n%s", code, log)
	}
}

// A signal wakes a long poll, which is answered, and the process ends.
func TestSignalWakesLongPoll(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(fmt.Sprint(sig), func(t *testing.T) {
			p := start(t, t.TempDir(), append([]string{"PIPIT_LOG_ACCESS=true"}, anyPort...), "-config", example(t))
			base := "http://erp:erp@" + p.addrs[0] + "/zato/pubsub/msg//customer/created/"
			if answer := post(t, base, exampleSubKey, ""); !strings.HasPrefix(answer, `200 {"status": "ZATO_OK", "results_count": 0`) {
				t.Fatal(answer)
			}
			begun := make(chan struct{})
			answered := make(chan string, 1)
			go func() {
				body := &firstRead{Reader: strings.NewReader(""), first: begun}
				req, _ := http.NewRequest("POST", base+"?wait=60", body)
				req.Header.Set("X-Zato-PubSub-Key", exampleSubKey)
				resp, err := client.Do(req)
				if err != nil {
					answered <- err.Error()
					return
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				answered <- fmt.Sprint(resp.StatusCode, " ", string(b))
			}()
			<-begun
			// The server accepts connections in their order: when it answers this one, it has the other.
			post(t, base, exampleSubKey, "")
			code, log := p.stop(t, sig)
			if code != 0 {
				t.Errorf("exit code %d\n%s", code, log)
			}
			if a := <-answered; !strings.HasPrefix(a, `200 {"status": "ZATO_OK", "results_count": 0`) {
				t.Error(a)
			}
		})
	}
}

// firstRead tells when a request's body is read: by then it has its connection.
type firstRead struct {
	io.Reader
	first chan struct{}
	told  bool
}

func (r *firstRead) Read(b []byte) (int, error) {
	if !r.told {
		r.told = true
		close(r.first)
	}
	return r.Reader.Read(b)
}

func TestBuiltInDefaultsSayWhatToDoNext(t *testing.T) {
	p := start(t, t.TempDir(), anyPort)
	_, log := p.stop(t, syscall.SIGTERM)
	if !strings.Contains(log, "declare some in a file like config.example.toml and start with -config FILE") {
		t.Error(log)
	}
}

func TestSubKeyIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	config := writeConfig(t, `
[http]
listen = ["127.0.0.1:0"]
[[client]]
username = "erp"
password = "erp"
[[topic]]
name = "/customer/created"
[[consumer]]
client = "erp"
topic = "/customer/created"
`)
	p := start(t, dir, nil, "-config", config)
	_, log := p.stop(t, syscall.SIGTERM)
	m := regexp.MustCompile(`(?m)^pipit: .* sub_key (\S+) `).FindAllStringSubmatch(log, -1)
	if len(m) != 1 || strings.Count(log, m[0][1]) != 1 {
		t.Fatal(log)
	}
	p = start(t, dir, nil, "-config", config)
	if answer := post(t, "http://erp:erp@"+p.addrs[0]+"/zato/pubsub/msg//customer/created/", m[0][1], ""); !strings.HasPrefix(answer, "200 ") {
		t.Error(answer)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "sub_key") {
		t.Error("printed again:", log)
	}
}

// refuse runs the program, which is to say in one line why it does not start, with exit code 1.
func refuse(t *testing.T, dir string, env []string, args ...string) string {
	t.Helper()
	cmd := program(t, dir, env, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	line := stderr.String()
	if !strings.HasPrefix(line, "pipit: ") || strings.Count(line, "\n") != 1 {
		t.Errorf("not one line: %s", line)
	}
	return line
}

func TestStartIsRefused(t *testing.T) {
	p := start(t, t.TempDir(), anyPort)
	file := filepath.Join(p.cmd.Dir, "pipit.db")
	t.Run("locked", func(t *testing.T) {
		if line := refuse(t, t.TempDir(), append([]string{"PIPIT_DATABASE_FILE=" + file}, anyPort...)); !strings.Contains(line, file) {
			t.Error(line)
		}
	})
	t.Run("address in use", func(t *testing.T) {
		if line := refuse(t, t.TempDir(), []string{"PIPIT_HTTP_LISTEN=127.0.0.1:0," + p.addrs[0]}); !strings.Contains(line, p.addrs[0]) {
			t.Error(line)
		}
	})
	t.Run("foreign file", func(t *testing.T) {
		dir := t.TempDir()
		text := []byte(strings.Repeat("not a database\n", 1000))
		if err := os.WriteFile(filepath.Join(dir, "pipit.db"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		if line := refuse(t, dir, anyPort); !strings.Contains(line, "pipit.db") {
			t.Error(line)
		}
		if now, err := os.ReadFile(filepath.Join(dir, "pipit.db")); err != nil || !bytes.Equal(now, text) {
			t.Error("the file was written to", err)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		env := append([]string{"PIPIT_HTTP_TLS_CERT=none.pem", "PIPIT_HTTP_TLS_KEY=none.key"}, anyPort...)
		if line := refuse(t, t.TempDir(), env); !strings.Contains(line, "none.pem") {
			t.Error(line)
		}
	})
	t.Run("unknown client", func(t *testing.T) {
		env := append([]string{"PIPIT_TOPIC_0_NAME=/x", "PIPIT_PRODUCER_0_CLIENT=nobody", "PIPIT_PRODUCER_0_TOPIC=/x"}, anyPort...)
		if line := refuse(t, t.TempDir(), env); !strings.Contains(line, `"nobody"`) {
			t.Error(line)
		}
	})
	t.Run("configuration", func(t *testing.T) {
		if line := refuse(t, t.TempDir(), nil, "-config", writeConfig(t, "[x]\n")); !strings.Contains(line, `pipit.toml:1: x: unknown key`) {
			t.Error(line)
		}
	})
}

func TestFlags(t *testing.T) {
	config := example(t)
	for _, tt := range []struct {
		args   []string
		stdin  string
		code   int
		stdout string // a regular expression
		stderr string
	}{
		{[]string{"-version"}, "", 0, `^pipit 0\.1\.0 .*go1\.\d+.*\n$`, `^$`},
		{[]string{"-check-config"}, "", 0, `^built-in defaults with PIPIT_HTTP_LISTEN: ok\n$`, `^$`},
		{[]string{"-check-config", "-config", config}, "", 0, `config\.example\.toml with PIPIT_HTTP_LISTEN: ok\n$`, "^" + weakExample + "$"},
		{[]string{"-check-config", "-config", "none.toml"}, "", 1, `^$`, `^pipit: .*none\.toml`},
		{[]string{"-hash-password"}, "a long password\n", 0, `^\$2a\$10\$.{53}\n$`, `^$`},
		{[]string{"-hash-password"}, "secret\n", 0, `^\$2a\$10\$.{53}\n$`, `^pipit: warning: the password is weak: it is shorter than 12 characters\n$`},
		{[]string{"-hash-password"}, "", 1, `^$`, `^pipit: no password: give it on a line of standard input\n$`},
		{[]string{"-nonsense"}, "", 2, `^$`, `-nonsense`},
		{[]string{"nonsense"}, "", 2, `^$`, `^pipit: unexpected argument "nonsense"`},
		{[]string{"-help"}, "", 0, `^$`, `-check-config`},
	} {
		var stdout, stderr strings.Builder
		code := run(context.Background(), tt.args, anyPort, strings.NewReader(tt.stdin), &stdout, &stderr)
		if code != tt.code || !regexp.MustCompile(tt.stdout).MatchString(stdout.String()) || !regexp.MustCompile(tt.stderr).MatchString(stderr.String()) {
			t.Errorf("%q: exit code %d\nstdout: %s\nstderr: %s", tt.args, code, &stdout, &stderr)
		}
	}
}

// The password to hash is a line, without the byte order mark that a file of Windows begins with.
func TestHashPassword(t *testing.T) {
	for _, text := range []string{"secret\n", "\ufeffsecret\r\n"} {
		var stdout, stderr strings.Builder
		code := run(context.Background(), []string{"-hash-password"}, nil, strings.NewReader(text), &stdout, &stderr)
		if err := bcrypt.CompareHashAndPassword([]byte(strings.TrimSpace(stdout.String())), []byte("secret")); code != 0 || err != nil {
			t.Errorf("%q: exit code %d, %v, %s", text, code, err, &stderr)
		}
	}
}

// The version that the program prints is that of the last entry in CHANGELOG.md.
func TestVersionIsInChangelog(t *testing.T) {
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?m)^## \[(\d[^]]*)\]`).FindSubmatch(text); m == nil || string(m[1]) != version {
		t.Errorf("CHANGELOG.md says %s, the program %s", m[1], version)
	}
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pipit.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const hashOfX = "$2a$10$0000000000000000000000000000000000000000000000000000."
