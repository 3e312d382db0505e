package broker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// subscribing is what a Broker does to let clients make consumers by themselves.
type subscribing struct {
	b    *Broker
	note atomic.Pointer[func(*Consumer, string, bool) Document]
}

// OnSubscription has note make a document that tells that a client, which came from an IP address, has made a consumer by
// itself, or deleted it. It is put in the commit that does so.
func (s *subscribing) OnSubscription(note func(c *Consumer, addr string, made bool) Document) {
	s.note.Store(&note)
}

// Subscriber is a client's door to the consumer of a topic, or of a pattern, that it makes, looks at and deletes by itself.
// It is a small value, made for one request.
//
// That consumer is the one of SelfService. Where there is none, one without a Name that the client has from an administrator
// and receives from does as well, but is not the client's to delete.
type Subscriber struct {
	b      *Broker
	client string // username
	hash   string // that of the password which it came with
	topic  string
	addr   string
}

// Subscriber returns the door of a client that comes from an IP address; of one that is nil, all that it does is Denied.
func (s *subscribing) Subscriber(c *Client, topic, addr string) Subscriber {
	if c == nil {
		c = &Client{}
	}
	return Subscriber{s.b, c.Username, c.PasswordHash, topic, addr}
}

// Subscribe returns the sub_key of the consumer, which is made where there is none, with the default of each field, and with
// the topic where a template has to make that. The errors are Denied (CanSubscribe does not have the whole of the topic;
// there is no such topic; anything is not active), Invalid (a pattern that is none, a name that no new topic can have),
// Unauthorized (the client has another password hash by now), Full (MaxSubscriptions, MaxTopics), Unavailable and DiskFull.
func (s Subscriber) Subscribe(ctx context.Context) (string, error) {
	c, err := s.find()
	if err != nil || c != nil {
		return c.keyIfAny(), err
	}
	s.b.defining.Lock()
	defer s.b.defining.Unlock()
	if c, err = s.find(); err != nil || c != nil { // by another request of the client
		return c.keyIfAny(), err
	}
	if s.made() >= limit.MaxSubscriptions {
		return "", &Error{Code: Full, RetryAfter: time.Minute,
			Message: fmt.Sprintf("the client has made %d consumers by itself, which is all that it may: delete one of them", limit.MaxSubscriptions)}
	}
	d := Definition{Consumers: []Consumer{{Client: s.client, Topic: s.topic, SelfService: true, New: true}}}
	by, err := s.template()
	if err != nil {
		return "", err
	}
	if by != nil {
		d.Topics = []Topic{by.topic(s.topic)}
	}
	x, err := s.change(ctx, Change{Define: d})
	if err != nil {
		return "", err
	}
	made := &x.done.Made[0]
	docs := s.noted(made, true)
	if by != nil {
		docs = append(by.noted(x, "client "+s.client, false), docs...)
	}
	if err := x.commit(docs); err != nil {
		return "", err
	}
	if by != nil {
		by.log(s.b, s.topic, "client "+s.client)
	}
	return made.SubKey, nil
}

// template returns the template that makes the topic, nil where it is there or is a pattern. The caller holds defining or mu.
func (s Subscriber) template() (*template, error) {
	if literal(s.b, s.topic) != nil || isPattern(s.topic) {
		return nil, nil
	}
	t, err := templateOf(s.b, s.topic)
	if CodeOf(err) == NotFound {
		return nil, denied("no topic %q", clip.Input(s.topic))
	}
	return t, err
}

// Subscribed returns the consumer. The errors are those of Subscribe, but Full, and NotFound where there is none.
func (s Subscriber) Subscribed() (info ConsumerInfo, err error) {
	c, err := s.find()
	if err != nil {
		return info, err
	}
	s.b.mu.RLock()
	defer s.b.mu.RUnlock()
	if c == nil || c.deleted.Load() {
		return info, s.notFound()
	}
	c.info(&info)
	return info, nil
}

// Unsubscribe deletes the consumer, with all that waits for it. The errors are those of Subscribed, and Denied where it is an
// administrator's.
func (s Subscriber) Unsubscribe(ctx context.Context) error {
	s.b.defining.Lock()
	defer s.b.defining.Unlock()
	c, err := s.find()
	if err != nil {
		return err
	}
	if c == nil {
		return s.notFound()
	}
	def := c.def.Load()
	if !def.SelfService {
		return denied("client %q did not make the consumer of topic %q by itself", s.client, clip.Input(s.topic))
	}
	x, err := s.change(ctx, Change{Delete: []change.Ref{{Kind: change.Consumer, ID: c.id}}})
	if err != nil {
		return err
	}
	return x.commit(s.noted(def, false))
}

