package broker

import "testing"

func TestPatternMatches(t *testing.T) {
	for pattern, want := range map[string]struct{ yes, no []string }{
		"/a/*":      {[]string{"/a/b", "/a/"}, []string{"/a", "/a/b/c", "/b/a", "a/b"}},
		"/a/*/c":    {[]string{"/a/b/c"}, []string{"/a/c", "/a/b/b/c", "/a/b/d"}},
		"/a/**":     {[]string{"/a", "/a/b", "/a/b/c"}, []string{"/b", "a/b", "/ab"}},
		"**":        {[]string{"", "a", "/a", "/a/b"}, nil},
		"/**/c":     {[]string{"/c", "/a/c", "/a/c/c"}, []string{"c", "/a/c/d"}},
		"/**/b/*/d": {[]string{"/b/c/d", "/a/b/b/c/d"}, []string{"/b/d", "/b/b/c/d/e"}},
		"*":         {[]string{"a"}, []string{"/a", "a/b"}},
		"/a/**/**":  {[]string{"/a", "/a/b/c"}, []string{"/b"}},
	} {
		for _, name := range want.yes {
			if !matches(segments(pattern), segments(name)) {
				t.Errorf("%q does not match %q", pattern, name)
			}
		}
		for _, name := range want.no {
			if matches(segments(pattern), segments(name)) {
				t.Errorf("%q matches %q", pattern, name)
			}
		}
	}
	for name, allowed := range map[string]bool{"/a/*": true, "**": true, "/a*/b": false, "/***": false, "/*/": false, "/a/*/**": true} {
		if err := checkPattern(name); (err == nil) != allowed {
			t.Errorf("checkPattern(%q): %v", name, err)
		}
	}
}
