package admin

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// Bodies are read more strictly than encoding/json does it: a name that is misspelled, in other
// letters, given twice or not known is refused, and each error says where it is.
//
// It is done by hand, since a decoder of a library, such as encoding/json/v2, ends at the first fault and says what
// it is in Go's words: here all that is wrong with a body, or with an import, is told at once, each with its pointer,
// the value and what is allowed. What can be set stands in the broker's tables and in no struct, and null is the
// default, which depends on the object.

func malformed(format string, args ...any) error {
	return refuse(http.StatusBadRequest, "malformed", fmt.Sprintf(format, args...))
}

// checkBody refuses a request whose body is not of one of the types and says so.
func checkBody(r *http.Request, types ...string) error {
	if given := r.Header.Get("Content-Type"); given != "" {
		media, with, err := mime.ParseMediaType(given)
		charset := with["charset"]
		if err != nil || !slices.Contains(types, media) || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return refuse(http.StatusUnsupportedMediaType, "unsupported_type",
				fmt.Sprintf("Content-Type %q: allowed are %s in UTF-8", clip.Input(given), strings.Join(types, ", ")))
		}
	}
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return refuse(http.StatusUnsupportedMediaType, "unsupported_type", fmt.Sprintf("Content-Encoding %q: allowed is none", clip.Input(enc)))
	}
	return nil
}

// readBody returns the body of a request, which is of one of the types or says none.
func readBody(r *http.Request, types ...string) ([]byte, error) {
	if err := checkBody(r, types...); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, err
		}
		return nil, malformed("body: it broke off")
	}
	return b, nil
}

const (
	typeJSON  = "application/json"
	typePatch = "application/merge-patch+json"
)

// node is a value of JSON, and where it stands.
type node struct {
	value any // nil, bool, json.Number, string, []node or []member
	at    jsonStep
}

type member struct {
	name string
	node
}

// jsonStep is the last step of the way to a value.
type jsonStep struct {
	from  *jsonStep // to the object or list that it is in; nil: it is the body
	name  string
	index int // of an item of a list; of a member of an object -1
}

// pointer returns the JSON pointer of a value.
func (n node) pointer() string { return n.at.String() }

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

// member returns a member of an object.
func (n node) member(name string) (node, bool) {
	members, _ := n.value.([]member)
	for _, m := range members {
		if m.name == name {
			return m.node, true
		}
	}
	return node{}, false
}

// what says what a value is, for an error.
func (n node) what() string {
	switch v := n.value.(type) {
	case nil:
		return "null"
	case string:
		return strconv.Quote(clip.Input(v))
	case json.Number:
		return clip.Input(v.String())
	case bool:
		return strconv.FormatBool(v)
	case []node:
		return "a list"
	default:
		return "an object"
	}
}

// name is how an error calls the field of a value.
func (n node) name() string {
	if n.at.from == nil {
		return "body"
	}
	return strings.NewReplacer("~1", "/", "~0", "~").Replace(n.pointer()[1:])
}

func (n node) fail(allowed string) FieldError {
	value := n.what()
	if n.at.name == "password" || n.at.name == "password_hash" || n.at.name == "sub_key" {
		value = "that is not shown"
	}
	return FieldError{Pointer: n.pointer(), Detail: fmt.Sprintf("%s %s: allowed is %s", clip.Input(n.name()), value, allowed)}
}

// maxErrors is how many fields a problem names at most.
const maxErrors = 20

