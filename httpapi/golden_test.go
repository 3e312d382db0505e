package httpapi_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var golden = flag.Bool("golden", false, "write the exchanges to testdata/golden anew")

// masks are what differs from one run to the next.
var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\bK[0-9A-Za-z]{27}\b`), "ID"},
	{regexp.MustCompile(`\b20\d\d-\d\d-\d\dT[0-9:.+]+Z?`), "TIME"},
	{regexp.MustCompile(`(?m)^(Date|Content-Length): .*$`), "${1}: …"},
	{regexp.MustCompile(`(?m)^(Retry-After): \d+$`), "${1}: SECONDS"},
}

// exchanges are what clients ask, in this order; the names of files tell what about.
var exchanges = []struct {
	name, method, path, auth, body string
	header                         []string
}{
	{"ping", "GET", "/zato/ping", "", "", nil},
	{"health", "GET", "/health", "", "", nil},
	{"publish", "POST", created, crm, "Hello", []string{"Content-Type", "text/plain"}},
	{"publish_id", "POST", created + "?msg_id=order-1&priority=7&expiration=3600", crm, `{"order": 1}`, []string{"Content-Type", "application/json"}},
	{"publish_batch", "POST", created + "?batch=true", crm, `{"payload": "one", "msg_id": "b-1"}` + "\n" + `{"payload": "{\"two\": 2}", "msg_id": "b-2", "priority": 3}` + "\n", []string{"Content-Type", "application/x-ndjson"}},
	{"receive", "POST", queue + "?max=10", erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"publish_attributes", "POST", created + "?correlation_id=order-1&reply_to=/order/answers&priority=9", crm, "Hello", []string{"Content-Type", "text/plain", "X-Zato-PubSub-Attr-Kind", "order", "traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
	{"publish_cloudevent", "POST", created + "?cloudevents=true", crm, `{"specversion": "1.0", "id": "e-1", "source": "/s", "type": "t", "data": {"a": 1}}`, []string{"Content-Type", "application/cloudevents+json"}},
	{"receive_attributes", "POST", queue + "?ack=true", erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"receive_empty", "POST", queue, erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"acknowledge", "DELETE", "/zato/pubsub/msg/order-1/?ack=true", erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"reject", "DELETE", "/zato/pubsub/msg/b-1/?reject=true", erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"acknowledge_many", "POST", ackMany, erp, `{"ack": ["b-2", "none"], "reject": ["b-1"]}`, []string{"X-Zato-PubSub-Key", key}},
	{"subscribe", "POST", subscribe, erp, "", nil},
	{"subscribed", "GET", subscribe, erp, "", nil},
	{"unsubscribe", "DELETE", subscribe, erp, "", nil},
	{"error_404_subscription", "GET", subscribe, erp, "", nil},
	{"error_403_subscribe", "POST", subscribe, crm, "", nil},
	{"error_400", "POST", created + "?priority=11", crm, "x", nil},
	{"error_400_batch", "POST", created + "?batch=true", crm, `{"payload": "x", "colour": 1}` + "\n", []string{"Content-Type", "application/x-ndjson"}},
	{"error_401", "POST", created, "", "x", nil},
	{"error_403", "POST", "/zato/pubsub/topic//no/such/", crm, "x", nil},
	{"error_404", "GET", "/nothing", "", "", nil},
	{"error_404_message", "DELETE", "/zato/pubsub/msg/none/?ack=true", erp, "", []string{"X-Zato-PubSub-Key", key}},
	{"error_405", "PUT", created, crm, "x", nil},
	{"error_413", "POST", created, crm, strings.Repeat("x", 129), nil},
	{"error_415", "POST", created, crm, "x", []string{"Content-Encoding", "br"}},
	{"error_429", "POST", created, "crm:another", "x", nil},
}

// TestGoldenExchanges shows what a change makes of the replies: go test ./httpapi -run TestGoldenExchanges -golden writes
// them anew, for git diff.
func TestGoldenExchanges(t *testing.T) {
	for _, format := range []string{"json", "xml"} {
		r := newServer(t, func(s *setup) { s.broker.MaxPayload = 128 })
		r.canSubscribe("/news")
		r.topics("/news")
		for _, e := range exchanges {
			if e.name == "error_429" {
				r.fail(10, func(int) string { return "crm" }, "127.0.0.1")
			}
			path := e.path
			if format == "xml" {
				and := "?"
				if strings.Contains(path, and) {
					and = "&"
				}
				path += and + "format=xml"
			}
			a := r.do(e.method, path, e.auth, e.body, e.header...)
			if status := expectedStatus(e.name); a.status != status {
				t.Errorf("%s: %d %s", e.name, a.status, a.body)
			}
			compareGolden(t, e.name+"."+format, request(e.method, path, e.auth, e.body, e.header)+a.text())
		}
	}
}

// expectedStatus is in the name of an error.
func expectedStatus(name string) int {
	if rest, ok := strings.CutPrefix(name, "error_"); ok {
		if status, err := strconv.Atoi(rest[:3]); err == nil {
			return status
		}
	}
	return http.StatusOK
}

// request and text are what was sent and what came back.
func request(method, path, auth, body string, header []string) string {
	s := fmt.Sprintf("%s %s\n", method, path)
	if user, _, ok := strings.Cut(auth, ":"); ok {
		s += fmt.Sprintf("Authorization: of %s\n", user)
	}
	for i := 0; i+1 < len(header); i += 2 {
		s += fmt.Sprintf("%s: %s\n", header[i], header[i+1])
	}
	if body != "" {
		s += "\n" + strings.TrimSuffix(body, "\n") + "\n"
	}
	return s + "\n"
}

func (a *reply) text() string {
	s := fmt.Sprintf("%d\n", a.status)
	var lines []string
	for name, values := range a.header {
		for _, v := range values {
			lines = append(lines, name+": "+v+"\n")
		}
	}
	slices.Sort(lines)
	return s + strings.Join(lines, "") + "\n" + a.body + "\n"
}

func compareGolden(t *testing.T, name, text string) {
	t.Helper()
	for _, m := range masks {
		text = m.pattern.ReplaceAllString(text, m.with)
	}
	file := filepath.Join("testdata", "golden", name+".txt")
	if *golden {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { // #nosec G306 -- a file of the repository
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file) // #nosec G304 -- a file of the repository
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s: was\n%s\nand is\n%s", file, want, text)
	}
}
