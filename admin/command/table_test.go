package command

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	example := func() *table {
		return &table{
			headings: []heading{{name: "NAME", kind: elastic}, {name: "DEPTH", kind: digits}, {name: "SINCE", kind: fixed}},
			rows: [][]string{
				{"/customer/created/in/the/north", "7", "2026-11-24"},
				{"/客户/创建", "1000000", ""},
				{"\x1b[31mred\n\u202e", "0", "-"},
			},
		}
	}
	for _, tt := range []struct {
		width int
		want  string
	}{
		{0, `
NAME                              DEPTH  SINCE
/customer/created/in/the/north        7  2026-11-24
/客户/创建                      1000000
\x1b[31mred\n\u202e                   0  -
`},
		{40, `
NAME                   DEPTH  SINCE
/customer…the/north        7  2026-11-24
/客户/创建           1000000
\x1b[31mred\n\u202e        0  -
`},
		{10, `
NAME            DEPTH  SINCE
/cust…/north        7  2026-11-24
/客户/创建    1000000
\x1b[…\u202e        0  -
`},
	} {
		var b strings.Builder
		if err := example().print(&b, tt.width); err != nil {
			t.Fatal(err)
		}
		if b.String() != tt.want[1:] {
			t.Errorf("width %d: got\n%swant\n%s", tt.width, &b, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		s    string
		n    int
		want string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "ab…ef"},
		{"abcdef", 4, "a…ef"},
		{"abcdef", 1, "…"},
		{"客户客户", 8, "客户客户"},
		{"客户客户", 7, "客户…户"},
		{"客户客户", 4, "客…"},
		{"e\u0301e\u0301e\u0301", 2, "…e\u0301"},
	} {
		if got := cut(tt.s, tt.n); got != tt.want {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.s, tt.n, got, tt.want)
		}
	}
}

func TestVisible(t *testing.T) {
	for _, tt := range []struct{ s, want string }{
		{"", ""},
		{"/customer/ö 客", "/customer/ö 客"},
		{"a\tb\nc", `a\tb\nc`},
		{"\x1b]0;title\a", `\x1b]0;title\a`},
		{"\xff\x00", `\xff\x00`},
		{"\u202e\u200b\ufffd", `\u202e\u200b` + "\ufffd"},
		{`back\slash "quoted"`, `back\slash "quoted"`},
		{"\"\x00\"", `"\x00"`},
	} {
		if got := visible(tt.s); got != tt.want {
			t.Errorf("visible(%q) = %q, want %q", tt.s, got, tt.want)
		}
	}
	if got := visible("a\tb\x1b\n", '\n', '\t'); got != "a\tb\\x1b\n" {
		t.Errorf("%q", got)
	}
}
