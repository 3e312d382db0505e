package command

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"pipit/admin/gate"
)

// output is where a command prints what it has, and what a person has to know beside.
type output struct {
	stdout, stderr io.Writer
	json           bool // by a flag: what the API answers is printed as it is
	quiet          bool // by a flag: only what names an object is printed
}

// print prints JSON where that is asked for, else what people does.
func (o *output) print(answer json.RawMessage, people func() error) error {
	if o.json {
		return o.printJSON(answer)
	}
	if o.quiet {
		if key := keyOf(answer); key != "" {
			return o.printf("%s", key)
		}
		return nil
	}
	return people()
}

// tell prints what a command has done that the API has not answered: as JSON where that is asked for, else for a person.
func (o *output) tell(done map[string]string, format string, args ...any) error {
	switch {
	case o.json:
		return o.printJSON(done)
	case o.quiet && done["version"] == "":
		return nil
	}
	return o.printf(format, args...)
}

// printJSON prints a value, or the API's own JSON, as one document.
func (o *output) printJSON(v any) error {
	text, ok := v.(json.RawMessage)
	if !ok {
		var err error
		if text, err = marshal(v); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(text), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := o.stdout.Write(b.Bytes())
	return err
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// printf prints a line for a person.
func (o *output) printf(format string, args ...any) error {
	_, err := fmt.Fprintln(o.stdout, visible(fmt.Sprintf(format, args...)))
	return err
}

// notef tells a person something beside the output.
func (o *output) notef(format string, args ...any) {
	fmt.Fprintf(o.stderr, "pipit: %s\n", visible(fmt.Sprintf(format, args...)))
}

func (o *output) printTable(t *table) error { return t.print(o.stdout, width(o.stdout)) }

// printObject prints the fields of a JSON object, one a line, in its order. Those that hide lists
// are shown as hidden.
func (o *output) printObject(text json.RawMessage, hide ...string) error {
	fields, err := fieldsOf(text)
	if err != nil {
		return err
	}
	longest := 0
	for _, f := range fields {
		longest = max(longest, len(f.name))
	}
	var b strings.Builder
	for _, f := range fields {
		value := f.text()
		for _, h := range hide {
			if f.name == h {
				value = "(hidden)"
			}
		}
		fmt.Fprintf(&b, "%-*s  %s\n", longest, f.name, visible(value))
	}
	_, err = io.WriteString(o.stdout, b.String())
	return err
}

// field is a field of a JSON object.
type field struct {
	name  string
	value json.RawMessage
}

// text is the field's value for a person.
func (f field) text() string {
	var v any
	d := json.NewDecoder(bytes.NewReader(f.value))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return string(f.value)
	}
	switch v := v.(type) {
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return when(gate.Time{Time: t}) + " " + zoneLabel()
		}
		return v
	case bool:
		return yesNo(v)
	case json.Number:
		return v.String()
	case []any:
		if texts := textsOf(v); texts != nil {
			return strings.Join(texts, ", ")
		}
	case map[string]any:
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text, ok := v[name].(string)
			if !ok {
				return string(f.value)
			}
			parts = append(parts, name+": "+text)
		}
		return strings.Join(parts, ", ")
	}
	return string(f.value)
}

// textsOf are the items of a list of texts, nil where it is another.
func textsOf(list []any) []string {
	texts := []string{}
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		texts = append(texts, s)
	}
	return texts
}

// fieldsOf returns the fields of a JSON object in their order.
func fieldsOf(text json.RawMessage) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var fields []field
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: fmt.Sprint(name)}
		if err := d.Decode(&f.value); err != nil {
			return nil, err
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// when is a time in the zone of who reads it, or nothing.
func when(t gate.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.In(zone()).Format("2006-01-02 15:04:05")
}

// zone is how far this machine's clock is from UTC now. A table has one of them, which its headings name.
func zone() *time.Location {
	_, offset := time.Now().Zone()
	return time.FixedZone("", offset)
}

// zoneLabel names zone: UTC, +09:00.
func zoneLabel() string {
	return cmp.Or(strings.TrimSuffix(time.Now().In(zone()).Format("-07:00"), "+00:00"), "UTC")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func number[N ~int | ~int64 | ~uint32 | ~uint64](n N) string { return fmt.Sprint(n) }

// count is a number of things.
func count[N ~int | ~int64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Terminal returns the terminal that a writer or reader is, false where it is none.
func Terminal(v any) (fd int, ok bool) {
	f, ok := v.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// width returns the width of a terminal, 0 where w is none.
func width(w io.Writer) int {
	fd, ok := Terminal(w)
	if !ok {
		return 0
	}
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	n, _, err := term.GetSize(fd)
	if err != nil {
		return 0
	}
	return n
}
