package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pipit/httpapi"
	"pipit/httpapi/forwarded"
	"pipit/httpapi/serve/servetest"
)

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

func (p pipes) connect() servetest.Conn {
	c, of := net.Pipe()
	p <- of
	return servetest.NewConn(c)
}

// pipeFrom is a connection within the process that says it comes from an address.
type pipeFrom struct {
	net.Conn
	addr net.TCPAddr
}

func (p *pipeFrom) RemoteAddr() net.Addr { return &p.addr }

func (p pipes) connectFrom(ip string) servetest.Conn {
	c, of := net.Pipe()
	p <- &pipeFrom{of, net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	return servetest.NewConn(c)
}

// startPipes serves connections within the process.
func (s *Server) startPipes(h http.Handler) pipes {
	listener := make(pipes)
	s.start(httpapi.NewServer(h, 0), Listeners{newLimitedListener(listener, "", s.conns)})
	return listener
}

// pipeServer serves connections within the process, at most n, until stop.
func pipeServer(t *testing.T, n int64) (listener pipes, ask func(servetest.Conn), stop func()) {
	srv := New(Options{MaxConnections: n, Logger: quiet})
	listener = srv.startPipes(http.NotFoundHandler())
	ask = func(c servetest.Conn) {
		t.Helper()
		c.Send(t, servetest.GetHealth)
		if resp, err := c.Answer(); err != nil || resp.StatusCode != 404 {
			t.Fatal(resp, err)
		}
		synctest.Wait() // it is idle
	}
	return listener, ask, func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// Idle connections make room, the longest idle one first.
func TestMaxConnectionsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener, ask, stop := pipeServer(t, 4)
		defer stop()
		var idle [4]servetest.Conn
		for i := range idle {
			idle[i] = listener.connect()
			ask(idle[i])
		}
		ask(idle[0]) // now the second one is idle for the longest
		ask(listener.connect())
		idle[1].Closed(t)
		for _, i := range []int{3, 0, 2} {
			ask(idle[i])
		}
		ask(listener.connect()) // takes the place of the one before
		for _, i := range []int{3, 0, 2} {
			ask(listener.connect())
			idle[i].Closed(t)
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
		part, silent, idle, kept := listener.connect(), listener.connect(), listener.connect(), servetest.Conn{}
		ask(idle)
		part.Send(t, "GET /he")
		for i, next := range []servetest.Conn{idle, silent, part} {
			if i > 0 {
				kept.Send(t, servetest.GetHealth[:20]) // begun, not idle
			}
			kept = listener.connect()
			ask(kept)
			next.Closed(t)
		}
		if d := time.Since(began); d > 4*quietTime { // fake time
			t.Errorf("it took %s", d)
		}
	})
}

// While a connection waits for a slot, and after a stop has begun, replies are the last ones of their connections.
func TestLastReply(t *testing.T) {
	srv := New(Options{MaxConnections: 10, Logger: quiet})
	conns := srv.conns
	all, err := srv.Listen(t.Context(), "http.listen", []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	srv.start(&http.Server{Handler: http.NotFoundHandler()}, all)
	last := func() bool {
		t.Helper()
		c := servetest.Connect(t, all[0].Addr().String())
		c.Send(t, servetest.GetHealth)
		resp, err := c.Answer()
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
	if err := srv.Stop(); err != nil {
		t.Error(err)
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
	if s := log.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "level=ERROR") || !strings.Contains(s, "addr="+fmt.Sprint(tcp.Addr())) {
		t.Error(s)
	}
}

// An Accept that waits for a slot ends with its listener.
func TestCloseEndsAccept(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0", "127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	servetest.Connect(t, all[0].Addr().String())
	first, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	conns := all[0].(*limitedListener).conns
	conns.begun(first.(*conn)) // busy
	servetest.Connect(t, all[1].Addr().String())
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

// A stop waits for requests that were begun as long as it is said to, and then cuts their connections.
func TestStopCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		srv := New(Options{MaxConnections: 2, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		listener := srv.startPipes(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		c := listener.connect()
		c.Send(t, servetest.GetHealth)
		synctest.Wait()
		began := time.Now()
		if err, took := srv.Stop(), time.Since(began); err != nil || took != requestsEnd {
			t.Errorf("%v after %s", err, took)
		}
		c.Closed(t)
		if !strings.Contains(log.String(), "cutting the connections of requests that did not end") {
			t.Error(log.String())
		}
	})
}

// More connections may be open at once when the limit is raised: who waits for a slot has one.
func TestAdjustConnections(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	l := all[0].(*limitedListener)
	servetest.Connect(t, l.Addr().String())
	first, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	l.conns.begun(first.(*conn)) // busy
	servetest.Connect(t, l.Addr().String())
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
func requests(t *testing.T, n int64, proxies ...string) (srv *Server, listener pipes, done chan struct{}) {
	t.Helper()
	trusted, err := forwarded.Parse(proxies)
	if err != nil {
		t.Fatal(err)
	}
	srv = New(Options{MaxConnections: n, Proxies: trusted, Logger: quiet})
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
	"busy":   servetest.GetHealth,
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
					var all []servetest.Conn
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
						other.Send(t, servetest.GetHealth)
						if resp, err := other.Answer(); err != nil || resp.StatusCode != 200 {
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
					if err := srv.Stop(); err != nil {
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
		var mine [4]servetest.Conn
		for i := range mine {
			mine[i] = listener.connectFrom("198.51.100.7")
			mine[i].Send(t, servetest.GetHealth)
			time.Sleep(quietTime) // fake time
		}
		var others [3]servetest.Conn
		for i := range others {
			others[i] = listener.connectFrom("203.0.113.1")
			go io.WriteString(others[i], servetest.GetHealth)
			time.Sleep(2 * quietTime) // fake time
		}
		mine[0].Closed(t)
		mine[1].Closed(t)
		if n := srv.conns.wanted.Load(); n != 1 {
			t.Errorf("%d wait, want the third one of the other network", n)
		}
		close(done)
		for _, c := range append(mine[2:], others[:]...) {
			if resp, err := c.Answer(); err != nil || resp.StatusCode != 200 {
				t.Error(resp, err)
			}
		}
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// A trusted proxy has no share: its connections are those of many. What has begun on them is not cut.
func TestShareOfProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, listener, done := requests(t, 4, "10.0.0.0/8")
		var all []servetest.Conn
		for _, addr := range []string{"10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.1", "203.0.113.1"} {
			c := listener.connectFrom(addr)
			go io.WriteString(c, servetest.GetHealth)
			all = append(all, c)
			time.Sleep(2 * quietTime) // fake time
		}
		if n := srv.conns.wanted.Load(); n != 1 {
			t.Errorf("%d wait", n)
		}
		close(done)
		for _, c := range all {
			if resp, err := c.Answer(); err != nil || resp.StatusCode != 200 {
				t.Error(resp, err)
			}
		}
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
}
