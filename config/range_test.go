package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// contexts are what a table needs beside the key that is looked at.
var contexts = map[string]string{
	"client":   "username = \"u\"\npassword_hash = \"" + hashOfX + "\"\n",
	"topic":    "name = \"/t/*\"\n",
	"producer": "client = \"u\"\ntopic = \"/t\"\n",
	"consumer": "client = \"u\"\ntopic = \"/t\"\n",
	"webhook":  "name = \"w\"\ntopic = \"/t\"\nclient = \"u\"\nverify = \"none\"\nallow_from = \"10.0.0.0/8\"\n",
}

// roomy is what else the key that is looked at needs: keys that have to be no less, or no more.
var roomy = map[string]string{
	"http.max_payload":   "max_batch = \"1GiB\"\nmax_pending = \"1TiB\"\nmax_replies = \"1TiB\"\n",
	"http.max_batch":     "max_pending = \"1TiB\"\n",
	"http.max_pending":   "max_batch = 1\nmax_payload = 1\n",
	"http.max_replies":   "max_payload = 1\n",
	"admin.session_idle": "session_life = \"30d\"\n",
	"admin.session_life": "session_idle = \"1m\"\n",
	"topic.max_topics":   "auto_create = true\n",
}

// takes tells whether a configuration with a value for a key is good.
func takes(t *testing.T, section, key, value string) (bool, error) {
	t.Helper()
	text := fmt.Sprintf("[%s]\n%s%s = %s\n", section, roomy[section+"."+key], key, value)
	if in, ok := contexts[section]; ok {
		kept := slices.DeleteFunc(strings.SplitAfter(in, "\n"), func(line string) bool { return strings.HasPrefix(line, key+" = ") })
		text = fmt.Sprintf("[[%s]]\n%s%s%s = %s\n", section, strings.Join(kept, ""), roomy[section+"."+key], key, value)
	}
	_, err := Load(writeConfig(t, text), nil)
	return err == nil, err
}

var (
	documentedKey = regexp.MustCompile("^\\| `(\\w+)` \\| (.*) \\| (.*) \\| (.*) ?\\|$")
	numberRange   = regexp.MustCompile("(?:^|, )`?\"?([0-9.]+[A-Za-z]*)\"?`? to `?\"?([0-9.]+[A-Za-z]*)\"?`?(?: each)?$")
)

// What docs/configuration.md says is a default is one, and what it says is allowed is: the least and the greatest of a range are taken, what is beyond them is not;
// all words that may be there are named; and of a text or list its length.
func TestDocumentedRanges(t *testing.T) {
	page, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	options, most := optionsAndLengths()
	section, ranges := "", 0
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		if m := regexp.MustCompile("^## `\\[+(\\w+)\\]+`").FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		m := documentedKey.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		key, allowed := m[1], m[3]
		top, _ := fieldOf(reflect.ValueOf(&defaults).Elem(), section)
		table := top.at
		if table.Kind() == reflect.Slice {
			table = table.Index(0)
		}
		f, ok := fieldOf(table, key)
		if !ok {
			continue // TestDocumentedKeys tells
		}
		if def := toTOML(f.get()); !slices.Contains([]string{`""`, "[]", "{}", "0", `"0"`}, def) && !strings.Contains(strings.ReplaceAll(m[4], "`", ""), def) {
			t.Errorf("%s.%s: the default is told as %s, and is %s", section, key, m[4], def)
		}
		switch f.get().(type) {
		case bool:
			if allowed != "true, false" {
				t.Errorf("%s.%s: allowed is %s", section, key, allowed)
			}
		case int64, float64, property.Size, time.Duration, property.Durations:
			ranges++
			checkRange(t, section, key, allowed, f.get())
		}
		for _, o := range options[section+"."+key] {
			if !strings.Contains(allowed, "`"+o+"`") {
				t.Errorf("%s.%s: allowed is %s, not told %s", section, key, allowed, o)
			}
		}
		for _, n := range most[section+"."+key] {
			if !regexp.MustCompile(`\b` + strconv.FormatInt(n, 10) + `\b`).MatchString(allowed) {
				t.Errorf("%s.%s: allowed is %s, not told %d", section, key, allowed, n)
			}
		}
	}
	if ranges < 20 {
		t.Errorf("%d ranges were found", ranges)
	}
}

// checkRange tries the ends of a range, and what is just beyond them.
func checkRange(t *testing.T, section, key, allowed string, of any) {
	t.Helper()
	m := numberRange.FindStringSubmatch(allowed)
	if m == nil {
		t.Errorf("%s.%s: allowed is %s, which is no range", section, key, allowed)
		return
	}
	below, above := beyond(t, m[1], of, -1), beyond(t, m[2], of, +1)
	for _, try := range []struct {
		value string
		good  bool
	}{{quoted(m[1], of), true}, {quoted(m[2], of), true}, {below, false}, {above, false}} {
		if try.value == "" {
			continue
		}
		if ok, err := takes(t, section, key, try.value); ok != try.good {
			t.Errorf("%s.%s = %s with %s allowed: %v", section, key, try.value, allowed, err)
		}
	}
}

func quoted(s string, of any) string {
	switch of.(type) {
	case int64, float64:
		return s
	case property.Durations:
		return "[" + strconv.Quote(s) + "]"
	}
	return strconv.Quote(s)
}

// beyond is a value that is less, or more, than one; empty where there is none that can be written.
func beyond(t *testing.T, s string, of any, by int64) string {
	t.Helper()
	switch of.(type) {
	case int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatInt(n+by, 10)
	case float64:
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(x + 0.01*float64(by))
	case property.Size:
		n, ok := property.ParseSize(s)
		if !ok {
			t.Fatalf("%s is no size", s)
		}
		return strconv.FormatInt(int64(n)+by, 10)
	}
	d, ok := property.ParseDuration(s)
	if !ok {
		t.Fatalf("%s is no duration", s)
	}
	if d += time.Duration(by) * time.Microsecond; d < 0 {
		return ""
	}
	if _, isList := of.(property.Durations); isList {
		return "[" + strconv.Quote(d.String()) + "]"
	}
	return strconv.Quote(d.String())
}

// optionsAndLengths are what texts may be, and how long they and lists may be, by section and key.
func optionsAndLengths() (options map[string][]string, most map[string][]int64) {
	options = map[string][]string{"database.sync": syncs, "log.level": logLevels, "log.format": logFormats}
	most = map[string][]int64{}
	lengths("client", broker.ClientFields, options, most)
	lengths("topic", broker.TopicFields, options, most)
	lengths("producer", broker.ProducerFields, options, most)
	lengths("consumer", broker.ConsumerFields, options, most)
	lengths("webhook", broker.WebhookFields, options, most)
	return options, most
}

func lengths[T any](section string, fields property.Fields[T], options map[string][]string, most map[string][]int64) {
	for i := range fields {
		f, key := &fields[i], section+"."+fields[i].Name
		for _, o := range f.Options {
			options[key] = append(options[key], o.Value)
		}
		var zero T
		switch f.Value(&zero).(type) {
		case string, property.Texts:
			if f.Max > 0 {
				most[key] = append(most[key], f.Max)
			}
		}
		if f.IsList() && f.MaxItems > 0 {
			most[key] = append(most[key], int64(f.MaxItems))
		}
	}
}
