package admin

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"pipit/broker/clip"
)

// producerPages describes the pages of producers.
func (a *Admin) producerPages() *pages[Producer] {
	return &pages[Producer]{
		noun: a.producers(),
		orders: []order{
			{Key: "topic", Label: "Topic"},
			{Key: "client", Label: "Client"},
			{Label: "State"},
			{Label: "Published", Number: true},
			{Key: "last_seen", Label: "Last seen", Down: true},
		},
		example: `{"client": "crm", "topic": "/customer/created"}`,
		lead:    "A producer is a client's permission to publish to a topic.",
		newFields: func(proposed url.Values) []field {
			p := newProducer()
			client := proposed.Get("client")
			return slices.Concat([]field{
				{Name: "client", Label: "Client", Value: client, Required: true, Options: a.usernames(), Hint: "A username", Focus: client == ""},
				{Name: "topic", Label: "Topic", Value: proposed.Get("topic"), Required: true, Options: a.topicNames(), Hint: "Where the client may publish"},
			}, producerFields(&p), []field{{Name: "back", Type: "hidden", Value: proposed.Get("back")}}) // the page that it was asked for on
		},
		editFields: producerFields,
		known: func(f *form, p *Producer) error {
			p.Client, p.Topic = f.get("client"), f.get("topic")
			return a.checkPair(p.Client, p.Topic)
		},
		read: func(f *form, p *Producer) error {
			p.Active = f.on("is_active")
			return nil
		},
		created: func(f *form, p *Producer) (to, notice string) {
			switch f.get("back") {
			case "topic":
				to = topicPath(p.Topic)
			case "client":
				to = clientPath(p.Client)
			default:
				to = producerPath(p.ID)
			}
			return to, "The client " + clip.Input(p.Client) + " may publish to " + clip.Input(p.Topic)
		},
		show: a.pageProducer,
		deletes: func(p *Producer) deletion {
			return deletion{
				lead: "The client " + p.Client + " may not publish to " + p.Topic + " any more. What it has published stays.",
				to:   topicPath(p.Topic), called: p.Client,
			}
		},
	}
}

func producerFields(p *Producer) []field {
	return []field{{Name: "is_active", Label: "Active", Type: "checkbox", Value: onOff(p.Active), Hint: "An inactive producer cannot publish"}}
}

// producerPath is the path of a producer's page.
func producerPath(id uint32) string { return "/admin/producers/" + strconv.FormatUint(uint64(id), 10) }

type producerPage struct {
	Producer
	Back     link
	Commands []command
}

func (a *Admin) pageProducer(w http.ResponseWriter, r *http.Request, p *Producer) error {
	return a.render(w, r, "producer", http.StatusOK, view{
		Title: "Producer " + ofTopic(p.Client, p.Topic), Nav: "producers",
		Data: producerPage{*p, link{"/admin/producers", "Producers"}, a.bases(r).publishCommands(p.Client, p.Topic)},
	})
}
