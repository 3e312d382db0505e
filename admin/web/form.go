package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/property"
	"pipit/broker/signing"
)

// form is a form of a page: its fields with what was typed or what is there, and what is wrong
// with it. Action is empty where the form posts to somewhere else than a page of its own.
type form struct {
	Name     string // unique in its page
	Action   string
	Submit   string // label of its button
	Revision string // of what is edited
	Error    string // what concerns no single field
	Changed  bool   // somebody else has edited it meanwhile: see field.Theirs
	By       string // who that was; empty: it is not known
	Fields   []field
	Open     bool // shown at once, where a page keeps it folded
	Danger   bool
	Wide     bool   // its fields stand beside one another
	Upload   bool   // it is sent as multipart/form-data
	Another  string // label of a button that sends it, too, as "another", and leads back to it; empty: there is none
}

// field is a field of a form.
type field struct {
	ID, Name, Label, Hint string
	Type                  string // of the input, or "select", "textarea", "checkbox", "hidden"
	Value                 string
	Required              bool
	Min, Max              string
	Rows                  int      // of a textarea; 0: 10
	Options               []option // of a select, or what a text is proposed from
	Error                 string
	Theirs                string  // what somebody else has made of it meanwhile
	By                    string  // who that was, where it is known
	Was                   *string // what it was when the form was opened, which is sent along; nil: it is not
	Focus                 bool
	Order                 bool   // it says what to do, and is no value of what is edited
	Secret                bool   // no page holds its value; empty, it leaves what is there as it is
	Usual                 string // what its value is where nobody has chosen one
	Group                 string // it stands with those that follow or precede it and have the same, under this heading; empty: by itself
}

type option struct{ Value, Label string }

const checked = "true" // value of a checkbox

// newForm gives the fields their IDs.
func newForm(name, action, submit string, fields ...field) *form {
	for i := range fields {
		fields[i].ID = name + "-" + fields[i].Name
		if fields[i].Type == "" {
			fields[i].Type = "text"
		}
	}
	return &form{Name: name, Action: action, Submit: submit, Fields: fields}
}

// field returns the field of a name, nil where there is none.
func (f *form) field(name string) *field {
	for i := range f.Fields {
		if f.Fields[i].Name == name {
			return &f.Fields[i]
		}
	}
	return nil
}

// besides has the fields stand beside one another.
func (f *form) besides() *form {
	f.Wide = true
	return f
}

// fieldGroup are fields that follow each other under one heading, or one without.
type fieldGroup struct {
	Heading string
	Fields  []field
	Folded  bool
}

// Open tells whether one of them has a value that is not the usual one, or is wrong: what is folded away is shown then.
func (g fieldGroup) Open() bool {
	return slices.ContainsFunc(g.Fields, func(x field) bool { return x.Value != x.Usual || x.Error != "" })
}

// options is the heading of the fields of a form that are folded away.
const options = "Options"

// Groups are the fields in the order of the form.
func (f *form) Groups() (list []fieldGroup) {
	for _, x := range f.Fields {
		if n := len(list); n == 0 || list[n-1].Heading != x.Group {
			list = append(list, fieldGroup{Heading: x.Group, Folded: x.Group == options})
		}
		g := &list[len(list)-1]
		g.Fields = append(g.Fields, x)
	}
	return list
}

// drop removes a field.
func (f *form) drop(name string) {
	f.Fields = slices.DeleteFunc(f.Fields, func(x field) bool { return x.Name == name })
}

// set gives a field its value.
func (f *form) set(name, value string) { f.field(name).Value = value }

func (f *form) get(name string) string { return f.field(name).Value }

func (f *form) on(name string) bool { return f.field(name).Value == checked }

// typed takes over what was typed.
func (f *form) typed(v url.Values) {
	for i := range f.Fields {
		if f.Fields[i].Type != "file" {
			f.Fields[i].Value = v.Get(f.Fields[i].Name)
		}
	}
	f.Revision = v.Get("revision")
}

// typedInPart takes over what was typed in a form that can be short: it leaves out what has a default.
func (f *form) typedInPart(v url.Values) {
	for _, x := range f.Fields {
		if x.Type != "checkbox" && !v.Has(x.Name) {
			v.Set(x.Name, x.Value)
		}
	}
	f.typed(v)
}

// number returns the whole number that was typed, def where the field is empty.
func (f *form) number(name string, def int64) (int64, error) {
	s := strings.TrimSpace(f.get(name))
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, &fieldError{name, "Allowed are whole numbers"}
	}
	return n, nil
}

func onOff(on bool) string {
	if on {
		return checked
	}
	return ""
}

