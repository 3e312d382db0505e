//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const reloadBase = `
[http]
listen = ["127.0.0.1:0"]
[log]
level = "info"
[[client]]
username = "crm"
password = "crm"
[[topic]]
name = "/t"
[[producer]]
client = "crm"
topic = "/t"
[[consumer]]
client = "crm"
topic = "/t"
sub_key = "key"
`

// reload has the process load a configuration again and waits for a line that says so.
func (p *process) reload(t *testing.T, file, text, pattern string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.line(t, pattern)
}

func TestReload(t *testing.T) {
	file := writeConfig(t, reloadBase)
	p := start(t, t.TempDir(), nil, "-config", file)
	topic := func(path string) string { return "http://crm:crm@" + p.addrs[0] + "/zato/pubsub/topic//" + path }
	want := func(answer, prefix string) {
		t.Helper()
		if !strings.HasPrefix(answer, prefix) {
			t.Errorf("got %s, want %s", answer, prefix)
		}
	}
	lines := func(text string) int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Count(p.log.String(), text)
	}
	const payload = "longer than four bytes"
	want(post(t, topic("t/"), "", payload), "200 ")
	want(post(t, topic("u/"), "", payload), "403 ")

	// What a bad file says counts for nothing, and all of its faults are named.
	p.reload(t, file, reloadBase+"[[topic]]\nname = \"/u\"\nno_key = 1\n[[topic]]\nno_such = 2\n", `"the configuration cannot be used.*no_key.*no_such`)
	want(post(t, topic("u/"), "", payload), "403 ")
	// So does one that is good by itself, but not for the database.
	p.reload(t, file, strings.Replace(reloadBase, "[log]", "max_payload = 4\n[log]", 1)+"[[topic]]\nname = \"/u\"\n[[producer]]\nclient = \"nobody\"\ntopic = \"/u\"\n[[producer]]\nclient = \"none\"\ntopic = \"/u\"\n",
		`"the configuration cannot be used.*configuration: client \\"nobody\\" .*no such client.*configuration: client \\"none\\" .*no such client`)
	want(post(t, topic("u/"), "", payload), "403 ")
	want(post(t, topic("t/"), "", payload), "200 ")

	next := strings.NewReplacer("[log]", "max_payload = 4\nmax_batch = 8\nmax_pending = 10\nmax_connections = 7\n[admin]\nsession_life = \"1h\"\n[log]\naccess = true\nformat = \"text\"",
		`"127.0.0.1:0"`, `"127.0.0.1:0", "127.0.0.1:0"`, `"key"`, `"another-key"`).Replace(reloadBase) +
		"[[topic]]\nname = \"/u\"\n[[producer]]\nclient = \"crm\"\ntopic = \"/u\"\n"
	p.reload(t, file, next, `these keys have changed, too, and need a restart.*"keys":\["http.listen","log.format"\]`)
	p.line(t, `"configuration loaded again","changed":\["http.max_payload","http.max_batch","http.max_pending","http.max_connections","admin.session_life","log.access","topic","producer","consumer"\]`)
	want(post(t, topic("u/"), "", "four"), "200 ")
	want(post(t, topic("u/"), "", payload), "413 ")
	want(post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/msg//t/", "key", ""), "403 ")
	want(post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/msg//t/", "another-key", ""), `200 {"status": "ZATO_OK", "results_count": 2`)
	want(post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/ack/", "another-key", `{"ack": []}`), "413 ")
	p.line(t, `"msg":"request"`) // the log is written beside the requests

	// The level counts at once.
	quiet := strings.Replace(next, `"info"`, `"warn"`, 1)
	p.reload(t, file, quiet, `(?s)(need a restart.*){2}`)
	want(post(t, topic("u"), "", "four"), "200 ")
	p.reload(t, file, next, `(?s)(need a restart.*){3}`)
	want(post(t, topic("t"), "", "four"), "200 ")
	p.line(t, `"path":"/zato/pubsub/topic//t"`)
	if lines(`"path":"/zato/pubsub/topic//u"`) > 0 {
		t.Error("a line of a request below the level")
	}
	code, log := p.stop(t, syscall.SIGTERM)
	if code != 0 || strings.Contains(log, "another-key") {
		t.Errorf("exit code %d\n%s", code, log)
	}
}

// A consumer of a client and topic that the file declares is named where the file does not declare it itself.
func TestStartNamesUndeclaredConsumers(t *testing.T) {
	dir := t.TempDir()
	named := strings.Replace(reloadBase, `sub_key = "key"`, "sub_key = \"key\"\nname = \"a\"", 1)
	p := start(t, dir, nil, "-config", writeConfig(t, named))
	if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", "x"); !strings.HasPrefix(answer, "200 ") {
		t.Fatal(answer)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "does not declare") {
		t.Error(log)
	}
	p = start(t, dir, nil, "-config", writeConfig(t, strings.Replace(named, `"a"`, `"b"`, 1)+"\n[[consumer]]\nclient = \"crm\"\ntopic = \"/t\"\nname = \"a2\"\n"))
	if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "does not declare") {
		t.Error("renamed:", log)
	}
	before, _, _ := strings.Cut(reloadBase, "[[consumer]]")
	p = start(t, dir, nil, "-config", writeConfig(t, before))
	p.line(t, `does not declare this consumer.*"client":"crm","topic":"/t","name":"b","backlog":1,"command":"pipit consumer delete \d+ --file pipit.db, while the broker is stopped"`)
	p.stop(t, syscall.SIGTERM)
	cmd := program(t, dir, nil, "admin", "create", "ann", "--file", "pipit.db")
	cmd.Stdin = strings.NewReader("a long password\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	p = start(t, dir, nil, "-config", writeConfig(t, before))
	p.line(t, `does not declare this consumer.*"client":"crm","topic":"/t","name":"a2","backlog":0,"command":"pipit consumer delete \d+"`)
}

// What a client has made by itself outlives a start, whose file neither declares it nor has another consumer of the client
// and topic taken for it. The log tells who made and deleted it, never its sub_key.
func TestSubscriptionOutlivesStart(t *testing.T) {
	dir := t.TempDir()
	before, _, _ := strings.Cut(strings.Replace(reloadBase, `password = "crm"`, "password = \"crm\"\ncan_subscribe = \"/t\"", 1), "[[consumer]]")
	file := writeConfig(t, before)
	var p *process
	subscribe := func() string {
		t.Helper()
		return post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/subscribe//t/", "", "")
	}
	p = start(t, dir, nil, "-config", file)
	first := subscribe()
	_, subKey, _ := strings.Cut(strings.TrimSuffix(first, `"}`), `"sub_key": "`)
	p.line(t, `"msg":"audit","action":"consumer.create","object":"crm of /t","actor":"client crm","via":"protocol","remote":"127.0.0.1"`)
	if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", "x"); !strings.HasPrefix(answer, "200 ") {
		t.Fatal(answer)
	}
	p.cmd.Process.Kill()
	<-p.ended
	p.cmd.Wait()

	p = start(t, dir, nil, "-config", file)
	if again := subscribe(); again != first || len(subKey) != 28 {
		t.Errorf("%s after %s", again, first)
	}
	p.reload(t, file, before+"[[consumer]]\nclient = \"crm\"\ntopic = \"/t\"\nsub_key = \"declared\"\n", `"configuration loaded again"`)
	if again := subscribe(); again != first {
		t.Errorf("%s after %s, since one was declared", again, first)
	}
	if got := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/msg//t/", subKey, ""); !strings.HasPrefix(got, `200 {"status": "ZATO_OK", "results_count": 1`) {
		t.Error(got)
	}
	if got := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/msg//t/", "declared", ""); !strings.HasPrefix(got, `200 {"status": "ZATO_OK", "results_count": 0`) {
		t.Error(got)
	}
	p.reload(t, file, before, `(?s)("configuration loaded again".*){2}`)
	_, log := p.stop(t, syscall.SIGTERM)
	if strings.Contains(log, subKey) || strings.Count(log, "does not declare this consumer") != 1 {
		t.Error(log) // but of the one that was declared
	}
}

