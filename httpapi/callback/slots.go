package callback

import (
	"context"
	"sync"
)

// slots bound how many calls are in the air. Who waits for one gets it in turn. Consumers whose last call failed have at
// most half of them, so that those that hang until their time limit are in nobody else's way.
type slots struct {
	mu      sync.Mutex
	most    int
	used    int
	failing int        // of used
	turns   uint64     // counts who came to wait
	healthy []slotTurn // the longest waiting first
	failed  []slotTurn
}

// slotTurn is one who waits.
type slotTurn struct {
	turn uint64
	got  chan struct{} // closed with the slot
}

// adjust sets how many there are.
func (s *slots) adjust(most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = most
	s.grant()
}

// share is how many one consumer may have: one slow endpoint leaves room for others.
func (s *slots) share() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(1, s.most/4)
}

// acquire waits for a slot. It is false where ctx ends before.
func (s *slots) acquire(ctx context.Context, failing bool) bool {
	list := &s.healthy
	if failing {
		list = &s.failed
	}
	s.mu.Lock()
	s.turns++
	w := slotTurn{s.turns, make(chan struct{})}
	*list = append(*list, w)
	s.grant()
	s.mu.Unlock()
	select {
	case <-w.got:
		return true
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range *list {
		if (*list)[i].turn == w.turn {
			*list = append((*list)[:i], (*list)[i+1:]...)
			return false
		}
	}
	s.free(failing) // it came meanwhile
	return false
}

// release gives a slot back.
func (s *slots) release(failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(failing)
}

// free is release for who holds mu.
func (s *slots) free(failing bool) {
	s.used--
	if failing {
		s.failing--
	}
	s.grant()
}

// grant gives free slots to who waits longest and may have one. The caller holds mu.
func (s *slots) grant() {
	for s.used < s.most {
		may := len(s.failed) > 0 && s.failing < max(1, s.most/2)
		switch {
		case may && (len(s.healthy) == 0 || s.failed[0].turn < s.healthy[0].turn):
			close(s.failed[0].got)
			s.failed = s.failed[1:]
			s.failing++
		case len(s.healthy) > 0:
			close(s.healthy[0].got)
			s.healthy = s.healthy[1:]
		default:
			return
		}
		s.used++
	}
}
