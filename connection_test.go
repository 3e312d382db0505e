package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pipit/httpapi"
	"pipit/httpapi/forwarded"
)

// keptConn is a connection of a client that keeps it.
type keptConn struct {
	net.Conn
	r *bufio.Reader
}

func connect(t *testing.T, addr string) keptConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return keptConn{c, bufio.NewReader(c)}
}

func (c keptConn) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// answer reads a reply.
func (c keptConn) answer() (*http.Response, error) {
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

const getHealth = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"

// ask sends a request, which is to be answered.
func (c keptConn) ask(t *testing.T) {
	t.Helper()
	c.send(t, getHealth)
	if resp, err := c.answer(); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	}
}

// closed waits until the server closes the connection.
func (c keptConn) closed(t *testing.T) {
	t.Helper()
	if b, err := c.r.ReadByte(); err == nil || errors.Is(err, net.ErrClosed) {
		t.Errorf("%q, %v: want the end", b, err)
	}
}

// Where all connections are taken, idle ones make room, whichever listener they came by.
func TestMaxConnections(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=4", "PIPIT_ADMIN_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	link := p.line(t, `There is no administrator yet: .* (http://(\S+)/admin/setup\?key=\S+)$`)
	for i := range 8 {
		connect(t, p.addrs[i%2]).ask(t)
	}
	if a := fetch(t, link[1]); !strings.HasPrefix(a, "200 ") {
		t.Error(a)
	}
	if _, log := p.stop(t, syscall.SIGTERM); strings.Count(log, "max_connections is reached") != 1 {
		t.Error(log)
	}
}

// pipes is a listener for connections within the process.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error { close(p); return nil }

func (pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p pipes) connect() keptConn {
	c, of := net.Pipe()
	p <- of
	return keptConn{c, bufio.NewReader(c)}
}

// pipeFrom is a connection within the process that says it comes from an address.
type pipeFrom struct {
	net.Conn
	addr net.TCPAddr
}

func (p *pipeFrom) RemoteAddr() net.Addr { return &p.addr }

func (p pipes) connectFrom(ip string) keptConn {
	c, of := net.Pipe()
	p <- &pipeFrom{of, net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	return keptConn{c, bufio.NewReader(c)}
}

// startPipes serves connections within the process.
func (s *servers) startPipes(h http.Handler) pipes {
	listener := make(pipes)
	s.start(httpapi.NewServer(h, 0), []net.Listener{newLimitedListener(listener, "", s.conns)})
	return listener
}

// pipeServer serves connections within the process, at most n, until stop.
func pipeServer(t *testing.T, n int64) (listener pipes, ask func(keptConn), stop func()) {
	srv := servers{conns: newConnections(n, quiet), failed: make(chan error, 1)}
	listener = srv.startPipes(http.NotFoundHandler())
	ask = func(c keptConn) {
		t.Helper()
		c.send(t, getHealth)
		if resp, err := c.answer(); err != nil || resp.StatusCode != 404 {
			t.Fatal(resp, err)
		}
		synctest.Wait() // it is idle
	}
	return listener, ask, func() {
		if err := srv.stop(quiet); err != nil {
			t.Error(err)
		}
	}
}

// Idle connections make room, the longest idle one first.
func TestMaxConnectionsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, ask, stop := pipeServer(t, 4)
		defer stop()
		var idle [4]keptConn
		for i := range idle {
			idle[i] = listener.connect()
			ask(idle[i])
		}
		ask(idle[0]) // now the second one is idle for the longest
		ask(listener.connect())
		idle[1].closed(t)
		for _, i := range []int{3, 0, 2} {
			ask(idle[i])
		}
		ask(listener.connect()) // takes the place of the one before
		for _, i := range []int{3, 0, 2} {
			ask(listener.connect())
			idle[i].closed(t)
		}
	})
}

// Those that never send a header, or only its beginning, make room, too, after the idle ones, and before the time for a
// header is over.
func TestMaxConnectionsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, ask, stop := pipeServer(t, 3)
		defer stop()
		began := time.Now()
		part, silent, idle, kept := listener.connect(), listener.connect(), listener.connect(), keptConn{}
		ask(idle)
		part.send(t, "GET /he")
		for i, next := range []keptConn{idle, silent, part} {
			if i > 0 {
				kept.send(t, getHealth[:20]) // begun, not idle
			}
			kept = listener.connect()
			ask(kept)
			next.closed(t)
		}
		if d := time.Since(began); d > 4*quietTime { // fake time
			t.Errorf("it took %s", d)
		}
	})
}

