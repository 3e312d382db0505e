package login

import "testing"

func TestWeakPassword(t *testing.T) {
	for _, tt := range []struct{ name, password, want string }{
		{"crm", "crm", "it is the username"},
		{"a-long-username", "a-long-username", "it is the username"},
		{"crm", "", "it is shorter than 12 characters"},
		{"crm", "elevenchars", "it is shorter than 12 characters"},
		{"crm", "zwölf-zeich", "it is shorter than 12 characters"},
		{"crm", "twelve-chars", ""},
	} {
		if got := WeakPassword(tt.name, tt.password); got != tt.want {
			t.Errorf("%q %q: %q, want %q", tt.name, tt.password, got, tt.want)
		}
	}
}
