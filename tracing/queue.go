package tracing

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"pipit/broker/clip"
)

// logEvery is how often the log says that spans are dropped.
const logEvery = time.Minute

// queue is the batch processor of the SDK, with a count of what it holds: so what is dropped is known, which the SDK does
// not tell.
type queue struct {
	sdktrace.SpanProcessor
	log           *slog.Logger
	sent, dropped func(int)

	held   atomic.Int64 // spans that have ended, and are neither sent nor dropped
	lost   atomic.Int64 // spans that were dropped since the last line of the log
	logged atomic.Int64 // when that was, in Unix nanoseconds; 0: never
}

func newQueue(exporter sdktrace.SpanExporter, o Options) *queue {
	q := &queue{log: o.Logger, sent: o.Sent, dropped: o.Dropped}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(exports{exporter, q}, sdktrace.WithMaxQueueSize(queueSize), sdktrace.WithMaxExportBatchSize(batchSize),
		sdktrace.WithBatchTimeout(sendEvery), sdktrace.WithExportTimeout(sendTime))
	return q
}

// OnEnd is for sdktrace.SpanProcessor.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if q.held.Add(1) > queueSize {
		q.held.Add(-1)
		q.drop(1, errFull)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

var (
	errFull = errors.New("the collector takes fewer than there are")
	errStop = errors.New("the collector has not taken them before the stop")
)

// close counts what is left as dropped.
func (q *queue) close() {
	if n := q.held.Swap(0); n > 0 || q.lost.Load() > 0 { // of the latter no line of the log has told
		q.logged.Store(0)
		q.drop(int(n), errStop)
	}
}

// drop counts spans that the collector never gets, and says so from time to time.
func (q *queue) drop(n int, why error) {
	if q.dropped != nil {
		q.dropped(n)
	}
	q.lost.Add(int64(n))
	now, last := time.Now().UnixNano(), q.logged.Load()
	if (last == 0 || now-last >= int64(logEvery)) && q.logged.CompareAndSwap(last, now) {
		q.log.Warn("spans of traces are dropped", "spans", q.lost.Swap(0), "err", reason(why))
	}
}

// exports is the exporter of a queue.
type exports struct {
	sdktrace.SpanExporter
	queue *queue
}

// ExportSpans sends a batch, and counts it as sent or dropped.
func (e exports) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	q := e.queue
	for n := q.held.Load(); n > 0; n = q.held.Load() { // none, where close has counted it
		if !q.held.CompareAndSwap(n, max(0, n-int64(len(spans)))) {
			continue
		}
		switch {
		case err != nil:
			q.drop(len(spans), err)
		case q.sent != nil:
			q.sent(len(spans))
		}
		break
	}
	return nil // it is counted, and the SDK has nothing to add
}

// reason is an error for the log. A URL is no part of it.
func reason(err error) string {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		err = u.Err
	}
	return clip.To(err.Error(), 300)
}
