package property

import (
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// trial is a noun with a field of each kind that holds several values, a size, and a text with Options and others.
type trial struct {
	Waits  Durations `json:",omitzero"`
	Nets   Texts     `json:",omitzero"`
	Values Table     `json:",omitzero"`
	Secret Texts     `json:",omitzero"`
	Room   Size
	Start  string
}

var trialFields = Fields[trial]{
	{Name: "waits", At: func(t *trial) any { return &t.Waits }, Default: DurationsOf(time.Second, time.Minute), Min: int64(time.Second), Max: int64(time.Hour), MaxItems: 3},
	{Name: "nets", At: func(t *trial) any { return &t.Nets }, Max: 40, Check: func(s string) error {
		if _, err := netip.ParsePrefix(s); err != nil {
			return errors.New("allowed are networks such as 10.0.0.0/8")
		}
		return nil
	}},
	{Name: "values", At: func(t *trial) any { return &t.Values }, Max: 100, CheckPair: func(name, _ string) error {
		if name == "Host" {
			return errors.New("allowed are other headers")
		}
		return nil
	}},
	{Name: "secret", At: func(t *trial) any { return &t.Secret }, MaxItems: 2, Max: 8, Secret: true},
	{Name: "room", At: func(t *trial) any { return &t.Room }, Default: Size(1 << 20), Min: 0, Max: 1 << 30},
	{Name: "start", At: func(t *trial) any { return &t.Start }, Options: []Option{{"new", ""}, {"oldest", ""}}, Other: "a UTC time", Check: func(s string) error {
		if _, err := time.Parse(time.RFC3339, s); err != nil && s != "" {
			return errors.New("allowed are " + "new, oldest or a UTC time")
		}
		return nil
	}},
}

func TestListValues(t *testing.T) {
	waits := DurationsOf(5*time.Second, 90*time.Minute)
	if got := waits.List(); !slices.Equal(got, []time.Duration{5 * time.Second, 90 * time.Minute}) || waits.String() != "5s\n1h30m0s" {
		t.Errorf("%v, %q", got, waits)
	}
	texts := TextsOf("a", "", "b,c")
	if got := texts.List(); !slices.Equal(got, []string{"a", "", "b,c"}) || texts != TextsOf("a", "", "b,c") || texts == TextsOf("a", "b,c") {
		t.Errorf("%q", got)
	}
	if TextsOf("a\nb") == TextsOf("a", "b") || TextsOf("") == TextsOf() {
		t.Error("two lists of different items are the same")
	}
	values := map[string]string{"X-A": "1: 2", "B": ""}
	table := TableOf(values)
	if !maps.Equal(table.Map(), values) || table.String() != "B: \nX-A: 1: 2" || table != TableOf(maps.Clone(values)) {
		t.Errorf("%q", table)
	}
	if TableOf(map[string]string{"a": "b\nc\td"}) == TableOf(map[string]string{"a": "b", "c": "d"}) {
		t.Error("two tables of different items are the same")
	}

	before := trial{Waits: waits, Nets: texts, Values: table, Room: 7}
	stored, err := json.Marshal(before)
	const want = `{"Waits":["5s","1h30m0s"],"Nets":["a","","b,c"],"Values":{"B":"","X-A":"1: 2"},"Room":7,"Start":""}`
	if err != nil || string(stored) != want {
		t.Errorf("%s, %v", stored, err)
	}
	var after trial
	if err := json.Unmarshal(stored, &after); err != nil || after != before {
		t.Errorf("%+v, %v", after, err)
	}
	if empty, _ := json.Marshal([]any{Texts{}, Durations{}, Table{}}); string(empty) != `[[],[],{}]` {
		t.Errorf("%s", empty)
	}
	if err := json.Unmarshal([]byte(`{"Waits":["soon"]}`), &after); err == nil {
		t.Error("no duration is read as one")
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "512": 512, "512B": 512, "64KiB": 64 << 10, "1 MiB": 1 << 20, "3GiB": 3 << 30} {
		if n, ok := ParseSize(text); !ok || n != want {
			t.Errorf("%q is %d, %v", text, n, ok)
		}
		if n, ok := ParseSize(want.String()); !ok || n != want {
			t.Errorf("%d is written %q", want, want)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "1MB", "9000000000GiB", "x"} {
		if n, ok := ParseSize(text); ok {
			t.Errorf("%q is %d", text, n)
		}
	}
}

// What is set is read again, also as a person writes it, and what a person writes wrongly is refused in his words.
func TestListFields(t *testing.T) {
	for _, tt := range []struct {
		field, text string
		want        any
		err         string
	}{
		{"waits", "5s\n\n 1m, 30 \n", DurationsOf(5*time.Second, time.Minute, 30*time.Second), ""},
		{"waits", "", Durations{}, ""},
		{"waits", "5s\nsoon", nil, `"soon": allowed are durations such as 30s, 5m, 1h30m, 7d, one a line`},
		{"nets", " 10.0.0.0/8 \r\n\r\n::/0", TextsOf("10.0.0.0/8", "::/0"), ""},
		{"values", "Authorization: Bearer a=b\nX = 1:2", TableOf(map[string]string{"Authorization": "Bearer a=b", "X": "1:2"}), ""},
		{"values", "a: 1\nA: 2\na: 3", nil, `"a: 3": allowed are names with their values, such as name: value, one a line, each name once`},
		{"values", "nothing", nil, `"nothing": allowed are names with their values, such as name: value, one a line, each name once`},
		{"secret", "one\ntwo", TextsOf("one", "two"), ""},
		{"room", " 64KiB ", Size(64 << 10), ""},
		{"room", "much", nil, "allowed are sizes such as 65536, 512KiB, 64MiB"},
	} {
		f, v := trialFields.Named(tt.field), trial{}
		err := f.SetText(&v, tt.text)
		if tt.err != "" {
			if err == nil || err.Error() != tt.err {
				t.Errorf("%s %q: %v", tt.field, tt.text, err)
			}
			continue
		}
		if err != nil || f.Value(&v) != tt.want {
			t.Errorf("%s %q is %q, %v", tt.field, tt.text, f.Value(&v), err)
		}
		var again trial
		if err := f.SetText(&again, f.Text(&v)); err != nil || again != v {
			t.Errorf("%s %q is read as %q, %v", tt.field, f.Text(&v), f.Value(&again), err)
		}
	}
}

// An error names the item, and shows no secret.
func TestListFaults(t *testing.T) {
	many := map[string]string{}
	for _, c := range strings.Split("abcdefghijklmnopqrstuvwxyzABCDEFG", "") {
		many[c] = c
	}
	for _, tt := range []struct {
		trial
		want string
	}{
		{trial{Waits: DurationsOf(time.Second, time.Hour), Nets: TextsOf("::/0"), Values: TableOf(map[string]string{"a": "b"}), Room: Off, Start: "new"}, ""},
		{trial{Start: "2026-01-31T12:00:00Z"}, ""},
		{trial{Start: "soon"}, `start "soon" of it: allowed are new, oldest or a UTC time`},
		{trial{Waits: DurationsOf(time.Second, 0)}, `waits[1] "0s" of it: allowed are 1s to 1h`},
		{trial{Waits: DurationsOf(1e9, 1e9, 1e9, 1e9)}, `waits of it: allowed are at most 3, got 4`},
		{trial{Nets: TextsOf("::/0", "10.0.0.0")}, `nets[1] "10.0.0.0" of it: allowed are networks such as 10.0.0.0/8`},
		{trial{Nets: TextsOf("")}, `nets[0] "" of it: allowed are 1 to 40 bytes without control characters and blanks at the ends`},
		{trial{Nets: TextsOf("::/0\n::/0")}, `nets[0] "::/0\r::/0" of it: allowed are 1 to 40 bytes without control characters and blanks at the ends`},
		{trial{Values: TableOf(map[string]string{"a": "b", "x y": "z"})}, `values.x y "z" of it: allowed are names of 1 to 256 bytes without blanks, colons, equals signs and control characters`},
		{trial{Values: TableOf(map[string]string{"Host": "z"})}, `values.Host "z" of it: allowed are other headers`},
		{trial{Values: TableOf(many)}, `values of it: allowed are at most 32, got 33`},
		{trial{Secret: TextsOf("hush", "much too long")}, `secret[1] of it: allowed are 1 to 8 bytes without control characters and blanks at the ends`},
		{trial{Room: 1 << 31}, `room 2GiB of it: allowed are 0 to 1GiB`},
	} {
		err := trialFields.Validate(&tt.trial, "it")
		if got := ""; err != nil {
			if got = err.Error(); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		} else if tt.want != "" {
			t.Errorf("%+v is allowed, want %s", tt.trial, tt.want)
		}
	}
	large := map[string]string{}
	for name := range many {
		large[name] = strings.Repeat("x", 300)
	}
	delete(large, "a")
	bounded := Field[trial]{Name: "values", At: trialFields.Named("values").At}
	if err := bounded.validate(&trial{Values: TableOf(large)}, "it"); err == nil || err.Error() != "values of it: allowed are at most 8192 bytes in all, got 9632" {
		t.Error(err)
	}
}

// What is empty is the default, and what is not stays.
func TestListDefaults(t *testing.T) {
	var v trial
	if trialFields.Complete(&v); v.Waits != DurationsOf(time.Second, time.Minute) || v.Room != 1<<20 || !v.Nets.IsZero() {
		t.Errorf("%+v", v)
	}
	v.Waits, v.Room = DurationsOf(time.Hour), Off
	before := v
	if trialFields.Complete(&v); v != before || trialFields.Named("room").Value(&v) != Size(0) {
		t.Errorf("%+v", v)
	}
}
