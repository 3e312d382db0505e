package metrics_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
	"pipit/db"
	"pipit/httpapi"
	"pipit/httpapi/callback"
	"pipit/metrics"
)

// quiet is where the lines of logs go.
var quiet = slog.New(slog.DiscardHandler)

// rig is a broker with its wire protocol, and all that is told of both.
type rig struct {
	testing.TB
	*broker.Broker
	*metrics.Metrics
	file string
	base string // URL of the wire protocol
}

func newRig(t testing.TB, o metrics.Options) *rig {
	r := &rig{TB: t, Metrics: metrics.New(o), file: filepath.Join(t.TempDir(), "pipit.db")}
	store, err := db.Open(r.file, db.Options{Logger: quiet, Flushed: r.Flushed, Checkpointed: r.Checkpointed})
	if err != nil {
		t.Fatal(err)
	}
	if r.Broker, err = broker.Open(store, broker.Options{Committed: r.Committed, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Broker.Close() })
	r.define(broker.Definition{Clients: []broker.Client{{Username: "crm", Password: "crm"}, {Username: "erp", Password: "erp"}}})
	return r
}

// serve serves the wire protocol and sends messages.
func (r *rig) serve() {
	calls, err := callback.New(r.Broker, callback.Options{Logger: quiet})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = calls.Stop() })
	srv := httptest.NewServer(httpapi.New(r.Broker, httpapi.Options{Answered: r.Answered, Logger: quiet}))
	r.Cleanup(srv.Close)
	r.base = srv.URL
	r.Read(metrics.Sources{Broker: r.Broker, Callbacks: calls, Connections: func() int64 { return 7 }})
}

func (r *rig) define(d broker.Definition) {
	r.Helper()
	if _, err := r.Change(context.Background(), broker.Change{Define: d}); err != nil {
		r.Fatal(err)
	}
}

func consumer(topic, client, key string) broker.Consumer {
	c := broker.ConsumerFields.New()
	c.Topic, c.Client, c.SubKey = topic, client, key
	return c
}

