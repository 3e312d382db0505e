package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"pipit/broker/property"
)

// bindFile fills c from TOML. An error that it returns is one of syntax; all others are noted.
func (b *binder) bindFile(c *Config, text string) error {
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
	keys := slices.SortedFunc(maps.Keys(raw), func(x, y string) int {
		return cmp.Or(b.lines[joinKey(path, x)]-b.lines[joinKey(path, y)], strings.Compare(x, y))
	})
	for _, k := range keys {
		at := joinKey(path, k)
		f, ok := fieldOf(into, k)
		if !ok {
			b.notef(at, "unknown key: allowed are %s", strings.Join(keysOf(into), ", "))
			continue
		}
		b.value(at, raw[k], f)
	}
}

// value fills a field from a value of the file.
func (b *binder) value(path string, raw any, f field) {
	_, isKey := f.get().(property.Table)
	switch kind := f.at.Kind(); {
	case isKey:
	case kind == reflect.Struct:
		t, ok := raw.(map[string]any)
		if !ok {
			b.notef(path, "allowed is a table, [%s]", path)
			return
		}
		b.table(path, t, f.at)
		return
	case kind == reflect.Slice && f.at.Type().Elem().Kind() == reflect.Struct:
		b.elements(path, raw, f)
		return
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
		b.notef(path, "allowed are tables, [[%s]]", path)
		return
	}
	for i, t := range tables {
		b.table(fmt.Sprintf("%s[%d]", path, i), t, f.grow())
	}
}
