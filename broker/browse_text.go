package broker

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// textMatcher finds a text in payloads, whatever the case of its letters, or byte by byte.
type textMatcher struct {
	exact  []byte
	folded []rune // of the text, see fold; empty: exact is looked for
	begins []byte // bytes with which a match can begin
}

// newTextMatcher returns one that finds s. Of what is no UTF-8 there is no case.
func newTextMatcher(s string, exact bool) textMatcher {
	m := textMatcher{exact: []byte(s)}
	if exact || s == "" || !utf8.ValidString(s) {
		return m
	}
	cased := false
	for _, r := range s {
		m.folded = append(m.folded, fold(r))
		cased = cased || unicode.SimpleFold(r) != r
	}
	if !cased {
		m.folded = nil
		return m
	}
	begin := m.folded[0]
	for r := begin; ; {
		if b := utf8.AppendRune(nil, r)[0]; bytes.IndexByte(m.begins, b) < 0 {
			m.begins = append(m.begins, b)
		}
		if r = unicode.SimpleFold(r); r == begin {
			return m
		}
	}
}

// fold returns what is the same for a letter in all of its cases.
func fold(r rune) rune {
	if r < utf8.RuneSelf && r != 'k' && r != 'K' && r != 's' && r != 'S' { // of these there are some beyond ASCII
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}

// in tells whether a payload contains the text. Most of a payload is looked at by IndexByte alone, which takes many bytes at a time.
func (m *textMatcher) in(payload []byte) bool {
	if len(m.folded) == 0 {
		return bytes.Contains(payload, m.exact)
	}
	for _, b := range m.begins {
		for rest := payload; ; rest = rest[1:] {
			i := bytes.IndexByte(rest, b)
			if i < 0 {
				break
			}
			if rest = rest[i:]; m.at(rest) {
				return true
			}
		}
	}
	return false
}

// at tells whether the text is what b begins with.
func (m *textMatcher) at(b []byte) bool {
	for _, want := range m.folded {
		r, n := rune(0), 1
		switch {
		case len(b) == 0:
			return false
		case b[0] < utf8.RuneSelf:
			r = rune(b[0])
		default:
			if r, n = utf8.DecodeRune(b); r == utf8.RuneError && n == 1 {
				return false
			}
		}
		if r != want && fold(r) != want {
			return false
		}
		b = b[n:]
	}
	return true
}
