package store

import "time"

// Batch is a set of changes that become durable together.
type Batch struct {
	Append   []*Record   // messages at the tails of their lanes
	Delay    []*Record   // messages that wait to become deliverable
	Undelay  []string    // keys of Delayed messages that moved to Append, or are deleted: then IDs are known until KeepID
	Remove   []Removal   // messages that nobody needs any more
	Lanes    []LaneState // those of which messages are removed, each once; a tail follows from Append
	Cursors  []CursorState
	Attempts []Attempt
	Expiries []Expired // ranges of the expiry index that are dealt with
	DropIDs  []StaleID
	Seen     []Seen
	Define   []Object   // to create or replace
	Delete   []Object   // that are no more, with all that is kept of them but messages; after Define
	Declared string     // a slow hash over the passwords that the configuration declares; empty where it does not change
	Purge    []Lane     // lanes, without messages by then, of deleted topics: nothing is kept of them
	Put      []Document // documents to put; those with a nil Value are deleted
	Now      time.Time
}

// Reset empties the batch for a commit at now. It keeps the memory of its lists, and nothing that they point to.
func (b *Batch) Reset(now time.Time) {
	clear(b.Append)
	clear(b.Delay)
	clear(b.Put)
	*b = Batch{
		Append: b.Append[:0], Delay: b.Delay[:0], Undelay: b.Undelay[:0], Remove: b.Remove[:0], Lanes: b.Lanes[:0],
		Cursors: b.Cursors[:0], Attempts: b.Attempts[:0], Expiries: b.Expiries[:0], DropIDs: b.DropIDs[:0], Seen: b.Seen[:0],
		Purge: b.Purge[:0], Put: b.Put[:0],
		Now: now,
	}
}

// IsEmpty tells whether there is nothing to be stored.
func (b *Batch) IsEmpty() bool {
	return len(b.Append)+len(b.Delay)+len(b.Undelay)+len(b.Remove)+len(b.Lanes)+len(b.Cursors)+len(b.Attempts)+
		len(b.Expiries)+len(b.DropIDs)+len(b.Seen)+len(b.Define)+len(b.Delete)+len(b.Purge)+len(b.Put) == 0 && b.Declared == ""
}

// Removal is a range of a lane whose messages are removed, the first ones first.
type Removal struct {
	Lane  Lane
	Range Span
	Limit int // of messages; 0: all

	// Set by Commit.
	Through uint64 // the position up to which none is left of the range
	Removed int    // messages
	Bytes   int64  // the sum of their Size
}

// Expired is an Expiry of which the positions up to Through are dealt with. Those behind it are to be looked at again
// at Again, whole seconds, where that is not zero: then no look before it finds them.
type Expired struct {
	Expiry
	Through uint64
	Again   time.Time
}
