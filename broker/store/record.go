package store

import "time"

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
	Extra      *Extra     // nil: nothing, as with most messages
}

// Extra is what few messages have. It is never changed once its message is there: who reads a Record
// may keep it.
type Extra struct {
	CorrelationID string
	ReplyTo       string
	Attributes    []Attribute // by name, each once
	DeadLetter    *DeadLetter // nil: it is none
}

// Attribute is a name and a value that travel with a message.
type Attribute struct{ Name, Value string }

// DeadLetter says of a message that was moved to a dead-letter topic where it failed.
type DeadLetter struct {
	Topic    string    // where it was published
	Consumer string    // for which it failed: its client's username, and behind a slash its name where it has one
	Reason   string    // why it was moved
	Count    uint32    // deliveries to that consumer
	Number   uint32    // of that consumer
	At       time.Time // when it was moved, whole microseconds
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

// beside is what Size counts of a message beside what its publisher sent: about what it takes on the disk.
const beside = 64

// Size returns how much the message counts for where bytes are bounded, with its payload where that is kept apart.
func (r *Record) Size() int64 {
	n := int64(len(r.Payload))
	if r.Apart.Number != 0 {
		n = int64(r.Apart.Size)
	}
	n += beside + int64(len(r.ID))
	if x := r.Extra; x != nil {
		n += int64(len(x.CorrelationID) + len(x.ReplyTo))
		for _, a := range x.Attributes {
			n += int64(len(a.Name) + len(a.Value))
		}
	}
	return n
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
	Consumer uint32 // the number of its queue of the topic, its own where it has one topic
	Priority uint8
	Cursor   Cursor
	Finished uint64
}

// Attempt is how often a message was delivered to a consumer; 0 forgets it.
type Attempt struct {
	Consumer uint32 // see CursorState
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
