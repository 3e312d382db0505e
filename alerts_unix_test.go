//go:build unix

package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// TestAlerts: a running server tells what begins to need attention by its configuration, also after a reload, and its end; what is
// secret of the URL is in no line of the log.
func TestAlerts(t *testing.T) {
	t.Parallel()
	type alert struct {
		Status, GeneratorURL string
		Labels               map[string]string
	}
	posts := make(chan []alert, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Alerts []alert }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.URL.Path != "/s3cret" {
			t.Errorf("%v: %s", err, r.URL)
		}
		posts <- body.Alerts
	}))
	defer hook.Close()
	config := func(full string) string {
		return strings.Replace(reloadBase, `name = "/t"`, "name = \"/t\"\nmax_depth = 10", 1) +
			"[attention]\ndisk_percent = 0\ndisk_free = 0\nfull = " + full + "\n[alerts]\nurl = \"" + hook.URL + "/s3cret\"\nwait = \"0s\"\ninterval = \"10s\"\nmute = [\"consumer_away\"]\n"
	}
	want := func(status, name string) {
		t.Helper()
		list := <-posts
		if len(list) != 1 || list[0].Status != status || list[0].Labels["alertname"] != name || list[0].Labels["topic"] != "/t" || !strings.HasPrefix(list[0].GeneratorURL, "http://127.0.0.1:") {
			t.Errorf("%+v, want %s %s", list, status, name)
		}
	}
	file := writeConfig(t, config("80"))
	p := start(t, t.TempDir(), nil, "-config", file)
	for range 2 {
		if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", "x"); !strings.HasPrefix(answer, "200 ") {
			t.Fatal(answer)
		}
	}
	p.reload(t, file, config("20"), `"changed":\["attention.full"\]`)
	want("firing", "topic_full")
	p.reload(t, file, config("90"), `(?s)("changed":\["attention.full"\].*){2}`)
	want("resolved", "topic_full")
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "s3cret") {
		t.Errorf("exit code %d\n%s", code, log)
	}
}
