package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
	"pipit/broker/clip"
)

// objectRoutes are the pages of topics, clients, producers, consumers and messages.
func (a *Admin) objectRoutes() []route {
	return []route{
		{"GET", "/admin/topics", a.pageTopics, read},
		{"POST", "/admin/topics", a.pageCreateTopic, write},
		{"GET", "/admin/topics/:name", a.pageTopic, read},
		{"GET", "/admin/topics/:name/edit", a.pageEditTopic, read},
		{"POST", "/admin/topics/:name/edit", a.pageSaveTopic, write},
		{"GET", "/admin/topics/:name/delete", a.pageDropTopic, read},
		{"POST", "/admin/topics/:name/delete", a.pageDeleteTopic, write},
		{"GET", "/admin/topics/:name/publish", a.pageCompose, read},
		{"POST", "/admin/topics/:name/publish", a.pagePublish, write},

		{"GET", "/admin/clients", a.pageClients, read},
		{"POST", "/admin/clients", a.pageCreateClient, write},
		{"GET", "/admin/clients/:username", a.pageClient, read},
		{"GET", "/admin/clients/:username/edit", a.pageEditClient, read},
		{"POST", "/admin/clients/:username/edit", a.pageSaveClient, write},
		{"GET", "/admin/clients/:username/delete", a.pageDropClient, read},
		{"POST", "/admin/clients/:username/delete", a.pageDeleteClient, write},

		{"GET", "/admin/producers", a.pageProducers, read},
		{"POST", "/admin/producers", a.pageCreateProducer, write},
		{"GET", "/admin/producers/:id", a.pageProducer, read},
		{"GET", "/admin/producers/:id/edit", a.pageEditProducer, read},
		{"POST", "/admin/producers/:id/edit", a.pageSaveProducer, write},
		{"GET", "/admin/producers/:id/delete", a.pageDropProducer, read},
		{"POST", "/admin/producers/:id/delete", a.pageDeleteProducer, write},

		{"GET", "/admin/consumers", a.pageConsumers, read},
		{"POST", "/admin/consumers", a.pageCreateConsumer, write},
		{"GET", "/admin/consumers/:id", a.pageConsumer, read},
		{"GET", "/admin/consumers/:id/edit", a.pageEditConsumer, read},
		{"POST", "/admin/consumers/:id/edit", a.pageSaveConsumer, write},
		{"GET", "/admin/consumers/:id/delete", a.pageDropConsumer, read},
		{"POST", "/admin/consumers/:id/delete", a.pageDeleteConsumer, write},
		{"POST", "/admin/consumers/:id/rotate", a.pageRotate, write},
		{"POST", "/admin/consumers/:id/clear", a.pageClear, write},
		{"POST", "/admin/consumers/:id/clear-in-flight", a.pageClearInFlight, write},
		{"POST", "/admin/consumers/:id/release", a.pageRelease, write},

		{"GET", "/admin/messages", a.pageMessages, read},
		{"POST", "/admin/messages", a.pageDeleteMessages, write},
		{"GET", "/admin/messages/:topic/:id", a.pageMessage, read},
		{"POST", "/admin/messages/:topic/:id/delete", a.pageDeleteMessage, write},
		{"POST", "/admin/messages/:topic/:id/release", a.pageReleaseMessage, write},
		{"GET", "/admin/messages/:topic/:id/publish", a.pageRecompose, read},
		{"POST", "/admin/messages/:topic/:id/publish", a.pageRepublish, write},
	}
}

// formPage is a page that holds nothing but a form.
type formPage struct {
	Back link
	Lead string
	Lost []string // what goes with what is deleted
	Form *form
}

type link struct{ URL, Label string }

// renderForm answers with a page of a form. status is 0 where it is shown for the first time.
func (a *Admin) renderForm(w http.ResponseWriter, r *http.Request, status int, nav, title string, p formPage) error {
	if status == 0 {
		status = http.StatusOK
	}
	return a.render(w, r, "object", status, view{Title: title, Nav: nav, Data: p})
}

