package openapi

import (
	"fmt"
	"reflect"
	"strings"
)

// Types reads schemas from Go types.
type Types struct {
	Known map[reflect.Type]Schema // of types that encoding/json does not write as they are
	Names map[reflect.Type]string // of the structs that are components: what refers to one

	comments comments
}

// Field is a field of a struct as JSON has it.
type Field struct {
	Name     string
	Schema   *Schema // with the field's comment for a description
	Optional bool    // it is left out where it is empty
	ReadOnly bool    // by the tag api:"-"
}

// Fields returns the fields of a struct, and after them those of the structs that it embeds. It panics where a type has no
// schema, or no source that its comments could be read from.
func (t *Types) Fields(of reflect.Type) []Field {
	var list, embedded []Field
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case f.Anonymous:
			embedded = append(embedded, t.Fields(indirect(f.Type))...)
		default:
			s := t.Schema(f.Type)
			if text := t.comments.of(of, f.Name); text != "" && s.Ref == "" { // what is referred to has a text of its own
				s.Description = text
			}
			list = append(list, Field{name, s, strings.Contains(options, "omit"), f.Tag.Get("api") == "-"})
		}
	}
	return append(embedded, list...)
}

// Describe returns the doc comment of a type, without the words that only name it.
func (t *Types) Describe(of reflect.Type) string {
	text := t.comments.of(of, "")
	for _, verb := range []string{" is ", " are ", " tells "} {
		if before, after, ok := strings.Cut(text, verb); ok && !strings.Contains(before, " ") {
			text = after
		}
	}
	return Sentence(text)
}

// Schema returns the schema of values of a type: a reference where it has a name.
func (t *Types) Schema(of reflect.Type) *Schema {
	of = indirect(of)
	if s, ok := t.Known[of]; ok {
		return &s
	}
	if name, ok := t.Names[of]; ok {
		return Ref(name)
	}
	switch of.Kind() {
	case reflect.String:
		return &Schema{Type: "string"}
	case reflect.Bool:
		return &Schema{Type: "boolean"}
	case reflect.Int, reflect.Int64, reflect.Uint32, reflect.Uint64:
		return &Schema{Type: "integer"}
	case reflect.Float64:
		return &Schema{Type: "number"}
	case reflect.Slice:
		return Array(t.Schema(of.Elem()))
	case reflect.Map: // by texts
		return &Schema{Type: "object", AdditionalProperties: t.Schema(of.Elem())}
	case reflect.Interface:
		return &Schema{}
	default:
		panic(fmt.Sprintf("openapi: no schema for %s", of))
	}
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
