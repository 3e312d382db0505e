// Package payload makes the payloads of messages readable, whatever they are, in a bounded piece of a page.
package payload

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Bounds of what a page shows of a payload.
const (
	maxShown  = 64 << 10 // bytes of text
	maxDumped = 16 << 10 // bytes in hex, five times as long on the page
	maxIndent = 1 << 20  // bytes of a payload that is read in order to be indented
	maxDeep   = 64       // beyond that, elements are indented no further
)

// View is a payload for a reader.
type View struct {
	Kind string // "JSON", "XML", "Text", "Binary" or "Empty"
	Text string
	Cut  bool // there is more
}

// Show makes a payload readable: JSON and XML indented, other text as it is, what is not
// text as a dump in hex.
func Show(p []byte, mimeType string) View {
	if len(p) == 0 {
		return View{Kind: "Empty"}
	}
	if !IsText(p) {
		cut := len(p) > maxDumped
		return View{"Binary", hex.Dump(p[:min(len(p), maxDumped)]), cut}
	}
	kind, text, cut := "Text", string(p), false
	if s := strings.TrimSpace(text); len(p) <= maxIndent && s != "" {
		mimeType = strings.ToLower(mimeType)
		switch {
		case (s[0] == '{' || s[0] == '[' || strings.Contains(mimeType, "json")) && json.Valid(p):
			kind = "JSON"
			text, cut = indentJSON(s, maxShown)
		case s[0] == '<' && !strings.Contains(mimeType, "html"):
			if indented, short, err := indentXML(s, maxShown); err == nil {
				kind, text, cut = "XML", indented, short
			}
		}
	}
	if len(text) > maxShown {
		text, cut = cutText(text, maxShown), true
	}
	return View{kind, visible(text), cut}
}

// IsText tells whether p can be shown and edited as text.
func IsText(p []byte) bool { return utf8.Valid(p) && bytes.IndexByte(p, 0) < 0 }

// cutText returns at most the first n bytes of s, all of them whole characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// visible replaces characters that would be invisible, or change the order of others, by their names.
func visible(s string) string {
	if !strings.ContainsFunc(s, hidden) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hidden(r):
			b.WriteRune(r)
		case r < ' ':
			b.WriteRune('\u2400' + r) // the picture of it
		default:
			fmt.Fprintf(&b, "⟨%U⟩", r)
		}
	}
	return b.String()
}

func hidden(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' && r != '\r' || r >= 0x7f && r < 0xa0 ||
		r == 0x200e || r == 0x200f || r == 0x061c || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}

// indentJSON indents valid JSON, leaving values as they are spelled, and stops when limit bytes
// are written: nested deeply enough, a short text becomes a very long one. json.Indent knows no limit:
// of a payload of 1 MiB, 64 levels deep, it would make 64 MiB to show 64 KiB.
func indentJSON(s string, limit int) (text string, cut bool) {
	var b strings.Builder
	depth := 0
	line := func() {
		b.WriteByte('\n')
		for range min(depth, maxDeep) {
			b.WriteString("  ")
		}
	}
	for i := 0; i < len(s); i++ {
		if b.Len() > limit {
			return b.String(), true
		}
		switch c := s[i]; c {
		case ' ', '\t', '\r', '\n':
		case '"':
			end := i + 1
			for s[end] != '"' {
				if s[end] == '\\' {
					end++
				}
				end++
			}
			b.WriteString(s[i : end+1])
			i = end
		case '{', '[':
			b.WriteByte(c)
			rest := strings.TrimLeft(s[i+1:], " \t\r\n")
			if rest[0] == '}' || rest[0] == ']' {
				b.WriteByte(rest[0])
				i = len(s) - len(rest)
				continue
			}
			depth++
			line()
		case '}', ']':
			depth--
			line()
			b.WriteByte(c)
		case ',':
			b.WriteByte(c)
			line()
		case ':':
			b.WriteString(": ")
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), false
}

var errEnough = errors.New("enough was written")

// limited is a buffer that refuses to grow past its limit.
type limited struct {
	bytes.Buffer
	limit int
}

func (b *limited) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, errEnough
	}
	return b.Buffer.Write(p)
}

// indentXML indents well-formed XML, as far as limit bytes go. Names keep their prefixes.
func indentXML(s string, limit int) (text string, cut bool, err error) {
	d := xml.NewDecoder(strings.NewReader(s))
	out := &limited{limit: limit}
	e := xml.NewEncoder(out)
	e.Indent("", "  ")
	qualified := func(n xml.Name) xml.Name {
		if n.Space != "" {
			return xml.Name{Local: n.Space + ":" + n.Local}
		}
		return n
	}
	for depth, roots := 0, 0; ; {
		t, err := d.RawToken()
		if err == io.EOF {
			if depth != 0 || roots != 1 {
				return "", false, errors.New("not one element")
			}
			break
		}
		if err != nil {
			return "", false, err
		}
		switch x := t.(type) {
		case xml.StartElement:
			x.Name = qualified(x.Name)
			for i := range x.Attr {
				x.Attr[i].Name = qualified(x.Attr[i].Name)
			}
			if depth == 0 {
				roots++
			}
			if depth++; depth > maxDeep {
				return "", false, errors.New("nested too deeply")
			}
			t = x
		case xml.EndElement:
			x.Name = qualified(x.Name)
			depth--
			t = x
		case xml.CharData:
			if len(bytes.TrimSpace(x)) == 0 {
				continue
			}
			if depth == 0 {
				return "", false, errors.New("text outside of the element")
			}
		}
		if err := e.EncodeToken(t); err != nil {
			if errors.Is(err, errEnough) {
				return out.String(), true, nil
			}
			return "", false, err
		}
	}
	if err := e.Flush(); errors.Is(err, errEnough) {
		return out.String(), true, nil
	} else if err != nil {
		return "", false, err
	}
	return out.String(), false, nil
}

// PreviewLength is how many bytes of a payload stand in a list.
const PreviewLength = 160

// Preview is the beginning of a payload, on one line. size is that of the whole.
func Preview(p []byte, size int) string {
	s := string(p)
	if len(p) < size { // the last character may be cut in two
		for i := 0; i < utf8.UTFMax-1 && s != "" && !utf8.ValidString(s); i++ {
			s = s[:len(s)-1]
		}
	}
	if !IsText([]byte(s)) {
		p = p[:min(len(p), 24)]
		s = fmt.Sprintf("% x", p)
	} else {
		s = visible(strings.Join(strings.Fields(s), " "))
	}
	if len(p) < size {
		s += " …"
	}
	return s
}
