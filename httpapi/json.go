package httpapi

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"pipit/broker"
)

// The replies are written by hand, because shell scripts grep them: one line, a space after each
// colon and comma, keys in a fixed order, all of it ASCII. encoding/json writes no such spaces.

const hexDigits = "0123456789abcdef"

// Each byte of a word.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain returns how many bytes s begins with that stand for themselves in a JSON string: all but
// quotes, backslashes and control characters.
func plain(s []byte) int { return plainUpTo(s, highs) }

// plainASCII is plain in a string of ASCII.
func plainASCII(s []byte) int { return plainUpTo(s, 0) }

// plainUpTo looks at eight bytes at a time. Those above 127 are plain where their bit in high is set.
func plainUpTo(s []byte, high uint64) int {
	i := 0
	for ; i+8 <= len(s); i += 8 {
		// x-n has a byte's highest bit set where that byte of x is below n, or was above 127 already;
		// a borrow can set it in later bytes too, so only the first one counts.
		x := binary.LittleEndian.Uint64(s[i:])
		m := (x - 0x20*ones) | ((x ^ '"'*ones) - ones) | ((x ^ '\\'*ones) - ones)
		if m = highs & (m&^x | x&^high); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf && high == 0 {
			break
		}
	}
	return i
}

// appendString appends s as a JSON string. What is not UTF-8 in it is replaced.
func appendString[S string | []byte](b []byte, s S) []byte {
	t := []byte(s)
	if !utf8.Valid(t) {
		t = []byte(string([]rune(string(s))))
	}
	return appendText(b, t)
}

// appendText appends valid UTF-8 as a JSON string.
func appendText(b, s []byte) []byte {
	return append(appendEscaped(append(b, '"'), s), '"')
}

// appendEscaped appends valid UTF-8 as a part of a JSON string.
func appendEscaped(b, s []byte) []byte {
	for {
		n := plainASCII(s)
		b = append(b, s[:n]...)
		if n == len(s) {
			return b
		}
		r, size := utf8.DecodeRune(s[n:])
		switch r {
		case '"', '\\':
			b = append(b, '\\', byte(r))
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
				b = appendUnit(b, high)
				r = low
			}
			b = appendUnit(b, r)
		}
		s = s[n+size:]
	}
}

// appendUnit appends a unit of UTF-16 as an escape.
func appendUnit(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// appendTime appends a time as 2006-01-02T15:04:05.000000, in UTC; nothing for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(appendDigits(b, year, 4), '-')
	b = append(appendDigits(b, int(month), 2), '-')
	b = append(appendDigits(b, day, 2), 'T')
	b = append(appendDigits(b, hour, 2), ':')
	b = append(appendDigits(b, minute, 2), ':')
	b = append(appendDigits(b, second, 2), '.')
	return appendDigits(b, t.Nanosecond()/1000, 6)
}

// appendDigits appends the last width decimal digits of n, which is not negative.
func appendDigits(b []byte, n, width int) []byte {
	b = append(b, "000000"[:width]...)
	for i := len(b) - 1; n > 0 && i >= len(b)-width; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
	return b
}

// message appends a message as a receive returns it. A payload that is not text is in base64,
// and the metadata says so.
func (p *pieces) message(m *broker.Message) {
	text := utf8.Valid(m.Payload)
	p.b = append(p.b, `{"payload": "`...)
	if text {
		p.parts(m.Payload, true, appendEscaped)
	} else {
		p.parts(m.Payload, false, appendBase64)
	}
	b := append(p.b, `", "metadata": {"msg_id": `...)
	b = appendString(b, m.ID)
	b = append(b, `, "topic": `...)
	b = appendString(b, m.Topic)
	b = append(b, `, "creation_time_utc": "`...)
	b = appendTime(b, m.Created)
	b = append(b, `", "expiration": `...)
	b = strconv.AppendInt(b, m.Expiration, 10)
	b = append(b, `, "expire_at_utc": "`...)
	b = appendTime(b, m.ExpireAt)
	b = append(b, `", "producer": `...)
	b = appendString(b, m.Producer)
	b = append(b, `, "priority": `...)
	b = strconv.AppendInt(b, int64(m.Priority), 10)
	b = append(b, `, "mime_type": `...)
	b = appendString(b, m.MIMEType)
	b = append(b, `, "delivery_count": `...)
	b = strconv.AppendInt(b, int64(m.DeliveryCount), 10)
	if !text {
		b = append(b, `, "encoding": "base64"`...)
	}
	p.b = append(appendExtra(b, m), "}}"...)
}

// appendExtra appends what few messages have in their metadata.
func appendExtra(b []byte, m *broker.Message) []byte {
	if m.CorrelationID != "" {
		b = appendString(append(b, `, "correlation_id": `...), m.CorrelationID)
	}
	if m.ReplyTo != "" {
		b = appendString(append(b, `, "reply_to": `...), m.ReplyTo)
	}
	for i := range m.Attributes {
		if i == 0 {
			b = append(b, `, "attributes": {`...)
		} else {
			b = append(b, ", "...)
		}
		b = append(appendString(b, m.Attributes[i].Name), ": "...)
		b = appendString(b, m.Attributes[i].Value)
	}
	if len(m.Attributes) > 0 {
		b = append(b, '}')
	}
	if d := m.DeadLetter; d != nil {
		b = appendString(append(b, `, "dead_letter": {"topic": `...), d.Topic)
		b = appendString(append(b, `, "consumer": `...), d.Consumer)
		b = appendString(append(b, `, "reason": `...), d.Reason)
		b = strconv.AppendUint(append(b, `, "delivery_count": `...), uint64(d.Count), 10)
		b = append(appendTime(append(b, `, "time_utc": "`...), d.At), `"}`...)
	}
	return b
}

// messages appends the reply of a receive.
func (p *pieces) messages(msgs []broker.Message) {
	p.b = append(p.b, `{"status": "ZATO_OK", "results_count": `...)
	p.b = strconv.AppendInt(p.b, int64(len(msgs)), 10)
	p.b = append(p.b, `, "results": [`...)
	for i := range msgs {
		if i > 0 {
			p.b = append(p.b, ", "...)
		}
		p.message(&msgs[i])
		p.next()
	}
	p.b = append(p.b, "]}"...)
}
