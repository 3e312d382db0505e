package httpapi_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// TestUnreadableRequests: what no handler can be given is answered in the form of all errors, and logged.
func TestUnreadableRequests(t *testing.T) {
	r := newServer(t)
	const percent = "The path of a request is percent-encoded: % stands before two hexadecimal digits"
	const firstLine = "The first line of a request is METHOD PATH HTTP/1.1"
	for _, c := range []struct {
		request, method, path string
		status                int
		details               string
	}{
		{"GET /zato/%zz?sub_key=" + key + " HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/zato/%zz", 400, percent},
		{"POST " + created + "%2 HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Y3JtOmNybQ==\r\nContent-Length: 12\r\n\r\n" + marked, "POST", created + "%2", 400, percent},
		{"GET /zato/ping HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 30_000) + "\r\n\r\n", "GET", "/zato/ping", 431, "Header: allowed are at most 16384 bytes"},
		{"GET /" + strings.Repeat("y", 30_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", "GET", "/" + strings.Repeat("y", 251), 431, "Header: allowed are at most 16384 bytes"},
		{"what is this\r\n\r\n", "", "", 400, firstLine},
		{"Authorization: Basic Y3JtOmNybQ==\r\n\r\n", "", "", 400, firstLine},
		{"GET /zato/ping\r\n\r\n", "", "", 400, firstLine},
		{"get /zato/ping\r\n\r\n", "", "", 400, firstLine},
		{"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x00", 100) + "\n\n", "", "", 400, "TLS where plain HTTP is spoken"},
		{"GET /zato/ping HTTP/1.1\r\n\r\n", "GET", "/zato/ping", 400, "missing required Host header"},
		{"GET /zato/ping HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", "GET", "/zato/ping", 400, "400 Bad Request"},
		{"POST " + created + " HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "POST", created, 400, "400 Bad Request"},
		{"POST " + created + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "POST", created, 501, "Unsupported transfer encoding"},
		{"GET /zato/ping HTTP/3.0\r\nHost: x\r\n\r\n", "GET", "/zato/ping", 505, "unsupported protocol version"},
		{"POST " + created + " HTTP/1.1\r\nHost: x\r\nExpect: the unexpected\r\nContent-Length: 5\r\n\r\nHello", "POST", created, 417, "Header Expect: allowed is 100-continue"},
	} {
		// As the first on its connection, and behind another one.
		for _, before := range []string{"", "GET /zato/ping HTTP/1.1\r\nHost: x\r\n\r\n"} {
			conn := r.dial()
			send := func(s string) {
				if _, err := io.WriteString(conn, s); err != nil {
					t.Fatal(err)
				}
			}
			if before != "" {
				send(before)
				if a := r.readReply(conn, "GET"); a.status != 200 {
					t.Fatal(a)
				}
			}
			send(c.request)
			a := r.readReply(conn, "GET")
			if rest, err := io.ReadAll(conn); len(rest) > 0 || err != nil {
				t.Errorf("%.60q: something follows: %q, %v", c.request, rest, err)
			}
			conn.Close()
			if want := `{"status": "ZATO_ERROR", "details": ` + quoted(c.details) + `}`; a.status != c.status || a.body != want {
				t.Errorf("%.60q: %d %s, want %d %s", c.request, a.status, a.body, c.status, want)
			}
			line := r.refused(a)
			if line["method"] != c.method || line["path"] != c.path || line["status"] != float64(c.status) || line["details"] != c.details || line["level"] != "WARN" ||
				line["remote"] != conn.LocalAddr().String() || !strings.HasPrefix(line["reason"].(string), "not a request that can be read: ") {
				t.Errorf("%.60q: logged %v", c.request, line)
			}
		}
	}
}

// TestForgedAnswer: what handlers send passes as it is, also where a piece of it looks like an answer of
// net/http.
func TestForgedAnswer(t *testing.T) {
	const forged = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request"
	r := newServer(t, func(s *setup) {
		s.wrap = func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Length"] = []string{strconv.Itoa(2 * len(forged))}
				for range 2 {
					_, _ = io.WriteString(w, forged)
					_ = http.NewResponseController(w).Flush()
				}
			})
		}
	})
	for range 3 { // on one connection
		res, err := r.client.Get("http://" + r.addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(b) != forged+forged {
			t.Errorf("%q, %v", b, err)
		}
	}
}