// dropPage asks whether something shall be deleted. expected is the name to be typed, empty where
// nothing is lost that would be worth it.
func dropPage(back link, action, what, label, expected, revision string, lost Deleted) formPage {
	p := formPage{Back: back, Lead: "This deletes " + what + ". It cannot be undone."}
	if lost.Producers > 0 {
		p.Lost = append(p.Lost, count(int64(lost.Producers), "producer", "producers"))
	}
	if lost.Consumers > 0 {
		p.Lost = append(p.Lost, count(int64(lost.Consumers), "consumer with its queue", "consumers with their queues"))
	}
	if lost.Messages > 0 {
		p.Lost = append(p.Lost, count(lost.Messages, "message that somebody still needs", "messages that somebody still needs"))
	}
	if expected != "" {
		p.Form = confirm("delete", action, "Delete for good", label, expected)
	} else {
		p.Form = newForm("delete", action, "Delete")
		p.Form.Danger = true
	}
	p.Form.Revision = revision
	return p
}

// count is a number with what it counts.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return num(n) + " " + many
}

var topicOrders = []order{
	{Key: "name", Label: "Topic"},
	{Label: "State"},
	{Key: "depth", Label: "Depth", Number: true, Down: true},
	{Label: "Delayed", Number: true},
	{Key: "producers", Label: "Producers", Number: true, Down: true},
	{Key: "consumers", Label: "Consumers", Number: true, Down: true},
	{Key: "last_publish", Label: "Last publish", Down: true},
}

type topicsPage struct {
	listing
	Items []Topic
}

func (a *Admin) pageTopics(w http.ResponseWriter, r *http.Request, _ params) error {
	if r.URL.Query().Has("new") {
		return a.renderNewTopic(w, r, 0, newTopicForm(r.URL.Query().Get("name")))
	}
	page := topicsPage{listing: readListing(r, topicOrders...)}
	l, err := a.listTopics(page.query)
	if err != nil {
		return err
	}
	page.Items = l.Items
	page.found(len(l.Items), l.Total, l.Next)
	page.Example = a.bases(r).createCommand("topics", `{"name": "/customer/created"}`)
	return a.render(w, r, "topics", http.StatusOK, view{Title: "Topics", Nav: "topics", Data: page})
}

func topicFields(t *Topic) []field {
	return []field{
		{Name: "max_depth", Label: "Max depth", Type: "number", Value: strconv.FormatInt(t.MaxDepth, 10), Required: true, Min: "1",
			Hint: "Messages that some consumer still needs. Past it, publishers get 429"},
		{Name: "expiration", Label: "Expiration", Type: "number", Value: strconv.FormatInt(t.Expiration, 10), Required: true, Min: "0",
			Hint: "Seconds, for messages that do not say. 0: they do not expire"},
		{Name: "dedup_window", Label: "Deduplication window", Value: t.DedupWindow.String(), Required: true,
			Hint: "How long a publisher's own msg_id is remembered: 5m, 24h, 0s for not at all"},
		{Name: "is_active", Label: "Active", Type: "checkbox", Value: onOff(t.Active), Hint: "An inactive topic is refused to everybody"},
	}
}

func onOff(on bool) string {
	if on {
		return checked
	}
	return ""
}

func newTopicForm(name string) *form {
	t := newTopic()
	fields := append([]field{{Name: "name", Label: "Name", Value: name, Required: true, Hint: "Such as /customer/created", Focus: true}}, topicFields(&t)...)
	return newForm("topic", "/admin/topics", "Create topic", fields...)
}

func editTopicForm(t *Topic) *form {
	f := newForm("topic", topicPath(t.Name)+"/edit", "Save", topicFields(t)...)
	f.Revision = t.Revision
	return f
}

// topicPath is the path of a topic's page.
func topicPath(name string) string { return "/admin/topics/" + segment(name) }

