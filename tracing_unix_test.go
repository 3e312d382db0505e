//go:build unix

package main

import (
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pipit/tracing/tracingtest"
)

// A trace as a client has begun it, and its span.
const (
	theirTrace, theirSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	sampled, notSampled   = "00-" + theirTrace + "-" + theirSpan + "-01", "00-5bf92f3577b34da6a3ce929d0e0e4736-" + theirSpan + "-00"
)

// wire sends a request of the wire protocol, and returns the reply.
func wire(t *testing.T, method, url, key, body string, header ...string) string {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("X-Zato-PubSub-Key", key)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
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
	return resp.Status[:4] + string(b)
}

// pushed are the headers of calls that came to the receiver of a consumer.
func pushed(t *testing.T) (url string, came chan http.Header) {
	came = make(chan http.Header, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { came <- r.Header }))
	t.Cleanup(srv.Close)
	return srv.URL, came
}

// pushEnv has a second consumer sent what is published.
func pushEnv(url string) []string {
	return []string{"PIPIT_CONSUMER_1_CLIENT=erp", "PIPIT_CONSUMER_1_TOPIC=/customer/created", "PIPIT_CONSUMER_1_NAME=push", "PIPIT_CONSUMER_1_DELIVERY_MODE=callback-url",
		"PIPIT_CONSUMER_1_CALLBACK_FORMAT=raw", "PIPIT_CONSUMER_1_CALLBACK_URL=" + url + "/of/s3cret?token=s3cret"}
}

// spansOf are the spans of a name, in the order that they came.
func spansOf(c *tracingtest.Collector, name string) (list []tracingtest.Span) {
	for _, s := range c.Spans() {
		if s.Name == name {
			list = append(list, s)
		}
	}
	return list
}

