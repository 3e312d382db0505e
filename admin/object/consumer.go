package object

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/property"
)

// Consumers describes consumers.
//
// One that is created without a SubKey is given one, and is one more where the client is a consumer of the topic
// already.
func (o *Objects) Consumers() *Noun[Consumer] {
	return marking(&Noun[Consumer]{
		o: o, Kind: change.Consumer, Path: "/consumers", Param: "id", Filters: []string{"topic", "client"},
		Parts:    ConsumerParts,
		Initial:  NewConsumer,
		List:     o.listConsumers,
		find:     byID(o.b.Consumer, consumerOf),
		complete: o.setOldest,
		ref:      func(c *Consumer) change.Ref { return change.Ref{Kind: change.Consumer, ID: c.ID} },
		Name:     func(c *Consumer) string { return OfTopic(c.Label(), c.Topic) },
		Revision: func(c *Consumer) string { return c.Revision },
		Goes:     func(c *Consumer) Deleted { return Deleted{Messages: c.Backlog} },
		define:   func(d *broker.Definition, c *Consumer) { d.Consumers = append(d.Consumers, c.definition()) },
		check:    checkConsumer,
		fixed: func(before, c *Consumer) error {
			return fixed(broker.ConsumerFields, &before.Consumer, &c.Consumer)
		},
		diff: func(before, c *Consumer) FieldChanges {
			return differences(broker.ConsumerFields, &before.Consumer, &c.Consumer)
		},
		number:   func(c *Consumer, done *broker.Changed) { c.ID = done.Consumers[0].ID },
		Warnings: func(c *Consumer) *[]string { return &c.Warnings },
		Mask: func(c *Consumer) {
			c.SubKey, c.Old, c.CallbackSecret, c.CallbackHeaders = "", broker.OldKey{}, "", property.Table{}
		},
		Reveal: o.NoteReveal,
	}, func(v *Consumer) *bool { return &v.Declared })
}

// ConsumerSorts are what lists of consumers can be sorted by.
var ConsumerSorts = gate.Sorts[broker.ConsumerInfo]{
	{Key: "topic", At: func(c *broker.ConsumerInfo) gate.Place { return gate.Place{S: consumerKey(c.Topic, c.Client, c.ID)} }},
	{Key: "client", At: func(c *broker.ConsumerInfo) gate.Place { return gate.Place{S: consumerKey(c.Client, c.Topic, c.ID)} }},
	{Key: "backlog", At: func(c *broker.ConsumerInfo) gate.Place {
		return gate.Place{N: c.Backlog, S: consumerKey(c.Topic, c.Client, c.ID)}
	}},
	{Key: "in_flight", At: func(c *broker.ConsumerInfo) gate.Place {
		return gate.Place{N: c.InFlight, S: consumerKey(c.Topic, c.Client, c.ID)}
	}},
	{Key: "last_seen", At: func(c *broker.ConsumerInfo) gate.Place {
		return gate.Place{N: gate.Micros(c.LastSeen), S: consumerKey(c.Topic, c.Client, c.ID)}
	}},
}

func consumerKey(first, second string, id uint32) string {
	return gate.Key(first, second, fmt.Sprintf("%010d", id))
}

// consumerParts are those that lists of consumers can be asked for.
func (o *Objects) consumerParts() []gate.Part[broker.ConsumerInfo] {
	published := sync.OnceValue(func() map[string]time.Time { return monitor.LastPublished(o.b.Topics()) }) // which few lists need
	away := sync.OnceValue(func() func(*broker.ConsumerInfo) bool {
		return o.attention.Load().IsAway(monitor.Off(o.b.Clients()), published, time.Now())
	})
	return []gate.Part[broker.ConsumerInfo]{
		{Key: "messages", Label: "With messages", Has: func(c *broker.ConsumerInfo) bool { return c.Backlog > 0 }},
		{Key: "full", Label: "Nearly full", Has: func(c *broker.ConsumerInfo) bool { return o.attention.Load().NearlyFull(c.Backlog, c.MaxDepth) }},
		{Key: "away", Label: "Away", Has: func(c *broker.ConsumerInfo) bool { return c.Backlog > 0 && away()(c) }},
		{Key: "inactive", Label: "Inactive", Has: func(c *broker.ConsumerInfo) bool { return c.Inactive }},
	}
}

func (o *Objects) listConsumers(q gate.Query) (gate.List[Consumer], error) {
	found := gate.Contains(q.Search)
	matches := func(c *broker.ConsumerInfo) bool {
		return q.Owns(c.Topic, c.Client) && found(c.Topic, c.Client, c.Name)
	}
	page, err := gate.PageOf(q, o.b.Consumers(), ConsumerSorts, matches, consumerOf, o.consumerParts()...)
	if err != nil {
		return page, err
	}
	return page, o.setOldest(page.Items)
}

// setOldest sets the Oldest of consumers that have a backlog.
func (o *Objects) setOldest(consumers []Consumer) error {
	var ids []uint32
	for i := range consumers {
		if consumers[i].Backlog > 0 {
			ids = append(ids, consumers[i].ID)
		}
	}
	if ids == nil {
		return nil
	}
	oldest, err := o.b.Oldest(ids...)
	for i := range consumers {
		consumers[i].Oldest = gate.TimeOf(oldest[consumers[i].ID])
	}
	return err
}

// checkConsumer refuses a new consumer of which is said that it begins nowhere.
func checkConsumer(before, c *Consumer) error {
	if before == nil && c.Start == "" {
		return gate.Invalid("start", "start %q: allowed are %s", c.Start, broker.ConsumerFields.Named("start").Allowed())
	}
	return nil
}

