package config

import (
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"pipit/broker"
	"pipit/broker/property"
)

// field is a key of a table, or a section: a table or a list of tables.
type field struct {
	name      string
	at        reflect.Value // of a field of a configuration struct
	get       func() any    // the value of a key: []string, or one that a property.Field has
	put       func(any)
	low, high string // bounds of a number, empty where there are none
	path      bool   // it is the name of a file
	secret    bool   // no error and no log line shows it
	seconds   bool   // a number of seconds, which can be a duration as well
}

// fieldsOf are the keys of a table, in their order.
func fieldsOf(table reflect.Value) []field {
	switch t := table.Addr().Interface().(type) {
	case *broker.Client:
		return objectFields(broker.ClientFields, t)
	case *broker.Topic:
		return objectFields(broker.TopicFields, t)
	case *broker.Producer:
		return objectFields(broker.ProducerFields, t)
	case *broker.Consumer:
		return objectFields(broker.ConsumerFields, t)
	case *broker.Webhook:
		return objectFields(broker.WebhookFields, t)
	}
	all := make([]field, table.NumField())
	for i := range all {
		at, tag := table.Field(i), table.Type().Field(i).Tag
		all[i] = field{name: tag.Get("toml"), at: at, get: at.Interface, put: func(v any) { at.Set(reflect.ValueOf(v)) },
			low: tag.Get("min"), high: tag.Get("max"), path: tag.Get("path") != "", secret: tag.Get("secret") != ""}
	}
	return all
}

// objectFields are the keys of an object. Their bounds are the broker's to check, which names the object.
func objectFields[T any](fields property.Fields[T], object *T) []field {
	all := make([]field, len(fields))
	for i := range fields {
		f := &fields[i]
		all[i] = field{name: f.Name, get: func() any { return f.Value(object) }, put: func(v any) { f.Set(object, v) }, secret: f.Secret, seconds: f.IsSeconds()}
	}
	return all
}

func fieldOf(table reflect.Value, key string) (field, bool) {
	all := fieldsOf(table)
	i := slices.IndexFunc(all, func(f field) bool { return f.name == key })
	if i < 0 {
		return field{}, false
	}
	return all[i], true
}

func keysOf(table reflect.Value) (keys []string) {
	for _, f := range fieldsOf(table) {
		keys = append(keys, f.name)
	}
	return keys
}

// table is the one that a section holds: its own, or one as its elements are.
func (f field) table() reflect.Value {
	if f.at.Kind() == reflect.Slice {
		return reflect.New(f.at.Type().Elem()).Elem()
	}
	return f.at
}

// grow adds an element with its defaults to an array of tables, and returns it.
func (f field) grow() reflect.Value {
	begins, _ := fieldOf(reflect.ValueOf(&defaults).Elem(), f.name)
	f.at.Set(reflect.Append(f.at, begins.at.Index(0)))
	return f.at.Index(f.at.Len() - 1)
}

// set fills the field from a value of TOML. The error is what follows "key = ".
func (f field) set(raw any) error {
	v, allowed, ok := f.parse(raw)
	for s := range textsIn(raw) {
		if err := f.plain(s); err != nil {
			if f.path {
				err = fmt.Errorf("%w; %s", err, singleQuotes)
			}
			return err
		}
	}
	if low, high, bounded := f.bounds(); bounded {
		n := reflect.ValueOf(v).Int()
		allowed += fmt.Sprintf(", %s to %s", textOf(low), textOf(high))
		ok = ok && low.Int() <= n && n <= high.Int()
	}
	if !ok {
		return fmt.Errorf("%s: allowed %s", f.wrong(raw), allowed)
	}
	f.put(v)
	return nil
}

// textOf is a bound as a person writes it.
func textOf(bound reflect.Value) string {
	if d, ok := bound.Interface().(time.Duration); ok {
		return property.FormatDuration(d)
	}
	return fmt.Sprint(bound)
}

// wrong is a value that is refused, for an error: of a list or table the first item that is to blame, with where it is.
func (f field) wrong(raw any) string {
	switch f.get().(type) {
	case []string, property.Texts, property.Durations:
		list, _ := raw.([]any)
		for i, v := range list {
			if _, _, ok := f.parse([]any{v}); !ok {
				return fmt.Sprintf("%s (item %d)", f.shown(v), i+1)
			}
		}
	case property.Table:
		table, _ := raw.(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(table)) {
			if _, _, ok := f.parse(map[string]any{name: table[name]}); !ok {
				return fmt.Sprintf("%s (of %s)", f.shown(table[name]), strconv.Quote(name))
			}
		}
	}
	return f.shown(raw)
}

