// Package tracingtest has a collector of OpenTelemetry for the tests of package tracing and of the whole process.
package tracingtest

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans by OTLP over HTTP. Its methods may be called from any goroutine.
type Collector struct {
	URL    string
	Answer func(w http.ResponseWriter, r *http.Request) bool // answers in place of the collector, which takes nothing then, where it is not nil and tells true

	t       testing.TB
	mu      sync.Mutex
	spans   []Span
	about   map[string]string
	headers []http.Header
	raw     bytes.Buffer
}

// Span is one that came.
type Span struct {
	Name, Kind, ID, Parent, Trace, State string
	Attrs                                map[string]string // numbers as digits
	Links                                []string          // traces and spans, with a slash between
	Error                                bool
}

// New starts a collector, which ends with the test.
func New(t testing.TB, answer func(w http.ResponseWriter, r *http.Request) bool) *Collector {
	c := &Collector{t: t, Answer: answer}
	srv := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(srv.Close)
	c.URL = srv.URL
	return c
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	if c.Answer != nil && c.Answer(w, r) {
		return
	}
	body, err := io.ReadAll(r.Body)
	var in tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &in)
	}
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.t.Errorf("the collector got %s %s: %v", r.Method, r.URL, err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header)
	c.raw.Write(body)
	for _, rs := range in.ResourceSpans {
		c.about = attrs(rs.Resource.GetAttributes())
		for _, ss := range rs.ScopeSpans {
			for _, s := range ss.Spans {
				c.spans = append(c.spans, span(s))
			}
		}
	}
}

func span(s *tracepb.Span) Span {
	one := Span{Name: s.Name, Kind: s.Kind.String(), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Trace: hex.EncodeToString(s.TraceId), State: s.TraceState, Attrs: attrs(s.Attributes), Error: s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR}
	for _, l := range s.Links {
		one.Links = append(one.Links, hex.EncodeToString(l.TraceId)+"/"+hex.EncodeToString(l.SpanId))
	}
	return one
}

func attrs(list []*commonpb.KeyValue) map[string]string {
	all := map[string]string{}
	for _, kv := range list {
		all[kv.Key] = text(kv.Value)
	}
	return all
}

func text(v *commonpb.AnyValue) string {
	if n, ok := v.Value.(*commonpb.AnyValue_IntValue); ok {
		return strconv.FormatInt(n.IntValue, 10)
	}
	return v.GetStringValue()
}

// Spans are those that came.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Span(nil), c.spans...)
}

// About are the attributes of what sends the spans.
func (c *Collector) About() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.about
}

// Headers are those of all requests.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]http.Header(nil), c.headers...)
}

// Raw is all that came.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}
