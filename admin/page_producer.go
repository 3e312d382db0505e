package admin

import (
	"net/http"
	"strconv"

	"pipit/broker"
	"pipit/broker/clip"
)

var producerOrders = []order{
	{Key: "topic", Label: "Topic"},
	{Key: "client", Label: "Client"},
	{Label: "State"},
	{Label: "Published", Number: true},
	{Key: "last_seen", Label: "Last seen", Down: true},
}

type producersPage struct {
	listing
	Items []Producer
}

func (a *Admin) pageProducers(w http.ResponseWriter, r *http.Request, _ params) error {
	if v := r.URL.Query(); v.Has("new") {
		return a.renderNewProducer(w, r, 0, a.newProducerForm(v.Get("topic"), v.Get("client"), v.Get("back")))
	}
	page := producersPage{listing: readListing(r, producerOrders...)}
	l, err := a.listProducers(page.query)
	if err != nil {
		return err
	}
	page.Items = l.Items
	page.found(len(l.Items), l.Total, l.Next)
	page.Example = a.bases(r).createCommand("producers", `{"client": "crm", "topic": "/customer/created"}`)
	return a.render(w, r, "producers", http.StatusOK, view{Title: "Producers", Nav: "producers", Data: page})
}

func (a *Admin) newProducerForm(topic, client, back string) *form {
	return newForm("producer", "/admin/producers", "Create producer",
		field{Name: "client", Label: "Client", Value: client, Required: true, Options: a.usernames(), Hint: "A username", Focus: client == ""},
		field{Name: "topic", Label: "Topic", Value: topic, Required: true, Options: a.topicNames(), Hint: "Where the client may publish"},
		field{Name: "is_active", Label: "Active", Type: "checkbox", Value: checked, Hint: "An inactive producer cannot publish"},
		field{Name: "back", Type: "hidden", Value: back})
}

// producerPath is the path of a producer's page.
func producerPath(id uint32) string { return "/admin/producers/" + strconv.FormatUint(uint64(id), 10) }

func (a *Admin) renderNewProducer(w http.ResponseWriter, r *http.Request, status int, f *form) error {
	return a.renderForm(w, r, status, "producers", "New producer", formPage{
		Back: link{"/admin/producers", "Producers"},
		Lead: "A producer is a client's permission to publish to a topic.",
		Form: f,
	})
}

func (a *Admin) pageCreateProducer(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	p := newProducer()
	p.Client, p.Topic, p.Active = v.Get("client"), v.Get("topic"), v.Get("is_active") == checked
	if err = a.checkPair(p.Client, p.Topic); err == nil {
		p, err = a.createProducer(r.Context(), actorOf(r.Context()), p)
	}
	if err != nil {
		f := a.newProducerForm("", "", "")
		f.typed(v)
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderNewProducer(w, r, status, f)
	}
	to := producerPath(p.ID)
	switch v.Get("back") {
	case "topic":
		to = topicPath(p.Topic)
	case "client":
		to = clientPath(p.Client)
	}
	return a.done(w, r, to, "The client "+clip.Input(p.Client)+" may publish to "+clip.Input(p.Topic))
}

// checkPair returns an error of the field that names no client or topic.
func (a *Admin) checkPair(client, topic string) error {
	if _, ok := a.b.Client(client); !ok {
		return &fieldError{"client", "There is no client of that username"}
	}
	if _, ok := a.b.Topic(topic); !ok {
		return &fieldError{"topic", "There is no topic of that name"}
	}
	return nil
}

type producerPage struct {
	Producer
	Back     link
	Commands []command
}

func (a *Admin) producer(p params) (Producer, error) {
	id, err := parseID(broker.KindProducer, p["id"])
	if err != nil {
		return Producer{}, err
	}
	return a.getProducer(id)
}

func (a *Admin) pageProducer(w http.ResponseWriter, r *http.Request, p params) error {
	x, err := a.producer(p)
	if err != nil {
		return err
	}
	return a.render(w, r, "producer", http.StatusOK, view{
		Title: "Producer " + ofTopic(x.Client, x.Topic), Nav: "producers",
		Data: producerPage{x, link{"/admin/producers", "Producers"}, a.bases(r).publishCommands(x.Client, x.Topic)},
	})
}

func editProducerForm(p *Producer) *form {
	f := newForm("producer", producerPath(p.ID)+"/edit", "Save",
		field{Name: "is_active", Label: "Active", Type: "checkbox", Value: onOff(p.Active), Hint: "An inactive producer cannot publish"})
	f.Revision = p.Revision
	return f
}

func (a *Admin) renderEditProducer(w http.ResponseWriter, r *http.Request, status int, p *Producer, f *form) error {
	name := ofTopic(p.Client, p.Topic)
	return a.renderForm(w, r, status, "producers", "Edit producer "+name, formPage{Back: link{producerPath(p.ID), name}, Form: f})
}

func (a *Admin) pageEditProducer(w http.ResponseWriter, r *http.Request, p params) error {
	x, err := a.producer(p)
	if err != nil {
		return err
	}
	return a.renderEditProducer(w, r, 0, &x, editProducerForm(&x))
}

func (a *Admin) pageSaveProducer(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	x, err := a.producer(p)
	if err != nil {
		return err
	}
	f := editProducerForm(&x)
	f.typed(v)
	_, err = a.editProducer(r.Context(), actorOf(r.Context()), x.ID, f.Revision, func(p *Producer) error {
		p.Active = f.on("is_active")
		return nil
	})
	switch {
	case broker.CodeOf(err) == broker.Conflict:
		if x, err = a.getProducer(x.ID); err != nil {
			return err
		}
		f.conflict(editProducerForm(&x))
		return a.renderEditProducer(w, r, http.StatusConflict, &x, f)
	case err != nil:
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderEditProducer(w, r, status, &x, f)
	}
	return a.done(w, r, producerPath(x.ID), "The producer was saved")
}

func dropProducerPage(p *Producer) formPage {
	name := ofTopic(p.Client, p.Topic)
	page := dropPage(link{producerPath(p.ID), name}, producerPath(p.ID)+"/delete", "", "", "", p.Revision, Deleted{})
	page.Lead = "The client " + p.Client + " may not publish to " + p.Topic + " any more. What it has published stays."
	return page
}

func (a *Admin) pageDropProducer(w http.ResponseWriter, r *http.Request, p params) error {
	x, err := a.producer(p)
	if err != nil {
		return err
	}
	return a.renderForm(w, r, 0, "producers", "Delete producer "+ofTopic(x.Client, x.Topic), dropProducerPage(&x))
}

func (a *Admin) pageDeleteProducer(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	x, err := a.producer(p)
	if err != nil {
		return err
	}
	page := dropProducerPage(&x)
	page.Form.typed(v)
	if _, err = a.deleteProducer(r.Context(), actorOf(r.Context()), x.ID, page.Form.Revision); err != nil {
		return a.renderUndeleted(w, r, err, "producers", "Delete producer "+ofTopic(x.Client, x.Topic), page, x.Revision)
	}
	return a.done(w, r, topicPath(x.Topic), "The producer "+clip.Input(x.Client)+" was deleted")
}
