package main

import (
	"context"
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

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

// allowance is how many bytes the process may use, by its control group: MemoryMax= of a unit, the memory limit of a container.
// 0: there is no such bound.
type allowance int64

// ofGroup is the limit of the process's control group and those around it, in bytes.
var ofGroup = memlimit.FromCgroup

func memoryAllowed() allowance {
	n, err := ofGroup()
	if err != nil || n > math.MaxInt64 { // there is none, or no control group
		return 0
	}
	return allowance(n)
}

// heap is what of it the garbage collector has, in bytes: the rest is for stacks of the system, the pages of the database that
// are being read, and sockets.
func (a allowance) heap() int64 {
	if a == 0 {
		return math.MaxInt64
	}
	return int64(a) / 10 * 9
}

// tell says what was learned, and whether the limits of the configuration allow more to live, in bytes.
func (a allowance) tell(log *slog.Logger, needed int64) {
	switch {
	case a == 0:
	case needed > a.heap():
		log.Warn("max_pending and max_replies allow more than this process may use: it is killed where all of that comes: lower them, or raise MemoryMax",
			"memory_max", int64(a), "memory_needed", needed/9*10)
	default:
		log.Info("memory is bounded from outside", "memory_max", int64(a), "memory_needed", needed/9*10)
	}
}

// limitMemory lets the garbage collector work harder when the process comes near to what its limits
// allow to live, which may change, where the environment does not say otherwise: payloads are large, and what dies of them would
// pile up to several times as much. Where more lives all the same, such as many messages in flight, the limit
// makes room for it, else it would do nothing but collect, up to what the process may use. It returns when ctx ends.
func limitMemory(ctx context.Context, allowed *atomic.Int64, outer allowance) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	set := min(allowed.Load(), outer.heap())
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
		if n := min(max(allowed.Load(), int64(live[0].Value.Uint64())/2*3), outer.heap()); n != set { // #nosec G115 -- bytes of memory in use
			set = n
			debug.SetMemoryLimit(set)
		}
	}
}