// change returns the records of a Change. The caller holds defining.
func (s Subscriber) change(ctx context.Context, c Change) (*definer, error) {
	x := &definer{b: s.b, lastID: s.b.lastID}
	return x, x.prepare(ctx, &c)
}

// noted returns what is to be put with a change.
func (s Subscriber) noted(c *Consumer, made bool) []Document {
	if note := s.b.note.Load(); note != nil {
		return []Document{(*note)(c, s.addr, made)}
	}
	return nil
}

func (s Subscriber) notFound() error {
	return &Error{Code: NotFound, Message: fmt.Sprintf("Not subscribed to topic `%s`", clip.Input(s.topic))}
}

// find returns the consumer, nil where there is none. The errors are those of Subscribe.
func (s Subscriber) find() (*consumer, error) {
	s.b.mu.RLock()
	defer s.b.mu.RUnlock()
	if err := s.permitted(); err != nil {
		return nil, err
	}
	var found *consumer
	for _, c := range consumersOf(s.b, s.topic) {
		def := c.def.Load()
		if def.Client != s.client {
			continue
		}
		if def.SelfService {
			found = c
			break
		}
		if found == nil && def.Name == "" && def.DeliveryMode != DeliveryCallback {
			found = c
		}
	}
	if found != nil && found.def.Load().Inactive {
		return nil, denied("consumer %q of topic %q is not active", s.client, clip.Input(s.topic))
	}
	return found, nil
}

// permitted returns an error unless the client may subscribe to the topic as things stand. The caller holds Broker.mu.
func (s Subscriber) permitted() error {
	c := s.b.clients[s.client]
	switch {
	case c == nil:
		return denied("the client was deleted")
	case c.Inactive:
		return denied("client %q is not active", s.client)
	case c.PasswordHash != s.hash:
		return &Error{Code: Unauthorized, Message: "Invalid credentials", Reason: "the password has changed"}
	}
	t := literal(s.b, s.topic)
	isName := t != nil || !isPattern(s.topic)
	switch {
	case !isName:
		if err := checkPattern(s.topic); err != nil {
			return Invalidf("topic %q: %v", clip.Input(s.topic), err)
		}
	case t != nil && t.def.Load().Inactive:
		return denied("topic %q is not active", clip.Input(s.topic))
	}
	topic := segments(s.topic)
	for _, pattern := range c.CanSubscribe.All() {
		if p := segments(pattern); isName && matches(p, topic) || !isName && covers(p, topic) {
			if _, err := s.template(); CodeOf(err) != Full { // which keeps nobody from looking
				return err
			}
			return nil
		}
	}
	return denied("can_subscribe of client %q does not have topic %q", s.client, clip.Input(s.topic))
}

// made returns how many consumers the client has made by itself. The caller holds defining.
func (s Subscriber) made() (n int) {
	for _, c := range s.b.consumers {
		if def := c.def.Load(); def.SelfService && def.Client == s.client {
			n++
		}
	}
	return n
}

// keyIfAny returns the sub_key of a consumer, none of nil.
func (c *consumer) keyIfAny() string {
	if c == nil {
		return ""
	}
	return c.subKey()
}

// covers tells whether a pattern, in segments, stands for all names that another one stands for.
func covers(pattern, other []string) bool {
	pattern = manyLast(pattern)
	rest := make([]bool, len(other)+1) // by j: what follows in pattern stands for all of other[j:]
	rest[len(other)] = true
	for i := len(pattern) - 1; i >= 0; i-- {
		next := rest[len(other)] // what rest[j+1] was
		rest[len(other)] = next && pattern[i] == "**"
		for j := len(other) - 1; j >= 0; j-- {
			was := rest[j]
			switch {
			case pattern[i] == "**": // stands for nothing, or for one more
				rest[j] = was || rest[j+1]
			case pattern[i] == "*" && other[j] == "**": // which stands for nothing, and for one more
				rest[j] = was && rest[j+1]
			default:
				rest[j] = next && (pattern[i] == "*" || pattern[i] == other[j])
			}
			next = was
		}
	}
	return rest[0]
}

// manyLast returns a pattern that stands for the same, with each "**" behind the "*" that follow it: so what has one segment
// or more begins with one.
func manyLast(pattern []string) []string {
	out, many := make([]string, 0, len(pattern)), false
	for _, s := range pattern {
		switch {
		case s == "**":
			many = true
			continue
		case s != "*" && many:
			out, many = append(out, "**"), false
		}
		out = append(out, s)
	}
	if many {
		out = append(out, "**")
	}
	return out
}
