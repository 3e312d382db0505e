// Package stats is what a broker counts.
package stats

import (
	"time"
)

// Callback tells how a consumer fares that is sent its messages.
type Callback struct {
	Failures int       // calls that have failed in a row
	Since    time.Time // the first of them; zero: the last call did not fail
	Next     time.Time // the next try at the earliest, where the last one failed
	Error    string    // why it failed
	Paused   string    // why the consumer was made inactive by who sends; empty: it was not
}

// Failures counts messages that a consumer was done with though it has not acknowledged them, by reason.
type Failures struct{ MaxDeliveries, Rejected, Expired, Overflow uint64 }

// Sum is how many there are in all.
func (f Failures) Sum() uint64 { return f.MaxDeliveries + f.Rejected + f.Expired + f.Overflow }

func (f *Failures) Add(o Failures) {
	f.MaxDeliveries += o.MaxDeliveries
	f.Rejected += o.Rejected
	f.Expired += o.Expired
	f.Overflow += o.Overflow
}

// Counters count since the start of the process; those of one topic or consumer that an administrator sees, over restarts.
type Counters struct {
	Published uint64 // messages stored
	Delivered uint64 // deliveries to consumers, also repeated ones
	Acked     uint64 // acknowledgements, by each consumer
	Expired   uint64 // messages that expired before a consumer was done with them, for each such consumer
	Rejected  uint64 // messages that consumers rejected, with a delay, for good or neither; of callbacks those of calls that failed

	Redelivered  uint64   // deliveries that were not the message's first to its consumer
	DeadLettered Failures // messages that were moved to a dead-letter topic, for each consumer
	Dropped      Failures // messages that failed for good and had no dead-letter topic to go to, for each consumer; Expired are not among them
}

// Topic are what is counted of a topic.
type Topic struct {
	ID        uint32 // for life
	Name      string
	Published uint64 // messages since the start of the process
	Depth     int64  // messages stored that somebody may still need, without the delayed ones
	Delayed   int64  // messages that wait for their delay
}

// Consumer are what is counted of a consumer. Ready, InFlight, Deferred and Failed are its backlog.
type Consumer struct {
	ID            uint32 // for life
	Topic, Client string
	Ready         int64 // messages that can be delivered
	InFlight      int64 // delivered and neither acknowledged nor given back
	Deferred      int64 // rejected with a delay that is not over
	Failed        int64 // failed for good: they wait for room in the dead-letter topic
	Delayed       int64 // messages of its topics that wait for their delay: its filter has not seen them
	Counters            // without Published
}

// Totals are sums over the whole broker.
type Totals struct {
	Clients, Topics, Producers, Consumers int
	Depth, Retained                       int64
	Delayed, Backlog, InFlight            int64
	Counters
}

func (c *Counters) Add(o Counters) {
	c.Published += o.Published
	c.Delivered += o.Delivered
	c.Acked += o.Acked
	c.Expired += o.Expired
	c.Rejected += o.Rejected
	c.Redelivered += o.Redelivered
	c.DeadLettered.Add(o.DeadLettered)
	c.Dropped.Add(o.Dropped)
}

// Queue is what waits for a consumer in one topic.
type Queue struct {
	Topic    string
	Backlog  int64 // messages that wait or are in flight
	InFlight int64 // of these, delivered and neither acknowledged nor given back
	Deferred int64 // of the backlog, rejected with a delay that is not over
}

// HookCounts count calls of a webhook since the start of the process.
type HookCounts struct {
	Accepted   uint64 // stored
	Duplicates uint64 // of a delivery ID that was stored before
	Signature  uint64 // refused for their signature, token or timestamp
	Address    uint64 // refused for where they came from
	Full       uint64 // refused since the topic or a backlog was full
	Other      uint64 // refused for other reasons
}
