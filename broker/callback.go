package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/signing"
	"pipit/broker/stats"
)

// callbackFields are those of ConsumerFields that say how a consumer is sent its messages.
var callbackFields = property.Fields[Consumer]{
	{
		Name: "delivery_mode", At: func(c *Consumer) any { return &c.DeliveryMode },
		Default: DeliveryPull, Options: []property.Option{
			{Value: DeliveryPull, Label: "the client receives its messages"},
			{Value: DeliveryCallback, Label: "they are sent to a URL"},
		},
		Label: "Delivery", Hint: "Whether the client comes for its messages or is sent them",
		Help: "how it gets its messages: pull, it receives them; callback-url, they are sent to callback_url, and receiving is refused",
	},
	{
		Name: "callback_url", At: func(c *Consumer) any { return &c.CallbackURL },
		Max: limit.MaxCallbackURL, Check: checkCallbackURL, Pattern: `^(https?://\S+)?$`, Example: "https://erp.example.com/hooks/customer",
		Label: "Callback URL", Hint: "Where its messages are sent to, by POST",
		Help: "URL of http or https that its messages are sent to by POST; required with the delivery_mode callback-url, and of no effect without",
	},
	{
		Name: "callback_format", At: func(c *Consumer) any { return &c.CallbackFormat },
		Default: FormatJSON, Options: []property.Option{
			{Value: FormatJSON, Label: "the JSON document of a receive"},
			{Value: FormatXML, Label: "the XML document of a receive"},
			{Value: FormatRaw, Label: "the payload alone, one message a call"},
			{Value: FormatCloudEvents, Label: "CloudEvents, one message a call"},
		},
		Label: "Format", Hint: "What a call looks like",
		Help: "what a call looks like: json or xml, the document of a receive; raw or cloudevents, the payload of one message with its metadata in headers",
	},
	{
		Name: "callback_batch", At: func(c *Consumer) any { return &c.CallbackBatch },
		Default: int64(limit.DefaultCallbackBatch), Min: 1, Max: limit.MaxReceive,
		Label: "Messages a call", Hint: "At most so many, in the formats JSON and XML",
		Help: "messages of one call at the most, in the formats json and xml; in the others it is one",
	},
	{
		Name: "callback_timeout", At: func(c *Consumer) any { return &c.CallbackTimeout },
		Default: limit.DefaultCallbackTimeout, Min: int64(limit.MinCallbackTimeout), Max: int64(limit.MaxCallbackTimeout),
		Label: "Time limit", Hint: "A call that is not answered by then has failed: 15s, 1m",
		Help: "a call that is not answered by then has failed",
	},
	{
		Name: "callback_concurrency", At: func(c *Consumer) any { return &c.CallbackConcurrency },
		Default: int64(1), Min: 1, Max: limit.MaxCallbackConcurrency,
		Label: "Calls at a time", Hint: "With 1 the order is kept, also where one fails",
		Help: "calls at a time; with 1 the order of messages is kept, also where a call fails",
	},
	{
		Name: "callback_headers", At: func(c *Consumer) any { return &c.CallbackHeaders },
		CheckPair: checkCallbackHeader, Secret: true,
		Label: "Headers", Hint: "Of every call, such as Authorization: Bearer …",
		Help: "headers of every call, such as Authorization; they are answered to the scope write alone",
	},
	{
		Name: "callback_retry", At: func(c *Consumer) any { return &c.CallbackRetry },
		Default: property.DurationsOf(5*time.Second, 30*time.Second, 5*time.Minute, 30*time.Minute, time.Hour),
		Min:     int64(limit.MinCallbackRetry), Max: int64(limit.MaxCallbackRetry),
		Label: "Tries again after", Hint: "After the first failure, the second and so on. The last one counts for all that follow",
		Help: "after which times a failed call is tried again, each a bit longer or shorter by chance; the last counts for all that follow",
	},
	{
		Name: "callback_give_up", At: func(c *Consumer) any { return &c.CallbackGiveUp },
		Default: limit.DefaultCallbackGiveUp, Max: int64(limit.MaxCallbackGiveUp),
		Label: "Gives up after", Hint: "So long nothing but failures, and the consumer is paused: 24h. 0s: never",
		Help: "after so long of nothing but failures the consumer is paused: it is inactive until somebody makes it active again, and its messages wait; 0s: never",
	},
	{
		Name: "callback_secret", At: func(c *Consumer) any { return &c.CallbackSecret },
		Max: int64(2*signing.MaxSecret + 1), Check: checkCallbackSecret, Pattern: `^(whsec_[A-Za-z0-9+/]+=*( whsec_[A-Za-z0-9+/]+=*)?)?$`, Secret: true,
		Label: "Callback secret", Hint: "Its calls are signed with it. Empty: one is made. Two with a blank between, while one takes over from the other",
		Help: "secret that its calls are signed with as Standard Webhooks says, whsec_ and 24 to 64 bytes in base64, or two with a blank between; it is made where it is not given, and is answered to the scope write alone",
	},
}

