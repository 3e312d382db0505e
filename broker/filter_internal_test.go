package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"pipit/broker/store"
)

func filterOf(t *testing.T, text string) *filter {
	t.Helper()
	f, err := parseFilter(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return f
}

func withAttributes(pairs ...string) *store.Record {
	r := &store.Record{}
	for i := 0; i < len(pairs); i += 2 {
		if r.Extra == nil {
			r.Extra = &store.Extra{}
		}
		r.Extra.Attributes = append(r.Extra.Attributes, Attribute{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func TestFilter(t *testing.T) {
	none, lv, urgent := withAttributes(), withAttributes("country", "LV", "kind", "order.new"), withAttributes("country", "LT", "urgent", "")
	for _, c := range []struct {
		text             string
		none, lv, urgent bool
	}{
		{`country = "LV"`, false, true, false},
		{`COUNTRY="LV"`, false, true, false},
		{`country = "lv"`, false, false, false},
		{`country != "LV"`, true, false, true},
		{`kind ^= "order."`, false, true, false},
		{`kind ^= ""`, false, true, false},
		{`has(urgent)`, false, false, true},
		{`urgent = ""`, false, false, true},
		{`not has ( country )`, true, false, false},
		{`not not has(country)`, false, true, true},
		{`has(urgent) or has(kind) and country = "LT"`, false, false, true},
		{`(has(urgent) or has(kind)) and country = "LV"`, false, true, false},
		{`not has(urgent) and country = "LV"`, false, true, false},
		{`NOT (has(urgent) OR country = "LV")`, true, false, false},
		{`has = "x" or country = "LV"`, false, true, false},
		{`country = "a \"b\" \\" or country != "ž"`, true, true, true},
	} {
		f := filterOf(t, c.text)
		for name, w := range map[string]struct {
			r    *store.Record
			want bool
		}{"none": {none, c.none}, "lv": {lv, c.lv}, "urgent": {urgent, c.urgent}} {
			if f.match(w.r) != w.want {
				t.Errorf("%s: %s: %t", c.text, name, !w.want)
			}
		}
	}
}

func TestFilterRefused(t *testing.T) {
	for text, want := range map[string]string{
		`country = LV`:                         `at 11: "LV" where a text in quotes is expected`,
		`country`:                              `at 8: it ends where =, != or ^= is expected`,
		`country = "LV" urgent`:                `at 16: "urgent" where and, or or the end is expected`,
		`country == "LV"`:                      `at 10: "=" where a text in quotes is expected`,
		`country = "ž" and`:                    `at 18: it ends where a condition is expected`,
		`(country = "LV"`:                      `at 16: it ends where ) is expected`,
		`country = "LV")`:                      `at 15: ")" where and, or or the end is expected`,
		`has()`:                                `at 5: ")" where the name of an attribute, of at most 64 characters, is expected`,
		`has(a b)`:                             `at 7: "b" where ) is expected`,
		`has(` + strings.Repeat("n", 65) + `)`: `at 5: "` + strings.Repeat("n", 65) + `" where the name of an attribute, of at most 64 characters, is expected`,
		`country = "LV`:                        `at 11: a text has a quote at its end as well, and before a quote or a backslash in it a backslash`,
		`country = "\n"`:                       `at 11: a text has a quote at its end as well, and before a quote or a backslash in it a backslash`,
		`country > "LV"`:                       `at 9: ">" where =, != or ^= is expected`,
		`or`:                                   `at 1: "or" where a condition is expected`,
		` `:                                    `at 2: it ends where a condition is expected`,
		"a = \"x\n\"":                          "allowed are at most 1024 bytes of UTF-8 without control characters",
		`a = "` + strings.Repeat("x", 1024) + `"`: "allowed are at most 1024 bytes of UTF-8 without control characters",
	} {
		if err := checkFilter(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if f, err := parseFilter(strings.Repeat("(", 500) + "has(a)" + strings.Repeat(")", 500)); err != nil || !f.match(withAttributes("a", "")) {
		t.Errorf("many brackets: %v", err)
	}
}

// TestFilterModel reads what a random tree of conditions is written as, and compares what they say. As in the grammar, and binds
// tighter than or.
func TestFilterModel(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	values := []string{"", "a", "ab", `"\`}
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	for range 2000 {
		r := withAttributes("x", values[rnd.IntN(4)], "y", values[rnd.IntN(4)])
		var tree func(depth, level int) (string, bool)
		tree = func(depth, level int) (string, bool) { // level 0: or may stand there as it is; 1: and; 2: not, and what is one condition
			name := []string{"x", "y", "z"}[rnd.IntN(3)]
			got, has := attribute(r.Extra.Attributes, name)
			want := values[rnd.IntN(4)]
			n := rnd.IntN(8)
			if depth == 0 {
				n %= 4
			}
			binary := func(own int, op string, join func(a, b bool) bool) (string, bool) {
				a, va := tree(depth-1, own)
				b, vb := tree(depth-1, own+1)
				s := a + " " + op + " " + b
				if level > own {
					s = "(" + s + ")"
				}
				return s, join(va, vb)
			}
			switch n {
			case 0:
				return fmt.Sprintf(`%s = "%s"`, name, quote.Replace(want)), has && got == want
			case 1:
				return fmt.Sprintf(`%s!="%s"`, name, quote.Replace(want)), !has || got != want
			case 2:
				return fmt.Sprintf(`%s ^= "%s"`, name, quote.Replace(want)), has && strings.HasPrefix(got, want)
			case 3:
				return "has(" + name + ")", has
			case 4, 5:
				return binary(0, "or", func(a, b bool) bool { return a || b })
			case 6:
				return binary(1, "and", func(a, b bool) bool { return a && b })
			default:
				s, v := tree(depth-1, 2)
				return "not " + s, !v
			}
		}
		text, want := tree(4, 0)
		if len(text) > maxFilter {
			continue
		}
		if got := filterOf(t, text).match(r); got != want {
			t.Fatalf("%s of %v: %t", text, r.Extra.Attributes, got)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{``, `a = "b"`, `not (has(a) or b ^= "x\"") and c != "\\"`, `((`, `a = "`, `has(`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFilter(text)
		if err != nil {
			return
		}
		if (got == nil) != (text == "") {
			t.Fatalf("%q: no filter", text)
		}
		if got != nil && len(text) <= maxFilter-6 && got.match(withAttributes("a", "b")) == filterOf(t, "not ("+text+")").match(withAttributes("a", "b")) {
			t.Fatalf("%q and its opposite say the same", text)
		}
	})
}

func BenchmarkFilter(b *testing.B) {
	f, err := parseFilter(`country = "LV" and not has(test)`)
	if err != nil {
		b.Fatal(err)
	}
	r := withAttributes("country", "LT", "kind", "order")
	b.ReportAllocs()
	for b.Loop() {
		f.match(r)
	}
}
