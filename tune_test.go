package main

import (
	"context"
	"os"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
				go limitMemory(ctx, &allowed)
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
