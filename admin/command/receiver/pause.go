package receiver

import (
	"context"
	"math/rand/v2"
	"time"
)

// Bounds of the pauses before a server that did not answer is asked again.
const (
	firstPause = time.Second
	lastPause  = 30 * time.Second
)

// Pauses are those between attempts to reach a server. They grow from firstPause to lastPause. Each is up to a fifth shorter or longer by chance, so that those who lost
// the same server do not all come back at once.
type Pauses struct{ latest time.Duration }

// Next returns how long to wait before the next attempt.
func (p *Pauses) Next() time.Duration {
	p.latest = min(max(2*p.latest, firstPause), lastPause)
	part := 0.8 + 0.4*rand.Float64() // #nosec G404 -- no secret
	return time.Duration(part * float64(p.latest)).Round(100 * time.Millisecond)
}

// Sleep waits so long, and tells whether ctx lasted as long.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
