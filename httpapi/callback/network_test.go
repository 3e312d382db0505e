package callback

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pipit/broker"
)

// one calls a consumer once, over the network.
func one(t *testing.T, o Options, change func(*broker.Consumer)) answer {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s := &Service{log: o.Logger}
	if err := s.Adjust(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Load().CloseIdleConnections)
	c := broker.ConsumerFields.New()
	c.Topic, c.CallbackSecret = "/t", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	c.CallbackFormat = broker.FormatRaw
	change(&c)
	return s.call(context.Background(), &c, []broker.Message{testMessage("/t")}, false)
}

// hangUp closes the connection of a request after writing some bytes.
func hangUp(w http.ResponseWriter, text string) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

// What counts as an answer, and what as none.
func TestAnswers(t *testing.T) {
	redirected := make(chan string, 10)
	handlers := map[string]http.HandlerFunc{
		"/ok":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "thanks") },
		"/long": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 1<<20)) },
		"/moved": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/target", http.StatusTemporaryRedirect)
		},
		"/target": func(_ http.ResponseWriter, r *http.Request) { redirected <- r.Method },
		"/denied": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403); fmt.Fprint(w, "no\n") },
		"/later": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"/silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"/slow": func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, "begun")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
		"/closed": func(w http.ResponseWriter, _ *http.Request) { hangUp(w, "") },
		"/halfway": func(w http.ResponseWriter, _ *http.Request) {
			hangUp(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		},
		"/header": func(w http.ResponseWriter, _ *http.Request) {
			hangUp(w, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20))
		},
		"/garbage": func(w http.ResponseWriter, _ *http.Request) { hangUp(w, "no HTTP\r\n\r\n") },
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // so that its end is noticed
		handlers[r.URL.Path](w, r)
	}))
	t.Cleanup(srv.Close)
	for path, want := range map[string]struct {
		status        int
		err, answered string
	}{
		"/ok":      {200, "", "thanks"},
		"/long":    {200, "", strings.Repeat("x", keptAnswer)},
		"/moved":   {307, "307 Temporary Redirect", ""},
		"/denied":  {403, "403 Forbidden", "no\n"},
		"/later":   {503, "503 Service Unavailable", ""},
		"/silent":  {0, "no answer within LIMIT", ""},
		"/slow":    {200, "no answer within LIMIT", "begun"},
		"/closed":  {0, "the connection was closed before the answer", ""},
		"/halfway": {200, "200 OK, and the answer breaks off: unexpected EOF", "half"},
		"/header":  {0, "server response headers exceeded", ""},
		"/garbage": {0, "malformed HTTP", ""},
	} {
		t.Run(path[1:], func(t *testing.T) {
			t.Parallel()
			call := func(limit time.Duration) answer {
				return one(t, Options{}, func(c *broker.Consumer) { c.CallbackURL, c.CallbackTimeout = srv.URL+path, limit })
			}
			limit := time.Minute
			if path == "/silent" || path == "/slow" {
				limit = 100 * time.Millisecond
			}
			a := call(limit)
			for ; path == "/slow" && len(a.Answer) == 0 && limit < time.Minute; a = call(limit) { // on a busy machine it does not begin so soon
				limit *= 4
			}
			if a.Status != want.status || !strings.Contains(a.Error, strings.Replace(want.err, "LIMIT", limit.String(), 1)) || (a.Error == "") != (want.err == "") || string(a.Answer) != want.answered {
				t.Errorf("%d %q %q, want %+v", a.Status, a.Error, a.Answer, want)
			}
			if path == "/later" && a.wait != 7*time.Second {
				t.Errorf("Retry-After is %s", a.wait)
			}
		})
	}
	t.Cleanup(func() {
		if len(redirected) > 0 {
			t.Error("a redirect was followed")
		}
	})
}

// Nobody listens, or nobody is known by the name.
func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if a := one(t, Options{}, func(c *broker.Consumer) { c.CallbackURL = "http://" + l.Addr().String() + "/?token=5eCr3t" }); !strings.Contains(a.Error, "refused") || strings.Contains(a.Error, "5eCr3t") {
		t.Errorf("%+v", a)
	}
}

