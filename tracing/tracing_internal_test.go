package tracing

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker"
	"pipit/tracing/tracingtest"
)

// counts are what a tracer tells of spans, and its log.
type counts struct {
	sent, dropped atomic.Int64
	log           bytes.Buffer
}

func (c *counts) options(endpoint string) Options {
	return Options{Endpoint: endpoint, Sample: 1, Logger: slog.New(slog.NewTextHandler(&c.log, nil)), Headers: map[string]string{"api-key": "s3cret"},
		Sent: func(n int) { c.sent.Add(int64(n)) }, Dropped: func(n int) { c.dropped.Add(int64(n)) }}
}

// record makes spans of requests that are done.
func record(t *Tracer, n int) {
	for range n {
		t.Request(httptest.NewRequest("POST", "/", nil), "/a").Answered(200, "cid")
	}
}

// roundTripper answers requests in place of the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answered(status int, header ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(""))}
}

// What the collector does not take for a while is sent later, when it wants it; what it refuses, or does not take in time, is dropped,
// counted and told of once a minute. No error shows a header.
func TestCollectorAwayForAWhile(t *testing.T) {
	for _, tt := range []struct {
		name          string
		answer        func(n int) (*http.Response, error)
		tries         int64
		sent, dropped int64
		log           string
	}{
		{"takes all", func(int) (*http.Response, error) { return answered(200), nil }, 1, 3, 0, ""},
		{"comes back", func(n int) (*http.Response, error) {
			return []*http.Response{answered(503), answered(429, "Retry-After", "3"), answered(200)}[n], nil
		}, 3, 3, 0, ""},
		{"refuses", func(int) (*http.Response, error) { return answered(401), nil }, 1, 0, 3, "the collector answers Unauthorized"},
		{"redirects", func(int) (*http.Response, error) { return answered(307, "Location", "http://127.0.0.2/"), nil }, 1, 0, 3, "the collector answers Temporary Redirect"},
		{"is away", func(int) (*http.Response, error) { return nil, errors.New("nobody listens") }, 4, 0, 3, "nobody listens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c counts
				tracer, err := New(c.options("http://127.0.0.1:1"))
				if err != nil {
					t.Fatal(err)
				}
				var tries atomic.Int64
				tracer.client.http.Transport = roundTripper(func(*http.Request) (*http.Response, error) { return tt.answer(int(tries.Add(1)) - 1) })
				record(tracer, 3)
				time.Sleep(sendEvery + sendTime + time.Second)
				synctest.Wait()
				if tries.Load() != tt.tries || c.sent.Load() != tt.sent || c.dropped.Load() != tt.dropped {
					t.Errorf("%d tries, %d sent, %d dropped", tries.Load(), c.sent.Load(), c.dropped.Load())
				}
				if got := c.log.String(); strings.Count(got, "dropped") != min(1, int(tt.dropped)) || !strings.Contains(got, tt.log) || strings.Contains(got, "s3cret") {
					t.Error(got)
				}
				tracer.Stop(time.Second)
			})
		})
	}
}

// Spans that have no room wait for nobody: they are dropped, and each one is counted, those that the collector has not taken
// at the stop among them.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counts
		tracer, err := New(c.options("http://127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		tracer.client.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		const more = 1000
		record(tracer, queueSize+more)
		if n := c.dropped.Load(); n != more {
			t.Errorf("%d dropped, want %d", n, more)
		}
		if got := c.log.String(); strings.Count(got, "dropped") != 1 || !strings.Contains(got, "spans=1 ") {
			t.Error(got)
		}
		begun := time.Now()
		tracer.Stop(time.Second)
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the stop took %s", took)
		}
		synctest.Wait()
		if n := c.dropped.Load() + c.sent.Load(); n != queueSize+more || c.sent.Load() != 0 {
			t.Errorf("%d dropped and %d sent of %d", c.dropped.Load(), c.sent.Load(), queueSize+more)
		}
		if got := c.log.String(); !strings.Contains(got, "spans=5095 ") || !strings.Contains(got, errStop.Error()) {
			t.Error(got)
		}
		record(tracer, 1) // after the stop: nobody is to panic
	})
}

// A part of the traces that begin here is recorded; of others their sender has decided.
func TestSample(t *testing.T) {
	collector := tracingtest.New(t, nil)
	var c counts
	o := c.options(collector.URL)
	o.Sample = 0.25
	tracer, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	record(tracer, 2000)
	for _, flags := range []string{"00", "01"} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"+flags)
		if span := tracer.Request(r, "/theirs"); (span != nil) != (flags == "01") {
			t.Errorf("flags %s: %v", flags, span)
		} else {
			span.Answered(503, "cid")
		}
	}
	tracer.Stop(time.Minute)
	own := 0
	for _, s := range collector.Spans() {
		if s.Name == "POST /a" {
			own++
		} else if !s.Error || s.Attrs["error.type"] != "503" {
			t.Errorf("%+v", s)
		}
	}
	if own < 400 || own > 600 || c.dropped.Load() != 0 {
		t.Errorf("%d of 2000, %d dropped", own, c.dropped.Load())
	}
}

// A message takes the trace of its publish where it has none, and where it has room for it.
func TestAttributes(t *testing.T) {
	var c counts
	tracer, err := New(c.options("http://127.0.0.1:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer tracer.Stop(0)
	span := tracer.Request(httptest.NewRequest("POST", "/", nil), "/a").Send("/t")
	own := []broker.Attribute{{Name: "Traceparent", Value: "theirs"}}
	large := []broker.Attribute{{Name: "a", Value: strings.Repeat("x", 8<<10-20)}}
	for _, tt := range []struct {
		in   []broker.Attribute
		want int
	}{{nil, 1}, {[]broker.Attribute{{Name: "a", Value: "b"}}, 2}, {own, 1}, {large, 1}} {
		if got := span.Attributes(tt.in); len(got) != tt.want {
			t.Errorf("%v", got)
		}
	}
}

// Where it is off, nothing is asked for memory.
func TestOffAllocatesNothing(t *testing.T) {
	var tracer *Tracer
	r := httptest.NewRequest("POST", "/", nil)
	list := []broker.Attribute{{Name: "a", Value: "b"}}
	msgs := []broker.Message{{ID: "1"}}
	if n := testing.AllocsPerRun(1000, func() {
		request := tracer.Request(r, "/a")
		send := request.Send("/t")
		send.Size(1)
		list = send.Attributes(list)
		send.Message("1")
		send.End(nil)
		receive := request.Receive("/t")
		receive.Received(msgs)
		receive.End(nil)
		call := tracer.Call(&broker.Consumer{}, msgs)
		call.Header(r.Header)
		call.Called(200, "")
		request.Answered(200, "cid")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	tracer.Adjust(Options{})
	tracer.Stop(0)
}
