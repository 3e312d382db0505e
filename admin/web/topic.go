package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker"
	"pipit/broker/limit"
)

// topicPages are the pages of topics.
type topicPages struct{ *Site }

// pages describes what they have in common with those of other nouns.
func (tp topicPages) pages() *pages[object.Topic] {
	return &pages[object.Topic]{
		Noun: tp.Objects.Topics(),
		site: tp.Site,
		orders: []order{
			{Key: "name", Label: "Topic"},
			{Label: "State"},
			{Key: "depth", Label: "Depth", Number: true, Down: true},
			{Label: "Delayed", Number: true, Minor: true},
			{Key: "producers", Label: "Producers", Number: true, Down: true, Minor: true},
			{Key: "consumers", Label: "Consumers", Number: true, Down: true},
			{Key: "last_publish", Label: "Last publish", Down: true},
		},
		inactive: func(t *object.Topic) *bool { return &t.Inactive },
		example:  `{"name": "/customer/created"}`,
		newFields: func(proposed url.Values) []field {
			t := object.NewTopic()
			t.Name = proposed.Get("name")
			if proposed.Has("new") { // where the form is asked for: a request that says nothing has the minute of the protocol
				t.Expiration = object.ConnectExpiration
			}
			fields := settingFields(broker.TopicFields, &t.Topic, true)
			fields[0].Focus = true
			fields[slices.IndexFunc(fields, func(x field) bool { return x.Name == "expiration" })].Hint = "Of messages that do not say themselves: 60s, 24h, 7d. What nobody has fetched by then is lost. 0: they do not expire"
			return fields
		},
		editFields: func(t *object.Topic) []field {
			return slices.DeleteFunc(settingFields(broker.TopicFields, &t.Topic, false), func(f field) bool {
				return f.Name == "max_topics" && !t.AutoCreate
			})
		},
		read: func(f *form, t *object.Topic) error { return readSettings(f, broker.TopicFields, &t.Topic) },
		show: tp.pageTopic,
		deletes: func(t *object.Topic) deletion {
			if t.AutoCreate {
				return deletion{
					lead: "This deletes the template " + t.Name + ". The topics that it has made stay.",
					to:   "/admin/topics", called: t.Name,
				}
			}
			return deletion{
				lead:  "This deletes the topic " + t.Name + ". For ten minutes it can be brought back, but not its messages.",
				label: "Type the topic's name to confirm", expected: t.Name,
				to: "/admin/topics", called: t.Name,
			}
		},
	}
}

// topicPath is the path of a topic's page.
func topicPath(name string) string { return "/admin/topics/" + text.Segment(name) }

// maxBeside is how many producers and consumers stand on the page of their topic or client.
const maxBeside = 20

// topicStats are the figures of a topic's page.
type topicStats struct{ object.Topic }

// Retains tells whether it keeps what nobody needs, or has some.
func (t topicStats) Retains() bool {
	return t.Retained > 0 || t.Retention > 0 || t.RetentionBytes > 0
}

type topicPage struct {
	topicStats
	Back          link
	History       string // URL of its rates
	Range         string // of the charts
	Settings      []setting
	ProducerList  gate.List[object.Producer]
	ConsumerList  gate.List[object.Consumer]
	AddProducer   *form
	AddConsumer   *form
	Publisher     string // username of a producer
	ByPattern     string // of which it is one; empty: of the topic
	Commands      []shell.Command
	PublishedID   string // what was published a moment ago
	PublishedGone bool   // and is needed no more
	FailsHere     int    // consumers whose dead letters it gets
	Refusals      []monitor.RefusalGroup
}

// topicSettings are those of a topic, or of a template.
func topicSettings(t *object.Topic, isPattern func(string) bool) []setting {
	list := settings(broker.TopicFields, &t.Topic, isPattern)
	if t.AutoCreate {
		return list
	}
	list = slices.DeleteFunc(list, func(s setting) bool { return s.Name == "auto_create" || s.Name == "max_topics" })
	if t.Template != "" {
		list = append(list, setting{Name: "template", Label: "Made by the template", Text: t.Template, URL: topicPath(t.Template)})
	}
	return list
}

// templatePage is the page of a template of topics.
type templatePage struct {
	object.Topic
	Back         link
	Settings     []setting
	MadeList     gate.List[object.Topic]
	ProducerList gate.List[object.Producer]
	ConsumerList gate.List[object.Consumer]
}

func (tp topicPages) pageTemplate(w http.ResponseWriter, r *http.Request, t *object.Topic) (err error) {
	page := templatePage{Topic: *t, Back: link{"/admin/topics", "Topics"}, Settings: topicSettings(t, tp.isPattern)}
	if page.MadeList, err = tp.Objects.Topics().List(gate.Query{Template: t.Name, Limit: maxBeside}); err != nil {
		return err
	}
	if page.ProducerList, err = tp.Objects.Producers().List(gate.Query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = tp.Objects.Consumers().List(gate.Query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	return tp.render(w, r, "topic_template", http.StatusOK, view{Title: t.Name, Nav: "topics", Data: page})
}

func (tp topicPages) pageTopic(w http.ResponseWriter, r *http.Request, t *object.Topic) (err error) {
	if t.AutoCreate {
		return tp.pageTemplate(w, r, t)
	}
	page := topicPage{topicStats: topicStats{*t}, Back: link{"/admin/topics", "Topics"}, Settings: topicSettings(t, tp.isPattern), History: "/admin/history?" + url.Values{"topic": {t.Name}}.Encode()}
	all := tp.Broker.Consumers()
	for i := range all {
		if all[i].DeadLetterTopic == t.Name {
			page.FailsHere++
		}
	}
	page.Refusals = tp.refusedLately(monitor.RefusalFilter{Topic: t.Name})
	page.Range = rangeOf(r)
	if page.ProducerList, err = tp.Objects.Producers().List(gate.Query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = tp.Objects.Consumers().List(gate.Query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	names := tp.usernames()
	page.AddProducer = newForm("add-producer", "/admin/producers", "Add producer",
		settingField(broker.ProducerFields, "client", names),
		field{Name: "topic", Type: "hidden", Value: t.Name},
		field{Name: "is_active", Type: "hidden", Value: checked},
		field{Name: "back", Type: "hidden", Value: "topic"})
	page.AddConsumer = newForm("add-consumer", "/admin/consumers", "Add consumer",
		settingField(broker.ConsumerFields, "client", names),
		settingField(broker.ConsumerFields, "start", nil),
		field{Name: "topic", Type: "hidden", Value: t.Name},
		field{Name: "is_active", Type: "hidden", Value: checked})
	if page.Publisher, page.ByPattern = tp.publisher(t.Name); page.Publisher != "" {
		page.Commands = tp.bases(r).Publish(page.Publisher, t.Name)
	}
	if id := r.URL.Query().Get("published"); limit.CheckMessageID(id) == nil {
		page.PublishedID = id
		_, _, err := tp.Broker.Message(t.Name, id)
		page.PublishedGone = err != nil
	}
	return tp.render(w, r, "topic", http.StatusOK, view{Title: t.Name, Nav: "topics", Data: page,
		Live: liveURL("topic", t.Name, partNames(page.ProducerList.Items), partNames(page.ConsumerList.Items))})
}

// publishedURL is the page of a topic that tells of a message that was published.
func publishedURL(topic, id string) string {
	return fmt.Sprintf("%s?%s", topicPath(topic), url.Values{"published": {id}}.Encode())
}
