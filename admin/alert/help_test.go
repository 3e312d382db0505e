package alert_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pipit/admin/alert"
	"pipit/admin/monitor"
	"pipit/broker"
	"pipit/db"
)

// posted is a body as Alertmanager documents it.
type posted struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   uint64            `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []struct {
		Status       string            `json:"status"`
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
		StartsAt     time.Time         `json:"startsAt"`
		EndsAt       time.Time         `json:"endsAt"`
		GeneratorURL string            `json:"generatorURL"`
		Fingerprint  string            `json:"fingerprint"`
	} `json:"alerts"`

	at    time.Time
	bytes int
	body  []byte
}

// brief is what a post tells, such as: firing: +consumer_away -disk_low.
func (p *posted) brief() string {
	s := p.Status + ":"
	for _, a := range p.Alerts {
		sign := map[string]string{"firing": " +", "resolved": " -"}[a.Status]
		s += sign + a.Labels["alertname"]
	}
	return s
}

// watched is what tests have need attention.
type watched struct {
	mu    sync.Mutex
	found []monitor.Finding
}

func (w *watched) Situation(time.Duration) monitor.Situation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return monitor.Situation{Findings: w.found}
}

// set has things of these codes need attention, and no others.
func (w *watched) set(codes ...string) {
	var found []monitor.Finding
	for _, code := range codes {
		found = append(found, monitor.Finding{Attention: monitor.Attention{Code: code, Text: "It is " + code, Link: "/p/admin/" + code}})
	}
	w.find(found...)
}

// find has these things need attention, and no others.
func (w *watched) find(found ...monitor.Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = found
}

// office is a broker whose alerts go to receivers within this process, in a bubble.
type office struct {
	*watched
	t    *testing.T
	file string
	b    *broker.Broker
	s    *alert.Service
	log  bytes.Buffer
	o    alert.Options

	mu     sync.Mutex
	posts  []posted
	status int           // that posts are answered with; 0: 204
	hang   chan struct{} // posts are not answered before it is closed
	mails  []received
	mail   mailServer
	web    *http.Server
	conns  chan net.Conn
}

const (
	hook     = "http://user:s3cret@hooks.example.test/T0KEN?key=s3cret"
	password = "passw0rd"
)

func newOffice(t *testing.T, o alert.Options) *office {
	t.Helper()
	f := &office{watched: &watched{}, t: t, file: filepath.Join(t.TempDir(), "pipit.db"), o: o, conns: make(chan net.Conn)}
	f.mail.office = f
	f.o.Dial = f.dial
	f.web = &http.Server{Handler: http.HandlerFunc(f.take)}
	go f.web.Serve(&listener{f.conns, make(chan struct{}), sync.Once{}})
	f.open()
	return f
}

// open starts the broker and its alerts.
func (f *office) open() {
	f.t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	store, err := db.Open(f.file, db.Options{Logger: quiet})
	if err != nil {
		f.t.Fatal(err)
	}
	if f.b, err = broker.Open(store, broker.Options{Logger: quiet}); err != nil {
		f.t.Fatal(err)
	}
	if f.s, err = alert.New(f.b, f.watched, "https://mq.example.test", "/p", slog.New(slog.NewTextHandler(&f.log, nil))); err != nil {
		f.t.Fatal(err)
	}
	f.adjust()
}

// changed changes what is stored, while nobody has it open.
func (f *office) changed(kind, key string, change func(string) string) {
	f.t.Helper()
	store, err := db.Open(f.file, db.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.t.Fatal(err)
	}
	docs, err := b.Documents(kind, "", false, 100)
	for _, d := range docs {
		if d.Key == key && err == nil {
			err = b.PutDocuments(context.Background(), broker.Document{Kind: kind, Key: key, Value: []byte(change(string(d.Value)))})
		}
	}
	if err := errors.Join(err, b.Close()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *office) adjust() {
	f.t.Helper()
	if err := f.s.Adjust(f.o); err != nil {
		f.t.Fatal(err)
	}
}

func (f *office) close() {
	f.t.Helper()
	f.s.Close()
	if err := f.b.Close(); err != nil {
		f.t.Error(err)
	}
}

// end closes everything, and looks for secrets in what was logged.
func (f *office) end() {
	f.close()
	f.web.Close()
	for _, secret := range []string{"s3cret", "T0KEN", password, "user:"} {
		if strings.Contains(f.log.String(), secret) {
			f.t.Errorf("the log has %s: %s", secret, f.log.String())
		}
	}
}

// listener accepts what is dialed.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *listener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

func (f *office) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	here, there := net.Pipe()
	if strings.HasPrefix(addr, "hooks.example.test:") {
		select {
		case f.conns <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	go f.mail.serve(there, strings.HasSuffix(addr, ":465"))
	return here, nil
}

// take is the receiver of posts.
func (f *office) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	p := posted{at: time.Now(), bytes: len(body), body: body}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err == nil {
		err = d.Decode(&p)
	}
	if user, pass, _ := r.BasicAuth(); err != nil || user != "user" || pass != "s3cret" || r.Method != http.MethodPost || r.URL.Path != "/T0KEN" || r.Header.Get("Content-Type") != "application/json" {
		f.t.Errorf("%v: %s %s %v", err, r.Method, r.URL, r.Header)
	}
	f.mu.Lock()
	f.posts = append(f.posts, p)
	status, hang := f.status, f.hang
	f.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	if status != 0 {
		http.Error(w, "no, thanks", status)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// pass lets time go by, and all settle.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// answer has posts answered with a status; 0: 204.
func (f *office) answer(status int) {
	f.mu.Lock()
	f.status = status
	f.mu.Unlock()
}

// mailed is how many mails came.
func (f *office) mailed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mails)
}

// got returns what was posted since the last time.
func (f *office) got() []posted {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.posts
	f.posts = nil
	return list
}

// briefs is what was posted since the last time, in brief.
func (f *office) briefs() string {
	var all []string
	for _, p := range f.got() {
		all = append(all, p.brief())
	}
	return strings.Join(all, "; ")
}

// received is a mail.
type received struct {
	from string
	to   []string
	auth string // user, a blank and the password; empty: nobody signed in
	tls  bool
	text string // with its headers
}

// mailServer is one of SMTP, as far as a client of one message needs it.
type mailServer struct {
	*office
	config   *tls.Config // nil: there is no STARTTLS
	refusing atomic.Bool // of recipients
}

func (m *mailServer) serve(c net.Conn, secure bool) {
	defer func() { c.Close() }()
	if secure {
		c = tls.Server(c, m.config)
	}
	got := received{tls: secure}
	in := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 mail.example.test")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO":
			more := "250-AUTH PLAIN LOGIN\r\n"
			if m.config != nil && !got.tls {
				more = "250-STARTTLS\r\n"
			}
			say("250-mail.example.test\r\n%s250 8BITMIME", more)
		case "STARTTLS":
			say("220 go on")
			c = tls.Server(c, m.config)
			in, got.tls = bufio.NewReader(c), true
		case "AUTH":
			_, encoded, _ := strings.Cut(rest, " ")
			plain, _ := base64.StdEncoding.DecodeString(encoded)
			parts := strings.Split(string(plain), "\x00")
			if got.auth = strings.Join(parts[1:], " "); parts[2] != password {
				say("535 5.7.8 no such user")
				continue
			}
			say("235 welcome")
		case "MAIL":
			got.from = rest
			say("250 ok")
		case "RCPT":
			if m.refusing.Load() {
				say("550 5.1.1 nobody here of that name")
				continue
			}
			got.to = append(got.to, rest)
			say("250 ok")
		case "DATA":
			say("354 go on")
			for line := ""; line != ".\r\n"; {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				got.text += line
			}
			m.mu.Lock()
			m.mails = append(m.mails, got)
			m.mu.Unlock()
			say("250 2.0.0 queued as 4711")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// certificate makes one for mail.example.test, and a file of its authority, which is itself.
func certificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mail.example.test"}, NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	// Without tickets, which nobody would read from a pipe while both write.
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}, file
}
