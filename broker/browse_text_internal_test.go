package broker

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextMatcher(t *testing.T) {
	for _, c := range []struct {
		text, payload string
		folded, exact bool
	}{
		{"", "x", true, true},
		{"müller 4", `{"name": "Müller 4"}`, true, false},
		{"MÜLLER", "herr müller", true, false},
		{"Müller", "Muller Müller", true, true},
		{"straße", "STRASSE", false, false},
		{"kelvin", "\u212Aelvin", true, false},
		{"ſ", "S", true, false},
		{"ΌΣΟΣ", "όσος", true, false},
		{"aab", "aaab", true, true},
		{"aB", "ab", true, false},
		{"12", "3412", true, true},
		{"a", "", false, false},
		{"abc", "ab", false, false},
		{"\xff", "a\xffb", true, true},
		{"\xffA", "\xffa", false, false},
		{"\uFFFDa", "\xffa", false, false},
		{"é", "\xc3", false, false},
	} {
		folded, exact := newTextMatcher(c.text, false), newTextMatcher(c.text, true)
		if got := folded.in([]byte(c.payload)); got != c.folded {
			t.Errorf("%q in %q: %t", c.text, c.payload, got)
		}
		if got := exact.in([]byte(c.payload)); got != c.exact {
			t.Errorf("%q in %q, byte by byte: %t", c.text, c.payload, got)
		}
	}
}

// FuzzTextMatcher: letters are the same in all cases as they are to a regular expression.
func FuzzTextMatcher(f *testing.F) {
	f.Add("müller", "Herr MÜLLER")
	f.Add("sk", "ſ\u212A")
	f.Fuzz(func(t *testing.T, text, payload string) {
		if !utf8.ValidString(text) || !utf8.ValidString(payload) || strings.ContainsRune(text, utf8.RuneError) {
			t.Skip()
		}
		m := newTextMatcher(text, false)
		want := regexp.MustCompile("(?i)" + regexp.QuoteMeta(text)).MatchString(payload)
		if got := m.in([]byte(payload)); got != want {
			t.Errorf("%q in %q: %t, want %t", text, payload, got, want)
		}
	})
}

// BenchmarkTextMatcher looks for a text of common letters in 1 KiB.
func BenchmarkTextMatcher(b *testing.B) {
	payload := []byte(strings.Repeat(`{"customer": "Eve Meier", "order": 4711}, `, 25))
	m := newTextMatcher("eve meyer", false)
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		m.in(payload)
	}
}
