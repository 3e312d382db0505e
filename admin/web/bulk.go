package web

import (
	"net/http"
	"net/url"

	"pipit/admin/gate"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/clip"
)

// What is done to the rows of a list that are chosen.
const (
	bulkOn    = "on"
	bulkOff   = "off"
	bulkClear = "clear"
)

// bulkPath is where a list sends those that are chosen.
func (p *pages[T]) bulkPath() string { return "/admin/bulk" + p.Path }

// bulk is what is to be done to the chosen ones.
type bulk[T any] struct {
	do     string
	keys   []string // of those that are there
	chosen []T
	to     string // the page of the list that they were chosen on
}

// readBulk reads what was chosen. What was deleted meanwhile is left out.
func (p *pages[T]) readBulk(v url.Values) (b bulk[T], err error) {
	back, err := url.ParseQuery(v.Get("back"))
	if err != nil {
		back = nil
	}
	b.do, b.to = v.Get("do"), p.listPath()+"?"+back.Encode()
	if b.do != bulkOn && b.do != bulkOff && (b.do != bulkClear || p.clear == nil) {
		return b, broker.Invalidf("do %q: allowed are on and off, and clear of consumers", clip.Input(b.do))
	}
	if n := len(v["key"]); n > pageSize {
		return b, broker.Invalidf("%d are chosen: allowed are %d at once", n, pageSize)
	}
	for _, key := range v["key"] {
		one, err := p.Get(key)
		if broker.CodeOf(err) == broker.NotFound {
			continue
		} else if err != nil {
			return b, err
		}
		b.keys, b.chosen = append(b.keys, key), append(b.chosen, one)
	}
	return b, nil
}

// counted is how many are chosen, in words.
func (p *pages[T]) counted(n int) string {
	return text.Count(int64(n), string(p.Kind), p.plural())
}

// bulkPage asks whether it shall be done.
func (p *pages[T]) bulkPage(b bulk[T]) formPage {
	page := formPage{Back: link{b.to, sentence(p.plural())}}
	for i := range b.chosen {
		page.These = append(page.These, link{p.pagePath(&b.chosen[i]), p.Name(&b.chosen[i])})
	}
	n, action := len(b.chosen), p.bulkPath()
	hidden := []field{{Name: "do", Type: "hidden", Value: b.do}, {Name: "sure", Type: "hidden", Value: checked},
		{Name: "back", Type: "hidden", Value: b.to[len(p.listPath())+1:]}}
	for _, key := range b.keys {
		hidden = append(hidden, field{Name: "key", Type: "hidden", Value: key})
	}
	switch b.do {
	case bulkOn:
		page.Lead, page.Form = "These are to be made active:", newForm("bulk", action, "Make active", hidden...) // where that fails
	case bulkOff:
		page.Lead, page.Form = "This makes "+p.counted(n)+" inactive:", newForm("bulk", action, "Make inactive", hidden...)
		page.Form.Danger = true
	case bulkClear:
		page.Lead = "This clears the backlogs of " + p.counted(n) + ". It cannot be undone."
		page.Form = confirm("bulk", action, "Clear the backlogs", "Type how many they are to confirm", text.Number(n), hidden...)
	}
	return page
}

// postBulk asks whether it shall be done, and does it where that was answered.
func (p *pages[T]) postBulk(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	b, err := p.readBulk(v)
	if err != nil {
		return err
	}
	if len(b.chosen) == 0 {
		return p.site.done(w, r, b.to, "Nothing was chosen: nothing was done")
	}
	page := p.bulkPage(b)
	title := map[string]string{bulkOn: "Make active", bulkOff: "Make inactive", bulkClear: "Clear backlogs"}[b.do]
	if b.do != bulkOn && v.Get("sure") != checked { // who makes some active by mistake makes them inactive
		return p.site.renderForm(w, r, 0, p.plural(), title, page)
	}
	if confirm := page.Form.field("confirm"); confirm != nil {
		confirm.Value = v.Get("confirm")
	}
	notice, err := p.doBulk(r, b, page.Form)
	if err != nil {
		status, err := page.Form.fail(err)
		if err != nil {
			return err
		}
		return p.site.renderForm(w, r, status, p.plural(), title, page)
	}
	return p.site.done(w, r, b.to, notice)
}

// doBulk does it: the switches in one commit, the backlogs one by one.
func (p *pages[T]) doBulk(r *http.Request, b bulk[T], f *form) (notice string, err error) {
	who := gate.ActorOf(r.Context())
	if b.do == bulkClear {
		if f.confirmed(text.Number(len(b.chosen))) != nil {
			return "", &fieldError{"confirm", "This is not how many they are. Nothing was cleared"}
		}
		var messages int64
		for i := range b.chosen {
			n, err := p.clear(r.Context(), who, &b.chosen[i])
			if err != nil && broker.CodeOf(err) != broker.NotFound { // it was deleted meanwhile
				return "", err
			}
			messages += n
		}
		return "The backlogs of " + p.counted(len(b.chosen)) + " were cleared: " + text.Count(messages, "message", "messages"), nil
	}
	n, err := p.EditAll(r.Context(), who, b.keys, func(v *T) { *p.inactive(v) = b.do == bulkOff })
	state := "active"
	if b.do == bulkOff {
		state = "inactive"
	}
	return "Made " + state + ": " + p.counted(n), err
}
