package broker

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"pipit/broker/clip"
)

// Defaults and limits of topics.
const (
	DefaultExpiration  = 60        // seconds
	DefaultMaxDepth    = 1_000_000 // messages, of a topic and of a consumer
	DefaultDedupWindow = 5 * time.Minute

	MaxTopicName   = 512                      // bytes
	MaxExpiration  = 100 * 365 * 24 * 60 * 60 // seconds
	MaxDedupWindow = 30 * 24 * time.Hour      // bounds the memory of explicit IDs
	MaxMaxDepth    = 1_000_000_000_000        // messages
)

// Topic is what producers publish to.
type Topic struct {
	Name        string // 1 to 512 bytes of UTF-8; normally begins with a slash, never ends with one
	Active      bool
	MaxDepth    int64         // messages that somebody still needs; past it a publish is refused
	Expiration  int64         // seconds, for messages that do not say; 0: they do not expire
	DedupWindow time.Duration // how long a message's own ID is remembered; 0: not at all
}

// Validate checks the topic's fields. The error joins one for each that is wrong.
func (t *Topic) Validate() error {
	var wrong []error
	if t.Name == "" || len(t.Name) > MaxTopicName || !printable(t.Name) || strings.HasSuffix(t.Name, "/") {
		wrong = append(wrong, Invalidf("topic name %q: allowed are 1 to %d bytes without control characters and a slash at the end", clip.Input(t.Name), MaxTopicName).of("name"))
	}
	if t.MaxDepth < 1 || t.MaxDepth > MaxMaxDepth {
		wrong = append(wrong, Invalidf("max_depth %d of topic %q: allowed are 1 to %d", t.MaxDepth, t.Name, int64(MaxMaxDepth)).of("max_depth"))
	}
	if t.Expiration < 0 || t.Expiration > MaxExpiration {
		wrong = append(wrong, Invalidf("expiration %d of topic %q: allowed are 0 to %d seconds", t.Expiration, t.Name, int64(MaxExpiration)).of("expiration"))
	}
	if t.DedupWindow < 0 || t.DedupWindow > MaxDedupWindow {
		wrong = append(wrong, Invalidf("dedup_window %s of topic %q: allowed are 0s to %s", t.DedupWindow, t.Name, MaxDedupWindow).of("dedup_window"))
	}
	return errors.Join(wrong...)
}

// ValidateName checks what a name that exists may have, and a new one may not: see IsHidden.
func (t *Topic) ValidateName() error {
	if r, found := hidden(t.Name); found {
		return Invalidf("topic name %q: it holds %s; allowed are characters that show", clip.Input(t.Name), charName(r)).of("name")
	}
	return nil
}

// HasTopic tells whether there is a topic of a name, active or not.
func (b *Broker) HasTopic(name string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.topics[name] != nil
}

// printable tells whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

// IsHidden tells whether a character does not show, or changes the order in which others show, so that two
// names look the same: control and format characters (Unicode's Cc and Cf), separators of lines and
// paragraphs (Zl, Zp), and others that are ignored where they are displayed. The joiners U+200C and U+200D
// are among them, also in scripts that are written with them. No new name has one.
func IsHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point)
}

// hidden returns the first character of a name that IsHidden.
func hidden(s string) (r rune, found bool) {
	i := strings.IndexFunc(s, IsHidden)
	if i < 0 {
		return 0, false
	}
	r, _ = utf8.DecodeRuneInString(s[i:])
	return r, true
}

// charName is how an error calls a character that does not show.
func charName(r rune) string { return fmt.Sprintf("U+%04X", r) }
