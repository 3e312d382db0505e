package object

import (
	"context"

	"pipit/admin/gate"
	"pipit/broker/browse"
)

// Trace is what happened to a message, which may be gone.
type Trace struct {
	ID            string    `json:"msg_id"`
	Topic         string    `json:"topic"`
	Stored        bool      `json:"stored"` // whether the message is stored; else it is gone
	Priority      int       `json:"priority"`
	Created       gate.Time `json:"created,omitzero"`
	Known         bool      `json:"known"` // whether it is known how it was published; else producer, size and correlation_id are not
	Producer      string    `json:"producer,omitempty"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	Size          int64     `json:"size"`            // bytes of the payload
	Delay         int64     `json:"delay,omitempty"` // seconds before it could be delivered
	// what happened to it, in order; of one that is stored, its standings say which consumers have yet to be done with it
	Events []TraceEvent `json:"events"`
}

// TraceEvent is something that happened to a message.
type TraceEvent struct {
	At         gate.Time `json:"at"`
	What       string    `json:"what"`
	Reason     string    `json:"reason,omitempty"`     // why it failed, of dead_lettered and dropped
	Consumer   uint32    `json:"consumer,omitempty"`   // id of the consumer, which may be deleted; absent where it is about all consumers
	Client     string    `json:"client,omitempty"`     // username of the consumer's client, and behind a slash its name
	Deliveries int       `json:"deliveries,omitempty"` // how often the message was delivered to the consumer until then
	Delivered  gate.Time `json:"delivered,omitzero"`   // when that was last, where it is known
}

// TraceEvents are all that a TraceEvent can tell.
var TraceEvents = []string{browse.TracePublished, browse.TraceAcknowledged, browse.TraceExpired, browse.TraceDeadLettered, browse.TraceDropped, browse.TraceCleared,
	browse.TraceSkipped, browse.TraceUnsubscribed, browse.TraceDeleted, browse.TraceRedriven, browse.TraceTopicDeleted}

// Trace returns what is known of messages, as broker.Trace does.
func (o *Objects) Trace(ctx context.Context, q browse.TraceQuery) ([]Trace, error) {
	found, err := o.b.Trace(ctx, q)
	if err != nil {
		return nil, err
	}
	list := make([]Trace, len(found))
	for i, x := range found {
		list[i] = Trace{ID: x.ID, Topic: x.Topic, Stored: x.Here, Priority: x.Priority, Created: gate.TimeOf(x.Created), Known: x.Known, Producer: x.Producer,
			CorrelationID: x.CorrelationID, Size: x.Size, Delay: x.Delay, Events: make([]TraceEvent, len(x.Events))}
		for j, e := range x.Events {
			list[i].Events[j] = TraceEvent{gate.TimeOf(e.At), e.What, e.Reason, e.Consumer, e.Client, e.Deliveries, gate.TimeOf(e.Delivered)}
		}
	}
	return list, nil
}
