package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pipit/broker"
)

// binder fills a Config from a file and the environment, and collects what is wrong.
//
// It does by hand what libraries bind, for the sake of its errors: whoever starts a server wants to see all faults at
// once, each with the line or the variable to mend, and misspelled keys and variables among them. The parser of TOML
// does not tell the lines of values, and readers of the environment know no numbered tables.
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

// errorf notes a fault of the value of a key: "key = value: what is allowed".
func (b *binder) errorf(path, format string, args ...any) {
	b.note(path, b.key(path)+" = "+fmt.Sprintf(format, args...))
}

// notef notes a fault of a key or table that has no value of its own, or none that is shown: "key: what is wrong".
func (b *binder) notef(path, format string, args ...any) {
	b.note(path, b.key(path)+": "+fmt.Sprintf(format, args...))
}

// note notes a fault at the place of a key or table, one of each: what follows from it is none.
func (b *binder) note(path, text string) {
	if b.faulty[path] {
		return
	}
	if b.faulty == nil {
		b.faulty = map[string]bool{}
	}
	b.faulty[path] = true
	line, where := b.place(path)
	b.faults = append(b.faults, fault{line, where + ": " + text})
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
		line := b.lines[p]
		if line == 0 && p == path {
			line = b.lines[p+"[0]"] // a table that is written as [[…]]
		}
		if line > 0 {
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

// valid notes what the broker says against an element, each at the key that it is about; Faults tell which element.
func (b *binder) valid(path string, err error) {
	if faults, ok := err.(broker.Faults); ok {
		for _, f := range faults {
			b.valid(fmt.Sprintf("%s[%d]", f.Kind, f.Index), f.Err)
		}
		return
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range all.Unwrap() {
			b.valid(path, err)
		}
		return
	}
	e := broker.ErrorOf(err)
	if e == nil {
		return
	}
	switch at := joinKey(path, e.Field); {
	case e.Allowed == "":
		b.notef(at, "%s", e.Message)
	case e.Value == "":
		b.notef(at, "%s", e.Allowed)
	default:
		b.errorf(at, "%s: %s", asTOML(e.Value), e.Allowed)
	}
}

// asTOML puts a value of the broker in quotes where TOML has them: around all but numbers, true and false.
func asTOML(s string) string {
	if _, err := strconv.ParseFloat(s, 64); err == nil || s == "true" || s == "false" || s[0] == '"' {
		return s
	}
	return strconv.Quote(s)
}

func joinKey(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
