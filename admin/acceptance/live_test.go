package acceptance

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"pipit/admin/monitor"
)

// stream opens the live stream of a rig with a server.
func stream(t *testing.T, r *authRig, cookie *http.Cookie) (*http.Response, *bufio.Reader) {
	t.Helper()
	return streamAt(t, r, cookie, "/admin/live")
}

// streamAt is stream of a page.
func streamAt(t *testing.T, r *authRig, cookie *http.Cookie, path string) (*http.Response, *bufio.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	withCookie(cookie)(req)
	withHeader("Accept", "text/event-stream")(req)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp, bufio.NewReader(resp.Body)
}

// next returns the data of the next event.
func next(t *testing.T, body *bufio.Reader) string {
	t.Helper()
	for {
		line, err := body.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if blank, err := body.ReadString('\n'); blank != "\n" {
				t.Fatalf("%q follows an event: %v", blank, err)
			}
			return data
		}
	}
}

func TestLiveStream(t *testing.T) {
	w := newWatched(t, false)
	w.publish(watchedTopic, 3)
	w.receive(1)
	cookie := w.signedIn()
	if a := w.call("GET", "/admin/live", "", withHeader("Accept", "text/event-stream")); a.status != http.StatusUnauthorized {
		t.Errorf("without a session: %d", a.status)
	}
	resp, body := stream(t, w.authRig, cookie)
	if h := resp.Header; resp.StatusCode != http.StatusOK || h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", resp.StatusCode, h)
	}
	if line, _ := body.ReadString('\n'); line != "retry: 5000\n" {
		t.Errorf("%q", line)
	}
	var f monitor.Frame
	if err := json.Unmarshal([]byte(next(t, body)), &f); err != nil {
		t.Fatal(err)
	}
	if f.Totals.Published != 3 || f.Totals.Backlog != 2 || f.Tiles["backlog"] != "2" || f.Tiles["published"] == "" || f.Rows == nil || time.Since(f.Oldest.Time) > time.Minute {
		t.Errorf("%+v", f)
	}

	w.b.Drain()
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Error("the stream does not end in order", err)
	}
	if n := watchAll(w); n != mostViewers {
		t.Errorf("%d can watch", n)
	}
}

// TestLiveEndsWithSession checks that nobody goes on watching who is signed out.
func TestLiveEndsWithSession(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	_, body := stream(t, w.authRig, cookie)
	next(t, body)
	w.want(w.call("POST", "/admin/logout", "", withCookie(cookie)), http.StatusSeeOther)
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, body)
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("it goes on")
	}
}

const mostViewers = 100

// watchAll has as many watch as can, and returns how many.
func watchAll(w *watched) (n int) {
	for w.a.Monitor.Watch() != nil {
		n++
	}
	return n
}

func TestLiveIsBounded(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	if n := watchAll(w); n != mostViewers {
		t.Errorf("%d can watch", n)
	}
	a := w.call("GET", "/admin/live", "", withCookie(cookie))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Error(a.status, a.header)
	}
}

func TestHistoryPage(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	for path, want := range map[string]int{
		"?range=hour": 200, "?range=day": 200, "?range=hour&topic=/customer/created": 200,
		"": 422, "?range=week": 422,
	} {
		a := w.call("GET", "/admin/history"+path, "", withCookie(cookie))
		w.want(a, want)
		var h monitor.History
		if err := json.Unmarshal([]byte(a.body), &h); want == 200 && (err != nil || h.Step == 0 || !strings.Contains(a.body, `"published":[0]`)) {
			t.Error(errors.Join(err), a.body)
		}
	}
}
