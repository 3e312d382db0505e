package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// stream opens the live stream of a rig with a server.
func stream(t *testing.T, r *authRig, cookie *http.Cookie) (*http.Response, *bufio.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", r.server.URL+"/admin/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	withCookie(cookie)(req)
	withHeader("Accept", typeEvents)(req)
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
	if a := w.call("GET", "/admin/live", "", withHeader("Accept", typeEvents)); a.status != http.StatusUnauthorized {
		t.Errorf("without a session: %d", a.status)
	}
	resp, body := stream(t, w.authRig, cookie)
	if h := resp.Header; resp.StatusCode != http.StatusOK || h.Get("Content-Type") != typeEvents || h.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v", resp.StatusCode, h)
	}
	if line, _ := body.ReadString('\n'); line != "retry: 5000\n" {
		t.Errorf("%q", line)
	}
	var f frame
	if err := json.Unmarshal([]byte(next(t, body)), &f); err != nil {
		t.Fatal(err)
	}
	if f.Totals.Published != 3 || f.Totals.Backlog != 2 || f.Tiles["backlog"] != "2" || f.Tiles["published"] == "" || f.Attention == nil || time.Since(f.Oldest.Time) > time.Minute {
		t.Errorf("%+v", f)
	}

	w.b.Drain()
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Error("the stream does not end in order", err)
	}
	if n := len(w.a.stats.live.viewers); n != 0 {
		t.Errorf("%d viewers", n)
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

// TestLiveComputes checks that frames are computed once for all viewers, and not for none.
func TestLiveComputes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		s := w.a.stats
		var frames atomic.Int64
		frame := func() []byte { return []byte{byte(frames.Add(1))} }
		pass(time.Hour)

		first, second := s.watch(frame), s.watch(frame)
		synctest.Wait()
		if frames.Load() != 1 || (<-first)[0] != 1 || (<-second)[0] != 1 {
			t.Error("frames:", frames.Load())
		}
		pass(liveStep)
		if frames.Load() != 2 || (<-first)[0] != 2 {
			t.Error("frames:", frames.Load())
		}
		pass(10 * liveStep)
		if (<-second)[0] != 12 {
			t.Error("who is slow does not get the newest frame")
		}
		late := s.watch(frame)
		if (<-late)[0] != 12 {
			t.Error("who comes late does not get the last frame at once")
		}
		for _, ch := range []chan []byte{first, second, late} {
			s.unwatch(ch)
		}
		pass(time.Hour)
		if frames.Load() != 12 {
			t.Error("nobody watches, and frames are computed:", frames.Load())
		}

		again := s.watch(frame)
		synctest.Wait()
		if (<-again)[0] != 13 {
			t.Error("frames:", frames.Load())
		}
		for range maxViewers - 1 {
			if s.watch(frame) == nil {
				t.Fatal("too few viewers")
			}
		}
		if s.watch(frame) != nil {
			t.Error("too many viewers")
		}
	})
}

func TestLiveIsBounded(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	for range maxViewers {
		w.a.stats.watch(func() []byte { return nil })
	}
	a := w.call("GET", "/admin/live", "", withCookie(cookie))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Error(a.status, a.header)
	}
}

// TestFrames checks the rates: between two frames, and at first those of the last sample.
func TestFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t, true)
		defer w.close()
		w.publish(watchedTopic, 20)
		pass(sampleStep)
		events := w.a.liveFrames()
		frame := func() (f frame) {
			t.Helper()
			if err := json.Unmarshal(events()[len("data: "):], &f); err != nil {
				t.Fatal(err)
			}
			return f
		}
		f := frame()
		if f.Rates.Published != 2 || f.Hour == nil || f.Hour.Published != 2 || f.Hour.Backlog != 20 || f.Hour.End != time.Now().Unix() || f.Day != nil {
			t.Errorf("%+v %+v", f, f.Hour)
		}
		w.publish(watchedTopic, 6)
		w.receive(4)
		pass(liveStep)
		f = frame()
		if f.Rates != (rates{3, 2, 2}) || f.Tiles["published"] != "3.0" || f.Tiles["oldest"] == "" {
			t.Errorf("%+v", f)
		}
		pass(5 * time.Minute)
		if f = frame(); f.Day == nil || f.Day.Backlog != 22 {
			t.Errorf("%+v", f.Day)
		}
	})
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
		var h History
		if err := json.Unmarshal([]byte(a.body), &h); want == 200 && (err != nil || h.Step == 0 || !strings.Contains(a.body, `"published":[]`)) {
			t.Error(errors.Join(err), a.body)
		}
	}
}
