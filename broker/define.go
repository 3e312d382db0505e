package broker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/login"
	"pipit/broker/store"
)

// definer makes records of a Change. Its caller holds defining, so nobody changes the maps that
// it reads, and hashing passwords holds up nobody.
type definer struct {
	b       *Broker
	declare bool // the clients are all that the configuration declares: see login.HashDeclared
	out     records
	done    Changed
	faults  Faults
	drop    dropped
	lastID  uint32
	kept    []Consumer                        // those whose SubKey is not the declared one, and nobody knows why
	given   map[uint32]bool                   // consumers that exist and are given
	pairs   map[clientTopic]bool              // those of the given consumers
	byTopic map[string]map[string][]*consumer // those that exist, of topics that were asked about, by client
	trusted []login.Credential
	created map[uint32]Seek // new consumers, and where they are to begin
	sealed  map[uint32]bool // consumers that a CallbackSecret was made for

	clientNames, topicNames map[string]bool // of what is given
}

func (x *definer) id() uint32 { x.lastID++; return x.lastID }

func (x *definer) prepare(ctx context.Context, c *Change) error {
	x.created, x.sealed = map[uint32]Seek{}, map[uint32]bool{}
	if err := x.deletions(c.Delete); err != nil {
		return err
	}
	clients := x.clients(c.Define.Clients)
	x.topics(c.Define.Topics)
	x.producers(c.Define.Producers)
	x.consumers(c.Define.Consumers)
	x.webhooks(c.Define.Webhooks)
	if err := x.checked(); err != nil {
		return err
	}
	x.queues()
	if x.declare {
		if err := x.hashDeclared(ctx, clients); err != nil {
			return err
		}
	}
	x.defineClients(clients)
	if err := x.rotations(c.Rotate, c.Overlap); err != nil {
		return err
	}
	return x.overlapsEnded(c.EndOverlap)
}

// defines tells whether there are objects to be stored, changes whether there is anything to be done.
func (x *definer) defines() bool { return !x.out.isEmpty() }

func (x *definer) changes() bool { return x.defines() || !x.drop.isEmpty() }

// clients checks clients and returns them with what they do not say.
func (x *definer) clients(clients []Client) []Client {
	x.clientNames = make(map[string]bool, len(clients))
	clients = slices.Clone(clients)
	for i := range clients {
		c := &clients[i]
		var former *Client
		stored := ""
		if old := x.b.clients[c.Username]; old != nil {
			former, stored = &old.Client, old.PasswordHash
		}
		err := c.validateOver(stored)
		c.Name = cmp.Or(c.Name, c.Username)
		if err == nil {
			err = c.validateNames(former)
		}
		c.PasswordHash = cmp.Or(c.PasswordHash, stored) // to be kept where the password did not change
		switch {
		case err != nil:
		case x.clientNames[c.Username]:
			err = Invalidf("client %q is given twice", c.Username).of("username")
		case x.drop.clients[c.Username]:
			err = Invalidf("client %q is both given and deleted", c.Username).of("username")
		case c.Password == "" && c.PasswordHash == "":
			err = Invalidf("client %q has neither a password nor a password_hash", c.Username).of("password_hash")
		}
		x.fault(change.Client, i, err)
		x.clientNames[c.Username] = true
	}
	return clients
}

// hashDeclared gives the clients of a configuration that have a Password the PasswordHash of it. One slow
// hash over all of them tells whether any has changed.
func (x *definer) hashDeclared(ctx context.Context, clients []Client) error {
	all := x.b.credentials(clients)
	if len(all) == 0 {
		return nil
	}
	unhashed := slices.ContainsFunc(all, func(c login.Credential) bool { return c.Hash == "" })
	if unhashed || !login.DeclaredMatches(x.b.declared, all) {
		x.b.log.Info("hashing passwords, since some are new or have changed", "clients", len(all))
		err := login.HashAll(ctx, all)
		if err != nil {
			return ours(err)
		}
		if x.out.declared, err = login.HashDeclared(all); err != nil {
			return ours(err)
		}
	}
	x.trusted = all
	setHashes(clients, all)
	return nil
}

func (x *definer) defineClients(clients []Client) {
	x.done.Clients = make([]change.Outcome[Client], 0, len(clients))
	for _, c := range clients {
		var before *Client
		if old := x.b.clients[c.Username]; old != nil {
			before = &old.Client
		}
		o := change.OutcomeOf(before, c)
		if x.done.Clients = append(x.done.Clients, o); o.Action != change.Keep {
			x.out.clients = append(x.out.clients, clientRecord{c})
		}
	}
}