// settingFields are the fields of a form for what a table says of a definition. Of one that is not new they are those that
// an edit can change. What it is known by comes first, secrets and switches last.
func settingFields[D any](table property.Fields[D], d *D, isNew bool) []field {
	var ranks [4][]field
	for i := range table {
		t := &table[i]
		if t.Label == "" || t.Fixed && !isNew {
			continue
		}
		x, rank := field{Name: t.Name, Label: t.Label, Hint: t.Hint}, 1
		switch v := t.Value(d).(type) {
		case string:
			x.Required = t.Required
			switch {
			case t.Secret: // which a page never holds
				rank = 2
				if !t.Fixed {
					x.Type, x.Secret = "password", true
				}
			case t.Options != nil:
				if t.Other == "" { // else they are proposed
					x.Type = "select"
				}
				for _, o := range t.Options {
					x.Options = append(x.Options, option(o))
				}
			}
			if !t.Secret {
				x.Value = v
			}
			if t.Fixed && !t.Secret {
				rank = 0
			}
		case bool:
			x.Type, x.Value, rank = "checkbox", onOff(v), 3
		case int64:
			if t.IsSeconds() {
				x.Value, x.Required = t.Text(d), true
				break
			}
			x.Type, x.Value, x.Required, x.Min = "number", t.Text(d), true, strconv.FormatInt(t.Min, 10)
		case property.Texts, property.Durations, property.Table:
			x.Type, x.Rows, x.Secret, x.Required = "textarea", 3, t.Secret, t.Required
			if t.Secret {
				rank = 2
			} else {
				x.Value = t.Text(d)
			}
		default:
			x.Value, x.Required = t.Text(d), true
		}
		if t.Secret && !isNew {
			x.Hint, x.Required = "Empty: it stays as it is", false
		}
		ranks[rank] = append(ranks[rank], x)
		if x.Secret && !isNew && !t.IsEmpty(d) {
			ranks[rank] = append(ranks[rank], field{Name: t.Name + unsetSuffix, Label: t.Label + ": " + unsetLabel(t.Name), Type: "checkbox", Order: true})
		}
	}
	return slices.Concat(ranks[:]...)
}

// unsetSuffix is what the name of the switch ends with that takes a secret away, since its field leaves it where nothing is
// typed.
const unsetSuffix = "_unset"

// unsetLabel says what the switch does. What is never without a secret gets a new one.
func unsetLabel(name string) string {
	if name == "callback_secret" {
		return "make a new one"
	}
	return "remove what is set"
}

// unset tells whether the secret of a name is to be taken away. The error is of what is typed beside that.
func (f *form) unset(name string) (bool, error) {
	x := f.field(name + unsetSuffix)
	if x == nil || x.Value != checked {
		return false, nil
	}
	if strings.TrimSpace(f.get(name)) != "" {
		return false, &fieldError{x.Name, "Something is typed above: allowed is one of the two"}
	}
	return true, nil
}

// settingField is one of the fields of a form of a new definition.
func settingField[D any](table property.Fields[D], name string, options []option) field {
	d := table.New()
	fields := settingFields(table, &d, true)
	x := fields[slices.IndexFunc(fields, func(x field) bool { return x.Name == name })]
	if options != nil {
		x.Options = options
	}
	return x
}