// definition returns the consumer as the broker takes it: one that says where it begins is new.
func (c *Consumer) definition() broker.Consumer {
	def := c.Consumer
	def.New = c.Start != ""
	return def
}

// NoteReveal notes that the actor of ctx is shown the SubKey of a consumer, or those of many, where c is nil. Who has the
// file in hand needs nobody to show them.
func (o *Objects) NoteReveal(ctx context.Context, c *Consumer) {
	object := ""
	if c != nil {
		object = OfTopic(c.Label(), c.Topic)
	}
	if who := gate.ActorOf(ctx); who.Via != gate.File {
		o.trail.Note(ctx, who, audit.Reveal, object)
	}
}

// RotateSubKey gives a consumer a new SubKey, with all that waits for it. The old one is valid for overlap yet. The errors
// are NotFound, Invalid (the overlap), Conflict (another revision), Unavailable and DiskFull.
func (o *Objects) RotateSubKey(ctx context.Context, who gate.Actor, c *Consumer, revision string, overlap time.Duration) (Consumer, error) {
	said := ""
	if overlap > 0 {
		said = "the old one is valid for " + property.FormatDuration(overlap) + " yet"
	}
	return o.rekey(ctx, who, c, broker.Change{Rotate: []uint32{c.ID}, Overlap: overlap}, revision, audit.Rotate, said)
}

// EndOverlap has the SubKey that a consumer had before the last rotation be refused. The errors are those of RotateSubKey,
// Invalid where it is refused already.
func (o *Objects) EndOverlap(ctx context.Context, who gate.Actor, c *Consumer, revision string) (Consumer, error) {
	return o.rekey(ctx, who, c, broker.Change{EndOverlap: []uint32{c.ID}}, revision, audit.EndOverlap, "")
}

// rekey makes a change of the keys of a consumer.
func (o *Objects) rekey(ctx context.Context, who gate.Actor, c *Consumer, to broker.Change, revision, action, said string) (Consumer, error) {
	to.Expect = []change.Expect{{Ref: o.Consumers().ref(c), Revision: cmp.Or(revision, "*")}}
	to.Documents = []broker.Document{o.trail.Entry(who, action, OfTopic(c.Label(), c.Topic), said)}
	if _, err := o.b.Change(ctx, to); err != nil {
		return Consumer{}, err
	}
	return o.Consumers().Get(o.Consumers().Key(c))
}

// ClearBacklog makes a consumer done with all that it has, and returns how many messages that
// were. The error is NotFound, Unavailable or DiskFull.
func (o *Objects) ClearBacklog(ctx context.Context, who gate.Actor, c *Consumer) (int64, error) {
	return o.b.ClearBacklog(ctx, c.ID, o.queueAudit(who, "consumer.clear", c, c.Backlog))
}

// ClearInFlight makes a consumer done with what it has in flight, and returns how many messages
// that were. The error is NotFound, Unavailable or DiskFull.
func (o *Objects) ClearInFlight(ctx context.Context, who gate.Actor, c *Consumer) (int, error) {
	return o.b.ClearInFlight(ctx, c.ID, o.queueAudit(who, "consumer.clear_in_flight", c, c.InFlight))
}

// Seek brings a consumer to another place of its topic, and returns how many messages wait then. With dryRun it tells
// what would, and changes nothing. The errors are those of broker.Broker.Seek.
func (o *Objects) Seek(ctx context.Context, who gate.Actor, c *Consumer, to broker.Seek, dryRun bool) (int64, error) {
	if dryRun {
		return o.b.SeekPreview(ctx, c.ID, to)
	}
	return o.b.Seek(ctx, c.ID, to, o.trail.Entry(who, "consumer.seek", OfTopic(c.Label(), c.Topic), "to "+to.String()))
}

// ReleaseInFlight makes what a consumer has in flight or has put off deliverable at once, and
// returns how many messages that were. The error is NotFound, Unavailable or DiskFull.
func (o *Objects) ReleaseInFlight(ctx context.Context, who gate.Actor, c *Consumer) (int, error) {
	return o.b.ReleaseInFlight(ctx, c.ID, o.queueAudit(who, "consumer.release", c, c.InFlight+c.Deferred))
}

// queueAudit makes the audit entry of what is about to be done to messages of a consumer's queue.
func (o *Objects) queueAudit(who gate.Actor, action string, c *Consumer, messages int64) broker.Document {
	return o.trail.Entry(who, action, OfTopic(c.Label(), c.Topic), fmt.Sprintf("%d messages", messages))
}

// NoteSubscription makes the audit entry of a consumer that its client makes by itself, or deletes.
func (o *Objects) NoteSubscription(c *broker.Consumer, addr string, made bool) broker.Document {
	action := "consumer.create"
	if !made {
		action = "consumer.delete"
	}
	who := gate.Actor{Name: gate.ClientPrefix + c.Client, Via: gate.Protocol, Addr: addr}
	return o.trail.Entry(who, action, OfTopic(c.Label(), c.Topic), "")
}

// NotePause makes the audit entry of a consumer that is made inactive since nothing can be sent to it.
func (o *Objects) NotePause(c *broker.Consumer, why string) broker.Document {
	return o.trail.Entry(gate.Actor{Name: gate.Sender, Via: gate.Callback}, "consumer.pause", OfTopic(c.Label(), c.Topic), why)
}
