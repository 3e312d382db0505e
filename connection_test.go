package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pipit/httpapi/serve/servetest"
)

// Where all connections are taken, idle ones make room, whichever listener they came by.
func TestMaxConnections(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=4", "PIPIT_ADMIN_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* (http://(\S+)/admin/setup\?key=\S+)$`)
	for i := range 8 {
		servetest.Connect(t, p.addrs[i%2]).Ask(t)
	}
	if a := fetch(t, link[1]); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, "max_connections is reached") != 1 {
		t.Error(log)
	}
}

// Where all are busy a connection waits until one is not, and replies are the last ones of their connections.
func TestMaxConnectionsBusy(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=2"}, anyPort...), "-config", example(t))
	poll := "POST /zato/pubsub/msg//customer/created/?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZXJwOmVycA==\r\n" +
		"X-Zato-PubSub-Key: " + exampleSubKey + "\r\nContent-Length: 0\r\n\r\n"
	publish := "POST /zato/pubsub/topic//customer/created/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 5\r\n\r\n"
	consumer, publisher := servetest.Connect(t, p.addrs[0]), servetest.Connect(t, p.addrs[1])
	consumer.Send(t, poll)
	publisher.Send(t, publish)
	waits := servetest.Connect(t, p.addrs[0])
	waits.Send(t, servetest.GetHealth)
	p.line(t, "max_connections is reached")
	publisher.Send(t, "hello")
	for _, c := range []servetest.Conn{publisher, consumer, waits} {
		if resp, err := c.Answer(); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
	}
}

// An idle connection is closed after the time that is configured.
func TestIdleTimeout(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_IDLE_TIMEOUT=1s"}, anyPort...), "-config", example(t))
	c := servetest.Connect(t, p.addrs[0])
	c.Ask(t)
	c.Closed(t)
}

// What was sent before a signal is answered, on new connections and on old ones, also where half
// of a header is still on its way. What nothing comes on does not hold up the end.
func TestSignalFinishesWhatWasBegun(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	var idle, silent, kept, fresh, half []servetest.Conn
	for i := range 10 {
		add := func(list *[]servetest.Conn, before string) {
			c := servetest.Connect(t, p.addrs[i%2])
			if before != "" {
				c.Ask(t)
			}
			*list = append(*list, c)
		}
		add(&idle, "a request")
		add(&silent, "")
		add(&kept, "a request")
		add(&fresh, "")
		add(&half, "a request")
		add(&half, "")
	}
	for _, c := range half {
		c.Send(t, servetest.GetHealth[:20])
	}
	for i := range kept {
		kept[i].Send(t, servetest.GetHealth)
		fresh[i].Send(t, servetest.GetHealth)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range half {
		c.Send(t, servetest.GetHealth[20:])
	}
	for name, list := range map[string][]servetest.Conn{"kept": kept, "new": fresh, "half": half} {
		for _, c := range list {
			resp, err := c.Answer()
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(name, resp, err)
			}
			c.Closed(t)
		}
	}
	for _, c := range append(idle, silent...) {
		c.Closed(t)
	}
	<-p.ended
	p.cmd.Wait()
	if code := p.cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(p.log.String(), "did not end") {
		t.Errorf("exit code %d\n%s", code, p.log)
	}
}

// Connections of TLS, HTTP/1 and HTTP/2, have slots and ends as others do.
func TestConnectionsOfTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	servetest.Certificate(t, certFile, keyFile, 1)
	p := start(t, dir, append([]string{"PIPIT_HTTP_TLS_CERT=" + certFile, "PIPIT_HTTP_TLS_KEY=" + keyFile, "PIPIT_HTTP_MAX_CONNECTIONS=2"}, anyPort...), "-config", example(t))
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var all []*http.Client
		for range 4 {
			c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: proto == "HTTP/2.0"}}
			defer c.CloseIdleConnections()
			all = append(all, c)
		}
		for range 2 { // the second time on connections that may be closed by now
			for _, c := range all {
				resp, err := c.Get("https://" + p.addrs[0] + "/health")
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != 200 || resp.Proto != proto {
					t.Error(resp.Status, resp.Proto)
				}
			}
		}
	}
	if code, log := p.stop(t, syscall.SIGTERM); code != 0 || strings.Contains(log, "did not end") || strings.Contains(log, "panic") {
		t.Errorf("exit code %d\n%s", code, log)
	}
}
