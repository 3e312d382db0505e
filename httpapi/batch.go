package httpapi

import (
	"bytes"
	"encoding/base64"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"pipit/broker"
)

// publishBatch stores one message a line of the body: all of them or, after an error, none.
func (s *server) publishBatch(x *exchange, r *http.Request, pub broker.Publisher, p params) error {
	for _, name := range publishParams {
		if _, given := p[name]; given && name != "batch" {
			return broker.Invalidf("parameter %q: in a batch it belongs into the lines", name)
		}
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/x-ndjson" {
		return broker.Invalidf("header Content-Type %q: a batch is application/x-ndjson", clip(r.Header.Get("Content-Type")))
	}
	body, done, err := s.body(r, s.opts.MaxBatch, "body")
	if err != nil {
		return err
	}
	defer done()
	pubs, err := parseBatch(body, s.b.CheckPublication)
	if err != nil {
		return err
	}
	receipts, err := pub.PublishBatch(r.Context(), pubs)
	if err != nil {
		return err
	}
	b := append(make([]byte, 0, 48+32*len(receipts)), `{"status": "ZATO_OK", "msg_ids": [`...)
	for i := range receipts {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(append(b, '"'), receipts[i].ID...), '"')
		if receipts[i].Duplicate {
			x.Header()["X-Zato-Duplicate"] = duplicate
		}
	}
	_ = x.reply(http.StatusOK, typeJSON, append(b, "]}"...))
	return nil
}

// parseBatch reads lines of one JSON object each. Payloads without escapes stay where they are
// in the body. An error names its line.
func parseBatch(body []byte, check func(*broker.Publication) error) ([]broker.Publication, error) {
	body = bytes.TrimSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte("\r"))
	lines := bytes.Count(body, []byte("\n")) + 1
	if len(body) == 0 || lines > broker.MaxBatch {
		if len(body) == 0 {
			lines = 0
		}
		return nil, broker.Invalidf("batch of %d lines: allowed are 1 to %d", lines, broker.MaxBatch)
	}
	pubs := make([]broker.Publication, lines)
	for i := range pubs {
		line, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		err := parseLine(line, &pubs[i])
		if err == nil {
			err = check(&pubs[i])
		}
		if err != nil {
			code := broker.Invalid
			msg := err.Error()
			var be *broker.Error
			if errors.As(err, &be) {
				code, msg = be.Code, be.Message
			}
			return nil, &broker.Error{Code: code, Message: "line " + strconv.Itoa(i+1) + ": " + msg}
		}
	}
	return pubs, nil
}

// lineKeys are the keys of a line, each with its bit.
var lineKeys = map[string]uint{"payload": 1, "priority": 2, "expiration": 4, "mime_type": 8, "msg_id": 16, "delay": 32, "encoding": 64}

var errSyntax = errors.New(`not a JSON object with "payload", a string, and perhaps priority, expiration, mime_type, msg_id, delay, encoding`)

// parseLine reads one line. It is a scanner for flat objects of strings and whole numbers: a
// general decoder would cost more than storing the message.
func parseLine(line []byte, m *broker.Publication) error {
	s := scanner{b: line}
	if !s.next('{') {
		return errSyntax
	}
	var seen uint
	base := false
	for first := true; ; first = false {
		if s.next('}') {
			break
		}
		if !first && !s.next(',') {
			return errSyntax
		}
		key, ok := s.str()
		if !ok || !s.next(':') {
			return errSyntax
		}
		bit := lineKeys[string(key)]
		if bit == 0 {
			return broker.Invalidf("key %q: allowed are payload, priority, expiration, mime_type, msg_id, delay, encoding", clip(string(key)))
		}
		if seen&bit != 0 {
			return broker.Invalidf("key %q: given twice", key)
		}
		seen |= bit
		if err := s.value(string(key), m, &base); err != nil {
			return err
		}
	}
	if !s.end() {
		return errSyntax
	}
	if seen&1 == 0 {
		return broker.Invalidf("payload: it is missing")
	}
	if base {
		b, err := base64.StdEncoding.AppendDecode(nil, m.Payload)
		if err != nil {
			return broker.Invalidf("payload: not base64, as its encoding says")
		}
		m.Payload = b
	}
	return nil
}

// value reads the value of a key into a message.
func (s *scanner) value(key string, m *broker.Publication, base *bool) error {
	switch key {
	case "payload", "mime_type", "msg_id", "encoding":
		v, ok := s.str()
		if !ok {
			return broker.Invalidf("%s: allowed is a JSON string", key)
		}
		switch key {
		case "payload":
			m.Payload = v
		case "mime_type":
			m.MIMEType = string(v)
			return broker.CheckMIMEType(m.MIMEType)
		case "msg_id":
			m.ID = string(v)
			return broker.CheckMessageID(m.ID)
		default:
			if *base = string(v) == "base64"; !*base {
				return broker.Invalidf("encoding %q: allowed is base64", clip(string(v)))
			}
		}
		return nil
	}
	n, ok := s.number()
	if !ok {
		return broker.Invalidf("%s: allowed are whole numbers", key)
	}
	switch key {
	case "priority":
		m.Priority = int(n)
		return broker.CheckPriority(n)
	case "expiration":
		m.Expiration = n
		return broker.CheckExpiration(n)
	default:
		m.Delay = n
		return broker.CheckDelay(n)
	}
}

// scanner reads the tokens of a flat JSON object (RFC 8259).
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// next takes c where it comes next.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// number takes a whole number.
func (s *scanner) number() (int64, bool) {
	s.space()
	from := s.i
	if s.i < len(s.b) && s.b[s.i] == '-' {
		s.i++
	}
	digits := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	if s.i-digits > 1 && s.b[digits] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(string(s.b[from:s.i]), 10, 64)
	return n, err == nil
}

// str takes a string. Without escapes it is part of the line.
func (s *scanner) str() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	from := s.i
	b := s.b
	for s.i < len(b) && plain[b[s.i]] {
		s.i++
	}
	if s.i == len(b) || b[s.i] < 0x20 {
		return nil, false
	}
	if b[s.i] == '"' {
		v := b[from:s.i:s.i]
		s.i++
		return v, utf8.Valid(v)
	}
	out := append(make([]byte, 0, len(b)-from), b[from:s.i]...)
	for s.i < len(b) {
		switch c := b[s.i]; {
		case c == '"':
			s.i++
			return out, utf8.Valid(out)
		case c < 0x20:
			return nil, false
		case c == '\\':
			var ok bool
			if out, ok = s.escape(out); !ok {
				return nil, false
			}
		default:
			out = append(out, c)
			s.i++
		}
	}
	return nil, false
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// escape takes an escape. A lone surrogate is refused: it has no meaning in UTF-8.
func (s *scanner) escape(out []byte) ([]byte, bool) {
	if s.i+1 >= len(s.b) {
		return nil, false
	}
	c := s.b[s.i+1]
	if c != 'u' {
		e, ok := escapes[c]
		s.i += 2
		return append(out, e), ok
	}
	r, ok := s.unit()
	if !ok {
		return nil, false
	}
	if utf16.IsSurrogate(r) {
		low, ok := s.unit()
		if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
			return nil, false
		}
	}
	return utf8.AppendRune(out, r), true
}

// unit takes a \uXXXX.
func (s *scanner) unit() (rune, bool) {
	if s.i+6 > len(s.b) || s.b[s.i] != '\\' || s.b[s.i+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s.b[s.i+2:s.i+6]), 16, 16)
	s.i += 6
	return rune(n), err == nil
}
