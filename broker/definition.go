package broker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"pipit/broker/clip"
	"pipit/broker/login"
)

// Definition is a set of objects to be created or brought to what is given.
type Definition struct {
	Clients   []Client
	Topics    []Topic
	Producers []Producer
	Consumers []Consumer
}

// Applied is what Apply has done.
type Applied struct {
	Made   []Consumer // those that were given a SubKey, with it
	Beside []uint32   // consumers that were not given, though their client and topic were
}

// Apply creates objects or brings them to what is given, in one commit: all or nothing. It is for
// what a configuration declares, all of it, and can be called at every start. Clients are known by
// Username, topics by Name, producers by Client and Topic, consumers by Client, Topic and Name.
// What is not given is left alone. The errors are Faults, Unavailable and DiskFull.
//
// A SubKey is a property of a consumer, and the broker remembers which one was given last: a
// Change of it stays until another one is given. Consumers of one Client and Topic without a Name are
// told apart by the SubKey that each was given last; where that cannot be, the error is Invalid.
//
// A new consumer of a topic without consumers begins at the oldest message that waits there;
// any other begins behind the newest, unless its Start is StartOldest.
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
	return Applied{x.done.Made, x.beside()}, nil
}

// Definition returns all objects as they are defined, with the hashes of passwords and the SubKeys
// of consumers: clients by Username, topics by Name, producers by Topic and Client, consumers by
// Topic, Client and SubKey.
func (b *Broker) Definition() Definition {
	var d Definition
	b.mu.RLock()
	for _, c := range b.clients {
		d.Clients = append(d.Clients, c.Client)
	}
	for _, t := range b.topics {
		d.Topics = append(d.Topics, *t.def.Load())
		for _, p := range t.producers {
			d.Producers = append(d.Producers, *p.def.Load())
		}
		for _, c := range t.list() {
			d.Consumers = append(d.Consumers, *c.def.Load())
		}
	}
	b.mu.RUnlock()
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
	fresh   map[uint32]bool // new consumers, and whether they begin at the oldest message by their own wish

	clientNames, topicNames map[string]bool // of what is given
}

func (x *definer) id() uint32 { x.lastID++; return x.lastID }

func (x *definer) prepare(ctx context.Context, c *Change) error {
	x.fresh = map[uint32]bool{}
	if err := x.deletions(c.Delete); err != nil {
		return err
	}
	clients := x.clients(c.Define.Clients)
	x.topics(c.Define.Topics)
	x.producers(c.Define.Producers)
	x.consumers(c.Define.Consumers)
	if err := x.checked(); err != nil {
		return err
	}
	if x.declare {
		if err := x.hashDeclared(ctx, clients); err != nil {
			return err
		}
	}
	x.defineClients(clients)
	return x.rotations(c.Rotate)
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
		err := c.ValidateOver(stored)
		c.Name = cmp.Or(c.Name, c.Username)
		if err == nil {
			err = c.ValidateNames(former)
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
		x.fault(KindClient, i, err)
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
			return LoginError(err)
		}
		if x.out.declared, err = login.HashDeclared(all); err != nil {
			return LoginError(err)
		}
	}
	x.trusted = all
	setHashes(clients, all)
	return nil
}

func (x *definer) defineClients(clients []Client) {
	x.done.Clients = make([]Outcome[Client], 0, len(clients))
	for _, c := range clients {
		var before *Client
		if old := x.b.clients[c.Username]; old != nil {
			before = &old.Client
		}
		o := outcome(before, c)
		if x.done.Clients = append(x.done.Clients, o); o.Action != Keep {
			x.out.clients = append(x.out.clients, clientRecord{c})
		}
	}
}

func (x *definer) topics(topics []Topic) {
	x.topicNames = make(map[string]bool, len(topics))
	x.done.Topics = make([]Outcome[Topic], 0, len(topics))
	for i, t := range topics {
		old := x.b.topics[t.Name]
		err := t.Validate()
		if err == nil && old == nil {
			err = t.ValidateName()
		}
		switch {
		case err != nil:
		case x.topicNames[t.Name]:
			err = Invalidf("topic %q is given twice", t.Name).of("name")
		case x.drop.topics[t.Name]:
			err = Invalidf("topic %q is both given and deleted", t.Name).of("name")
		}
		x.topicNames[t.Name] = true
		if x.fault(KindTopic, i, err) || len(x.faults) > 0 {
			continue
		}
		r := topicRecord{Topic: t}
		var before *Topic
		if old != nil {
			r.ID, before = old.id, old.def.Load()
		} else {
			r.ID = x.id()
		}
		o := outcome(before, t)
		if x.done.Topics = append(x.done.Topics, o); o.Action != Keep {
			x.out.topics = append(x.out.topics, r)
		}
	}
}

