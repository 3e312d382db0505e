package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/stats"
)

// Consumer is a client's queue of a topic's messages. A field that is zero has its default.
type Consumer struct {
	Client      string        // username
	Topic       string        // name
	Name        string        `json:",omitempty"` // tells it from the client's others of the topic: at most 64 printable characters; may be empty
	SubKey      string        // secret name of the queue: 1 to 128 of A-Z a-z 0-9 . _ -; made where empty
	Inactive    bool          `json:"-"`          // it may not receive
	SelfService bool          `json:",omitempty"` // its client may delete it, as what it made by subscribing: see Subscriber
	MaxDepth    int64         // messages that wait or are in flight; past it a publish to the topic is refused
	MaxInFlight int           // messages delivered or put back, and neither acknowledged nor expired
	AckTimeout  time.Duration // how long a delivered message is in flight

	MaxDeliveries   int                `json:",omitempty"` // how often a message is delivered before it has failed; 0: no limit
	DeadLetterTopic string             `json:",omitempty"` // where messages go that failed; empty: they are dropped
	RetryBackoff    property.Durations `json:",omitzero"`  // how long a message waits that was rejected, or not acknowledged in time, after its first delivery, its second, and so on; the last one stands for all that follow; empty: not at all
	Overflow        string             `json:",omitempty"` // past MaxDepth: OverflowReject, OverflowDropOldest or OverflowDeadLetter
	OnExpiry        string             `json:",omitempty"` // ExpiryDrop, or ExpiryDeadLetter: where messages go that expire before it is done with them

	LastSeen time.Time `json:"-"` // the last receive or acknowledgement; zero: never

	DeliveryMode        string             `json:",omitempty"` // DeliveryPull, or DeliveryCallback: it is sent its messages, and may not receive
	CallbackURL         string             `json:",omitempty"` // where they are sent to, of http or https
	CallbackFormat      string             `json:",omitempty"` // FormatJSON and so on
	CallbackBatch       int                `json:",omitempty"` // messages of one call, of the formats that have several
	CallbackTimeout     time.Duration      `json:",omitempty"` // within which a call is to be answered
	CallbackHeaders     property.Table     `json:",omitzero"`  // of every call
	CallbackRetry       property.Durations `json:",omitzero"`  // between one failure and the next try; the last of them counts for all that follow
	CallbackConcurrency int                `json:",omitempty"` // calls at a time; with 1 the order is kept
	CallbackGiveUp      time.Duration      `json:",omitempty"` // of nothing but failures, until it is made inactive; Off: never
	CallbackSecret      string             `json:",omitempty"` // by which calls are signed: one of Standard Webhooks, or two with a blank between; made where empty

	Filter string `json:",omitempty"` // which messages it is given, by their attributes, in the language of docs/delivery.md; empty: all. A message that it does not let through is never in the backlog

	Old OldKey `json:",omitzero"` // SubKey that it had before, while that is good as well; a definition that says none leaves it

	// Start is where a new consumer begins: StartNew, also where it is empty, StartOldest, or a UTC time such as
	// 2026-11-23T09:00:00, at the first message that could be delivered then or later. It has no effect on an existing one,
	// and is never stored.
	Start string `json:"-"`

	// New makes it a new one, also where the client has another for the topic. Where another
	// one has its SubKey, or its Name for that client and topic, the error is Conflict.
	New bool `json:"-"`
}

