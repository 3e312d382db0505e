package broker

import (
	"cmp"
	"errors"
	"slices"

	"pipit/broker/change"
)

// What the configuration said of a consumer last, in its record: the digest of the sub_key that it
// declared, or one of these.
const (
	declaredUnknown = ""    // the record is older than these
	declaredNever   = "no"  // an administrator made it
	declaredKeyless = "yes" // without a sub_key
)

// record returns the consumer as it is stored. The caller holds defining.
func (c *consumer) record() consumerRecord {
	return consumerRecord{*c.def.Load(), c.id, c.declared, c.replaced}
}

// said is what the record of a new consumer remembers of its declaration.
func (x *definer) said(c *Consumer) string {
	switch {
	case !x.declare:
		return declaredNever
	case c.SubKey == "":
		return declaredKeyless
	}
	return x.b.key.subKey(c.SubKey)
}

// keys sets the sub_key of a consumer that exists and has one so far, and what is remembered. What is
// declared counts where it is not what was declared last.
func (x *definer) keys(r *consumerRecord, has string) {
	switch said := x.said(&r.Consumer); {
	case !x.declare:
		r.SubKey = cmp.Or(r.SubKey, has)
		return
	case r.SubKey == "":
		r.SubKey = has
		if r.Declared == declaredUnknown || r.Declared == declaredNever {
			r.Declared = said
		}
	case r.Declared == said:
		r.SubKey = has
	case r.Declared == declaredUnknown && r.SubKey != has:
		// Either an administrator changed it, or the configuration. To bring a leaked one back is worse.
		r.SubKey, r.Declared = has, said
		x.kept = append(x.kept, r.Consumer)
	default:
		r.Declared = said
	}
}

// consumerName tells a consumer that has a name from all others.
type consumerName struct {
	clientTopic
	name string
}

// checkConsumers notes consumers that are wrong by themselves or given twice.
func (x *definer) checkConsumers(consumers []Consumer) {
	keys, names, nameless := map[string]bool{}, map[consumerName]bool{}, map[clientTopic]bool{}
	for i := range consumers {
		c := &consumers[i]
		who := clientTopic{c.Client, c.Topic}
		err := errors.Join(x.known("consumer", c.Client, c.Topic), c.Validate(), x.deadLetters(c))
		switch {
		case err != nil:
		case c.SubKey != "" && twice(keys, c.SubKey):
			err = Invalidf("the sub_key of consumer %q of topic %q is given twice", c.Client, c.Topic).of("sub_key")
		case c.Name != "" && twice(names, consumerName{who, c.Name}):
			err = Invalidf("consumer %q of topic %q is given twice with the name %q", c.Client, c.Topic, c.Name).of("name")
		case c.Name == "" && c.SubKey == "" && !c.New && twice(nameless, who):
			err = Invalidf("consumer %q of topic %q is given twice without a name and a sub_key", c.Client, c.Topic).of("client")
		}
		x.fault(change.Consumer, i, err)
	}
}

// twice tells whether an id came before.
func twice[T comparable](before map[T]bool, id T) bool {
	was := before[id]
	before[id] = true
	return was
}

// matcher finds out which of the given consumers are which of those that exist, of one client and
// topic. None is taken twice.
type matcher struct {
	left  []*consumer // nobody has taken, the oldest first
	given []int       // indices of consumers that have none yet
	all   []Consumer
	found []*consumer // by index
}

// by matches those of which a rule says the same. It says nothing of those that it is not for.
func (m *matcher) by(given func(*Consumer) string, has func(*consumer) string) {
	left := map[string][]*consumer{}
	for _, q := range m.left {
		if s := has(q); s != "" {
			left[s] = append(left[s], q)
		}
	}
	taken := map[*consumer]bool{}
	m.given = slices.DeleteFunc(m.given, func(i int) bool {
		s := given(&m.all[i])
		if s == "" || len(left[s]) == 0 {
			return false
		}
		m.found[i], left[s] = left[s][0], left[s][1:]
		taken[m.found[i]] = true
		return true
	})
	if len(taken) > 0 {
		m.left = slices.DeleteFunc(m.left, func(q *consumer) bool { return taken[q] })
	}
}

// match returns, for each of the given consumers, the one that exists, nil where it is new.
func (x *definer) match(consumers []Consumer) []*consumer {
	found := make([]*consumer, len(consumers))
	x.given, x.pairs = map[uint32]bool{}, map[clientTopic]bool{}
	groups := map[clientTopic]*matcher{}
	var order []*matcher
	for i := range consumers {
		who := clientTopic{consumers[i].Client, consumers[i].Topic}
		m := groups[who]
		if m == nil {
			m = &matcher{all: consumers, found: found, left: slices.Clone(x.consumersOf(who))}
			groups[who], x.pairs[who] = m, true
			order = append(order, m)
		}
		if !consumers[i].New {
			m.given = append(m.given, i)
		}
	}
	for _, m := range order {
		if x.declare {
			x.matchDeclared(m)
		} else {
			x.matchChange(m)
		}
	}
	for i, q := range found {
		if q == nil {
			continue
		}
		if x.drop.consumers[q.id] != nil {
			x.fault(change.Consumer, i, Invalidf("consumer %q of topic %q is both given and deleted", consumers[i].Client, consumers[i].Topic).of("client"))
		}
		x.given[q.id] = true
	}
	return found
}

// consumersOf returns the consumers of a client and topic, the oldest first.
func (x *definer) consumersOf(who clientTopic) []*consumer {
	if x.byTopic == nil {
		x.byTopic = map[string]map[string][]*consumer{}
	}
	of, known := x.byTopic[who.topic]
	if !known {
		of = map[string][]*consumer{}
		for _, c := range consumersOf(x.b, who.topic) {
			client := c.def.Load().Client
			of[client] = append(of[client], c)
		}
		x.byTopic[who.topic] = of
	}
	return of[who.client]
}

