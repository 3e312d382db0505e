package web

import (
	"net/http"
	"net/url"
	"strconv"

	"pipit/admin/object"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/clip"
)

// producerPages are the pages of producers.
type producerPages struct{ *Site }

// pages describes what they have in common with those of other nouns.
func (pp producerPages) pages() *pages[object.Producer] {
	return &pages[object.Producer]{
		Noun: pp.Objects.Producers(),
		site: pp.Site,
		orders: []order{
			{Key: "topic", Label: "Topic"},
			{Key: "client", Label: "Client"},
			{Label: "State"},
			{Label: "Published", Number: true},
			{Key: "last_seen", Label: "Last seen", Down: true},
		},
		inactive: func(p *object.Producer) *bool { return &p.Inactive },
		example:  `{"client": "crm", "topic": "/customer/created"}`,
		lead:     "A producer is a client's permission to publish to a topic.",
		newFields: func(proposed url.Values) []field {
			p := object.NewProducer()
			fields := pp.proposePair(settingFields(broker.ProducerFields, &p.Producer, true), proposed)
			return append(fields, field{Name: "back", Type: "hidden", Value: proposed.Get("back")}) // the page that it was asked for on
		},
		editFields: func(p *object.Producer) []field { return settingFields(broker.ProducerFields, &p.Producer, false) },
		exists:     pp.checkPair,
		read:       func(f *form, p *object.Producer) error { return readSettings(f, broker.ProducerFields, &p.Producer) },
		created: func(f *form, p *object.Producer) (to, notice string) {
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
		show: pp.pageProducer,
		deletes: func(p *object.Producer) deletion {
			to := topicPath(p.Topic)
			if pp.isPattern(p.Topic) {
				to = "/admin/producers"
			}
			return deletion{
				lead: "The client " + p.Client + " may not publish to " + p.Topic + " any more. What it has published stays.",
				to:   to, called: p.Client,
			}
		},
	}
}

// producerPath is the path of a producer's page.
func producerPath(id uint32) string { return "/admin/producers/" + strconv.FormatUint(uint64(id), 10) }

type producerPage struct {
	object.Producer
	Back     link
	Settings []setting
	Commands []shell.Command
}

func (pp producerPages) pageProducer(w http.ResponseWriter, r *http.Request, p *object.Producer) error {
	var commands []shell.Command
	if !pp.isPattern(p.Topic) {
		commands = pp.bases(r).Publish(p.Client, p.Topic)
	}
	return pp.render(w, r, "producer", http.StatusOK, view{
		Title: "Producer " + object.OfTopic(p.Client, p.Topic), Nav: "producers",
		Data: producerPage{*p, link{"/admin/producers", "Producers"}, settings(broker.ProducerFields, &p.Producer, pp.isPattern), commands},
	})
}
