package httpapi

import (
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
)

// statuses of the broker's errors.
var statuses = map[broker.Code]int{
	broker.Internal:     http.StatusInternalServerError,
	broker.Invalid:      http.StatusBadRequest,
	broker.Unauthorized: http.StatusUnauthorized,
	broker.Denied:       http.StatusForbidden,
	broker.NotFound:     http.StatusNotFound,
	broker.TooLarge:     http.StatusRequestEntityTooLarge,
	broker.Full:         http.StatusTooManyRequests,
	broker.TooMany:      http.StatusTooManyRequests,
	broker.Unavailable:  http.StatusServiceUnavailable,
	broker.DiskFull:     http.StatusInsufficientStorage,
	broker.Conflict:     http.StatusConflict,
}

// httpError is an error that only HTTP knows.
type httpError struct {
	status  int
	message string // for the client
}

func (e *httpError) Error() string { return e.message }

var (
	errNoRoute = &httpError{http.StatusNotFound, "No such route"}
	errNoTopic = &httpError{http.StatusNotFound, "No such route: a topic name is missing"}
	errNoID    = &httpError{http.StatusNotFound, "No such route: a msg_id is missing"}
)

// client is who is signed in, empty where nobody is.
func (x *exchange) client() string {
	if !x.verified {
		return ""
	}
	return x.username
}

// fail answers a request with its error, and logs what was refused and why.
func (s *server) fail(x *exchange, r *http.Request) {
	status, details := http.StatusInternalServerError, ""
	var retryAfter time.Duration
	var he *httpError
	var be *broker.Error
	switch {
	case errors.As(x.err, &he):
		status, details = he.status, he.message
	case errors.As(x.err, &be):
		status, details, retryAfter = statuses[be.Code], be.Message, be.RetryAfter
	}
	if status == http.StatusInternalServerError {
		details = "Internal error" // the cause is nobody's business but the log's
	}
	level, msg := slog.LevelWarn, "refused"
	switch {
	case x.status != 0: // the reply has begun, so the client has left or a stream has ended
		level, msg = slog.LevelDebug, "reply broken off"
	case status >= 500:
		level = slog.LevelError
	}
	if s.refusals.Allow(x.client(), x.remote) {
		s.log.LogAttrs(r.Context(), level, msg, append(x.attrs(r),
			slog.Int("status", status), slog.String("details", details), slog.String("reason", x.err.Error()))...)
	}
	if x.status != 0 {
		return
	}
	h := x.Header()
	switch status {
	case http.StatusUnauthorized:
		h[headerChallenge] = challenge
	case http.StatusUnsupportedMediaType:
		h["Accept-Encoding"] = encodings
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(retryAfter.Seconds())))))
	}
	d := x.document(x.room[:], "ZATO_ERROR")
	d.text("details", details)
	x.send(status, &d)
}
