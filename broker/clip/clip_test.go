package clip_test

import (
	"strings"
	"testing"

	"pipit/broker/clip"
)

func TestTo(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 2, ""}, {"ab", 2, "ab"}, {"abc", 2, "ab…"},
		{"häh", 2, "h…"}, {"hä", 3, "hä"}, {"häh", 3, "hä…"},
	} {
		if got := clip.To(test.in, test.n); got != test.want {
			t.Errorf("%q to %d bytes: %q, want %q", test.in, test.n, got, test.want)
		}
	}
	if got := clip.Input(strings.Repeat("x", 65)); got != strings.Repeat("x", 64)+"…" {
		t.Errorf("of 65 bytes: %q", got)
	}
}
