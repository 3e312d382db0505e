package broker

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
)

// Topic is what producers publish to. A field that is zero has its default: broker.Topic{Name: "/x"} is one.
type Topic struct {
	Name        string        // 1 to 512 bytes of UTF-8; normally begins with a slash, never ends with one
	Inactive    bool          `json:"-"` // it can neither be published to nor received from
	MaxDepth    int64         // messages that somebody still needs; past it a publish is refused
	Expiration  int64         // seconds, for messages that do not say; Off: they do not expire
	DedupWindow time.Duration // how long a message's own ID is remembered; Off: not at all

	// MaxBytes bounds what is stored, counted as RetentionBytes are, and what waits for its delay; past it a publish is refused.
	// What stays though all are done with it gives way before the bound is reached. 0: none.
	MaxBytes property.Size `json:",omitempty"`

	// What all consumers are done with stays until it is older than Retention or the topic stores more than RetentionBytes,
	// whichever comes first; with one of them alone, that decides. By default neither is there, and it does not stay. A
	// message that has expired is removed in any case.
	Retention      time.Duration // since it could be delivered first
	RetentionBytes property.Size // of payloads, IDs and attributes, and 64 for each message

	// A Topic with AutoCreate is a template: its Name is a pattern, and topics that match are made as it says when they are first
	// published to. It is no topic itself.
	AutoCreate bool  `json:",omitempty"`
	MaxTopics  int64 `json:",omitempty"` // of a template: topics it made that exist at once
}

// topicFields are the properties of a topic.
var topicFields = property.Fields[Topic]{
	{
		Name: "name", At: func(t *Topic) any { return &t.Name },
		Max: limit.MaxTopicName, Check: checkTopicName, Pattern: `^[^\x00-\x1f\x7f-\x9f]*[^/\x00-\x1f\x7f-\x9f]$`, Required: true, Fixed: true, Subject: "topic name",
		Label: "Name", Hint: "Such as /customer/created", Example: "/customer/created",
		Help: "no control characters, no slash at the end; it normally begins with a slash",
	},
	{
		Name: "is_active", At: func(t *Topic) any { return (*property.Opposite)(&t.Inactive) },
		Default: true,
		Label:   "Active", Hint: "An inactive topic is refused to everybody",
		Help: "whether it can be published to and received from",
	},
	{
		Name: "max_depth", At: func(t *Topic) any { return &t.MaxDepth },
		Default: int64(limit.DefaultMaxDepth), Min: 1, Max: limit.MaxMaxDepth,
		Label: "Max depth", Hint: "Messages that some consumer still needs. Past it, publishers get 429",
		Help: "messages that some consumer still needs; past it a publish is refused",
	},
	{
		Name: "max_bytes", At: func(t *Topic) any { return &t.MaxBytes },
		Min: 0, Max: limit.MaxRetentionBytes,
		Label: "Max bytes", Hint: "Of all messages it stores: 512MiB, 10GiB. Past it, publishers get 429. 0: no bound by bytes",
		Help: "bytes of all messages that are stored, each with 64 beside its payload, ID and attributes; past it a publish is refused; 0: no bound by bytes",
	},
	{
		Name: "expiration", At: func(t *Topic) any { return &t.Expiration },
		Default: int64(limit.DefaultExpiration), Min: 0, Max: limit.MaxExpiration, Unit: property.Seconds,
		Label: "Expiration", Hint: "Of messages that do not say themselves: 60s, 24h, 7d. 0: they do not expire",
		Help: "`seconds`, for messages that do not say; 0: they do not expire",
	},
	{
		Name: "dedup_window", At: func(t *Topic) any { return &t.DedupWindow },
		Default: limit.DefaultDedupWindow, Min: 0, Max: int64(limit.MaxDedupWindow),
		Label: "Deduplication window", Hint: "How long a publisher's own msg_id is remembered: 5m, 24h, 0s for not at all",
		Help: "how long a message's own ID is remembered; 0s: not at all",
	},
	{
		Name: "retention", At: func(t *Topic) any { return &t.Retention },
		Default: time.Duration(0), Min: 0, Max: int64(limit.MaxRetention),
		Label: "Retention", Hint: "How long messages stay that everyone is done with, to be replayed: 24h, 7d. They do not outlive their expiration. 0s: no bound by age",
		Help: "how long messages stay that everyone is done with, unless they expire; 0s: no bound by age and, without retention_bytes, not at all",
	},
	{
		Name: "retention_bytes", At: func(t *Topic) any { return &t.RetentionBytes },
		Default: property.Size(0), Min: 0, Max: limit.MaxRetentionBytes,
		Label: "Retention bytes", Hint: "Past it the oldest messages go that everyone is done with: 64MiB, 2GiB. 0: no bound by bytes",
		Help: "bytes past which the oldest messages go that everyone is done with; 0: no bound by bytes and, without retention, none stay",
	},
	{
		Name: "auto_create", At: func(t *Topic) any { return &t.AutoCreate },
		Default: false, Fixed: true,
		Label: "Template", Hint: "No topic, but what makes topics: its name is a pattern such as /order/*, and publishing to a name that matches makes the topic with these settings",
		Help: "whether it is a template, no topic: its name is a pattern, and publishing or subscribing to a name that matches makes the topic, with these settings",
	},
	{
		Name: "max_topics", At: func(t *Topic) any { return &t.MaxTopics },
		Default: int64(limit.DefaultMaxTopics), Min: 1, Max: limit.MaxMaxTopics,
		Label: "Max topics", Hint: "Of a template: topics it has made that exist. Past it, publishers to new names get 429",
		Help: "of a template: how many topics that it has made may exist; past it a publish to a new name is refused",
	},
}

