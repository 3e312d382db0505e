package broker

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Definition is a set of objects to be created or brought to what is given.
type Definition struct {
	Clients   []Client
	Topics    []Topic
	Producers []Producer
	Consumers []Consumer
}

// Apply creates objects or brings them to what is given, in one commit: all or nothing. Clients are
// known by Username, topics by Name, producers by Client and Topic, consumers by SubKey or,
// where that is empty, by Client and Topic. What is not given is left alone. It returns the
// consumers that were given a SubKey. The errors are Invalid, Unavailable and DiskFull.
//
// A new consumer of a topic without consumers begins at the oldest message that waits there;
// any other begins behind the newest, unless FromOldest is set.
func (b *Broker) Apply(ctx context.Context, d Definition) (made []Consumer, err error) {
	b.defining.Lock()
	defer b.defining.Unlock()
	x := &definer{b: b, lastID: b.lastID}
	if err := x.prepare(ctx, &d); err != nil {
		return nil, err
	}
	if err := b.wait(&task{op: &defineOp{b: b, x: x}, alone: true, done: make(chan struct{}, 1)}); err != nil {
		return nil, err
	}
	b.lastID = x.lastID
	if x.out.Declared != "" {
		b.declared = x.out.Declared
	}
	for _, c := range x.trusted {
		b.auth.trust(c.Username, c.Password, c.PasswordHash)
	}
	return x.made, nil
}

// definer makes records of a Definition. Apply holds defining, so nobody changes the maps that
// it reads, and hashing passwords holds up nobody.
type definer struct {
	b       *Broker
	out     Definitions
	lastID  uint32
	made    []Consumer
	trusted []Client        // with both Password and PasswordHash
	fresh   map[uint32]bool // consumers that begin at the oldest message by their own wish
}

func (x *definer) id() uint32 { x.lastID++; return x.lastID }

func (x *definer) prepare(ctx context.Context, d *Definition) error {
	x.fresh = map[uint32]bool{}
	if err := x.clients(ctx, d.Clients); err != nil {
		return err
	}
	if err := x.topics(d.Topics); err != nil {
		return err
	}
	if err := x.producers(d.Producers); err != nil {
		return err
	}
	return x.consumers(d.Consumers)
}

func (x *definer) clients(ctx context.Context, clients []Client) error {
	seen := map[string]bool{}
	var plain []Client
	for i := range clients {
		c := &clients[i]
		if err := c.Validate(); err != nil {
			return err
		}
		if seen[c.Username] {
			return Invalidf("client %q is given twice", c.Username)
		}
		seen[c.Username] = true
		c.Name = cmp.Or(c.Name, c.Username)
		if old := x.b.clients[c.Username]; old != nil && c.PasswordHash == "" {
			c.PasswordHash = old.PasswordHash // to be kept where the password did not change
		}
		if c.Password == "" && c.PasswordHash == "" {
			return Invalidf("client %q has neither a password nor a password_hash", c.Username)
		}
		if c.Password != "" {
			plain = append(plain, *c)
		}
	}
	if len(plain) > 0 {
		// One slow hash over all declared passwords tells whether any changed.
		unhashed := slices.ContainsFunc(plain, func(c Client) bool { return c.PasswordHash == "" })
		if unhashed || !declaredMatches(x.b.declared, plain) {
			x.b.log.Info("hashing passwords, since some are new or have changed", "clients", len(plain))
			if err := hashAll(ctx, plain, x.storedHash); err != nil {
				return err
			}
			declared, err := hashDeclared(plain)
			if err != nil {
				return err
			}
			x.out.Declared = declared
		}
		x.trusted = plain
	}
	hashes := map[string]string{}
	for _, c := range plain {
		hashes[c.Username] = c.PasswordHash
	}
	for _, c := range clients {
		if h := hashes[c.Username]; h != "" {
			c.PasswordHash = h
		}
		c.Password = ""
		if old := x.b.clients[c.Username]; old == nil || *old != c {
			x.out.Clients = append(x.out.Clients, ClientRecord{c})
		}
	}
	return nil
}

