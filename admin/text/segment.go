package text

import (
	"net/url"
	"slices"
	"strings"
)

// Segment is a name as one segment of the path of a page. Browsers take "." and ".." for steps,
// however they are escaped: these get a "~" in front, and so do names that look as if they had one.
func Segment(name string) string {
	if dotted(name) {
		name = "~" + name
	}
	return url.PathEscape(name)
}

// Unsegment is the opposite of Segment, for what is unescaped already.
func Unsegment(s string) string {
	if s != "" && s[0] == '~' && dotted(s[1:]) {
		return s[1:]
	}
	return s
}

func dotted(s string) bool {
	return slices.Contains([]string{".", ".."}, strings.TrimLeft(s, "~"))
}
