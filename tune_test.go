package main

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"pipit/config"
)

// The limit of the garbage collector is that of the configuration in force, also after a reload.
func TestMemoryLimitIsAdjusted(t *testing.T) {
	if os.Getenv("GOMEMLIMIT") != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var allowed atomic.Int64
		for i, c := range []config.HTTP{{MaxPending: 4 << 40, MaxReplies: 2 << 40}, {MaxPending: 8 << 40, MaxReplies: 2 << 40}, {MaxPending: 1 << 40, MaxReplies: 1 << 40}} {
			allowed.Store(memoryOf(c))
			if i == 0 {
				go limitMemory(ctx, &allowed, 0)
			} else {
				<-time.After(2 * time.Second)
			}
			synctest.Wait()
			if got, want := debug.SetMemoryLimit(-1), int64(c.MaxPending+c.MaxReplies)+256<<20; got != want {
				t.Errorf("%d bytes, want %d", got, want)
			}
		}
	})
}

// What lives decides how much may become garbage before the next collection.
func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{{0, 400}, {1 << 20, 400}, {6 << 20, 400}, {24 << 20, 100}, {48 << 20, 50}, {96 << 20, 25}, {4 << 30, 25}} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d MiB: %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}

// The percentage follows what lives, collection by collection, until the end.
func TestPaceCollector(t *testing.T) {
	if os.Getenv("GOGC") != "" {
		t.Skip("GOGC is set")
	}
	percent := debug.SetGCPercent(-1)
	defer debug.SetGCPercent(percent)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	paceCollector(ctx)
	live := make([]byte, 96<<20)
	for deadline := time.Now().Add(10 * time.Second); ; {
		runtime.GC()
		got := debug.SetGCPercent(-1)
		debug.SetGCPercent(got)
		if got == leastGCPercent {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %% with %d bytes alive", got, len(live))
		}
	}
	runtime.KeepAlive(live)
}

// What the process may use by its control group bounds the limit, and a configuration that allows more is warned about.
func TestMemoryAllowed(t *testing.T) {
	if os.Getenv("GOMEMLIMIT") != "" {
		t.Skip("GOMEMLIMIT is set")
	}
	before, group := debug.SetMemoryLimit(-1), ofGroup
	defer func() { debug.SetMemoryLimit(before); ofGroup = group }()
	for _, c := range []struct {
		max   uint64
		err   error
		limit int64
		told  string
	}{
		{1 << 40, nil, 1 << 40 / 10 * 9, `level=WARN msg="max_pending and max_replies allow more`},
		{8 << 40, nil, 3<<40 + baseMemory, `level=INFO msg="memory is bounded from outside" memory_max=8796093022208`},
		{math.MaxUint64, nil, 3<<40 + baseMemory, ""},
		{0, memlimit.ErrNoLimit, 3<<40 + baseMemory, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ofGroup = func() (uint64, error) { return c.max, c.err }
			var needed atomic.Int64
			needed.Store(memoryOf(config.HTTP{MaxPending: 2 << 40, MaxReplies: 1 << 40}))
			var told strings.Builder
			outer := memoryAllowed()
			outer.tell(slog.New(slog.NewTextHandler(&told, nil)), needed.Load())
			go limitMemory(ctx, &needed, outer)
			for range 2 {
				synctest.Wait()
				if got := debug.SetMemoryLimit(-1); got != c.limit {
					t.Errorf("%d: %d bytes, want %d", c.max, got, c.limit)
				}
				<-time.After(2 * time.Second)
			}
			if (c.told == "") != (told.String() == "") || !strings.Contains(told.String(), c.told) {
				t.Errorf("%d: %s, want %s", c.max, told.String(), c.told)
			}
		})
	}
}
