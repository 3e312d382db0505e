// Package property is what the properties of clients, topics, producers, consumers and webhooks are to all who read, write or
// show them: a Field tells one once, and this package how values are checked, and written as people do. The tables of fields
// are the broker's, which knows the nouns.
package property

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker/clip"
)

// Field is one property of a noun T, a client, topic, producer or consumer, Told once. The keys of the
// configuration, the bodies of the API and their schemas, the forms, the flags of the command line, the
// differences in the audit log and what Validate refuses all follow from ClientFields, TopicFields,
// ProducerFields and ConsumerFields: a new property is a field of the struct, a row of its table, and what it does.
//
// A value is a string, a bool, an int64, a time.Duration, a Size, Durations, Texts or a Table, by the type of the
// struct's field.
type Field[T any] struct {
	Name    string // as the wire, the configuration and the API spell it, such as "max_depth"
	Label   string // as a form calls it
	Hint    string // what a form says beside it
	Help    string // what it is, of a flag and of a schema, without a capital and a period; back quotes name the value
	Example string // of a text

	Default  any                // a value; nil: the zero value
	Min, Max int64              // of a number, of a duration in nanoseconds, of a size in bytes; Max of a text is its length, as far as there is a limit; of a list or table they are those of each item
	Unit     string             // of a number, where Name does not say what it counts
	Options  []Option           // all that a text may be, but for Other
	Other    string             // of a text with Options: what it may be beside them, in words; Check tells whether it is
	Check    func(string) error // of a text, or of each in a list: tells what is allowed where it is not; nil: any is, or Options are
	Pattern  string             // of a text, the regular expression of what Check allows, as far as one can say it

	MaxItems  int                            // how many a list or table holds at most; 0: 32
	CheckPair func(name, value string) error // of each item of a table: tells what is allowed where it is not

	Required bool // a text or list that may not be empty: no other has to be given
	Fixed    bool // set when the object is made, not by an edit
	Once     bool // what a creation says and nothing keeps: no definition of what exists has it
	Secret   bool // no error, log line, page, difference or flag shows it

	Subject string       // of an error, where it is not Name with what it is of
	At      func(*T) any // where it is: *string, *bool, *Opposite, *int, *int64, *time.Duration, *Size, *Durations, *Texts or *Table
}

// Off is 0, of a number or duration in a struct whose zero value stands for the default: a topic whose Expiration is Off
// keeps its messages. It is far from what anybody writes, so that a -1 is refused.
const Off = math.MinInt32

// Opposite is a flag that says what its Field does not: the zero value of a noun is active.
type Opposite bool

// Fields are the properties of a noun, in the order in which they are shown.
type Fields[T any] []Field[T]

// These bound a list or table, which is stored with its object and in memory.
const (
	maxItems     = 32 // of a Field that says nothing
	maxListBytes = 8 << 10
	maxTableName = 256 // bytes
)

// Option is one of several texts that a Field may be, and as a form calls it.
type Option struct{ Value, Label string }

// Named returns the field of a name, nil where there is none.
func (fs Fields[T]) Named(name string) *Field[T] {
	for i := range fs {
		if fs[i].Name == name {
			return &fs[i]
		}
	}
	return nil
}

// New returns what holds where a new object says nothing.
func (fs Fields[T]) New() (t T) {
	for i := range fs {
		if f := &fs[i]; f.Default != nil {
			f.Set(&t, f.Default)
		}
	}
	return t
}

// Error is what is wrong with a value, for who gave it: broker.ErrorOf makes an Invalid error of it.
type Error struct {
	Field   string // the Name of the field or parameter that is at fault
	Message string // names it, the value and what is allowed
	Value   string // as a person writes it; empty where it is secret or missing
	Allowed string // what is allowed, where Message says that behind a colon; else empty
}

