package main

import (
	"archive/zip"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The bundle has what helps to find a fault, for a token of scope write, and no secret of those that are marked in every place.
func TestDebug(t *testing.T) {
	const marked = "Marked-4f81c2d7e6"
	dir := t.TempDir()
	db := filepath.Join(dir, "pipit.db")
	config := writeConfig(t, `
[admin]
debug = true
[http]
listen = ["127.0.0.1:0"]
[log]
access = true
level = "debug"
[[client]]
username = "crm"
password = "`+marked+`-password"
[[topic]]
name = "/t"
[[producer]]
client = "crm"
topic = "/t"
[[consumer]]
client = "crm"
topic = "/t"
sub_key = "`+marked+`-sub-key"
[[consumer]]
client = "crm"
topic = "/t"
name = "called"
delivery_mode = "callback-url"
callback_url = "http://127.0.0.1:1/`+marked+`-url"
callback_headers = {Authorization = "`+marked+`-header"}
callback_secret = "whsec_`+strings.Repeat("TWFya2Vk", 5)+`"
[[webhook]]
name = "shop"
topic = "/t"
client = "crm"
verify = "token"
secret = "`+marked+`-webhook"
`)
	command := func(args ...string) string {
		t.Helper()
		cmd := program(t, dir, nil, args...)
		cmd.Stdin = strings.NewReader("correct horse battery\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	start(t, dir, nil, "-config", config).stop(t, syscall.SIGTERM)
	command("admin", "create", "ada", "--file", db)
	tokens := map[string]string{}
	for _, scope := range []string{"read", "write"} {
		out := command("token", "create", scope, "--scope", scope, "--file", db)
		i := strings.Index(out, "pipit_")
		if i < 0 {
			t.Fatal(out)
		}
		tokens[scope] = strings.Fields(out[i:])[0]
	}
	p := start(t, dir, nil, "-config", config)
	base := "http://" + p.addrs[0]
	post(t, "http://crm:"+marked+"-password@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", marked+"-payload")
	post(t, "http://crm:"+marked+"-wrong@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", marked+"-payload")
	post(t, "http://crm:"+marked+"-password@"+p.addrs[0]+"/zato/pubsub/msg//t/", marked+"-wrong-key", "")
	post(t, base+"/hook/shop", "", marked+"-payload")
	ask := func(path, token string) (int, []byte) {
		t.Helper()
		r, _ := http.NewRequest("GET", base+"/admin/api/v1/"+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body
	}
	for path, want := range map[string]int{"debug": 403, "debug/pprof/heap": 403} {
		if status, body := ask(path, tokens["read"]); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	for path, want := range map[string]int{"debug/pprof/heap": 200, "debug/pprof/profile?seconds=1": 200, "debug/pprof/profile?seconds=61": 422, "debug/pprof/cmdline": 404} {
		if status, body := ask(path, tokens["write"]); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	file := filepath.Join(dir, "bundle.zip")
	cmd := program(t, dir, []string{"PIPIT_TOKEN=" + tokens["write"]}, "debug", file, "--server", base)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := program(t, dir, []string{"PIPIT_TOKEN=" + tokens["write"]}, "debug", file, "--server", base).CombinedOutput(); err == nil {
		t.Errorf("a file that is there is written over: %s", out)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"system.json": `"name":"http.listen"`, "stats.json": `"attention"`, "database.json": `"problems":[]`, "log.jsonl": `"msg":"refused"`, "goroutines.txt": "goroutine ", "build.txt": "path\t"} {
		f, err := archive.Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := io.ReadAll(f)
		if err != nil || !strings.Contains(strings.ReplaceAll(string(text), `": `, `":`), want) {
			t.Errorf("%s: %v, no %s in %.600s", name, err, want, text)
		}
		for _, secret := range []string{marked, "TWFya2Vk", tokens["read"], tokens["write"], "setup?key="} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s has %s", name, secret)
			}
		}
	}
	p.line(t, `"msg":"audit","action":"debug.load"`)
	p.line(t, `"msg":"audit","action":"debug.profile","object":"heap"`)
}

// It is off where nobody has switched it on.
func TestDebugOff(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, anyPort)
	p.stop(t, syscall.SIGTERM)
	out, err := program(t, dir, nil, "debug", "--file", filepath.Join(dir, "pipit.db")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Debugging is off: debug = true in [admin]") {
		t.Errorf("%v %s", err, out)
	}
}
