package object

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/gate"
	"pipit/broker/clip"
)

// Bodies are read more strictly than encoding/json does it: a name that is misspelled, in other
// letters, given twice or not known is refused, and each error says where it is.
//
// It is done by hand, since a decoder of a library, such as encoding/json/v2, ends at the first fault and says what
// it is in Go's words: here all that is wrong with a body, or with an import, is told at once, each with its pointer,
// the value and what is allowed. What can be set stands in the broker's tables and in no struct, and null is the
// default, which depends on the object.

// Node is a value of JSON, and where it stands.
type Node struct {
	Value  any // nil, bool, json.Number, string, []Node or []member
	at     jsonStep
	secret bool // no error shows it
}

type member struct {
	name string
	Node
}

// jsonStep is the last step of the way to a value.
type jsonStep struct {
	from  *jsonStep // to the object or list that it is in; nil: it is the body
	name  string
	index int // of an item of a list; of a member of an object -1
}

// pointer returns the JSON pointer of a value.
func (n Node) pointer() string { return n.at.String() }

func (s *jsonStep) String() string {
	switch {
	case s.from == nil:
		return ""
	case s.index < 0:
		return s.from.String() + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(s.name)
	default:
		return s.from.String() + "/" + strconv.Itoa(s.index)
	}
}

// Member returns a member of an object.
func (n Node) Member(name string) (Node, bool) {
	members, _ := n.Value.([]member)
	for _, m := range members {
		if m.name == name {
			return m.Node, true
		}
	}
	return Node{}, false
}

// what says what a value is, for an error.
func (n Node) what() string {
	switch v := n.Value.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(clip.Input(v))
	case json.Number:
		return clip.Input(v.String())
	case bool:
		return strconv.FormatBool(v)
	case []Node:
		return "a list"
	default:
		return "an object"
	}
}

// name is how an error calls the field of a value.
func (n Node) name() string {
	if n.at.from == nil {
		return "body"
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(n.pointer()[1:])
}

func (n Node) Fail(allowed string) gate.FieldError {
	value := n.what()
	if n.secret || n.at.name == "password" {
		value = "that is not shown"
	}
	return gate.FieldError{Pointer: n.pointer(), Detail: fmt.Sprintf("%s %s: allowed is %s", clip.Input(n.name()), value, allowed)}
}

// MaxErrors is how many fields a problem names at most.
const MaxErrors = 20

// Object sets the fields of a struct, to which v points, from an object. A field that is not given
// keeps its value; one that is null gets the one that it has in defaults, which points to another
// struct of the type. Fields that the tag api:"-" marks are read alone: they are left out, so that
// what the API answered can be sent back.
func (n Node) Object(v, defaults any) error {
	members, ok := n.Value.([]member)
	if !ok {
		if n.at.from == nil {
			return gate.Malformed("body %s: allowed is an object", n.what())
		}
		return gate.FieldErrors{n.Fail("an object")}
	}
	fields := map[string]bodyField{}
	if t, ok := v.(settable); ok {
		fields = t.settings()
	}
	collect(fields, reflect.ValueOf(v).Elem(), reflect.ValueOf(defaults).Elem())
	var errs gate.FieldErrors
	for _, m := range members {
		f, known := fields[m.name]
		switch {
		case len(errs) == MaxErrors:
			return errs
		case !known:
			errs = append(errs, gate.FieldError{Pointer: m.pointer(), Detail: fmt.Sprintf("%s: no such field, allowed are %s", clip.Input(m.Node.name()), allowedNames(fields))})
		case f.readOnly:
		case m.Value == nil:
			f.reset()
		default:
			if at, allowed := f.set(m.Node); allowed != "" {
				errs = append(errs, at.Fail(allowed))
			}
		}
	}
	if errs != nil {
		return errs
	}
	return nil
}

// bodyField is a field that a body can give, under its name in JSON.
type bodyField struct {
	set      func(Node) (at Node, allowed string) // or where it is not allowed, and what is
	reset    func()                               // to its default
	readOnly bool
}

// collect adds the fields of a struct.
func collect(fields map[string]bodyField, v, byDefault reflect.Value) {
	for i := range v.NumField() {
		f, to := v.Type().Field(i), v.Field(i)
		if name := jsonName(f); name != "-" {
			fields[name] = bodyField{
				set:      func(in Node) (Node, string) { return in, in.set(to) },
				reset:    func() { to.Set(byDefault.Field(i)) },
				readOnly: f.Tag.Get("api") == "-",
			}
		}
	}
}

func allowedNames(fields map[string]bodyField) string {
	var names []string
	for name, f := range fields {
		if !f.readOnly {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// set sets a field, or says what is allowed.
func (n Node) set(v reflect.Value) (allowed string) {
	switch v.Kind() {
	case reflect.String:
		s, ok := n.Value.(string)
		if !ok {
			return "a text"
		}
		v.SetString(s)
	case reflect.Bool:
		on, ok := n.Value.(bool)
		if !ok {
			return "true or false"
		}
		v.SetBool(on)
	case reflect.Int, reflect.Int64:
		number, ok := n.Value.(json.Number)
		i, err := strconv.ParseInt(number.String(), 10, 64)
		if !ok || err != nil {
			return "a whole number"
		}
		v.SetInt(i)
	case reflect.Slice:
		items, ok := n.Value.([]Node)
		if !ok || v.Type().Elem().Kind() != reflect.String {
			return "a list of texts"
		}
		list := make([]string, len(items))
		for i, item := range items {
			if list[i], ok = item.Value.(string); !ok {
				return "a list of texts"
			}
		}
		v.Set(reflect.ValueOf(list))
	case reflect.Map:
		members, ok := n.Value.([]member)
		if !ok || v.Type() != reflect.TypeFor[map[string]string]() {
			return "an object of texts"
		}
		table := map[string]string{}
		for _, m := range members {
			if table[m.name], ok = m.Value.(string); !ok {
				return "an object of texts"
			}
		}
		v.Set(reflect.ValueOf(table))
	default:
		panic("no way to set a " + v.Type().String())
	}
	return ""
}
