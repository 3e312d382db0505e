package serve

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"pipit/httpapi"
	"pipit/httpapi/serve/servetest"
)

// Whoever sends frames of HTTP/2 as no client does gets no more than others, and holds nobody up.

// frames is the client's end of a connection of HTTP/2.
type frames struct {
	*http2.Framer
	conn *tls.Conn
}

// openFrames begins to speak HTTP/2.
func openFrames(t *testing.T, c net.Conn, settings ...http2.Setting) frames {
	t.Helper()
	conn := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	f := frames{http2.NewFramer(conn, conn), conn}
	if err := f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return f
}

// fields are encoded header fields of a request for a path.
func fields(path string, more ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", path}} {
		_ = e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for i := 0; i < len(more); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: more[i], Value: more[i+1], Sensitive: true}) // not indexed
	}
	return b.Bytes()
}

func (f frames) request(stream uint32, path string, more ...string) error {
	const most = 16 << 10 // bytes of a frame
	block := fields(path, more...)
	first := block[:min(len(block), most)]
	rest := block[len(first):]
	err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: true})
	for err == nil && len(rest) > 0 {
		n := min(len(rest), most)
		err = f.WriteContinuation(stream, n == len(rest), rest[:n])
		rest = rest[n:]
	}
	return err
}

// next reads frames up to one that fits.
func (f frames) next(fits func(http2.Frame) bool) (http2.Frame, error) {
	for {
		frame, err := f.ReadFrame()
		if err != nil || fits(frame) {
			return frame, err
		}
	}
}

// newCertificate is one for a server in the process.
func newCertificate(t *testing.T) *Certificate {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	servetest.Certificate(t, certFile, keyFile, 1)
	c, err := OpenCertificate(certFile, keyFile, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serveTLS serves a handler with the program's own limits, and tells where.
func serveTLS(t *testing.T, h http.Handler) (addr string) {
	t.Helper()
	_, addr = startTLS(t, h, quiet)
	return addr
}

// logTLS serves requests that all go well. What it logs, log tells when it has stopped the server.
func logTLS(t *testing.T) (addr string, log func() string) {
	t.Helper()
	var lines bytes.Buffer
	srv, addr := startTLS(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), slog.New(slog.NewJSONHandler(&lines, nil)))
	return addr, func() string {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
		return lines.String()
	}
}

func startTLS(t *testing.T, h http.Handler, log *slog.Logger) (srv *Server, addr string) {
	t.Helper()
	srv = New(Options{MaxConnections: 100, Certificate: newCertificate(t), Logger: log})
	all, err := srv.Listen(t.Context(), "http.listen", []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Serve(h, all, func() {})
	t.Cleanup(func() {
		all.close()
		for _, s := range srv.all {
			s.Close()
		}
	})
	return srv, all[0].Addr().String()
}

func dialTCP(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// isServed makes a request of HTTP/2 on a connection of its own.
func isServed(t *testing.T, addr string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}, Timeout: time.Minute}
	defer c.CloseIdleConnections()
	resp, err := c.Get("https://" + addr + "/other")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		t.Error(resp.Status, resp.Proto)
	}
}

// TestContinuationFlood: a header that goes on without end costs its connection, not memory.
func TestContinuationFlood(t *testing.T) {
	var served atomic.Int64
	addr := serveTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/other" {
			served.Add(1)
		}
	}))
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for _, size := range []int{8, 1 << 10, 16_000} {
		f := openFrames(t, dialTCP(t, addr))
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: fields("/flood"), EndStream: true}); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		go func() {
			_, err := f.next(func(http2.Frame) bool { return false })
			closed <- err
		}()
		field := fields("", "x", strings.Repeat("x", size))[len(fields("")):]
		for i := range 10_000 {
			if err := f.WriteContinuation(1, false, field); err != nil {
				break
			}
			if i%500 == 0 {
				runtime.ReadMemStats(&now)
				if most := before.HeapAlloc + 48<<20; now.HeapAlloc > most {
					t.Fatalf("after %d frames of %d bytes: %d bytes of memory, allowed are %d", i, size, now.HeapAlloc, most)
				}
			}
		}
		var late net.Error
		if err := <-closed; errors.As(err, &late) && late.Timeout() {
			t.Errorf("frames of %d bytes: the connection is not closed", size)
		}
		isServed(t, addr)
	}
	if n := served.Load(); n > 0 {
		t.Errorf("%d requests came to the handler", n)
	}
}