// readTopic brings a topic to what was typed.
func (f *form) readTopic(t *TopicDefinition) (err error) {
	t.Active = f.on("is_active")
	if t.MaxDepth, err = f.number("max_depth", broker.DefaultMaxDepth); err != nil {
		return err
	}
	if t.Expiration, err = f.number("expiration", 0); err != nil {
		return err
	}
	t.DedupWindow, err = f.duration("dedup_window")
	return err
}

// duration returns the duration that was typed. A bare number is seconds.
func (f *form) duration(name string) (Duration, error) {
	s := strings.TrimSpace(f.get(name))
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return Duration(time.Duration(n) * time.Second), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, &fieldError{name, "Allowed are durations such as 30s, 5m, 1h30m"}
	}
	return Duration(d), nil
}

func (a *Admin) renderNewTopic(w http.ResponseWriter, r *http.Request, status int, f *form) error {
	return a.renderForm(w, r, status, "topics", "New topic", formPage{Back: link{"/admin/topics", "Topics"}, Form: f})
}

func (a *Admin) pageCreateTopic(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := newTopicForm("")
	f.typed(v)
	t := newTopic()
	t.Name = f.get("name")
	if err = f.readTopic(&t.TopicDefinition); err == nil {
		t, err = a.createTopic(r.Context(), actorOf(r.Context()), t)
	}
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderNewTopic(w, r, status, f)
	}
	return a.done(w, r, topicPath(t.Name), "The topic was created")
}

// maxBeside is how many producers and consumers stand on the page of their topic or client.
const maxBeside = 20

type topicPage struct {
	Topic
	Back          link
	History       string // URL of its rates
	Range         string // of the charts
	ExpiresAfter  time.Duration
	ProducerList  list[Producer]
	ConsumerList  list[Consumer]
	AddProducer   *form
	AddConsumer   *form
	Publisher     string // username of a producer
	Commands      []command
	PublishedID   string // what was published a moment ago
	PublishedGone bool   // and is needed no more
}

