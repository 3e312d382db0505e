package web

import (
	"io"
	"strings"
	"testing"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
)

// What does harm differs from a warning by its shape, too.
func TestAttentionShape(t *testing.T) {
	for bad, name := range map[bool]string{true: "bad", false: "warn"} {
		var row strings.Builder
		if err := templates()["overview"].ExecuteTemplate(&row, "attention-row", monitor.Row{Bad: bad}); err != nil {
			t.Fatal(err)
		}
		if shape, err := icon(name); err != nil || strings.Count(row.String(), "<svg") != 1 || !strings.Contains(row.String(), string(shape)) {
			t.Errorf("bad %t: %s", bad, row.String())
		}
	}
}

func TestFunctions(t *testing.T) {
	now := time.Now()
	for _, c := range []struct{ got, want any }{
		{string(ago(time.Time{})), `<span class="muted">never</span>`}, {string(timeTag(gate.Time{})), `<span class="muted">never</span>`},
		{string(timeTag(time.Date(2026, 11, 24, 3, 4, 5, 6000, time.FixedZone("", 3600)))), `<time datetime="2026-11-24T02:04:05.000006Z" title="2026-11-24 02:04:05 UTC">2026-11-24 02:04:05 UTC</time>`},
		{strings.Contains(string(ago(now.Add(-90*time.Second))), ">1m30s ago<"), true}, {strings.Contains(string(ago(gate.TimeOf(now.Add(time.Hour+time.Second)))), ">in 1h<"), true},
	} {
		if c.got != c.want {
			t.Errorf("%v, want %v", c.got, c.want)
		}
	}
	if _, err := dict("a"); err == nil {
		t.Error("a dict of half a pair")
	}
	if _, err := dict(1, 2); err == nil {
		t.Error("a dict of a number")
	}
	if _, err := assetURL("nothing"); err == nil {
		t.Error("an asset that is not there has a URL")
	}
	if _, err := icon("nothing"); err == nil {
		t.Error("an icon that is not there is drawn")
	}
	drawing, err := icon("topics")
	if err != nil || !strings.HasPrefix(string(drawing), `<svg class="icon"`) {
		t.Error(drawing, err)
	}
}

func TestLibrary(t *testing.T) {
	license, _ := files.ReadFile("assets/uplot/LICENSE")
	script, _ := files.ReadFile("assets/uplot/uPlot.iife.min.js")
	if !strings.Contains(string(license), "MIT License") || !strings.Contains(string(script[:100]), "uPlot (v1.6.32)") {
		t.Error("uPlot is not what it was")
	}
}

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		has    string
	}{
		{&broker.Error{Code: broker.Internal, Message: "secret"}, 500, "The log says what it is."},
		{io.ErrUnexpectedEOF, 500, "The log says what it is."},
		{&broker.Error{Code: broker.TooMany, Message: "Too many failures", RetryAfter: 1500 * time.Millisecond}, 429, "Too many failures. Try again in 2 seconds."},
		{&broker.Error{Code: broker.NotFound, Message: "no topic"}, 404, "No topic."},
		{&broker.Error{Code: broker.DiskFull, Message: "the disk is full"}, 507, "The disk is full."},
	} {
		if f := failureOf(c.err); f.Status != c.status || !strings.Contains(f.Message, c.has) || f.Heading == "" {
			t.Errorf("%v: %+v", c.err, f)
		}
	}
}

func TestNextPath(t *testing.T) {
	for next, want := range map[string]string{
		"":                          "/admin/",
		"/admin/topics?search=a%2F": "/admin/topics?search=a%2F",
		"/admin/topics/%2Fa":        "/admin/topics/%2Fa",
		"//evil.example/admin/":     "/admin/",
		"https://evil.example":      "/admin/",
		"/admin/\\evil":             "/admin/",
		"/zato/ping":                "/admin/",
		"/admin/api/v1/export":      "/admin/",
		"/admin/login?next=x":       "/admin/",
		"javascript:alert(1)":       "/admin/",
		"/admin/%zz":                "/admin/",
	} {
		if got := nextPath(next); got != want {
			t.Errorf("%q: %q, want %q", next, got, want)
		}
	}
}