func checkCallbackURL(s string) error {
	u, err := url.Parse(s)
	if s != "" && (err != nil || len(s) > limit.MaxCallbackURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		strings.Contains(s, "#") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })) {
		return fmt.Errorf("allowed is a URL of http or https with a host, at most %d bytes, without a user, a fragment and blanks", limit.MaxCallbackURL)
	}
	return nil
}

func checkCallbackSecret(s string) error {
	if _, err := signing.Keys(s); s != "" && err != nil {
		return err
	}
	return nil
}

// checkCallbackHeader tells what is allowed of a header of calls: not what the program sets itself, and not what is of the
// connection.
func checkCallbackHeader(name, value string) error {
	lower := strings.ToLower(name)
	if strings.ContainsFunc(name, notToken) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("allowed are names of letters, digits and !#$%&'*+-.^_`|~, and values of printable ASCII")
	}
	for _, own := range []string{"webhook-", "x-zato-", "ce-", "proxy-"} {
		if strings.HasPrefix(lower, own) {
			return fmt.Errorf("a header that begins with %s cannot be set", own)
		}
	}
	if slices.Contains([]string{"connection", "content-encoding", "content-length", "content-type", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}, lower) {
		return errors.New("this header cannot be set")
	}
	return nil
}

// notToken is true of what cannot be in the name of a header (RFC 9110).
func notToken(r rune) bool { return property.NotKeyChar(r) && !strings.ContainsRune("!#$%&'*+^`|~", r) }

// validateCallback checks what the fields of callbacks ask of each other. of is how it calls the consumer. What a consumer
// that receives has of them does no harm, so that one can be changed to receive for a while.
func (c *Consumer) validateCallback(of string) error {
	if c.DeliveryMode == DeliveryCallback && c.CallbackURL == "" {
		return wrongValue("callback_url", "", "callback_url of "+of, "it is missing, and the delivery_mode "+DeliveryCallback+" needs it")
	}
	return nil
}

// seal gives a consumer that is sent its messages a CallbackSecret where nobody says one: that which it has, or a new
// one. former is nil where the consumer is new.
func (x *definer) seal(r *consumerRecord, former *Consumer) {
	if r.CallbackSecret == "" && former != nil {
		r.CallbackSecret = former.CallbackSecret
	}
	if r.CallbackSecret == "" && r.DeliveryMode == DeliveryCallback {
		r.CallbackSecret, x.sealed[r.ID] = signing.New(), true
		x.done.Sealed = append(x.done.Sealed, r.Consumer)
	}
}

// Callbacks is the door of who sends messages to the consumers of the mode DeliveryCallback. One at a time is to use it.
type Callbacks struct{ b *Broker }

// Callbacks returns the door of who sends messages to consumers.
func (l lister) Callbacks() Callbacks { return Callbacks(l) }

// Changed holds something when List, or what Subscription answers, may have changed.
func (cs Callbacks) Changed() <-chan struct{} { return cs.b.redefined }

