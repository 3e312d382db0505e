package property

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

func NotKeyChar(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
}

// ParseUTC reads a UTC time of the years that a message can have.
func ParseUTC(s string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05Z"} { // fractions are read as well
		if t, err := time.Parse(layout, s); err == nil && t.Year() >= 1970 && t.Year() <= 9999 {
			return t, true
		}
	}
	return time.Time{}, false
}

// Printable tells whether s is UTF-8 without control characters.
func Printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// IsHidden tells whether a character does not show, or changes the order in which others show, so that two
// names look the same: control and format characters (Unicode's Cc and Cf), separators of lines and
// paragraphs (Zl, Zp), and others that are ignored where they are displayed. The joiners U+200C and U+200D
// are among them, also in scripts that are written with them. No new name has one.
func IsHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// CheckShown tells which character of a new name IsHidden.
func CheckShown(name string) error {
	i := strings.IndexFunc(name, IsHidden)
	if i < 0 {
		return nil
	}
	r, _ := utf8.DecodeRuneInString(name[i:])
	return fmt.Errorf("it holds U+%04X; allowed are characters that show", r)
}

// ParseNetwork reads a network such as 192.0.2.0/24, or an address, which is the network of itself.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone("").Prefix(a.Unmap().BitLen())
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}
