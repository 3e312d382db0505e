// Package metrics tells Prometheus how a broker fares.
//
// What a broker counts anyway is read when somebody asks: see collector.go. What it does not count is told to the methods of
// Metrics as it happens: requests, commits, flushes and checkpoints. These take no lock, and allocate where something
// is new alone.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"pipit/broker"
	"pipit/httpapi/callback"
)

// Path is where a scrape finds them.
const Path = "/metrics"

// DefaultPerObjectLimit is Options.PerObjectLimit of a configuration that does not say.
const DefaultPerObjectLimit = 1000

// Options configure Metrics.
type Options struct {
	Version        string
	PerObjectLimit int          // topics, queues and clients that have series of their own, each; the others are summed. 0: none has
	Logger         *slog.Logger // default slog.Default()
}

// Sources are what is asked at a scrape.
type Sources struct {
	Broker      *broker.Broker
	Callbacks   *callback.Service // nil: nobody sends messages
	Connections func() int64      // that are open; nil: it is not known
}

// scrapes is how many may be answered at a time. Beyond it: 503.
const scrapes = 4

// Metrics are all that is told. Methods may be called from any goroutine.
type Metrics struct {
	registry  *prometheus.Registry
	handler   http.Handler
	requests  requests
	collector *collector

	commits, messages, flushes, checkpoints prometheus.Histogram
	spansSent, spansDropped                 prometheus.Counter
}

// New returns metrics that can be told of what happens. Read has them ask what a broker counts, too.
func New(o Options) *Metrics {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commits:  seconds("pipit_commit_duration_seconds", "How long the store took for a commit, its flush included."),
		messages: prometheus.NewHistogram(histogram("pipit_commit_messages", "How many messages a commit wrote; none, where it acknowledged or changed something.",
			[]float64{0, 1, 4, 16, 64, 256, 1024, 4096})),
		flushes:     seconds("pipit_log_flush_duration_seconds", "How long a flush of the log in front of the database took."),
		checkpoints: seconds("pipit_checkpoint_duration_seconds", "How long a checkpoint took, which brings what is in the log into the database."),
		collector:   newCollector(),
	}
	m.Adjust(o.PerObjectLimit)
	spans := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pipit_trace_spans_total", Help: "Spans of traces: sent to the collector, or dropped since it did not take them in time."}, []string{"outcome"})
	m.spansSent, m.spansDropped = spans.WithLabelValues("sent"), spans.WithLabelValues("dropped")
	m.requests.init()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "pipit_build_info", Help: "What runs: its value is 1.", ConstLabels: buildLabels(o.Version)})
	build.Set(1)
	m.registry.MustRegister(m.commits, m.messages, m.flushes, m.checkpoints, m.requests.total, m.requests.duration, spans, m.collector, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: scrapes, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
	})
	return m
}

func buildLabels(version string) prometheus.Labels {
	labels := prometheus.Labels{"version": version, "goversion": "unknown", "revision": "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["goversion"] = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				labels["revision"] = s.Value
			}
		}
	}
	return labels
}

// Bounds of buckets, in seconds: from a write without a flush to a long poll.
var times = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// histogram is one with buckets, and the native one that takes their place where Prometheus asks for it.
func histogram(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160, NativeHistogramMinResetDuration: time.Hour,
	}
}

func seconds(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(histogram(name, help, times))
}

// Committed notes a commit that wrote so many messages. It is for broker.Options.
func (m *Metrics) Committed(messages int, took time.Duration) {
	m.commits.Observe(took.Seconds())
	m.messages.Observe(float64(messages))
}

// Flushed notes a flush of the log. It is for db.Options.
func (m *Metrics) Flushed(took time.Duration) { m.flushes.Observe(took.Seconds()) }

// Checkpointed notes a checkpoint. It is for db.Options.
func (m *Metrics) Checkpointed(took time.Duration) { m.checkpoints.Observe(took.Seconds()) }

// SpansSent and SpansDropped note spans that the collector of traces has taken, and that it never gets. They are for tracing.Options.
func (m *Metrics) SpansSent(n int) { m.spansSent.Add(float64(n)) }

// SpansDropped is told of beside SpansSent.
func (m *Metrics) SpansDropped(n int) { m.spansDropped.Add(float64(n)) }

// Answered notes a request of the wire protocol or of admin. It is for httpapi.Options and admin.Options.
func (m *Metrics) Answered(route, method string, status int, took time.Duration, id string) {
	m.requests.answered(route, method, status, took, id)
}

// Read has what sources count be told, too, from now on.
func (m *Metrics) Read(s Sources) { m.collector.sources.Store(&s) }

// Forget ends that: what they counted is told no more.
func (m *Metrics) Forget() { m.collector.sources.Store(nil) }

// Adjust changes Options.PerObjectLimit.
func (m *Metrics) Adjust(perObjectLimit int) { m.collector.limit.Store(int64(perObjectLimit)) }

// ServeHTTP answers a scrape, as text, OpenMetrics with exemplars, or the protocol buffers that have native histograms: as is
// asked for.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// Alone is the handler of listeners that serve nothing else, and ask nobody for a token.
func (m *Metrics) Alone() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != Path:
			http.Error(w, "There is "+Path+" and nothing else", http.StatusNotFound)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "Allowed are GET and HEAD", http.StatusMethodNotAllowed)
		default:
			m.ServeHTTP(w, r)
		}
	})
}

// exemplarEvery is how often a series has a request named that it counts.
const exemplarEvery = time.Second

// due tells whether so much time is over since the last time that it was, for one of several callers.
func due(last *atomic.Int64, now time.Time, every time.Duration) bool {
	was := last.Load()
	return now.UnixNano()-was >= int64(every) && last.CompareAndSwap(was, now.UnixNano())
}
