// Package tracing tells a collector of OpenTelemetry what becomes of requests, messages and calls: spans, by OTLP over HTTP.
//
// A Tracer is nil where tracing is off, and a Span where it is off or the trace is not sampled: all methods of a nil one do
// nothing and cost nothing, so that nobody has to ask. No method waits for the collector. What has ended stands in a queue of
// a fixed size, and what has no room there, or cannot be sent in time, is dropped and counted.
//
// A span has names, numbers and sizes, as the semantic conventions for HTTP and messaging spell them. It never has a
// payload, a sub_key, a password, or a query or a header of a request.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// DefaultService is Options.Service where that is empty.
const DefaultService = "pipit"

// Options configure a Tracer.
type Options struct {
	Endpoint string            // http or https URL of the collector; /v1/traces is added where it has no path
	Sample   float64           // part of the traces that begin here, 0 to 1; of others the caller has decided
	Service  string            // service.name; default DefaultService
	Version  string            // service.version
	Headers  map[string]string // of each request to the collector; their values are secrets
	Logger   *slog.Logger      // default slog.Default()

	// Sent and Dropped, where they are not nil, are told how many spans the collector has taken, and how many it never gets.
	Sent, Dropped func(spans int)
}

// Bounds of what waits for the collector.
const (
	queueSize  = 4096             // spans that have ended and are not sent
	batchSize  = 512              // spans of one request
	sendEvery  = 2 * time.Second  // or as soon as there are batchSize
	sendTime   = 10 * time.Second // for a batch, further tries included
	answerTime = 5 * time.Second  // for one try
	linkCount  = 128              // links of one span
	valueSize  = 1 << 10          // bytes of an attribute
)

// Tracer makes spans. Its methods may be called from any goroutine.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	sampler  sampler
	client   *client
	queue    *queue
}

// New returns a tracer, nil where there is no endpoint. The collector need not be there. The caller stops it.
func New(o Options) (*Tracer, error) {
	if o.Endpoint == "" {
		return nil, nil
	}
	if o.Service == "" {
		o.Service = DefaultService
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	about, err := resource.New(context.Background(), resource.WithTelemetrySDK(), resource.WithFromEnv(),
		resource.WithAttributes(semconv.ServiceName(o.Service), semconv.ServiceVersion(o.Version)))
	if err != nil {
		return nil, fmt.Errorf("tracing: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	t := &Tracer{}
	if t.client, err = newClient(o.Endpoint); err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	exporter, err := otlptrace.New(context.Background(), t.client)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	t.queue = newQueue(exporter, o)
	t.Adjust(o)
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit, limits.AttributeValueLengthLimit = linkCount, valueSize
	t.provider = sdktrace.NewTracerProvider(sdktrace.WithResource(about), sdktrace.WithRawSpanLimits(limits), sdktrace.WithSpanProcessor(t.queue),
		sdktrace.WithSampler(sdktrace.ParentBased(&t.sampler)))
	t.tracer = t.provider.Tracer("pipit", trace.WithInstrumentationVersion(o.Version), trace.WithSchemaURL(semconv.SchemaURL))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { o.Logger.Debug("tracing", "err", reason(err)) })) // what counts is logged by the queue
	return t, nil
}

// Adjust takes over Sample and Headers, which count from now on.
func (t *Tracer) Adjust(o Options) {
	if t == nil {
		return
	}
	root := sdktrace.TraceIDRatioBased(o.Sample)
	t.sampler.root.Store(&root)
	headers := http.Header{}
	for name, value := range o.Headers {
		headers.Set(name, value)
	}
	t.client.headers.Store(&headers)
}

// Stop sends what has ended, for the time limit at the most: what is left then is dropped.
func (t *Tracer) Stop(limit time.Duration) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = t.provider.Shutdown(ctx) // what was not sent is counted
	t.client.end()
	t.queue.close()
}

// sampler decides on the traces that begin here, by a ratio that can change.
type sampler struct {
	root atomic.Pointer[sdktrace.Sampler]
}

func (s *sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return (*s.root.Load()).ShouldSample(p)
}

func (s *sampler) Description() string { return (*s.root.Load()).Description() }
