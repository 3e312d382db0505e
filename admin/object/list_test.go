package object

import (
	"fmt"
	"testing"
	"time"

	"pipit/broker/property"
)

// Values of every kind are read as strictly as bodies are, an error names the item and shows no secret, and what is written
// is read again.
func TestValueOf(t *testing.T) {
	for _, tt := range []struct {
		body string
		want any
		err  string
	}{
		{`"a"`, "a", ""},
		{`["a"]`, "", `v a list: allowed is a text`},
		{`true`, true, ""},
		{`"true"`, false, `v "true": allowed is true or false`},
		{`12`, int64(12), ""},
		{`1.5`, int64(0), `v 1.5: allowed is a whole number`},
		{`"30s"`, 30 * time.Second, ""},
		{`30`, time.Duration(0), `v 30: allowed is a duration such as "30s", "1h30m" or "7d"`},
		{`67108864`, property.Size(64 << 20), ""},
		{`"64MiB"`, property.Size(0), `v "64MiB": allowed is a whole number of bytes`},
		{`["5s", "1m0s"]`, property.DurationsOf(5*time.Second, time.Minute), ""},
		{`[]`, property.Durations{}, ""},
		{`"5s"`, property.Durations{}, `v "5s": allowed is a list of durations`},
		{`["5s", "soon"]`, property.Durations{}, `v/1 "soon": allowed is a duration such as "30s", "1h30m" or "7d"`},
		{`["a", "b\u000a"]`, property.TextsOf("a", "b\n"), ""},
		{`["a", 2]`, property.Texts{}, `v/1 2: allowed is a text`},
		{`{"0": "a"}`, property.Texts{}, `v an object: allowed is a list of texts`},
		{`{"A": "1", "B": ""}`, property.TableOf(map[string]string{"A": "1", "B": ""}), ""},
		{`{}`, property.Table{}, ""},
		{`{"A": "1", "B": null}`, property.Table{}, `v/B null: allowed is a text`},
		{`["A"]`, property.Table{}, `v a list: allowed is an object of texts`},
	} {
		body, err := Parse([]byte(`{"v": ` + tt.body + `}`))
		if err != nil {
			t.Fatal(err)
		}
		in, _ := body.Member("v")
		v, at, allowed := valueOf(in, tt.want)
		switch {
		case tt.err == "" && (allowed != "" || v != tt.want):
			t.Errorf("%s is %#v, %s", tt.body, v, allowed)
		case tt.err != "" && (allowed == "" || at.Fail(allowed).Detail != tt.err):
			t.Errorf("%s: %s, want %s", tt.body, at.Fail(allowed).Detail, tt.err)
		}
		at.secret = true
		if tt.err != "" && at.Fail(allowed).Detail != fmt.Sprintf("%s that is not shown: allowed is %s", at.name(), allowed) {
			t.Errorf("a secret is shown: %s", at.Fail(allowed).Detail)
		}
	}
}

// What the audit log says of a list that becomes another.
func TestListChanges(t *testing.T) {
	l := FieldChanges{
		{"texts", property.Texts{}, property.TextsOf("a", "b c")},
		{"waits", property.DurationsOf(time.Second), property.DurationsOf(time.Second, time.Minute)},
		{"table", property.TableOf(map[string]string{"B": "2", "A": "1 2"}), property.Table{}},
		{"size", property.Size(0), property.Size(64 << 20)},
	}
	const want = `texts: [] → ["a" "b c"], waits: [1s] → [1s 1m0s], table: ["A":"1 2" "B":"2"] → [], size: 0 → 64MiB`
	if got := l.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
