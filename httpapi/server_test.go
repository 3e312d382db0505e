package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/store"
	"pipit/cluster/clustertest"
	"pipit/db"
	"pipit/httpapi"
)

var ctx = context.Background()

// Who calls, and the bcrypt hashes of their passwords at the least cost.
const (
	crm = "crm:crm"
	erp = "erp:erp"
	bob = "bob:crm"

	crmHash = "$2a$04$6RKlaJkPNhBbxDny7Z4BB.vuvHCvF8uHDV7Dt.w6l2Yjho8R7bQyu"
	erpHash = "$2a$04$08ZNJkafl.N/xVDI8g9wlO34ahTH9n.9G3rZC6YRbGW2pT9Rb9ARW"
)

// The topics, and the queues of them that belong to erp. key is that of the one in the documentation.
const (
	created = "/zato/pubsub/topic//customer/created/"
	queue   = "/zato/pubsub/msg//customer/created/"
	key     = "K06Y63NEJQYGMQKTP9D4KGQQ0GB2"
	ackMany = "/zato/pubsub/ack/"
)

// patience is how long a test waits for what has to come. Nothing that passes takes so long.
const patience = 40 * time.Second

// marked is part of every payload that a test looks for in the log.
const marked = "PAYLOAD-6b1f"

// setup is what a test changes of its server.
type setup struct {
	broker  broker.Options
	api     httpapi.Options
	consume func(*broker.Consumer) // changes the consumers
	topic   func(*broker.Topic)    // changes the topics
	wrap    func(http.Handler) http.Handler
	secure  bool // TLS, with HTTP/2
	broken  bool // what the store holds is uncertain at the end: closing says so
}

// rig is a server on a real listener over a broker over a real file.
type rig struct {
	t      testing.TB
	b      *broker.Broker
	store  *stub
	wire   *httpapi.Handler
	srv    *http.Server
	addr   string
	base   string // of URLs
	client *http.Client
	logs   *logBuffer
}

var onCluster = flag.Bool("cluster", false, "have the servers of the tests on the leader of three nodes")

