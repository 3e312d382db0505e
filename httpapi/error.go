package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
	"pipit/httpapi/quota"
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

// fail answers a request with its error, if the reply has not begun, and logs what was refused and why.
func (s *server) fail(x *call) {
	if x.Status != 0 {
		s.lines.BrokenOff(&x.Exchange)
		return
	}
	status, details := http.StatusInternalServerError, ""
	var retryAfter time.Duration
	var he *httpError
	be := broker.ErrorOf(x.Err)
	switch {
	case errors.As(x.Err, &he):
		status, details = he.status, he.message
	case be != nil:
		status, details, retryAfter = statuses[be.Code], be.Message, be.RetryAfter
	}
	if status == http.StatusInternalServerError {
		details = "Internal error" // the cause is nobody's business but the log's
	}
	reason := x.Err.Error()
	s.lines.Refused(&x.Exchange, status, slog.String("details", details), slog.String("reason", reason))
	s.recent.Add(s.refusal(x, status, reason))
	h := x.Header()
	switch status {
	case http.StatusUnauthorized:
		h[headerChallenge] = challenge
	case http.StatusUnsupportedMediaType:
		h["Accept-Encoding"] = encodings
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(quota.Seconds(retryAfter)))
	}
	x.refuse(status, details)
}

func (x *call) refuse(status int, details string) {
	d := x.document(x.room[:], "ZATO_ERROR")
	d.text("details", details)
	x.send(status, &d)
}

// Answer answers a request as the protocol does where there is no Handler for it at the moment: that all is well, or with an error, by the status of
// its code.
func Answer(w http.ResponseWriter, r *http.Request, err *broker.Error) {
	x := newCall(w, r, time.Now())
	switch {
	case err == nil:
		_ = x.ok()
	default:
		if err.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(quota.Seconds(err.RetryAfter)))
		}
		x.refuse(statuses[err.Code], err.Message)
	}
	if x.unread {
		x.linger()
	}
}
