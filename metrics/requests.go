package metrics

import (
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests are those of the wire protocol and of admin, by route, method and code.
type requests struct {
	total    *prometheus.CounterVec
	duration *prometheus.HistogramVec

	known  atomic.Pointer[map[request]*answers] // replaced, never changed
	adding sync.Mutex
}

// request is what a series is of.
type request struct {
	route, method string
	status        int
}

// answers are the series of one kind of requests.
type answers struct {
	total    prometheus.Counter
	duration prometheus.Observer
	named    atomic.Int64 // when an exemplar was left, in Unix nanoseconds
}

func (q *requests) init() {
	labels := []string{"route", "method", "code"}
	q.total = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pipit_http_requests_total", Help: "Requests of the wire protocol, of pages and of the API that were answered."}, labels)
	q.duration = prometheus.NewHistogramVec(histogram("pipit_http_request_duration_seconds",
		"How long requests took, from their header to the end of the reply; long polls and streams wait.", times), labels)
	q.known.Store(&map[request]*answers{})
}

func (q *requests) answered(route, method string, status int, took time.Duration, id string) {
	a := q.of(request{route, method, status})
	a.total.Inc()
	if id != "" && due(&a.named, time.Now(), exemplarEvery) {
		a.duration.(prometheus.ExemplarObserver).ObserveWithExemplar(took.Seconds(), prometheus.Labels{"request_id": id})
		return
	}
	a.duration.Observe(took.Seconds())
}

// of returns the series of a kind of requests. There are only so many: of routes and codes by themselves, and methods by this.
func (q *requests) of(r request) *answers {
	if a := (*q.known.Load())[r]; a != nil {
		return a
	}
	q.adding.Lock()
	defer q.adding.Unlock()
	named := r
	switch r.method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		named.method = others
	}
	known := *q.known.Load()
	a := known[named]
	if a == nil {
		labels := []string{named.route, named.method, strconv.Itoa(named.status)}
		a = &answers{total: q.total.WithLabelValues(labels...), duration: q.duration.WithLabelValues(labels...)}
		more := maps.Clone(known)
		more[named] = a
		q.known.Store(&more)
	}
	return a
}