// openStore opens the store of a rig. ended is called when it is closed.
func openStore(t testing.TB, path string, logger *slog.Logger) (s store.Store, ended func()) {
	t.Helper()
	if *onCluster {
		c := clustertest.New(t, clustertest.Options{Path: path})
		c.Change(clustertest.Changes[len(t.Name())%len(clustertest.Changes)])
		return c.Store(), c.Stop
	}
	file, err := db.Open(path, db.Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	return file, func() {}
}

func newServer(t testing.TB, change ...func(*setup)) *rig {
	t.Helper()
	r := &rig{t: t, logs: &logBuffer{}}
	logger := slog.New(slog.NewJSONHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := setup{
		broker:  broker.Options{Logger: logger},
		api:     httpapi.Options{Logger: logger, Access: true},
		consume: func(*broker.Consumer) {},
		topic:   func(*broker.Topic) {},
		wrap:    func(h http.Handler) http.Handler { return h },
	}
	for _, f := range change {
		f(&s)
	}
	path := filepath.Join(t.TempDir(), "pipit.db")
	file, ended := openStore(t, path, logger)
	r.store = &stub{Store: file}
	// Hashes so cheap were allowed once: they spare the tests most of their time.
	define := &store.Batch{Now: time.Now()}
	for _, c := range []broker.Client{
		{Username: "crm", Name: "CRM", PasswordHash: crmHash},
		{Username: "erp", Name: "ERP", PasswordHash: erpHash},
		{Username: "bob", Name: "Bob", PasswordHash: crmHash},
		{Username: "off", Name: "Off", PasswordHash: crmHash, Inactive: true},
	} {
		value, err := json.Marshal(struct {
			broker.Client
			Active bool
		}{c, !c.Inactive})
		if err != nil {
			t.Fatal(err)
		}
		define.Define = append(define.Define, store.Object{Kind: store.Client, Key: c.Username, Value: value})
	}
	err := file.Commit(define)
	if err != nil {
		t.Fatal(err)
	}
	if r.b, err = broker.Open(r.store, s.broker); err != nil {
		file.Close()
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.wire = httpapi.New(r.b, s.api)
	r.srv = httpapi.NewServer(s.wrap(r.wire), 0)
	r.srv.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelError)
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}
	served := make(chan error, 1)
	l = httpapi.Listener(l, logger)
	if r.base = "http://" + r.addr; s.secure {
		r.base = "https://" + r.addr
		lent := httptest.NewTLSServer(nil) // its certificate is known to its client
		lent.Close()
		r.srv.TLSConfig = &tls.Config{Certificates: lent.TLS.Certificates}
		transport.TLSClientConfig, transport.ForceAttemptHTTP2 = lent.Client().Transport.(*http.Transport).TLSClientConfig, true
		go func() { served <- r.srv.ServeTLS(l, "", "") }()
	} else {
		go func() { served <- r.srv.Serve(l) }()
	}
	r.client = &http.Client{
		Transport: transport,
		Timeout:   patience,
		CheckRedirect: func(req *http.Request, _ []*http.Request) error {
			return errors.New("redirected to " + req.URL.String())
		},
	}
	t.Cleanup(func() {
		t.Helper()
		transport.CloseIdleConnections()
		r.b.Drain()
		end, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if err := r.srv.Shutdown(end); err != nil {
			t.Errorf("requests go on for ever: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		if err := r.b.Close(); (err != nil) != s.broken {
			t.Errorf("close: %v", err)
		}
		ended()
		file, err := db.Open(path, db.Options{Logger: logger})
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Check(); err != nil {
			t.Errorf("check: %v", err)
		}
		if err := file.Close(); err != nil {
			t.Error(err)
		}
		r.checkLogs()
	})
	r.define(&s)
	return r
}

func (r *rig) define(s *setup) {
	r.t.Helper()
	topic := func(name string, active bool) broker.Topic {
		t := broker.Topic{Name: name, Inactive: !active, MaxDepth: limit.DefaultMaxDepth, Expiration: 60, DedupWindow: 5 * time.Minute}
		s.topic(&t)
		return t
	}
	consumer := func(client, topic, key string, active bool) broker.Consumer {
		c := broker.Consumer{Client: client, Topic: topic, SubKey: key, Inactive: !active, MaxDepth: limit.DefaultMaxDepth,
			MaxInFlight: limit.DefaultMaxInFlight, AckTimeout: time.Hour}
		s.consume(&c)
		return c
	}
	_, err := r.b.Apply(ctx, broker.Definition{
		Topics: []broker.Topic{topic("/customer/created", true), topic("orders", true), topic("/a b/ż€😀", true), topic("/off", false), topic("/other", true)},
		Producers: []broker.Producer{
			{Client: "crm", Topic: "/customer/created"},
			{Client: "crm", Topic: "orders"},
			{Client: "crm", Topic: "/a b/ż€😀"},
			{Client: "crm", Topic: "/off"},
			{Client: "crm", Topic: "/other", Inactive: true},
			{Client: "off", Topic: "/customer/created"},
		},
		Consumers: []broker.Consumer{
			consumer("erp", "/customer/created", key, true),
			consumer("erp", "orders", "orders-erp-key", true),
			consumer("erp", "/a b/ż€😀", "spaces-erp-key", true),
			consumer("erp", "/off", "off-topic-key", true),
			consumer("erp", "/other", "off-consumer-key", false),
			consumer("bob", "/customer/created", "bobs-own-key", true),
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// secrets must never be in the log, nor in what is kept of refusals: keys, passwords as they are sent, payloads.
var secrets = []string{key, "orders-erp-key", "spaces-erp-key", "off-topic-key", "off-consumer-key", "bobs-own-key", marked,
	"Y3JtOmNybQ==", "ZXJwOmVycA==", crmHash, erpHash, "wrong-password-1"}

func (r *rig) checkLogs() {
	r.t.Helper()
	for line := range strings.Lines(r.logs.String()) {
		for _, s := range secrets {
			if strings.Contains(line, s) {
				r.t.Errorf("the log holds %q: %s", s, line)
			}
		}
	}
	for _, f := range r.wire.Refusals().List() {
		for _, s := range secrets {
			if text := fmt.Sprintf("%+v", f); strings.Contains(text, s) {
				r.t.Errorf("a refusal holds %q: %s", s, text)
			}
		}
	}
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   string
}

var (
	cidPattern      = regexp.MustCompile(`^K[0-9A-Za-z]{27}$`)
	errorXMLPattern = regexp.MustCompile(`^<\?xml version="1.0" encoding="UTF-8"\?>\n<data><status>ZATO_ERROR</status><details>[^<]+</details></data>$`)
	errorPattern    = regexp.MustCompile(`^\{"status": "ZATO_ERROR", "details": ".+"\}$`)
)

// request makes a request. auth is user:password or empty, header are pairs.
func (r *rig) request(ctx context.Context, method, path, auth string, body io.Reader, header ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	if user, password, ok := strings.Cut(auth, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

// send sends a request and checks what all replies have in common.
func (r *rig) send(req *http.Request) reply {
	r.t.Helper()
	a, err := r.trySend(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return a
}

func (r *rig) trySend(req *http.Request) (reply, error) {
	r.t.Helper()
	res, err := r.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	a := reply{res.StatusCode, res.Header, string(b)}
	r.common(req.Method, req.URL.String(), a)
	return a, nil
}

// common checks what all replies have in common.
func (r *rig) common(method, url string, a reply) {
	r.t.Helper()
	fail := func(what string) { r.t.Helper(); r.t.Errorf("%s %s: %d %s: %s", method, url, a.status, a.body, what) }
	if !cidPattern.MatchString(a.header.Get("X-Zato-CID")) || len(a.header.Values("X-Zato-CID")) != 1 {
		fail("X-Zato-CID is not one id: " + strings.Join(a.header.Values("X-Zato-CID"), " "))
	}
	if cache := a.header.Get("Cache-Control"); a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(cache, "no-store") {
		fail("the reply may be kept, or taken for what it is not")
	}
	if a.header.Get("Location") != "" || a.status/100 == 3 {
		fail("a redirect")
	}
	if a.status >= 400 {
		contentType, wellFormed := "application/json", errorPattern.MatchString(a.body) && json.Valid([]byte(a.body))
		if strings.Contains(strings.ToLower(url), "format=xml") {
			contentType, wellFormed = "application/xml", errorXMLPattern.MatchString(a.body)
		}
		if a.header.Get("Content-Type") != contentType {
			fail("Content-Type " + a.header.Get("Content-Type"))
		}
		if method != "HEAD" && !wellFormed {
			fail("not the form of an error")
		}
	}
	if got, want := a.header.Get("WWW-Authenticate"), `Basic realm="Zato pub/sub", charset="UTF-8"`; (a.status == 401) != (got == want) || a.status != 401 && got != "" {
		fail("WWW-Authenticate " + got)
	}
	if got := a.header.Get("Retry-After"); (a.status == 429 || a.status == 503) != regexp.MustCompile(`^[1-9][0-9]*$`).MatchString(got) {
		fail("Retry-After " + got)
	}
	if got := a.header.Get("Allow"); (a.status == 405) != (got != "") {
		fail("Allow " + got)
	}
}

func (r *rig) do(method, path, auth, body string, header ...string) reply {
	r.t.Helper()
	return r.send(r.request(ctx, method, path, auth, strings.NewReader(body), header...))
}

// want sends a request whose reply is known byte for byte.
func (r *rig) want(status int, body string, method, path, auth, sent string, header ...string) reply {
	r.t.Helper()
	a := r.do(method, path, auth, sent, header...)
	if a.status != status || a.body != body {
		r.t.Errorf("%s %s: %d %s, want %d %s", method, path, a.status, a.body, status, body)
	}
	return a
}

// refuse sends a request that is refused with these details.
func (r *rig) refuse(status int, details string, method, path, auth, sent string, header ...string) reply {
	r.t.Helper()
	return r.want(status, `{"status": "ZATO_ERROR", "details": `+quoted(details)+`}`, method, path, auth, sent, header...)
}

// quoted is a JSON string in ASCII.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch high, low := utf16.EncodeRune(r); {
		case high != utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r >= utf8.RuneSelf:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

var publishPattern = regexp.MustCompile(`^\{"status": "ZATO_OK", "msg_id": "([^"]{1,200})"\}$`)

// publish publishes to a URL and returns the msg_id.
func (r *rig) publish(path, payload string, header ...string) string {
	r.t.Helper()
	a := r.do("POST", path, crm, payload, header...)
	m := publishPattern.FindStringSubmatch(a.body)
	if a.status != 200 || m == nil || a.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("publish %s: %d %s", path, a.status, a.body)
	}
	return m[1]
}

// received is the reply of a receive.
type received struct {
	Status  string  `json:"status" xml:"status"`
	Count   int     `json:"results_count" xml:"results_count"`
	Results []*item `json:"results" xml:"results>item"`
}

type item struct {
	Payload  string `json:"payload" xml:"payload"`
	Metadata struct {
		ID         string `json:"msg_id" xml:"msg_id"`
		Topic      string `json:"topic" xml:"topic"`
		Created    string `json:"creation_time_utc" xml:"creation_time_utc"`
		Expiration int64  `json:"expiration" xml:"expiration"`
		ExpireAt   string `json:"expire_at_utc" xml:"expire_at_utc"`
		Producer   string `json:"producer" xml:"producer"`
		Priority   int    `json:"priority" xml:"priority"`
		MIMEType   string `json:"mime_type" xml:"mime_type"`
		Deliveries int    `json:"delivery_count" xml:"delivery_count"`
		Encoding   string `json:"encoding" xml:"encoding"`
	} `json:"metadata" xml:"metadata"`
}

func (a received) payloads() (s []string) {
	for _, m := range a.Results {
		s = append(s, m.Payload)
	}
	return s
}

// decodeJSON decodes a whole document strictly.
func decodeJSON(t testing.TB, s string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(s))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	if d.InputOffset() != int64(len(s)) {
		t.Fatalf("something follows the document: %s", s)
	}
}

// receive receives as erp from a URL.
func (r *rig) receive(path string, keys ...string) received {
	r.t.Helper()
	k := key
	if len(keys) > 0 {
		k = keys[0]
	}
	return r.parsed(r.do("POST", path, erp, "", "X-Zato-PubSub-Key", k))
}

func (r *rig) parsed(a reply) (got received) {
	r.t.Helper()
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		r.t.Fatalf("receive: %d %s", a.status, a.body)
	}
	decodeJSON(r.t, a.body, &got)
	if got.Status != "ZATO_OK" || got.Count != len(got.Results) {
		r.t.Fatalf("receive: %s", a.body)
	}
	return got
}

// wantPayloads receives, and compares the payloads.
func (r *rig) wantPayloads(path string, want ...string) received {
	r.t.Helper()
	got := r.receive(path)
	if strings.Join(got.payloads(), "|") != strings.Join(want, "|") {
		r.t.Errorf("received %q, want %q", got.payloads(), want)
	}
	return got
}

// raw sends bytes over a connection of its own, and returns the one reply.
func (r *rig) raw(request string) reply {
	r.t.Helper()
	c := r.dial()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	return r.readReply(c, strings.Fields(request)[0])
}

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// await waits until a channel is closed or has something.
func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		t.Fatal("it never happened")
	}
	return v
}

// stub is a store with faults.
type stub struct {
	store.Store
	commit atomic.Pointer[func(*store.Batch) error]
	scan   atomic.Pointer[func()] // before messages are read, as a receive does; the sweeper does not where none has expired
}

func (s *stub) Commit(b *store.Batch) error {
	if f := s.commit.Load(); f != nil {
		if err := (*f)(b); err != nil {
			return err
		}
	}
	return s.Store.Commit(b)
}

func (s *stub) View(fn func(store.Reader) error) error {
	return s.Store.View(func(r store.Reader) error { return fn(reader{r, s}) })
}

// reader is one of a stub.
type reader struct {
	store.Reader
	stub *stub
}

func (r reader) Scan(l store.Lane, from uint64, down bool, fn func(*store.Record) bool) error {
	if f := r.stub.scan.Load(); f != nil {
		(*f)()
	}
	return r.Reader.Scan(l, from, down, fn)
}

// failCommits makes every commit fail with err, nil ends that.
func (s *stub) failCommits(err error) {
	f := func(*store.Batch) error { return err }
	s.commit.Store(&f)
}

// logBuffer is a log in memory.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the lines with a message, decoded.
func (l *logBuffer) lines(t testing.TB, msg string) (all []map[string]any) {
	t.Helper()
	for s := range strings.Lines(l.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatal(err)
		}
		if m["msg"] == msg {
			all = append(all, m)
		}
	}
	return all
}

// readReply reads one reply from a connection.
func (r *rig) readReply(c net.Conn, method string) reply {
	r.t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := reply{res.StatusCode, res.Header, string(b)}
	r.common(method, "raw", a)
	return a
}

// The protocol on a cluster of three. All tests run so by go test ./httpapi -cluster.
func TestOnCluster(t *testing.T) {
	tests := "TestGoldenExchanges"
	if !testing.Short() {
		tests += "|TestHook|TestSeek|TestAckOnReceive|TestPublishParameters"
	}
	if !*onCluster {
		clustertest.Again(t, tests)
	}
}
