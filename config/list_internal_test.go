package config

import (
	"testing"
	"time"

	"pipit/broker"
)

// Lists, tables and sizes are read from a file and from variables, and an error names the item.
func TestConfigLists(t *testing.T) {
	for _, tt := range []struct {
		raw  any // of the file, or of a variable where it is a variable
		want any
		err  string
	}{
		{[]any{"5s", "1m"}, broker.DurationsOf(5*time.Second, time.Minute), ""},
		{"5s", broker.DurationsOf(5 * time.Second), ""},
		{variable{value: "5s, 1m"}, broker.DurationsOf(5*time.Second, time.Minute), ""},
		{variable{value: ""}, broker.Durations{}, ""},
		{[]any{"5s", "soon"}, broker.Durations{}, `"soon" (item 2): allowed is a list of durations such as ["30s", "5m"]`},
		{[]any{"5s", int64(5)}, broker.Durations{}, `5 (item 2): allowed is a list of durations such as ["30s", "5m"]`},
		{true, broker.Durations{}, `true: allowed is a list of durations such as ["30s", "5m"]`},
		{[]any{"a", "b, c"}, broker.TextsOf("a", "b, c"), ""},
		{"a, b", broker.TextsOf("a, b"), ""},
		{variable{value: "a, b,"}, broker.TextsOf("a", "b"), ""},
		{[]any{"a", "b\n"}, broker.Texts{}, `"b\n": it ends with \n, and control characters are not allowed`},
		{[]any{"a", 1.5}, broker.Texts{}, `1.5 (item 2): allowed is a list of texts in quotes, or one text`},
		{map[string]any{"A": "1", "B": "2, 3"}, broker.TableOf(map[string]string{"A": "1", "B": "2, 3"}), ""},
		{variable{value: "A=1, B = 2=3"}, broker.TableOf(map[string]string{"A": "1", "B": "2=3"}), ""},
		{variable{value: `{A = "1, 2", B = '3'}`}, broker.TableOf(map[string]string{"A": "1, 2", "B": "3"}), ""},
		{variable{value: ""}, broker.Table{}, ""},
		{variable{value: "A=1,A=2"}, broker.Table{}, `"A=1,A=2": allowed is a table of texts such as {Name = "value"}`},
		{variable{value: "{A = 1}"}, broker.Table{}, `1 (of "A"): allowed is a table of texts such as {Name = "value"}`},
		{map[string]any{"A": "1", "B": int64(2)}, broker.Table{}, `2 (of "B"): allowed is a table of texts such as {Name = "value"}`},
		{map[string]any{"A\x00": "1"}, broker.Table{}, `"A\x00": it holds \x00, and control characters are not allowed`},
		{int64(512), broker.Size(512), ""},
		{"64MiB", broker.Size(64 << 20), ""},
		{variable{value: "64MiB"}, broker.Size(64 << 20), ""},
		{"64MB", broker.Size(0), `"64MB": allowed is a size such as 65536, "64KiB" or "1MiB"`},
	} {
		var put any
		like := tt.want
		f := field{get: func() any { return like }, put: func(v any) { put = v }}
		var err error
		if v, ok := tt.raw.(variable); ok {
			err = f.setText(v.value)
		} else {
			err = f.set(tt.raw)
		}
		if tt.err != "" {
			if err == nil || err.Error() != tt.err || put != nil {
				t.Errorf("%v: %v, want %s", tt.raw, err, tt.err)
			}
		} else if err != nil || put != tt.want {
			t.Errorf("%v is %#v, %v", tt.raw, put, err)
		}
		f.secret = true
		if err := f.set([]any{"hush", 1}); err == nil || err.Error()[:8] != "a value " {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}
