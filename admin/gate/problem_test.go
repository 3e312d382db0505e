package gate

import "testing"

func TestTitles(t *testing.T) {
	for code, a := range answers {
		if Titles[a.code] == "" {
			t.Errorf("%v: the problem %s has no title", code, a.code)
		}
	}
}
