package object

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"golang.org/x/text/encoding"
	"golang.org/x/text/transform"

	"pipit/admin/gate"
	"pipit/broker/clip"
)

// Limits of a body beside its size. Far from what is asked for, they bound the stack and the memory:
// a value of two bytes takes 100 as a node.
const (
	maxNesting = 16
	maxValues  = 20_000  // of what is kept as nodes
	maxMembers = 100_000 // of an object
)

// Parse reads a body that is one value of JSON.
func Parse(body []byte) (Node, error) {
	p := newParser(bytes.NewReader(body), len(body)+1, maxValues)
	v, err := p.node(jsonStep{}, 0)
	if err == nil {
		err = p.end()
	}
	return v, err
}

// parser reads JSON token by token. Its errors are those of the API.
type parser struct {
	decoder *json.Decoder
	in      *bodyText
	values  int // of the node that is read
	most    int // values of a node
}

// newParser returns a parser of a text in UTF-8, with a byte order mark, as files of Windows have, or without.
// A token has at most longest bytes, with what it follows, and a node at most most values.
func newParser(r io.Reader, longest, most int) *parser {
	text := bufio.NewReader(transform.NewReader(r, encoding.UTF8Validator))
	in := &bodyText{r: text, longest: longest}
	const mark = "\ufeff"
	if b, _ := text.Peek(len(mark)); string(b) == mark {
		in.mark, _ = text.Discard(len(mark))
	}
	p := &parser{decoder: json.NewDecoder(in), in: in, most: most}
	p.decoder.UseNumber()
	return p
}

// bodyText is what a decoder reads, which buffers a whole token.
type bodyText struct {
	r       io.Reader
	mark    int // bytes in front of it
	longest int // bytes that may be read for a token
	left    int // of these, for the next token
	err     error
}

var errLongToken = errors.New("a long token")

func (t *bodyText) Read(b []byte) (int, error) {
	if t.left <= 0 {
		t.err = errLongToken
		return 0, t.err
	}
	n, err := t.r.Read(b[:min(len(b), t.left)])
	t.left -= n
	if err != nil && err != io.EOF {
		t.err = err
	}
	return n, err
}

// offset is that of what comes next in the body.
func (p *parser) offset() int64 { return int64(p.in.mark) + p.decoder.InputOffset() }

func (p *parser) token() (json.Token, error) {
	p.in.left = p.in.longest
	t, err := p.decoder.Token()
	if err != nil {
		return nil, p.failed(err)
	}
	return t, nil
}

// failed makes an error of the decoder one of the API.
func (p *parser) failed(err error) error {
	var large *http.MaxBytesError
	switch cause := p.in.err; {
	case errors.As(cause, &large):
		return cause
	case errors.Is(cause, encoding.ErrInvalidUTF8):
		return gate.Malformed("body: it is not UTF-8")
	case errors.Is(cause, errLongToken):
		return gate.Malformed("body: allowed are values of at most %d bytes, from byte %d on one has more", p.in.longest, p.offset())
	case cause != nil:
		return gate.Malformed("body: it broke off")
	case err == io.EOF && p.decoder.InputOffset() == 0:
		return gate.Malformed("body: it is empty, allowed is JSON")
	default:
		return gate.Malformed("body: no JSON from byte %d on", p.offset())
	}
}

// more tells whether the object or list that is read goes on.
func (p *parser) more() bool {
	p.in.left = p.in.longest
	return p.decoder.More()
}

// end returns an error where something is behind the value.
func (p *parser) end() error {
	p.in.left = p.in.longest
	switch _, err := p.decoder.Token(); {
	case err == io.EOF:
		return nil
	case p.in.err != nil:
		return p.failed(err)
	}
	return gate.Malformed("body: more than one JSON value, or something behind it")
}

// node reads a value.
func (p *parser) node(at jsonStep, depth int) (Node, error) {
	t, err := p.token()
	if err != nil {
		return Node{}, err
	}
	if p.values++; p.values > p.most {
		return Node{}, gate.Malformed("body: allowed are at most %d values, %s is one more", p.most, clip.Input(Node{at: at}.name()))
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return Node{Value: t, at: at}, nil
	}
	if delim == '[' {
		items := []Node{}
		err := p.items(at, depth, func(at jsonStep) error {
			item, err := p.node(at, depth+1)
			items = append(items, item)
			return err
		})
		return Node{Value: items, at: at}, err
	}
	members := []member{}
	err = p.members(at, depth, func(at jsonStep) error {
		v, err := p.node(at, depth+1)
		members = append(members, member{at.name, v})
		return err
	})
	return Node{Value: members, at: at}, err
}

// items calls read where each item of a list comes next, of which [ is read.
func (p *parser) items(at jsonStep, depth int, read func(at jsonStep) error) error {
	if depth == maxNesting {
		return tooDeep()
	}
	for i := 0; p.more(); i++ {
		if err := read(jsonStep{&at, "", i}); err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// members calls read where the value of each member of an object comes next, of which { is read.
func (p *parser) members(at jsonStep, depth int, read func(at jsonStep) error) error {
	if depth == maxNesting {
		return tooDeep()
	}
	names := map[string]bool{}
	for p.more() {
		t, err := p.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		to := jsonStep{&at, name, -1}
		switch {
		case names[name]:
			return gate.Malformed("body: %q is given twice", clip.Input(Node{at: to}.name()))
		case len(names) == maxMembers:
			return gate.Malformed("body: allowed are at most %d members of an object", maxMembers)
		}
		names[name] = true
		if err := read(to); err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// skip reads over the value that comes next.
func (p *parser) skip() error {
	for depth := 0; ; {
		t, err := p.token()
		if err != nil {
			return err
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			if depth++; depth > maxNesting {
				return tooDeep()
			}
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

func tooDeep() error { return gate.Malformed("body: allowed are at most %d levels", maxNesting) }
