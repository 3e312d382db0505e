package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

// consumerPages describes the pages of consumers.
func (a *Admin) consumerPages() *pages[object.Consumer] {
	return &pages[object.Consumer]{
		Noun: a.objects.Consumers(),
		a:    a,
		orders: []order{
			{Key: "topic", Label: "Topic"},
			{Key: "client", Label: "Client"},
			{Label: "State"},
			{Key: "backlog", Label: "Backlog", Number: true, Down: true},
			{Key: "in_flight", Label: "In flight", Number: true, Down: true},
			{Label: "Oldest"},
			{Key: "last_seen", Label: "Last seen", Down: true},
		},
		example: `{"client": "erp", "topic": "/customer/created"}`,
		lead:    "A consumer is a client's own queue of what is published to a topic.",
		wide:    true,
		newFields: func(proposed url.Values) []field {
			c := object.NewConsumer()
			return a.proposePair(settingFields(broker.ConsumerFields, &c.Consumer, true), proposed)
		},
		editFields: func(c *object.Consumer) []field { return settingFields(broker.ConsumerFields, &c.Consumer, false) },
		exists:     a.checkPair,
		read:       func(f *form, c *object.Consumer) error { return readSettings(f, broker.ConsumerFields, &c.Consumer) },
		created: func(_ *form, c *object.Consumer) (to, notice string) {
			return consumerPath(c.ID), "The consumer was created. Its sub_key is below"
		},
		show: a.pageConsumer,
		deletes: func(c *object.Consumer) deletion {
			return deletion{
				lead:  "This deletes the consumer " + c.Client + " of " + c.Topic + " and its queue. It cannot be undone.",
				label: "Type the topic's name to confirm", expected: c.Topic,
				to: topicPath(c.Topic), called: c.Client,
			}
		},
	}
}

// startField asks where a new consumer begins.
func startField() field {
	c := object.NewConsumer()
	fields := settingFields(broker.ConsumerFields, &c.Consumer, true)
	return fields[slices.IndexFunc(fields, func(x field) bool { return x.Name == "start" })]
}

// consumerPath is the path of a consumer's page.
func consumerPath(id uint32) string { return "/admin/consumers/" + strconv.FormatUint(uint64(id), 10) }

type consumerPage struct {
	object.Consumer
	Back      link
	Path      string
	Revealed  string // sub_key, where it was asked for
	MaxFlying int64  // MaxInFlight
	Rotate    *form
	Clear     *form
	Done      *form // clear-in-flight
	Release   *form
	Commands  []command
	Messages  string // URL
}

// oneButton is a form of a button alone, which is folded away on its page.
func oneButton(name, action, submit, revision string) *form {
	f := newForm(name, action, submit)
	f.Revision = revision
	return f
}

func (a *Admin) consumerPage(r *http.Request, c *object.Consumer, reveal bool) consumerPage {
	path := consumerPath(c.ID)
	page := consumerPage{
		Consumer:  *c,
		MaxFlying: int64(c.MaxInFlight),
		Back:      link{"/admin/consumers", "Consumers"},
		Path:      path,
		Rotate:    oneButton("rotate", path+"/rotate", "Make a new sub_key", c.Revision),
		Clear:     confirm("clear", path+"/clear", "Clear the backlog", "Type the topic's name to confirm", c.Topic),
		Done:      oneButton("clear-in-flight", path+"/clear-in-flight", "Clear what is in flight", ""),
		Release:   oneButton("release", path+"/release", "Release it", ""),
		Messages:  "/admin/messages?" + url.Values{"topic": {c.Topic}, "consumer": {strconv.FormatUint(uint64(c.ID), 10)}}.Encode(),
	}
	page.Rotate.Danger, page.Done.Danger = true, true
	if reveal {
		page.Revealed = c.SubKey
	}
	page.SubKey = "" // what a template does not have, it cannot show
	page.Commands = a.bases(r).receiveCommands(c.Client, c.Topic, page.Revealed)
	return page
}

func (a *Admin) renderConsumer(w http.ResponseWriter, r *http.Request, status int, page consumerPage) error {
	return a.render(w, r, "consumer", status, view{Title: "Consumer " + object.OfTopic(page.Client, page.Topic), Nav: "consumers", Data: page})
}

func (a *Admin) pageConsumer(w http.ResponseWriter, r *http.Request, c *object.Consumer) error {
	reveal := r.URL.Query().Has("reveal") && actorOf(r.Context()).Access >= write
	if reveal {
		a.objects.NoteReveal(r, c)
	}
	return a.renderConsumer(w, r, http.StatusOK, a.consumerPage(r, c, reveal))
}

// queuePageRoutes are the forms of a consumer's page.
func (a *Admin) queuePageRoutes() []route {
	one := "/admin/consumers/:id"
	return []route{
		gate.Post(one+"/rotate", a.pageRotate, write),
		gate.Post(one+"/clear", a.pageClear, write),
		gate.Post(one+"/clear-in-flight", a.pageClearInFlight, write),
		gate.Post(one+"/release", a.pageRelease, write),
	}
}

// onConsumer runs one of the forms of a consumer's page, and shows the page again, with the form
// open, where that was refused.
func (a *Admin) onConsumer(w http.ResponseWriter, r *http.Request, p params, pick func(*consumerPage) *form, do func(*object.Consumer, *form) (notice string, err error)) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := a.objects.Consumers().Get(p["id"])
	if err != nil {
		return err
	}
	page := a.consumerPage(r, &c, false)
	f := pick(&page)
	f.typed(v)
	notice, err := do(&c, f)
	if err == nil {
		return a.done(w, r, page.Path, notice)
	}
	if broker.CodeOf(err) == broker.Conflict {
		f.Changed, f.Open, f.Revision = true, true, c.Revision
		return a.renderConsumer(w, r, http.StatusConflict, page)
	}
	status, err := f.fail(err)
	if err != nil {
		return err
	}
	return a.renderConsumer(w, r, status, page)
}

func (a *Admin) pageRotate(w http.ResponseWriter, r *http.Request, p params) error {
	return a.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Rotate }, func(c *object.Consumer, f *form) (string, error) {
		_, err := a.objects.RotateSubKey(r.Context(), actorOf(r.Context()), c, f.Revision)
		return "The consumer has a new sub_key. The old one is refused from now on", err
	})
}

func (a *Admin) pageClear(w http.ResponseWriter, r *http.Request, p params) error {
	return a.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Clear }, func(c *object.Consumer, f *form) (string, error) {
		if err := f.confirmed(c.Topic); err != nil {
			return "", err
		}
		n, err := a.objects.ClearBacklog(r.Context(), actorOf(r.Context()), c)
		return "The backlog was cleared: " + count(n, "message", "messages"), err
	})
}

func (a *Admin) pageClearInFlight(w http.ResponseWriter, r *http.Request, p params) error {
	return a.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Done }, func(c *object.Consumer, f *form) (string, error) {
		n, err := a.objects.ClearInFlight(r.Context(), actorOf(r.Context()), c)
		return "What was in flight was cleared: " + count(int64(n), "message", "messages"), err
	})
}

func (a *Admin) pageRelease(w http.ResponseWriter, r *http.Request, p params) error {
	return a.onConsumer(w, r, p, func(p *consumerPage) *form { return p.Release }, func(c *object.Consumer, f *form) (string, error) {
		n, err := a.objects.ReleaseInFlight(r.Context(), actorOf(r.Context()), c)
		return "Deliverable at once: " + count(int64(n), "message", "messages"), err
	})
}
