package config

import (
	"fmt"
	"strconv"
	"strings"
)

// keyLines returns the line of each key, table and element of a text that is valid TOML, by path. The
// n-th element of an array, and the n-th table of an array of tables, has the path "name[n]", counted
// from 0. The parser does not tell: its lines are those of errors alone.
func keyLines(text string) map[string]int {
	s := lineScanner{text: text, line: 1, lines: map[string]int{}}
	counts := map[string]int{}
	table := ""
	for s.skipBlank(); s.i < len(s.text); s.skipBlank() {
		if !s.take("[") {
			s.pair(table)
			continue
		}
		line := s.line
		array := s.take("[")
		table = s.key()
		s.take("]")
		if array {
			s.take("]")
			counts[table]++
			table = fmt.Sprintf("%s[%d]", table, counts[table]-1)
		} else if of, within, ok := strings.Cut(table, "."); ok && counts[of] > 0 { // a table in the last element
			table = fmt.Sprintf("%s[%d].%s", of, counts[of]-1, within)
		}
		if _, ok := s.lines[table]; !ok {
			s.lines[table] = line
		}
	}
	return s.lines
}

// lineScanner walks over valid TOML and counts lines.
type lineScanner struct {
	text  string
	i     int
	line  int
	lines map[string]int
}

// pair reads a key and its value, in a table.
func (s *lineScanner) pair(table string) {
	line := s.line
	path := joinKey(table, s.key())
	s.lines[path] = line
	s.take("=")
	s.value(path)
}

func (s *lineScanner) rest() string { return s.text[s.i:] }

// take skips a token, if it is next.
func (s *lineScanner) take(token string) bool {
	ok := strings.HasPrefix(s.rest(), token)
	if ok {
		s.i += len(token)
	}
	return ok
}

// to moves to an offset behind the current one.
func (s *lineScanner) to(i int) {
	i = min(i, len(s.text))
	s.line += strings.Count(s.text[s.i:i], "\n")
	s.i = i
}

// skipBlank skips white space, line ends and comments.
func (s *lineScanner) skipBlank() {
	for s.i < len(s.text) {
		switch s.text[s.i] {
		case ' ', '\t', '\r', '\n':
			s.to(s.i + 1)
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *lineScanner) comment() {
	if n := strings.IndexByte(s.rest(), '\n'); n >= 0 {
		s.i += n
	} else {
		s.i = len(s.text)
	}
}

// key reads a key, dotted or not, up to the "=" or "]" behind it.
func (s *lineScanner) key() string {
	var path string
	for s.i < len(s.text) {
		switch c := s.text[s.i]; c {
		case ' ', '\t':
			s.i++
		case '.':
			path += "."
			s.i++
		case '=', ']':
			return path
		case '"', '\'':
			from := s.i
			s.quoted()
			part := s.text[from:s.i]
			if unquoted, err := strconv.Unquote(part); err == nil && c == '"' {
				part = unquoted
			} else {
				part = strings.Trim(part, string(c))
			}
			path += part
		default:
			path += string(c)
			s.i++
		}
	}
	return path
}

// quoted skips a text in any of the four kinds of quotes.
func (s *lineScanner) quoted() {
	c := s.text[s.i]
	end := string(c)
	if three := strings.Repeat(end, 3); strings.HasPrefix(s.rest(), three) {
		end = three
	}
	s.i += len(end)
	for s.i < len(s.text) && !s.take(end) {
		if c == '"' && s.text[s.i] == '\\' {
			s.i++
		}
		s.to(s.i + 1)
	}
	for n := 0; n < 2 && len(end) == 3 && s.take(string(c)); n++ { // """ a quote at the end""""
	}
}

// value reads the value of a path, up to what follows it.
func (s *lineScanner) value(path string) {
	for s.i < len(s.text) && (s.text[s.i] == ' ' || s.text[s.i] == '\t') {
		s.i++
	}
	switch {
	case s.take("["):
		for n := 0; s.inside("]"); n++ {
			element := path
			if !strings.HasSuffix(path, "]") { // an array in an array is one value
				element = fmt.Sprintf("%s[%d]", path, n)
				s.lines[element] = s.line
			}
			s.value(element)
		}
	case s.take("{"):
		for s.inside("}") {
			s.pair(path)
		}
	case strings.HasPrefix(s.rest(), `"`), strings.HasPrefix(s.rest(), "'"):
		s.quoted()
	default:
		n := strings.IndexAny(s.rest(), ",]}#\n")
		if n < 0 {
			n = len(s.rest())
		}
		s.to(s.i + max(n, 1))
	}
}

// inside moves to the next element of an array or inline table, or behind its end.
func (s *lineScanner) inside(end string) bool {
	s.skipBlank()
	for s.take(",") {
		s.skipBlank()
	}
	return !s.take(end) && s.i < len(s.text)
}
