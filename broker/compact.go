package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pipit/broker/store"
)

// Compact gives back to the disk what is free in the file of the database, and returns when that is done; all goes on meanwhile. A ctx that
// ends has it go on without the caller. The error is that of ctx where that ends, and an *Error: Unavailable where it goes on already,
// cannot be done while the store is in use, or failed, DiskFull where the disk has no room for a second file of what is in use.
func (k keeper) Compact(ctx context.Context) error {
	s, ok := k.b.store.(store.Compacter)
	if !ok {
		return &Error{Code: Unavailable, Message: "What messages are stored in cannot be compacted while it is in use"}
	}
	if part, running := s.Compacting(); running {
		return &Error{Code: Unavailable, Message: fmt.Sprintf("The database is being compacted already: %.0f %% are done", 100*part), RetryAfter: 5 * time.Second}
	}
	err := s.Compact(ctx)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, store.ErrNoSpace):
		return &Error{Code: DiskFull, Message: "The disk has no room to compact the database: " + err.Error()}
	}
	return &Error{Code: Unavailable, Message: "The database could not be compacted: " + err.Error()}
}

// Compacting tells whether the file of the database is being compacted, also where nobody asked for it, and which part is done, from 0 to 1.
func (k keeper) Compacting() (part float64, running bool) {
	s, ok := k.b.store.(store.Compacter)
	if !ok {
		return 0, false
	}
	return s.Compacting()
}
