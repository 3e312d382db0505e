package broker

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/store"
)

// maxFilter bounds a Consumer.Filter, in bytes.
const maxFilter = 1024

// checkFilter tells whether s can be a Consumer.Filter:
//
//	filter    = term { "or" term }
//	term      = factor { "and" factor }
//	factor    = "not" factor | "(" filter ")" | "has" "(" name ")" | name ( "=" | "!=" | "^=" ) text
//	name      = 1 to 64 of A-Z a-z 0-9 . _ -, in any case
//	text      = in double quotes, in which \" and \\ stand for " and \
//
// name = "x" holds where the message has an attribute of the name whose value is x, name ^= "x" where the value begins with x,
// has(name) where it has one at all. name != "x" is not name = "x": it holds as well where there is no such attribute. An error
// names the character at which it was found, the first being 1.
func checkFilter(s string) error {
	_, err := parseFilter(s)
	return err
}

// filter says which messages a consumer is given, by their attributes. It never changes.
type filter struct {
	text string
	root condition
}

// match tells whether a message is let through.
func (f *filter) match(r *store.Record) bool {
	if r.Extra == nil {
		return f.root(nil)
	}
	return f.root(r.Extra.Attributes)
}

type condition func([]Attribute) bool

// parseFilter returns the filter that s says, nil for an empty one, which lets all messages through.
func parseFilter(s string) (*filter, error) {
	if s == "" {
		return nil, nil
	}
	if len(s) > maxFilter || !property.Printable(s) {
		return nil, fmt.Errorf("allowed are at most %d bytes of UTF-8 without control characters", maxFilter)
	}
	p := filterParser{text: s}
	p.next()
	root, err := p.filter()
	if err == nil && p.token.kind != endToken {
		err = p.expected("and, or or the end")
	}
	if err != nil {
		return nil, err
	}
	return &filter{s, root}, nil
}

// filterParser reads a filter token by token.
type filterParser struct {
	text  string
	at    int // where the token behind token begins
	token filterToken
}

type filterToken struct {
	kind  tokenKind
	text  string // as it is written
	value string // of a text: what it stands for
	at    int    // where it begins
}

type tokenKind uint8

const (
	endToken  tokenKind = iota
	wordToken           // a name, or a word of the grammar
	textToken
	signToken // an operator or a bracket
	badToken
)

// next takes the next token.
func (p *filterParser) next() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
	from := p.at
	rest := p.text[from:]
	n := strings.IndexFunc(rest, property.NotKeyChar)
	switch {
	case rest == "":
		p.token = filterToken{at: from}
		return
	case n != 0:
		if n < 0 {
			n = len(rest)
		}
		p.token = filterToken{kind: wordToken}
	case rest[0] == '"':
		var value string
		if n, value = quoted(rest); n == 0 {
			n, p.token = len(rest), filterToken{kind: badToken}
		} else {
			p.token = filterToken{kind: textToken, value: value}
		}
	case strings.HasPrefix(rest, "!=") || strings.HasPrefix(rest, "^="):
		n, p.token = 2, filterToken{kind: signToken}
	case strings.IndexByte("=()", rest[0]) >= 0:
		n, p.token = 1, filterToken{kind: signToken}
	default:
		_, n = utf8.DecodeRuneInString(rest)
		p.token = filterToken{kind: badToken}
	}
	p.token.text, p.token.at = rest[:n], from
	p.at += n
}

// quoted reads a text in quotes and returns how long that is, 0 where it does not end or has another escape.
func quoted(s string) (n int, value string) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return i + 1, b.String()
		case '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return 0, ""
			}
		}
		b.WriteByte(s[i])
	}
	return 0, ""
}

// expected is the error of a token that is another one.
func (p *filterParser) expected(what string) error {
	at := utf8.RuneCountInString(p.text[:p.token.at]) + 1
	if p.token.kind == endToken {
		return fmt.Errorf("at %d: it ends where %s is expected", at, what)
	}
	if p.token.kind == badToken && p.token.text[0] == '"' {
		return fmt.Errorf(`at %d: a text has a quote at its end as well, and before a quote or a backslash in it a backslash`, at)
	}
	return fmt.Errorf("at %d: %q where %s is expected", at, p.token.text, what)
}

// is tells whether the token is a word of the grammar, in any case, or a sign.
func (p *filterParser) is(s string) bool {
	return (p.token.kind == wordToken || p.token.kind == signToken) && strings.EqualFold(p.token.text, s)
}

// take takes a token that has to be there.
func (p *filterParser) take(s string) error {
	if !p.is(s) {
		return p.expected(s)
	}
	p.next()
	return nil
}

func (p *filterParser) filter() (condition, error) {
	left, err := p.term()
	for err == nil && p.is("or") {
		var right condition
		p.next()
		right, err = p.term()
		a := left
		left = func(l []Attribute) bool { return a(l) || right(l) }
	}
	return left, err
}

func (p *filterParser) term() (condition, error) {
	left, err := p.factor()
	for err == nil && p.is("and") {
		var right condition
		p.next()
		right, err = p.factor()
		a := left
		left = func(l []Attribute) bool { return a(l) && right(l) }
	}
	return left, err
}

func (p *filterParser) factor() (condition, error) {
	switch {
	case p.is("not"):
		p.next()
		inner, err := p.factor()
		return func(l []Attribute) bool { return !inner(l) }, err
	case p.is("("):
		p.next()
		inner, err := p.filter()
		if err == nil {
			err = p.take(")")
		}
		return inner, err
	case p.is("and") || p.is("or"):
		return nil, p.expected("a condition")
	}
	name, isHas := p.token, p.is("has")
	if name.kind != wordToken {
		return nil, p.expected("a condition")
	}
	p.next()
	if isHas && p.is("(") {
		p.next()
		of, err := p.name(p.token)
		if err == nil {
			p.next()
			err = p.take(")")
		}
		return func(l []Attribute) bool { _, ok := attribute(l, of); return ok }, err
	}
	of, err := p.name(name)
	if err != nil {
		return nil, err
	}
	return p.comparison(of)
}

// name returns the name of an attribute that a token is.
func (p *filterParser) name(t filterToken) (string, error) {
	if t.kind != wordToken || len(t.text) > limit.MaxAttributeName {
		p.token = t
		return "", p.expected(fmt.Sprintf("the name of an attribute, of at most %d characters,", limit.MaxAttributeName))
	}
	return strings.ToLower(t.text), nil
}

// comparison reads an operator and a text.
func (p *filterParser) comparison(of string) (condition, error) {
	sign := p.token
	if sign.kind != signToken || sign.text == "(" || sign.text == ")" {
		return nil, p.expected("=, != or ^=")
	}
	p.next()
	want := p.token
	if want.kind != textToken {
		return nil, p.expected("a text in quotes")
	}
	p.next()
	switch sign.text {
	case "=":
		return func(l []Attribute) bool { v, ok := attribute(l, of); return ok && v == want.value }, nil
	case "!=":
		return func(l []Attribute) bool { v, ok := attribute(l, of); return !ok || v != want.value }, nil
	default:
		return func(l []Attribute) bool { v, ok := attribute(l, of); return ok && strings.HasPrefix(v, want.value) }, nil
	}
}
