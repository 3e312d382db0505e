package httpapi

import "sync"

// budget bounds, in bytes, what the replies hold that are being written: payloads from when they
// are read from the store until the client has taken them. One client's are refused before they are
// more than what is free, so that who does not read leaves room for the others: alone, it can have half.
type budget struct {
	mu    sync.Mutex
	limit int64
	held  int64
	of    map[string]int64 // held, by client; none is 0
}

func newBudget(limit int64) *budget { return &budget{limit: limit, of: map[string]int64{}} }

// adjust sets the limit.
func (b *budget) adjust(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// take sets n bytes aside for a client. It is always possible while nothing is held, whatever n: a
// payload that was stored under other limits is not kept back for ever.
func (b *budget) take(client string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held > 0 && b.of[client]+n > b.limit-b.held {
		return false
	}
	b.held += n
	b.of[client] += n
	return true
}

func (b *budget) give(client string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.of[client] -= n; b.of[client] == 0 {
		delete(b.of, client)
	}
}

// Of what a reply holds, in bytes.
const (
	shareStep   = 16 << 10 // what is set aside at once
	messageRoom = 512      // for a message, beside its payload
)

// share is what one reply holds of the budget.
type share struct {
	b      *budget
	client string
	taken  int64
	left   int64 // of taken, for messages
}

// take sets aside what a message with a payload of n bytes needs.
func (s *share) take(n int) bool {
	need := int64(n) + messageRoom
	if need > s.left {
		more, room := max(need-s.left, shareStep), int64(0)
		if s.taken <= shareStep && s.taken+more > shareStep {
			room = pieceRoom // no short reply, which would leave at once
		}
		if !s.b.take(s.client, more+room) {
			return false
		}
		s.taken += more + room
		s.left += more
	}
	s.left -= need
	return true
}

// free gives all of it back.
func (s *share) free() {
	if s.taken > 0 {
		s.b.give(s.client, s.taken)
		s.taken, s.left = 0, 0
	}
}