func (x *definer) topics(topics []Topic) {
	x.topicNames = make(map[string]bool, len(topics))
	given := make(map[string]bool, len(topics)) // with templates
	x.done.Topics = make([]change.Outcome[Topic], 0, len(topics))
	for i, t := range topics {
		old, made := x.b.topics[t.Name], x.b.templates.byName[t.Name]
		err := t.Validate()
		if err == nil {
			err = x.isNoOther(&t)
		}
		switch {
		case err != nil:
		case twice(given, t.Name):
			err = Invalidf("topic %q is given twice", t.Name).of("name")
		case x.drop.topics[t.Name], x.drop.templates[t.Name]:
			err = Invalidf("topic %q is both given and deleted", t.Name).of("name")
		}
		x.topicNames[t.Name] = x.topicNames[t.Name] || !t.AutoCreate
		if x.fault(change.Topic, i, err) || len(x.faults) > 0 {
			continue
		}
		TopicFields.Complete(&t)
		r := topicRecord{Topic: t}
		var before *Topic
		switch {
		case old != nil:
			r.ID, r.Template, before = old.id, old.template, old.def.Load()
		case made != nil:
			r.ID, before = made.id, &made.def
		default:
			r.ID = x.id()
		}
		o := change.OutcomeOf(before, t)
		if x.done.Topics = append(x.done.Topics, o); o.Action != change.Keep {
			x.out.topics = append(x.out.topics, r)
		}
	}
}

// isNoOther returns an error where a topic is to become a template, or the reverse, or where it is new and may not have the
// name.
func (x *definer) isNoOther(t *Topic) error {
	isTopic, isTemplate := x.b.topics[t.Name] != nil, x.b.templates.byName[t.Name] != nil
	switch {
	case isTopic && t.AutoCreate:
		return Invalidf("auto_create of topic %q: it is a topic and no template for good", t.Name).of("auto_create")
	case isTemplate && !t.AutoCreate:
		return Invalidf("auto_create of topic %q: it is a template for good, until it is deleted", t.Name).of("auto_create")
	case isTopic || isTemplate:
		return nil
	}
	return t.validateName()
}

func (x *definer) producers(producers []Producer) {
	listed := make(map[clientTopic]bool, len(producers))
	x.done.Producers = make([]change.Outcome[Producer], 0, len(producers))
	for i, p := range producers {
		old := producersOf(x.b, p.Topic)[p.Client]
		err := x.known("producer", p.Client, p.Topic)
		switch {
		case err != nil:
		case listed[clientTopic{p.Client, p.Topic}]:
			err = Invalidf("producer %q of topic %q is given twice", p.Client, p.Topic).of("client")
		case old != nil && x.drop.producers[old.id] != nil:
			err = Invalidf("producer %q of topic %q is both given and deleted", p.Client, p.Topic).of("client")
		}
		listed[clientTopic{p.Client, p.Topic}] = true
		if x.fault(change.Producer, i, err) || len(x.faults) > 0 {
			continue
		}
		p.LastSeen = time.Time{}
		r := producerRecord{Producer: p}
		var before *Producer
		if old != nil {
			r.ID, before = old.id, old.def.Load()
		} else {
			r.ID = x.id()
		}
		o := change.OutcomeOf(before, p)
		o.ID = r.ID
		if x.done.Producers = append(x.done.Producers, o); o.Action != change.Keep {
			x.out.producers = append(x.out.producers, r)
		}
	}
}

func (x *definer) consumers(consumers []Consumer) {
	x.checkConsumers(consumers)
	if len(x.faults) > 0 {
		return // which of them is which cannot be told
	}
	matched := x.match(consumers)
	x.done.Consumers = make([]change.Outcome[Consumer], 0, len(consumers))
	index := map[uint32]int{} // of what is given, by ID
	for i, c := range consumers {
		begins := c.begins()
		c.LastSeen, c.Start, c.New = time.Time{}, "", false
		ConsumerFields.Complete(&c)
		old, former := matched[i], (*Consumer)(nil)
		if old != nil {
			former = old.def.Load()
		}
		if x.fault(change.Consumer, i, c.validateName(former)) {
			continue
		}
		if old == nil {
			r := consumerRecord{Consumer: c, ID: x.id(), Declared: x.said(&c)}
			x.created[r.ID] = begins
			x.seal(&r, nil)
			x.oldKey(&r, &Consumer{})
			if c.SubKey == "" {
				r.SubKey = randomID(time.Now())
				x.done.Made = append(x.done.Made, r.Consumer)
			}
			index[r.ID] = i
			x.out.consumers = append(x.out.consumers, r)
			o := change.OutcomeOf(nil, c)
			o.ID = r.ID
			x.done.Consumers = append(x.done.Consumers, o)
			continue
		}
		before := old.record()
		r := before
		r.Consumer = c
		x.keys(&r, before.SubKey)
		x.oldKey(&r, &before.Consumer)
		x.seal(&r, former)
		index[r.ID] = i
		o := change.OutcomeOf(&before.Consumer, r.Consumer)
		o.ID = r.ID
		x.done.Consumers = append(x.done.Consumers, o)
		if r != before {
			x.out.consumers = append(x.out.consumers, r)
		}
	}
	x.unique(consumers, index)
}