// TestRapidReset: requests that are reset at once count as long as their handlers work.
func TestRapidReset(t *testing.T) {
	var mu sync.Mutex
	var running, most int
	release := make(chan struct{})
	addr := serveTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/other" {
			return
		}
		mu.Lock()
		running++
		most = max(most, running)
		mu.Unlock()
		<-release // whatever becomes of the request
		mu.Lock()
		running--
		mu.Unlock()
	}))
	defer close(release)
	f := openFrames(t, dialTCP(t, addr))
	ended := make(chan http2.ErrCode, 1)
	go func() {
		frame, _ := f.next(func(f http2.Frame) bool { return f.Header().Type == http2.FrameGoAway })
		if g, ok := frame.(*http2.GoAwayFrame); ok {
			ended <- g.ErrCode
		}
		close(ended)
	}()
	for i := range uint32(10_000) {
		if f.request(2*i+1, "/") != nil || f.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
			break
		}
	}
	if code := <-ended; code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("ended with %s", code)
	}
	isServed(t, addr)
	mu.Lock()
	defer mu.Unlock()
	if limit := httpapi.NewServer(nil, 0).HTTP2.MaxConcurrentStreams; most == 0 || most > limit {
		t.Errorf("%d handlers at a time, allowed are %d", most, limit)
	}
}

// TestSlowWindow: who takes a byte of a reply and then no more, or does not read at all, does not hold its handler.
func TestSlowWindow(t *testing.T) {
	cert := newCertificate(t)
	for name, settings := range map[string][]http2.Setting{
		"window of a byte": {{ID: http2.SettingInitialWindowSize, Val: 1}},
		"reads nothing":    {{ID: http2.SettingInitialWindowSize, Val: 1 << 30}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := New(Options{MaxConnections: 10, Certificate: cert, Logger: quiet})
				wrote := make(chan error, 1)
				listener := srv.startPipes(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, err := w.Write(make([]byte, 1<<20))
					wrote <- err
				}))
				f := openFrames(t, listener.connect().Conn, settings...)
				if err := f.WriteWindowUpdate(0, 1<<30); err != nil {
					t.Fatal(err)
				}
				if err := f.request(1, "/"); err != nil {
					t.Fatal(err)
				}
				if _, err := f.next(func(f http2.Frame) bool { return f.Header().Type == http2.FrameData }); err != nil {
					t.Fatal(err)
				}
				if name == "window of a byte" {
					go f.next(func(http2.Frame) bool { return false })
				}
				select {
				case err := <-wrote:
					if err == nil {
						t.Error("all was written")
					}
				case <-time.After(10 * time.Minute): // fake time
					t.Error("the handler is held")
				}
				f.conn.NetConn().Close()
				if err := srv.Stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRefusedHTTP2: requests that HTTP/2 does not allow are logged, a kind of them once in a while.
func TestRefusedHTTP2(t *testing.T) {
	addr, stopped := logTLS(t)
	f := openFrames(t, dialTCP(t, addr))
	for i, path := range []string{"/zato/%zz", "/%", ""} {
		if err := f.request(uint32(2*i+1), path); err != nil {
			t.Fatal(err)
		}
		if _, err := f.next(func(f http2.Frame) bool { return f.Header().Type == http2.FrameRSTStream }); err != nil {
			t.Fatal(err)
		}
	}
	log := stopped()
	for _, kind := range []string{"bad_path", "bad_path_method"} {
		if n := strings.Count(log, kind+`","times":1}`); n != 1 {
			t.Errorf("%d lines about %s in\n%s", n, kind, log)
		}
	}
}

// A header that is too large is answered by net/http in a handler of its own, or ends the connection.
func TestRefusedHeaderHTTP2(t *testing.T) {
	addr, stopped := logTLS(t)
	f := openFrames(t, dialTCP(t, addr))
	stream := uint32(1)
	ask := func(status string, header ...string) {
		t.Helper()
		if err := f.request(stream, "/health", header...); err != nil {
			t.Fatal(err)
		}
		stream += 2
		got := ""
		decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
			if f.Name == ":status" {
				got = f.Value
			}
		})
		_, err := f.next(func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.HeadersFrame:
				_, _ = decoder.Write(f.HeaderBlockFragment())
			case *http2.DataFrame:
				return f.StreamEnded()
			case *http2.GoAwayFrame:
				got = f.ErrCode.String()
				return true
			}
			return false
		})
		if err != nil || got != status {
			t.Fatalf("%v, %s: want %s", err, got, status)
		}
	}
	var large []string
	for range 8 {
		large = append(large, "x-note", strings.Repeat("a", 3000)) // encoded they are smaller
	}
	ask("200", "x-note", "short")
	ask("200", "x-note", "short")
	ask("431", large...)
	ask("200", "x-note", "short")
	ask("COMPRESSION_ERROR", "x-note", strings.Repeat("x", 30_000))
	log := stopped()
	for _, reason := range []string{"its header is too large", "connection error: COMPRESSION_ERROR"} {
		if n := strings.Count(log, reason); n != 1 {
			t.Errorf("%d lines about %q in\n%s", n, reason, log)
		}
	}
}
