package httpapi

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads the tokens of JSON (RFC 8259) as far as batches need it: objects, lists, strings and
// whole numbers. A general decoder would cost more than storing the messages. It is strict: what it
// accepts, encoding/json reads in the same way.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
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

// end tells whether nothing is left.
func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// more steps through an object or list: it takes close, or the comma in front of all but the first
// element. ok is false where neither comes.
func (s *scanner) more(close byte, first bool) (more, ok bool) {
	if s.next(close) {
		return false, true
	}
	return true, first || s.next(',')
}

// object takes an object, or null for an empty one. value takes the value of a key.
func (s *scanner) object(value func(key string) bool) bool {
	if !s.next('{') {
		return s.null()
	}
	for first := true; ; first = false {
		more, ok := s.more('}', first)
		if !ok || !more {
			return ok
		}
		key, ok := s.key()
		if !ok || !value(string(key)) {
			return false
		}
	}
}

// key takes a key with its colon.
func (s *scanner) key() ([]byte, bool) {
	k, ok := s.str()
	return k, ok && s.next(':')
}

// number takes a whole number: no fraction, no exponent.
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
	if s.i == digits || s.b[digits] == '0' && s.i > digits+1 {
		return 0, false
	}
	if s.i < len(s.b) && (s.b[s.i] == '.' || s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		return 0, false
	}
	n, err := strconv.ParseInt(string(s.b[from:s.i]), 10, 64)
	return n, err == nil
}

// str takes a string. Without escapes it is part of b. What is not UTF-8, and half of a surrogate
// pair, is refused.
func (s *scanner) str() ([]byte, bool) {
	if !s.next('"') {
		return nil, false
	}
	from, escaped := s.i, false
	for {
		s.i += plain(s.b[s.i:])
		if s.i >= len(s.b) || s.b[s.i] < 0x20 {
			return nil, false
		}
		if s.b[s.i] == '"' {
			break
		}
		if s.i += 2; s.i > len(s.b) {
			return nil, false
		}
		escaped = true
	}
	v := s.b[from:s.i:s.i]
	s.i++
	if escaped {
		var ok bool
		if v, ok = unescape(v); !ok {
			return nil, false
		}
	}
	return v, utf8.Valid(v)
}

// null takes a null.
func (s *scanner) null() bool {
	s.space()
	if !bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		return false
	}
	s.i += len("null")
	return true
}

// list takes a list of strings, or null for an empty one.
func (s *scanner) list() (list []string, ok bool) {
	if !s.next('[') {
		return nil, s.null()
	}
	for first := true; ; first = false {
		more, ok := s.more(']', first)
		if !ok || !more {
			return list, ok
		}
		v, ok := s.str()
		if !ok {
			return nil, false
		}
		list = append(list, string(v))
	}
}

// escapes are what the letters after a backslash stand for; 0: nothing.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape resolves the escapes of a string.
func unescape(v []byte) ([]byte, bool) {
	out := make([]byte, 0, len(v)) // an escape is longer than what it stands for
	for len(v) > 0 {
		if v[0] != '\\' {
			n := plain(v)
			out, v = append(out, v[:n]...), v[n:]
			continue
		}
		c := v[1] // str has seen that there is one
		if c != 'u' {
			if escapes[c] == 0 {
				return nil, false
			}
			out, v = append(out, escapes[c]), v[2:]
			continue
		}
		r, ok := unit(v)
		if !ok {
			return nil, false
		}
		v = v[6:]
		if utf16.IsSurrogate(r) {
			low, ok := unit(v)
			if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
				return nil, false
			}
			v = v[6:]
		}
		out = utf8.AppendRune(out, r)
	}
	return out, true
}

// unit reads one escape of four hexadecimal digits, a unit of UTF-16.
func unit(v []byte) (rune, bool) {
	if len(v) < 6 || v[0] != '\\' || v[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v[2:6]), 16, 16)
	return rune(n), err == nil
}
