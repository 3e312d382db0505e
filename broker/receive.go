package broker

import (
	"container/heap"
	"context"
	"fmt"
	"time"

	"pipit/broker/clip"
	"pipit/broker/history"
	"pipit/broker/limit"
)

// Order is the order of messages within a priority.
type Order int

const (
	FIFO Order = iota // the oldest first
	LIFO              // the newest first
)

// ReceiveOptions say what to receive.
type ReceiveOptions struct {
	Max   int           // 1 to 1000; default 100
	Order Order         // default FIFO
	Wait  time.Duration // how long to wait for the first message, at most 60 s; default 0
	Ack   bool          // acknowledge what is returned: at most once
	Hold  bool          // what is returned has no deadline until Written, and is given back by Release

	// Room, where given, is asked whether there is room for a payload, in bytes, before it is read.
	// Where there is none, the reply ends.
	Room func(payload int) bool

	stream *Stream // that gets what is returned
}

// Subscription is a client's door to a consumer. It is a small value, made for one request.
type Subscription struct {
	b       *Broker
	c       *consumer
	q       *queue // that it goes to; nil: all those of a consumer of a pattern
	key     string // the sub_key by which it was found
	hash    string // that of the password which the client came with; empty: it came without
	changes uint32 // those of the consumer that it knows of

	callback bool // it is the program's own, which sends them on: see Callbacks
}

// Subscription returns the door of a client to the consumer with a sub_key. topicName, where not empty, must be its topic; of a
// consumer of a pattern it is that, or a topic that matches: then the door is to its messages of that alone.
// The error is Unauthorized where the client is nil, Denied where it is not this client's or anything is not active.
func (b *Broker) Subscription(c *Client, topicName, subKey string) (Subscription, error) {
	if c == nil {
		return Subscription{}, errNobody
	}
	var changes uint32
	b.mu.RLock()
	cons, isOld := keyed(b, subKey)
	var refused error
	if cons != nil {
		changes = cons.changes.Load()
	} else {
		refused = refusedKey(b, c.Username, subKey)
	}
	b.mu.RUnlock()
	if c.Inactive {
		return Subscription{}, denied("client %q is not active", c.Username)
	}
	if cons == nil {
		return Subscription{}, refused
	}
	def := cons.def.Load()
	if def.Client != c.Username {
		return Subscription{}, denied("the sub_key is another client's")
	}
	q, err := door(b, cons, topicName)
	switch {
	case err != nil:
		return Subscription{}, err
	case q != nil && q.topic.def.Load().Inactive:
		return Subscription{}, denied("topic %q is not active", q.topic.def.Load().Name)
	case def.Inactive:
		return Subscription{}, denied("consumer %q of topic %q is not active", c.Username, def.Topic)
	case def.DeliveryMode == DeliveryCallback:
		return Subscription{}, denied("consumer %q of topic %q is sent its messages: its delivery_mode is %s", c.Username, def.Topic, DeliveryCallback)
	}
	if isOld {
		now := time.Now()
		if !def.Old.goodAt(now) {
			return Subscription{}, denied("an old sub_key, whose overlap with the new one is over")
		}
		cons.oldSeen.set(now)
	}
	return Subscription{b: b, c: cons, q: q, key: subKey, hash: c.PasswordHash, changes: changes}, nil
}

// Queue returns the door to a consumer for the program that embeds the broker, which needs neither the password of its client nor
// its sub_key. topicName is that of the consumer, a pattern where that is one, and name its name, empty where it has none. The
// error is NotFound where there is no such consumer, Denied where anything is not active. It looks at all consumers, so keep the
// door: it is good until the sub_key changes, then Receive and Settle answer Denied.
func (l lister) Queue(username, topicName, name string) (Subscription, error) {
	b := l.b
	b.mu.RLock()
	var subKey string
	for _, c := range b.consumers {
		if def := c.def.Load(); def.Client == username && def.Topic == topicName && def.Name == name {
			subKey = def.SubKey
			break
		}
	}
	b.mu.RUnlock()
	c := b.client(username)
	if subKey == "" || c == nil {
		return Subscription{}, &Error{Code: NotFound, Message: fmt.Sprintf("client %q has no consumer %q of topic %q",
			clip.Input(username), clip.Input(name), clip.Input(topicName))}
	}
	return b.Subscription(&Client{Username: username, Inactive: c.Inactive}, "", subKey)
}

