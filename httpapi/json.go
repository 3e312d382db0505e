package httpapi

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"pipit/broker"
)

// The replies are written by hand, because shell scripts grep them: one line, a space after each
// colon and comma, keys in a fixed order. encoding/json writes no such spaces.

const hexDigits = "0123456789abcdef"

// plain tells which bytes stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for i := 0x20; i < 256; i++ {
		t[i] = i != '"' && i != '\\'
	}
	return t
}()

// appendString appends s, which is valid UTF-8, as a JSON string. What is not is replaced.
func appendString[S string | []byte](b []byte, s S) []byte {
	if !utf8.ValidString(string(s)) {
		return appendQuoted(b, []byte(string([]rune(string(s)))))
	}
	return appendQuoted(b, s)
}

// appendQuoted appends valid UTF-8 as a JSON string.
func appendQuoted[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		// Eight bytes at a time while there is nothing to escape.
		for i+8 <= len(s) && plain[s[i]] && plain[s[i+1]] && plain[s[i+2]] && plain[s[i+3]] &&
			plain[s[i+4]] && plain[s[i+5]] && plain[s[i+6]] && plain[s[i+7]] {
			i += 8
		}
		if i == len(s) {
			break
		}
		c := s[i]
		if plain[c] {
			i++
			continue
		}
		b = append(b, s[from:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		from = i
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendTime appends a time in UTC with six digits of a second and no zone; nothing for the zero time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return t.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000")
}

// appendMessage appends a message as a receive returns it.
func appendMessage(b []byte, m *broker.Message) []byte {
	text := utf8.Valid(m.Payload)
	b = append(b, `{"payload": `...)
	if text {
		b = appendQuoted(b, m.Payload)
	} else {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, m.Payload)
		b = append(b, '"')
	}
	b = append(b, `, "metadata": {"msg_id": `...)
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
	return append(b, "}}"...)
}

// appendMessages appends the reply of a receive.
func appendMessages(b []byte, msgs []broker.Message) []byte {
	b = append(b, `{"status": "ZATO_OK", "results_count": `...)
	b = strconv.AppendInt(b, int64(len(msgs)), 10)
	b = append(b, `, "results": [`...)
	for i := range msgs {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendMessage(b, &msgs[i])
	}
	return append(b, "]}"...)
}

// appendStrings appends a list of strings.
func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}
