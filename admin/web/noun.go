package web

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/clip"
)

// pages are the web pages of a noun: its list, the form of a new one, one, its edit and its deletion.
type pages[T any] struct {
	*object.Noun[T]
	site    *Site
	orders  []order // columns of the list
	example string  // body of a request that makes the first one
	lead    string  // over the form of a new one
	wide    bool    // the form of a new one has its fields beside one another

	newFields  func(proposed url.Values) []field
	editFields func(*T) []field
	exists     func(f *form) error                                                                           // refuses a new one of what does not exist, or nil
	read       func(f *form, v *T) error                                                                     // takes over what was typed
	created    func(f *form, v *T) (to, notice string)                                                       // where it goes on, and what is told there; nil: to the page of it
	answer     func(w http.ResponseWriter, r *http.Request, f *form, given, v *T) (answered bool, err error) // in place of that, or nil

	inactive func(*T) *bool                                                 // its switch
	clear    func(ctx context.Context, who gate.Actor, v *T) (int64, error) // makes its backlog empty, or nil: it has none

	show    func(w http.ResponseWriter, r *http.Request, v *T) error
	deletes func(*T) deletion
}

// deletion is what the page says that asks whether one shall be deleted, and what comes then.
type deletion struct {
	lead            string
	label, expected string // the name to be typed, and how it is asked for; empty where nothing is lost that would be worth it
	to, called      string // where it goes on, and how it is called there
}

func (p *pages[T]) routes() []gate.Route {
	list := p.listPath()
	one := list + "/:" + p.Param
	return []gate.Route{
		gate.Get(list, p.pageList, gate.Read),
		gate.Post(list, p.postCreate, gate.Write),
		gate.Get(one, p.page, gate.Read),
		gate.Get(one+"/edit", p.pageEdit, gate.Read),
		gate.Post(one+"/edit", p.postSave, gate.Write),
		gate.Get(one+"/delete", p.pageDrop, gate.Read),
		gate.Post(one+"/delete", p.postDelete, gate.Write),
		gate.Post(p.bulkPath(), p.postBulk, gate.Write),
	}
}

func (p *pages[T]) listPath() string { return gate.RootPath[:len(gate.RootPath)-1] + p.Path }

// pagePath is the path of the page of one.
func (p *pages[T]) pagePath(v *T) string { return p.listPath() + "/" + text.Segment(p.Key(v)) }

// plural is what the menu and the template of the list are called.
func (p *pages[T]) plural() string { return p.Path[1:] }

// backToList and back are the links to the list and to the page of one.
func (p *pages[T]) backToList() link { return link{p.listPath(), sentence(p.plural())} }

func (p *pages[T]) back(v *T) link { return link{p.pagePath(v), p.Name(v)} }

// titled is the title of a page of one.
func (p *pages[T]) titled(verb string, v *T) string {
	return verb + " " + string(p.Kind) + " " + p.Name(v)
}

// keyOf returns the key of an object in the path of a page.
func (p *pages[T]) keyOf(at gate.Params) string { return text.Unsegment(at[p.Param]) }

// listPage is the page of a list.
type listPage[T any] struct {
	listing
	Items []T
}

func (p *pages[T]) pageList(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if v := r.URL.Query(); v.Has("new") {
		return p.renderNew(w, r, 0, p.newForm(v))
	}
	page := listPage[T]{listing: readListing(r, p.orders...)}
	l, err := p.List(page.Query)
	if err != nil {
		return err
	}
	page.Items = l.Items
	found(&page.listing, l)
	page.Bulk, page.Clears = p.bulkPath(), p.clear != nil
	page.Example = p.site.bases(r).Create(p.plural(), p.example)
	return p.site.render(w, r, p.plural(), http.StatusOK, view{Title: sentence(p.plural()), Nav: p.plural(), Data: page, Live: p.live(page.Items)})
}

// live is the stream of a list, empty where it has none.
func (p *pages[T]) live(items []T) string {
	var one T
	if partName(one) == "" {
		return ""
	}
	return liveURL("list", p.plural(), partNames(items))
}

