package openapi

import (
	"reflect"
	"testing"
)

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "",
		"messages in flight":               "Messages in flight.",
		"seconds; 0: for ever":             "Seconds; 0: for ever.",
		"a name. It is for good.":          "A name. It is for good.",
		"base64 where it is no text":       "base64 where it is no text.",
		"urn:pipit:problem: and the code":  "urn:pipit:problem: and the code.",
		"max_depth of the topic":           "max_depth of the topic.",
		"über everything, as Go prints it": "Über everything, as Go prints it.",
		"9 is delivered first":             "9 is delivered first.",
	} {
		if is := Sentence(text); is != want {
			t.Errorf("%q: %q, want %q", text, is, want)
		}
	}
}

// TestTypes reads types of this package, whose comments are where everybody can see them.
func TestTypes(t *testing.T) {
	types := &Types{Names: map[reflect.Type]string{reflect.TypeFor[Schema](): "Schema"}}
	for _, c := range []struct {
		of    reflect.Type
		index int
		want  Field
	}{
		{reflect.TypeFor[SecurityScheme](), 1, Field{Name: "scheme", Schema: &Schema{Type: "string", Description: "Of the type http: basic or bearer."}, Optional: true}},
		{reflect.TypeFor[Tag](), 0, Field{Name: "name", Schema: &Schema{Type: "string"}}},
		{reflect.TypeFor[Header](), 1, Field{Name: "schema", Schema: Ref("Schema")}},
	} {
		if is := types.Fields(c.of)[c.index]; !reflect.DeepEqual(is, c.want) {
			t.Errorf("%s: %+v %+v, want %+v %+v", c.of, is, is.Schema, c.want, c.want.Schema)
		}
	}
	if is, want := types.Describe(reflect.TypeFor[Tag]()), "A heading for operations."; is != want {
		t.Errorf("%q, want %q", is, want)
	}
}

func TestJSON(t *testing.T) {
	var m Map[any]
	for _, name := range []string{"z", "a", "<m>"} {
		m.Set(name, Integer(1, 9).OrNull())
	}
	m.Set("a", 1)
	const want = `{"z":{"type":["integer","null"],"minimum":1,"maximum":9},"a":1,"<m>":{"type":["integer","null"],"minimum":1,"maximum":9}}`
	if is, err := m.MarshalJSON(); err != nil || string(is) != want {
		t.Errorf("%s, %v", is, err)
	}
}
