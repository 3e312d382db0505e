package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"pipit/broker"
)

// topicPages describes the pages of topics.
func (a *Admin) topicPages() *pages[Topic] {
	return &pages[Topic]{
		noun: a.topics(),
		orders: []order{
			{Key: "name", Label: "Topic"},
			{Label: "State"},
			{Key: "depth", Label: "Depth", Number: true, Down: true},
			{Label: "Delayed", Number: true},
			{Key: "producers", Label: "Producers", Number: true, Down: true},
			{Key: "consumers", Label: "Consumers", Number: true, Down: true},
			{Key: "last_publish", Label: "Last publish", Down: true},
		},
		example: `{"name": "/customer/created"}`,
		newFields: func(proposed url.Values) []field {
			t := newTopic()
			return append([]field{{Name: "name", Label: "Name", Value: proposed.Get("name"), Required: true, Hint: "Such as /customer/created", Focus: true}}, topicFields(&t)...)
		},
		editFields: topicFields,
		known: func(f *form, t *Topic) error {
			t.Name = f.get("name")
			return nil
		},
		read: readTopic,
		show: a.pageTopic,
		deletes: func(t *Topic) deletion {
			return deletion{
				lead:  "This deletes the topic " + t.Name + ". It cannot be undone.",
				label: "Type the topic's name to confirm", expected: t.Name,
				to: "/admin/topics", called: t.Name,
			}
		},
	}
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

// readTopic brings a topic to what was typed.
func readTopic(f *form, t *Topic) (err error) {
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

// topicPath is the path of a topic's page.
func topicPath(name string) string { return "/admin/topics/" + segment(name) }

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

func (a *Admin) pageTopic(w http.ResponseWriter, r *http.Request, t *Topic) (err error) {
	page := topicPage{Topic: *t, Back: link{"/admin/topics", "Topics"}, History: "/admin/history?" + url.Values{"topic": {t.Name}}.Encode()}
	page.ExpiresAfter = time.Duration(t.Expiration) * time.Second
	page.Range = rangeHour
	if r.URL.Query().Get("range") == rangeDay {
		page.Range = rangeDay
	}
	if page.ProducerList, err = a.producers().list(query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = a.consumers().list(query{Topic: t.Name, Sort: "client", Limit: maxBeside}); err != nil {
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

// publishedURL is the page of a topic that tells of a message that was published.
func publishedURL(topic, id string) string {
	return fmt.Sprintf("%s?%s", topicPath(topic), url.Values{"published": {id}}.Encode())
}