// What is not called, and what is, by the address that is connected to, whatever name led to it.
func TestDenied(t *testing.T) {
	for addr, refused := range map[string]bool{
		"169.254.169.254": true, "[fe80::1%25lo]": true, "[::ffff:169.254.169.254]": true, "[64:ff9b::a9fe:a9fe]": true, "[2002:a9fe:a9fe::1]": true,
		"[::a9fe:a9fe]": true, "100.100.100.200": true, "[fd00:ec2::254]": true, "0.0.0.0": true, "[::]": true, "224.0.0.1": true, "255.255.255.255": true,
		"[::ffff:10.1.2.3]": true, "10.1.2.3": true, "[2001:db8::7]": true, "192.0.2.1": true, "127.0.0.1": false, "[::1]": false,
	} {
		a := one(t, Options{Deny: []string{"10.0.0.0/8", "2001:db8::/32", "192.0.2.1"}}, func(c *broker.Consumer) {
			c.CallbackURL = "http://" + addr + ":1/"
			c.CallbackTimeout = 5 * time.Second
		})
		if is := strings.Contains(a.Error, "is not called"); is != refused {
			t.Errorf("%s: %q", addr, a.Error)
		}
	}
	for _, bad := range []string{"10.0.0.0/33", "example.com", "", "fe80::1%lo", "::ffff:10.0.0.0/104"} {
		if _, err := ParseDeny([]string{"127.0.0.1", bad}); err == nil {
			t.Errorf("%q is a network", bad)
		}
	}
}

// A name that resolves to an address that may be called, and the next time to one that may not, gains nothing, neither by a
// connection that is kept.
func TestRebinding(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	names := newNames(t)
	names.set("127.0.0.1")
	s := &Service{log: slog.New(slog.DiscardHandler)}
	if err := s.Adjust(Options{resolver: names.resolver()}); err != nil {
		t.Fatal(err)
	}
	c := broker.ConsumerFields.New()
	c.CallbackURL, c.CallbackSecret = "http://rebind.example.com:"+port+"/", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	for _, step := range []struct{ addr, err string }{{"127.0.0.1", ""}, {"169.254.169.254", "169.254.169.254 is not called"}, {"127.0.0.1", ""}} {
		names.set(step.addr)
		a := s.call(context.Background(), &c, []broker.Message{testMessage("/t")}, false)
		if (a.Error == "") != (step.err == "") || !strings.Contains(a.Error, step.err) {
			t.Errorf("at %s: %q", step.addr, a.Error)
		}
	}
}

// Certificates are checked by the authorities that are configured, and HTTP/2 is spoken where the receiver does.
func TestAuthorities(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto, " ", r.UserAgent()) }))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.StartTLS()
	defer srv.Close()
	to := func(c *broker.Consumer) { c.CallbackURL = srv.URL }
	if a := one(t, Options{}, to); !strings.Contains(a.Error, "certificate") {
		t.Errorf("%+v", a)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if a := one(t, Options{CA: file, UserAgent: "Pipit/1"}, to); a.Error != "" || string(a.Answer) != "HTTP/2.0 Pipit/1" {
		t.Errorf("%+v %s", a, a.Answer)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), "network_test.go"} {
		if err := CheckCA(bad); err == nil {
			t.Errorf("%s has authorities", bad)
		}
	}
}

// A proxy of the environment is used where that is configured, and its address is checked.
func TestProxy(t *testing.T) {
	if os.Getenv("PIPIT_TEST_PROXY") == "" { // the environment is read once a process
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "to ", r.URL) }))
		defer proxy.Close()
		for _, to := range []string{proxy.URL, "http://169.254.169.254:3128"} {
			out, err := rerun(t, "PIPIT_TEST_PROXY="+to, "HTTP_PROXY="+to, "NO_PROXY=")
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}
		return
	}
	to := func(c *broker.Consumer) { c.CallbackURL = "http://receiver.invalid/x" }
	if a := one(t, Options{}, to); a.Error == "" {
		t.Errorf("a proxy is used that nobody allowed: %+v", a)
	}
	a := one(t, Options{Proxy: true}, to)
	if strings.Contains(os.Getenv("HTTP_PROXY"), "169.254") {
		if !strings.Contains(a.Error, "is not called") {
			t.Errorf("%+v", a)
		}
	} else if string(a.Answer) != "to http://receiver.invalid/x" {
		t.Errorf("%+v", a)
	}
}