// Named is what a username and a sub_key are those of, allowed to whom they were sent by or not.
type Named struct {
	Client   bool   // there is one of the username
	Consumer uint32 // ID of that which the sub_key opens, or did before another one took its place; 0: none
	Topic    string // of the consumer
}

// NamedBy returns what a request has named: for who tells an administrator of it, not for who answers it.
func (l lister) NamedBy(username, subKey string) (n Named) {
	b := l.b
	b.mu.RLock()
	defer b.mu.RUnlock()
	n.Client = b.clients[username] != nil
	c, _ := keyed(b, subKey)
	if c == nil {
		c = replaced(b, subKey)
	}
	if c != nil {
		n.Consumer, n.Topic = c.id, c.def.Load().Topic
	}
	return n
}

// door returns the queue of a consumer to which a topic's name leads, nil where that is to all that one of a pattern has.
func door(b *Broker, c *consumer, topicName string) (*queue, error) {
	def := c.def.Load()
	if topicName == "" || topicName == def.Topic {
		if c.merge != nil {
			return nil, nil
		}
		return c.list()[0], nil
	}
	if t := b.topic(topicName); c.merge != nil && t != nil {
		if q := c.queueOf(t.id); q != nil {
			return q, nil
		}
	}
	return nil, denied("the sub_key is not of topic %q", clip.Input(topicName))
}

// renew finds out, after a change, whether the door is still open. The errors are Denied, and
// Unauthorized where the client has another password hash.
func (s *Subscription) renew() error {
	if s.callback {
		n, err := s.b.Callbacks().Subscription(s.c.id)
		if err == nil {
			*s = n
		}
		return err
	}
	c := s.b.client(s.c.def.Load().Client)
	switch {
	case c == nil:
		return denied("the client of the consumer was deleted")
	case s.hash != "" && s.hash != c.PasswordHash:
		return &Error{Code: Unauthorized, Message: "Invalid credentials", Reason: "the password has changed"}
	}
	topic := ""
	if s.c.merge != nil && s.q != nil {
		topic = s.q.topic.def.Load().Name
	}
	n, err := s.b.Subscription(c, topic, s.key)
	if err == nil && n.c != s.c {
		err = denied("the sub_key is that of another consumer by now")
	}
	if err == nil {
		n.hash = s.hash
		*s = n
	}
	return err
}