// Where all are busy a connection waits until one is not, and replies are the last ones of their connections.
func TestMaxConnectionsBusy(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_MAX_CONNECTIONS=2"}, anyPort...), "-config", example(t))
	poll := "POST /zato/pubsub/msg//customer/created/?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZXJwOmVycA==\r\n" +
		"X-Zato-PubSub-Key: " + exampleSubKey + "\r\nContent-Length: 0\r\n\r\n"
	publish := "POST /zato/pubsub/topic//customer/created/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 5\r\n\r\n"
	consumer, publisher := connect(t, p.addrs[0]), connect(t, p.addrs[1])
	consumer.send(t, poll)
	publisher.send(t, publish)
	waits := connect(t, p.addrs[0])
	waits.send(t, getHealth)
	p.line(t, "max_connections is reached")
	publisher.send(t, "hello")
	for _, c := range []keptConn{publisher, consumer, waits} {
		if resp, err := c.answer(); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
	}
}

// While a connection waits for a slot, and after a stop has begun, replies are the last ones of their connections.
func TestLastReply(t *testing.T) {
	conns := newConnections(10, quiet)
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, conns)
	if err != nil {
		t.Fatal(err)
	}
	srv := servers{conns: conns, failed: make(chan error, 1)}
	srv.start(&http.Server{Handler: http.NotFoundHandler()}, all)
	last := func() bool {
		t.Helper()
		c := connect(t, all[0].Addr().String())
		c.send(t, getHealth)
		resp, err := c.answer()
		if err != nil {
			t.Fatal(err)
		}
		return resp.Close
	}
	if last() {
		t.Error("the connection is not kept")
	}
	conns.wanted.Add(1)
	if !last() {
		t.Error("the connection is kept while another one waits")
	}
	conns.wanted.Add(-1)
	conns.ending.Store(true)
	if !last() {
		t.Error("the connection is kept at the end")
	}
	if err := srv.stop(quiet); err != nil {
		t.Error(err)
	}
}

// An idle connection is closed after the time that is configured.
func TestIdleTimeout(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_HTTP_IDLE_TIMEOUT=1s"}, anyPort...), "-config", example(t))
	c := connect(t, p.addrs[0])
	c.ask(t)
	c.closed(t)
}

