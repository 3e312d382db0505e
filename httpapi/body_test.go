package httpapi_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// packed returns what a writer of an encoding makes of s.
func packed(t testing.TB, s string, writer func(io.Writer) io.WriteCloser) string {
	t.Helper()
	var b bytes.Buffer
	w := writer(&b)
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func gzipWriter(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
func zlibWriter(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func flateWriter(w io.Writer) io.WriteCloser {
	f, err := flate.NewWriter(w, flate.BestCompression)
	if err != nil {
		panic(err)
	}
	return f
}

// noise returns n bytes that cannot be packed.
func noise(n int) string {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(b)
	return string(b)
}

// TestPackedBodies: a body is what it is when it is unpacked, for each route that has one, with its
// length known or not.
func TestPackedBodies(t *testing.T) {
	r := newServer(t)
	for _, c := range []struct {
		header string
		writer func(io.Writer) io.WriteCloser
	}{
		{"gzip", gzipWriter}, {"GZip", gzipWriter}, {"x-gzip", gzipWriter}, {" deflate", zlibWriter}, {"deflate", flateWriter},
	} {
		for _, payload := range []string{"", "Hello", strings.Repeat("long ", 100_000), "é" + noise(100_000)} {
			body := packed(t, payload, c.writer)
			for _, reader := range []io.Reader{strings.NewReader(body), io.MultiReader(strings.NewReader(body))} {
				a := r.send(r.request(ctx, "POST", created, crm, reader, "Content-Encoding", c.header))
				if a.status != 200 {
					t.Fatalf("%s of %d bytes: %d %s", c.header, len(payload), a.status, a.body)
				}
				got := r.receive(queue + "?ack=true")
				if got.Count != 1 || decoded(t, got.Results[0]) != payload {
					t.Errorf("%s: %d bytes came back as another payload", c.header, len(payload))
				}
			}
		}
		batch := packed(t, strings.Repeat(`{"payload": "x"}`+"\n", 1000), c.writer)
		if a := r.do("POST", created+"?batch=true", crm, batch, "Content-Encoding", c.header, "Content-Type", ndjson); a.status != 200 {
			t.Errorf("%s batch: %d %s", c.header, a.status, a.body)
		}
		var ids []string
		for _, m := range r.receive(queue + "?max=1000").Results {
			ids = append(ids, m.Metadata.ID)
		}
		acks := packed(t, `{"ack": ["`+strings.Join(ids, `", "`)+`"]}`, c.writer)
		a := r.do("POST", ackMany, erp, acks, "Content-Encoding", c.header, "X-Zato-PubSub-Key", key)
		if a.status != 200 || !strings.Contains(a.body, `"acked": 1000`) {
			t.Errorf("%s acknowledgements: %d %s", c.header, a.status, a.body)
		}
	}
	// As it is, or nothing.
	for _, header := range []string{"identity", "Identity", ""} {
		r.publish(created, "plain", "Content-Encoding", header)
	}
	r.publish(created, "", "Content-Encoding", "gzip")
	r.wantPayloads(queue, "plain", "plain", "plain", "")
	// Several members, as of files put one behind the other.
	r.publish(created, packed(t, "one ", gzipWriter)+packed(t, "two", gzipWriter), "Content-Encoding", "gzip")
	r.wantPayloads(queue, "one two")
}

// TestBadPackedBodies: what cannot be unpacked, and stores nothing.
func TestBadPackedBodies(t *testing.T) {
	r := newServer(t)
	for _, header := range []string{"br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip;q=1", strings.Repeat("x", 100)} {
		shown := header
		if len(shown) > 64 {
			shown = shown[:64] + "…"
		}
		for _, route := range []struct{ path, auth string }{{created, crm}, {created + "?batch=true", crm}, {ackMany, erp}} {
			a := r.refuse(415, `header Content-Encoding "`+shown+`": allowed are gzip, deflate, identity`, "POST", route.path, route.auth, "x",
				"Content-Encoding", header, "Content-Type", ndjson, "X-Zato-PubSub-Key", key)
			if a.header.Get("Accept-Encoding") != "gzip, deflate" {
				t.Errorf("Accept-Encoding %q", a.header.Get("Accept-Encoding"))
			}
		}
	}
	r.refuse(415, `header Content-Encoding "gzip, deflate": allowed are gzip, deflate, identity`, "POST", created, crm, "x", "Content-Encoding", "gzip", "Content-Encoding", "deflate")
	r.want(200, empty, "POST", queue, erp, "", "Content-Encoding", "br", "X-Zato-PubSub-Key", key) // nobody asks for its body
	zipped, deflated := packed(t, "Hello, hello, hello", gzipWriter), packed(t, "Hello, hello, hello", zlibWriter)
	wrongSum := []byte(zipped)
	wrongSum[len(wrongSum)-6] ^= 1
	for _, c := range []struct{ header, body string }{
		{"gzip", "Hello"}, {"gzip", zipped[:len(zipped)-1]}, {"gzip", zipped[:5]}, {"gzip", zipped + "x"}, {"gzip", string(wrongSum)}, {"gzip", deflated}, {"gzip", "\x1f"},
		{"deflate", "Hello"}, {"deflate", deflated[:len(deflated)-1]}, {"deflate", deflated + "x"}, {"deflate", zipped}, {"deflate", "x"},
		{"deflate", packed(t, "Hello", flateWriter) + "x"},
	} {
		r.refuse(400, "the payload ended early or came too slowly, or is not "+c.header+" as its Content-Encoding says", "POST", created, crm, c.body, "Content-Encoding", c.header)
	}
	r.wantPayloads(queue)
	r.publish(created, zipped, "Content-Encoding", "gzip") // with the same connection and decoder
	r.wantPayloads(queue, "Hello, hello, hello")
}

// TestBomb: the limits are those of what is unpacked, of which no more is ever held.
func TestBomb(t *testing.T) {
	const most = 64 << 10
	r := newServer(t, func(s *setup) {
		s.broker.MaxPayload, s.api.MaxPayload, s.api.MaxBatch = most, most, most
		s.broker.MaxPending = 3 * most // else 503 would come first
	})
	for name, writer := range map[string]func(io.Writer) io.WriteCloser{"gzip": gzipWriter, "deflate": flateWriter} {
		bomb := packed(t, strings.Repeat("\x00", 64<<20), writer)
		if len(bomb) > 2*most {
			t.Fatalf("%d bytes are no bomb", len(bomb))
		}
		r.refuse(413, fmt.Sprintf("payload: allowed are at most %d bytes", most), "POST", created, crm, bomb, "Content-Encoding", name)
		r.refuse(413, fmt.Sprintf("body: allowed are at most %d bytes", most), "POST", ackMany, erp, bomb, "Content-Encoding", name, "X-Zato-PubSub-Key", key)
		r.refuse(413, fmt.Sprintf("payload: allowed are at most %d bytes", most), "POST", created, crm, packed(t, strings.Repeat("x", most+1), writer), "Content-Encoding", name)
		a := r.send(r.request(ctx, "POST", created, crm, strings.NewReader(packed(t, strings.Repeat("x", most), writer)), "Content-Encoding", name))
		if a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
		// What cannot be packed is a little longer packed than not.
		a = r.send(r.request(ctx, "POST", created, crm, strings.NewReader(packed(t, noise(most), writer)), "Content-Encoding", name))
		if a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	// Endless, and never a byte of payload.
	nothing := strings.Repeat(packed(t, "", gzipWriter), 100_000)
	r.refuse(413, fmt.Sprintf("payload: allowed are at most %d bytes", most), "POST", created, crm, nothing, "Content-Encoding", "gzip")
	a := r.send(r.request(ctx, "POST", created, crm, io.MultiReader(strings.NewReader(nothing)), "Content-Encoding", "gzip"))
	if a.status != 413 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if got := r.receive(queue + "?max=1000"); got.Count != 4 {
		t.Errorf("%d messages, want 4", got.Count)
	}
}

// hold sends the beginning of a request and leaves it so.
func (r *rig) hold(begin string) {
	r.t.Helper()
	c := r.dial()
	r.t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, begin); err != nil {
		r.t.Fatal(err)
	}
}

// sends is the header of a held request that says how many bytes of its body come.
func sends(n int) string { return fmt.Sprintf("Sends: %d\r\n", n) }

// askedForMore returns a channel that has something for each request with the header Sends whose handler reads on when all that comes
// of its body has come: what is set aside for it is so by then. To look at what is left instead would take it from these requests.
func askedForMore(s *setup) <-chan struct{} {
	asked := make(chan struct{}, 1000)
	s.wrap = func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n, err := strconv.Atoi(r.Header.Get("Sends")); err == nil {
				r.Body = &heldBody{r.Body, n, asked}
			}
			h.ServeHTTP(w, r)
		})
	}
	return asked
}

