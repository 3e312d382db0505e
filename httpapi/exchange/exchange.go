// Package exchange is one HTTP request on its way, as far as the wire protocol and admin have it in common: what has
// become of its reply, its ID, the panic of its handler, its lines in the log, and what has no route.
//
// Either side embeds an Exchange in a type of its own, which is the http.ResponseWriter of its handlers. Handlers leave
// their error in it; the side writes that, in a form of its own, and Lines logs it.
package exchange

import (
	"log/slog"
	"net/http"

	"pipit/broker/clip"
)

// Exchange is one request on its way: what its log line needs. It is not used again for another request, because
// net/http reads the header after the handler has returned.
type Exchange struct {
	http.ResponseWriter
	Side    Side // what embeds this
	Request *http.Request
	ID      [1]string // as a header takes it; empty where it has none
	Remote  string    // address of the client
	Status  int       // 0 until the reply has begun
	Err     error     // from the handler
	bytes   int       // of the reply
}

// Side is what embeds an Exchange: a request of the wire protocol, or one of admin.
type Side interface {
	http.ResponseWriter
	// Begin is called once, before the header of the reply is sent.
	Begin()
	// Caller is the name of who is signed in, empty where nobody is.
	Caller() string
	// Attrs adds what the log says of who asks.
	Attrs([]slog.Attr) []slog.Attr
}

// WriteHeader begins the reply, but for a status of 1xx, which comes before it.
func (x *Exchange) WriteHeader(status int) {
	if x.Status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		x.Side.Begin()
		x.Status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *Exchange) Write(b []byte) (int, error) {
	if x.Status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (x *Exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// attrs are what a log line says of a request, with room for some more. A query is not among it, as it may hold anything,
// such as the secret of admin's set-up link.
func (x *Exchange) attrs() []slog.Attr {
	a := make([]slog.Attr, 0, 12)
	if x.ID[0] != "" {
		a = append(a, slog.String("cid", x.ID[0]))
	}
	a = append(a, slog.String("method", clip.Input(x.Request.Method)), slog.String("path", clip.To(x.Request.URL.Path, 256)),
		slog.String("remote", x.Remote))
	return x.Side.Attrs(a)
}