// consumerFields are the properties of a consumer.
var consumerFields = append(property.Fields[Consumer]{
	{
		Name: "client", At: func(c *Consumer) any { return &c.Client },
		Max: limit.MaxUsername, Required: true, Fixed: true,
		Label: "Client", Hint: "A username", Example: "erp",
		Help: "username of the client",
	},
	{
		Name: "topic", At: func(c *Consumer) any { return &c.Topic },
		Max: limit.MaxTopicName, Required: true, Fixed: true,
		Label: "Topic", Hint: "What the client gets a queue of: a topic, or a pattern such as /eu/*/order or /eu/**", Example: "/customer/created",
		Help: "name of the topic, or a pattern: * stands for one segment between slashes, ** for any number of them",
	},
	{
		Name: "name", At: func(c *Consumer) any { return &c.Name },
		Max: limit.MaxConsumerName, Check: checkConsumerName, Pattern: `^(\S(.*\S)?)?$`, Fixed: true,
		Label: "Name", Hint: "Tells it from the client's others of the topic. It can be empty",
		Help: "tells it from the client's others of the topic, no two of which have the same; it can be empty",
	},
	{
		Name: "sub_key", At: func(c *Consumer) any { return &c.SubKey },
		Max: limit.MaxSubKey, Check: checkSubKey, Pattern: `^[A-Za-z0-9._-]*$`, Fixed: true, Secret: true,
		Label: "sub_key", Hint: "The queue's secret name. Empty: one is made",
		Help: "secret name of the queue, for the header X-Zato-PubSub-Key; it is made where it is not given, is changed by rotating alone, and is answered to the scope write alone",
	},
	{
		Name: "is_active", At: func(c *Consumer) any { return (*property.Opposite)(&c.Inactive) },
		Default: true,
		Label:   "Active", Hint: "An inactive consumer cannot receive. Its messages go on waiting",
		Help: "whether it may receive; messages wait for it even where it may not",
	},
	{
		Name: "self_service", At: func(c *Consumer) any { return &c.SelfService },
		Label: "Self-service", Hint: "The client may delete it by itself, as one that it made by subscribing",
		Help: "whether the client may delete it by itself over the protocol, as one that it made by subscribing",
	},
	{
		Name: "max_depth", At: func(c *Consumer) any { return &c.MaxDepth },
		Default: int64(limit.DefaultMaxDepth), Min: 1, Max: limit.MaxMaxDepth,
		Label: "Max depth", Hint: "Messages of its backlog. Past it, publishers to the topic get 429",
		Help: "messages that wait or are in flight; past it a publish to the topic is refused",
	},
	{
		Name: "max_in_flight", At: func(c *Consumer) any { return &c.MaxInFlight },
		Default: int64(limit.DefaultMaxInFlight), Min: 1, Max: limit.MaxMaxInFlight,
		Label: "Max in flight", Hint: "Messages delivered and not acknowledged, also those that failed and wait for their next delivery. Past it, a receive gets 429, and callbacks wait",
		Help: "messages delivered and not acknowledged, also those that wait for their next delivery",
	},
	{
		Name: "ack_timeout", At: func(c *Consumer) any { return &c.AckTimeout },
		Default: limit.DefaultAckTimeout, Min: int64(limit.MinAckTimeout), Max: int64(limit.MaxAckTimeout),
		Label: "Acknowledgement timeout", Hint: "After this a delivered message is delivered again: 30s, 5m, 1h",
		Help: "after this a delivered message is delivered again",
	},
	{
		Name: "max_deliveries", At: func(c *Consumer) any { return &c.MaxDeliveries },
		Min: 0, Max: limit.MaxMaxDeliveries,
		Label: "Max deliveries", Hint: "After so many a message that is not acknowledged goes to the dead-letter topic. 0: no limit",
		Help: "how often a message is delivered before it goes to the dead-letter topic, or is dropped where there is none; 0: no limit",
	},
	{
		Name: "dead_letter_topic", At: func(c *Consumer) any { return &c.DeadLetterTopic },
		Max: limit.MaxTopicName, Check: checkDeadLetterTopic, Example: "/dead-letters",
		Label: "Dead-letter topic", Hint: "Where messages go that failed. Give it an expiration of 0, else they expire there. Empty: they are dropped",
		Help: "name of the topic to which messages go that failed, which should have an expiration of 0; empty: they are dropped",
	},
	{
		Name: "retry_backoff", At: func(c *Consumer) any { return &c.RetryBackoff },
		Min: 0, Max: int64(limit.MaxBackoff),
		Label: "Retry back-off", Hint: "How long a message waits after its first failed delivery, its second, and so on, one a line: 5s, 30s, 5m. The last goes for all that follow",
		Help: "how long a message waits that was rejected or not acknowledged in time, after its first delivery, its second, and so on; the last goes for all that follow",
	},
	{
		Name: "overflow", At: func(c *Consumer) any { return &c.Overflow },
		Default: OverflowReject, Options: []property.Option{
			{Value: OverflowReject, Label: "publishers get 429"},
			{Value: OverflowDropOldest, Label: "the oldest messages are dropped"},
			{Value: OverflowDeadLetter, Label: "the oldest messages go to the dead-letter topic"},
		},
		Label: "Past max depth", Hint: "What becomes of a publish when the backlog is full. The topic's own max depth refuses in any case",
		Help: "what happens past max_depth: reject, publishers get 429; drop-oldest, its oldest messages are dropped; dead-letter, they go to the dead-letter topic; the topic's max_depth refuses in any case",
	},
	{
		Name: "on_expiry", At: func(c *Consumer) any { return &c.OnExpiry },
		Default: ExpiryDrop, Options: []property.Option{
			{Value: ExpiryDrop, Label: "they are dropped"},
			{Value: ExpiryDeadLetter, Label: "they go to the dead-letter topic"},
		},
		Label: "Messages that expire", Hint: "What becomes of messages that expire before the consumer is done with them",
		Help: "what becomes of messages that expire before it is done with them: drop, or dead-letter, they go to the dead-letter topic",
	},
	{
		Name: "filter", At: func(c *Consumer) any { return &c.Filter },
		Max: maxFilter, Check: checkFilter, Example: `country = "LV" and not has(test)`,
		Label: "Filter", Hint: `By attributes: country = "LV" and (kind ^= "order." or has(urgent)). Empty: all messages`,
		Help: "which messages it is given, by their attributes: name = \"x\", name != \"x\", name ^= \"prefix\", has(name), joined by not, and, or and brackets; empty: all",
	},
	{
		Name: "start", At: func(c *Consumer) any { return &c.Start },
		Default: StartNew, Options: []property.Option{
			{Value: StartNew, Label: "at what is published next"},
			{Value: StartOldest, Label: "at the oldest message that is stored"},
		}, Other: "a UTC time such as 2026-11-23T09:00:00", Check: checkStart, Fixed: true, Once: true,
		Label: "Begins", Hint: "The first consumer of a topic that begins at what is published next begins at the oldest message",
		Help: "where it begins: new, behind what is there; oldest, at the oldest that is stored; a UTC time, at the first message since",
	},
}, callbackFields...)

