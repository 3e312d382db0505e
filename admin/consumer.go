package admin

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"pipit/broker"
	"pipit/broker/clip"
)

var consumerSorts = sorts[broker.ConsumerInfo]{
	"topic":     func(c *broker.ConsumerInfo) place { return place{S: consumerKey(c.Topic, c.Client, c.ID)} },
	"client":    func(c *broker.ConsumerInfo) place { return place{S: consumerKey(c.Client, c.Topic, c.ID)} },
	"backlog":   func(c *broker.ConsumerInfo) place { return place{c.Backlog, consumerKey(c.Topic, c.Client, c.ID)} },
	"in_flight": func(c *broker.ConsumerInfo) place { return place{c.InFlight, consumerKey(c.Topic, c.Client, c.ID)} },
	"last_seen": func(c *broker.ConsumerInfo) place {
		return place{micros(c.LastSeen), consumerKey(c.Topic, c.Client, c.ID)}
	},
}

func consumerKey(first, second string, id uint32) string {
	return key(first, second, fmt.Sprintf("%010d", id))
}

// listConsumers returns a page of the consumers. It can be sorted by topic, client, backlog,
// in_flight and last_seen.
func (a *Admin) listConsumers(q query) (list[Consumer], error) {
	found := contains(q.Search)
	matches := func(c *broker.ConsumerInfo) bool {
		return q.owns(c.Topic, c.Client) && found(c.Topic, c.Client, c.Name)
	}
	page, err := pageOf(q, a.b.Consumers(), "topic", consumerSorts, matches, consumerOf)
	if err != nil {
		return page, err
	}
	return page, a.setOldest(page.Items)
}

// getConsumer returns a consumer, with its SubKey. The error is NotFound.
func (a *Admin) getConsumer(id uint32) (Consumer, error) {
	info, ok := a.b.Consumer(id)
	if !ok {
		return Consumer{}, notFound("No consumer %q", fmt.Sprint(id))
	}
	one := []Consumer{consumerOf(&info)}
	err := a.setOldest(one)
	return one[0], err
}

// setOldest sets the Oldest of consumers that have a backlog.
func (a *Admin) setOldest(consumers []Consumer) error {
	var ids []uint32
	for i := range consumers {
		if consumers[i].Backlog > 0 {
			ids = append(ids, consumers[i].ID)
		}
	}
	if ids == nil {
		return nil
	}
	oldest, err := a.b.Oldest(ids...)
	for i := range consumers {
		consumers[i].Oldest = timeOf(oldest[consumers[i].ID])
	}
	return err
}

// createConsumer makes a client a consumer of a topic, one more where it is one already. Without
// a SubKey it is given one. The errors are Invalid, Conflict (a consumer has that SubKey or Name),
// Unavailable and DiskFull.
func (a *Admin) createConsumer(ctx context.Context, who actor, c Consumer) (Consumer, error) {
	a.naming.Lock()
	defer a.naming.Unlock()
	def := c.broker()
	switch def.Start = c.Start; def.Start {
	case StartTail, StartOldest:
	default:
		return Consumer{}, invalid("start", "start %q: allowed are %s, %s", clip.Input(c.Start), StartOldest, StartTail)
	}
	if c.SubKey != "" {
		if _, exists := a.bySubKey(c.SubKey); exists {
			return Consumer{}, &broker.Error{Code: broker.Conflict, Message: "sub_key: another consumer has the same one", Field: "sub_key"}
		}
	}
	if c.Name != "" && slices.ContainsFunc(a.b.Consumers(), func(o broker.ConsumerInfo) bool {
		return o.Client == c.Client && o.Topic == c.Topic && o.Name == c.Name
	}) {
		return Consumer{}, &broker.Error{Code: broker.Conflict, Message: fmt.Sprintf("name %q: another consumer of the client and topic has it", clip.Input(c.Name)), Field: "name"}
	}
	def.New = true
	done, err := a.b.Change(ctx, broker.Change{
		Define:    broker.Definition{Consumers: []broker.Consumer{def}},
		Documents: []broker.Document{a.audit(who, "consumer.create", ofTopic(c.Client, c.Topic), "")},
	})
	if err != nil {
		return Consumer{}, err
	}
	if c.SubKey == "" && len(done.Made) == 1 {
		c.SubKey = done.Made[0].SubKey
	}
	weak := a.warnWeak(broker.Definition{Consumers: []broker.Consumer{def}})
	if made, ok := a.bySubKey(c.SubKey); ok {
		made.Warnings = weak
		return made, nil
	}
	return Consumer{}, notFound("No consumer %q", ofTopic(c.Client, c.Topic)) // deleted since
}

func (a *Admin) bySubKey(subKey string) (Consumer, bool) {
	all := a.b.Consumers()
	for i := range all {
		if all[i].SubKey == subKey {
			return consumerOf(&all[i]), true
		}
	}
	return Consumer{}, false
}

