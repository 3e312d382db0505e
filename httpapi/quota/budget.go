package quota

import "sync"

// Budget bounds, in bytes, what is held for clients: of replies that are being written, from when their payloads are read from
// the store until the client has taken them, and of bodies that are being read or on their way to disk. One client has a
// part of it, so that who does not read, or sends much, leaves room for the others.
type Budget struct {
	mu    sync.Mutex
	limit int64
	held  int64
	of    map[string]int64 // held, by client; none is 0
}

// NewBudget returns one of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit, of: map[string]int64{}} }

// Adjust sets the limit.
func (b *Budget) Adjust(limit int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// Take sets n bytes aside for a client, as long as it has no more than what is then free: alone, it can have half. It is
// always possible while nothing is held, whatever n: a payload that was stored under other limits is not kept back for ever.
func (b *Budget) Take(client string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held > 0 && b.of[client]+n > b.limit-b.held {
		return false
	}
	b.held += n
	b.of[client] += n
	return true
}

// Extend sets n more bytes aside for a body of a client that has own bytes of it so far, where all of the client's have no more
// than half, or it has no other body. What all clients have together is the broker's to bound.
func (b *Budget) Extend(client string, own, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.of[client]
	if of > own && of+n > b.limit/2 {
		return false
	}
	b.held += n
	b.of[client] = of + n
	return true
}

// Give gives n bytes back.
func (b *Budget) Give(client string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.of[client] -= n; b.of[client] == 0 {
		delete(b.of, client)
	}
}
