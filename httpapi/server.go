// Package httpapi is the wire protocol: REST publish/subscribe over HTTP, on httprouter.
//
// Every handler returns an error, and one adapter writes it: codes of the broker become statuses,
// the message goes to the client, the cause to the log. The adapter also gives each request its
// id, recovers panics, and writes the access line. It stands outside of the router, because
// nothing may clean or redirect a path: topic names begin with a slash, so a URL has two in a row.
package httpapi

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/segmentio/ksuid"

	"pipit/broker"
)

// Options configure the handler. The zero value of a field stands for its default.
type Options struct {
	MaxPayload int64 // bytes of one message; default 1 MiB
	MaxBatch   int64 // bytes of the body of a batch; default 16 MiB
	Logger     *slog.Logger
	Access     bool // a line in the log for every request
}

// DefaultMaxBatch is the default of Options.MaxBatch.
const DefaultMaxBatch = 16 << 20

// Time limits against slow clients.
const (
	headerTime = 10 * time.Second
	bodyTime   = 60 * time.Second // from the start of a request to the end of its body
	replyTime  = 90 * time.Second // from the end of the header to the end of the reply
	idleTime   = 2 * time.Minute
	maxHeader  = 16 << 10 // bytes
)

// NewServer returns a server with the limits that the handler counts on.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            headerTime,
		ReadTimeout:                  bodyTime,
		WriteTimeout:                 replyTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
	}
}

// server is the handler of all routes.
type server struct {
	b      *broker.Broker
	opts   Options
	log    *slog.Logger
	router *httprouter.Router
}

// New returns the handler of the wire protocol.
func New(b *broker.Broker, opts Options) http.Handler {
	if opts.MaxPayload <= 0 {
		opts.MaxPayload = broker.DefaultMaxPayload
	}
	if opts.MaxBatch <= 0 {
		opts.MaxBatch = DefaultMaxBatch
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	s := &server{b: b, opts: opts, log: opts.Logger, router: httprouter.New()}
	r := s.router
	r.RedirectTrailingSlash, r.RedirectFixedPath, r.HandleOPTIONS = false, false, false
	r.NotFound = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(*exchange).err = &httpError{status: http.StatusNotFound, message: "No such route"}
	})
	r.MethodNotAllowed = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		methods := strings.Split(w.Header().Get("Allow"), ", ")
		methods = slices.DeleteFunc(methods, func(m string) bool { return m == "OPTIONS" }) // which httprouter always adds
		allow := strings.Join(methods, ", ")
		w.Header().Set("Allow", allow)
		w.(*exchange).err = &httpError{status: http.StatusMethodNotAllowed, message: "Method " + clip(req.Method) + ": allowed are " + allow}
	})
	s.handle("POST", "/zato/pubsub/topic/*topic", s.publish)
	s.handle("POST", "/zato/pubsub/msg/*topic", s.receive)
	s.handle("GET", "/zato/pubsub/msg/*topic", s.stream)
	s.handle("DELETE", "/zato/pubsub/msg/*topic", s.settleOne)
	s.handle("POST", "/zato/pubsub/ack", s.settleMany)
	s.handle("POST", "/zato/pubsub/ack/", s.settleMany)
	s.handle("GET", "/zato/ping", s.ping)
	s.handle("GET", "/zato/ping/", s.ping)
	s.handle("GET", "/health", s.health)
	return s
}

type handler func(x *exchange, r *http.Request, rest string) error

func (s *server) handle(method, path string, h handler) {
	s.router.Handle(method, path, func(w http.ResponseWriter, r *http.Request, p httprouter.Params) {
		x := w.(*exchange)
		rest := ""
		if len(p) > 0 {
			rest = strings.TrimPrefix(p[0].Value, "/") // the slash is the route's, what follows the client's
		}
		x.err = h(x, r, rest)
	})
}

// exchange is one request on its way: what its log line and its reply need.
type exchange struct {
	http.ResponseWriter
	cid    string
	client string // username, when verified
	status int
	bytes  int
	err    error
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{ResponseWriter: w, cid: newCID(start)}
	w.Header()["X-Zato-Cid"] = []string{x.cid}
	s.route(x, r)
	if x.err != nil {
		s.fail(x, r)
	}
	if s.opts.Access {
		s.log.Info("request", "cid", x.cid, "method", r.Method, "path", logPath(r), "remote", r.RemoteAddr,
			"client", x.client, "status", x.status, "bytes", x.bytes, "duration", time.Since(start))
	}
}

// route runs the handler, and turns a panic into an error.
func (s *server) route(x *exchange, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic", "cid", x.cid, "panic", p, "stack", string(debug.Stack()))
			x.err = &broker.Error{Code: broker.Internal}
		}
	}()
	s.router.ServeHTTP(x, r)
}

