package broker

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// What the configuration said of a consumer last, in its record: the digest of the sub_key that it
// declared, or one of these.
const (
	declaredUnknown = ""    // the record is older than these
	declaredNever   = "no"  // an administrator made it
	declaredKeyless = "yes" // without a sub_key
)

// keyDigest is what is remembered of a declared sub_key. A leaked one, which an administrator
// replaced, is nowhere kept in the clear.
func (b *Broker) keyDigest(subKey string) string {
	return hex.EncodeToString(b.digest("declared sub_key", []byte(subKey))[:16])
}

// digest is a digest that only who has the store's key can make: nobody finds out a short secret by
// trying. What is digested for one use says nothing of another.
func (b *Broker) digest(use string, text []byte) []byte {
	h := hmac.New(sha256.New, b.key[:])
	fmt.Fprintf(h, "%s %s", use, text)
	return h.Sum(nil)
}

// record returns the consumer as it is stored. The caller holds defining.
func (c *consumer) record() ConsumerRecord { return ConsumerRecord{*c.def.Load(), c.id, c.declared} }

// said is what the record of a new consumer remembers of its declaration.
func (x *definer) said(c *Consumer) string {
	switch {
	case !x.declare:
		return declaredNever
	case c.SubKey == "":
		return declaredKeyless
	}
	return x.b.keyDigest(c.SubKey)
}