func checkTopicName(s string) error {
	if s == "" || len(s) > limit.MaxTopicName || !property.Printable(s) || strings.HasSuffix(s, "/") {
		return fmt.Errorf("allowed are 1 to %d bytes, no control characters, no slash at the end", limit.MaxTopicName)
	}
	return nil
}

// Validate checks the topic's fields. The error joins one for each that is wrong.
func (t *Topic) Validate() error {
	of := fmt.Sprintf("topic %q", t.Name)
	wrong := []error{ours(TopicFields.Validate(t, of))}
	switch {
	case t.AutoCreate && !isPattern(t.Name):
		wrong = append(wrong, wrongValue("auto_create", "true", "auto_create of "+of, "allowed with a pattern for a name, such as /order/*"))
	case t.AutoCreate:
		if err := checkPattern(t.Name); err != nil {
			wrong = append(wrong, t.wrongName(err))
		}
	case t.MaxTopics != 0 && t.MaxTopics != limit.DefaultMaxTopics:
		wrong = append(wrong, wrongValue("max_topics", fmt.Sprint(property.Told(t.MaxTopics)), fmt.Sprintf("max_topics %d of %s", property.Told(t.MaxTopics), of), "allowed with auto_create"))
	}
	return errors.Join(wrong...)
}

func (t *Topic) wrongName(allowed any) error {
	shown := strconv.Quote(clip.Input(t.Name))
	return wrongValue("name", shown, "topic name "+shown, allowed)
}

// validateName checks what a name that exists may have, and a new one may not: see IsHidden.
func (t *Topic) validateName() error {
	if isPattern(t.Name) && !t.AutoCreate {
		return t.wrongName("a new topic has no * in its name, which is for patterns, unless auto_create makes it a template")
	}
	if err := property.CheckShown(t.Name); err != nil {
		return t.wrongName(err)
	}
	return nil
}

// HasTopic tells whether there is a topic of a name, active or not.
func (b *Broker) HasTopic(name string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.topics[name] != nil
}

// topic is a Topic at work.
type topic struct {
	id       uint32
	def      atomic.Pointer[Topic]
	template string // the name of the one that made it; empty: none did

	producers map[string]*producer // by username; guarded by Broker.mu
	revision  string               // of def; guarded by Broker.mu

	queues  atomic.Pointer[[]*queue] // one for each of its consumers; replaced, never changed
	several atomic.Pointer[[]*queue] // those of queues that are of patterns; replaced, never changed
	waiting atomic.Int32             // long polls that wait in all consumers of it alone
	delayed atomic.Int64             // stored messages that wait for their delay

	counters    counters
	lastPublish atomic.Int64 // unix microseconds; 0: never, as far as is known
	deleted     atomic.Bool  // set by the committer, for good

	// mu makes one state of the lanes and the queues' cursors for who looks beside the committer, which
	// alone changes them.
	mu    sync.Mutex
	lanes [limit.MaxPriority + 1]lane

	// The committer's own.
	yielding    []*queue // of consumers that refuse no publish; counted with room
	room        int64    // at least so many messages fit yet; counted anew when used up
	nextDelayed int64    // delayed, as this commit will leave it

	delayedBytes     atomic.Int64 // what these come to, as far as putOffs has
	nextDelayedBytes int64        // as this commit will leave it
	touched          bool         // listed in draft.topics

	filteredNow []*queue  // see draft.filtered
	filteredOf  *[]*queue // of which list it was made
	filteredAt  uint64    // draft.filters then
}

// setList sets the topic's queues.
func (t *topic) setList(list []*queue) {
	var several []*queue
	for _, q := range list {
		if q.merged != nil {
			several = append(several, q)
		}
	}
	t.several.Store(&several)
	t.queues.Store(&list)
}

// ofPatterns returns those of the topic's queues whose consumers have several.
func (t *topic) ofPatterns() []*queue {
	if l := t.several.Load(); l != nil {
		return *l
	}
	return nil
}

func (t *topic) list() []*queue {
	if l := t.queues.Load(); l != nil {
		return *l
	}
	return nil
}

// stored returns how many messages of the topic are stored, without what this commit removes. For
// the committer.
func (t *topic) stored() int64 {
	var n int64
	for p := range t.lanes {
		n += int64(t.lanes[p].stored()) // #nosec G115 -- a count of messages is far below 2^63
	}
	return n
}
