package broker

import (
	"slices"
	"strings"
	"sync"
)

// A pattern names topics: "*" in it stands for one segment between slashes, "**" for any number of segments, none among
// them. A name with a "*" is a pattern wherever it is not that of a topic: names of topics had them once, and
// those that exist keep theirs, which are taken as they are.
//
// A consumer whose topic is a pattern has a queue for each topic that matches, which is made in the commit that makes
// the topic or the consumer, and goes with it. So a publish finds in the list of its topic's queues who gets
// the message, and no pattern is looked at; merge.go receives from several.

// isPattern tells whether a name would be a pattern where no topic has it.
func isPattern(name string) bool { return strings.Contains(name, "*") }

// checkPattern checks a name that isPattern.
func checkPattern(name string) error {
	if err := checkTopicName(name); err != nil {
		return err
	}
	for s := range strings.SplitSeq(name, "/") {
		if strings.Contains(s, "*") && s != "*" && s != "**" {
			return Invalidf("allowed in a pattern are * for one segment between slashes, and ** for any number of them")
		}
	}
	return nil
}

// matches tells whether a topic's name, in segments, is among those that a pattern's segments stand for.
func matches(pattern, name []string) bool {
	star := -1 // the last "**" so far, which covers the name from at
	at, i := 0, 0
	for n := 0; n < len(name); {
		switch {
		case i < len(pattern) && pattern[i] == "**":
			star, at = i, n
			i++
		case i < len(pattern) && (pattern[i] == "*" || pattern[i] == name[n]):
			i++
			n++
		case star >= 0: // it covers one more
			at++
			i, n = star+1, at
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == "**" {
		i++
	}
	return i == len(pattern)
}

func segments(name string) []string { return strings.Split(name, "/") }

// pattern is one that producers or consumers have. Broker.mu guards it.
type pattern struct {
	name      string
	segments  []string
	producers map[string]*producer // by username
	consumers []*consumer          // the oldest first
}

// patternOf returns the pattern of a name, which it makes where there is none. The caller holds mu for writing.
func patternOf(b *Broker, name string) *pattern {
	p := b.patterns[name]
	if p == nil {
		p = &pattern{name: name, segments: segments(name), producers: map[string]*producer{}}
		b.patterns[name] = p
	}
	return p
}

// leavePattern forgets a pattern that nobody has any more. The caller holds mu for writing.
func leavePattern(b *Broker, name string) {
	if p := b.patterns[name]; p != nil && len(p.producers)+len(p.consumers) == 0 {
		delete(b.patterns, name)
	}
}

// consumersOf returns the consumers of a topic, or of a pattern, the oldest first. The caller holds defining or mu.
func consumersOf(b *Broker, name string) (list []*consumer) {
	if t := literal(b, name); t != nil {
		for _, q := range t.list() {
			if q.merged == nil {
				list = append(list, q.of)
			}
		}
	} else if p := b.patterns[name]; p != nil {
		list = p.consumers
	}
	return list
}

// producersOf returns the producers of a topic, or of a pattern, by username. The caller holds defining or mu.
func producersOf(b *Broker, name string) map[string]*producer {
	if t := literal(b, name); t != nil {
		return t.producers
	}
	if p := b.patterns[name]; p != nil {
		return p.producers
	}
	return nil
}

// literal returns the topic that a producer or consumer of a name is of; nil where it is of a pattern, or there is none.
func literal(b *Broker, name string) *topic { return b.topics[name] }

// grants are the patterns of which a client is a producer. Broker.mu guards them.
type grants struct {
	producers []*producer // the oldest first
	segments  [][]string  // of their patterns
	found     *sync.Map   // by *topic: the *producer that it is for, nil for none; as long as producers stay as they are
}

// renew forgets what was found.
func (g *grants) renew() { g.found = &sync.Map{} }

// grantTo adds a client's producer of a pattern. The caller holds mu for writing.
func grantTo(b *Broker, p *producer, client, name string) {
	g := b.grants[client]
	if g == nil {
		g = &grants{}
		b.grants[client] = g
	}
	g.producers = append(g.producers, p)
	g.segments = append(g.segments, segments(name))
	g.renew()
}

// revoke takes away a client's producer of a pattern. The caller holds mu for writing.
func revoke(b *Broker, p *producer, client string) {
	g := b.grants[client]
	i := slices.Index(g.producers, p)
	g.producers, g.segments = slices.Delete(g.producers, i, i+1), slices.Delete(g.segments, i, i+1)
	if g.renew(); len(g.producers) == 0 {
		delete(b.grants, client)
	}
}

// grantedTo returns the producer of a pattern as which a client publishes to a topic that matches: an active one, where
// one is. It is nil where the client has none. The caller holds mu.
func grantedTo(b *Broker, client string, t *topic) *producer {
	g := b.grants[client]
	if g == nil {
		return nil
	}
	if p, known := g.found.Load(t); known {
		return p.(*producer)
	}
	p := g.match(segments(t.def.Load().Name))
	g.found.Store(t, p)
	return p
}

// match is grantedTo for a name in segments.
func (g *grants) match(name []string) (found *producer) {
	for i, p := range g.producers {
		if matches(g.segments[i], name) && (found == nil || found.def.Load().Inactive) {
			found = p
		}
	}
	return found
}

// queues makes the queues of consumers of patterns that a Change brings: those of new topics, and of new consumers.
func (x *definer) queues() {
	made := make([]*topicRecord, 0, len(x.out.topics)) // topics that are new
	for i := range x.out.topics {
		if r := &x.out.topics[i]; !r.AutoCreate && x.b.topics[r.Name] == nil {
			made = append(made, r)
		}
	}
	if len(made) > 0 {
		x.queuesOf(made)
	}
	for _, r := range x.out.consumers {
		if _, isNew := x.created[r.ID]; !isNew || !isPattern(r.Topic) || literal(x.b, r.Topic) != nil {
			continue
		}
		of := segments(r.Topic)
		var ids []uint32
		for name, t := range x.b.topics {
			if !x.drop.topics[name] && matches(of, segments(name)) {
				ids = append(ids, t.id)
			}
		}
		for _, t := range made {
			if matches(of, segments(t.Name)) {
				ids = append(ids, t.ID)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			x.out.queues = append(x.out.queues, queueRecord{x.id(), r.ID, id})
		}
	}
}

// queuesOf makes the queues that consumers of patterns have of new topics.
func (x *definer) queuesOf(made []*topicRecord) {
	names := make([][]string, len(made))
	for i, t := range made {
		names[i] = segments(t.Name)
	}
	for _, p := range x.b.patterns {
		for i, t := range made {
			if len(p.consumers) == 0 || !matches(p.segments, names[i]) {
				continue
			}
			for _, c := range p.consumers {
				if x.drop.consumers[c.id] == nil {
					x.out.queues = append(x.out.queues, queueRecord{x.id(), c.id, t.ID})
				}
			}
		}
	}
}

// dropQueues gathers the queues that go with what is deleted.
func (x *definer) dropQueues() {
	for _, c := range x.drop.consumers {
		for _, q := range c.list() {
			x.drop.queues[q] = true
		}
	}
	for name := range x.drop.topics {
		for _, q := range x.b.topics[name].list() {
			x.drop.queues[q] = true
		}
	}
}

// addQueue gives a consumer of a pattern a queue. The caller holds Broker.mu for writing, or nobody else has the broker yet.
func (c *consumer) addQueue(q *queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.merge.byTopic[q.topic.id] = q
	list := append(slices.Clip(c.list()), q)
	c.queues.Store(&list)
}

// removeQueues takes queues from a consumer of a pattern, whose topics are deleted. The caller holds Broker.mu.
func (c *consumer) removeQueues(gone map[*queue]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(c.list()), func(q *queue) bool { return gone[q] })
	c.queues.Store(&list)
	for q := range gone {
		delete(c.merge.byTopic, q.topic.id)
		for p := range q.merged.index {
			c.merge.remove(q, p)
		}
		for s, l := range q.leases {
			c.unlist(l)
			delete(q.leases, s)
			c.held.Add(-1)
			c.land(l)
		}
		clear(q.unsaved) // the sweeper may be about to look at it
	}
	c.wakeOne() // there may be room
}
