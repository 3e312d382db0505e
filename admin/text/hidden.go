package text

import (
	"fmt"
	"strings"

	"pipit/broker/property"
)

// ShowHidden replaces by their codes the characters that do not show in the texts of a page, such as in names
// that are older than the rule against them. Payloads stay as they are, and so does what is in a
// tag: what a form sends.
func ShowHidden(html string) string {
	if !strings.ContainsFunc(html, isHiddenText) {
		return html
	}
	var b strings.Builder
	inTag, inPayload := false, false
	for i, r := range html {
		switch {
		case r == '<':
			inTag = true
			tag := html[i:]
			switch {
			case strings.HasPrefix(tag, "<pre"), strings.HasPrefix(tag, `<span class="preview`):
				inPayload = true
			case strings.HasPrefix(tag, "</pre>"), strings.HasPrefix(tag, "</span>"):
				inPayload = false
			}
		case r == '>':
			inTag = false
		case !inTag && !inPayload && isHiddenText(r):
			b.WriteString(escaped(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Shown is a name as ShowHidden writes it.
func Shown(name string) string {
	var b strings.Builder
	for _, r := range name {
		if isHiddenText(r) {
			b.WriteString(escaped(r))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isHiddenText leaves out the ends of lines: names never had ASCII's control characters.
func isHiddenText(r rune) bool { return r >= 0x80 && property.IsHidden(r) }

func escaped(r rune) string { return fmt.Sprintf("⟨%U⟩", r) }
