package broker

import (
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pipit/broker/clip"
)

// Defaults and limits of consumers.
const (
	DefaultMaxInFlight = 10_000
	DefaultAckTimeout  = 30 * time.Second

	MaxMaxInFlight = 1_000_000
	MinAckTimeout  = time.Second
	MaxAckTimeout  = 24 * time.Hour
	MaxSubKey      = 128 // bytes

	MaxConsumerName = 64 // characters
)

// Consumer is a client's queue of a topic's messages.
type Consumer struct {
	Client      string // username
	Topic       string // name
	Name        string `json:",omitempty"` // tells it from the client's others of the topic: at most 64 printable characters; may be empty
	SubKey      string // secret name of the queue: 1 to 128 of A-Z a-z 0-9 . _ -; made where empty
	Active      bool
	MaxDepth    int64         // messages that wait or are in flight; past it a publish to the topic is refused
	MaxInFlight int           // messages delivered or put back, and neither acknowledged nor expired
	AckTimeout  time.Duration // how long a delivered message is in flight
	LastSeen    time.Time     `json:"-"` // the last receive or acknowledgement; zero: never

	// FromOldest makes a new consumer begin at the oldest message that waits in the topic
	// also where the topic has other consumers. It has no effect on an existing one.
	FromOldest bool `json:"-"`

	// New makes a consumer without a SubKey a new one, also where the client has another
	// for the topic. It has no effect on an existing one.
	New bool `json:"-"`
}

// Validate checks the consumer's fields. The error joins one for each that is wrong.
func (c *Consumer) Validate() error {
	var wrong []error
	if utf8.RuneCountInString(c.Name) > MaxConsumerName || !utf8.ValidString(c.Name) || strings.TrimSpace(c.Name) != c.Name ||
		strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		wrong = append(wrong, Invalidf("name %q of consumer %q of topic %q: allowed are at most %d printable characters without a blank at either end",
			clip.Input(c.Name), c.Client, c.Topic, MaxConsumerName).of("name"))
	}
	if len(c.SubKey) > MaxSubKey || strings.ContainsFunc(c.SubKey, notKeyChar) {
		wrong = append(wrong, Invalidf("sub_key of consumer %q of topic %q: allowed are at most %d of A-Z a-z 0-9 . _ -", c.Client, c.Topic, MaxSubKey).of("sub_key"))
	}
	if c.MaxDepth < 1 || c.MaxDepth > MaxMaxDepth {
		wrong = append(wrong, Invalidf("max_depth %d of consumer %q of topic %q: allowed are 1 to %d", c.MaxDepth, c.Client, c.Topic, int64(MaxMaxDepth)).of("max_depth"))
	}
	if c.MaxInFlight < 1 || c.MaxInFlight > MaxMaxInFlight {
		wrong = append(wrong, Invalidf("max_in_flight %d of consumer %q of topic %q: allowed are 1 to %d", c.MaxInFlight, c.Client, c.Topic, MaxMaxInFlight).of("max_in_flight"))
	}
	if c.AckTimeout < MinAckTimeout || c.AckTimeout > MaxAckTimeout {
		wrong = append(wrong, Invalidf("ack_timeout %s of consumer %q of topic %q: allowed are %s to %s", c.AckTimeout, c.Client, c.Topic, MinAckTimeout, MaxAckTimeout).of("ack_timeout"))
	}
	return errors.Join(wrong...)
}

func notKeyChar(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
}
