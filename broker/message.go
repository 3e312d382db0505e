package broker

import (
	"time"

	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
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
		return ours(limit.CheckDelay(p.Delay))
	case p.Delay != 0:
		return Invalidf("deliver_at with delay %d: allowed is one of them", p.Delay).of("deliver_at")
	case p.delay(now) > limit.MaxDelay:
		return Invalidf("deliver_at %s: allowed are at most %d seconds from now", p.DeliverAt.UTC().Format("2006-01-02T15:04:05"), limit.MaxDelay).of("deliver_at")
	}
	return nil
}

// validate checks a publication of now and fills in its defaults, but for the expiration.
func (p *Publication) validate(maxPayload int64, now time.Time) error {
	if int64(len(p.Payload)) > maxPayload {
		return &Error{Code: TooLarge, Message: tooLargeMessage(int64(len(p.Payload)), maxPayload), Field: "payload"}
	}
	if p.Priority == 0 {
		p.Priority = limit.DefaultPriority
	}
	if err := limit.CheckPriority(int64(p.Priority)); err != nil {
		return ours(err)
	}
	if p.Expiration != 0 {
		if err := limit.CheckExpiration(p.Expiration); err != nil {
			return ours(err)
		}
	}
	if p.MIMEType == "" {
		p.MIMEType = limit.DefaultMIMEType
	}
	if err := limit.CheckMIMEType(p.MIMEType); err != nil {
		return ours(err)
	}
	if p.ID != "" {
		if err := limit.CheckMessageID(p.ID); err != nil {
			return ours(err)
		}
	}
	if err := p.validateExtra(); err != nil {
		return err
	}
	if len(p.producer) > limit.MaxName || !property.Printable(p.producer) {
		return Invalidf("producer %q: allowed are at most %d bytes without control characters", clip.Input(p.producer), limit.MaxName).of("producer")
	}
	return p.validateDelay(now)
}
