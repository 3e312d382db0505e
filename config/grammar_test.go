package config

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pipit/broker/property"
)

// TestFaultsHaveOneGrammar gives each key of each table, of settings and of objects alike, values that are not allowed: of a type
// that it has not, and beyond its range. All are told as file:line: section.key = value: what is allowed.
func TestFaultsHaveOneGrammar(t *testing.T) {
	told := 0
	root := reflect.ValueOf(&defaults).Elem()
	for _, section := range fieldsOf(root) {
		table, brackets := section.table(), "[%s]\n"
		if section.at.Kind() == reflect.Slice {
			table, brackets = section.at.Index(0), "[[%s]]\n"
		}
		for _, key := range fieldsOf(table) {
			path := section.name + "." + key.name
			for _, bad := range badValues(key) {
				// The line of the key is behind that of its table.
				var text strings.Builder
				fmt.Fprintf(&text, brackets, section.name)
				for line := range strings.Lines(contexts[section.name]) {
					if !strings.HasPrefix(line, key.name+" = ") {
						text.WriteString(line)
					}
				}
				line := 1 + strings.Count(text.String(), "\n")
				fmt.Fprintf(&text, "%s = %s\n", key.name, bad.toml)
				file := writeConfig(t, text.String())
				_, err := Load(file, nil)
				if err == nil {
					t.Errorf("%s = %s is taken", path, bad.toml)
					continue
				}
				shown := bad.shown
				if key.secret {
					shown = "a value that is not shown"
				}
				want := fmt.Sprintf("%s:%d: %s = %s: ", file, line, path, shown)
				if said, ok := strings.CutPrefix(strings.Split(err.Error(), "\n")[0], want); !ok || !allowing.MatchString(said) {
					t.Errorf("%s = %s:\ngot  %v\nwant %sallowed …", path, bad.toml, err, want)
				}
				told++
			}
		}
	}
	if told < 130 {
		t.Errorf("%d faults were looked at", told)
	}
}

var allowing = regexp.MustCompile(`^(allowed (is|are|only|with|in) .|.*not allowed)`)

type badValue struct{ toml, shown string }

// badValues are such of a key: of another type, and, where it is a number or a duration, one beyond its range.
func badValues(f field) []badValue {
	number, text := badValue{"17", "17"}, badValue{`"many"`, `"many"`}
	switch f.get().(type) {
	case bool:
		return []badValue{number, text}
	case int64:
		return []badValue{text, {"-7", "-7"}}
	case property.Size:
		return []badValue{text, {`"-1"`, `"-1"`}}
	case float64:
		return []badValue{text, {"-7.0", "-7"}}
	case time.Duration:
		return []badValue{text, {`"-1h"`, `"-1h"`}}
	case property.Durations:
		return []badValue{{`["1h", "many"]`, `"many" (item 2)`}, {`["1h", "-1h"]`, `"-1h" (item 2)`}}
	case property.Table:
		return []badValue{number}
	}
	return []badValue{number}
}