func checkStart(s string) error {
	if _, ok := property.ParseUTC(s); ok || s == "" || s == StartNew || s == StartTail || s == StartOldest {
		return nil
	}
	return errors.New("allowed are new, oldest and a UTC time such as 2026-11-23T09:00:00")
}

// begins returns where a new consumer with a valid Start begins.
func (c *Consumer) begins() Seek {
	if t, ok := property.ParseUTC(c.Start); ok {
		return Seek{Time: t}
	}
	return Seek{Oldest: c.Start == StartOldest, Newest: c.Start != StartOldest}
}

func checkConsumerName(s string) error {
	if utf8.RuneCountInString(s) > limit.MaxConsumerName || !utf8.ValidString(s) || strings.TrimSpace(s) != s ||
		strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("allowed are at most %d printable characters without a blank at either end", limit.MaxConsumerName)
	}
	return nil
}

func checkDeadLetterTopic(s string) error {
	if s == "" {
		return nil
	}
	return checkTopicName(s)
}

func checkSubKey(s string) error {
	if len(s) > limit.MaxSubKey || strings.ContainsFunc(s, property.NotKeyChar) {
		return fmt.Errorf("allowed are at most %d of A-Z a-z 0-9 . _ -", limit.MaxSubKey)
	}
	return nil
}

// Validate checks the consumer's fields. The error joins one for each that is wrong.
func (c *Consumer) Validate() error {
	of := fmt.Sprintf("consumer %q of topic %q", c.Client, c.Topic)
	return errors.Join(ours(ConsumerFields.Validate(c, of)), c.validateCallback(of))
}

// validateName checks what a Name that exists may have, and a new one may not: see IsHidden. old is the consumer so
// far, nil where it is new.
func (c *Consumer) validateName(old *Consumer) error {
	if err := property.CheckShown(c.Name); err != nil && (old == nil || old.Name != c.Name) {
		return wrongText("name", c.Name, fmt.Sprintf(" of consumer %q of topic %q", c.Client, c.Topic), err)
	}
	return nil
}

