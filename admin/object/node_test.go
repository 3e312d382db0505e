package object

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"
	"unicode/utf8"

	"pipit/admin/gate"
)

// FuzzParse holds the reading of bodies to encoding/json: what it takes is JSON, and nothing of it is
// lost on the way into a definition.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"name": "/a", "max_depth": 7, "dedup_window": "5m0s"}`, `{"a": [1, 2, {"b": null}], "c/d~e": "\u00fc\ud83d\ude00"}`, `[[[]]]`, `{"a": 1, "a": 2}`, ` 1e999 `, `"\ud800"`, "", "{}{}", "nul"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in, err := Parse(body)
		if err != nil {
			return
		}
		if !json.Valid(body) || !utf8.Valid(body) {
			t.Fatalf("taken, and no JSON: %q", body)
		}
		topic, byDefault := NewTopic(), NewTopic()
		if err := in.Object(&topic, &byDefault); err != nil {
			return
		}
		var want Topic
		want.Topic = byDefault.Topic
		var given map[string]any
		if err := json.Unmarshal(body, &given); err != nil {
			t.Fatal(err)
		}
		if name, ok := given["name"].(string); ok && topic.Name != name {
			t.Errorf("name %q of %s", topic.Name, body)
		}
		if active, ok := given["is_active"].(bool); ok && topic.Inactive == active {
			t.Errorf("is_active %t of %s", !topic.Inactive, body)
		}
	})
}

func TestMessageJSON(t *testing.T) {
	at := gate.TimeOf(time.Date(2026, 1, 31, 12, 0, 0, 120_000, time.UTC))
	for _, m := range []Message{
		{ID: "a", Topic: "/t", Priority: 5, Created: at, Due: at, State: "waiting", Payload: []byte("<text> \u2028")},
		{ID: "b", Payload: []byte{0xff, 0}, Size: 9, Truncated: true},
		{ID: "c", Payload: []byte{}},
		{ID: "d"},
	} {
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var got Message
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%+v from %s, want %+v", got, b, m)
		}
	}
	b, err := gate.Marshal(Message{Created: at})
	if err != nil || !bytes.Contains(b, []byte(`"created":"2026-01-31T12:00:00.000120Z"`)) || bytes.Contains(b, []byte("expire_at")) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestWholeRunes(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "abc": "abc", "aü": "aü", "a\xc3": "a", "a\xe2\x82": "a", "a\xf0\x9f\x98": "a", "a😀": "a😀", "a\xff": "a\xff", "\x80\x80\x80\x80\x80": "\x80\x80\x80\x80\x80",
	} {
		if got := WholeRunes([]byte(in)); string(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