// object sets the fields of a struct, to which v points, from an object. A field that is not given
// keeps its value; one that is null gets the one that it has in defaults, which points to another
// struct of the type. Fields that the tag api:"-" marks are read alone: they are left out, so that
// what the API answered can be sent back.
func (n node) object(v, defaults any) error {
	members, ok := n.value.([]member)
	if !ok {
		if n.at.from == nil {
			return malformed("body %s: allowed is an object", n.what())
		}
		return fieldErrors{n.fail("an object")}
	}
	fields := map[string]bodyField{}
	if t, ok := v.(settable); ok {
		fields = t.settings()
	}
	collect(fields, reflect.ValueOf(v).Elem(), reflect.ValueOf(defaults).Elem())
	var errs fieldErrors
	for _, m := range members {
		f, known := fields[m.name]
		switch {
		case len(errs) == maxErrors:
			return errs
		case !known:
			errs = append(errs, FieldError{Pointer: m.pointer(), Detail: fmt.Sprintf("%s: no such field, allowed are %s", clip.Input(m.node.name()), allowedNames(fields))})
		case f.readOnly:
		case m.value == nil:
			f.reset()
		default:
			if allowed := f.set(m.node); allowed != "" {
				errs = append(errs, m.fail(allowed))
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
	set      func(node) (allowed string)
	reset    func() // to its default
	readOnly bool
}

// collect adds the fields of a struct.
func collect(fields map[string]bodyField, v, byDefault reflect.Value) {
	for i := range v.NumField() {
		f, to := v.Type().Field(i), v.Field(i)
		if name := jsonName(f); name != "-" {
			fields[name] = bodyField{
				set:      func(in node) string { return in.set(to) },
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
func (n node) set(v reflect.Value) (allowed string) {
	if t, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		s, ok := n.value.(string)
		if !ok || t.UnmarshalText([]byte(s)) != nil {
			return `a duration such as "30s" or "1h30m"`
		}
		return ""
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := n.value.(string)
		if !ok {
			return "a text"
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := n.value.(bool)
		if !ok {
			return "true or false"
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64, reflect.Uint32:
		number, ok := n.value.(json.Number)
		i, err := strconv.ParseInt(number.String(), 10, 64)
		if !ok || err != nil || v.Kind() == reflect.Uint32 && (i < 0 || i > 1<<32-1) {
			return "a whole number"
		}
		if v.Kind() == reflect.Uint32 {
			v.SetUint(uint64(i)) // #nosec G115 -- not negative: see above
		} else {
			v.SetInt(i)
		}
	case reflect.Slice:
		items, ok := n.value.([]node)
		if !ok || v.Type().Elem().Kind() != reflect.String {
			return "a list of texts"
		}
		list := make([]string, len(items))
		for i, item := range items {
			if list[i], ok = item.value.(string); !ok {
				return "a list of texts"
			}
		}
		v.Set(reflect.ValueOf(list))
	default:
		panic("no way to set a " + v.Type().String())
	}
	return ""
}

// values are the parameters of a query.
type values map[string]string

// parseQuery reads the query of a request. allowed are the parameters that the route knows: another
// one is an error, so that a slip of the pen is not taken for a default. So is one that is given twice.
func parseQuery(r *http.Request, allowed ...string) (values, error) {
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, malformed("query: not a list of name=value")
	}
	v := values{}
	for name, list := range given {
		if !slices.Contains(allowed, name) {
			known := "none"
			if len(allowed) > 0 {
				known = strings.Join(allowed, ", ")
			}
			return nil, badParameter(name, "parameter %q: allowed are %s", clip.Input(name), known)
		}
		if err := once(name, list); err != nil {
			return nil, err
		}
		v[name] = list[0]
	}
	return v, nil
}

func badParameter(name, format string, args ...any) error {
	return fieldErrors{{Parameter: clip.Input(name), Detail: fmt.Sprintf(format, args...)}}
}

// elsewhere stands in a path for a name that the query has, since some proxies decode %2F or merge slashes.
const elsewhere = "-"

// queryNames are the parameters of the query that can hold a name of the path, by that of the route.
var queryNames = map[string]string{"username": "username", "name": "name", "topic": "name", "msg_id": "msg_id"}

// fromQuery takes the names that are elsewhere from the query, and returns the request without them.
// Where the query has none, the path means what it says.
func (p params) fromQuery(r *http.Request) (*http.Request, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return r, nil // for the handler to refuse
	}
	taken := false
	for at, value := range p {
		list, given := q[queryNames[at]]
		if !given || value != elsewhere {
			continue
		}
		if err := once(queryNames[at], list); err != nil {
			return nil, err
		}
		p[at], taken = list[0], true
		delete(q, queryNames[at])
	}
	if !taken {
		return r, nil
	}
	r = r.Clone(r.Context())
	r.URL.RawQuery = q.Encode()
	return r, nil
}

// once returns an error where a parameter is given several times.
func once(name string, values []string) error {
	if len(values) > 1 {
		return badParameter(name, "parameter %q: given %d times, allowed is once", name, len(values))
	}
	return nil
}

// integer returns a whole number within bounds, def where it is not given.
func (v values) integer(name string, def, least, most int64) (int64, error) {
	s, given := v[name]
	if !given {
		return def, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most || s[0] == '+' {
		return 0, badParameter(name, "%s %q: allowed are %d to %d", name, clip.Input(s), least, most)
	}
	return n, nil
}

// flag returns true or false, false where it is not given.
func (v values) flag(name string) (bool, error) {
	switch s, given := v[name]; {
	case !given || s == "false":
		return false, nil
	case s == "true":
		return true, nil
	default:
		return false, badParameter(name, "%s %q: allowed are true, false", name, clip.Input(s))
	}
}

// consumer returns the id of a consumer, 0 where it is not given.
func (v values) consumer() (uint32, error) {
	s, given := v["consumer"]
	id, ok := parseID(s)
	if given && !ok {
		return 0, badParameter("consumer", "consumer %q: allowed is the id of a consumer", clip.Input(s))
	}
	return id, nil
}

// time returns a time, the zero time where it is not given.
func (v values) time(name string) (time.Time, error) {
	s, given := v[name]
	if !given {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, badParameter(name, "%s %q: allowed is a time such as 2026-01-31T12:00:00Z", name, clip.Input(s))
	}
	return t, nil
}

// ofParameters makes the error of a field one of a parameter, for what came in a query.
func ofParameters(err error) error {
	var e *broker.Error
	if errors.As(err, &e) && e.Code == broker.Invalid && e.Field != "" {
		return badParameter(e.Field, "%s", e.Message)
	}
	return err
}
