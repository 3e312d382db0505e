package broker

import (
	"strconv"
	"time"
	"unicode/utf8"

	"pipit/broker/clip"
	"pipit/broker/store"
)

// Defaults and limits of messages.
const (
	DefaultPriority = 5
	MinPriority     = 1
	MaxPriority     = 9
	MaxMessageID    = 200                // characters
	MaxMIMEType     = 255                // bytes
	MaxDelay        = 365 * 24 * 60 * 60 // seconds
	DefaultMIMEType = "text/plain"
)

// Publication is a message as its publisher hands it in. The zero value of a field stands for
// its default.
type Publication struct {
	Payload    []byte // kept as it is; not to be changed until the publish returns
	Priority   int    // 1 to 9, 9 is delivered first; default 5
	Expiration int64  // seconds from when it can be delivered; default: the topic's
	MIMEType   string // at most 255 bytes, never checked against the payload; default text/plain
	ID         string // 1 to 200 characters, none of them a control character; default: made by the broker
	Delay      int64  // seconds before it can be delivered; default 0

	DeliverAt time.Time // before which it cannot be delivered, instead of a Delay: at most MaxDelay ahead, at once where it is past

	CorrelationID string      // what consumers connect it with: at most 256 characters, none of them a control character
	ReplyTo       string      // where an answer to it is expected: as CorrelationID
	Attributes    []Attribute // at most 32, of 8 KiB together, in any order; not to be changed until the publish returns

	producer string // see WithProducer
}

// Receipt is the answer to a Publication.
type Receipt struct {
	ID        string
	Duplicate bool // the topic got this ID within its dedup window before: not stored again
}

// Message is a message as a consumer gets it.
type Message struct {
	ID            string
	Topic         string
	Created       time.Time // UTC, whole microseconds
	Expiration    int64     // seconds; 0: does not expire
	ExpireAt      time.Time // zero where it does not expire
	Producer      string    // display name of the publishing client
	Priority      int
	MIMEType      string
	DeliveryCount int // 1 at the first delivery
	Payload       []byte

	CorrelationID string
	ReplyTo       string
	Attributes    []Attribute       // by name, in lower case; not to be changed
	DeadLetter    *store.DeadLetter // where it failed, if it was moved to a dead-letter topic; not to be changed

	lease leaseRef // under which it was handed out
}

// CheckPriority tells whether n is a priority.
func CheckPriority(n int64) error {
	if n < MinPriority || n > MaxPriority {
		return fieldErrorf("priority", "priority %d: allowed are %d to %d", n, MinPriority, MaxPriority)
	}
	return nil
}

// CheckExpiration tells whether n seconds is an expiration of a message.
func CheckExpiration(n int64) error {
	if n < 1 || n > MaxExpiration {
		return fieldErrorf("expiration", "expiration %d: allowed are 1 to %d seconds", n, int64(MaxExpiration))
	}
	return nil
}

// CheckDelay tells whether n seconds is a delay.
func CheckDelay(n int64) error {
	if n < 0 || n > MaxDelay {
		return fieldErrorf("delay", "delay %d: allowed are 0 to %d seconds", n, MaxDelay)
	}
	return nil
}

// ParseDeliverAt reads a UTC time such as 2026-11-23T09:00:00, with or without a Z and fractions, or Unix seconds. The error
// is Invalid.
func ParseDeliverAt(s string) (time.Time, error) {
	t, ok := parseUTC(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		t, ok = time.Unix(n, 0).UTC(), n >= 0 && n <= maxUnix
	}
	if !ok {
		return t, fieldErrorf("deliver_at", "deliver_at %q: allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds", clip.Input(s))
	}
	return t, nil
}

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// delay returns how many seconds pass before a message published now can be delivered: whole ones, so that it is not sooner.
func (p *Publication) delay(now time.Time) int64 {
	if p.DeliverAt.IsZero() {
		return p.Delay
	}
	wait := p.DeliverAt.Sub(created(now))
	n := int64(wait / time.Second)
	if wait%time.Second > 0 {
		n++
	}
	return max(n, 0)
}

// created is the time of publishing of a message published now, as its record has it.
func created(now time.Time) time.Time { return now.UTC().Truncate(time.Microsecond) }

// validateDelay checks when a message published now can be delivered.
func (p *Publication) validateDelay(now time.Time) error {
	switch {
	case p.DeliverAt.IsZero():
		return ours(CheckDelay(p.Delay))
	case p.Delay != 0:
		return Invalidf("deliver_at with delay %d: allowed is one of them", p.Delay).of("deliver_at")
	case p.delay(now) > MaxDelay:
		return Invalidf("deliver_at %s: allowed are at most %d seconds from now", p.DeliverAt.UTC().Format("2006-01-02T15:04:05"), MaxDelay).of("deliver_at")
	}
	return nil
}

// CheckMessageID tells whether s can be a message's own ID.
func CheckMessageID(s string) error {
	if s == "" || utf8.RuneCountInString(s) > MaxMessageID || !printable(s) {
		return fieldErrorf("msg_id", "msg_id %q: allowed are 1 to %d characters, none of them a control character", clip.Input(s), MaxMessageID)
	}
	return nil
}

// CheckMIMEType tells whether s can be a message's MIME type.
func CheckMIMEType(s string) error {
	if s == "" || len(s) > MaxMIMEType || !printable(s) {
		return fieldErrorf("mime_type", "mime_type %q: allowed are 1 to %d bytes without control characters", clip.Input(s), MaxMIMEType)
	}
	return nil
}

// validate checks a publication of now and fills in its defaults, but for the expiration.
func (p *Publication) validate(maxPayload int64, now time.Time) error {
	if int64(len(p.Payload)) > maxPayload {
		return &Error{Code: TooLarge, Message: tooLargeMessage(int64(len(p.Payload)), maxPayload), Field: "payload"}
	}
	if p.Priority == 0 {
		p.Priority = DefaultPriority
	}
	if err := CheckPriority(int64(p.Priority)); err != nil {
		return ours(err)
	}
	if p.Expiration != 0 {
		if err := CheckExpiration(p.Expiration); err != nil {
			return ours(err)
		}
	}
	if p.MIMEType == "" {
		p.MIMEType = DefaultMIMEType
	}
	if err := CheckMIMEType(p.MIMEType); err != nil {
		return ours(err)
	}
	if p.ID != "" {
		if err := CheckMessageID(p.ID); err != nil {
			return ours(err)
		}
	}
	if err := p.validateExtra(); err != nil {
		return err
	}
	if len(p.producer) > MaxName || !printable(p.producer) {
		return Invalidf("producer %q: allowed are at most %d bytes without control characters", clip.Input(p.producer), MaxName).of("producer")
	}
	return p.validateDelay(now)
}
