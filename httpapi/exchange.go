package httpapi

import (
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/segmentio/ksuid"

	"pipit/broker"
	"pipit/broker/clip"
)

// exchange is one request on its way: what its reply and its log line need. It is not used again
// for another request, because net/http reads the header after the handler has returned.
type exchange struct {
	http.ResponseWriter
	req      *http.Request
	ctx      presence
	cid      [1]string // the request's ID, as the header wants it
	remote   string    // address of the client
	xml      bool      // the reply is asked for as XML
	username string    // as the client gave it
	verified bool      // it is that of a client, with the right password
	key      string    // the first characters of the sub_key
	status   int       // 0 until the reply has begun
	bytes    int       // of the reply
	err      error     // from the handler
	in       room      // of the body
	read     bool      // the body was read to its end
	unread   bool      // a body is left on the connection
	room     [128]byte // for a short reply
}

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.ignoreBody()
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// ServeHTTP gives a request its ID, has it answered, and logs it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	x := &exchange{
		ResponseWriter: w, req: r, cid: [1]string{newCID(start)}, remote: s.opts.Load().Proxies.Remote(r),
		xml: r.URL.RawQuery != "" && wantsXML(r.URL.RawQuery),
	}
	x.ctx.Context, x.ctx.http1 = r.Context(), r.ProtoMajor == 1
	h := w.Header()
	h[headerCID], h["X-Content-Type-Options"], h["Cache-Control"] = x.cid[:], noSniff, noStore
	opts := s.opts.Load()
	if len(opts.CORSOrigins) == 0 || !s.cors(x, r) {
		if x.err = opts.checkOrigin(r); x.err == nil {
			s.route(x, r)
		}
	}
	if x.err != nil {
		s.fail(x, r)
	}
	if s.opts.Load().Access {
		s.log.LogAttrs(r.Context(), slog.LevelInfo, "request", append(x.attrs(r),
			slog.Int("status", x.status), slog.Int("bytes", x.bytes), slog.Duration("duration", time.Since(start)))...)
	}
	x.ctx.end()
	if x.unread {
		x.linger()
	}
}

// route runs the handler, and turns a panic into an error.
func (s *server) route(x *exchange, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.log.Error("panic", "cid", x.cid[0], "panic", p, "stack", string(debug.Stack()))
			x.err = &broker.Error{Code: broker.Internal, Message: "panic"}
		}
	}()
	s.router.ServeHTTP(x, r)
}

// attrs are what a log line says of a request. A query is not among it, as it may hold anything.
func (x *exchange) attrs(r *http.Request) []slog.Attr {
	a := append(make([]slog.Attr, 0, 12), slog.String("cid", x.cid[0]), slog.String("method", clip.Input(r.Method)),
		slog.String("path", clip.To(r.URL.Path, 256)), slog.String("remote", x.remote))
	if x.username != "" {
		a = append(a, slog.String("client", clip.Input(x.username)))
	}
	if x.key != "" {
		a = append(a, slog.String("sub_key", x.key+"…"))
	}
	return a
}

// newCID makes the ID of a request: K and a KSUID. It is no secret.
func newCID(now time.Time) string {
	var payload [16]byte
	binary.BigEndian.PutUint64(payload[:], rand.Uint64())  // #nosec G404 -- the ID of a request is no secret
	binary.BigEndian.PutUint64(payload[8:], rand.Uint64()) // #nosec G404 -- the ID of a request is no secret
	id, err := ksuid.FromParts(now, payload[:])
	if err != nil { // of another length than 16
		panic(err)
	}
	var b [28]byte
	b[0] = 'K'
	id.Append(b[1:1])
	return string(b[:])
}

// Header names as they are to be on the wire. net/http would spell them in its own way; HTTP/2 has lower
// case alone.
const (
	headerCID       = "X-Zato-CID"
	headerChallenge = "WWW-Authenticate"
)

// Header values that many replies share. net/http does not change them.
var (
	typeJSON   = []string{"application/json"}
	typeXML    = []string{"application/xml"}
	typeEvents = []string{"text/event-stream"}
	noSniff    = []string{"nosniff"}
	noStore    = []string{"no-store"}
	noChange   = []string{"no-cache, no-store, no-transform"}
	isNo       = []string{"no"}
	challenge  = []string{`Basic realm="Zato pub/sub", charset="UTF-8"`}
	isTrue     = []string{"true"}
	isClose    = []string{"close"}
)

// shortReply is below what net/http gathers before it sends: up to that it counts the length itself.
const shortReply = 1 << 10

// reply sends a whole body.
func (x *exchange) reply(status int, contentType []string, body []byte) error {
	x.ignoreBody()
	if len(body) > shortReply || x.unread { // linger sends it before net/http has seen the end
		x.setLength(int64(len(body)))
	}
	x.head(status, contentType)
	_, err := x.Write(body)
	return err
}

// head begins a reply.
func (x *exchange) head(status int, contentType []string) {
	x.Header()["Content-Type"] = contentType
	x.WriteHeader(status)
}

func (x *exchange) setLength(n int64) {
	x.Header()["Content-Length"] = []string{strconv.FormatInt(n, 10)}
}

// patient lifts the time limit of reading, for a request that waits, and sets that of writing anew.
// With the former, the server would take the wait for a slow body and the client for gone.
func (x *exchange) patient(reply time.Duration) {
	rc := http.NewResponseController(x.ResponseWriter)
	if !x.unread { // of that, the limit bounds what the server still takes when the handler is done
		_ = rc.SetReadDeadline(time.Time{})
	}
	_ = rc.SetWriteDeadline(time.Now().Add(reply))
}
