package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pipit/broker/store"
	"pipit/config"
	"pipit/httpapi/serve/servetest"
	"pipit/metrics"
)

// With this variable the program has a database whose disk fails at the last page of a commit that
// stores a message "swordfish".
const failingDisk = "RUN_WITH_FAILING_DISK"

func init() {
	if os.Getenv(failingDisk) == "" {
		return
	}
	real := openStore
	openStore = func(c *config.Database, log *slog.Logger, m *metrics.Metrics) (store.Store, error) {
		s, err := real(c, log, m)
		return &failingStore{Store: s, path: c.File, log: log}, err
	}
}

type failingStore struct {
	store.Store
	path   string
	log    *slog.Logger
	failed bool
}

func (s *failingStore) Commit(b *store.Batch) error {
	if s.failed {
		s.log.Error("something was written after the failure")
	}
	err := s.Store.Commit(b)
	for _, r := range b.Append {
		if string(r.Payload) == "swordfish" {
			s.failed = true
			return errors.Join(err, errors.New("input/output error"))
		}
	}
	return err
}

// The outcome of a write is not known: whoever waits for it is told so, the program ends with exit
// code 1, and after its restart the message can be published again as the answer said.
func TestUncertainWrite(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, append(anyPort, failingDisk+"=1"), "-config", example(t))
	publish := func() string {
		return post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/?msg_id=own", "", "swordfish")
	}
	answer := publish()
	if answer != `503 {"status": "ZATO_ERROR", "details": "The database failed: whether this was stored is not known. Repeat it, a message with the same msg_id"}` {
		t.Error(answer)
	}
	if answer = publish(); answer != `503 {"status": "ZATO_ERROR", "details": "The database failed: nothing was stored or delivered"}` {
		t.Error(answer)
	}
	<-p.ended
	p.cmd.Wait()
	log := p.log.String()
	if code := p.cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(log, "pipit: the outcome of a write is not known, a restart is needed: input/output error") {
		t.Errorf("exit code %d\n%s", code, log)
	}
	if strings.Contains(log, "something was written") {
		t.Error(log)
	}

	p = start(t, dir, anyPort, "-config", example(t))
	if answer = publish(); !strings.HasPrefix(answer, "200 ") {
		t.Error(answer)
	}
	answer = post(t, "http://erp:erp@"+p.addrs[1]+"/zato/pubsub/msg//customer/created/", exampleSubKey, "")
	if strings.Count(answer, "swordfish") != 1 {
		t.Error(answer)
	}
}

// health runs the command.
func health(t *testing.T, env []string, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = run(t.Context(), append([]string{"health"}, args...), env, strings.NewReader(""), &b, &b)
	return code, b.String()
}

// The configuration that a server has tells pipit health all it needs, also with a certificate that
// nobody signed.
func TestHealthByConfiguration(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	servetest.Certificate(t, certFile, keyFile, 1)
	env := []string{"PIPIT_HTTP_TLS_CERT=" + certFile, "PIPIT_HTTP_TLS_KEY=" + keyFile}
	p := start(t, dir, append([]string{"PIPIT_HTTP_LISTEN=127.0.0.1:0"}, env...))
	if code, out := health(t, append(env, "PIPIT_HTTP_LISTEN=192.0.2.1:1,"+p.addrs[0])); code != 0 || out != "https://"+p.addrs[0]+"/health: ok\n" {
		t.Errorf("by the environment: %d %s", code, out)
	}
	file := filepath.Join(dir, "pipit.toml")
	if err := os.WriteFile(file, []byte("[http]\nlisten = [\""+p.addrs[0]+"\"]\ntls_cert = \""+certFile+"\"\ntls_key = \""+keyFile+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := health(t, nil, "--config", file); code != 0 {
		t.Errorf("by a file: %d %s", code, out)
	}
	if code, out := health(t, nil, "--url", "https://"+p.addrs[0]); code != 0 {
		t.Errorf("by the URL: %d %s", code, out)
	}
	if code, out := health(t, nil, "--url", "http://"+p.addrs[0]); code != 1 || !strings.Contains(out, "400 Bad Request") {
		t.Errorf("without TLS: %d %s", code, out)
	}
}

// A server that does not answer is not waited for.
func TestHealthOfSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(io.Discard, c)
		}
	}()
	if code, out := health(t, nil, "--url", "http://"+l.Addr().String()); code != 1 || !strings.Contains(out, "Timeout") && !strings.Contains(out, "deadline") {
		t.Errorf("%d %s", code, out)
	}
}

func TestOwnURL(t *testing.T) {
	defaults, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		listen []string
		secure bool
		want   string // empty: refused
	}{
		{defaults.HTTP.Listen, false, "http://127.0.0.1:11223"},
		{[]string{"0.0.0.0:80"}, false, "http://127.0.0.1:80"},
		{[]string{":443"}, true, "https://127.0.0.1:443"},
		{[]string{"[::]:80"}, false, "http://[::1]:80"},
		{[]string{"[::1]:80", "127.0.0.1:81"}, false, "http://[::1]:80"},
		{[]string{"192.0.2.1:80", "127.0.0.1:81"}, false, "http://127.0.0.1:81"},
		{[]string{"broker.example.com:443", "192.0.2.1:443"}, true, "https://broker.example.com:443"},
		{[]string{"127.0.0.1:0"}, false, ""},
	} {
		got, err := ownURL(tt.listen, tt.secure)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v", tt.listen, got, err)
		}
	}
}
