package object

import (
	"testing"
	"time"
)

// FuzzNext checks that what is taken for the place of a request before is one.
func FuzzNext(f *testing.F) {
	f.Add(nextOf(time.UnixMicro(1), "cursor"))
	f.Add("")
	f.Add("MQ")
	f.Fuzz(func(t *testing.T, s string) {
		before, cursor, ok := parseNext(s)
		if !ok || s == "" {
			return
		}
		at, same, ok := parseNext(nextOf(before, cursor))
		if !ok || !at.Equal(before) || same != cursor {
			t.Errorf("%q is %v and %q, and then %v and %q", s, before, cursor, at, same)
		}
	})
}
