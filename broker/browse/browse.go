// Package browse is what an administrator sees of messages: those that are stored, where they stand, and what happened to those
// that may be gone. Broker.Browse, Broker.Message and Broker.Trace answer in its terms.
package browse

import (
	"time"

	"pipit/broker/store"
)

// State is where a message stands: with a topic as a whole, or with one consumer.
type State string

const (
	Waiting  State = "waiting"   // to be delivered
	InFlight State = "in_flight" // delivered, not acknowledged
	Deferred State = "deferred"  // rejected with a delay that is not over
	Delayed  State = "delayed"   // published with a delay that is not over
	Done     State = "done"      // acknowledged, or before the consumer began
)

// Bounds of browsing. A page looks for Time at most, unless it has looked at next to nothing by then.
const (
	Default = 100
	Max     = 1000
	Time    = 300 * time.Millisecond
	MaxText = 256 // bytes
)

// Options say what to look at. Nothing is consumed, nothing counts as delivered.
type Options struct {
	Topic    string // name; empty, without a Consumer: all topics, one after another
	Consumer uint32 // only what this consumer is not done with, with its states; where it is of a pattern and no Topic is given, one topic after another
	State    State  // empty: waiting, in flight and deferred; Delayed: what waits for its delay
	Priority int    // 0: all
	Since    time.Time
	Until    time.Time // messages created within Since (included) and Until (not), those with a delay: due within; zero: no bound
	Text     string    // that the payload contains, whatever the case of its letters
	Case     bool      // of the Text: byte by byte
	Newest   bool      // the newest of each priority first; what waits for its delay is in the order of when it is due in any case
	Limit    int       // at most so many, 1 to 1000; default 100
	Cursor   string    // Page.Next of the page before
	Payload  int       // bytes of each payload to return at most; negative: all of it
}

// Page is what a Browse has found. It ends early where the payloads reach MaxReply bytes.
type Page struct {
	Messages []Stored
	Next     string // where to go on; empty at the end
	Scanned  int    // messages looked at: with a Text, a page may be empty and yet have a Next
	Total    int64  // how many there are to look at, whatever the filters: what the topics have or the consumer is not done with
}

// Stored is a message as an administrator sees it.
type Stored struct {
	ID         string
	Topic      string
	Priority   int
	Created    time.Time
	Due        time.Time // when it can be delivered first: Created and the delay
	Expiration int64     // seconds, 0: does not expire
	ExpireAt   time.Time // zero where it does not expire
	Producer   string
	MIMEType   string
	Size       int          // bytes of the payload
	Payload    []byte       // the first of them, as many as were asked for
	State      State        // with Options.Consumer, else InFlight or Deferred where it is for anybody
	Extra      *store.Extra // not to be changed; nil: nothing
	Deliveries int          // with Options.Consumer: how often it was delivered, as far as is known
}

// Standing is where a message stands with one consumer.
type Standing struct {
	Consumer   uint32
	Client     string
	State      State
	Deliveries int
	Until      time.Time // of InFlight and Deferred: when it is delivered again
}