// storedHash returns the password hash that a client has so far, empty for a new client.
func (x *definer) storedHash(username string) string {
	if c := x.b.clients[username]; c != nil {
		return c.PasswordHash
	}
	return ""
}

func (x *definer) topics(topics []Topic) error {
	seen := map[string]bool{}
	for _, t := range topics {
		if err := t.Validate(); err != nil {
			return err
		}
		if seen[t.Name] {
			return Invalidf("topic %q is given twice", t.Name)
		}
		seen[t.Name] = true
		r := TopicRecord{Topic: t}
		if old := x.b.topics[t.Name]; old == nil {
			r.ID = x.id()
		} else if r.ID = old.id; *old.def.Load() == t {
			continue
		}
		x.out.Topics = append(x.out.Topics, r)
	}
	return nil
}

// known returns an error unless the client and the topic exist or are about to.
func (x *definer) known(what, client, topic string) error {
	ok := x.b.clients[client] != nil
	for i := 0; i < len(x.out.Clients) && !ok; i++ {
		ok = x.out.Clients[i].Username == client
	}
	if !ok {
		return Invalidf("client %q of a %s of topic %q: no such client", clip(client), what, clip(topic))
	}
	ok = x.b.topics[topic] != nil
	for i := 0; i < len(x.out.Topics) && !ok; i++ {
		ok = x.out.Topics[i].Name == topic
	}
	if !ok {
		return Invalidf("topic %q of a %s of client %q: no such topic", clip(topic), what, clip(client))
	}
	return nil
}

type clientTopic struct{ client, topic string }

func (x *definer) producers(producers []Producer) error {
	seen := map[clientTopic]bool{}
	for _, p := range producers {
		if err := x.known("producer", p.Client, p.Topic); err != nil {
			return err
		}
		if seen[clientTopic{p.Client, p.Topic}] {
			return Invalidf("producer %q of topic %q is given twice", p.Client, p.Topic)
		}
		seen[clientTopic{p.Client, p.Topic}] = true
		p.LastSeen = time.Time{}
		r := ProducerRecord{Producer: p}
		if t := x.b.topics[p.Topic]; t != nil && t.producers[p.Client] != nil {
			old := t.producers[p.Client]
			if r.ID = old.id; old.def == p {
				continue
			}
		} else {
			r.ID = x.id()
		}
		x.out.Producers = append(x.out.Producers, r)
	}
	return nil
}

func (x *definer) consumers(consumers []Consumer) error {
	seen := map[string]bool{}
	for _, c := range consumers {
		if c.SubKey != "" && seen[c.SubKey] {
			return Invalidf("the sub_key of consumer %q of topic %q is given twice", c.Client, c.Topic)
		}
		seen[c.SubKey] = true
	}
	unnamed := map[clientTopic]bool{}
	for _, c := range consumers {
		if err := x.known("consumer", c.Client, c.Topic); err != nil {
			return err
		}
		if err := c.Validate(); err != nil {
			return err
		}
		c.LastSeen = time.Time{}
		var old *consumer
		if c.SubKey != "" {
			old = x.b.bySubKey[c.SubKey]
			if old != nil {
				if def := old.def.Load(); def.Client != c.Client || def.Topic != c.Topic {
					return Invalidf("the sub_key of consumer %q of topic %q is that of another consumer", c.Client, c.Topic)
				}
			}
		} else {
			who := clientTopic{c.Client, c.Topic}
			if unnamed[who] {
				return Invalidf("consumer %q of topic %q is given twice without a sub_key", c.Client, c.Topic)
			}
			unnamed[who] = true
			if t := x.b.topics[c.Topic]; t != nil {
				for _, q := range t.list() {
					if def := q.def.Load(); def.Client == c.Client && !seen[def.SubKey] {
						old, c.SubKey = q, def.SubKey
						break
					}
				}
			}
		}
		r := ConsumerRecord{Consumer: c}
		if old != nil {
			r.ID = old.id
			same := *old.def.Load()
			same.FromOldest = c.FromOldest
			if same == c {
				continue
			}
		} else {
			r.ID = x.id()
			x.fresh[r.ID] = c.FromOldest
			if c.SubKey == "" {
				r.SubKey = randomID(time.Now())
				x.made = append(x.made, r.Consumer)
			}
		}
		x.out.Consumers = append(x.out.Consumers, r)
	}
	return nil
}

