// Package limit is what the parameters of messages and the properties of objects may be, and what they are by default. Its functions
// tell of one value whether it may be; a broker asks them again.
package limit

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"pipit/broker/clip"
	"pipit/broker/property"
	"pipit/broker/store"
)

// Limits of what travels with a message beside its payload.
const (
	MaxCorrelationID  = 256     // characters
	MaxReplyTo        = 256     // characters
	MaxAttributes     = 32      // of a message
	MaxAttributeName  = 64      // bytes
	MaxAttributeBytes = 8 << 10 // names and values of a message together
)

// CheckCorrelationID tells whether s can be a message's correlation ID.
func CheckCorrelationID(s string) error { return checkShort("correlation_id", s, MaxCorrelationID) }

// CheckReplyTo tells whether s can be where a message is to be replied to.
func CheckReplyTo(s string) error { return checkShort("reply_to", s, MaxReplyTo) }

func checkShort(field, s string, most int) error {
	if utf8.RuneCountInString(s) > most || !property.Printable(s) {
		return property.Errorf(field, "%s %q: allowed are at most %d characters, none of them a control character", field, clip.Input(s), most)
	}
	return nil
}

// checkAttributeName tells whether s can be the name of an attribute, in any case.
func checkAttributeName(s string) error {
	if s == "" || len(s) > MaxAttributeName || strings.ContainsFunc(s, property.NotKeyChar) {
		return property.Errorf("attributes", "attribute %q: names have 1 to %d of A-Z a-z 0-9 . _ -", clip.Input(s), MaxAttributeName)
	}
	return nil
}

// CheckAttributes tells whether a message can have such attributes: in any order, each name once, whatever its case.
func CheckAttributes(list []store.Attribute) error {
	_, err := KeptAttributes(list)
	return err
}

// KeptAttributes returns attributes as they are kept: with names in lower case, in their order. It leaves list alone.
func KeptAttributes(list []store.Attribute) ([]store.Attribute, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > MaxAttributes {
		return nil, property.Errorf("attributes", "%d attributes: allowed are at most %d", len(list), MaxAttributes)
	}
	size := 0
	list = slices.Clone(list)
	for i := range list {
		a := &list[i]
		if err := checkAttributeName(a.Name); err != nil {
			return nil, err
		}
		if !property.Printable(a.Value) {
			return nil, property.Errorf("attributes", "attribute %q: its value %q is not UTF-8 without control characters", a.Name, clip.Input(a.Value))
		}
		a.Name = strings.ToLower(a.Name)
		size += len(a.Name) + len(a.Value)
	}
	if size > MaxAttributeBytes {
		return nil, property.Errorf("attributes", "attributes of %d bytes: allowed are %d for names and values together", size, MaxAttributeBytes)
	}
	slices.SortFunc(list, func(a, b store.Attribute) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(list); i++ {
		if list[i].Name == list[i-1].Name {
			return nil, property.Errorf("attributes", "attribute %q: given more than once", list[i].Name)
		}
	}
	return list, nil
}

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

// CheckPriority tells whether n is a priority.
func CheckPriority(n int64) error {
	if n < MinPriority || n > MaxPriority {
		return property.Errorf("priority", "priority %d: allowed are %d to %d", n, MinPriority, MaxPriority)
	}
	return nil
}

// CheckExpiration tells whether n seconds is an expiration of a message.
func CheckExpiration(n int64) error {
	if n < 1 || n > MaxExpiration {
		return property.Errorf("expiration", "expiration %d: allowed are 1 to %d seconds", n, int64(MaxExpiration))
	}
	return nil
}

// CheckDelay tells whether n seconds is a delay.
func CheckDelay(n int64) error {
	if n < 0 || n > MaxDelay {
		return property.Errorf("delay", "delay %d: allowed are 0 to %d seconds", n, MaxDelay)
	}
	return nil
}

// ParseDeliverAt reads a UTC time such as 2026-11-23T09:00:00, with or without a Z and fractions, or Unix seconds. The error
// is Invalid.
func ParseDeliverAt(s string) (time.Time, error) {
	t, ok := property.ParseUTC(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' {
		t, ok = time.Unix(n, 0).UTC(), n >= 0 && n <= maxUnix
	}
	if !ok {
		return t, property.Errorf("deliver_at", "deliver_at %q: allowed are a UTC time such as 2026-11-23T09:00:00, and Unix seconds", clip.Input(s))
	}
	return t, nil
}

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// CheckMessageID tells whether s can be a message's own ID.
func CheckMessageID(s string) error {
	if s == "" || utf8.RuneCountInString(s) > MaxMessageID || !property.Printable(s) {
		return property.Errorf("msg_id", "msg_id %q: allowed are 1 to %d characters, none of them a control character", clip.Input(s), MaxMessageID)
	}
	return nil
}

// CheckMIMEType tells whether s can be a message's MIME type.
func CheckMIMEType(s string) error {
	if s == "" || len(s) > MaxMIMEType || !property.Printable(s) {
		return property.Errorf("mime_type", "mime_type %q: allowed are 1 to %d bytes without control characters", clip.Input(s), MaxMIMEType)
	}
	return nil
}

// MaxBatch is how many messages one batch takes.
const MaxBatch = 10_000

// Limits of receiving and settling.
const (
	DefaultReceive = 100
	MaxReceive     = 1000             // messages of one Receive
	MaxReply       = 16 << 20         // bytes of payload of one Receive, unless one message passes it
	MaxWait        = 60 * time.Second // of a long poll
	MaxSettle      = 10_000           // messages of one Settle
)

// MaxExtend bounds Extension.Seconds: 12 hours.
const MaxExtend = 12 * 60 * 60

// CheckExtend tells whether n seconds is an extension.
func CheckExtend(n int64) error {
	if n < 1 || n > MaxExtend {
		return property.Errorf("extend", "extend %d: allowed are 1 to %d seconds", n, MaxExtend)
	}
	return nil
}
