// Package store says what a broker keeps, and what it needs of who keeps it: a Store. The broker decides everything,
// which message stands where, who is done with it, what is removed when; a Store makes a Batch of its decisions durable,
// all or nothing, and finds what it has stored by place, by time and by ID. Who embeds a broker opens a Store, passes
// it on, and needs nothing of this package.
//
// A message is a Record at a Place: a position in a Lane, one priority of a topic. What a consumer is done with is a
// Cursor in each lane. The objects, clients, topics, producers and consumers, are opaque to a Store but for their names
// and numbers.
package store

import (
	"context"
	"time"
)

// What a Store's errors wrap.
var (
	ErrNoSpace   = constError("no space left for the database") // Commit: the medium is full, nothing was stored
	ErrNotStored = constError("nothing was stored")             // Commit: for another reason
	ErrLost      = constError("it was removed or replaced")     // CheckFile: the file that is written
	ErrInUse     = constError("in use by another process")      // of opening one
	ErrFailed    = constError("an earlier write failed")        // CheckFile: it is uncertain what the Store holds, as after a Commit
	ErrOver      = constError("another node goes on with it")   // Commit: of a store that several share in turn; it is no fault
)

type constError string

func (e constError) Error() string { return string(e) }

// Store keeps what must survive a crash. Commit is called by one goroutine at a time; all other
// methods may run beside it and beside each other.
type Store interface {
	// Load returns everything but the messages. It is called once, before any other method,
	// and does not read the backlog.
	Load() (*Image, error)

	// Commit applies all of a batch or nothing, and returns when it is durable, or, where Stats has Unsynced, at most that long
	// and a flush before; a crash then loses the last batches, none without all behind it. It keeps nothing
	// of the batch's memory, and writes into its Removals what they came to. An error that wraps
	// ErrNoSpace or ErrNotStored leaves the store usable and unchanged. After any other error it is
	// uncertain what it holds: it is only to be closed, and writes nothing any more.
	Commit(*Batch) error

	// View gives fn one consistent look at the messages. The Reader, and the byte slices of
	// messages it hands out, are valid until fn returns. fn should be quick.
	View(fn func(Reader) error) error

	// Stats tells how large the store is.
	Stats() Stats

	// Close releases the store. No other method may be running or called afterwards.
	Close() error
}

// Wiper is a Store of which secrets that are replaced or deleted do not stay on the disk: what Objects and
// Documents replace that are put or deleted as Secret. They leave it soon after their commit, beside others, and at
// Close; where that is cut short, after the next Load.
type Wiper interface {
	// Wiping returns how much is left to do, 0 where nothing is.
	Wiping() int
}

// FileChecker is a Store that can tell, without writing, whether what it writes will be found again.
// It is asked every few seconds.
type FileChecker interface {
	// CheckFile returns why not, nil where all is well. The error wraps ErrLost where the file that is
	// written is not the one that the next start will open, and ErrNoSpace where the disk has so little room that nothing should be published;
	// ErrFailed where a write beside the commits had an uncertain outcome.
	CheckFile() error
}

// Backuper is a Store that can be copied while it is used.
type Backuper interface {
	// Backup makes a file at path of all that was committed before it was called: only when it is whole and durable it has that name, in
	// the place of an older backup, never of anything else. Commits go on meanwhile, and it leaves them most of the disk. progress,
	// where not nil, is told how many bytes are written of how many. An error that wraps ErrNoSpace says that the disk has no room
	// for it; where ctx ends, the error is that of ctx.
	Backup(ctx context.Context, path string, progress func(done, total int64)) error
}

// Compacter is a Store that can give back what is free in its file, while it is used.
type Compacter interface {
	// Compact makes the file as small as what is in it, and returns when that is done; commits go on meanwhile. A ctx that ends
	// has it go on without the caller. Who asks while it goes on waits for the same one. The error wraps ErrNoSpace where the
	// disk has no room for a second file of what is in use, and ErrNotStored where it could not be done for another reason: the
	// file is as it was. After any other error it is as after one of Commit.
	Compact(ctx context.Context) error

	// Compacting tells whether it goes on, also where nobody asked for it, and which part is done, from 0 to 1.
	Compacting() (part float64, running bool)
}

// Reader looks at stored messages at one moment.
type Reader interface {
	// Scan calls fn with the messages of a lane in order of position, beginning at from
	// (upwards, or downwards if down), until fn returns false or there are no more.
	// The record is reused between calls.
	Scan(l Lane, from uint64, down bool, fn func(*Record) bool) error

	// Stored calls fn with the positions of a span of a lane at which there are messages, in order,
	// until fn returns false or there are no more. It does not read the messages.
	Stored(l Lane, s Span, fn func(pos uint64) bool) error

	// FindID returns the places of the stored or recently seen messages of a topic whose
	// explicit ID is id, oldest first. A message that still waits for its delay
	// has position 0.
	FindID(topic uint32, id string) ([]Sighting, error)

	// Expired returns at most limit ranges whose time is not after now, the earliest first.
	Expired(now time.Time, limit int) ([]Expiry, error)

	// Due returns at most limit delayed messages that are due at now, the earliest first, and
	// the time at which the next one after these is due (zero where there is none). It ends early
	// where their payloads reach so many bytes.
	Due(now time.Time, limit, bytes int) ([]Delayed, time.Time, error)

	// ScanDelayed calls fn with the messages that wait for their delay, the one that is due first
	// first, beginning behind the key after (empty: at the first), until fn returns false or there
	// are no more. The record is reused between calls.
	ScanDelayed(after string, fn func(Delayed) bool) error

	// Documents calls fn with the documents of a kind in the order of their keys (or the opposite),
	// beginning behind the key after (empty: at the first), until fn returns false or there are no
	// more. The value is valid until fn returns.
	Documents(kind, after string, down bool, fn func(Document) bool) error

	// StaleIDs returns at most limit remembered IDs whose Keep time is not after now.
	StaleIDs(now time.Time, limit int) ([]StaleID, error)
}

// Stats is how large a store is. What is not known is negative.
type Stats struct {
	Path      string // of the file, empty where there is none
	Size      int64  // bytes of the file, in use or free for reuse
	Free      int64  // bytes of Size that are free for reuse
	LogSize   int64  // bytes of the log in front of the file
	LogUsed   int64  // bytes of LogSize that the file does not have yet
	LogMost   int64  // bytes that LogSize grows to
	DiskTotal int64  // bytes of the file system
	DiskFree  int64  // bytes of the file system that this process may still use

	Unsynced time.Duration // how long what was committed may be lost by a crash; 0: Commit returns when it cannot

	Checkpoint time.Time // when what was in the log was last brought into the file; zero: not since the start
	Compacted  time.Time // when the file was last compacted; zero: not since the start
}

// Image is everything that a Store keeps, but for the messages and documents.
type Image struct {
	Key      [16]byte // random, made with the store: hides places in IDs, and what revisions are made of
	LastID   uint32   // the highest number that an object has
	Declared string   // of the last Batch that had one
	Objects  []Object
	Lanes    []LaneState
	Cursors  []CursorState
	Attempts []Attempt
	Seen     []Seen
	Delayed  map[uint32]uint64 // messages that wait for their delay, by topic
	NextDue  time.Time         // when the first of them is due
}
