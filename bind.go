package main

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"pipit/broker"
)

// binder fills a config from a file and the environment. A key is known by its path, such as
// "http.listen[1]" or "client[0].username"; every fault says where the value stands: the file and line,
// or the name of the variable.
type binder struct {
	file   string
	lines  map[string]int    // of each key and table in the file, by path
	vars   map[string]string // the variable that set a key, by path
	faults []fault
	faulty map[string]bool // paths of faults
}

// fault is one thing that is wrong, and its line in the file, 0 where it is not from there.
type fault struct {
	line int
	text string
}

// errorf notes a fault of the value of a key.
func (b *binder) errorf(path, format string, args ...any) {
	b.notef(path, "%s = %s", b.key(path), fmt.Sprintf(format, args...))
}

// notef notes a fault at the place of a key or table, one of each: what follows from it is none.
func (b *binder) notef(path, format string, args ...any) {
	if b.faulty[path] {
		return
	}
	if b.faulty == nil {
		b.faulty = map[string]bool{}
	}
	b.faulty[path] = true
	line, where := b.place(path)
	b.faults = append(b.faults, fault{line, where + ": " + fmt.Sprintf(format, args...)})
}

// err is all that was noted, in the order of the file.
func (b *binder) err() error {
	slices.SortStableFunc(b.faults, func(x, y fault) int { return cmp.Compare(x.line, y.line) })
	var errs []error
	for _, f := range b.faults {
		errs = append(errs, errors.New(f.text))
	}
	return errors.Join(errs...)
}

// key is a path without the number of an element: the line tells that.
func (b *binder) key(path string) string {
	if name, rest, ok := strings.Cut(path, "["); ok {
		_, rest, _ = strings.Cut(rest, "]")
		return name + rest
	}
	return path
}

// place says where the value of a path comes from: itself, or what it is in. The line is 0 where
// that is not the file.
func (b *binder) place(path string) (line int, where string) {
	for p := path; p != ""; p = parent(p) {
		if name := b.vars[p]; name != "" {
			return 0, name
		}
	}
	for p := path; p != ""; p = parent(p) {
		if line := b.lines[p]; line > 0 {
			return line, fmt.Sprintf("%s:%d", b.file, line)
		}
	}
	if element, _, ok := strings.Cut(path, "]"); ok { // one that the environment alone declares
		return 0, envPrefix + strings.ToUpper(strings.Replace(element, "[", "_", 1)) + "_…"
	}
	return 0, cmp.Or(b.file, "configuration")
}

// parent is the path of what a key or an element is in.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

func (b *binder) oneOf(path, value string, allowed []string) {
	if !slices.Contains(allowed, value) {
		b.errorf(path, "%q: allowed are %s", value, strings.Join(allowed, ", "))
	}
}

// valid notes what the broker says against an element, each at the key that it is about.
func (b *binder) valid(path string, err error) {
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			b.valid(path, err)
		}
		return
	}
	var e *broker.Error
	if errors.As(err, &e) {
		b.notef(joinKey(path, e.Field), "%s", e.Message)
	}
}

// bindFile fills c from TOML. An error that it returns is one of syntax; all others are noted.
func (b *binder) bindFile(c *config, text string) error {
	text = strings.TrimPrefix(text, byteOrderMark)
	var raw map[string]any
	if _, err := toml.Decode(text, &raw); err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return fmt.Errorf("%s:%d: %s", b.file, p.Position.Line, syntaxError(text, p))
		}
		return fmt.Errorf("%s: %w", b.file, err)
	}
	b.lines = keyLines(text)
	b.table("", raw, reflect.ValueOf(c).Elem())
	return nil
}

// byteOrderMark is what editors of Windows put in front of a text.
const byteOrderMark = "\ufeff"

// syntaxError is the first line of a parser's message, with a hint for what people fall into most.
func syntaxError(text string, p toml.ParseError) string {
	msg, _, _ := strings.Cut(p.Message, "\n")
	lines := strings.Split(text, "\n")
	if n := p.Position.Line - 1; n >= 0 && n < len(lines) && strings.Contains(lines[n], `\`) {
		msg += ": " + singleQuotes
	}
	return msg
}

const singleQuotes = `in double quotes a backslash begins an escape, so write a path in single quotes, 'C:\pipit.db'`

// table fills a struct from a table of the file.
func (b *binder) table(path string, raw map[string]any, into reflect.Value) {
	keys := make([]string, 0, len(raw))
	for k := range raw {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y string) int {
		if d := b.lines[joinKey(path, x)] - b.lines[joinKey(path, y)]; d != 0 {
			return d
		}
		return strings.Compare(x, y)
	})
	for _, k := range keys {
		at := joinKey(path, k)
		f, ok := fieldOf(into, k)
		if !ok {
			b.notef(at, "unknown key %q%s: allowed are %s", k, in(path), strings.Join(keysOf(into.Type()), ", "))
			continue
		}
		b.value(at, raw[k], f)
	}
}

// value fills a field from a value of the file.
func (b *binder) value(path string, raw any, f field) {
	switch f.Kind() {
	case reflect.Struct:
		t, ok := raw.(map[string]any)
		if !ok {
			b.notef(path, "%s: allowed is a table, [%s]", path, path)
			return
		}
		b.table(path, t, f.Value)
		return
	case reflect.Slice:
		if f.Type().Elem().Kind() == reflect.Struct {
			b.elements(path, raw, f)
			return
		}
	}
	if err := f.set(raw); err != nil {
		b.errorf(path, "%v", err)
	}
}

// elements fills an array of tables.
func (b *binder) elements(path string, raw any, f field) {
	var tables []map[string]any
	switch raw := raw.(type) {
	case []map[string]any:
		tables = raw
	case []any: // written as client = [{…}, …]
		for _, v := range raw {
			t, ok := v.(map[string]any)
			if !ok {
				tables = nil
				break
			}
			tables = append(tables, t)
		}
	}
	if tables == nil {
		b.notef(path, "%s: allowed are tables, [[%s]]", path, path)
		return
	}
	for i, t := range tables {
		b.table(fmt.Sprintf("%s[%d]", path, i), t, f.grow(path))
	}
}

// missing notes the required keys of a table that were not given.
func (b *binder) missing(path string, table any) {
	v := reflect.ValueOf(table)
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag; tag.Get("required") != "" && v.Field(i).IsZero() {
			b.notef(joinKey(path, tag.Get("toml")), "the key %q is missing%s", tag.Get("toml"), in(path))
		}
	}
}

func joinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func in(path string) string {
	if path == "" {
		return ""
	}
	if name, _, ok := strings.Cut(path, "["); ok {
		return " in [[" + name + "]]"
	}
	return " in [" + path + "]"
}