// heldBody is the body of a held request.
type heldBody struct {
	io.ReadCloser
	left  int // bytes that are to come
	asked chan<- struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.left--
		b.asked <- struct{}{}
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= n
	return n, err
}

// TestUnsentBodies: what is announced and not sent takes no memory from others.
func TestUnsentBodies(t *testing.T) {
	const basic, ofErp = "Authorization: Basic Y3JtOmNybQ==\r\n", "Authorization: Basic ZXJwOmVycA==\r\nX-Zato-PubSub-Key: " + key + "\r\n"
	head := func(path, header string) string { return "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + header }
	for name, c := range map[string]struct {
		begin string
		n     int
	}{
		"announced batches":     {head(created+"?batch=true", basic+sends(0)+"Content-Type: application/x-ndjson\r\nContent-Length: 16777216\r\n\r\n"), 100},
		"announced payloads":    {head(created, basic+sends(1)+"Content-Length: 1048576\r\n\r\nx"), 200},
		"chunked batches":       {head(created+"?batch=true", basic+sends(1)+"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{"), 100},
		"chunked payloads":      {head(created, basic+sends(1)+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"), 200},
		"chunked acks":          {head(ackMany, ofErp+sends(1)+"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), 100},
		"chunked and packed":    {head(created, basic+sends(1)+"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\x1f\r\n"), 50},
		"announced, some of it": {head(created+"?batch=true", basic+sends(64<<10)+"Content-Type: application/x-ndjson\r\nContent-Length: 16777216\r\n\r\n"+strings.Repeat(" ", 64<<10)), 50},
	} {
		t.Run(name, func(t *testing.T) {
			var asked <-chan struct{}
			r := newServer(t, func(s *setup) { s.broker.MaxPending, asked = 16<<20, askedForMore(s) })
			for range c.n {
				r.hold(c.begin)
			}
			for range c.n { // all of them have their part of it
				await(t, asked)
			}
			for range 50 {
				r.publish(created, strings.Repeat("x", 100_000))
				if a := r.send(r.request(ctx, "POST", ackMany, erp, io.MultiReader(strings.NewReader(`{"ack": ["K1"]}`)), "X-Zato-PubSub-Key", key)); a.status != 200 {
					t.Fatalf("%d %s", a.status, a.body)
				}
			}
		})
	}
}

// TestPendingBound: bodies that do come are refused where max_pending ends, and only there. Whatever
// way out is taken gives back what was set aside.
func TestPendingBound(t *testing.T) {
	const most = 1 << 20
	var asked <-chan struct{}
	r := newServer(t, func(s *setup) {
		asked = askedForMore(s)
		s.broker.MaxPending, s.broker.MaxPayload, s.api.MaxPayload, s.api.MaxBatch = most, most, most, most
	})
	whole := strings.Repeat("x", most)
	chunked := func(body string, header ...string) reply {
		return r.send(r.request(ctx, "POST", created, crm, io.MultiReader(strings.NewReader(body)), header...))
	}
	for range 3 {
		if a := r.do("POST", created, crm, whole); a.status != 200 { // all of it is one body's, if it is the only one
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := chunked(whole); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if a := chunked(whole + "x"); a.status != 413 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		chunked("x", "Content-Encoding", "gzip")
		chunked(packed(t, whole, gzipWriter)+"x", "Content-Encoding", "gzip")
		r.raw("POST " + created + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n" + strings.Repeat("x", 0x10000) + "\r\nzz\r\n")
	}
	for range 3 {
		r.hold("POST " + created + " HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\n" + sends(130<<10) + "Content-Length: 1048576\r\n\r\n" + whole[:130<<10])
	}
	for range 3 {
		await(t, asked)
	}
	a := r.do("POST", created, crm, whole)
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("%d %s", a.status, a.body)
	}
	r.publish(created, "a small one")
}