// newCID makes the id of a request: K and a KSUID. It is no secret.
func newCID(now time.Time) string {
	var id ksuid.KSUID
	binary.BigEndian.PutUint32(id[:], uint32(now.Unix()-1_400_000_000))
	binary.BigEndian.PutUint64(id[4:], rand.Uint64())
	binary.BigEndian.PutUint64(id[12:], rand.Uint64())
	var b [28]byte
	b[0] = 'K'
	id.Append(b[1:1])
	return string(b[:])
}

// logPath is the path as the log may show it: a query may hold anything.
func logPath(r *http.Request) string {
	p := r.URL.Path
	if len(p) > 256 {
		p = p[:256] + "…"
	}
	return p
}

// client returns who calls.
func (s *server) client(x *exchange, r *http.Request) (*broker.Client, error) {
	username, password, ok := r.BasicAuth()
	if !ok {
		return nil, &broker.Error{Code: broker.Unauthorized, Message: "Invalid credentials", Reason: "no credentials"}
	}
	c, err := s.b.Authenticate(r.Context(), username, password, host(r.RemoteAddr))
	if err != nil {
		return nil, err
	}
	x.client = c.Username
	return c, nil
}

// host is the address without its port.
func host(addr string) string {
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		return addr[:i]
	}
	return addr
}

// topicSubscription returns the queue that the request's key opens, of the topic that the URL names.
func (s *server) topicSubscription(x *exchange, r *http.Request, rest string) (broker.Subscription, error) {
	c, err := s.client(x, r)
	if err != nil {
		return broker.Subscription{}, err
	}
	name, err := topicName(rest)
	if err != nil {
		return broker.Subscription{}, err
	}
	return s.openQueue(x, r, c, name)
}

// subscription returns the queue that the request's key opens, of any topic.
func (s *server) subscription(x *exchange, r *http.Request) (broker.Subscription, error) {
	c, err := s.client(x, r)
	if err != nil {
		return broker.Subscription{}, err
	}
	return s.openQueue(x, r, c, "")
}

// openQueue returns the queue that the request's key opens. topic may be empty.
func (s *server) openQueue(x *exchange, r *http.Request, c *broker.Client, topic string) (broker.Subscription, error) {
	keys := r.Header["X-Zato-Pubsub-Key"]
	if len(keys) != 1 || keys[0] == "" {
		return broker.Subscription{}, broker.Invalidf("Header X-Zato-PubSub-Key: exactly one is needed, the consumer's sub_key")
	}
	sub, err := s.b.Subscription(c, topic, keys[0])
	if err != nil {
		s.log.Debug("sub_key of a refused request", "cid", x.cid, "begins", keys[0][:min(4, len(keys[0])/4)])
	}
	return sub, err
}

// topicName takes the optional slash off the end of what a URL names.
func topicName(rest string) (string, error) {
	name := strings.TrimSuffix(rest, "/")
	if name == "" {
		return "", &httpError{status: http.StatusNotFound, message: "No such route: a topic name is missing"}
	}
	return name, nil
}

var (
	typeJSON = []string{"application/json"}
	typeXML  = []string{"application/xml"}
)

// reply sends a whole body.
func (x *exchange) reply(status int, contentType []string, body []byte) error {
	h := x.ResponseWriter.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(status)
	_, err := x.Write(body)
	return err
}

// patient lifts the time limits of a request that waits, and sets one for its next write.
func patient(x *exchange, reply time.Duration) {
	rc := http.NewResponseController(x.ResponseWriter)
	_ = rc.SetReadDeadline(time.Time{}) // else the server takes the wait for a slow body
	_ = rc.SetWriteDeadline(time.Now().Add(reply))
}

// health tells whether messages can be stored.
func (s *server) health(x *exchange, r *http.Request, _ string) error {
	if err := s.b.Health(); err != nil {
		return &broker.Error{Code: broker.Unavailable, Message: "Nothing can be stored: the last write failed", RetryAfter: 5 * time.Second, Err: err}
	}
	return x.reply(http.StatusOK, typeJSON, []byte(`{"status": "ZATO_OK", "details": ""}`))
}

// ping answers whoever asks.
func (s *server) ping(x *exchange, r *http.Request, _ string) error {
	b := append(make([]byte, 0, 160), `{"zato_ping_response": {"pong": "zato"}, "zato_env": {"details": "", "result": "ZATO_OK", "cid": `...)
	b = append(appendString(b, x.cid), "}}"...)
	return x.reply(http.StatusOK, typeJSON, b)
}

// gone tells whether the client has left.
func gone(ctx context.Context) bool { return ctx.Err() != nil }