func (p *pages[T]) newForm(proposed url.Values) *form {
	f := newForm(string(p.Kind), p.listPath(), "Create "+string(p.Kind), p.newFields(proposed)...)
	f.Wide = p.wide
	return f
}

func (p *pages[T]) renderNew(w http.ResponseWriter, r *http.Request, status int, f *form) error {
	return p.site.renderForm(w, r, status, p.plural(), "New "+string(p.Kind), formPage{Back: p.backToList(), Lead: p.lead, Form: f})
}

func (p *pages[T]) postCreate(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := p.newForm(url.Values{})
	f.typedInPart(v)
	given := p.Initial()
	var made T
	if p.exists != nil {
		err = p.exists(f)
	}
	if err == nil {
		err = p.read(f, &given)
	}
	if err == nil {
		made, err = p.Create(r.Context(), gate.ActorOf(r.Context()), given)
	}
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return p.renderNew(w, r, status, f)
	}
	to, notice := p.pagePath(&made), "The "+string(p.Kind)+" was created"
	if p.created != nil {
		to, notice = p.created(f, &made)
	}
	return p.finish(w, r, f, &given, &made, to, notice)
}

// finish answers where one was created or saved. given is what the form made of it, and v has the warnings.
func (p *pages[T]) finish(w http.ResponseWriter, r *http.Request, f *form, given, v *T, to, notice string) error {
	if p.answer != nil {
		if answered, err := p.answer(w, r, f, given, v); answered || err != nil {
			return err
		}
	}
	if p.Warnings != nil {
		notice += warned(*p.Warnings(v))
	}
	return p.site.done(w, r, to, notice)
}

func (p *pages[T]) page(w http.ResponseWriter, r *http.Request, at gate.Params) error {
	v, err := p.Get(p.keyOf(at))
	if err != nil {
		return err
	}
	return p.show(w, r, &v)
}

func (p *pages[T]) editForm(v *T) *form {
	f := newForm(string(p.Kind), p.pagePath(v)+"/edit", "Save", p.editFields(v)...)
	f.Revision = p.Revision(v)
	f.mergeable()
	return f
}

// editor returns who has edited one last, as far as the audit log is looked through; empty where it is not in that.
func (p *pages[T]) editor(v *T) string {
	for _, kind := range []string{audit.Edit, audit.Secret} {
		l, err := p.site.Trail.List(gate.Query{Limit: auditRows, Kind: kind})
		if err != nil {
			return ""
		}
		for _, e := range l.Items {
			if e.Object == p.Name(v) && strings.HasPrefix(e.Action, string(p.Kind)+".") {
				return e.Who
			}
		}
	}
	return ""
}

func (p *pages[T]) renderEdit(w http.ResponseWriter, r *http.Request, status int, v *T, f *form) error {
	page := formPage{Back: p.back(v), Form: f}
	if p.Declared(v) {
		page.Lead = "The configuration file declares this " + string(p.Kind) + ": what is saved here holds until the next start, which brings back what the file says."
	}
	return p.site.renderForm(w, r, status, p.plural(), p.titled("Edit", v), page)
}

func (p *pages[T]) pageEdit(w http.ResponseWriter, r *http.Request, at gate.Params) error {
	v, err := p.LookUp(p.keyOf(at))
	if err != nil {
		return err
	}
	return p.renderEdit(w, r, 0, &v, p.editForm(&v))
}

func (p *pages[T]) postSave(w http.ResponseWriter, r *http.Request, at gate.Params) error {
	typed, err := readForm(w, r)
	if err != nil {
		return err
	}
	key := p.keyOf(at)
	v, err := p.LookUp(key)
	if err != nil {
		return err
	}
	f := p.editForm(&v)
	f.typedInPart(typed)
	f.based(typed)
	saved, err := p.Edit(r.Context(), gate.ActorOf(r.Context()), key, f.Revision, func(v *T) error { return p.read(f, v) })
	switch {
	case broker.CodeOf(err) == broker.Conflict:
		if v, err = p.LookUp(key); err != nil {
			return err
		}
		f.conflict(p.editForm(&v), p.editor(&v))
		return p.renderEdit(w, r, http.StatusConflict, &v, f)
	case err != nil:
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return p.renderEdit(w, r, status, &v, f)
	}
	return p.finish(w, r, f, &saved, &saved, p.pagePath(&v), "The "+string(p.Kind)+" was saved")
}

