// Package httpapi is the wire protocol: REST publish/subscribe over HTTP, on httprouter.
//
// A request becomes a call, which passes the router to a handler. Handlers return an error,
// and one place writes it: a code of the broker becomes a status, the message goes to the client,
// the cause to the log. The same place gives each request its ID, recovers panics and writes the
// access line, as package exchange has it. It stands outside of the router, because nothing may clean or redirect a path:
// topic names begin with a slash, so a URL has two in a row.
//
// The rules of topics and messages are the broker's. What is here is only how they are spelled in
// paths, queries, headers and bodies.
package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/julienschmidt/httprouter"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/httpapi/exchange"
	"pipit/httpapi/forwarded"
	"pipit/httpapi/presence"
	"pipit/httpapi/quota"
	"pipit/httpapi/refused"
	"pipit/tracing"
)

// Options configure the handler. The zero value of a field stands for its default.
type Options struct {
	MaxPayload int64 // bytes of one message; default 1 MiB. Past it: 413
	MaxPending int64 // the broker's, of which the bodies of one client may have half; default limit.DefaultMaxPending
	MaxReplies int64 // bytes of payload that replies hold until their clients have taken them; default 256 MiB. Past it: 503
	MaxBatch   int64 // bytes of the body of a batch of messages or acknowledgements; default 16 MiB. Past it: 413
	// MinBodyRate is how many bytes a second a body has to come with at least, from 10 s after it began; default 1 KiB, negative:
	// 60 s are all that bounds it. What comes more slowly is refused: 400.
	MinBodyRate int64
	// CORSOrigins are the origins, such as https://app.example.com, whose pages browsers let call these routes and
	// see the replies; "*" is all of them. Default none. CheckOrigin tells what can be one.
	CORSOrigins []string
	// Origin is the scheme and the host, in lower case, that browsers reach these routes by where a proxy changes them.
	// Its pages are no strangers, nor are those of the scheme and the host of the request.
	Origin string

	Proxies forwarded.Proxies // whose word counts for the address of a client
	Logger  *slog.Logger      // default slog.Default()
	Access  bool              // a line in the log for every request, beside those that are refused

	// Answered, where it is not nil, is told of each request that was answered: the pattern of its route, or "other" where there
	// is none, and the ID that the reply had. The client may wait for it.
	Answered func(route, method string, status int, took time.Duration, id string)

	Tracer *tracing.Tracer // nil: no spans
}

// Defaults of Options.
const (
	DefaultMaxBatch    = 16 << 20
	DefaultMaxReplies  = 256 << 20
	DefaultMinBodyRate = 1 << 10
)

// DefaultIdleTimeout is how long a connection may be idle between two requests, where NewServer is not told.
const DefaultIdleTimeout = 2 * time.Minute

// Limits against slow or greedy clients.
const (
	headerTime = 10 * time.Second // for the header of a request
	bodyTime   = 60 * time.Second // from the start of a request to the end of its body
	replyTime  = 90 * time.Second // from the end of the header to the end of the reply; a long poll adds its wait
	maxHeader  = 16 << 10         // bytes
)

// Limits of one HTTP/2 connection.
const (
	maxStreams   = 250       // requests at a time, also of those that were reset and whose handlers have not returned
	uploadWindow = 256 << 10 // bytes of bodies that no handler has read yet
)

// NewServer returns a server with the limits that the handler counts on. Between two requests a connection is kept
// for the time idle, 0 is DefaultIdleTimeout. The caller may set more, such as ErrorLog, and registers the broker's
// Drain with RegisterOnShutdown, else a shutdown waits for long polls and streams. Package serve does all that.
func NewServer(h http.Handler, idle time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       bodyTime,
		WriteTimeout:      replyTime,
		IdleTimeout:       cmp.Or(idle, DefaultIdleTimeout),
		MaxHeaderBytes:    maxHeader,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReceiveBufferPerConnection: uploadWindow,
			MaxReceiveBufferPerStream:     uploadWindow,
			// Else a client that reads nothing holds its replies for ever: their time ends only behind what is being written.
			WriteByteTimeout: writeTime,
		},
		ConnContext:                  presence.WithConnection,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like anything else
	}
}

// server is the handler of all routes.
type server struct {
	b      *broker.Broker
	opts   atomic.Pointer[Options]
	log    *slog.Logger
	router *httprouter.Router
	merged daily // the warning about it
	leaves atomic.Bool

	lines   *exchange.Lines
	recent  refused.Recent
	replies *quota.Budget
	bodies  *quota.Budget
	hooks   *quota.Budget // of bodies, by address
	limits  *quota.Clients
}