// ask sends a request of the wire protocol, and returns what is answered.
func (r *rig) ask(method, path, user, key, body string) (status int, answer, cid string) {
	r.Helper()
	req, err := http.NewRequest(method, r.base+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	req.SetBasicAuth(user, user)
	if key != "" {
		req.Header.Set("X-Zato-PubSub-Key", key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header.Get("X-Zato-CID")
}

// scrape returns the reply to a request for a format.
func (r *rig) scrape(accept string) *http.Response {
	req := httptest.NewRequest("GET", metrics.Path, nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	r.Metrics.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		r.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Result()
}

// series returns the values of all series, as they are written in text.
func (r *rig) series() map[string]float64 {
	text, err := io.ReadAll(r.scrape("").Body)
	if err != nil {
		r.Fatal(err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		at := strings.LastIndexByte(line, ' ')
		if line[0] == '#' {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		if err != nil {
			r.Fatal(line, err)
		}
		if _, twice := all[line[:at]]; twice {
			r.Error("twice: ", line)
		}
		all[line[:at]] = v
	}
	return all
}

// has compares series with what they should be.
func (r *rig) has(want map[string]float64) {
	r.Helper()
	got := r.series()
	for name, v := range want {
		if is, ok := got[name]; !ok || is != v {
			r.Errorf("%s is %v, %t; want %v", name, is, ok, v)
		}
	}
}

var idOf = regexp.MustCompile(`"msg_id": "(\w+)"`)

// What is counted of one message after another is what was done to them.
func TestCounts(t *testing.T) {
	r := newRig(t, metrics.Options{Version: "1.2.3", PerObjectLimit: 10})
	answer := make(chan int, 2)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(<-answer) }))
	t.Cleanup(receiver.Close)
	erp, sent := consumer("/a", "erp", "erp-secret-sub-key"), consumer("/b", "erp", "")
	erp.MaxDeliveries = 3
	sent.DeliveryMode, sent.CallbackURL, sent.CallbackRetry = broker.DeliveryCallback, receiver.URL, property.DurationsOf(10*time.Millisecond)
	last := consumer("/a", "crm", "crm-secret-sub-key")
	last.DeadLetterTopic = "/dead"
	r.define(broker.Definition{
		Topics:    []broker.Topic{{Name: "/a"}, {Name: "/b"}, {Name: "/dead"}},
		Producers: []broker.Producer{{Client: "crm", Topic: "/a"}, {Client: "crm", Topic: "/b"}},
		Consumers: []broker.Consumer{erp, sent, last},
	})
	r.serve()
	publish := func(query string) {
		if status, body, _ := r.ask("POST", "/zato/pubsub/topic//a"+query, "crm", "", "x"); status != 200 {
			t.Fatal(status, body)
		}
	}
	take := func(user, key string) string {
		_, body, _ := r.ask("POST", "/zato/pubsub/msg//a?max=1", user, key, "")
		return idOf.FindStringSubmatch(body)[1]
	}
	settle := func(user, key, id, how string) {
		if status, body, _ := r.ask("DELETE", "/zato/pubsub/msg/"+id+"?"+how, user, key, ""); status != 200 {
			t.Fatal(status, body)
		}
	}
	for range 3 {
		publish("")
	}
	publish("?delay=1000")
	of := func(name, client string) string { return fmt.Sprintf(`pipit_%s{client=%q,topic="/a"}`, name, client) }
	state := func(client, state string) string {
		return fmt.Sprintf(`pipit_queue_messages{client=%q,state=%q,topic="/a"}`, client, state)
	}
	r.has(map[string]float64{
		`pipit_messages_published_total{topic="/a"}`: 4, `pipit_messages_published_total{topic="/dead"}`: 0,
		`pipit_topic_messages{state="stored",topic="/a"}`: 3, `pipit_topic_messages{state="delayed",topic="/a"}`: 1,
		state("erp", "ready"): 3, state("erp", "in_flight"): 0, state("erp", "delayed"): 1, state("erp", "failed"): 0,
		"pipit_topics": 3, "pipit_consumers": 3, "pipit_connections": 7, "pipit_healthy": 1,
	})

	settle("erp", erp.SubKey, take("erp", erp.SubKey), "ack=true")
	second := take("erp", erp.SubKey)
	settle("erp", erp.SubKey, second, "reject=true")
	if again := take("erp", erp.SubKey); again != second {
		t.Fatal(again, second)
	}
	settle("erp", erp.SubKey, second, "reject=true&delay=1000")
	settle("erp", erp.SubKey, take("erp", erp.SubKey), "reject=true&dead_letter=true")
	settle("crm", last.SubKey, take("crm", last.SubKey), "reject=true&dead_letter=true")
	take("crm", last.SubKey)
	r.has(map[string]float64{
		of("messages_delivered_total", "erp"): 4, of("messages_acked_total", "erp"): 1, of("messages_rejected_total", "erp"): 3,
		of("messages_redelivered_total", "erp"): 1, of("messages_expired_total", "erp"): 0, of("messages_dropped_total", "erp"): 1,
		of("messages_dead_lettered_total", "erp"): 0, of("messages_dead_lettered_total", "crm"): 1, of("messages_rejected_total", "crm"): 1,
		state("erp", "ready"): 0, state("erp", "delayed"): 2, state("crm", "in_flight"): 1, state("crm", "ready"): 1,
		`pipit_http_requests_total{code="200",method="POST",route="/zato/pubsub/topic/*rest"}`:                 4,
		`pipit_http_request_duration_seconds_count{code="200",method="DELETE",route="/zato/pubsub/msg/*rest"}`: 5,
	})
	if age := r.series()[of("queue_oldest_age_seconds", "erp")]; age <= 0 || age > 60 {
		t.Error("the oldest message is of the age", age)
	}

	answer <- http.StatusTeapot
	answer <- http.StatusOK
	if status, body, _ := r.ask("POST", "/zato/pubsub/topic//b", "crm", "", "x"); status != 200 {
		t.Fatal(status, body)
	}
	outcome := func(o string) string { return fmt.Sprintf(`pipit_callback_attempts_total{client="erp",outcome=%q}`, o) }
	for r.series()[`pipit_messages_acked_total{client="erp",topic="/b"}`] == 0 {
		time.Sleep(time.Millisecond) // lint:sleep another process's answer would be no other
	}
	r.has(map[string]float64{outcome("success"): 1, outcome("refused"): 1, outcome("failed"): 0})

	got := r.series()
	for name, least := range map[string]float64{
		"pipit_commit_duration_seconds_count": 5, "pipit_commit_messages_sum": 6, "pipit_log_flush_duration_seconds_count": 5, "pipit_database_size_bytes": 4096,
		"pipit_log_bytes": 4096, "pipit_log_used_bytes": 512, "pipit_disk_size_bytes": 1, "go_goroutines": 1,
	} {
		if got[name] < least {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	for name := range got {
		if strings.Contains(name, "sub-key") {
			t.Error("a sub_key is shown:", name)
		}
		if strings.HasPrefix(name, "pipit_build_info") && (!strings.Contains(name, `version="1.2.3"`) || got[name] != 1) {
			t.Error(name, got[name])
		}
	}
}

// What nobody has a route for, and methods that nobody has heard of, make no series of their own.
func TestRequestsAreBounded(t *testing.T) {
	r := newRig(t, metrics.Options{})
	r.serve()
	for i := range 20 {
		r.ask("GET", fmt.Sprint("/no/such/", i), "crm", "", "")
		r.ask(fmt.Sprint("BREW", i), "/health", "crm", "", "")
		r.ask("POST", fmt.Sprint("/zato/pubsub/topic//no/", i), "crm", "", "x")
	}
	r.ask("HEAD", "/health", "crm", "", "")
	got := map[string]float64{}
	for name, v := range r.series() {
		if strings.HasPrefix(name, "pipit_http_requests_total{") {
			got[name] = v
		}
	}
	want := map[string]float64{
		`pipit_http_requests_total{code="404",method="GET",route="other"}`:                     20,
		`pipit_http_requests_total{code="405",method="other",route="other"}`:                   20,
		`pipit_http_requests_total{code="403",method="POST",route="/zato/pubsub/topic/*rest"}`: 20,
		`pipit_http_requests_total{code="200",method="HEAD",route="/health"}`:                  1,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

// OpenMetrics names a request, by the ID that its reply had; protocol buffers have native histograms.
func TestExemplars(t *testing.T) {
	r := newRig(t, metrics.Options{})
	r.serve()
	_, _, cid := r.ask("GET", "/health", "crm", "", "")
	const wanted = "application/openmetrics-text; version=1.0.0"
	resp := r.scrape(wanted)
	text, _ := io.ReadAll(resp.Body)
	line := regexp.MustCompile(`(?m)^pipit_http_request_duration_seconds_bucket\{code="200",method="GET",route="/health",le="[^"]+"\} 1 # \{request_id="` + cid + `"\} `)
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), wanted) || !line.Match(text) || !strings.HasSuffix(string(text), "# EOF\n") {
		t.Errorf("%s without the exemplar %s:\n%s", resp.Header.Get("Content-Type"), cid, text)
	}
	if !regexp.MustCompile(`(?m)^pipit_messages_published_total|^# TYPE pipit_http_requests counter$`).Match(text) {
		t.Error("no counters")
	}

	native := map[string]bool{}
	for _, f := range r.families() {
		for _, m := range f.Metric {
			if h := m.Histogram; h != nil && strings.HasPrefix(f.GetName(), "pipit_") {
				native[f.GetName()] = h.Schema != nil && len(h.Bucket) > 0
			}
		}
	}
	for _, name := range []string{"pipit_http_request_duration_seconds", "pipit_commit_duration_seconds", "pipit_commit_messages", "pipit_log_flush_duration_seconds", "pipit_checkpoint_duration_seconds"} {
		if !native[name] {
			t.Errorf("%s is not both native and classic: %v", name, native)
		}
	}
}

// sum adds up the series of a metric.
func sum(series map[string]float64, metric string) (total float64, of []string) {
	for name, v := range series {
		if strings.HasPrefix(name, metric+"{") {
			total += v
			of = append(of, name)
		}
	}
	slices.Sort(of)
	return total, of
}

// Beyond the limit objects are summed. Who has series keeps them, and no sum ever falls, whatever becomes of the objects.
func TestPerObjectLimit(t *testing.T) {
	r := newRig(t, metrics.Options{PerObjectLimit: 2})
	r.Read(metrics.Sources{Broker: r.Broker})
	var d broker.Definition
	topics := []string{"/a", "/b", "/c", "/d"}
	for _, topic := range topics {
		d.Topics = append(d.Topics, broker.Topic{Name: topic})
		for _, client := range []string{"crm", "erp"} { // two of each, that share a series
			for _, name := range []string{"1", "2"} {
				c := consumer(topic, client, strings.Trim(topic, "/")+client+name)
				c.Name = name
				d.Consumers = append(d.Consumers, c)
			}
		}
	}
	r.define(d)
	publish := func(topic string) {
		t.Helper()
		if _, err := r.Broker.Publish(context.Background(), topic, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	receive := func(topic string) {
		t.Helper()
		for _, client := range []string{"crm", "erp"} {
			for _, name := range []string{"1", "2"} {
				q, err := r.Broker.Queue(client, topic, name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := q.Receive(context.Background(), broker.ReceiveOptions{Max: 100, Ack: true}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	remove := func(ref change.Ref) {
		t.Helper()
		if _, err := r.Change(context.Background(), broker.Change{Delete: []change.Ref{ref}}); err != nil {
			t.Fatal(err)
		}
	}
	acked := func(topic, client string) string {
		return fmt.Sprintf("pipit_messages_acked_total{client=%q,topic=%q}", client, topic)
	}
	for i, topic := range topics {
		for range 1 + i {
			publish(topic)
		}
		receive(topic)
	}
	published := func(topic string) string { return fmt.Sprintf("pipit_messages_published_total{topic=%q}", topic) }
	before := r.series()
	r.has(map[string]float64{published("/a"): 1, published("/b"): 2, published("other/"): 7,
		acked("/a", "crm"): 2, acked("/a", "erp"): 2, acked("other/", "other:"): 4 * (2 + 3 + 4)})
	for _, metric := range []string{"pipit_messages_published_total", "pipit_topic_messages", "pipit_queue_messages", "pipit_queue_oldest_age_seconds", "pipit_messages_dropped_total"} {
		most := map[bool]int{true: 3 * 4, false: 3}[metric == "pipit_queue_messages"]
		if _, of := sum(before, metric); len(of) > most && metric != "pipit_topic_messages" || len(of) == 0 {
			t.Errorf("series of %s: %q", metric, of)
		}
	}

	// One of two goes: what they had together stays.
	for _, c := range r.Consumers() {
		if c.Topic == "/a" && c.Client == "crm" && c.Name == "1" {
			remove(change.Ref{Kind: change.Consumer, ID: c.ID})
		}
	}
	// Two topics go, one that has series and one that has none: then another gets them, and counts from there on.
	remove(change.Ref{Kind: change.Topic, Name: "/a"})
	remove(change.Ref{Kind: change.Topic, Name: "/d"})
	now := r.series()
	if _, has := now[published("/a")]; has || now[published("/b")] != 2 || now[published("/c")] != 0 || now[published("other/")] != 7 {
		_, of := sum(now, "pipit_messages_published_total")
		t.Error(of, now[published("/b")], now[published("/c")], now[published("other/")])
	}
	publish("/c")
	publish("/b")
	r.has(map[string]float64{published("/b"): 3, published("/c"): 1, published("other/"): 7})

	// Less and more of them: what was there goes on, and none is told twice.
	r.Metrics.Adjust(0)
	publish("/b")
	r.has(map[string]float64{published("other/"): 8})
	if _, of := sum(r.series(), "pipit_messages_published_total"); len(of) != 1 {
		t.Errorf("with a limit of 0 there are %q", of)
	}
	r.Metrics.Adjust(2)
	publish("/b")
	r.has(map[string]float64{published("/b"): 4, published("/c"): 1, published("other/"): 8})
}

// The address that serves nothing else does so.
func TestAlone(t *testing.T) {
	r := newRig(t, metrics.Options{})
	r.serve()
	for _, ask := range []struct {
		method, path string
		status       int
	}{{"GET", "/metrics", 200}, {"HEAD", "/metrics", 200}, {"POST", "/metrics", 405}, {"GET", "/", 404}, {"GET", "/metrics/", 404}, {"GET", "/admin/", 404}, {"GET", "/health", 404}} {
		w := httptest.NewRecorder()
		r.Alone().ServeHTTP(w, httptest.NewRequest(ask.method, ask.path, nil))
		if w.Code != ask.status || (w.Header().Get("Allow") != "") != (ask.status == 405) {
			t.Errorf("%s %s: %d %v", ask.method, ask.path, w.Code, w.Header())
		}
	}
}