// known returns an error unless the client and the topic exist when the change is made.
func (x *definer) known(what, client, topic string) error {
	if !x.clientNames[client] && (x.b.clients[client] == nil || x.drop.clients[client]) {
		return Invalidf("client %q of a %s of topic %q: no such client", clip.Input(client), what, clip.Input(topic)).of("client")
	}
	if !x.topicNames[topic] && (x.b.topics[topic] == nil || x.drop.topics[topic]) {
		return Invalidf("topic %q of a %s of client %q: no such topic", clip.Input(topic), what, clip.Input(client)).of("topic")
	}
	return nil
}

type clientTopic struct{ client, topic string }

func (x *definer) producers(producers []Producer) {
	seen := make(map[clientTopic]bool, len(producers))
	x.done.Producers = make([]Outcome[Producer], 0, len(producers))
	for i, p := range producers {
		var old *producer
		if t := x.b.topics[p.Topic]; t != nil {
			old = t.producers[p.Client]
		}
		err := x.known("producer", p.Client, p.Topic)
		switch {
		case err != nil:
		case seen[clientTopic{p.Client, p.Topic}]:
			err = Invalidf("producer %q of topic %q is given twice", p.Client, p.Topic).of("client")
		case old != nil && x.drop.producers[old.id] != nil:
			err = Invalidf("producer %q of topic %q is both given and deleted", p.Client, p.Topic).of("client")
		}
		seen[clientTopic{p.Client, p.Topic}] = true
		if x.fault(KindProducer, i, err) || len(x.faults) > 0 {
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
		o := outcome(before, p)
		o.ID = r.ID
		if x.done.Producers = append(x.done.Producers, o); o.Action != Keep {
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
	x.done.Consumers = make([]Outcome[Consumer], 0, len(consumers))
	index := map[uint32]int{} // of what is given, by ID
	for i, c := range consumers {
		fromOldest := c.Start == StartOldest
		c.LastSeen, c.Start, c.New = time.Time{}, "", false
		old := matched[i]
		if old == nil {
			r := consumerRecord{Consumer: c, ID: x.id(), Declared: x.said(&c)}
			x.fresh[r.ID] = fromOldest
			if c.SubKey == "" {
				r.SubKey = randomID(time.Now())
				x.done.Made = append(x.done.Made, r.Consumer)
			}
			index[r.ID] = i
			x.out.consumers = append(x.out.consumers, r)
			o := outcome(nil, c)
			o.ID = r.ID
			x.done.Consumers = append(x.done.Consumers, o)
			continue
		}
		before := old.record()
		r := before
		r.Consumer = c
		x.keys(&r, before.SubKey)
		index[r.ID] = i
		o := outcome(&before.Consumer, r.Consumer)
		o.ID = r.ID
		x.done.Consumers = append(x.done.Consumers, o)
		if r != before {
			x.out.consumers = append(x.out.consumers, r)
		}
	}
	x.unique(consumers, index)
}

// install brings the maps to what the definitions say. The caller holds mu, or nobody else
// has the broker yet; in both cases the committer is not in a commit of messages.
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
		t := b.topicIDs[r.ID]
		if t == nil {
			t = &topic{id: r.ID, producers: map[string]*producer{}}
			b.topicIDs[r.ID] = t
			b.topics[r.Name] = t
		}
		t.def.Store(&r.Topic)
		t.revision = b.key.revision(&r)
		t.room = 0 // limits may have changed
	}
	for _, r := range d.producers {
		t := b.topics[r.Topic]
		if t == nil {
			continue
		}
		p := b.producers[r.ID]
		if p == nil {
			p = &producer{id: r.ID, topic: t}
			b.producers[r.ID] = p
			t.producers[r.Client] = p
		}
		p.def.Store(&r.Producer)
		p.revision = b.key.revision(&r)
	}
	added := map[*topic][]*consumer{}
	for _, r := range d.consumers {
		t := b.topics[r.Topic]
		if t == nil {
			continue
		}
		c := b.consumers[r.ID]
		if c == nil {
			c = newConsumer(r.ID, t)
			c.begun = t.counters.published.Load()
			b.consumers[r.ID] = c
			added[t] = append(added[t], c)
		} else if key := c.def.Load().SubKey; key != r.SubKey && b.bySubKey[key] == c { // two may swap theirs
			delete(b.bySubKey, key)
		}
		b.bySubKey[r.SubKey] = c
		c.def.Store(&r.Consumer)
		c.declared = r.Declared
		c.revision = b.key.revision(&r)
		t.room = 0
	}
	for t, cs := range added {
		list := append(append([]*consumer(nil), t.list()...), cs...)
		t.consumers.Store(&list)
	}
}
