package broker

import "time"

// What a Store's errors wrap.
var (
	ErrNoSpace   = storeError("no space left for the database") // Commit: the medium is full, nothing was stored
	ErrNotStored = storeError("nothing was stored")             // Commit: for another reason
	ErrLost      = storeError("it was removed or replaced")     // CheckFile: the file that is written
	ErrInUse     = storeError("in use by another process")      // of opening one
)

type storeError string

func (e storeError) Error() string { return string(e) }

// Store keeps what must survive a crash. Commit is called by one goroutine at a time; all other
// methods may run beside it and beside each other.
type Store interface {
	// Load returns everything but the messages. It is called once, before any other method,
	// and does not read the backlog.
	Load() (*Image, error)

	// Commit applies all of a batch or nothing, and returns when it is durable. It keeps nothing
	// of the batch's memory, and writes into its Removals what they came to. An error that wraps
	// ErrNoSpace or ErrNotStored leaves the store usable and unchanged. After any other error it is
	// uncertain what it holds: it is only to be closed, and writes nothing any more.
	Commit(*Batch) error

	// View gives fn one consistent look at the messages. The Reader, and the byte slices of
	// messages it hands out, are valid until fn returns. fn should be quick.
	View(fn func(Reader) error) error

	// Stats tells how large the store is.
	Stats() StoreStats

	// Close releases the store. No other method may be running or called afterwards.
	Close() error
}

// Wiper is a Store of which secrets that are replaced or deleted do not stay on the disk: SubKeys, password
// hashes, and documents that are put as Secret. They leave it after their commit, a part with
// every Batch that says so, and at Close; where that is cut short, after the next Load.
type Wiper interface {
	// Wiping returns how much is left to do, 0 where nothing is.
	Wiping() int
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

// Lane is one priority of a topic: a log of messages at the positions 1, 2, 3 and so on.
type Lane struct {
	Topic    uint32
	Priority uint8
}

// Place is where a message stands.
type Place struct {
	Lane
	Pos uint64
}

// Record is a message as it is stored.
type Record struct {
	Place
	ID         string    // explicit ID; empty where the ID follows from the place
	KeepID     time.Time // an explicit ID is remembered at least until then
	Created    time.Time // whole microseconds
	Delay      uint32    // seconds between Created and when it can be delivered
	Expiration uint32    // seconds from when it can be delivered; 0 means never
	Producer   string    // display name
	MIMEType   string
	Payload    []byte
	Apart      PayloadRef // where the Store keeps the payload by itself
}

// PayloadRef is a Store's own name for a payload that it keeps apart from its message; Number is 0 where it
// does not. A delayed message that Due returned without a payload has one: it moves by it, in the commit that
// has its key in Undelay.
type PayloadRef struct {
	Number uint64
	Size   uint32 // bytes
	Sum    uint32 // CRC-32C
}

// ExpireAt returns when the message expires, the zero time where it does not.
func (r *Record) ExpireAt() time.Time {
	if r.Expiration == 0 {
		return time.Time{}
	}
	return r.Created.Add(time.Duration(r.Delay)*time.Second + time.Duration(r.Expiration)*time.Second)
}

// Due returns when the message can be delivered first.
func (r *Record) Due() time.Time { return r.Created.Add(time.Duration(r.Delay) * time.Second) }

// Sighting is a message of a known explicit ID.
type Sighting struct {
	Place   // Pos 0 while the message waits for its delay, or where it was deleted then
	Created time.Time
	Key     string // of the Delayed, while it waits for its delay
}

// Expiry is a range of positions of a lane that expire within the same second.
type Expiry struct {
	At    time.Time
	Lane  Lane
	Range Span
}

// Delayed is a message that waits to become deliverable, with the store's key of it. Keys are in the
// order of strings.
type Delayed struct {
	Key    string
	Record *Record // Pos 0
}

// StaleID is an entry of the store's memory of explicit IDs, to be passed back in Batch.DropIDs.
type StaleID struct{ Key string }

// LaneState is what a lane keeps beside its messages.
type LaneState struct {
	Lane
	Tail    uint64 // position of the last message ever appended
	Removed uint64 // messages ever removed; in a Batch without those of its own Removals, which the Store adds
	Skipped uint64 // see CursorState.Finished
	Head    uint64 // in an Image: the first position that has a message, Tail+1 where there is none
}

// CursorState is what a consumer is done with in one lane of its topic. Its Cursor has everything that
// the consumer settled, and of the positions without a message as many as make it short: nothing
// is kept of one that follows from the log.
//
// The backlog is Tail - Skipped - Finished. Finished counts what the consumer settled, and the messages
// that were removed, as they expired or were deleted, before it had; where such a message was taken
// from most consumers, Skipped counts it instead and Finished of the others is one less. So a removal
// changes no more consumers than it has to.
type CursorState struct {
	Consumer uint32
	Priority uint8
	Cursor   Cursor
	Finished uint64
}

// Attempt is how often a message was delivered to a consumer; 0 forgets it.
type Attempt struct {
	Consumer uint32
	Priority uint8
	Pos      uint64
	Count    uint32
}

// Seen is when a producer or consumer was last here.
type Seen struct {
	Kind SeenKind
	ID   uint32
	At   time.Time
}

// SeenKind tells whose time a Seen is.
type SeenKind uint8

const (
	SeenProducer SeenKind = 'p'
	SeenConsumer SeenKind = 'c'
)

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
	Define   *Definitions // objects to create or replace
	Delete   *Deletions   // objects that are no more; after Define
	Purge    []Lane       // lanes, without messages by then, of deleted topics: nothing is kept of them
	Put      []Document   // documents to put; those with a nil Value are deleted
	Wipe     bool         // go on with what Wiper tells of
	Now      time.Time
}

