package web

import (
	"errors"
	"fmt"
	"html/template"
	"reflect"
	"strings"
	"time"

	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker/clip"
	"pipit/broker/stats"
)

// functions are those of templates.
var functions = template.FuncMap{
	"num":       text.Number,
	"bytes":     text.Size,
	"time":      timeTag,
	"ago":       ago,
	"dur":       func(d any) string { return text.Duration(time.Duration(reflect.ValueOf(d).Int())) },
	"esc":       text.Segment,
	"adminpath": administratorPath,
	"rate":      text.Rate,
	"asset":     assetURL,
	"icon":      icon,
	"pct":       text.Percent,
	"short":     clip.To,
	"variable":  shell.Variable,
	"dict":      dict,
	"breaks":    breaks,
	"help":      func(term string) string { return terms[term] },
	"browser":   browserName,
	"beside":    func(by string, item any) beside { return beside{by, item} },
	"part":      partName,
	"noderow":   nodeRow,
	"since":     func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) },
	"slug":      func(s string) string { return strings.ReplaceAll(strings.ToLower(s), " ", "-") },
}

// moment is a time.Time or a Time.
type moment interface {
	IsZero() bool
	UTC() time.Time
}

// timeTag writes a time in UTC; the script shows it in the viewer's zone.
func timeTag(m moment) template.HTML {
	if m.IsZero() {
		return `<span class="muted">never</span>`
	}
	t := m.UTC()
	text := t.Format("2006-01-02 15:04:05")
	return template.HTML(`<time datetime="` + t.Format(time.RFC3339Nano) + `" title="` + text + ` UTC">` + text + ` UTC</time>`) // #nosec G203 -- formatted times alone
}

// ago writes how long ago a time is, which the script keeps true.
func ago(m moment) template.HTML {
	if m.IsZero() {
		return `<span class="muted">never</span>`
	}
	t := m.UTC()
	words := "now"
	switch d := time.Since(t); {
	case d >= time.Second:
		words = text.Duration(d) + " ago"
	case d <= -time.Second:
		words = "in " + text.Duration(-d)
	}
	return template.HTML(`<time data-ago datetime="` + t.Format(time.RFC3339Nano) + `" title="` + t.Format("2006-01-02 15:04:05") + ` UTC">` + words + `</time>`) // #nosec G203 -- formatted times alone
}

// breaks writes a name that is broken after a slash where it does not fit, and not within a word.
func breaks(name string) template.HTML {
	html := template.HTMLEscapeString(name) // which makes no slash
	if rest, found := strings.CutPrefix(html, "/"); found {
		return "/" + template.HTML(strings.ReplaceAll(rest, "/", "/<wbr>")) // #nosec G203 -- it is escaped
	}
	return template.HTML(strings.ReplaceAll(html, "/", "/<wbr>")) // #nosec G203 -- likewise
}

// partName is the name of a row of a table, for the live stream; empty: that has none.
func partName(item any) string {
	switch v := item.(type) {
	case object.Topic:
		return topicRow(&v)
	case object.Client:
		return clientRow(&v)
	case object.Producer:
		return producerRow(&v)
	case object.Consumer:
		return consumerRow(&v)
	case stats.Queue:
		return rowQueue + rowKey(v.Topic)
	}
	return ""
}

// dict makes a map of keys and values, for a template that takes more than one argument.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, errors.New("dict: a key without a value")
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: key %v is not a text", pairs[i])
		}
		m[key] = pairs[i+1]
	}
	return m, nil
}
