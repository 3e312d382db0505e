package exchange_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/julienschmidt/httprouter"
	"github.com/segmentio/ksuid"

	"pipit/httpapi/exchange"
	"pipit/httpapi/refused"
)

// visit is the side of these tests.
type visit struct {
	exchange.Exchange
	begun int
}

func (x *visit) Begin()                          { x.begun++ }
func (x *visit) Caller() string                  { return "ann" }
func (x *visit) Attrs(a []slog.Attr) []slog.Attr { return append(a, slog.String("actor", "ann")) }

func newVisit(method, path string) (*visit, *httptest.ResponseRecorder) {
	w := httptest.NewRecorder()
	x := &visit{}
	x.Exchange = exchange.Exchange{ResponseWriter: w, Side: x, Request: httptest.NewRequest(method, path, nil), Remote: "192.0.2.1"}
	return x, w
}

func newLines() (*exchange.Lines, *bytes.Buffer) {
	var log bytes.Buffer
	return exchange.NewLines(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))), &log
}

func TestReply(t *testing.T) {
	x, _ := newVisit("GET", "/")
	x.WriteHeader(http.StatusEarlyHints)
	if x.Status != 0 || x.begun != 0 {
		t.Fatalf("after a status of 1xx: %d, begun %d times", x.Status, x.begun)
	}
	x, _ = newVisit("GET", "/") // a recorder takes any status for the last one
	_, _ = x.Write([]byte("ab"))
	x.WriteHeader(http.StatusTeapot)
	_, _ = x.Write([]byte("c"))
	if x.Status != http.StatusOK || x.begun != 1 {
		t.Errorf("status %d, begun %d times", x.Status, x.begun)
	}
	lines, log := newLines()
	lines.Access(&x.Exchange, time.Now())
	if line := log.String(); !strings.Contains(line, "status=200 bytes=3 ") {
		t.Error(line)
	}
}

func TestPanic(t *testing.T) {
	lines, log := newLines()
	panics := func(v any) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(v) })
	}
	x, _ := newVisit("GET", "/a?secret")
	x.ID[0] = "K1"
	lines.Run(&x.Exchange, panics("boom"), x.Request)
	if x.Err == nil {
		t.Error("no error")
	}
	if line := log.String(); !strings.Contains(line, `level=ERROR msg=panic cid=K1 method=GET path=/a remote=192.0.2.1 actor=ann panic=boom stack=`) {
		t.Error(line)
	}
	defer func() {
		if p := recover(); p != http.ErrAbortHandler {
			t.Errorf("panic %v", p)
		}
	}()
	lines.Run(&x.Exchange, panics(http.ErrAbortHandler), x.Request)
}

func TestLines(t *testing.T) {
	lines, log := newLines()
	x, _ := newVisit("GET", "/"+strings.Repeat("a", 300))
	lines.Refused(&x.Exchange, 404, slog.String("reason", "nothing"))
	lines.Refused(&x.Exchange, 503)
	x.Err = errors.New("left")
	x.WriteHeader(200)
	lines.BrokenOff(&x.Exchange)
	lines.Access(&x.Exchange, time.Now())
	got := strings.Split(log.String(), "\n")
	request := "method=GET path=/" + strings.Repeat("a", 255) + "… remote=192.0.2.1 actor=ann "
	for i, want := range []string{
		"level=WARN msg=refused " + request + "status=404 reason=nothing",
		"level=ERROR msg=refused " + request + "status=503",
		`level=DEBUG msg="reply broken off" ` + request + "status=200 reason=left",
		"level=INFO msg=request " + request + "status=200 bytes=0 duration=",
	} {
		if !strings.Contains(got[i], want) {
			t.Errorf("%s\nwant %s", got[i], want)
		}
	}
}

// Replies that break off have no line at the usual level, and take none of the lines of refusals.
func TestBrokenOffTakesNoLines(t *testing.T) {
	var log bytes.Buffer
	lines := exchange.NewLines(slog.New(slog.NewTextHandler(&log, nil)))
	x, _ := newVisit("GET", "/")
	x.Err = errors.New("left")
	for range refused.OfClient {
		lines.BrokenOff(&x.Exchange)
	}
	lines.Refused(&x.Exchange, 404)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN msg=refused ") {
		t.Errorf("%q", got)
	}
}

func TestRouter(t *testing.T) {
	var found, message string
	router := exchange.NewRouter(
		func(http.ResponseWriter, *http.Request) { message = "not found" },
		func(_ http.ResponseWriter, _ *http.Request, m string) { message = m })
	for _, method := range []string{"GET", "POST"} {
		exchange.Handle(router, method, "/a", func(_ http.ResponseWriter, r *http.Request, _ httprouter.Params) { found = r.Method })
	}
	for _, test := range []struct{ method, path, found, message, allow string }{
		{"GET", "/a", "GET", "", ""},
		{"HEAD", "/a", "HEAD", "", ""},
		{"POST", "/a", "POST", "", ""},
		{"PUT", "/a", "", "Method PUT: allowed are GET, HEAD, POST", "GET, HEAD, POST"},
		{"OPTIONS", "/a", "", "Method OPTIONS: allowed are GET, HEAD, POST", "GET, HEAD, POST"},
		{"GET", "//a", "", "not found", ""},
		{"GET", "/a/", "", "not found", ""},
	} {
		found, message = "", ""
		x, w := newVisit(test.method, test.path)
		router.ServeHTTP(x, x.Request)
		if allow := w.Header().Get("Allow"); found != test.found || message != test.message || allow != test.allow {
			t.Errorf("%s %s: found %q, message %q, Allow %q", test.method, test.path, found, message, allow)
		}
	}
}

// A handler that returns leaves no error and no line, and what net/http can do with a reply it can do with this one.
func TestRun(t *testing.T) {
	lines, log := newLines()
	x, w := newVisit("GET", "/")
	lines.Run(&x.Exchange, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusAccepted)
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
	}), x.Request)
	if x.Err != nil || x.Status != http.StatusAccepted || x.begun != 1 || !w.Flushed || log.Len() > 0 {
		t.Errorf("%v, status %d, begun %d times, flushed: %t, log %q", x.Err, x.Status, x.begun, w.Flushed, log)
	}
}

// IDs are of one length and differ, and those of later seconds sort after those of earlier ones.
func TestNewID(t *testing.T) {
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var last string
	given := map[string]bool{}
	for second := range 3 {
		var latest string
		for range 100 {
			id := exchange.NewID(at.Add(time.Duration(second) * time.Second))
			if k, err := ksuid.Parse(id[1:]); err != nil || id[0] != 'K' || !k.Time().Equal(at.Add(time.Duration(second)*time.Second)) {
				t.Fatalf("%q: %v, %v", id, k.Time(), err)
			}
			if given[id] || id <= last {
				t.Fatalf("%q after %q", id, last)
			}
			given[id], latest = true, max(latest, id)
		}
		last = latest
	}
}