// editConsumer has edit change a consumer that is in a revision, or in any where that is empty or
// "*". The errors are those of edit, NotFound, Conflict (another revision), Invalid, Unavailable
// and DiskFull.
func (a *Admin) editConsumer(ctx context.Context, who actor, id uint32, revision string, edit func(*Consumer) error) (Consumer, error) {
	err := again(revision, func() error {
		before, err := a.getConsumer(id)
		if err != nil {
			return err
		}
		if err := checkRevision(revision, before.Revision); err != nil {
			return err
		}
		c := before
		if err := edit(&c); err != nil {
			return err
		}
		if c.Client != before.Client {
			return fixed("client", c.Client, before.Client)
		}
		if c.Topic != before.Topic {
			return fixed("topic", c.Topic, before.Topic)
		}
		if c.Name != before.Name {
			return fixed("name", c.Name, before.Name)
		}
		if c.SubKey != before.SubKey {
			return invalid("sub_key", "sub_key: it cannot be set, but rotated")
		}
		if c.Start != before.Start {
			return invalid("start", "start %q: it is for new consumers alone", clip.Input(c.Start))
		}
		diff := differences(before.ConsumerDefinition, c.ConsumerDefinition)
		if len(diff) == 0 {
			return nil
		}
		_, err = a.b.Change(ctx, broker.Change{
			Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindConsumer, ID: id}, Revision: before.Revision}},
			Define:    broker.Definition{Consumers: []broker.Consumer{c.broker()}},
			Documents: []broker.Document{a.audit(who, "consumer.edit", ofTopic(c.Client, c.Topic), diff.String())},
		})
		return err
	})
	if err != nil {
		return Consumer{}, err
	}
	return a.getConsumer(id)
}

// deleteConsumer deletes a consumer and its queue, and returns what went with it. The errors are
// NotFound, Conflict, Unavailable and DiskFull.
func (a *Admin) deleteConsumer(ctx context.Context, who actor, id uint32, revision string) (Deleted, error) {
	c, err := a.getConsumer(id)
	if err != nil {
		return Deleted{}, err
	}
	return a.delete(ctx, who, "consumer.delete", broker.Ref{Kind: broker.KindConsumer, ID: id}, ofTopic(c.Client, c.Topic), revision)
}

// noteReveal notes that who asks is shown the SubKey of a consumer, or those of many, where c is nil. Who has the
// file in hand needs nobody to show them.
func (a *Admin) noteReveal(r *http.Request, c *Consumer) {
	object := ""
	if c != nil {
		object = ofTopic(c.Client, c.Topic)
	}
	if !isLocal(r) {
		a.note(r.Context(), actorOf(r.Context()), actionReveal, object)
	}
}

// rotateSubKey gives a consumer a new SubKey, with all that waits for it. The errors are NotFound,
// Conflict (another revision), Unavailable and DiskFull.
func (a *Admin) rotateSubKey(ctx context.Context, who actor, id uint32, revision string) (Consumer, error) {
	c, err := a.getConsumer(id)
	if err != nil {
		return Consumer{}, err
	}
	if revision == "" {
		revision = "*"
	}
	_, err = a.b.Change(ctx, broker.Change{
		Expect:    []broker.Expect{{Ref: broker.Ref{Kind: broker.KindConsumer, ID: id}, Revision: revision}},
		Rotate:    []uint32{id},
		Documents: []broker.Document{a.audit(who, actionRotate, ofTopic(c.Client, c.Topic), "")},
	})
	if err != nil {
		return Consumer{}, err
	}
	return a.getConsumer(id)
}

// clearBacklog makes a consumer done with all that it has, and returns how many messages that
// were. The error is NotFound, Unavailable or DiskFull.
func (a *Admin) clearBacklog(ctx context.Context, who actor, id uint32) (int64, error) {
	doc, err := a.queueAudit(who, "consumer.clear", id, func(c *Consumer) int64 { return c.Backlog })
	if err != nil {
		return 0, err
	}
	return a.b.ClearBacklog(ctx, id, doc)
}

// clearInFlight makes a consumer done with what it has in flight, and returns how many messages
// that were. The error is NotFound, Unavailable or DiskFull.
func (a *Admin) clearInFlight(ctx context.Context, who actor, id uint32) (int, error) {
	doc, err := a.queueAudit(who, "consumer.clear_in_flight", id, func(c *Consumer) int64 { return c.InFlight })
	if err != nil {
		return 0, err
	}
	return a.b.ClearInFlight(ctx, id, doc)
}

// releaseInFlight makes what a consumer has in flight or has put off deliverable at once, and
// returns how many messages that were. The error is NotFound, Unavailable or DiskFull.
func (a *Admin) releaseInFlight(ctx context.Context, who actor, id uint32) (int, error) {
	doc, err := a.queueAudit(who, "consumer.release", id, func(c *Consumer) int64 { return c.InFlight + c.Deferred })
	if err != nil {
		return 0, err
	}
	return a.b.ReleaseInFlight(ctx, id, doc)
}

// queueAudit makes the audit entry of what is about to be done to a consumer's queue.
func (a *Admin) queueAudit(who actor, action string, id uint32, count func(*Consumer) int64) (broker.Document, error) {
	info, ok := a.b.Consumer(id)
	if !ok {
		return broker.Document{}, notFound("No consumer %q", fmt.Sprint(id))
	}
	c := consumerOf(&info)
	return a.audit(who, action, ofTopic(c.Client, c.Topic), fmt.Sprintf("%d messages", count(&c))), nil
}