func givenKey(c *Consumer) string  { return c.SubKey }
func givenName(c *Consumer) string { return c.Name }

func (c *consumer) subKey() string { return c.def.Load().SubKey }
func (c *consumer) name() string   { return c.def.Load().Name }

// givenBare and bare are for consumers that have neither a name nor, where given, a sub_key. One that its client made by
// itself is not taken for one that an administrator has.
func givenBare(c *Consumer) string {
	if c.SubKey != "" {
		return ""
	}
	return bareKind(c)
}

func bare(c *consumer) string { return bareKind(c.def.Load()) }

func bareKind(c *Consumer) string {
	switch {
	case c.Name != "":
		return ""
	case c.SelfService:
		return "its client's own"
	}
	return "an administrator's"
}

func onlyIf(is bool) string {
	if is {
		return "it is"
	}
	return ""
}

// matchChange is for consumers of a Change: they are known by SubKey, else by Name, else, with
// neither, by Client and Topic alone.
func (x *definer) matchChange(m *matcher) {
	m.by(givenKey, (*consumer).subKey)
	m.by(givenName, (*consumer).name)
	m.by(givenBare, func(q *consumer) string {
		if x.drop.consumers[q.id] != nil {
			return ""
		}
		return bare(q)
	})
}

// matchDeclared is for those that the configuration declares. What makes it long is that a name can be
// added or taken away, and that consumers without one can be several.
func (x *definer) matchDeclared(m *matcher) {
	m.by(givenName, (*consumer).name)
	m.by(func(c *Consumer) string {
		if c.SubKey == "" {
			return ""
		}
		return x.b.key.subKey(c.SubKey)
	}, func(q *consumer) string { return q.declared })
	m.by(givenKey, (*consumer).subKey)
	m.by(givenBare, bare)

	// What is left has a new sub_key, or a name where it had none, or is new.
	var known bool
	var had []*consumer // declared before, without a name
	for _, q := range m.left {
		if q.name() == "" && q.declared != declaredNever {
			had = append(had, q)
			known = known || q.declared != declaredUnknown
		}
	}
	take := func(which func(*Consumer) bool) (several bool) {
		n := 0
		for _, i := range m.given {
			if which(&m.all[i]) {
				n++
			}
		}
		if n == 1 && len(had) == 1 {
			one := had[0]
			m.by(func(c *Consumer) string { return onlyIf(which(c)) }, func(q *consumer) string { return onlyIf(q == one) })
			had = nil
			return false
		}
		return n > 0 && len(had) > 0
	}
	if take(func(c *Consumer) bool { return c.Name == "" && c.SubKey != "" }) && known {
		i := m.given[0]
		x.fault(change.Consumer, i, Invalidf("consumers of client %q and topic %q: which of them have new sub_keys cannot be told: give each a name while it has its old sub_key, then the new one",
			m.all[i].Client, m.all[i].Topic))
		return
	}
	take(func(c *Consumer) bool { return c.Name != "" && c.SubKey == "" })

	for _, q := range m.left {
		if q.declared == declaredUnknown { // by now it is known
			r := q.record()
			r.Declared = declaredNever
			x.out.consumers = append(x.out.consumers, r)
		}
	}
}

// unique notes where a sub_key is that of another consumer, and a name that of another one of the client
// and topic, after the change. index has what is given, by ID.
func (x *definer) unique(given []Consumer, index map[uint32]int) {
	after := make(map[uint32]*Consumer, len(x.out.consumers))
	keys := make(map[string]uint32, len(x.out.consumers))
	for i := range x.out.consumers {
		r := &x.out.consumers[i]
		after[r.ID] = &r.Consumer
	}
	names := x.names(after)
	for i := range x.out.consumers {
		id, c := x.out.consumers[i].ID, &x.out.consumers[i].Consumer
		_, taken := keys[c.SubKey]
		if q, _ := keyed(x.b, c.SubKey); q != nil && q.id != id && after[q.id] == nil {
			taken = true
		}
		keys[c.SubKey] = id
		var err *Error
		switch {
		case taken:
			err = Invalidf("the sub_key of consumer %q of topic %q is that of another consumer", c.Client, c.Topic).of("sub_key")
		case c.Name != "" && names[consumerName{clientTopic{c.Client, c.Topic}, c.Name}]:
			err = Invalidf("the name %q of consumer %q of topic %q is that of another consumer", c.Name, c.Client, c.Topic).of("name")
		default:
			continue
		}
		if given[index[id]].New {
			err.Code = Conflict
		}
		x.fault(change.Consumer, index[id], err)
	}
}

// names returns the names of the consumers that stay as they are beside those of after, with the same clients and topics.
func (x *definer) names(after map[uint32]*Consumer) map[consumerName]bool {
	names, pairs := map[consumerName]bool{}, map[clientTopic]bool{}
	for _, c := range after {
		who := clientTopic{c.Client, c.Topic}
		if c.Name == "" || twice(pairs, who) {
			continue
		}
		for _, q := range x.consumersOf(who) {
			if after[q.id] == nil && x.drop.consumers[q.id] == nil && q.name() != "" {
				names[consumerName{who, q.name()}] = true
			}
		}
	}
	return names
}

// beside returns the consumers that were not given, though their client and topic were, by ID. Those that clients made by
// themselves nobody is to give.
func (x *definer) beside() (ids []uint32) {
	for id, q := range x.b.consumers {
		def := q.def.Load()
		_, created := x.created[id]
		if !created && !x.given[id] && !def.SelfService && (x.pairs[clientTopic{def.Client, def.Topic}] || x.clientNames[def.Client] && x.topicNames[def.Topic]) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
