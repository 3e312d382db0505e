package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// metricsOf asks for metrics with a token or none, and returns the status and the body.
func metricsOf(t *testing.T, url, token string) (status int, challenge, body string) {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(b)
}

// Metrics are there for tokens where administrators are, with their prefix and without, and on addresses of their own for
// everybody.
func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	command := func(args ...string) string {
		t.Helper()
		cmd := program(t, dir, nil, append(args, "--database", filepath.Join(dir, "pipit.db"))...)
		cmd.Stdin = strings.NewReader("a long password\n")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", args, err, out)
		}
		return regexp.MustCompile(`pipit_[A-Za-z0-9_-]{20,}|$`).FindString(string(out))
	}
	command("admin", "create", "ann", "--create")
	token := command("token", "create", "prometheus", "--scope", "read")
	p := start(t, dir, append([]string{"PIPIT_ADMIN_PATH_PREFIX=/pipit", "PIPIT_METRICS_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	own := p.line(t, `"msg":"listening for Prometheus, which needs no token there","addr":"([^"]+)"`)[1]
	if answer := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "x"); !strings.HasPrefix(answer, "200 ") {
		t.Fatal(answer)
	}
	for _, ask := range []struct {
		url, token string
		status     int
	}{
		{p.addrs[0] + "/metrics", token, 200},
		{p.addrs[1] + "/pipit/metrics", token, 200},
		{own + "/metrics", "", 200},
		{own + "/metrics", "wrong", 200},
		{own + "/admin/", token, 404},
		{own + "/pipit/metrics", token, 404},
		{own + "/zato/ping", "", 404},
		{p.addrs[0] + "/metrics", "", 401},
		{p.addrs[0] + "/pipit/metrics", "wrong", 401},
		{p.addrs[0] + "/metrics/", token, 404},
		{p.addrs[0] + "/pipit/metrics/all", token, 404},
	} {
		status, challenge, body := metricsOf(t, "http://"+ask.url, ask.token)
		if status != ask.status || (challenge == `Bearer realm="Pipit"`) != (status == 401) ||
			strings.Contains(body, `pipit_messages_published_total{topic="/customer/created"} 1`+"\n") != (status == 200) || strings.Contains(body, exampleSubKey) {
			t.Errorf("%s: %d, %s:\n%s", ask.url, status, challenge, body)
		}
	}
	for host, status := range map[string]string{"evil.example:80": "421", "localhost:80": "200", "127.0.0.1": "200"} {
		req := httptest.NewRequest("GET", "http://"+own+"/metrics", nil)
		req.Host = host
		if resp, err := client.Transport.RoundTrip(req); err != nil || resp.Status[:3] != status {
			t.Error(host, err, resp.Status)
		} else {
			resp.Body.Close()
		}
	}
	for _, path := range []string{"%2Fcustomer%2Fcreated", "-?name=/customer/created", "%2Fcustomer%2Fcreated", "%2Fnone"} { // which are one route
		metricsOf(t, "http://"+p.addrs[0]+"/admin/api/v1/topics/"+path, token)
	}
	_, _, body := metricsOf(t, "http://"+own+"/metrics", "")
	for _, want := range []string{
		`pipit_build_info{goversion="go`, "\npipit_commit_messages_sum 1\n", "\npipit_healthy 1\n", "\npipit_connections ", "\npipit_log_flush_duration_seconds_count ",
		"\n" + `pipit_http_requests_total{code="200",method="POST",route="/zato/pubsub/topic/*rest"} 1` + "\n",
		"\n" + `pipit_http_requests_total{code="200",method="GET",route="/metrics"} 2` + "\n",
		"\n" + `pipit_http_requests_total{code="401",method="GET",route="/metrics"} 2` + "\n",
		"\n" + `pipit_http_requests_total{code="200",method="GET",route="/admin/api/v1/topics/:name"} 3` + "\n",
		"\n" + `pipit_http_requests_total{code="404",method="GET",route="other"} 2` + "\n",
		"\n" + `pipit_http_request_duration_seconds_count{code="404",method="GET",route="/admin/api/v1/topics/:name"} 1` + "\n",
		"\n" + `pipit_queue_messages{client="erp",state="ready",topic="/customer/created"} 1` + "\n",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %s in\n%s", want, body)
		}
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "without a token") || strings.Contains(log, token) {
		t.Error(code, log)
	}
}

// Where nobody guards them and no address is named there are none; nor where they are switched off.
func TestMetricsOff(t *testing.T) {
	for _, env := range [][]string{{"PIPIT_ADMIN_ENABLED=false"}, {"PIPIT_METRICS_ENABLED=false", "PIPIT_METRICS_LISTEN=127.0.0.1:0"}} {
		p := start(t, t.TempDir(), append(env, anyPort...), "-config", example(t))
		if status, _, body := metricsOf(t, "http://"+p.addrs[0]+"/metrics", ""); status != 404 {
			t.Error(env, status, body)
		}
		if _, log := p.stop(t, syscall.SIGTERM); strings.Contains(log, "Prometheus") {
			t.Error(env, log)
		}
	}
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_ENABLED=false", "PIPIT_METRICS_LISTEN=:0"}, anyPort...), "-config", example(t))
	p.line(t, `"other machines can reach this address and read the metrics, names of topics and clients among them, without a token`)
	p.stop(t, syscall.SIGTERM)
}
