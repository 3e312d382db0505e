package broker

import (
	"context"
	"errors"

	"pipit/broker/store"
)

// keeper is what a Broker does for its file.
type keeper struct{ b *Broker }

// Backup makes a file at path of all that a broker answered before it was called: only when it is whole and durable it has that name, in the place of
// an older backup, never of anything else. The file is a database of its own, which no one but its owner may read: it holds all secrets. What is
// published meanwhile may be in it or not. progress, where not nil, is told how many bytes are written of how many. The error is that of
// ctx where that ends, and an *Error: Unavailable where the store cannot be backed up while it is in use, DiskFull where the disk has no
// room for it.
func (k keeper) Backup(ctx context.Context, path string, progress func(done, total int64)) error {
	s, ok := k.b.store.(store.Backuper)
	if !ok {
		return &Error{Code: Unavailable, Message: "What messages are stored in cannot be backed up while it is in use"}
	}
	err := s.Backup(ctx, path, progress)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, store.ErrNoSpace):
		return &Error{Code: DiskFull, Message: "The disk has no room for a backup: " + err.Error()}
	}
	return &Error{Code: Unavailable, Message: "The backup failed: " + err.Error()}
}
