package httpapi

import (
	"cmp"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
	"pipit/httpapi/exchange"
	"pipit/httpapi/presence"
	"pipit/tracing"
)

// call is a request of the protocol: what its reply needs, beside what every exchange does.
type call struct {
	exchange.Exchange
	ctx      presence.Context
	route    string         // as httprouter takes it
	xml      bool           // the reply is asked for as XML
	username string         // as the client gave it
	client   *broker.Client // who that is; nil: the password was wrong, or there was none
	key      string         // the first characters of the sub_key; or the name of the webhook that is called
	hook     bool           // a webhook is called
	span     *tracing.Span  // nil: there is none
	in       room           // of the body
	pace     pace           // of the body
	read     bool           // the body was read to its end
	unread   bool           // a body is left on the connection
	room     [128]byte      // for a short reply
}

// Begin is for exchange.Side.
func (x *call) Begin() { x.ignoreBody() }

// Caller is for exchange.Side.
func (x *call) Caller() string {
	if x.client == nil {
		return ""
	}
	return x.username
}

// Attrs is for exchange.Side.
func (x *call) Attrs(a []slog.Attr) []slog.Attr {
	if x.username != "" {
		a = append(a, slog.String("client", clip.Input(x.username)))
	}
	switch {
	case x.hook:
		a = append(a, slog.String("webhook", x.key))
	case x.key != "":
		a = append(a, slog.String("sub_key", x.key+"…"))
	}
	return a
}

// ServeHTTP gives a request its ID, has it answered, and logs it.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	opts := s.opts.Load()
	x := newCall(w, r, start)
	x.Remote = opts.Proxies.Remote(r)
	if len(opts.CORSOrigins) == 0 || !s.cors(x, r) {
		if x.Err = opts.checkOrigin(r); x.Err == nil {
			s.lines.Run(&x.Exchange, s.router, r)
		}
	}
	if x.Err != nil {
		s.fail(x)
	}
	if s.opts.Load().Access {
		s.lines.Access(&x.Exchange, start)
	}
	if opts.Answered != nil {
		opts.Answered(cmp.Or(x.route, exchange.NoRoute), r.Method, cmp.Or(x.Status, http.StatusOK), time.Since(start), x.ID[0])
	}
	x.span.Answered(cmp.Or(x.Status, http.StatusOK), x.ID[0])
	x.ctx.End()
	if x.unread {
		x.linger()
	}
}

// newCall begins the answer to a request.
func newCall(w http.ResponseWriter, r *http.Request, start time.Time) *call {
	x := &call{xml: r.URL.RawQuery != "" && wantsXML(r.URL.RawQuery)}
	x.Exchange = exchange.Exchange{ResponseWriter: w, Side: x, Request: r, ID: [1]string{exchange.NewID(start)}}
	x.ctx.Context, x.ctx.HTTP1 = r.Context(), r.ProtoMajor == 1
	h := w.Header()
	h[headerCID], h["X-Content-Type-Options"], h["Cache-Control"] = x.ID[:], noSniff, noStore
	return x
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
	typeText   = []string{"text/plain; charset=utf-8"}
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
func (x *call) reply(status int, contentType []string, body []byte) error {
	x.ignoreBody()
	if len(body) > shortReply || x.unread { // linger sends it before net/http has seen the end
		x.setLength(int64(len(body)))
	}
	x.head(status, contentType)
	_, err := x.Write(body)
	return err
}

// head begins a reply.
func (x *call) head(status int, contentType []string) {
	x.Header()["Content-Type"] = contentType
	x.WriteHeader(status)
}

func (x *call) setLength(n int64) {
	x.Header()["Content-Length"] = []string{strconv.FormatInt(n, 10)}
}

// patient lifts the time limit of reading, for a request that waits, and sets that of writing anew.
// With the former, the server would take the wait for a slow body and the client for one that has left.
func (x *call) patient(reply time.Duration) {
	rc := http.NewResponseController(x.ResponseWriter)
	if !x.unread { // of that, the limit bounds what the server still takes when the handler is done
		_ = rc.SetReadDeadline(time.Time{})
	}
	_ = rc.SetWriteDeadline(time.Now().Add(reply))
}