// What was sent before a signal is answered, on new connections and on old ones, also where half
// of a header is still on its way. What nothing comes on does not hold up the end.
func TestSignalFinishesWhatWasBegun(t *testing.T) {
	p := start(t, t.TempDir(), append([]string{"PIPIT_ADMIN_LISTEN=127.0.0.1:0"}, anyPort...), "-config", example(t))
	var idle, silent, kept, fresh, half []keptConn
	for i := range 10 {
		add := func(list *[]keptConn, before string) {
			c := connect(t, p.addrs[i%2])
			if before != "" {
				c.ask(t)
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
		c.send(t, getHealth[:20])
	}
	for i := range kept {
		kept[i].send(t, getHealth)
		fresh[i].send(t, getHealth)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, c := range half {
		c.send(t, getHealth[20:])
	}
	for name, list := range map[string][]keptConn{"kept": kept, "new": fresh, "half": half} {
		for _, c := range list {
			resp, err := c.answer()
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(name, resp, err)
			}
			c.closed(t)
		}
	}
	for _, c := range append(idle, silent...) {
		c.closed(t)
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
	writeCertificate(t, certFile, keyFile, 1)
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

// failing is a listener that has no more files for a while.
type failing struct {
	net.Listener
	times int
}

func (l *failing) Accept() (net.Conn, error) {
	if l.times--; l.times >= 0 {
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Errors of accepting are logged, once a burst, and an idle connection makes room for another one.
func TestAcceptFails(t *testing.T) {
	var log bytes.Buffer
	conns := newConnections(10, slog.New(slog.NewTextHandler(&log, nil)))
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimitedListener(&failing{tcp, 5}, "", conns)
	defer l.Close()
	client, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 5 {
		if _, err := l.Accept(); !errors.Is(err, syscall.EMFILE) {
			t.Error(i, err)
		}
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=ERROR") || !strings.Contains(s, "address="+fmt.Sprint(tcp.Addr())) {
		t.Error(s)
	}
}

// An Accept that waits for a slot ends with its listener.
func TestCloseEndsAccept(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", "127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	connect(t, all[0].Addr().String())
	first, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	conns := all[0].(*limitedListener).conns
	conns.begun(first.(*conn)) // busy
	connect(t, all[1].Addr().String())
	done := make(chan error, 1)
	go func() { _, err := all[1].Accept(); done <- err }()
	all[1].Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	first.Close()
	first.Close() // gives one slot back, not two
	if conns.open != 0 {
		t.Errorf("%d are open", conns.open)
	}
}

// More connections may be open at once when the limit is raised: who waits for a slot has one.
func TestAdjustConnections(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer closeAll(all)
	l := all[0].(*limitedListener)
	connect(t, l.Addr().String())
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	l.conns.begun(first.(*conn)) // busy
	connect(t, l.Addr().String())
	second := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		second <- c
	}()
	for l.conns.wanted.Load() == 0 {
		runtime.Gosched()
	}
	l.conns.adjust(2)
	if c := <-second; c != nil {
		c.Close()
	}
}

// requests is a server within the process, of at most n connections, whose requests last until done is closed, but for
// those of 192.0.2.1: there they end at once.
func requests(t *testing.T, n int64, proxies ...string) (srv *servers, listener pipes, done chan struct{}) {
	t.Helper()
	srv = &servers{conns: newConnections(n, quiet), failed: make(chan error, 1)}
	var err error
	if srv.conns.proxies, err = forwarded.Parse(proxies); err != nil {
		t.Fatal(err)
	}
	done = make(chan struct{})
	listener = srv.startPipes(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.RemoteAddr, "192.0.2.1:") {
			<-done
		}
	}))
	return srv, listener, done
}

// Ways to hold a connection, by what is sent on it.
var held = map[string]string{
	"idle":   "",
	"header": "GET / HTTP/1.1\r\nHost:",
	"busy":   getHealth,
	"body":   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nx",
}

// One network that takes all connections makes room for another one, whatever it does on them, and whatever it tries
// beside, also where it is one of IPv6 with many addresses. What it holds up to its share stays.
func TestShareOfNetwork(t *testing.T) {
	for how, text := range held {
		for _, network := range []string{"198.51.100.7", "2001:db8::%x"} {
			t.Run(how+" "+network, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					srv, listener, done := requests(t, 8)
					var all []keptConn
					for i := range 8 + 2*maxWaiting {
						addr := network
						if strings.Contains(addr, "%") {
							addr = fmt.Sprintf(network, i)
						}
						c := listener.connectFrom(addr)
						all = append(all, c)
						go io.WriteString(c, text) // blocks where nobody reads
						if i < 8 {
							synctest.Wait()
							time.Sleep(time.Millisecond) // fake time: one is older than the other
						}
					}
					time.Sleep(quietTime) // fake time
					for range 6 {
						other := listener.connectFrom("192.0.2.1")
						_ = other.SetDeadline(time.Now().Add(2 * time.Second)) // fake time
						other.send(t, getHealth)
						if resp, err := other.answer(); err != nil || resp.StatusCode != 200 {
							t.Fatal(resp, err)
						}
						other.Close()
						synctest.Wait()
					}
					if n := srv.conns.waiting.n; n > maxWaiting {
						t.Errorf("%d connections wait", n)
					}
					close(done)
					for _, c := range all {
						c.Close()
					}
					if err := srv.stop(quiet); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// Of a network that has more than its share, the oldest requests go, and no more of them than others need.
func TestShareIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, listener, done := requests(t, 4)
		var mine [4]keptConn
		for i := range mine {
			mine[i] = listener.connectFrom("198.51.100.7")
			mine[i].send(t, getHealth)
			time.Sleep(quietTime) // fake time
		}
		var others [3]keptConn
		for i := range others {
			others[i] = listener.connectFrom("203.0.113.1")
			go io.WriteString(others[i], getHealth)
			time.Sleep(2 * quietTime) // fake time
		}
		mine[0].closed(t)
		mine[1].closed(t)
		if n := srv.conns.wanted.Load(); n != 1 {
			t.Errorf("%d wait, want the third one of the other network", n)
		}
		close(done)
		for _, c := range append(mine[2:], others[:]...) {
			if resp, err := c.answer(); err != nil || resp.StatusCode != 200 {
				t.Error(resp, err)
			}
		}
		if err := srv.stop(quiet); err != nil {
			t.Error(err)
		}
	})
}

// A trusted proxy has no share: its connections are those of many. What has begun on them is not cut.
func TestShareOfProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, listener, done := requests(t, 4, "10.0.0.0/8")
		var all []keptConn
		for _, addr := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "203.0.113.1"} {
			c := listener.connectFrom(addr)
			go io.WriteString(c, getHealth)
			all = append(all, c)
			time.Sleep(2 * quietTime) // fake time
		}
		if n := srv.conns.wanted.Load(); n != 1 {
			t.Errorf("%d wait", n)
		}
		close(done)
		for _, c := range all {
			if resp, err := c.answer(); err != nil || resp.StatusCode != 200 {
				t.Error(resp, err)
			}
		}
		if err := srv.stop(quiet); err != nil {
			t.Error(err)
		}
	})
}