// The way of messages from their publish to their acknowledgement and to the receiver of their call is told to a collector, before the
// program ends at the latest, and without a secret.
func TestTraces(t *testing.T) {
	collector := tracingtest.New(t, nil)
	url, came := pushed(t)
	dir := t.TempDir()
	headers := filepath.Join(dir, "headers")
	if err := os.WriteFile(headers, []byte("Authorization=Bearer s3cret-of-the-collector\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := slices.Concat(anyPort, pushEnv(url), []string{"PIPIT_TRACING_ENDPOINT=" + collector.URL, "PIPIT_TRACING_SERVICE_NAME=orders", "PIPIT_TRACING_HEADERS_FILE=" + headers,
		"OTEL_RESOURCE_ATTRIBUTES=k8s.pod.name=pipit-0", "PIPIT_LOG_ACCESS=true"})
	p := start(t, dir, env, "-config", example(t))
	topic, queue := "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "http://erp:erp@"+p.addrs[0]+"/zato/pubsub/msg//customer/created/"

	// Of two messages one has a trace already, and a third one is not to be recorded.
	for _, header := range [][]string{nil, {"traceparent", sampled, "tracestate", "vendor=1"}, {"traceparent", notSampled}} {
		if a := wire(t, "POST", topic, "", "the payload", header...); !strings.HasPrefix(a, "200 ") {
			t.Fatal(a)
		}
	}
	calls := []http.Header{<-came, <-came, <-came}
	var got struct {
		Results []struct {
			Metadata struct {
				ID         string `json:"msg_id"`
				Attributes map[string]string
			}
		}
	}
	answer := wire(t, "POST", queue+"?max=10", exampleSubKey, "", "traceparent", sampled)
	if err := json.Unmarshal([]byte(answer[4:]), &got); err != nil || len(got.Results) != 3 {
		t.Fatal(answer, err)
	}
	own := got.Results[0].Metadata
	base := "http://erp:erp@" + p.addrs[0] + "/zato/pubsub/msg/"
	for _, m := range got.Results[:2] {
		if a := wire(t, "DELETE", base+m.Metadata.ID+"/?ack=true", exampleSubKey, ""); !strings.HasPrefix(a, "200 ") {
			t.Error(a)
		}
	}
	if a := wire(t, "DELETE", base+"none/?ack=true", exampleSubKey, "", "traceparent", notSampled); !strings.HasPrefix(a, "404 ") {
		t.Error(a)
	}
	if a := wire(t, "DELETE", base+"none/?ack=true", exampleSubKey, ""); !strings.HasPrefix(a, "404 ") {
		t.Error(a)
	}
	wire(t, "GET", "http://"+p.addrs[0]+"/health", "", "")
	code, log := p.stop(t, syscall.SIGTERM)
	if code != 0 || strings.Contains(log, "s3cret") {
		t.Error(code, log)
	}

	names := map[string]int{}
	for _, s := range collector.Spans() {
		names[s.Name]++
	}
	want := map[string]int{"POST /zato/pubsub/topic/*rest": 2, "send /customer/created": 2, "process /customer/created": 2, "POST /zato/pubsub/msg/*rest": 1,
		"receive /customer/created": 1, "DELETE /zato/pubsub/msg/*rest": 3, "settle /customer/created": 3}
	if !maps.Equal(names, want) {
		t.Fatalf("got %v, want %v", names, want)
	}
	served, sent := spansOf(collector, "POST /zato/pubsub/topic/*rest"), spansOf(collector, "send /customer/created")
	for i := range sent {
		if sent[i].Parent != served[i].ID || sent[i].Trace != served[i].Trace || sent[i].Kind != "SPAN_KIND_PRODUCER" || served[i].Kind != "SPAN_KIND_SERVER" {
			t.Errorf("%+v in %+v", sent[i], served[i])
		}
	}
	if served[0].Parent != "" || served[1].Parent != theirSpan || served[1].Trace != theirTrace || served[1].State != "vendor=1" {
		t.Errorf("%+v", served)
	}
	for key, value := range map[string]string{"http.request.method": "POST", "http.route": "/zato/pubsub/topic/*rest", "http.response.status_code": "200", "url.scheme": "http"} {
		if served[0].Attrs[key] != value {
			t.Errorf("%s: %q", key, served[0].Attrs[key])
		}
	}
	if cid := served[0].Attrs["pipit.cid"]; cid == "" || !strings.Contains(log, cid) {
		t.Errorf("cid %q is not in the log", cid)
	}
	for key, value := range map[string]string{"messaging.system": "pipit", "messaging.destination.name": "/customer/created", "messaging.operation.type": "send", "messaging.operation.name": "send",
		"messaging.message.id": own.ID, "messaging.message.body.size": "11"} {
		if sent[0].Attrs[key] != value {
			t.Errorf("%s: %q", key, sent[0].Attrs[key])
		}
	}

	// The span of the publish is what a message without a trace is of; one that came with its own keeps that.
	if tp := "00-" + sent[0].Trace + "-" + sent[0].ID + "-01"; own.Attributes["traceparent"] != tp {
		t.Errorf("%q, want %s", own.Attributes, tp)
	}
	if a := got.Results[1].Metadata.Attributes; a["traceparent"] != sampled || a["tracestate"] != "vendor=1" {
		t.Error(a)
	}
	received := spansOf(collector, "receive /customer/created")[0]
	links := []string{sent[0].Trace + "/" + sent[0].ID, theirTrace + "/" + theirSpan, notSampled[3:35] + "/" + theirSpan}
	if !slices.Equal(received.Links, links) || received.Kind != "SPAN_KIND_CONSUMER" || received.Trace != theirTrace || received.Attrs["messaging.batch.message_count"] != "3" ||
		received.Parent != spansOf(collector, "POST /zato/pubsub/msg/*rest")[0].ID {
		t.Errorf("%+v, want links %q", received, links)
	}
	for i, s := range spansOf(collector, "settle /customer/created") {
		if class := s.Attrs["error.type"]; s.Error != (i == 2) || (class == "NotFound") != s.Error || s.Attrs["messaging.operation.type"] != "settle" {
			t.Errorf("%d: %+v", i, s)
		}
	}

	// A receiver of calls is told the span of the call, which is a child of the publish.
	processed := spansOf(collector, "process /customer/created")
	for i, parent := range []string{sent[0].ID, theirSpan} {
		s := processed[i]
		if s.Parent != parent || s.Kind != "SPAN_KIND_CLIENT" || s.Attrs["http.response.status_code"] != "200" || s.Attrs["server.address"] != "127.0.0.1" || s.Attrs["server.port"] == "" {
			t.Errorf("%+v", s)
		}
		if h := calls[i]; h.Get("Traceparent") != "00-"+s.Trace+"-"+s.ID+"-01" {
			t.Errorf("%q is not of %+v", h, s)
		}
	}
	if calls[1].Get("Tracestate") != "vendor=1" || calls[2].Get("Traceparent") != notSampled {
		t.Errorf("%q\n%q", calls[1], calls[2])
	}

	about := collector.About()
	if about["service.name"] != "orders" || about["service.version"] != version || about["k8s.pod.name"] != "pipit-0" {
		t.Errorf("%q", about)
	}
	for _, h := range collector.Headers() {
		if h.Get("Authorization") != "Bearer s3cret-of-the-collector" {
			t.Errorf("%q", h)
		}
	}
	for _, secret := range []string{"the payload", exampleSubKey, "s3cret", "crm"} {
		if strings.Contains(collector.Raw(), secret) {
			t.Errorf("%q is in a span", secret)
		}
	}
}

