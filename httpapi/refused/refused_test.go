package refused_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pipit/httpapi/refused"
)

// buffer is a log that is read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newLines() (*refused.Lines, *buffer) {
	var log buffer
	return refused.New(slog.New(slog.NewTextHandler(&log, nil))), &log
}

// pass sends n requests and returns how many of them have a line.
func pass(l *refused.Lines, n int, client, remote string) (lines int) {
	for range n {
		if l.Allow(client, remote) {
			lines++
		}
	}
	return lines
}

// TestAllow: a network has its lines, then a count, then lines again; others have theirs meanwhile.
func TestAllow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newLines()
		for _, c := range []struct {
			n              int
			client, remote string
			want           int
		}{
			{5000, "", "192.0.2.1:4000", refused.OfNetwork},
			{1, "", "192.0.2.1:4001", 0},
			{1, "", "192.0.2.1", 0},
			{1, "", "192.0.2.2:4000", 1},
			{80, "", "[2001:db8::1]:4000", refused.OfNetwork},
			{1, "", "[2001:db8::2]:4000", 0},
			{1, "", "[2001:db8:0:1::2]:4000", 1},
			{3000, "crm", "192.0.2.1:4000", refused.OfClient},
			{1, "erp", "192.0.2.1:4000", 1},
		} {
			if got := pass(l, c.n, c.client, c.remote); got != c.want {
				t.Errorf("%+v: %d lines", c, got)
			}
		}
		if log.String() != "" {
			t.Errorf("before the end: %s", log)
		}
		time.Sleep(refused.Span)
		synctest.Wait()
		for _, want := range []string{
			fmt.Sprintf("requests=%d network=192.0.2.1\n", 5002-refused.OfNetwork),
			fmt.Sprintf("requests=%d network=2001:db8::/64\n", 81-refused.OfNetwork),
			fmt.Sprintf("requests=%d client=crm\n", 3000-refused.OfClient),
		} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q is missing: %s", want, log)
			}
		}
		if n := strings.Count(log.String(), "\n"); n != 3 {
			t.Errorf("%d lines: %s", n, log)
		}
		if got := pass(l, 100, "", "192.0.2.1:4000"); got != refused.OfNetwork {
			t.Errorf("then: %d lines", got)
		}
	})
}

// TestManyNetworks: with any number of networks the log stays bounded, and so does what is remembered.
func TestManyNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := newLines()
		lines := 0
		for i := range 50_000 {
			lines += pass(l, 1, "", fmt.Sprintf("[2001:db8:%x:%x::1]:4000", i>>16, i&0xffff))
		}
		if lines > 256+refused.OfNetwork {
			t.Errorf("%d lines", lines)
		}
		time.Sleep(refused.Span)
		synctest.Wait()
		if want := fmt.Sprintf("requests=%d network=many\n", 50_000-lines); !strings.Contains(log.String(), want) || strings.Count(log.String(), "\n") != 1 {
			t.Errorf("%q: %s", want, log)
		}
		if !l.Allow("", "192.0.2.1") {
			t.Error("no room after the end")
		}
	})
}
