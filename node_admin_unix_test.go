//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// Administration reaches the leader by any node: it tells of all nodes, has another one lead and says so before it does, compares the copies, takes a node out, which comes
// again as a new one, and knows at each leader what was done at the one before.
func TestClusterAdmin(t *testing.T) {
	base, err := os.ReadFile(example(t))
	if err != nil {
		t.Fatal(err)
	}
	c := layTrio(t, strings.Replace(string(base), `file = "pipit.db"`, `file = "NODE.db"`, 1), direct)
	command := program(t, c.dir, nil, "admin", "create", "ada", "--database", "a.db", "--create")
	command.Stdin = strings.NewReader("a long password\n")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := program(t, c.dir, nil, "token", "create", "script", "--scope", "admin", "--database", "a.db").Output()
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(string(out))
	c.begin()
	c.whole("b")
	c.publish("c", 1)

	type status struct {
		Leader string
		Nodes  []struct {
			Node, Role string
			Contact    float64 `json:"contact_seconds"`
		}
		Digests map[string]string
	}
	call := func(node string, want int, method, path, body string) (s status) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.addrs[node]+"/admin/api/v1/cluster"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		rsp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(rsp.Body); err != nil || rsp.StatusCode != want {
			t.Fatalf("%s %s at %s: %d %s, want %d", method, path, node, rsp.StatusCode, text.String(), want)
		}
		if text.Len() > 0 {
			if err := json.Unmarshal(text.Bytes(), &s); err != nil {
				t.Fatalf("%v: %s", err, text.String())
			}
		}
		return s
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Transport: client.Transport}
	signIn, err := browser.PostForm("http://"+c.addrs["b"]+"/admin/login", url.Values{"name": {"ada"}, "password": {"a long password"}})
	if err != nil {
		t.Fatal(err)
	}
	signIn.Body.Close()
	page := func() (int, string) {
		t.Helper()
		rsp, err := browser.Get("http://" + c.addrs["b"] + "/admin/system/cluster")
		if err != nil {
			t.Fatal(err)
		}
		defer rsp.Body.Close()
		text, err := io.ReadAll(rsp.Body)
		if err != nil || rsp.Request.URL.Path != "/admin/system/cluster" {
			t.Errorf("it came to %s: %v", rsp.Request.URL, err)
		}
		return rsp.StatusCode, string(text)
	}
	if status, text := page(); status != 200 || !strings.Contains(text, `<span class="mono">a</span> leads in term`) {
		t.Fatalf("%d %s", status, text)
	}
	if s := call("b", 200, "GET", "", ""); s.Leader != "a" || len(s.Nodes) != 3 || s.Nodes[1].Role != "follower" || s.Nodes[2].Contact < 0 {
		t.Errorf("%+v", s)
	}
	call("c", 404, "POST", "/transfer", `{"node": "d"}`)
	call("c", 409, "DELETE", "/nodes/a", "")
	call("c", 422, "POST", "/nodes", `{"node": "d", "addr": "127.0.0.1:1"}`)
	call("c", 202, "POST", "/transfer", `{"node": "b"}`)
	for end := time.Now().Add(30 * time.Second); call("a", 200, "GET", "", "").Leader != "b"; time.Sleep(50 * time.Millisecond) { // lint:sleep other processes
		if time.Now().After(end) {
			t.Fatal("b does not lead")
		}
	}
	c.whole("a")
	if s := call("a", 200, "POST", "/verify", ""); len(s.Digests) != 3 || s.Digests["a"] == "" || s.Digests["a"] != s.Digests["b"] || s.Digests["b"] != s.Digests["c"] {
		t.Errorf("%+v", s.Digests)
	}
	if status, _ := page(); status != 200 {
		t.Errorf("who signed in before another node led is answered %d", status)
	}
	if err := c.transfer("a", "c"); err != nil {
		t.Error(err)
	}
	if leader := c.whole("c"); leader != "a" {
		t.Errorf("%s leads", leader)
	}
	if status, text := page(); status != 200 || !strings.Contains(text, `<span class="mono">a</span> leads in term`) {
		t.Errorf("%d %s", status, text)
	}
	call("a", 204, "DELETE", "/nodes/c", "")
	if s := call("a", 200, "GET", "", ""); len(s.Nodes) != 2 {
		t.Errorf("%+v", s)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+c.addrs["a"]+"/admin/api/v1/audit", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	rsp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	var trail bytes.Buffer
	if _, err := trail.ReadFrom(rsp.Body); err != nil {
		t.Fatal(err)
	}
	for _, action := range []string{"cluster.transfer", "cluster.leave", `"command line"`} {
		if !strings.Contains(trail.String(), action) {
			t.Errorf("the audit log has no %s: %s", action, trail.String())
		}
	}
}