// Errorf makes one.
func Errorf(field, format string, args ...any) *Error {
	return &Error{Field: field, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message }

// Complete gives numbers that are zero, and lists and texts that are empty, their defaults, but not what only a creation
// says.
func (fs Fields[T]) Complete(t *T) {
	for i := range fs {
		f := &fs[i]
		n, is := f.number(t)
		if f.Default != nil && !f.Once && (is && n == 0 || f.IsList() && f.IsEmpty(t) || !is && f.Value(t) == "") {
			f.Set(t, f.Default)
		}
	}
}

// Strip is the opposite of Complete, but for the fields that are named.
func (fs Fields[T]) Strip(t *T, but ...string) {
	for i := range fs {
		f := &fs[i]
		if f.Default == nil || f.Value(t) != f.Default || slices.Contains(but, f.Name) {
			continue
		}
		switch p := f.At(t).(type) {
		case *string:
			*p = ""
		case *int:
			*p = 0
		case *int64:
			*p = 0
		case *time.Duration:
			*p = 0
		case *Durations:
			*p = Durations{}
		}
	}
}

// Validate joins an error for each field that is wrong. of is how it calls the object.
func (fs Fields[T]) Validate(t *T, of string) error {
	var wrong []error
	for i := range fs {
		if err := fs[i].validate(t, of); err != nil {
			wrong = append(wrong, err)
		}
	}
	return errors.Join(wrong...)
}

// Value returns the value of the field as all doors tell it: 0 of what is Off.
func (f *Field[T]) Value(t *T) any {
	switch p := f.At(t).(type) {
	case *string:
		return *p
	case *bool:
		return *p
	case *Opposite:
		return !bool(*p)
	case *time.Duration:
		return time.Duration(Told(int64(*p)))
	case *Size:
		return Size(Told(int64(*p)))
	case *Durations:
		return *p
	case *Texts:
		return *p
	case *Table:
		return *p
	}
	n, _ := f.number(t)
	return Told(n)
}

// Set sets the field to a value as all doors tell it, of the type that Value returns: 0 is Off where there
// is a default. A number need not be within bounds.
func (f *Field[T]) Set(t *T, v any) {
	switch p := f.At(t).(type) {
	case *string:
		*p = v.(string)
	case *bool:
		*p = v.(bool)
	case *Opposite:
		*p = Opposite(!v.(bool))
	case *int: // what it cannot hold becomes what is out of bounds as well
		*p = int(f.keep(min(max(v.(int64), math.MinInt), math.MaxInt)))
	case *int64:
		*p = f.keep(v.(int64))
	case *time.Duration:
		*p = time.Duration(f.keep(int64(v.(time.Duration))))
	case *Size:
		*p = Size(f.keep(int64(v.(Size))))
	case *Durations:
		*p = v.(Durations)
	case *Texts:
		*p = v.(Texts)
	case *Table:
		*p = v.(Table)
	default:
		panic(fmt.Sprintf("field %s is a %T", f.Name, p))
	}
}

// keep is a number as the struct has it: 0 is Off where the zero value stands for something else.
func (f *Field[T]) keep(n int64) int64 {
	if f.Default == nil {
		return n
	}
	return Kept(n)
}

// IsSeconds tells whether the value is a number of seconds, which people write as a duration as well.
func (f *Field[T]) IsSeconds() bool { return f.Unit == Seconds }

// Seconds is the Unit of a duration that the protocol counts in whole seconds.
const Seconds = "seconds"

// IsList tells whether the value is one of those that hold several.
func (f *Field[T]) IsList() bool {
	var t T
	switch f.At(&t).(type) {
	case *Durations, *Texts, *Table:
		return true
	}
	return false
}

// IsEmpty tells whether the value is an empty text, list or table.
func (f *Field[T]) IsEmpty(t *T) bool {
	switch p := f.At(t).(type) {
	case *string:
		return *p == ""
	case interface{ IsZero() bool }:
		return p.IsZero()
	}
	return false
}

// number returns a number, duration or size as the struct has it. It is false of other fields.
func (f *Field[T]) number(t *T) (int64, bool) {
	switch p := f.At(t).(type) {
	case *int:
		return int64(*p), true
	case *int64:
		return *p, true
	case *time.Duration:
		return int64(*p), true
	case *Size:
		return int64(*p), true
	}
	return 0, false
}

// Told is a number of a struct as doors tell it, Kept the opposite.
func Told(n int64) int64 {
	if n == Off {
		return 0
	}
	return n
}

func Kept(n int64) int64 {
	if n == 0 {
		return Off
	}
	return n
}

// Text returns the value as a person writes it: of a list one item a line.
func (f *Field[T]) Text(t *T) string {
	switch v := f.Value(t).(type) {
	case int64:
		if f.IsSeconds() {
			return FormatSeconds(v)
		}
		return strconv.FormatInt(v, 10)
	case time.Duration:
		return FormatDuration(v)
	case Durations:
		var lines []string
		for _, d := range v.List() {
			lines = append(lines, FormatDuration(d))
		}
		return strings.Join(lines, "\n")
	default:
		return fmt.Sprint(v)
	}
}

// SetText sets the field to what a person wrote. A bare number is a duration in seconds. The error
// says what is allowed, of the kind of the value alone: Validate knows the bounds.
func (f *Field[T]) SetText(t *T, text string) error {
	value := f.Value(t)
	if _, is := value.(string); !is {
		text = strings.TrimSpace(text)
	}
	switch value.(type) {
	case string:
		f.Set(t, text)
	case bool:
		if text != "true" && text != "false" {
			return Errorf(f.Name, "allowed are true and false")
		}
		f.Set(t, text == "true")
	case int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil && f.IsSeconds() {
			d, ok := ParseDuration(text)
			if !ok || d%time.Second != 0 {
				return Errorf(f.Name, "allowed are whole seconds, and durations such as %s", durationExamples)
			}
			n, err = int64(d/time.Second), nil
		}
		if err != nil {
			return Errorf(f.Name, "allowed are whole numbers")
		}
		f.Set(t, n)
	case time.Duration:
		d, ok := ParseDuration(text)
		if !ok {
			return Errorf(f.Name, "allowed are durations such as %s", durationExamples)
		}
		f.Set(t, d)
	case Size:
		n, ok := ParseSize(text)
		if !ok {
			return Errorf(f.Name, "allowed are sizes such as 65536, 512KiB, 64MiB")
		}
		f.Set(t, n)
	case Texts:
		f.Set(t, ParseTexts(text))
	case Durations:
		d, bad := ParseDurations(text)
		if bad != "" {
			return Errorf(f.Name, "%sallowed are durations such as %s, one a line", f.quoted(bad), durationExamples)
		}
		f.Set(t, d)
	case Table:
		v, bad := ParseTable(text)
		if bad != "" {
			return Errorf(f.Name, "%sallowed are names with their values, such as name: value, one a line, each name once", f.quoted(bad))
		}
		f.Set(t, v)
	}
	return nil
}

// quoted is what an error begins with that is about a part of what was written, unless that is a secret.
func (f *Field[T]) quoted(part string) string {
	if f.Secret {
		return ""
	}
	return strconv.Quote(clip.Input(part)) + ": "
}

// Allowed says what is allowed of a number, of a duration, of a size and of a text that has Options, or of each in a list.
func (f *Field[T]) Allowed() string {
	var t T
	switch f.Value(&t).(type) {
	case int64:
		return strings.TrimSpace(fmt.Sprintf("%d to %d %s", f.Min, f.Max, f.Unit))
	case time.Duration, Durations:
		return FormatDuration(time.Duration(f.Min)) + " to " + FormatDuration(time.Duration(f.Max))
	case Size:
		return fmt.Sprintf("%s to %s", Size(f.Min), Size(f.Max))
	case bool:
		return "true, false"
	}
	allowed := strings.Join(f.Texts(), ", ")
	if f.Other != "" {
		allowed += " or " + f.Other
	}
	return allowed
}

// Most is how many items a list or table may hold.
func (f *Field[T]) Most() int { return cmp.Or(f.MaxItems, maxItems) }

// Texts are the values of Options, in alphabetical order.
func (f *Field[T]) Texts() (texts []string) {
	for _, o := range f.Options {
		texts = append(texts, o.Value)
	}
	slices.Sort(texts)
	return texts
}

// Validate returns the error of a value that is not allowed, nil where it is.
func (f *Field[T]) validate(t *T, of string) error {
	if n, is := f.number(t); is && n == 0 {
		return nil // the default
	}
	shown := ""
	switch v := f.Value(t).(type) {
	case int64:
		if f.Min <= v && v <= f.Max {
			return nil
		}
		shown = strconv.FormatInt(v, 10)
	case time.Duration:
		if f.Min <= int64(v) && int64(v) <= f.Max {
			return nil
		}
		shown = FormatDuration(v)
	case Size:
		if f.Min <= int64(v) && int64(v) <= f.Max {
			return nil
		}
		shown = v.String()
	case Durations, Texts, Table:
		return f.validateList(v, of)
	case string:
		allowed := f.checkText(v)
		if allowed == nil {
			return nil
		}
		if !f.Secret {
			shown = strconv.Quote(clip.Input(v))
		}
		return f.wrong(shown, of, allowed.Error())
	default:
		return nil
	}
	return f.wrong(shown, of, "allowed are "+f.Allowed())
}

// validateList returns the error of the first item of a list or table that is not allowed, or of there being too many.
func (f *Field[T]) validateList(v any, of string) error {
	items, size := 0, 0
	var wrong error
	item := func(at, where, shown string, allowed error) {
		items, size = items+1, size+len(shown)
		if allowed == nil || wrong != nil {
			return
		}
		if shown = strconv.Quote(clip.Input(shown)); f.Secret {
			shown = ""
		}
		wrong = f.wrongAt(at, where, shown, of, allowed.Error())
	}
	switch v := v.(type) {
	case Durations:
		for i, d := range v.List() {
			var allowed error
			if d < time.Duration(f.Min) || d > time.Duration(f.Max) {
				allowed = errors.New("allowed are " + f.Allowed())
			}
			item(fmt.Sprintf("[%d]", i), fmt.Sprintf(" (item %d)", i+1), FormatDuration(d), allowed)
		}
	case Texts:
		for i, s := range v.All() {
			item(fmt.Sprintf("[%d]", i), fmt.Sprintf(" (item %d)", i+1), s, f.checkItem(s))
		}
	case Table:
		for name, value := range v.All() {
			allowed := cmp.Or(checkName(name), f.checkItem(value))
			if allowed == nil && f.CheckPair != nil {
				allowed = f.CheckPair(name, value)
			}
			size += len(name)
			item("."+clip.Input(name), fmt.Sprintf(" (of %q)", clip.Input(name)), value, allowed)
		}
	}
	switch {
	case items > f.Most():
		return f.wrong("", of, fmt.Sprintf("allowed are at most %d, got %d", f.Most(), items))
	case size > maxListBytes:
		return f.wrong("", of, fmt.Sprintf("allowed are at most %d bytes in all, got %d", maxListBytes, size))
	}
	return wrong
}

// checkItem tells what is allowed where a text of a list or table is not: none has control characters.
func (f *Field[T]) checkItem(s string) error {
	if most := cmp.Or(f.Max, maxListBytes); s == "" || int64(len(s)) > most || !Printable(s) || strings.TrimSpace(s) != s {
		return fmt.Errorf("allowed are 1 to %d bytes without control characters and blanks at the ends", most)
	}
	return f.checkText(s)
}

// checkName is checkItem of a name in a table.
func checkName(s string) error {
	if s == "" || len(s) > maxTableName || !Printable(s) || strings.ContainsAny(s, " :=") {
		return fmt.Errorf("allowed are names of 1 to %d bytes without blanks, colons, equals signs and control characters", maxTableName)
	}
	return nil
}

// checkText tells what is allowed where a text is not.
func (f *Field[T]) checkText(s string) error {
	switch {
	case f.Other != "" && slices.Contains(f.Texts(), s):
		return nil
	case f.Check != nil:
		return f.Check(s)
	case f.Options != nil && s != "" && !slices.Contains(f.Texts(), s):
		return errors.New("allowed are " + f.Allowed())
	}
	return nil
}

// wrong makes the error of a value, which is not shown where it is empty.
func (f *Field[T]) wrong(shown, of, allowed string) error {
	return f.wrongAt("", "", shown, of, allowed)
}

// wrongAt is wrong of an item of a list or table: at is its path in the field, and where says the same in words.
func (f *Field[T]) wrongAt(at, where, shown, of, allowed string) error {
	if shown == "" {
		where = ""
	}
	subject := cmp.Or(f.Subject, f.Name) + at
	if shown != "" {
		subject += " " + shown
	}
	if f.Subject == "" {
		subject += " of " + of
	}
	return &Error{f.Name, subject + ": " + allowed, shown + where, allowed}
}
