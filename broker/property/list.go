package property

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Durations, Texts and Table are values of which one holds several. They can be compared with ==, as the objects that
// they stand in are, so each holds one text, with a line for each item; the zero value holds none. A Field bounds how
// many there are. In JSON they are a list of texts, and an object.
type (
	// Durations is a list of durations, such as those between attempts.
	Durations struct{ lines string }

	// Texts is a list of texts.
	Texts struct{ lines string }

	// Table gives names their values, such as those of headers. A name stands in it once, in the order of names.
	Table struct{ lines string } // name, tab, value
)

// Size is a number of bytes, which people write as such or as "512KiB", "64MiB", "2GiB".
type Size int64

// DurationsOf returns a list of durations.
func DurationsOf(items ...time.Duration) (d Durations) {
	for _, item := range items {
		d.lines += item.String() + "\n"
	}
	return d
}

// List returns the durations.
func (d Durations) List() (list []time.Duration) {
	for line := range strings.Lines(d.lines) {
		item, _ := time.ParseDuration(line[:len(line)-1]) // as its String writes it
		list = append(list, item)
	}
	return list
}

// IsZero tells whether there are none.
func (d Durations) IsZero() bool { return d.lines == "" }

// String is the list as a person writes it, one a line.
func (d Durations) String() string { return strings.TrimSuffix(d.lines, "\n") }

func (d Durations) MarshalJSON() ([]byte, error) { return Texts(d).MarshalJSON() }

func (d *Durations) UnmarshalJSON(b []byte) error {
	var items []string
	if err := json.Unmarshal(b, &items); err != nil {
		return err
	}
	list := make([]time.Duration, len(items))
	for i, item := range items {
		var ok bool
		if list[i], ok = ParseDuration(item); !ok {
			return fmt.Errorf("%q: allowed are durations such as %s", item, durationExamples)
		}
	}
	*d = DurationsOf(list...)
	return nil
}

// TextsOf returns a list of texts. A line feed in one becomes a carriage return, which no Field allows either.
func TextsOf(items ...string) (t Texts) {
	for _, item := range items {
		t.lines += strings.ReplaceAll(item, "\n", "\r") + "\n"
	}
	return t
}

// All are the texts, with their index.
func (t Texts) All() iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		i := 0
		for line := range strings.Lines(t.lines) {
			if !yield(i, line[:len(line)-1]) {
				return
			}
			i++
		}
	}
}

// List returns the texts.
func (t Texts) List() (list []string) {
	for _, item := range t.All() {
		list = append(list, item)
	}
	return list
}

// IsZero tells whether there are none.
func (t Texts) IsZero() bool { return t.lines == "" }

// String is the list as a person writes it, one a line.
func (t Texts) String() string { return strings.TrimSuffix(t.lines, "\n") }

func (t Texts) MarshalJSON() ([]byte, error) {
	list := t.List()
	if list == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(list)
}

func (t *Texts) UnmarshalJSON(b []byte) error {
	var items []string
	err := json.Unmarshal(b, &items)
	*t = TextsOf(items...)
	return err
}

// TableOf returns the values of names. A line feed in one, or a tab in a name, becomes a carriage return, which no Field
// allows either.
func TableOf(values map[string]string) (t Table) {
	within := strings.NewReplacer("\n", "\r", "\t", "\r")
	for _, name := range slices.Sorted(maps.Keys(values)) {
		t.lines += within.Replace(name) + "\t" + strings.ReplaceAll(values[name], "\n", "\r") + "\n"
	}
	return t
}

// All are the names and their values, in the order of names.
func (t Table) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for line := range strings.Lines(t.lines) {
			if name, value, _ := strings.Cut(line[:len(line)-1], "\t"); !yield(name, value) {
				return
			}
		}
	}
}

// Map returns the values by name.
func (t Table) Map() map[string]string { return maps.Collect(t.All()) }

// IsZero tells whether there are none.
func (t Table) IsZero() bool { return t.lines == "" }

// String is the table as a person writes it: "name: value", one a line.
func (t Table) String() string {
	var lines []string
	for name, value := range t.All() {
		lines = append(lines, name+": "+value)
	}
	return strings.Join(lines, "\n")
}

// MarshalJSON writes an object with the names in their order.
func (t Table) MarshalJSON() ([]byte, error) { return json.Marshal(t.Map()) }

func (t *Table) UnmarshalJSON(b []byte) error {
	var values map[string]string
	err := json.Unmarshal(b, &values)
	*t = TableOf(values)
	return err
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// ParseSize reads "512", "512B", "64KiB" and so on.
func ParseSize(s string) (Size, bool) {
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
	return Size(int64(n) * unit), true
}

// String is the size as ParseSize reads it, in the largest unit of which it is a whole number.
func (n Size) String() string {
	for _, u := range sizeUnits[:4] {
		if int64(n) >= u.bytes && int64(n)%u.bytes == 0 {
			return fmt.Sprintf("%d%s", int64(n)/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(n), 10)
}

// ParseDurations reads durations, one a line or between commas. bad is the first that is none.
func ParseDurations(s string) (d Durations, bad string) {
	var list []time.Duration
	for _, item := range itemsOf(strings.ReplaceAll(s, ",", "\n")) {
		v, ok := ParseDuration(item)
		if !ok {
			return d, item
		}
		list = append(list, v)
	}
	return DurationsOf(list...), ""
}

// ParseTexts reads texts, one a line. A line that is blank, and blanks around one, are none of it.
func ParseTexts(s string) Texts { return TextsOf(itemsOf(s)...) }

// ParseTable reads "name: value" or "name=value", one a line. bad is the first that is none, or of a name that stands
// there before.
func ParseTable(s string) (t Table, bad string) {
	values := map[string]string{}
	for _, item := range itemsOf(s) {
		i := strings.IndexAny(item, ":=")
		if i < 0 {
			return t, item
		}
		name := strings.TrimSpace(item[:i])
		if _, before := values[name]; before {
			return t, item
		}
		values[name] = strings.TrimSpace(item[i+1:])
	}
	return TableOf(values), ""
}

func itemsOf(s string) (items []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			items = append(items, line)
		}
	}
	return items
}
