package exchange

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"pipit/broker"
	"pipit/httpapi/refused"
)

// Lines are those that a log has of exchanges. Its methods may be called from any goroutine.
type Lines struct {
	log      *slog.Logger
	refusals *refused.Lines
}

// NewLines returns the lines of a log.
func NewLines(log *slog.Logger) *Lines { return &Lines{log, refused.New(log)} }

// Run has h answer a request, and makes an error of a panic. r is the exchange's, or what h is to see in its place.
func (l *Lines) Run(x *Exchange, h http.Handler, r *http.Request) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		l.write(x, slog.LevelError, "panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
		x.Err = &broker.Error{Code: broker.Internal, Message: "panic"}
	}()
	h.ServeHTTP(x.Side, r)
}

// Refused logs that a request is answered with an error, as often as package refused allows. more says which.
func (l *Lines) Refused(x *Exchange, status int, more ...slog.Attr) {
	level := slog.LevelWarn
	if status >= 500 {
		level = slog.LevelError
	}
	l.refused(x, level, "refused", status, more)
}

// BrokenOff logs an error that came when the reply had begun: the client has left, or a stream has ended.
func (l *Lines) BrokenOff(x *Exchange) {
	l.refused(x, slog.LevelDebug, "reply broken off", x.Status, []slog.Attr{slog.String("reason", x.Err.Error())})
}

// refused writes a line. One that the level of the log leaves out takes none of what its source has, and is no refusal that
// is missing from it.
func (l *Lines) refused(x *Exchange, level slog.Level, msg string, status int, more []slog.Attr) {
	if l.log.Enabled(x.Request.Context(), level) && l.refusals.Allow(x.Side.Caller(), x.Remote) {
		l.write(x, level, msg, append([]slog.Attr{slog.Int("status", status)}, more...)...)
	}
}

// Access logs a request that was answered, with what it took since start.
func (l *Lines) Access(x *Exchange, start time.Time) {
	l.write(x, slog.LevelInfo, "request",
		slog.Int("status", x.Status), slog.Int("bytes", x.bytes), slog.Duration("duration", time.Since(start)))
}

func (l *Lines) write(x *Exchange, level slog.Level, msg string, more ...slog.Attr) {
	l.log.LogAttrs(x.Request.Context(), level, msg, append(x.attrs(), more...)...)
}