type clientTopic struct{ client, topic string }

// known returns an error unless the client and the topic exist when the change is made.
func (x *definer) known(what, client, topic string) error {
	if !x.clientNames[client] && (x.b.clients[client] == nil || x.drop.clients[client]) {
		return wrongText("client", client, fmt.Sprintf(" of a %s of topic %q", what, clip.Input(topic)), "no such client")
	}
	if isPattern(topic) && literal(x.b, topic) == nil {
		if err := checkPattern(topic); err != nil {
			return wrongText("topic", topic, fmt.Sprintf(" of a %s of client %q", what, clip.Input(client)), err)
		}
		return nil
	}
	if !x.topicNames[topic] && (x.b.topics[topic] == nil || x.drop.topics[topic]) {
		return wrongText("topic", topic, fmt.Sprintf(" of a %s of client %q", what, clip.Input(client)), "no such topic")
	}
	return nil
}

// deadLetters returns an error unless the dead-letter topic that a consumer names exists when the change is made, and is
// another one than its own.
func (x *definer) deadLetters(c *Consumer) error {
	name, of := c.DeadLetterTopic, fmt.Sprintf(" of consumer %q of topic %q", clip.Input(c.Client), clip.Input(c.Topic))
	switch {
	case name == "" && c.Overflow == OverflowDeadLetter:
		return wrongText("overflow", c.Overflow, of, "allowed with a dead_letter_topic")
	case name == "" && c.OnExpiry == ExpiryDeadLetter:
		return wrongText("on_expiry", c.OnExpiry, of, "allowed with a dead_letter_topic")
	case name == "":
		return nil
	case name == c.Topic, isPattern(c.Topic) && literal(x.b, c.Topic) == nil && matches(segments(c.Topic), segments(name)):
		return wrongText("dead_letter_topic", name, of, "allowed is another topic than its own")
	case !x.topicNames[name] && (x.b.topics[name] == nil || x.drop.topics[name]):
		return wrongText("dead_letter_topic", name, of, "no such topic")
	}
	return nil
}

// dropped is what a Change deletes, dependants included.
type dropped struct {
	clients   map[string]bool
	topics    map[string]bool
	templates map[string]bool
	producers map[uint32]*producer
	consumers map[uint32]*consumer
	queues    map[*queue]bool // of those consumers, and of those topics
	webhooks  map[string]bool
}

func (d *dropped) isEmpty() bool {
	return len(d.clients)+len(d.topics)+len(d.templates)+len(d.producers)+len(d.consumers)+len(d.webhooks) == 0
}

// deletions gathers what is deleted.
func (x *definer) deletions(refs []change.Ref) error {
	x.drop = dropped{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[uint32]*producer{}, map[uint32]*consumer{}, map[*queue]bool{}, map[string]bool{}}
	d, b := &x.drop, x.b
	for _, r := range refs {
		found := false
		switch r.Kind {
		case change.Client:
			if found = b.clients[r.Name] != nil; found {
				d.clients[r.Name] = true
			}
		case change.Topic:
			switch {
			case b.topics[r.Name] != nil:
				found, d.topics[r.Name] = true, true
			case b.templates.byName[r.Name] != nil:
				found, d.templates[r.Name] = true, true
			}
		case change.Producer:
			p := b.producer(r)
			if found = p != nil; found {
				d.producers[p.id] = p
			}
		case change.Consumer:
			c := b.consumers[r.ID]
			if found = c != nil; found {
				d.consumers[c.id] = c
			}
		case change.Webhook:
			if found = b.webhooks.byName[r.Name] != nil; found {
				d.webhooks[r.Name] = true
			}
		default:
			return Invalidf("kind %q of object: no such kind", clip.Input(string(r.Kind)))
		}
		if !found {
			return noObject(r)
		}
	}
	if len(d.clients)+len(d.topics) > 0 {
		x.dependants()
	}
	x.dropQueues()
	x.done.Deleted, x.done.Gone = d.refs(), d.definition(b)
	return nil
}

// dependants adds the producers, consumers and webhooks of what is deleted.
func (x *definer) dependants() {
	d, b := &x.drop, x.b
	for id, p := range b.producers {
		if def := p.def.Load(); d.clients[def.Client] || d.topics[def.Topic] && p.topic != nil {
			d.producers[id] = p
		}
	}
	for id, c := range b.consumers {
		if def := c.def.Load(); d.clients[def.Client] || d.topics[def.Topic] && c.merge == nil {
			d.consumers[id] = c
		}
	}
	for name, w := range b.webhooks.byName {
		if def := w.def.Load(); d.clients[def.Client] || d.topics[def.Topic] {
			d.webhooks[name] = true
		}
	}
}

