package web

import (
	"strings"
	"time"

	"pipit/admin/text"
	"pipit/broker/property"
)

// setting is a property of a definition as the page of it shows it.
type setting struct {
	Name, Label string
	Text        string // one line for each item of a list; empty: nothing is set
	URL         string // of the page of the client or topic that Text names
	Switch, On  bool   // it is a flag in place of a text
	Secret      bool   // there is one, and Text does not have it
}

// settings are what a table says of a definition, in its order. Of a secret they say that there is one.
//
// isPattern tells of the name of a topic whether it is none, but a pattern, which has no page.
func settings[D any](table property.Fields[D], d *D, isPattern func(string) bool) (list []setting) {
	for i := range table {
		t := &table[i]
		if t.Label == "" || t.Once {
			continue
		}
		s := setting{Name: t.Name, Label: t.Label, Secret: t.Secret}
		if t.Secret {
			if !t.IsEmpty(d) {
				list = append(list, s)
			}
			continue
		}
		value := t.Value(d)
		s.On, s.Switch = value.(bool)
		s.Text = settingText(value, t.Unit)
		switch {
		case s.Text == "":
		case t.Name == "client":
			s.URL = clientPath(s.Text)
		case (t.Name == "topic" || strings.HasSuffix(t.Name, "_topic")) && !isPattern(s.Text):
			s.URL = topicPath(s.Text)
		}
		for _, o := range t.Options {
			if value == o.Value {
				s.Text = o.Label
			}
		}
		list = append(list, s)
	}
	return list
}

// settingText writes a value of a table for a reader. 0 of a number is what the broker calls Off.
func settingText(v any, unit string) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		switch {
		case v == 0:
			return "off"
		case unit == "seconds":
			return property.FormatSeconds(v)
		}
		return strings.TrimSpace(text.Number(v) + " " + unit)
	case time.Duration:
		if v == 0 {
			return "off"
		}
		return property.FormatDuration(v)
	case property.Size:
		if v == 0 {
			return "off"
		}
		return v.String()
	case property.Durations:
		var items []string
		for _, d := range v.List() {
			items = append(items, property.FormatDuration(d))
		}
		return strings.Join(items, "\n")
	case property.Texts:
		return v.String()
	case property.Table:
		return v.String()
	}
	return ""
}