// Receive returns messages by priority and, within it, in order, each in flight until it is
// settled or the consumer's ack timeout passes. With nothing to deliver it returns none,
// after Wait, when ctx ends or the broker drains. The errors are Invalid, Denied (meanwhile the
// consumer, its topic or its client was deleted or deactivated, or it has another sub_key), Unauthorized
// (meanwhile the client has another password hash), Full (MaxInFlight is reached), Unavailable (see Failed) and, with Ack, those of Settle.
func (s Subscription) Receive(ctx context.Context, o ReceiveOptions) ([]Message, error) {
	if o.Max == 0 {
		o.Max = limit.DefaultReceive
	}
	if err := checkMax(o.Max); err != nil {
		return nil, err
	}
	if o.Wait < 0 || o.Wait > limit.MaxWait {
		return nil, Invalidf("wait %s: allowed are 0s to %s", o.Wait, limit.MaxWait).of("wait")
	}
	c := s.c
	start := time.Now()
	if !s.callback {
		c.seen.set(start)
	}
	var w *waiter
	if o.Wait > 0 {
		w = &waiter{wake: make(chan struct{}, 1)}
		if c.merge != nil {
			w.q = s.q
		}
		s.waiting(1)
		defer s.waiting(-1)
	}
	for {
		if s.b.health.failed.Load() {
			return nil, s.b.health.refusal() // what the acknowledgement of a delivery would be answered
		}
		left := time.Until(start.Add(o.Wait))
		msgs, next, err := s.take(&o, w, left > 0)
		if err == errChanged {
			if err := s.renew(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if len(msgs) > 0 {
			return s.taken(msgs, o.Ack)
		}
		if left <= 0 {
			return nil, nil
		}
		if next > 0 {
			left = min(left, next)
		}
		timer := time.NewTimer(left)
		var end bool
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
			end = true
		case <-s.b.done:
			end, o.Wait = true, 0
		}
		timer.Stop()
		c.mu.Lock()
		c.leave(w)
		if end {
			c.wakeOne() // whoever waits next may have been meant to be told by this one
		}
		c.mu.Unlock()
		if end && ctx.Err() != nil {
			return nil, nil
		}
	}
}

// waiting counts long polls.
func (s Subscription) waiting(n int32) {
	s.c.waiting.Add(n)
	if s.c.merge == nil {
		s.q.topic.waiting.Add(n)
	}
}

func checkMax(n int) error {
	if n < 1 || n > limit.MaxReceive {
		return Invalidf("max %d: allowed are 1 to %d", n, limit.MaxReceive).of("max")
	}
	return nil
}

// taken acknowledges what was taken, where that is wanted.
func (s Subscription) taken(msgs []Message, ack bool) ([]Message, error) {
	if !ack {
		s.delivered(msgs)
		return msgs, nil
	}
	op := &settleOp{b: s.b, c: s.c, how: history.Acknowledged}
	s.c.mu.Lock()
	for i := range msgs {
		l := msgs[i].lease.lease()
		if l == nil {
			continue // somebody who knows its ID has settled it meanwhile
		}
		s.c.unlist(l)
		l.state = settling
		op.leases = append(op.leases, l)
	}
	s.c.mu.Unlock()
	if err := s.b.commits.doFor(s.c.def.Load().Client, op, 0); err != nil {
		s.Release(msgs)
		return nil, err
	}
	s.delivered(msgs)
	return msgs, nil
}

// delivered counts messages.
func (s Subscription) delivered(msgs []Message) {
	s.c.counters.delivered.Add(uint64(len(msgs)))
	for i := 0; i < len(msgs); {
		q, begin, again := msgs[i].lease.q, i, uint64(0)
		for i < len(msgs) && msgs[i].lease.q == q {
			if msgs[i].DeliveryCount > 1 {
				again++
			}
			i++
		}
		q.topic.counters.delivered.Add(uint64(i - begin)) // #nosec G115 -- a count
		if again > 0 {
			q.topic.counters.redelivered.Add(again)
			s.c.counters.redelivered.Add(again)
		}
	}
}

// Release gives back messages that could not be handed over: they can be delivered again at once, and
// this delivery does not count. Those that somebody else was given since are left alone.
func (s Subscription) Release(msgs []Message) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for i := range msgs {
		if l := msgs[i].lease.lease(); l != nil {
			s.c.unlist(l)
			l.count--
			l.q.note(l)
			s.c.giveBack(l)
		}
	}
	s.c.wakeOne()
}

// Written begins the ack timeout of messages that were received with Hold: now they are handed over.
// Those that somebody else was given since are left alone, and those whose receiver was so fast that it has extended them.
func (s Subscription) Written(msgs []Message) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	until := s.b.since(time.Now().Add(s.c.def.Load().AckTimeout))
	for i := range msgs {
		if l := msgs[i].lease.lease(); l != nil && l.until == forever {
			l.until = until
			heap.Fix(&s.c.timed, l.index)
		}
	}
}