func (d *dropped) refs() (refs []change.Ref) {
	for name := range d.webhooks {
		refs = append(refs, change.Ref{Kind: change.Webhook, Name: name})
	}
	for name := range d.clients {
		refs = append(refs, change.Ref{Kind: change.Client, Name: name})
	}
	for name := range d.topics {
		refs = append(refs, change.Ref{Kind: change.Topic, Name: name})
	}
	for name := range d.templates {
		refs = append(refs, change.Ref{Kind: change.Topic, Name: name})
	}
	for id := range d.producers {
		refs = append(refs, change.Ref{Kind: change.Producer, ID: id})
	}
	for id := range d.consumers {
		refs = append(refs, change.Ref{Kind: change.Consumer, ID: id})
	}
	return refs
}

// definition returns what is deleted as it is defined.
func (d *dropped) definition(b *Broker) (gone Definition) {
	for name := range d.webhooks {
		gone.Webhooks = append(gone.Webhooks, *b.webhooks.byName[name].def.Load())
	}
	for name := range d.clients {
		gone.Clients = append(gone.Clients, b.clients[name].Client)
	}
	for name := range d.topics {
		gone.Topics = append(gone.Topics, *b.topics[name].def.Load())
	}
	for name := range d.templates {
		gone.Topics = append(gone.Topics, b.templates.byName[name].def)
	}
	for _, p := range d.producers {
		gone.Producers = append(gone.Producers, *p.def.Load())
	}
	for _, c := range d.consumers {
		gone.Consumers = append(gone.Consumers, *c.def.Load())
	}
	return gone
}

// objects returns what the store is to forget.
func (d *dropped) objects(b *Broker) []store.Object {
	list := make([]store.Object, 0, len(d.clients)+len(d.topics)+len(d.templates)+len(d.producers)+len(d.consumers)+len(d.webhooks))
	for name := range d.webhooks {
		list = append(list, store.Object{Kind: store.Webhook, Key: name, Secret: true})
	}
	for name := range d.clients {
		list = append(list, store.Object{Kind: store.Client, Key: name, Secret: true})
	}
	for name := range d.topics {
		list = append(list, store.Object{Kind: store.Topic, Key: name, ID: b.topics[name].id})
	}
	for name := range d.templates {
		list = append(list, store.Object{Kind: store.Topic, Key: name, ID: b.templates.byName[name].id})
	}
	for id, p := range d.producers {
		list = append(list, store.Object{Kind: store.Producer, Key: p.def.Load().key(), ID: id})
	}
	for id, c := range d.consumers {
		list = append(list, store.Object{Kind: store.Consumer, Key: c.subKey(), ID: id, Secret: true})
	}
	for q := range d.queues {
		if q.merged != nil {
			o := q.record().object()
			o.Value = nil
			list = append(list, o)
		}
	}
	return list
}

// expect returns an error unless an object is as it is expected to be. The caller holds defining.
func (x *definer) expect(e change.Expect) error {
	var revision string
	switch e.Kind {
	case change.Client:
		if c := x.b.clients[e.Name]; c != nil {
			revision = c.revision
		}
	case change.Topic:
		if t := x.b.topics[e.Name]; t != nil {
			revision = t.revision
		} else if t := x.b.templates.byName[e.Name]; t != nil {
			revision = t.revision
		}
	case change.Producer:
		if p := x.b.producer(e.Ref); p != nil {
			revision = p.revision
		}
	case change.Consumer:
		if c := x.b.consumers[e.ID]; c != nil {
			revision = c.revision
		}
	case change.Webhook:
		if w := x.b.webhooks.byName[e.Name]; w != nil {
			revision = w.revision
		}
	default:
		return Invalidf("kind %q of object: no such kind", clip.Input(string(e.Kind)))
	}
	switch {
	case e.Revision == "" && revision != "":
		return &Error{Code: Conflict, Message: fmt.Sprintf("The %s exists already", e.Ref)}
	case e.Revision != "" && revision == "":
		return noObject(e.Ref)
	case e.Revision != revision && e.Revision != "*":
		return &Error{Code: Conflict, Message: fmt.Sprintf("The %s was changed meanwhile", e.Ref)}
	}
	return nil
}

func noObject(r change.Ref) *Error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("No %s", r)}
}

// producer returns the producer that a Ref names, nil where there is none. The caller holds
// defining or mu.
func (b *Broker) producer(r change.Ref) *producer {
	if r.ID != 0 {
		return b.producers[r.ID]
	}
	return producersOf(b, r.Topic)[r.Name]
}