// A reload changes how much is sampled. Where nothing is, messages stay as they are.
func TestTracesReload(t *testing.T) {
	collector := tracingtest.New(t, nil)
	file := writeConfig(t, reloadBase+"[tracing]\nendpoint = \""+collector.URL+"\"\nsample = 0\n")
	p := start(t, t.TempDir(), anyPort, "-config", file)
	publish := func() {
		if a := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//t/", "", "x"); !strings.HasPrefix(a, "200 ") {
			t.Fatal(a)
		}
	}
	publish()
	p.reload(t, file, reloadBase+"[tracing]\nendpoint = \"http://127.0.0.1:1\"\nsample = 1\n", `"keys":\["tracing.endpoint"\]`)
	publish()
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || !strings.Contains(log, "tracing.sample") {
		t.Error(code, log)
	}
	if sent := spansOf(collector, "send /t"); len(sent) != 1 {
		t.Errorf("%+v", collector.Spans())
	}
}

// Without an endpoint nothing is sent, whatever else the environment names, and messages get no trace.
func TestTracesOff(t *testing.T) {
	collector := tracingtest.New(t, nil)
	url, came := pushed(t)
	env := slices.Concat(anyPort, pushEnv(url), []string{"PIPIT_TRACING_SAMPLE=1", "OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_TRACES_SAMPLER=always_on"})
	p := start(t, t.TempDir(), env, "-config", example(t))
	if a := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "x"); !strings.HasPrefix(a, "200 ") {
		t.Fatal(a)
	}
	if h := <-came; h.Get("Traceparent") != "" {
		t.Errorf("%q", h)
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "traces") {
		t.Error(code, log)
	}
	if spans := collector.Spans(); len(spans) != 0 {
		t.Errorf("%+v", spans)
	}
}

// A collector that takes connections and answers nothing holds up neither a publish nor the end of the program, and is told of once.
func TestTracesCollectorHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := start(t, t.TempDir(), append([]string{"PIPIT_TRACING_ENDPOINT=http://" + l.Addr().String()}, anyPort...), "-config", example(t))
	for range 50 {
		if a := post(t, "http://crm:crm@"+p.addrs[0]+"/zato/pubsub/topic//customer/created/", "", "x"); !strings.HasPrefix(a, "200 ") {
			t.Fatal(a)
		}
	}
	code, log := p.stop(t, syscall.SIGTERM)
	if code != 0 || strings.Count(log, "spans of traces are dropped") != 1 || !strings.Contains(log, `"spans":100,"err":"the collector has not taken them before the stop"`) {
		t.Error(code, log)
	}
}
