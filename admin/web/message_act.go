package web

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
)

// acts are what can be done to several messages, as people read it: on the button, and where it was done.
var acts = []struct{ Name, Label, Done string }{
	{object.ActRelease, "Release", "Released"},
	{object.ActCopy, "Publish copies", "Copies published"},
	{object.ActRedrive, "Move dead letters back", "Moved back"},
	{object.ActDelete, "Delete for good", "Deleted"},
}

// doneTo tells what was done to messages.
func doneTo(act string, done object.Acted) (s string) {
	for _, a := range acts {
		if a.Name == act {
			s = a.Done + ": " + text.Count(int64(done.Messages), "message", "messages")
		}
	}
	if done.Left > 0 {
		s += ". Left where they are: " + text.Number(done.Left) + ". " + sentence(done.LeftWhy.Error())
	}
	return s
}

// Key is what a message is chosen by.
func (m *messageRow) Key() string { return text.Segment(m.Topic) + "/" + text.Segment(m.ID) }

// chosenMessages are those whose keys were sent.
func chosenMessages(keys []string) (refs []object.MessageRef) {
	for _, key := range keys {
		topic, id, _ := strings.Cut(key, "/")
		refs = append(refs, object.MessageRef{Topic: unescaped(topic), ID: unescaped(id)})
	}
	return refs
}

// unescaped is the name that a part of a path stands for.
func unescaped(part string) string {
	if s, err := url.PathUnescape(part); err == nil {
		part = s
	}
	return text.Unsegment(part)
}

// postAct does something to the chosen messages, or to all that match. What deletes them is asked about first.
func (mp messagePages) postAct(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	if v.Get("all") == checked {
		return mp.actOnAll(w, r, v)
	}
	back, err := url.ParseQuery(v.Get("back"))
	if err != nil {
		back = nil
	}
	to := "/admin/messages?" + back.Encode()
	refs := chosenMessages(v["key"])
	switch n := len(refs); {
	case n == 0:
		return mp.done(w, r, to, "No message was chosen: nothing was done")
	case n > pageSize:
		return broker.Invalidf("%d messages are chosen: allowed are %d at once", n, pageSize)
	}
	do := v.Get("do")
	if do == object.ActDelete && v.Get("sure") != checked {
		hidden := []field{{Name: "do", Type: "hidden", Value: do}, {Name: "sure", Type: "hidden", Value: checked}, {Name: "back", Type: "hidden", Value: back.Encode()}}
		page := formPage{Back: link{to, "Messages"},
			Lead: "This deletes " + text.Count(int64(len(refs)), "message", "messages") + " for all consumers, also where they are in flight. It cannot be undone."}
		for i, m := range refs {
			hidden = append(hidden, field{Name: "key", Type: "hidden", Value: v["key"][i]})
			page.These = append(page.These, link{messagePath(m.Topic, m.ID), m.ID})
		}
		page.Form = newForm("act", "/admin/messages", "Delete for good", hidden...)
		page.Form.Danger = true
		return mp.renderForm(w, r, 0, "messages", "Delete messages", page)
	}
	done, err := object.Act(r.Context(), mp.Objects, gate.ActorOf(r.Context()), do, 0, refs)
	if err != nil {
		return err
	}
	return mp.done(w, r, to, doneTo(do, done))
}

// allPage says how many messages match, and asks what is to be done to them.
func (mp messagePages) allPage(r *http.Request, page *messagesPage, v url.Values) (p formPage, err error) {
	o, err := page.options()
	if err != nil {
		return p, err
	}
	next := v.Get("next")
	found, err := object.ActOnAll(r.Context(), mp.Objects, gate.ActorOf(r.Context()), object.ActCopy, o, next, true)
	if err != nil {
		return p, err
	}
	n := text.Number(found.Messages)
	p.Back, p.Lead = link{"/admin/messages?" + page.asked().Encode(), "Messages"}, text.Count(int64(found.Messages), "message matches", "messages match")
	if found.Next != "" {
		p.Lead = "At least " + n + " messages match"
	}
	if p.Lead += ": " + page.criteria(); next != "" {
		p.Lead = "There is more to do. " + p.Lead
	}
	hidden := []field{{Name: "all", Type: "hidden", Value: checked}, {Name: "count", Type: "hidden", Value: n}, {Name: "next", Type: "hidden", Value: next}}
	for name, values := range page.asked() {
		hidden = append(hidden, field{Name: name, Type: "hidden", Value: values[0]})
	}
	var options []option
	for _, a := range acts {
		options = append(options, option{a.Name, a.Label})
	}
	p.Form = confirm("act", "/admin/messages", "Apply to all of them", "Type how many they are to confirm", n,
		append(hidden, field{Name: "do", Label: "Action", Type: "select", Value: v.Get("do"), Options: options})...)
	return p, nil
}

// criteria say what was asked for.
func (page *messagesPage) criteria() string {
	var list []string
	for _, x := range page.Form.Fields {
		value := x.Value
		for _, o := range x.Options {
			if o.Value == value && o.Label != "" {
				value = o.Label
			}
		}
		switch {
		case value == "" || x.Value == "" || x.Type == "hidden" || x.Name == "newest" || x.Name == "id":
		case x.Type == "checkbox":
			list = append(list, strings.ToLower(x.Label))
		case x.Name == "text":
			list = append(list, `text "`+value+`"`)
		case x.Type == "datetime-local":
			at, err := page.Form.time(x.Name)
			if err == nil {
				list = append(list, x.Name+" "+at.Format("2006-01-02 15:04 UTC"))
			}
		default:
			list = append(list, strings.ToLower(x.Label)+" "+value)
		}
	}
	return strings.Join(list, ", ")
}

// asked is what the form asks for, as a query.
func (page *messagesPage) asked() url.Values {
	v := url.Values{}
	for _, x := range page.Form.Fields {
		if x.Value != "" {
			v.Set(x.Name, x.Value)
		}
	}
	return v
}

// pageAll shows how many messages match, before anything is done to them.
func (mp messagePages) pageAll(w http.ResponseWriter, r *http.Request, page *messagesPage, v url.Values) error {
	p, err := mp.allPage(r, page, v)
	if err != nil {
		return err
	}
	return mp.renderForm(w, r, 0, "messages", "All messages that match", p)
}

// actOnAll does something to all that match, for a while: what is left is asked about again.
func (mp messagePages) actOnAll(w http.ResponseWriter, r *http.Request, v url.Values) error {
	page, err := mp.messagesOf(v)
	if err != nil {
		return err
	}
	o, err := page.options()
	if err != nil {
		return err
	}
	var done object.Acted
	if typed := strings.TrimSpace(v.Get("confirm")); typed == "" || typed != v.Get("count") && typed != strings.ReplaceAll(v.Get("count"), ",", "") {
		err = &fieldError{"confirm", "This is not how many they are. Nothing was done"}
	} else {
		done, err = object.ActOnAll(r.Context(), mp.Objects, gate.ActorOf(r.Context()), v.Get("do"), o, v.Get("next"), false)
	}
	if err != nil {
		p, e := mp.allPage(r, &page, v)
		if e != nil {
			return e
		}
		status, err := p.Form.fail(err)
		if err != nil {
			return err
		}
		return mp.renderForm(w, r, status, "messages", "All messages that match", p)
	}
	to := page.asked()
	if done.Next != "" {
		to.Set("all", checked)
		to.Set("next", done.Next)
		to.Set("do", v.Get("do"))
	}
	return mp.done(w, r, "/admin/messages?"+to.Encode(), doneTo(v.Get("do"), done))
}
