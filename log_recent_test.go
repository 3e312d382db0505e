package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// The last lines are kept, as many and as many bytes as there is room for.
func TestRecentLines(t *testing.T) {
	var l recentLines
	for i := range 3 * recentMost {
		fmt.Fprintln(&l, i)
	}
	if text := l.text(); !bytes.HasPrefix(text, []byte("2000\n")) || !bytes.HasSuffix(text, []byte("\n2999\n")) {
		t.Errorf("%.20s", text)
	}
	for range recentMost {
		fmt.Fprintln(&l, strings.Repeat("x", 2*recentLine))
	}
	if n := len(l.text()); n > recentBytes || n < recentBytes-recentLine {
		t.Errorf("%d bytes", n)
	}
}
