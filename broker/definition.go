package broker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"pipit/broker/login"
)

// Definition is a set of objects to be created or brought to what is given. A field that is zero is its default;
// Off is for a number that is to be 0.
type Definition struct {
	Clients   []Client
	Topics    []Topic
	Producers []Producer
	Consumers []Consumer
	Webhooks  []Webhook
}

// Applied is what Apply has done.
type Applied struct {
	Made   []Consumer // those that were given a SubKey, with it
	Sealed []Consumer // those that a CallbackSecret was made for, with it
	Beside []uint32   // consumers that were not given, though their client and topic were, and that no client made by itself
}

// Apply creates objects or brings them to what is given, in one commit: all or nothing. It is for
// what a configuration declares, all of it, and can be called at every start. Clients are known by
// Username, topics and webhooks by Name, producers by Client and Topic, consumers by Client, Topic and Name.
// What is not given is left alone. The errors are Faults, Unavailable and DiskFull.
//
// A SubKey is a property of a consumer, and the broker remembers which one was given last: a
// Change of it stays until another one is given. Consumers of one Client and Topic without a Name are
// told apart by the SubKey that each was given last; where that cannot be, the error is Invalid.
//
// A new consumer of a topic without consumers begins at the oldest message that waits there;
// any other begins behind the newest, unless its Start says otherwise.
func (b *Broker) Apply(ctx context.Context, d Definition) (Applied, error) {
	b.defining.Lock()
	defer b.defining.Unlock()
	x := &definer{b: b, lastID: b.lastID, declare: true}
	if err := x.prepare(ctx, &Change{Define: d}); err != nil {
		return Applied{}, err
	}
	if err := x.commit(nil); err != nil {
		return Applied{}, err
	}
	for _, c := range x.kept {
		b.log.Warn("the consumer keeps the sub_key that it has, since it may have been changed on purpose: to set one, declare a new one",
			"client", c.Client, "topic", c.Topic, "name", c.Name)
	}
	return Applied{x.done.Made, x.done.Sealed, x.beside()}, nil
}

// Definition returns all objects as they are defined, with the hashes of passwords and the SubKeys
// of consumers: clients by Username, topics, templates among them, by Name, producers by Topic and Client, consumers by
// Topic, Client and SubKey, webhooks, with their secrets, by Name.
func (b *Broker) Definition() Definition {
	var d Definition
	b.mu.RLock()
	for _, c := range b.clients {
		d.Clients = append(d.Clients, c.Client)
	}
	for _, t := range b.topics {
		d.Topics = append(d.Topics, *t.def.Load())
	}
	for _, t := range b.templates.byName {
		d.Topics = append(d.Topics, t.def)
	}
	for _, p := range b.producers {
		d.Producers = append(d.Producers, *p.def.Load())
	}
	for _, c := range b.consumers {
		d.Consumers = append(d.Consumers, *c.def.Load())
	}
	for _, w := range b.webhooks.byName {
		d.Webhooks = append(d.Webhooks, *w.def.Load())
	}
	b.mu.RUnlock()
	slices.SortFunc(d.Webhooks, func(x, y Webhook) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(d.Clients, func(x, y Client) int { return cmp.Compare(x.Username, y.Username) })
	slices.SortFunc(d.Topics, func(x, y Topic) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(d.Producers, func(x, y Producer) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Client, y.Client))
	})
	slices.SortFunc(d.Consumers, func(x, y Consumer) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Client, y.Client), cmp.Compare(x.SubKey, y.SubKey))
	})
	return d
}

// install brings the maps to what the definitions say. The caller is the committer, whose commit is done,
// and holds mu, or nobody else has the broker yet.
func (b *Broker) install(d *records) {
	for _, r := range d.clients {
		before := login.Account{Name: r.Username}
		if old := b.clients[r.Username]; old != nil {
			before = old.account()
		}
		b.auth.Replace(before, r.account())
		b.clients[r.Username] = &client{r.Client, b.key.revision(&r)}
	}
	for _, r := range d.topics {
		if r.AutoCreate {
			b.templates.byName[r.Name] = &template{r.ID, r.Topic, segments(r.Name), b.key.revision(&r)}
			continue
		}
		t := b.topicIDs[r.ID]
		if t == nil {
			t = &topic{id: r.ID, template: r.Template, producers: map[string]*producer{}}
			b.topicIDs[r.ID] = t
			b.topics[r.Name] = t
			if r.Template != "" {
				b.templates.made[r.Template]++
			}
		}
		old := t.def.Swap(&r.Topic)
		if old != nil && (old.Retention != r.Retention || old.RetentionBytes != r.RetentionBytes || old.MaxBytes != r.MaxBytes) {
			t.retainAnew(b)
		}
		t.revision = b.key.revision(&r)
		t.room = 0 // limits may have changed
		t.relist()
	}
	for _, r := range d.producers {
		t := literal(b, r.Topic)
		if t == nil && !isPattern(r.Topic) {
			continue
		}
		p := b.producers[r.ID]
		if p == nil {
			p = &producer{id: r.ID, topic: t}
			b.producers[r.ID] = p
			if t != nil {
				t.producers[r.Client] = p
			} else {
				patternOf(b, r.Topic).producers[r.Client] = p
				grantTo(b, p, r.Client, r.Topic)
			}
		}
		if p.def.Store(&r.Producer); p.topic == nil {
			b.grants[r.Client].renew()
		}
		p.revision = b.key.revision(&r)
	}
	for _, r := range d.webhooks {
		w := b.webhooks.byName[r.Name]
		if w == nil {
			w = &webhook{}
			b.webhooks.byName[r.Name] = w
		}
		w.def.Store(&r.Webhook)
		w.revision = b.key.revision(&r)
	}
	installConsumers(b, d)
}

// installConsumers is install for consumers and their queues.
func installConsumers(b *Broker, d *records) {
	added := map[*topic][]*queue{}
	for _, r := range d.consumers {
		t := literal(b, r.Topic)
		if t == nil && !isPattern(r.Topic) {
			continue
		}
		c := b.consumers[r.ID]
		if c == nil {
			c = newConsumer(r.ID, t)
			b.consumers[r.ID] = c
			if t != nil {
				added[t] = append(added[t], c.list()...)
			} else {
				p := patternOf(b, r.Topic)
				p.consumers = append(p.consumers, c)
			}
		} else {
			before := c.def.Load()
			if key := before.SubKey; key != r.SubKey && b.bySubKey[key] == c { // two may swap theirs
				delete(b.bySubKey, key)
			}
			b.oldKeys.leave(c, before.Old)
			if r.Old != before.Old {
				c.oldSeen.set(time.Time{})
			}
		}
		b.bySubKey[r.SubKey] = c
		b.oldKeys.enter(c, &r)
		c.def.Store(&r.Consumer)
		c.refilter(b, r.Filter)
		delete(b.callbacks, c.id)
		if r.DeliveryMode == DeliveryCallback {
			b.callbacks[c.id] = c
		}
		c.declared = r.Declared
		c.revision = b.key.revision(&r)
		if c.freed = true; t != nil {
			t.room = 0
		}
		c.room = 0
	}
	for _, r := range d.queues {
		c, t := b.consumers[r.Consumer], b.topicIDs[r.Topic]
		if c == nil || t == nil || c.merge == nil {
			continue
		}
		q := newQueue(r.ID, c, t)
		c.addQueue(q)
		c.room, c.freed = 0, true
		added[t] = append(added[t], q)
	}
	for t, qs := range added {
		list := append(append([]*queue(nil), t.list()...), qs...)
		t.setList(list)
	}
}