// Handler is the handler of the wire protocol. It must not stand behind anything that cleans or
// redirects paths, such as http.ServeMux.
type Handler struct{ *server }

// Refusals are the requests that were refused last.
func (h *Handler) Refusals() *refused.Recent { return &h.recent }

// Drain has ReadyPath answer 503 from now on, as the server is about to stop. All else goes on.
func (h *Handler) Drain() { h.leaves.Store(true) }

// Adjust takes over the options that can change while requests are served, all but Logger. They count
// for requests that begin from now on.
func (h *Handler) Adjust(opts Options) {
	if opts.MaxPayload <= 0 {
		opts.MaxPayload = limit.DefaultMaxPayload
	}
	if opts.MaxBatch <= 0 {
		opts.MaxBatch = DefaultMaxBatch
	}
	if opts.MaxReplies <= 0 {
		opts.MaxReplies = DefaultMaxReplies
	}
	if opts.MinBodyRate == 0 {
		opts.MinBodyRate = DefaultMinBodyRate
	}
	if opts.MaxPending <= 0 {
		opts.MaxPending = limit.DefaultMaxPending
	}
	h.opts.Store(&opts)
	h.replies.Adjust(opts.MaxReplies)
	h.bodies.Adjust(opts.MaxPending)
	h.limits.Adjust(max(opts.MaxBatch, opts.MaxPayload))
}

// New returns the handler.
func New(b *broker.Broker, opts Options) *Handler {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &server{
		b: b, log: opts.Logger, router: exchange.NewRouter(notFound, notAllowed),
		lines: exchange.NewLines(opts.Logger), replies: quota.NewBudget(opts.MaxReplies), bodies: quota.NewBudget(opts.MaxPending), hooks: quota.NewBudget(hookRoom), limits: quota.New(),
	}
	h := &Handler{s}
	h.Adjust(opts)
	for _, rt := range s.routes() {
		s.handle(rt)
	}
	return h
}

// route is a route of the protocol. path is as httprouter takes it.
type route struct {
	method, path string
	handler      handler
	traced       bool // its requests have spans
}

// routes are all of them. Where there is GET, HEAD is as well.
func (s *server) routes() []route {
	return []route{
		{"POST", "/zato/pubsub/topic/*rest", s.publish, true},
		{"POST", "/zato/pubsub/msg/*rest", s.receive, true},
		{"GET", "/zato/pubsub/msg/*rest", s.stream, false},
		{"DELETE", "/zato/pubsub/msg/*rest", s.settleOne, true},
		{"POST", "/zato/pubsub/ack", s.settleMany, true},
		{"POST", "/zato/pubsub/ack/", s.settleMany, true},
		{"POST", "/zato/pubsub/seek/*rest", s.seek, false},
		{"POST", "/zato/pubsub/subscribe/*rest", s.subscribe, false},
		{"GET", "/zato/pubsub/subscribe/*rest", s.subscribed, false},
		{"DELETE", "/zato/pubsub/subscribe/*rest", s.unsubscribe, false},
		{"GET", "/zato/ping", s.ping, false},
		{"GET", "/zato/ping/", s.ping, false},
		{"GET", "/health", s.health, false},
		{"GET", AlivePath, s.alive, false},
		{"GET", ReadyPath, s.ready, false},
		{"POST", "/hook/*rest", s.hook, true},
		{"OPTIONS", "/hook/*rest", s.hookHandshake, false},
	}
}

// handler answers a request. rest is what follows the route in the path, without the slash at
// either end that belongs to the URL.
type handler func(x *call, r *http.Request, rest string) error

func (s *server) handle(rt route) {
	exchange.Handle(s.router, rt.method, rt.path, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) {
		rest := ""
		if len(p) > 0 {
			// One slash ends the route, one may end the URL. Any other is part of the name.
			rest = strings.TrimSuffix(strings.TrimPrefix(p[0].Value, "/"), "/")
		}
		x := w.(*call)
		x.route = rt.path
		if rt.traced {
			x.span = s.opts.Load().Tracer.Request(r, rt.path)
		}
		x.Err = rt.handler(x, r, rest)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	w.(*call).Err = errNoRoute
}

func notAllowed(w http.ResponseWriter, _ *http.Request, message string) {
	w.(*call).Err = &httpError{http.StatusMethodNotAllowed, message}
}
