package acceptance

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pipit/broker"
)

func TestCompactPage(t *testing.T) {
	w := newWatched(t, false)
	cookie := w.signedIn()
	if a := w.call("GET", "/admin/system", "", asBrowser, withCookie(cookie)); !strings.Contains(a.body, `id="compact-now">Compact now`) || !strings.Contains(a.body, "<dt>Compacted</dt><dd>not since the start</dd>") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.call("POST", "/admin/system/compact", "", asBrowser, withCookie(cookie)); a.status != 303 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if w.b.StoreStats().Compacted.IsZero() {
		t.Error("it was not compacted")
	}
	if a := w.call("GET", "/admin/system", "", asBrowser, withCookie(cookie)); strings.Contains(a.body, "<dt>Compacted</dt><dd>not since the start</dd>") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.call("GET", "/admin/system/audit", "", asBrowser, withCookie(cookie)); !strings.Contains(a.body, "database.compact") {
		t.Error("it is not in the audit log")
	}
}

// Who leaves does not break it off.
func TestCompactGoesOn(t *testing.T) {
	w := newWatched(t, false)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.b.Compact(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := w.b.Compact(context.Background()); err != nil && broker.CodeOf(err) != broker.Unavailable {
		t.Error(err)
	}
}