// Removal is a range of a lane whose messages are removed, the first ones first.
type Removal struct {
	Lane  Lane
	Range Span
	Limit int // of messages; 0: all

	// Set by Commit.
	Through uint64 // the position up to which none is left of the range
	Removed int    // messages
}

// Expired is an Expiry of which the positions up to Through are dealt with.
type Expired struct {
	Expiry
	Through uint64
}

// Definitions are objects as they are kept, each with the number it has for life.
type Definitions struct {
	Clients   []ClientRecord
	Topics    []TopicRecord
	Producers []ProducerRecord
	Consumers []ConsumerRecord
	// Declared is a slow hash over the passwords that the configuration declares,
	// empty where it is not to change.
	Declared string
}

type (
	ClientRecord struct{ Client }
	TopicRecord  struct {
		Topic
		ID uint32
	}
	ProducerRecord struct {
		Producer
		ID uint32
	}
	ConsumerRecord struct {
		Consumer
		ID       uint32
		Declared string `json:",omitempty"` // what the configuration said of it last: see declared.go
	}
)

// Deletions are objects to be forgotten, with all that is kept of them but messages.
type Deletions struct {
	Clients   []string // usernames
	Topics    []TopicRecord
	Producers []ProducerRecord
	Consumers []ConsumerRecord
}

// Document is something small that a part of the program keeps with the messages.
type Document struct {
	Kind, Key string // neither empty nor with a byte 0, at most 64 and 256 bytes
	Value     []byte // at most 64 KiB; that of a probe up to 1 MiB
	Secret    bool   // what it replaces or deletes is not to stay on the disk: see Wiper

	// Committed, where there is one, is called once the document is durable, before who put it is answered. The
	// next commit waits for it: it must take no lock that is held over I/O.
	Committed func()
}

// StoreStats is how large a store is. What is not known is negative.
type StoreStats struct {
	Path      string // of the file, empty where there is none
	Size      int64  // bytes in use or free for reuse
	Free      int64  // bytes of Size that are free for reuse
	DiskTotal int64  // bytes of the file system
	DiskFree  int64  // bytes of the file system that this process may still use
}

// Image is everything that a Store keeps, but for the messages and documents.
type Image struct {
	Key      [16]byte // random, made with the store: hides places in IDs, and what revisions are made of
	LastID   uint32   // the highest number that an object has
	Declared string
	Definitions
	Lanes    []LaneState
	Cursors  []CursorState
	Attempts []Attempt
	Seen     []Seen
	Delayed  map[uint32]uint64 // messages that wait for their delay, by topic
	NextDue  time.Time         // when the first of them is due
}
