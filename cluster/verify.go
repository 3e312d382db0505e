package cluster

import (
	"context"
	"sync"
)

// verifier asks a majority whether this node still leads: once for all that ask meanwhile, and after each of them began to.
type verifier struct {
	engine *Engine

	mu      sync.Mutex
	running bool
	next    *round // that begins when the one that is running has ended; nil: nobody waits
}

// round is one question to the majority.
type round struct {
	done chan struct{}
	err  error
}

func (v *verifier) verify(ctx context.Context) error {
	v.mu.Lock()
	if v.next == nil {
		v.next = &round{done: make(chan struct{})}
	}
	r := v.next
	if !v.running {
		v.running = true
		go v.run()
	}
	v.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run asks as long as somebody waits.
func (v *verifier) run() {
	for {
		v.mu.Lock()
		r := v.next
		v.next = nil
		v.running = r != nil
		v.mu.Unlock()
		if r == nil {
			return
		}
		r.err, _ = v.engine.await(v.engine.raft.VerifyLeader())
		close(r.done)
	}
}