// List returns the consumers that are to be sent their messages, active or not, by ID.
func (cs Callbacks) List() map[uint32]*Consumer {
	cs.b.mu.RLock()
	defer cs.b.mu.RUnlock()
	list := make(map[uint32]*Consumer, len(cs.b.callbacks))
	for id, c := range cs.b.callbacks {
		list[id] = c.def.Load()
	}
	return list
}

// Subscription opens the queue of a consumer that is sent its messages, for which nobody needs a password. The error
// is Denied where it is not one, or it, its topic or its client is not active.
func (cs Callbacks) Subscription(id uint32) (Subscription, error) {
	b := cs.b
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.callbacks[id]
	if c == nil {
		return Subscription{}, denied("consumer %d is not sent its messages", id)
	}
	def := c.def.Load()
	var q *queue // of a pattern: all
	if c.merge == nil {
		q = c.list()[0]
	}
	switch client := b.clients[def.Client]; {
	case client == nil || client.Inactive:
		return Subscription{}, denied("client %q is not active", def.Client)
	case q != nil && q.topic.def.Load().Inactive:
		return Subscription{}, denied("topic %q is not active", def.Topic)
	case def.Inactive:
		return Subscription{}, denied("consumer %q of topic %q is not active", def.Client, def.Topic)
	}
	return Subscription{b: b, c: c, q: q, key: def.SubKey, changes: c.changes.Load(), callback: true}, nil
}

// Report keeps a state for ConsumerInfo.
func (cs Callbacks) Report(id uint32, s stats.Callback) {
	cs.b.mu.RLock()
	defer cs.b.mu.RUnlock()
	if c := cs.b.consumers[id]; c != nil {
		c.callback.Store(&s)
	}
}

// Undefer makes messages deliverable at once that were rejected with a delay.
func (s Subscription) Undefer() {
	s.c.eachTimed(s.b.since(time.Now()), func(l *lease) {
		if l.state == deferred {
			s.c.unlist(l)
			s.c.giveBack(l)
		}
	})
}

// Await returns when there may be something to receive; it takes nothing. The errors are Denied, as of Receive, and
// that of ctx, which ends it, as Drain does: then it is context.Canceled; what poke holds ends it with another one.
func (s *Subscription) Await(ctx context.Context, poke <-chan struct{}) error {
	c := s.c
	w := &waiter{wake: make(chan struct{}, 1)}
	s.waiting(1)
	defer s.waiting(-1)
	for {
		next, ready, err := s.ready(w)
		if err == errChanged {
			if err := s.renew(); err != nil {
				return err
			}
			continue
		}
		if ready {
			return nil
		}
		timer := time.NewTimer(next)
		select {
		case <-w.wake:
		case <-timer.C:
		case <-poke:
			err = errChanged
		case <-ctx.Done():
			err = ctx.Err()
		case <-s.b.done:
			err = context.Canceled
		}
		timer.Stop()
		c.mu.Lock()
		c.leave(w)
		c.mu.Unlock()
		if err != nil {
			return err
		}
	}
}

// ready tells whether there may be something to receive. Where there is not, it lists w as a waiter, and tells after
// which time to look again.
func (s *Subscription) ready(w *waiter) (next time.Duration, ready bool, err error) {
	c := s.c
	now := s.b.since(time.Now())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes.Load() != s.changes {
		return 0, false, errChanged
	}
	c.expireAll(now)
	for p := limit.MinPriority; p <= limit.MaxPriority; p++ {
		if c.merge != nil {
			if len(c.merge.heads[p].list) > 0 {
				return 0, true, nil
			}
		} else if q := s.q; len(q.ready[p]) > 0 || q.done[p].Next(q.next[p]) <= q.topic.lanes[p].tail.Load() {
			return 0, true, nil
		}
	}
	c.waiters = append(c.waiters, w)
	next = forever
	if len(c.timed) > 0 && c.timed[0].until != forever {
		next = max(c.timed[0].until-now, time.Millisecond)
	}
	return next, false, nil
}

// Definition returns the consumer as it is defined now.
func (s Subscription) Definition() *Consumer { return s.c.def.Load() }
