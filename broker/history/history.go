// Package history keeps what happened to messages for when they are gone: when they were published, by whom, and for each
// consumer how it was done with them; never their payloads.
//
// The broker's committer tells a Log what a commit has come to (record.go), which costs the message some bytes of memory
// and no look at anything. They gather in a block (block.go), which the broker's sweeper stores every few seconds as a
// document, over again until it is full (store.go). Finding a message reads all blocks from the oldest on (find.go): they
// are few, since the history is bounded in messages, in bytes and in time, whatever is published.
//
// So a process that is killed loses the last seconds of its history, and no message.
package history

import (
	"sync"
	"sync/atomic"
	"time"
)

// Defaults and limits of Limits.
const (
	DefaultKeep     = 7 * 24 * time.Hour
	MaxKeep         = 366 * 24 * time.Hour
	DefaultMessages = 100_000
	MinMessages     = 100
	MaxMessages     = 1_000_000
)

// Bounds of what is kept.
const (
	blockSize = 16 << 10 // bytes at which a block is full
	perBlock  = 16       // a block has at most this part of the messages, and of the time
	ofMessage = 80       // bytes: so many for each message that may be kept are kept in all
	hasty     = 256 << 10
)

// Limits say how much is kept.
type Limits struct {
	Keep     time.Duration // how long; 0 or less: nothing is kept
	Messages int           // at most so many
}

// Outcome is how it ended.
type Outcome byte

// How a consumer was done with a message, or with all of a range.
const (
	Acknowledged Outcome = iota + 1
	Expired              // also of a message as a whole: then for all that were not done with it
	Cleared              // an administrator made the consumer done with what it had
	Skipped              // the consumer was brought to a later place
	Unsubscribed         // the consumer was deleted
)

// How a message ended as a whole, whoever was not done with it.
const (
	Deleted   Outcome = iota + 16 // by an administrator
	Redriven                      // it was a dead letter, and went back to the consumer for which it failed
	TopicGone                     // its topic was deleted
)

// How a message ended that failed for a consumer: with the reason added, which is the caller's to number from 0 to 15.
const (
	DeadLettered Outcome = 32 // it was moved to the dead-letter topic
	Dropped      Outcome = 48
)

// Split returns an outcome without its reason, and the reason.
func (o Outcome) Split() (what Outcome, reason int) {
	if o >= DeadLettered && o < Dropped+16 {
		return o &^ 15, int(o & 15)
	}
	return o, 0
}

// Log is the history of one broker. Its methods may be called from any goroutine, but for those that say otherwise.
type Log struct {
	on atomic.Bool

	mu       sync.Mutex
	limits   Limits
	blocks   []block // full ones, the oldest first
	open     *writer // nil: nothing was recorded since the last full block
	seq      uint64  // of the next block
	messages int     // of blocks
	bytes    int     // of blocks
	gathered int     // bytes since the last Unwritten
	written  time.Time
	stale    []uint64 // stored blocks that are to go
}

// New returns an empty log.
func New(limits Limits) *Log {
	l := &Log{seq: 1}
	l.Adjust(limits)
	return l
}

// Adjust changes the limits.
func (l *Log) Adjust(limits Limits) {
	if limits.Keep > 0 {
		limits.Messages = min(max(limits.Messages, MinMessages), MaxMessages)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
	if l.on.Store(limits.Keep > 0); limits.Keep <= 0 {
		l.seal()
	}
	l.trim(time.Now())
}

// On tells whether anything is kept.
func (l *Log) On() bool { return l.on.Load() }

// Limits returns how much is kept.
func (l *Log) Limits() Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limits
}

// seal lets the next entry begin a block. The caller holds mu.
func (l *Log) seal() {
	if l.open == nil {
		return
	}
	b := l.open.block
	b.size, b.full = len(b.body), true
	l.blocks = append(l.blocks, b)
	l.messages += b.messages
	l.bytes += b.size
	l.open = nil
}

// trim forgets blocks that are too old, or so many that there would be no room for the messages of the next. What is not stored by then never is. The caller holds mu.
func (l *Log) trim(now time.Time) {
	n, messages, bytes := 0, l.messages, l.bytes
	oldest := now.Add(-l.limits.Keep).UnixMicro()
	for n < len(l.blocks) {
		b := &l.blocks[n]
		if l.limits.Keep > 0 && b.last >= oldest && messages <= l.limits.Messages-l.limits.Messages/perBlock && bytes <= l.limits.Messages*ofMessage {
			break
		}
		if b.stored > 0 {
			l.stale = append(l.stale, b.seq)
		}
		messages, bytes = messages-b.messages, bytes-b.size
		n++
	}
	if n > 0 {
		l.blocks = append(l.blocks[:0], l.blocks[n:]...)
		clear(l.blocks[len(l.blocks):cap(l.blocks)])
		l.messages, l.bytes = messages, bytes
	}
}