// keys sets the sub_key of a consumer that exists and has one so far, and what is remembered. What is
// declared counts where it is not what was declared last.
func (x *definer) keys(r *ConsumerRecord, has string) {
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

// checkConsumers refuses consumers that are wrong by themselves or given twice.
func (x *definer) checkConsumers(consumers []Consumer) error {
	type name struct {
		clientTopic
		name string
	}
	seen := map[any]bool{}
	twice := func(id any) bool {
		was := seen[id]
		seen[id] = true
		return was
	}
	for i := range consumers {
		c := &consumers[i]
		if err := x.known("consumer", c.Client, c.Topic); err != nil {
			return err
		}
		if err := c.Validate(); err != nil {
			return err
		}
		who := clientTopic{c.Client, c.Topic}
		switch {
		case c.SubKey != "" && twice(c.SubKey):
			return Invalidf("the sub_key of consumer %q of topic %q is given twice", c.Client, c.Topic).of("sub_key")
		case c.Name != "" && twice(name{who, c.Name}):
			return Invalidf("consumer %q of topic %q is given twice with the name %q", c.Client, c.Topic, c.Name).of("name")
		case c.Name == "" && c.SubKey == "" && !c.New && twice(who):
			return Invalidf("consumer %q of topic %q is given twice without a name and a sub_key", c.Client, c.Topic)
		}
	}
	return nil
}

// matcher finds out which of the given consumers are which of those that exist, of one client and
// topic. None is taken twice.
type matcher struct {
	left  []*consumer // nobody has taken, the oldest first
	given []int       // indices of consumers that have none yet
	all   []Consumer
	found []*consumer // by index
}

// by matches by a rule.
func (m *matcher) by(same func(c *Consumer, q *consumer) bool) {
	m.given = slices.DeleteFunc(m.given, func(i int) bool {
		j := slices.IndexFunc(m.left, func(q *consumer) bool { return same(&m.all[i], q) })
		if j < 0 {
			return false
		}
		m.found[i] = m.left[j]
		m.left = slices.Delete(m.left, j, j+1)
		return true
	})
}

// match returns, for each of the given consumers, the one that exists, nil where it is new.
func (x *definer) match(consumers []Consumer) ([]*consumer, error) {
	found := make([]*consumer, len(consumers))
	x.given, x.pairs = map[uint32]bool{}, map[clientTopic]bool{}
	groups := map[clientTopic]*matcher{}
	var order []*matcher
	for i := range consumers {
		who := clientTopic{consumers[i].Client, consumers[i].Topic}
		m := groups[who]
		if m == nil {
			m = &matcher{all: consumers, found: found, left: x.consumersOf(who)}
			groups[who], x.pairs[who] = m, true
			order = append(order, m)
		}
		if c := &consumers[i]; !c.New || c.SubKey != "" {
			m.given = append(m.given, i)
		}
	}
	for _, m := range order {
		if !x.declare {
			x.matchChange(m)
		} else if err := x.matchDeclared(m); err != nil {
			return nil, err
		}
	}
	for i, q := range found {
		if q == nil {
			continue
		}
		if x.drop.consumers[q.id] != nil {
			return nil, Invalidf("consumer %q of topic %q is both given and deleted", consumers[i].Client, consumers[i].Topic)
		}
		x.given[q.id] = true
	}
	return found, nil
}

// consumersOf returns the consumers of a client and topic, the oldest first.
func (x *definer) consumersOf(who clientTopic) (list []*consumer) {
	if t := x.b.topics[who.topic]; t != nil {
		for _, q := range t.list() {
			if q.def.Load().Client == who.client {
				list = append(list, q)
			}
		}
	}
	return list
}

func sameKey(c *Consumer, q *consumer) bool {
	return c.SubKey != "" && c.SubKey == q.def.Load().SubKey
}

func sameName(c *Consumer, q *consumer) bool {
	return c.Name != "" && c.Name == q.def.Load().Name
}

// matchChange is for consumers of a Change: they are known by SubKey, else by Name, else, with
// neither, by Client and Topic alone.
func (x *definer) matchChange(m *matcher) {
	m.by(sameKey)
	m.given = slices.DeleteFunc(m.given, func(i int) bool { return m.all[i].New })
	m.by(sameName)
	m.by(func(c *Consumer, q *consumer) bool {
		return c.Name == "" && c.SubKey == "" && q.def.Load().Name == "" && x.drop.consumers[q.id] == nil
	})
}

// matchDeclared is for those that the configuration declares. What makes it long is that a name can be
// added or taken away, and that consumers without one can be several.
func (x *definer) matchDeclared(m *matcher) error {
	m.by(sameName)
	m.by(func(c *Consumer, q *consumer) bool { return c.SubKey != "" && q.declared == x.b.keyDigest(c.SubKey) })
	m.by(sameKey)
	m.by(func(c *Consumer, q *consumer) bool {
		return c.Name == "" && c.SubKey == "" && q.def.Load().Name == ""
	})

	// What is left has a new sub_key, or a name where it had none, or is new.
	var known bool
	var had []*consumer // declared before, without a name
	for _, q := range m.left {
		if q.def.Load().Name == "" && q.declared != declaredNever {
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
			m.by(func(c *Consumer, q *consumer) bool { return which(c) && q == had[0] })
			had = nil
			return false
		}
		return n > 0 && len(had) > 0
	}
	if take(func(c *Consumer) bool { return c.Name == "" && c.SubKey != "" }) && known {
		c := &m.all[m.given[0]]
		return Invalidf("consumers of client %q and topic %q: which of them have new sub_keys cannot be told: give each a name while it has its old sub_key, then the new one",
			c.Client, c.Topic)
	}
	take(func(c *Consumer) bool { return c.Name != "" && c.SubKey == "" })

	for _, q := range m.left {
		if q.declared == declaredUnknown { // by now it is known
			r := q.record()
			r.Declared = declaredNever
			x.out.Consumers = append(x.out.Consumers, r)
		}
	}
	return nil
}

// unique refuses a sub_key that another consumer has, and a name that another one of the client and
// topic has, after the change.
func (x *definer) unique() error {
	after := map[uint32]*Consumer{}
	for i := range x.out.Consumers {
		after[x.out.Consumers[i].ID] = &x.out.Consumers[i].Consumer
	}
	keys := map[string]uint32{}
	for id, c := range after {
		other, taken := keys[c.SubKey]
		if q := x.b.bySubKey[c.SubKey]; q != nil && q.id != id && after[q.id] == nil {
			other, taken = q.id, true
		}
		if taken && other != id {
			return Invalidf("the sub_key of consumer %q of topic %q is that of another consumer", c.Client, c.Topic).of("sub_key")
		}
		keys[c.SubKey] = id
		if c.Name == "" {
			continue
		}
		for _, q := range x.consumersOf(clientTopic{c.Client, c.Topic}) {
			if q.id != id && after[q.id] == nil && x.drop.consumers[q.id] == nil && q.def.Load().Name == c.Name {
				return Invalidf("the name %q of consumer %q of topic %q is that of another consumer", c.Name, c.Client, c.Topic).of("name")
			}
		}
	}
	return nil
}

// beside returns the consumers that were not given, though their client and topic were, by ID.
func (x *definer) beside() (ids []uint32) {
	for id, q := range x.b.consumers {
		def := q.def.Load()
		_, fresh := x.fresh[id]
		if !fresh && !x.given[id] && (x.pairs[clientTopic{def.Client, def.Topic}] || x.clientNames[def.Client] && x.topicNames[def.Topic]) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
