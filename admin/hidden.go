package admin

import (
	"strconv"
	"strings"

	"pipit/broker"
)

// showHidden writes as escapes what does not show in the texts of a page, such as in names that are older
// than the rule against it. What is in a <pre> or a tag stays: payloads, and what a form sends.
func showHidden(html string) string {
	if !strings.ContainsFunc(html, isHiddenText) {
		return html
	}
	var b strings.Builder
	inTag, inPre := false, false
	for i, r := range html {
		switch {
		case r == '<':
			inTag = true
			inPre = (inPre || strings.HasPrefix(html[i:], "<pre")) && !strings.HasPrefix(html[i:], "</pre>")
		case r == '>':
			inTag = false
		case !inTag && !inPre && isHiddenText(r):
			b.WriteString(escaped(r))
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shownName is a name as showHidden writes it.
func shownName(name string) string {
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
func isHiddenText(r rune) bool { return r >= 0x80 && broker.IsHidden(r) }

func escaped(r rune) string { return strings.Trim(strconv.QuoteRuneToASCII(r), "'") }