func (a *Admin) pageTopic(w http.ResponseWriter, r *http.Request, p params) error {
	t, err := a.getTopic(unsegment(p["name"]))
	if err != nil {
		return err
	}
	page := topicPage{Topic: t, Back: link{"/admin/topics", "Topics"}, History: "/admin/history?" + url.Values{"topic": {t.Name}}.Encode()}
	page.ExpiresAfter = time.Duration(t.Expiration) * time.Second
	page.Range = rangeHour
	if r.URL.Query().Get("range") == rangeDay {
		page.Range = rangeDay
	}
	if page.ProducerList, err = a.listProducers(query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = a.listConsumers(query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	names := a.usernames()
	page.AddProducer = newForm("add-producer", "/admin/producers", "Add producer",
		field{Name: "client", Label: "Client", Required: true, Options: names, Hint: "A username"},
		field{Name: "topic", Type: "hidden", Value: t.Name},
		field{Name: "is_active", Type: "hidden", Value: checked},
		field{Name: "back", Type: "hidden", Value: "topic"})
	page.AddConsumer = newForm("add-consumer", "/admin/consumers", "Add consumer",
		field{Name: "client", Label: "Client", Required: true, Options: names, Hint: "A username"},
		startField(StartTail),
		field{Name: "topic", Type: "hidden", Value: t.Name},
		field{Name: "is_active", Type: "hidden", Value: checked})
	for _, x := range page.ProducerList.Items {
		if x.Active {
			page.Publisher = x.Client
			page.Commands = a.bases(r).publishCommands(x.Client, t.Name)
			break
		}
	}
	if id := r.URL.Query().Get("published"); broker.CheckMessageID(id) == nil {
		page.PublishedID = id
		_, _, err := a.b.Message(t.Name, id)
		page.PublishedGone = err != nil
	}
	return a.render(w, r, "topic", http.StatusOK, view{Title: t.Name, Nav: "topics", Data: page})
}

func (a *Admin) pageEditTopic(w http.ResponseWriter, r *http.Request, p params) error {
	t, err := a.getTopic(unsegment(p["name"]))
	if err != nil {
		return err
	}
	return a.renderEditTopic(w, r, 0, &t, editTopicForm(&t))
}

func (a *Admin) renderEditTopic(w http.ResponseWriter, r *http.Request, status int, t *Topic, f *form) error {
	return a.renderForm(w, r, status, "topics", "Edit topic "+t.Name, formPage{Back: link{topicPath(t.Name), t.Name}, Form: f})
}

func (a *Admin) pageSaveTopic(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	t, err := a.getTopic(unsegment(p["name"]))
	if err != nil {
		return err
	}
	f := editTopicForm(&t)
	f.typed(v)
	_, err = a.editTopic(r.Context(), actorOf(r.Context()), t.Name, f.Revision, func(t *Topic) error { return f.readTopic(&t.TopicDefinition) })
	switch {
	case broker.CodeOf(err) == broker.Conflict:
		if t, err = a.getTopic(t.Name); err != nil {
			return err
		}
		f.conflict(editTopicForm(&t))
		return a.renderEditTopic(w, r, http.StatusConflict, &t, f)
	case err != nil:
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderEditTopic(w, r, status, &t, f)
	}
	return a.done(w, r, topicPath(t.Name), "The topic was saved")
}

func (a *Admin) dropTopicPage(t *Topic) (formPage, error) {
	lost, err := a.whatGoes(broker.KindTopic, t.Name)
	return dropPage(link{topicPath(t.Name), t.Name}, topicPath(t.Name)+"/delete", "the topic "+t.Name, "Type the topic's name to confirm", t.Name, t.Revision, lost), err
}

func (a *Admin) pageDropTopic(w http.ResponseWriter, r *http.Request, p params) error {
	t, err := a.getTopic(unsegment(p["name"]))
	if err != nil {
		return err
	}
	page, err := a.dropTopicPage(&t)
	if err != nil {
		return err
	}
	return a.renderForm(w, r, 0, "topics", "Delete topic "+t.Name, page)
}

func (a *Admin) pageDeleteTopic(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	t, err := a.getTopic(unsegment(p["name"]))
	if err != nil {
		return err
	}
	page, err := a.dropTopicPage(&t)
	if err != nil {
		return err
	}
	page.Form.typed(v)
	var gone Deleted
	if err = page.Form.confirmed(t.Name); err == nil {
		gone, err = a.deleteTopic(r.Context(), actorOf(r.Context()), t.Name, page.Form.Revision)
	}
	if err != nil {
		return a.renderUndeleted(w, r, err, "topics", "Delete topic "+t.Name, page, t.Revision)
	}
	return a.done(w, r, "/admin/topics", "The topic "+clip.Input(t.Name)+" was deleted"+with(gone))
}

// renderUndeleted answers where something was not deleted. revision is what it has now.
func (a *Admin) renderUndeleted(w http.ResponseWriter, r *http.Request, err error, nav, title string, page formPage, revision string) error {
	f := page.Form
	if broker.CodeOf(err) == broker.Conflict {
		f.Changed, f.Revision = true, revision
		return a.renderForm(w, r, http.StatusConflict, nav, title, page)
	}
	status, err := f.fail(err)
	if err != nil {
		return err
	}
	return a.renderForm(w, r, status, nav, title, page)
}

// with tells what went with something.
func with(d Deleted) string {
	var parts []string
	if d.Producers > 0 {
		parts = append(parts, count(int64(d.Producers), "producer", "producers"))
	}
	if d.Consumers > 0 {
		parts = append(parts, count(int64(d.Consumers), "consumer", "consumers"))
	}
	if d.Messages > 0 {
		parts = append(parts, count(d.Messages, "message", "messages"))
	}
	if len(parts) == 0 {
		return ""
	}
	return ", with " + strings.Join(parts, ", ")
}

// publishedURL is the page of a topic that tells of a message that was published.
func publishedURL(topic, id string) string {
	return fmt.Sprintf("%s?%s", topicPath(topic), url.Values{"published": {id}}.Encode())
}
