package config

import (
	"errors"
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

// grow adds an element with its defaults and returns it.
func (f field) grow(section string) reflect.Value {
	all := reflect.ValueOf(defaults)
	for i := range all.NumField() {
		if strings.EqualFold(all.Type().Field(i).Name, section) {
			f.Set(reflect.Append(f.Value, all.Field(i)))
		}
	}
	return f.Index(f.Len() - 1)
}

// set fills the field from a value of TOML. The error is what follows "key = ".
func (f field) set(raw any) error {
	switch p := f.Addr().Interface().(type) {
	case *string:
		s, ok := raw.(string)
		if !ok {
			return fmt.Errorf("%v: allowed is a text in quotes", raw)
		}
		if err := f.plain(s); err != nil {
			if f.tag.Get("path") != "" {
				err = fmt.Errorf("%w; %s", err, singleQuotes)
			}
			return err
		}
		*p = s
	case *secret:
		s, ok := raw.(string)
		if !ok {
			return errors.New("a value that is not shown: allowed is a text in quotes")
		}
		if err := f.plain(s); err != nil {
			return err
		}
		*p = secret(s)
	case *bool:
		v, ok := raw.(bool)
		if !ok {
			return fmt.Errorf("%s: allowed are true and false", show(raw))
		}
		*p = v
	case *[]string:
		list, ok := raw.([]any)
		texts := make([]string, len(list))
		for i := 0; ok && i < len(list); i++ {
			texts[i], ok = list[i].(string)
		}
		if !ok {
			return fmt.Errorf("%s: allowed is a list of texts in quotes", show(raw))
		}
		for _, s := range texts {
			if err := f.plain(s); err != nil {
				return err
			}
		}
		*p = texts
	case *int64, *Size:
		if n, ok := raw.(int64); ok {
			return f.setInt(n, fmt.Sprint(n))
		}
		if s, ok := raw.(string); ok && f.Type() == reflect.TypeFor[Size]() {
			return f.setText(s)
		}
		return fmt.Errorf("%s: allowed is %s", show(raw), f.number())
	case *time.Duration:
		if s, ok := raw.(string); ok {
			return f.setText(s)
		}
		return fmt.Errorf(`%s: allowed is a duration such as "30s" or "5m"`, show(raw))
	}
	return nil
}

// setText fills the field from a variable of the environment.
func (f field) setText(s string) error {
	if err := f.plain(s); err != nil {
		return err
	}
	switch p := f.Addr().Interface().(type) {
	case *string:
		*p = s
	case *secret:
		*p = secret(s)
	case *bool:
		if s != "true" && s != "false" {
			return fmt.Errorf("%q: allowed are true and false", s)
		}
		*p = s == "true"
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	case *int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return fmt.Errorf("%q: allowed is %s", s, f.number())
		}
		return f.setInt(n, s)
	case *Size:
		n, ok := parseSize(s)
		if !ok {
			return fmt.Errorf("%q: allowed is %s", s, f.number())
		}
		return f.setInt(n, strconv.Quote(s))
	case *time.Duration:
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf(`%q: allowed is a duration such as "30s" or "5m"`, s)
		}
		*p = d
	}
	return nil
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
	shown := strconv.Quote(s)
	if f.Type() == reflect.TypeFor[secret]() {
		shown = "a value that is not shown"
	}
	return fmt.Errorf("%s: it %s, and control characters are not allowed", shown, holds)
}

// escaped is a text as in double quotes.
func escaped(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

// text is the value as a person writes it; a secret is masked.
func (f field) text() string {
	switch v := f.Interface().(type) {
	case []string:
		return strings.Join(v, ", ")
	case secret:
		if v == "" {
			return ""
		}
		return "***"
	case Size:
		return formatSize(int64(v))
	default:
		return fmt.Sprint(v)
	}
}

func (f field) setInt(n int64, shown string) error {
	if low, high, ok := f.bounds(); ok && (n < low || n > high) {
		return fmt.Errorf("%s: allowed is %s", shown, f.number())
	}
	f.SetInt(n)
	return nil
}

func (f field) bounds() (low, high int64, ok bool) {
	low, err1 := strconv.ParseInt(f.tag.Get("min"), 10, 64)
	high, err2 := strconv.ParseInt(f.tag.Get("max"), 10, 64)
	return low, high, err1 == nil && err2 == nil
}

// number says what is allowed of a number.
func (f field) number() string {
	low, high, bounded := f.bounds()
	if f.Type() == reflect.TypeFor[Size]() {
		return fmt.Sprintf(`a size such as 65536, "64KiB" or "1MiB", %s to %s`, formatSize(low), formatSize(high))
	}
	if bounded {
		return fmt.Sprintf("a whole number, %d to %d", low, high)
	}
	return "a whole number"
}

func show(raw any) string {
	if s, ok := raw.(string); ok {
		return strconv.Quote(s)
	}
	return fmt.Sprint(raw)
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

func formatSize(n int64) string {
	for _, u := range sizeUnits[:3] {
		if n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}