// parse is a value of TOML as one of the field's type, and what is allowed in words. It is false where it is none.
func (f field) parse(raw any) (v any, allowed string, ok bool) {
	s, isText := raw.(string)
	switch f.get().(type) {
	case bool:
		v, ok = raw.(bool)
		return v, "are true and false", ok
	case int64:
		v, ok = raw.(int64)
		if f.seconds && isText {
			d, is := property.ParseDuration(s)
			v, ok = int64(d/time.Second), is && d%time.Second == 0
		}
		if f.seconds {
			return v, `is a number of seconds, or a duration such as "30m" or "7d"`, ok
		}
		return v, "is a whole number", ok
	case float64:
		v, ok = raw.(float64)
		if n, isWhole := raw.(int64); isWhole {
			v, ok = float64(n), true
		}
		return v, "is a number such as 0.5", ok
	case property.Size:
		n, ok := property.ParseSize(s)
		if number, isNumber := raw.(int64); isNumber {
			n, ok = property.Size(number), true
		}
		return n, `is a size in bytes, KiB, MiB, GiB or TiB, such as 65536 or "64KiB"`, ok
	case time.Duration:
		d, ok := property.ParseDuration(s)
		if n, isNumber := raw.(int64); isNumber { // of seconds
			d, ok = property.ParseDuration(strconv.FormatInt(n, 10))
		}
		return d, `is a duration such as "30s", "5m" or "7d"`, ok
	case []string:
		raw, ok := raw.([]any)
		texts := make([]string, len(raw))
		for i := 0; ok && i < len(raw); i++ {
			texts[i], ok = raw[i].(string)
		}
		return texts, "is a list of texts in quotes", ok
	case property.Durations:
		texts, ok := textsOf(raw)
		list := make([]time.Duration, len(texts))
		for i := 0; ok && i < len(list); i++ {
			list[i], ok = property.ParseDuration(texts[i])
		}
		return property.DurationsOf(list...), `is a list of durations such as ["30s", "5m"]`, ok
	case property.Texts:
		texts, ok := textsOf(raw)
		return property.TextsOf(texts...), "is a list of texts in quotes, or one text", ok
	case property.Table:
		table, ok := raw.(map[string]any)
		values := map[string]string{}
		for name, v := range table {
			text, isText := v.(string)
			values[name], ok = text, ok && isText
		}
		return property.TableOf(values), `is a table of texts such as {Name = "value"}`, ok
	}
	return s, "is a text in quotes", isText
}

// textsOf are those of a list of TOML, or one text. It is false where raw is neither.
func textsOf(raw any) (texts []string, ok bool) {
	list, isList := raw.([]any)
	if !isList {
		list = []any{raw}
	}
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// textsIn are the texts of a value of TOML, and the names of a table.
func textsIn(raw any) iter.Seq[string] {
	return func(yield func(string) bool) {
		switch raw := raw.(type) {
		case string:
			yield(raw)
		case []any:
			for _, v := range raw {
				if s, ok := v.(string); ok && !yield(s) {
					return
				}
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(raw)) {
				s, _ := raw[name].(string)
				if !yield(name) || !yield(s) {
					return
				}
			}
		}
	}
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
	switch f.get().(type) {
	case bool:
		if s == "true" || s == "false" {
			return s == "true"
		}
	case int64:
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return n
		}
	case float64:
		if n, err := strconv.ParseFloat(s, 64); err == nil {
			return n
		}
	case []string, property.Texts, property.Durations:
		parts := []any{}
		for part := range partsOf(s) {
			parts = append(parts, part)
		}
		return parts
	case property.Table:
		if strings.HasPrefix(s, "{") { // as the file has it, for values with a comma
			var in struct{ Table map[string]any }
			if _, err := toml.Decode("table = "+s, &in); err == nil {
				return in.Table
			}
			return s
		}
		table := map[string]any{}
		for part := range partsOf(s) {
			name, value, ok := strings.Cut(part, "=")
			if name = strings.TrimSpace(name); !ok || table[name] != nil {
				return s
			}
			table[name] = strings.TrimSpace(value)
		}
		return table
	}
	return s
}

// partsOf are the parts of a text between commas, without blanks around them and those that are empty.
func partsOf(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" && !yield(part) {
				return
			}
		}
	}
}

// bounds are those of a number that has some, as numbers of its type.
func (f field) bounds() (low, high reflect.Value, ok bool) {
	least, err1 := strconv.ParseInt(f.low, 10, 64)
	most, err2 := strconv.ParseInt(f.high, 10, 64)
	if err1 != nil || err2 != nil {
		return low, high, false
	}
	number := reflect.TypeOf(f.get())
	return reflect.ValueOf(least).Convert(number), reflect.ValueOf(most).Convert(number), true
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
	case f.secret:
		return "a value that is not shown"
	case ok:
		return strconv.Quote(s)
	}
	return fmt.Sprint(raw)
}

// text is the value as a person writes it; a secret is masked.
func (f field) text() string {
	v := f.get()
	if list, ok := v.([]string); ok {
		return strings.Join(list, ", ")
	}
	if f.secret && !reflect.ValueOf(v).IsZero() {
		return "***"
	}
	if d, ok := v.(time.Duration); ok {
		return property.FormatDuration(d)
	}
	return fmt.Sprint(v)
}