// readSettings brings a definition to what was typed. Where a number is missing it is the default.
func readSettings[D any](f *form, table property.Fields[D], d *D) error {
	for i := range table {
		t := &table[i]
		x := f.field(t.Name)
		gone, err := f.unset(t.Name)
		if err != nil {
			return err
		}
		switch {
		case gone && t.Name == "callback_secret":
			t.Set(d, signing.New())
		case gone:
			err = t.SetText(d, "")
		case x == nil, x.Secret && strings.TrimSpace(x.Value) == "":
		case x.Type == "checkbox":
			t.Set(d, x.Value == checked)
		case x.Type == "number" && strings.TrimSpace(x.Value) == "":
			if t.Default == nil {
				t.Set(d, int64(0))
			} else {
				t.Set(d, t.Default)
			}
		default:
			err = t.SetText(d, x.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fieldError is an error of a single field.
type fieldError struct{ field, message string }

func (e *fieldError) Error() string { return e.message }

// fail shows an error, at its field where that can be told, and returns the status of the page.
// What is internal is returned, for the caller to pass on. Refused input is told by status
// 422, since the page is what was asked for, but not done. Passwords are to be typed again.
func (f *form) fail(err error) (int, error) {
	f.Open = true
	f.forgetPasswords()
	var fe *fieldError
	if errors.As(err, &fe) {
		f.blame(fe.field, fe.message)
		return http.StatusUnprocessableEntity, nil
	}
	e := broker.ErrorOf(err)
	if e == nil || e.Code == broker.Internal {
		return 0, err
	}
	message := e.Message
	if e.Code == broker.Denied && e.Reason != "" { // an administrator may know
		message = e.Reason
	}
	switch e.Code {
	case broker.NotFound:
		return 0, err
	case broker.Conflict, broker.Invalid, broker.TooLarge, broker.Denied:
	case broker.DiskFull:
		f.Error = sentence(message)
		return http.StatusInsufficientStorage, nil
	case broker.Full, broker.TooMany:
		f.Error = sentence(message)
		return http.StatusTooManyRequests, nil
	default:
		f.Error = sentence(message)
		return http.StatusServiceUnavailable, nil
	}
	f.blame(f.guilty(e), sentence(message))
	if e.Code == broker.Conflict {
		return http.StatusConflict, nil
	}
	return http.StatusUnprocessableEntity, nil
}

// forgetPasswords makes passwords to be typed again: a page never holds one.
func (f *form) forgetPasswords() {
	for i := range f.Fields {
		if x := f.Fields[i]; x.Type == "password" || x.Secret {
			f.Fields[i].Value = ""
		}
	}
}

// guilty returns the name of the field that an error is about, if any. The client of a producer is the
// username of a client, whose form may be the one.
func (f *form) guilty(e *broker.Error) string {
	if f.field(e.Field) != nil {
		return e.Field
	}
	return map[string]string{"client": "username", "topic": "name", "password_hash": "password"}[e.Field]
}

func (f *form) blame(name, message string) {
	if x := f.field(name); x != nil && x.Type != "hidden" {
		x.Error, x.Focus = message, true
		return
	}
	f.Error = message
}

// sentence makes a message of the broker one that begins as a sentence does, unless it begins
// with the name of a field.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if s == "" || strings.ContainsAny(first, "_") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// wasPrefix is what the name of a hidden field begins with that has what a field was when its form was opened.
const wasPrefix = "was_"

// mergeable has a form send along what its fields are, for a merge where somebody else edits the same meanwhile.
func (f *form) mergeable() {
	for i := range f.Fields {
		if x := &f.Fields[i]; x.Type != "password" && x.Type != "hidden" && !x.Secret && !x.Order {
			was := x.Value
			x.Was = &was
		}
	}
}

// based takes over what the fields were when the form was opened that was sent.
func (f *form) based(sent url.Values) {
	for i := range f.Fields {
		if x := &f.Fields[i]; x.Was != nil {
			x.Was = nil
			if sent.Has(wasPrefix + x.Name) {
				was := browserText(sent.Get(wasPrefix + x.Name))
				x.Was = &was
			}
		}
	}
}

// conflict shows that somebody else has edited meanwhile: now is a form of what is there, and sent what was posted. What they
// have changed and who posts has not is taken over; what both have is told, and stays as it was typed. Nothing that was typed
// is lost, and saving once more makes it so.
func (f *form) conflict(now *form, by string) {
	f.Changed, f.Open, f.Revision, f.By = true, true, now.Revision, by
	f.forgetPasswords()
	for i := range f.Fields {
		x, y := &f.Fields[i], &now.Fields[i]
		was, mine := x.Was, browserText(x.Value)
		x.Was = y.Was
		switch {
		case x.Type == "password" || x.Type == "hidden" || x.Secret || x.Order || mine == y.Value:
			continue
		case was != nil && mine == *was:
			x.Value = y.Value
			continue
		case was != nil && y.Value == *was:
			continue
		case x.Type == "checkbox" && y.Value == checked:
			x.Theirs = "on"
		case x.Type == "checkbox":
			x.Theirs = "off"
		case y.Value == "":
			x.Theirs = "empty"
		default:
			x.Theirs = y.Value
		}
		x.By = by
	}
}

// browserText is a text without the ends of lines of browsers.
func browserText(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// maxForm is how large a form without a payload may be, in bytes.
const maxForm = 64 << 10

// readForm reads the fields that were posted, once each.
func readForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, &broker.Error{Code: broker.TooLarge, Message: "the form is too large"}
		}
		return nil, broker.Invalidf("the form is not readable")
	}
	return r.PostForm, nil
}

// confirm is a form that asks for the name of what is lost.
func confirm(name, action, submit, label, expected string, more ...field) *form {
	f := newForm(name, action, submit, append(more, field{Name: "confirm", Label: label, Required: true, Hint: expected})...)
	f.Danger = true
	return f
}

// confirmed returns an error unless the name was typed that the form asks for.
func (f *form) confirmed(expected string) error {
	if typed := strings.TrimSpace(f.get("confirm")); typed != strings.TrimSpace(expected) && typed != strings.TrimSpace(text.Shown(expected)) {
		return &fieldError{"confirm", "This is not the name. Nothing was done"}
	}
	return nil
}

// formPage is a page that holds nothing but a form.
type formPage struct {
	Back  link
	Lead  string
	These []link   // what it is done to, where that is more than one
	Lost  []string // what goes with what is deleted
	Form  *form
}

type link struct{ URL, Label string }

// renderForm answers with a page of a form. status is 0 where it is shown for the first time.
func (s *Site) renderForm(w http.ResponseWriter, r *http.Request, status int, nav, title string, p formPage) error {
	if status == 0 {
		status = http.StatusOK
	}
	return s.render(w, r, "object", status, view{Title: title, Nav: nav, Data: p})
}