// consumer is a Consumer at work.
type consumer struct {
	id   uint32
	def  atomic.Pointer[Consumer]
	seen lastSeen

	revision string   // of def; guarded by Broker.mu
	declared string   // of its record; guarded by Broker.defining
	replaced string   // of its record; guarded by Broker.mu
	oldSeen  lastSeen // when its OldKey was used last; stored with the counters
	counters counters
	deleted  atomic.Bool            // set by the committer, for good
	filter   atomic.Pointer[filter] // of def, as refilter has read it; nil: it lets all messages through
	changes  atomic.Uint32          // counts what may end its requests; changes while Broker.mu is held
	callback atomic.Pointer[stats.Callback]

	waiting atomic.Int32 // long polls that wait or are about to
	held    atomic.Int32 // leases of all queues

	// reading holds a token of who receives, over reading the store: one at a time. See topic.mu for the order.
	reading chan struct{}

	mu      sync.Mutex
	waiters []*waiter // the longest waiting first
	streams []*Stream // those that run, and the last that have ended

	// The leases of all its queues; guarded by mu.
	own      map[string]*lease // leased or settling ones by the IDs that publishers gave
	lastSeq  uint64
	timed    timedLeases // those with a time, the earliest first
	deferred int         // how many of timed are deferred
	blocked  int         // how many are
	fetching int         // how many are
	ready    int         // how many are
	returned uint64      // counts what became ready
	failed   failedLeases
	failing  atomic.Int32 // len(failed)

	spare  int64          // the committer's own: at least so many messages fit yet, where it refuses none
	stuck  bool           // the sweeper's own: what failed could not be moved
	warned stats.Failures // the sweeper's own: what it has logged of counters.dropped

	queues atomic.Pointer[[]*queue] // one for each of its topics; replaced, never changed
	merge  *merge                   // of a consumer of a pattern; else nil

	// The committer's own, of a consumer of a pattern.
	room  int64 // at least so many messages fit yet; counted anew when used up
	freed bool  // more may fit than when it was counted last
}

// waiter is a long poll.
type waiter struct {
	wake chan struct{}
	q    *queue // the one of several that it waits for; nil: all
}

// newConsumer makes a consumer of a topic, that has everything before it, or of a pattern where t is nil, that has no
// queues yet.
func newConsumer(id uint32, t *topic) *consumer {
	c := &consumer{id: id, reading: make(chan struct{}, 1), own: map[string]*lease{}}
	if t != nil {
		c.queues.Store(&[]*queue{newQueue(id, c, t)})
	} else {
		c.queues.Store(&[]*queue{})
		c.merge = newMerge()
	}
	return c
}

// list returns the consumer's queues.
func (c *consumer) list() []*queue { return *c.queues.Load() }

// queueOf returns the consumer's queue of a topic, nil where it has none.
func (c *consumer) queueOf(topic uint32) *queue {
	if c.merge != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.merge.byTopic[topic]
	}
	if q := c.list()[0]; q.topic.id == topic {
		return q
	}
	return nil
}

// backlog returns how many messages the running commit leaves the consumer not done with. For the committer.
func (c *consumer) backlog() (n int64) {
	for _, q := range c.list() {
		n += q.backlog()
	}
	return n
}

// wakeOne lets the longest waiting long poll look again, and those before it that wait for one of several topics. The
// caller holds mu.
func (c *consumer) wakeOne() {
	for _, w := range c.waiters {
		select {
		case w.wake <- struct{}{}:
		default:
		}
		if w.q == nil {
			break
		}
	}
}

// end lets all requests that wait find out whether they may go on. The caller has changed what
// that depends on and holds Broker.mu, so that who comes later finds the change.
func (c *consumer) end() {
	c.changes.Add(1)
	if c.waiting.Load() == 0 {
		return // who is about to wait has not looked at changes yet
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.waiters {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// leave takes w out of the waiters. The caller holds mu.
func (c *consumer) leave(w *waiter) {
	for i, x := range c.waiters {
		if x == w {
			c.waiters = append(c.waiters[:i], c.waiters[i+1:]...)
			return
		}
	}
}
