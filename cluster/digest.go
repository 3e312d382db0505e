package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// digests are those that entries of the log asked for: so all copies make them of the same moment, while they go on.
type digests struct {
	working sync.WaitGroup

	mu   sync.Mutex
	last *digest
}

// digest is what a copy has at an entry.
type digest struct {
	index uint64
	done  chan struct{}
	sum   string
	err   error
}

// begin looks at the copy, and makes the digest beside what is applied next. The last one that was asked for is kept.
func (d *digests) begin(e *Engine, index uint64) {
	next := &digest{index: index, done: make(chan struct{})}
	look, err := e.opts.Store.Look()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = next
	if err != nil {
		next.err = err
		close(next.done)
		return
	}
	d.working.Go(func() {
		defer close(next.done)
		defer look.Close()
		next.sum, next.err = look.Digest()
	})
}

// AskDigest has all copies make a digest of the same moment, and returns the index that Digest knows it by. Only the leader can.
func (e *Engine) AskDigest() (index uint64, err error) {
	head := entry{version: e.writes(), term: e.raft.CurrentTerm(), chunk: chunkDigest}
	f := e.raft.Apply(head.append(nil), enqueue)
	if err, _ := e.await(f); err != nil {
		return 0, err
	}
	switch r := f.Response().(type) {
	case looked:
		return uint64(r), nil
	case error:
		return 0, r
	}
	return 0, raft.ErrNotLeader
}

// Digest returns the digest, in hexadecimal, of what this copy had at an index that AskDigest returned, also of another node. It waits until it is made, which reads the whole
// database. Only the last one is kept.
func (e *Engine) Digest(ctx context.Context, index uint64) (string, error) {
	for e.machine.seen.Load() < index {
		if ctx.Err() != nil || !e.pause(e.opts.Heartbeat/20) {
			return "", errors.Join(ctx.Err(), fmt.Errorf("node %q has not come to entry %d yet", e.opts.Node, index))
		}
	}
	e.digests.mu.Lock()
	d := e.digests.last
	e.digests.mu.Unlock()
	if d == nil || d.index != index {
		return "", fmt.Errorf("node %q has no digest of entry %d any more, or never had one: it got the leader's file behind it, or was started since", e.opts.Node, index)
	}
	select {
	case <-d.done:
		return d.sum, d.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