// dropPage asks whether one shall be deleted.
func (p *pages[T]) dropPage(v *T, d deletion) formPage {
	page := formPage{Back: p.back(v), Lead: d.lead, Lost: lost(p.Goes(v))}
	if p.Declared(v) {
		page.Lead += " The configuration file declares it: the next start makes it anew, unless it is taken out of the file."
	}
	if action := p.pagePath(v) + "/delete"; d.expected != "" {
		page.Form = confirm("delete", action, "Delete for good", d.label, d.expected)
	} else {
		page.Form = newForm("delete", action, "Delete")
		page.Form.Danger = true
	}
	page.Form.Revision = p.Revision(v)
	return page
}

func (p *pages[T]) pageDrop(w http.ResponseWriter, r *http.Request, at gate.Params) error {
	v, err := p.LookUp(p.keyOf(at))
	if err != nil {
		return err
	}
	return p.site.renderForm(w, r, 0, p.plural(), p.titled("Delete", &v), p.dropPage(&v, p.deletes(&v)))
}

func (p *pages[T]) postDelete(w http.ResponseWriter, r *http.Request, at gate.Params) error {
	typed, err := readForm(w, r)
	if err != nil {
		return err
	}
	v, err := p.LookUp(p.keyOf(at))
	if err != nil {
		return err
	}
	d := p.deletes(&v)
	page := p.dropPage(&v, d)
	page.Form.typed(typed)
	var with object.Deleted
	var undo *object.Undo
	if d.expected != "" {
		err = page.Form.confirmed(d.expected)
	}
	if err == nil {
		with, undo, err = p.Delete(r.Context(), gate.ActorOf(r.Context()), p.Key(&v), page.Form.Revision)
	}
	switch {
	case broker.CodeOf(err) == broker.Conflict:
		page.Form.Changed, page.Form.Revision = true, p.Revision(&v)
		return p.site.renderForm(w, r, http.StatusConflict, p.plural(), p.titled("Delete", &v), page)
	case err != nil:
		status, err := page.Form.fail(err)
		if err != nil {
			return err
		}
		return p.site.renderForm(w, r, status, p.plural(), p.titled("Delete", &v), page)
	}
	to := d.to + "?" + url.Values{"undo": {undo.Key}}.Encode()
	return p.site.done(w, r, to, "The "+string(p.Kind)+" "+clip.Input(d.called)+" was deleted"+withIt(with))
}

// lost tells what is lost with what is deleted.
func lost(d object.Deleted) (list []string) {
	if d.Producers > 0 {
		list = append(list, text.Count(int64(d.Producers), "producer", "producers"))
	}
	if d.Consumers > 0 {
		list = append(list, text.Count(int64(d.Consumers), "consumer with its queue", "consumers with their queues"))
	}
	if d.Webhooks > 0 {
		list = append(list, text.Count(int64(d.Webhooks), "webhook", "webhooks"))
	}
	if d.Messages > 0 {
		list = append(list, text.Count(d.Messages, "message that somebody still needs", "messages that somebody still needs"))
	}
	return list
}

// withIt tells what was deleted with something.
func withIt(d object.Deleted) string {
	var parts []string
	if d.Producers > 0 {
		parts = append(parts, text.Count(int64(d.Producers), "producer", "producers"))
	}
	if d.Consumers > 0 {
		parts = append(parts, text.Count(int64(d.Consumers), "consumer", "consumers"))
	}
	if d.Webhooks > 0 {
		parts = append(parts, text.Count(int64(d.Webhooks), "webhook", "webhooks"))
	}
	if d.Messages > 0 {
		parts = append(parts, text.Count(d.Messages, "message", "messages"))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", with " + strings.Join(parts, ", ")
}
