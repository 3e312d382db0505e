package main

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
)

// Where answers come before the flush, everybody is told so, a stop loses nothing, and a kill what was answered last.
func TestSyncInterval(t *testing.T) {
	dir := t.TempDir()
	begin := func() *process {
		return start(t, dir, append([]string{"PIPIT_DATABASE_SYNC=interval", "PIPIT_DATABASE_SYNC_INTERVAL=1m"}, anyPort...), "-config", example(t))
	}
	publish := func(p *process, text string) {
		t.Helper()
		if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", text); !strings.HasPrefix(answer, "200 ") {
			t.Fatal(answer)
		}
	}
	waiting := func(p *process) string {
		t.Helper()
		return post(t, "http://erp:erp@"+p.addrs[0]+"/zato/pubsub/msg//customer/created/", exampleSubKey, "")
	}
	p := begin()
	p.line(t, "a power cut, a kill or a crash loses up to the last sync_interval")
	resp, err := client.Get("http://" + p.addrs[0] + "/health")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(string(body), "a crash loses up to 1m0s") {
		t.Errorf("health: %s %v", body, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	publish(p, "one")
	if code, log := p.stop(t, os.Interrupt); code != 0 {
		t.Fatal(code, log)
	}
	p = begin()
	publish(p, "two")
	if answer := waiting(p); !strings.Contains(answer, "one") || !strings.Contains(answer, "two") {
		t.Errorf("after a stop, and a publish: %s", answer)
	}
	p.stop(t, syscall.SIGKILL)
	p = begin()
	if answer := waiting(p); !strings.Contains(answer, "one") || strings.Contains(answer, "two") {
		t.Errorf("after a kill: %s", answer)
	}
}
