package command

import (
	"encoding/json"
	"testing"
)

// What show prints of a list and of a table.
func TestFieldTexts(t *testing.T) {
	for value, want := range map[string]string{`["5s","1m0s"]`: "5s, 1m0s", `[]`: "", `{"B":"2","A":"1"}`: "A: 1, B: 2", `[1]`: "[1]", `{"a":1}`: `{"a":1}`} {
		if got := (field{value: json.RawMessage(value)}).text(); got != want {
			t.Errorf("%s is shown as %s", value, got)
		}
	}
}
