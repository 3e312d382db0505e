package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"pipit/config"
)

// tune sets the runtime up for this program, where the environment does not say otherwise.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		// Who commits waits in fsync. One processor more than there are cores lets it come back from there
		// without a queue of requests before it. From here on Go does not follow a CPU limit of the container
		// that changes.
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}

// garbage is how much may be allocated between two collections, in bytes: little enough that it comes back while the
// processor's caches still have it, and enough that collections, which look at all that lives, are rare.
const garbage = 24 << 20

// The percentages that paceCollector chooses from: the smallest, where gigabytes live, keeps collections rare.
const leastGCPercent, mostGCPercent = 25, 400

// paceCollector sets the garbage collector's percentage anew after each collection, where the environment does not say
// it, until ctx ends. What lives goes from a few megabytes, in which Go's default would collect many times a second, to some
// tens, as the database keeps in memory what its file does not have yet: one percentage does not fit both.
func paceCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	percent := mostGCPercent
	debug.SetGCPercent(percent)
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var await func()
	collected := func(struct{}) {
		if ctx.Err() != nil {
			return
		}
		metrics.Read(live)
		if p := gcPercent(live[0].Value.Uint64()); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		await()
	}
	await = func() { runtime.AddCleanup(new([64]byte), collected, struct{}{}) } // which the next collection finds
	await()
}

// gcPercent is the percentage of what lives, in bytes, that makes about so much garbage.
func gcPercent(live uint64) int {
	return int(min(max(garbage*100/max(live, 1), leastGCPercent), mostGCPercent)) // #nosec G115 -- bounded
}

// baseMemory is what the process may need beside the payloads that its limits allow, in bytes.
const baseMemory = 256 << 20

// memoryOf is what the limits of a configuration allow to live, in bytes.
func memoryOf(c config.HTTP) int64 { return int64(c.MaxPending) + int64(c.MaxReplies) + baseMemory }

// limitMemory lets the garbage collector work harder when the process comes near to what its limits
// allow to live, which may change, where the environment does not say otherwise: payloads are large, and what dies of them would
// pile up to several times as much. Where more lives all the same, such as many messages in flight, the limit
// makes room for it, else it would do nothing but collect. It returns when ctx ends.
func limitMemory(ctx context.Context, allowed *atomic.Int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	set := allowed.Load()
	debug.SetMemoryLimit(set)
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(live)
		if n := max(allowed.Load(), int64(live[0].Value.Uint64())/2*3); n != set { // #nosec G115 -- bytes of memory in use
			set = n
			debug.SetMemoryLimit(set)
		}
	}
}