// A rotated sub_key is that of the next start, too.
func TestRotatedKeyOutlivesStart(t *testing.T) {
	dir := t.TempDir()
	file := writeConfig(t, reloadBase)
	start(t, dir, nil, "-config", file).stop(t, syscall.SIGTERM)
	out, err := program(t, dir, nil, "consumer", "rotate", "crm", "/t", "--yes", "--file", filepath.Join(dir, "pipit.db")).CombinedOutput()
	words := strings.Fields(string(out))
	if err != nil || len(words) == 0 {
		t.Fatalf("%v %s", err, out)
	}
	p := start(t, dir, nil, "-config", file)
	for key, want := range map[string]string{"key": "403 ", words[len(words)-1]: "200 "} {
		if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/msg//t/", key, ""); !strings.HasPrefix(answer, want) {
			t.Errorf("%s: %s", key, answer)
		}
	}
}

// Weak secrets that the file declares are warned about in a line for each kind, without the secrets.
func TestStartWarnsOfWeakSecrets(t *testing.T) {
	file := writeConfig(t, reloadBase+`
[[client]]
username = "erp"
password = "opensesame"
[[client]]
username = "web"
password = "a password that is long"
[[topic]]
name = "/u"
[[consumer]]
client = "web"
topic = "/u"
sub_key = "fifteen-letters"
[[consumer]]
client = "erp"
topic = "/u"
sub_key = "sixteen--letters"
`)
	p := start(t, t.TempDir(), nil, "-config", file)
	code, log := p.stop(t, syscall.SIGTERM)
	if code != 0 || strings.Contains(log, "opensesame") || strings.Contains(log, "-letters") {
		t.Errorf("exit code %d\n%s", code, log)
	}
	for _, line := range []string{
		`the passwords of 2 clients are weak: \"crm\", \"erp\"`,
		`the sub_keys of 2 consumers are weak: \"crm\" of topic \"/t\", \"web\" of topic \"/u\"`,
	} {
		if strings.Count(log, strings.ReplaceAll(line, `"`, `\"`)) != 1 && strings.Count(log, line) != 1 {
			t.Errorf("no line %s in\n%s", line, log)
		}
	}
	if n := strings.Count(log, "weak"); n != 2 {
		t.Errorf("%d lines of what is weak in\n%s", n, log)
	}
}
