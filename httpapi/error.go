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
}

// httpError is an error that only HTTP knows.
type httpError struct {
	status  int
	message string
}

func (e *httpError) Error() string { return e.message }

// fail answers a request with its error, and logs what was refused and why.
func (s *server) fail(x *exchange, r *http.Request) {
	status, message, reason := http.StatusInternalServerError, "", x.err.Error()
	var retry time.Duration
	var he *httpError
	var be *broker.Error
	switch {
	case errors.As(x.err, &he):
		status, message = he.status, he.message
	case errors.As(x.err, &be):
		status, message, retry = statuses[be.Code], be.Message, be.RetryAfter
	}
	if status == http.StatusInternalServerError {
		message = "Internal error"
	}
	level := slog.LevelWarn
	if status >= 500 && status != http.StatusServiceUnavailable {
		level = slog.LevelError
	}
	if x.status != 0 { // the reply has begun: the client has left, or the stream ended
		level = slog.LevelDebug
	}
	s.log.Log(r.Context(), level, "refused", "cid", x.cid, "method", r.Method, "path", logPath(r), "remote", r.RemoteAddr,
		"client", x.client, "status", status, "reason", reason)
	if x.status != 0 {
		return
	}
	h := x.ResponseWriter.Header()
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="Zato pub/sub"`)
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(retry.Seconds())))))
	}
	if status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // else the server waits for the rest of the body before it answers
	}
	b := append(make([]byte, 0, 64+len(message)), `{"status": "ZATO_ERROR", "details": `...)
	b = append(appendString(b, message), '}')
	_ = x.reply(status, typeJSON, b)
}

// clip shortens what an error quotes of bad input.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
