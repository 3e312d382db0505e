package broker

import (
	"slices"
	"strings"
	"testing"
)

// TestCovers compares covers with what it is to tell, the names that patterns match, over all short patterns.
func TestCovers(t *testing.T) {
	var patterns, names [][]string
	var add func(list *[][]string, of []string, so []string, most int)
	add = func(list *[][]string, of, so []string, most int) {
		*list = append(*list, so)
		for _, s := range of {
			if len(so) < most {
				add(list, of, append(slices.Clip(so), s), most)
			}
		}
	}
	add(&patterns, []string{"a", "*", "**"}, nil, 4)
	add(&names, []string{"a", "b"}, nil, 6) // b is what no pattern names
	matching := make([]map[string]bool, len(patterns))
	for i, p := range patterns {
		matching[i] = map[string]bool{}
		for _, n := range names {
			if matches(p, n) {
				matching[i][strings.Join(n, "/")] = true
			}
		}
	}
	yes := 0
	for i, p := range patterns {
		for j, other := range patterns {
			all := true
			for n := range matching[j] {
				if all = matching[i][n]; !all {
					break
				}
			}
			if got := covers(p, other); got != all {
				t.Fatalf("%q covers %q: %v", p, other, got)
			} else if got {
				yes++
			}
		}
	}
	if yes < 1000 {
		t.Errorf("%d of %d", yes, len(patterns)*len(patterns))
	}
}
