package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	cli "pipit/admin/command"
	"pipit/broker"
)

// binder fills a config from a file and the environment. A key is known by its path, such as
// "http.listen" or "client[0].username"; every error says where the value stands: the file and line,
// or the name of the variable.
type binder struct {
	file  string
	lines map[string]int    // of each key and table in the file, by path
	vars  map[string]string // the variable that set a key, by path
	errs  []error
}

// errorf notes an error about the key of a path, or about a whole table.
func (b *binder) errorf(path, format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(path, "]") { // of a table, the message names the keys
		msg = b.key(path) + " = " + msg
	}
	b.errs = append(b.errs, errors.New(b.where(path)+": "+msg))
}

// key is a path without the number of the element: the line tells that.
func (b *binder) key(path string) string {
	if i := strings.IndexByte(path, '['); i >= 0 {
		if j := strings.IndexByte(path, ']'); j > i {
			return path[:i] + path[j+1:]
		}
	}
	return path
}

// where says where the value of a path comes from: itself, or the table that it is in.
func (b *binder) where(path string) string {
	if name := b.vars[path]; name != "" {
		return name
	}
	for p := path; p != ""; {
		if line := b.lines[p]; line > 0 {
			return fmt.Sprintf("%s:%d", b.file, line)
		}
		i := strings.LastIndexByte(p, '.')
		if i < 0 {
			break
		}
		p = p[:i]
	}
	for at, name := range b.vars { // an element that the environment alone declares
		if strings.HasPrefix(at, path) {
			return name[:strings.LastIndexByte(name, '_')] + "_…"
		}
	}
	if b.file != "" {
		return b.file
	}
	return "configuration"
}

func (b *binder) oneOf(path, value string, allowed []string) {
	if !slices.Contains(allowed, value) {
		b.errorf(path, "%q: allowed are %s", value, strings.Join(allowed, ", "))
	}
}

// valid notes what the broker says against a table.
func (b *binder) valid(path string, err error) {
	var e *broker.Error
	if errors.As(err, &e) {
		b.errorf(path, "%s", e.Message)
	}
}

// bindFile fills c from TOML. An error that it returns is one of syntax; all others are noted.
func (b *binder) bindFile(c *config, text string) error {
	var raw map[string]any
	if _, err := toml.Decode(text, &raw); err != nil {
		var p toml.ParseError
		if errors.As(err, &p) {
			return fmt.Errorf("%s:%d: %s", b.file, p.Position.Line, clean(p.Message))
		}
		return fmt.Errorf("%s: %w", b.file, err)
	}
	b.lines = keyLines(text)
	b.table("", raw, reflect.ValueOf(c).Elem())
	return nil
}

// clean keeps the first line of a parser's message.
func clean(msg string) string {
	msg, _, _ = strings.Cut(msg, "\n")
	return msg
}

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
			b.errs = append(b.errs, fmt.Errorf("%s: unknown key %q%s: allowed are %s",
				b.where(at), k, in(path), strings.Join(keysOf(into.Type()), ", ")))
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
			b.errs = append(b.errs, fmt.Errorf("%s: %s: allowed is a table, [%s]", b.where(path), path, path))
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
		b.errs = append(b.errs, fmt.Errorf("%s: %s: allowed are tables, [[%s]]", b.where(path), path, path))
		return
	}
	for i, t := range tables {
		b.table(fmt.Sprintf("%s[%d]", path, i), t, f.grow(path))
	}
}

// bindEnv fills c from variables such as PIPIT_HTTP_LISTEN and PIPIT_CLIENT_0_PASSWORD.
func (b *binder) bindEnv(c *config, env []string) {
	b.vars = map[string]string{}
	type variable struct {
		name, section, key, value string
		index                     int // of the element; -1 in a section that is one table
	}
	var vars []variable
	root := reflect.ValueOf(c).Elem()
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || ofKubernetes(rest) || slices.Contains(cli.Variables, name) {
			continue
		}
		section, key, _ := strings.Cut(rest, "_")
		v := variable{name: name, section: strings.ToLower(section), value: value, index: -1}
		f, ok := fieldOf(root, v.section)
		if ok && f.Kind() == reflect.Slice {
			var digits string
			digits, key, _ = strings.Cut(key, "_")
			n, err := strconv.ParseUint(digits, 10, 16)
			v.index, ok = int(n), err == nil && strconv.FormatUint(n, 10) == digits
		}
		if ok {
			v.key = strings.ToLower(key)
			ok = key == strings.ToUpper(key) && section == strings.ToUpper(section) && slices.Contains(keysOf(elem(f.Type())), v.key)
		}
		if !ok {
			b.errs = append(b.errs, fmt.Errorf("%s: no such variable: allowed are %sSECTION_KEY, as in %sHTTP_LISTEN, and %sCLIENT_0_PASSWORD for the first [[client]]",
				name, envPrefix, envPrefix, envPrefix))
			continue
		}
		vars = append(vars, v)
	}
	slices.SortFunc(vars, func(x, y variable) int {
		return cmp.Or(strings.Compare(x.section, y.section), x.index-y.index, strings.Compare(x.key, y.key))
	})
	for _, v := range vars {
		f, _ := fieldOf(root, v.section)
		at, into := v.section, f.Value
		if v.index >= 0 {
			if v.index > f.Len() {
				b.errs = append(b.errs, fmt.Errorf("%s: there are %d [[%s]], so the next number is %d", v.name, f.Len(), v.section, f.Len()))
				continue
			}
			if v.index == f.Len() {
				f.grow(v.section)
			}
			at, into = fmt.Sprintf("%s[%d]", v.section, v.index), f.Index(v.index)
		}
		at = joinKey(at, v.key)
		b.vars[at] = v.name
		key, _ := fieldOf(into, v.key)
		if err := key.setText(v.value); err != nil {
			b.errorf(at, "%v", err)
		}
	}
}

