package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Size is a number of bytes, written as such or as "512KiB", "1MiB", "2GiB".
type Size int64

// secret is a text that no error and no log line shows.
type secret string

func (s secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// field is a field of a configuration struct.
type field struct {
	reflect.Value
	tag reflect.StructTag
}

func fieldOf(table reflect.Value, key string) (field, bool) {
	for i := range table.NumField() {
		if tag := table.Type().Field(i).Tag; tag.Get("toml") == key {
			return field{table.Field(i), tag}, true
		}
	}
	return field{}, false
}

func keysOf(table reflect.Type) []string {
	var keys []string
	for i := range table.NumField() {
		keys = append(keys, table.Field(i).Tag.Get("toml"))
	}
	return keys
}

// elem is the struct that a section holds: its own, or that of its elements.
func elem(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return t
}

// grow adds an element with its defaults to an array of tables, and returns it.
func (f field) grow() reflect.Value {
	begins, _ := fieldOf(reflect.ValueOf(defaults), f.tag.Get("toml"))
	f.Set(reflect.Append(f.Value, begins.Index(0)))
	return f.Index(f.Len() - 1)
}

// set fills the field from a value of TOML. The error is what follows "key = ".
func (f field) set(raw any) error {
	v, allowed, ok := f.parse(raw)
	texts, _ := v.([]string)
	if s, isText := raw.(string); isText {
		texts = []string{s}
	}
	for _, s := range texts {
		if err := f.plain(s); err != nil {
			if f.tag.Get("path") != "" {
				err = fmt.Errorf("%w; %s", err, singleQuotes)
			}
			return err
		}
	}
	value := reflect.ValueOf(v)
	if low, high, bounded := f.bounds(); bounded {
		allowed += fmt.Sprintf(", %v to %v", low, high)
		ok = ok && low.Int() <= value.Int() && value.Int() <= high.Int()
	}
	if !ok {
		return fmt.Errorf("%s: allowed %s", f.shown(raw), allowed)
	}
	f.Set(value)
	return nil
}

// parse is a value of TOML as one of the field's type, and what is allowed in words. It is false where it is none.
func (f field) parse(raw any) (v any, allowed string, ok bool) {
	s, isText := raw.(string)
	switch f.Interface().(type) {
	case bool:
		v, ok = raw.(bool)
		return v, "are true and false", ok
	case int64:
		v, ok = raw.(int64)
		return v, "is a whole number", ok
	case Size:
		n, ok := raw.(int64)
		if !ok {
			n, ok = parseSize(s)
		}
		return Size(n), `is a size such as 65536, "64KiB" or "1MiB"`, ok
	case time.Duration:
		d, err := time.ParseDuration(s)
		return d, `is a duration such as "30s" or "5m"`, err == nil
	case []string:
		raw, ok := raw.([]any)
		texts := make([]string, len(raw))
		for i := 0; ok && i < len(raw); i++ {
			texts[i], ok = raw[i].(string)
		}
		return texts, "is a list of texts in quotes", ok
	case secret:
		return secret(s), "is a text in quotes", isText
	}
	return s, "is a text in quotes", isText
}

// setText fills the field from a variable of the environment.
func (f field) setText(s string) error {
	if err := f.plain(s); err != nil { // all of it, before a list loses what is around its parts
		return err
	}
	return f.set(f.unquoted(s))
}

// unquoted is what TOML has in place of a text that a variable cannot write otherwise; the text where that is no such.
func (f field) unquoted(s string) any {
	switch f.Interface().(type) {
	case bool:
		if s == "true" || s == "false" {
			return s == "true"
		}
	case int64:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
	case []string:
		var parts []any
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				parts = append(parts, part)
			}
		}
		return parts
	}
	return s
}

// bounds are those of a number that has some, as numbers of its type.
func (f field) bounds() (low, high reflect.Value, ok bool) {
	least, err1 := strconv.ParseInt(f.tag.Get("min"), 10, 64)
	most, err2 := strconv.ParseInt(f.tag.Get("max"), 10, 64)
	if err1 != nil || err2 != nil {
		return low, high, false
	}
	return reflect.ValueOf(least).Convert(f.Type()), reflect.ValueOf(most).Convert(f.Type()), true
}

// plain refuses a text with control characters: no name, path or password has any, and the line end
// of a file from Windows, or of a secret that came with one, is not seen by who looks for the fault.
func (f field) plain(s string) error {
	i := strings.IndexFunc(s, unicode.IsControl)
	if i < 0 {
		return nil
	}
	_, n := utf8.DecodeRuneInString(s[i:])
	holds := "holds " + escaped(s[i:i+n])
	if end := s[i:]; strings.Trim(end, "\r\n") == "" {
		holds = "ends with " + escaped(end)
	}
	return fmt.Errorf("%s: it %s, and control characters are not allowed", f.shown(s), holds)
}

// escaped is a text as in double quotes.
func escaped(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// shown is a value for an error.
func (f field) shown(raw any) string {
	s, ok := raw.(string)
	switch {
	case f.Type() == reflect.TypeFor[secret]():
		return "a value that is not shown"
	case ok:
		return strconv.Quote(s)
	}
	return fmt.Sprint(raw)
}

// text is the value as a person writes it; a secret is masked.
func (f field) text() string {
	if v, ok := f.Interface().([]string); ok {
		return strings.Join(v, ", ")
	}
	return fmt.Sprint(f.Value)
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads "512", "512B", "64KiB" and so on.
func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimRight(digits, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, false
	}
	return int64(n) * unit, true
}

func (n Size) String() string {
	for _, u := range sizeUnits[:3] {
		if int64(n) >= u.bytes && int64(n)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(n)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(n), 10)
}