// defineOp stores definitions, in a commit of its own.
type defineOp struct {
	b     *Broker
	x     *definer
	begin []CursorState
}

func (o *defineOp) plan(p *plan) error {
	d := &o.x.out
	if len(d.Clients)+len(d.Topics)+len(d.Producers)+len(d.Consumers) == 0 && d.Declared == "" {
		return nil
	}
	p.batch.Define = d
	// Where new consumers begin.
	o.begin = o.begin[:0]
	first := map[string]bool{}
	for _, c := range d.Consumers {
		fromOldest, isNew := o.x.fresh[c.ID]
		t := o.b.topics[c.Topic]
		if !isNew || t == nil {
			continue
		}
		if len(t.list()) == 0 && !first[c.Topic] {
			first[c.Topic] = true
			continue
		}
		if fromOldest {
			continue
		}
		for prio := range t.lanes {
			if tail := t.lanes[prio].next; tail > 0 {
				o.begin = append(o.begin, CursorState{c.ID, uint8(prio), Cursor{Floor: tail + 1}})
			}
		}
	}
	p.batch.Cursors = append(p.batch.Cursors, o.begin...)
	return nil
}

func (o *defineOp) applied(time.Time) {
	o.b.mu.Lock()
	defer o.b.mu.Unlock()
	begin := map[uint32][]CursorState{}
	for _, s := range o.begin {
		begin[s.Consumer] = append(begin[s.Consumer], s)
	}
	o.b.install(&o.x.out)
	for _, r := range o.x.out.Consumers {
		if _, isNew := o.x.fresh[r.ID]; !isNew {
			continue
		}
		c := o.b.bySubKey[r.SubKey]
		c.mu.Lock()
		for _, s := range begin[r.ID] {
			c.done[s.Priority] = s.Cursor
		}
		for p := range c.done {
			c.done[p].Union(&c.topic.lanes[p].gone)
			c.next[p] = c.done[p].floor()
		}
		c.mu.Unlock()
	}
}

func (o *defineOp) failed()       {}
func (o *defineOp) appends() bool { return false }

// install brings the maps to what the definitions say. The caller holds mu, or nobody else
// has the broker yet; in both cases the committer is not in a commit of messages.
func (b *Broker) install(d *Definitions) {
	for _, r := range d.Clients {
		c := r.Client
		if old := b.clients[c.Username]; old != nil && old.PasswordHash != c.PasswordHash {
			b.auth.forget(c.Username)
		}
		b.clients[c.Username] = &c
	}
	for _, r := range d.Topics {
		t := b.topicIDs[r.ID]
		if t == nil {
			t = &topic{id: r.ID, producers: map[string]*producer{}}
			b.topicIDs[r.ID] = t
			b.topics[r.Name] = t
		}
		def := r.Topic
		t.def.Store(&def)
		t.room = 0 // limits may have changed
	}
	for _, r := range d.Producers {
		t := b.topics[r.Topic]
		if t == nil {
			continue
		}
		p := &producer{id: r.ID, def: r.Producer}
		if old := t.producers[r.Client]; old != nil {
			p.seen.load(old.seen.time())
		}
		t.producers[r.Client] = p
	}
	added := map[*topic][]*consumer{}
	for _, r := range d.Consumers {
		t := b.topics[r.Topic]
		if t == nil {
			continue
		}
		c := b.bySubKey[r.SubKey]
		if c == nil {
			c = newConsumer(r.ID, t)
			b.bySubKey[r.SubKey] = c
			added[t] = append(added[t], c)
		}
		def := r.Consumer
		c.def.Store(&def)
		t.room = 0
	}
	for t, cs := range added {
		list := append(append([]*consumer(nil), t.list()...), cs...)
		t.consumers.Store(&list)
	}
}