const envPrefix = "PIPIT_"

// ofKubernetes tells whether Kubernetes sets a variable by itself, for a service of the name pipit.
func ofKubernetes(rest string) bool {
	return rest == "PORT" || strings.HasPrefix(rest, "PORT_") || strings.HasPrefix(rest, "SERVICE_")
}

// missing notes the required keys of a table that were not given.
func (b *binder) missing(path string, table any) {
	v := reflect.ValueOf(table)
	for i := range v.NumField() {
		if tag := v.Type().Field(i).Tag; tag.Get("required") != "" && v.Field(i).IsZero() {
			b.errorf(path, "the key %q is missing%s", tag.Get("toml"), in(path))
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
		*p = s
	case *secret:
		s, ok := raw.(string)
		if !ok {
			return errors.New("a value that is not shown: allowed is a text in quotes")
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
		*p = texts
	case *int64, *size:
		if n, ok := raw.(int64); ok {
			return f.setInt(n, fmt.Sprint(n))
		}
		if s, ok := raw.(string); ok && f.Type() == reflect.TypeFor[size]() {
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
	case *size:
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
	case size:
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
	if f.Type() == reflect.TypeFor[size]() {
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

// keyLines returns the line of each key and table of a text that is valid TOML, by path. The
// n-th table of an array of tables has the path "name[n]", counted from 0.
func keyLines(text string) map[string]int {
	s := lineScanner{text: text, line: 1}
	lines := map[string]int{}
	counts := map[string]int{}
	table := ""
	for s.skipBlank(); s.i < len(s.text); s.skipBlank() {
		line := s.line
		if s.take("[") {
			array := s.take("[")
			table = s.key()
			s.take("]")
			if array {
				s.take("]")
				counts[table]++
				table = fmt.Sprintf("%s[%d]", table, counts[table]-1)
			}
			if _, ok := lines[table]; !ok {
				lines[table] = line
			}
			continue
		}
		key := joinKey(table, s.key())
		s.take("=")
		s.value()
		lines[key] = line
	}
	return lines
}

// lineScanner walks over valid TOML and counts lines.
type lineScanner struct {
	text string
	i    int
	line int
}

func (s *lineScanner) rest() string { return s.text[s.i:] }

// take skips a token, if it is next.
func (s *lineScanner) take(token string) bool {
	ok := strings.HasPrefix(s.rest(), token)
	if ok {
		s.i += len(token)
	}
	return ok
}

// to moves to an offset behind the current one.
func (s *lineScanner) to(i int) {
	i = min(i, len(s.text))
	s.line += strings.Count(s.text[s.i:i], "\n")
	s.i = i
}

// skipBlank skips white space, line ends and comments.
func (s *lineScanner) skipBlank() {
	for s.i < len(s.text) {
		switch s.text[s.i] {
		case ' ', '\t', '\r', '\n':
			s.to(s.i + 1)
		case '#':
			s.comment()
		default:
			return
		}
	}
}

func (s *lineScanner) comment() {
	if n := strings.IndexByte(s.rest(), '\n'); n >= 0 {
		s.i += n
	} else {
		s.i = len(s.text)
	}
}

// key reads a key, dotted or not, up to the "=" or "]" behind it.
func (s *lineScanner) key() string {
	var path string
	for s.i < len(s.text) {
		switch c := s.text[s.i]; c {
		case ' ', '\t':
			s.i++
		case '.':
			path += "."
			s.i++
		case '=', ']':
			return path
		case '"', '\'':
			from := s.i
			s.quoted()
			part := s.text[from:s.i]
			if unquoted, err := strconv.Unquote(part); err == nil && c == '"' {
				part = unquoted
			} else {
				part = strings.Trim(part, string(c))
			}
			path += part
		default:
			path += string(c)
			s.i++
		}
	}
	return path
}

// quoted skips a text in any of the four kinds of quotes.
func (s *lineScanner) quoted() {
	c := s.text[s.i]
	end := string(c)
	if three := strings.Repeat(end, 3); strings.HasPrefix(s.rest(), three) {
		end = three
	}
	s.i += len(end)
	for s.i < len(s.text) && !s.take(end) {
		if c == '"' && s.text[s.i] == '\\' {
			s.i++
		}
		s.to(s.i + 1)
	}
	for n := 0; n < 2 && len(end) == 3 && s.take(string(c)); n++ { // """ a quote at the end""""
	}
}

// value skips a value.
func (s *lineScanner) value() {
	for depth := 0; s.i < len(s.text); {
		switch s.text[s.i] {
		case '"', '\'':
			s.quoted()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '#':
			s.comment()
			continue
		case '\n':
			if depth == 0 {
				return
			}
		}
		s.to(s.i + 1)
	}
}
