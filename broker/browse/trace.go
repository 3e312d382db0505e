package browse

import (
	"time"
)

// What a TraceEvent can tell.
const (
	TracePublished    = "published"     // with a delay, too
	TraceAcknowledged = "acknowledged"  // by a consumer
	TraceExpired      = "expired"       // before a consumer was done with it; without a consumer: whoever was not
	TraceDeadLettered = "dead_lettered" // it failed for a consumer, and moved to that one's dead-letter topic
	TraceDropped      = "dropped"       // it failed for a consumer that has no such topic
	TraceCleared      = "cleared"       // an administrator made a consumer done with it
	TraceSkipped      = "skipped"       // a consumer was brought to a later place
	TraceUnsubscribed = "unsubscribed"  // a consumer was deleted that was not done with it
	TraceDeleted      = "deleted"       // by an administrator, for all consumers
	TraceRedriven     = "redriven"      // it went back to the consumer for which it had failed
	TraceTopicDeleted = "topic_deleted"
)

// Trace is what happened to a message, which may be gone.
type Trace struct {
	ID            string
	Topic         string // its name now, or the last one that was known
	Here          bool   // the message is stored: Broker.Message tells where it stands
	Priority      int
	Created       time.Time // whole seconds where Known is not set; zero where not even they are known
	Known         bool      // how it was published is known; else that was longer ago than the history goes back
	Producer      string
	CorrelationID string
	Size          int64        // bytes of the payload
	Delay         int64        // seconds from Created before which it could not be delivered
	Events        []TraceEvent // in the order in which they happened
}

// TraceEvent is something that happened to a message.
type TraceEvent struct {
	At         time.Time
	What       string    // one of those above
	Reason     string    // of TraceDeadLettered and TraceDropped: as DeadLetter.Reason
	Consumer   uint32    // its number; 0: the message as a whole. It may be deleted by now.
	Client     string    // of the consumer, as DeadLetter.Consumer names it
	Deliveries int       // to the consumer until then
	Delivered  time.Time // the last of them; zero where that is not known, as after a restart
}

// TraceQuery says which messages are meant: those of an ID, or those of a correlation ID.
type TraceQuery struct {
	ID            string
	CorrelationID string
	Topic         string // in which; empty: in all
}
