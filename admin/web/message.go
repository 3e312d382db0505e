package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/payload"
	"pipit/broker"
)

// states are those of a message, as people read them.
var states = []option{
	{string(broker.StateWaiting), "waiting"},
	{string(broker.StateInFlight), "in flight"},
	{string(broker.StateDeferred), "deferred"},
	{string(broker.StateDelayed), "delayed"},
}

// messagePath is the path of a message's page.
func messagePath(topic, id string) string {
	return "/admin/messages/" + text.Segment(topic) + "/" + text.Segment(id)
}

// messagesPage shows messages of a topic or a consumer.
type messagesPage struct {
	Form     *form
	Topic    string // empty: none was chosen
	Client   string // of the consumer, where one was chosen
	Consumer uint32
	Pattern  bool // Topic is one, that of the consumer
	Filtered bool
	Text     bool // a text is looked for
	Items    []messageRow
	Scanned  int
	From, To int
	First    string // URLs; empty where there are none
	Next     string
	Query    string         // what was asked for
	Command  string         // that publishes, where there is nothing
	Busiest  []object.Topic // where messages are, without a topic
	Redrive  string         // URL of the page that moves dead letters back, where there are some
}

type messageRow struct {
	broker.Stored
	Path    string
	Preview string
	Binary  bool
	Failed  *deadLetter // where it did; nil: it is no dead letter
}

func messagesForm(consumers []option, topics []option) *form {
	priorities := []option{{"", "all"}}
	for n := broker.MaxPriority; n >= broker.MinPriority; n-- {
		priorities = append(priorities, option{strconv.Itoa(n), strconv.Itoa(n)})
	}
	return newForm("find", "/admin/messages", "Show messages",
		field{Name: "topic", Label: "Topic", Options: topics},
		field{Name: "consumer", Label: "Consumer", Type: "select", Options: append([]option{{"", "all"}}, consumers...)},
		field{Name: "state", Label: "State", Type: "select", Options: append([]option{{"", "all but delayed"}}, states...)},
		field{Name: "priority", Label: "Priority", Type: "select", Options: priorities},
		field{Name: "since", Label: "Since (UTC)", Type: "datetime-local"},
		field{Name: "until", Label: "Until (UTC)", Type: "datetime-local"},
		field{Name: "text", Label: "Text in the payload"},
		field{Name: "id", Label: "Message ID or correlation ID"})
}

// consumersOf returns a topic's consumers as options, the chosen one always among them.
func (mp messagePages) consumersOf(topic string, chosen uint32) []option {
	var options []option
	all := mp.Broker.Consumers()
	for i := range all {
		c := &all[i]
		if c.Topic == topic && (len(options) < maxProposals || c.ID == chosen) {
			id := strconv.FormatUint(uint64(c.ID), 10)
			options = append(options, option{id, c.Client + " (" + id + ")"})
		}
	}
	return options
}

// messagePages are the pages of messages, and the forms that publish them.
type messagePages struct{ *Site }

func (mp messagePages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/messages", mp.pageMessages, gate.Read),
		gate.Post("/admin/messages", mp.postDeleteMessages, gate.Write),
		gate.Get("/admin/messages/:topic/:id", mp.pageMessage, gate.Read),
		gate.Post("/admin/messages/:topic/:id/delete", mp.postDeleteMessage, gate.Write),
		gate.Post("/admin/messages/:topic/:id/release", mp.postReleaseMessage, gate.Write),
		gate.Get("/admin/messages/:topic/:id/publish", mp.pageRecompose, gate.Read),
		gate.Post("/admin/messages/:topic/:id/publish", mp.postRepublish, gate.Write),
		gate.Post("/admin/messages/:topic/:id/redrive", mp.postRedriveMessage, gate.Write),
		gate.Get("/admin/topics/:name/redrive", mp.pageRedrive, gate.Read),
		gate.Post("/admin/topics/:name/redrive", mp.postRedrive, gate.Write),
		gate.Get("/admin/topics/:name/publish", mp.pageCompose, gate.Read),
		gate.Post("/admin/topics/:name/publish", mp.postPublish, gate.Write),
	}
}

func (mp messagePages) pageMessages(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v := r.URL.Query()
	page := messagesPage{Topic: v.Get("topic")}
	if s := v.Get("consumer"); s != "" {
		c, err := mp.Objects.Consumers().LookUp(s)
		switch {
		case err != nil:
			return err
		case page.Topic == "" || page.Topic == c.Topic:
			page.Consumer, page.Client, page.Topic = c.ID, c.Client, c.Topic
		default: // another topic was typed: the consumer is none of its own
			v.Del("consumer")
		}
	}
	v.Set("topic", page.Topic)
	page.Form = messagesForm(mp.consumersOf(page.Topic, page.Consumer), mp.topicNames())
	page.Form.typed(v)
	status, err := http.StatusOK, error(nil)
	if id := strings.TrimSpace(v.Get("id")); id != "" {
		topic, err := mp.findMessage(page.Topic, id)
		if err == nil {
			http.Redirect(w, r, messagePath(topic, id), http.StatusSeeOther) // #nosec G710 -- a path of ours, with the names escaped
			return nil
		}
		if found, e := mp.findGone(w, r, page.Topic, id); found || e != nil {
			return e
		}
		if status, err = page.Form.fail(err); err != nil {
			return err
		}
	} else if page.Topic != "" {
		if err = mp.browseTo(r, &page, v); err != nil {
			if broker.CodeOf(err) == broker.NotFound {
				err = &fieldError{"topic", "There is no topic of that name"}
			}
			if status, err = page.Form.fail(err); err != nil {
				return err
			}
			page.Topic = ""
		}
	}
	if page.Topic == "" {
		l, err := mp.Objects.Topics().List(gate.Query{Sort: "depth", Desc: true, Limit: 10})
		if err != nil {
			return err
		}
		page.Busiest = slices.DeleteFunc(l.Items, func(t object.Topic) bool { return t.Depth+t.Delayed == 0 })
	}
	return mp.render(w, r, "messages", status, view{Title: "Messages", Nav: "messages", Data: page})
}

// browseTo fills a page with what the query asks for.
func (mp messagePages) browseTo(r *http.Request, page *messagesPage, v url.Values) (err error) {
	o := broker.BrowseOptions{
		Topic: page.Topic, Consumer: page.Consumer, State: broker.State(v.Get("state")),
		Text: v.Get("text"), Limit: pageSize, Cursor: v.Get("cursor"), Payload: payload.PreviewLength,
	}
	if page.Pattern = page.Consumer != 0 && mp.isPattern(page.Topic); page.Pattern {
		o.Topic = "" // all topics that it has
	}
	priority, err := page.Form.number("priority", 0)
	if err != nil {
		return err
	}
	o.Priority = int(priority)
	if o.Since, err = page.Form.time("since"); err != nil {
		return err
	}
	if o.Until, err = page.Form.time("until"); err != nil {
		return err
	}
	found, err := mp.Objects.Browse(r.Context(), o)
	if err != nil {
		return err
	}
	for _, m := range found.Messages {
		page.Items = append(page.Items, messageRow{
			Stored: m, Path: messagePath(m.Topic, m.ID), Preview: payload.Preview(m.Payload, m.Size), Binary: !payload.IsText(object.WholeRunes(m.Payload)),
			Failed: deadLetterOf(&m),
		})
		if m.Extra != nil && m.Extra.DeadLetter != nil && !page.Pattern {
			page.Redrive = redrivePath(page.Topic)
		}
	}
	page.Scanned = found.Scanned
	page.Text = o.Text != ""
	page.Filtered = page.Text || o.Priority != 0 || o.State != "" || !o.Since.IsZero() || !o.Until.IsZero()
	if o.Cursor != "" {
		page.From, _ = strconv.Atoi(v.Get("from"))
		page.From = max(0, page.From)
	}
	page.To = page.From + len(page.Items)

	for name := range v {
		if page.Form.field(name) == nil || v.Get(name) == "" {
			v.Del(name)
		}
	}
	page.Query = v.Encode()
	if o.Cursor != "" {
		page.First = "?" + page.Query
	}
	if found.Next != "" {
		v.Set("cursor", found.Next)
		v.Set("from", strconv.Itoa(page.To))
		page.Next = "?" + v.Encode()
	}
	if len(page.Items) > 0 {
		page.From++
		return nil
	}
	if page.Pattern {
		return nil
	}
	if client, _ := mp.publisher(page.Topic); client != "" {
		page.Command = mp.bases(r).Publish(client, page.Topic)[0].Line
	}
	return nil
}

// time returns the time that was typed, in UTC where it says no zone; the zero time where none was.
func (f *form) time(name string) (time.Time, error) {
	s := strings.TrimSpace(f.get(name))
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02"} {
		if t, err := time.Parse(layout, strings.Replace(s, " ", "T", 1)); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, &fieldError{name, "Allowed are times such as 2006-01-02T15:04, in UTC"}
}

// maxFind bounds the topics in which a message is looked for when none is given.
const maxFind = 1000

// findMessage returns the topic of a message. With an empty topic it looks at those that have
// messages.
func (mp messagePages) findMessage(topic, id string) (string, error) {
	if err := broker.CheckMessageID(id); err != nil {
		return "", &fieldError{"id", sentence(err.Error())}
	}
	if topic != "" {
		_, _, err := mp.Broker.Message(topic, id)
		if broker.CodeOf(err) == broker.NotFound {
			err = &fieldError{"id", "The topic has no such message, or has it no more"}
		}
		return topic, err
	}
	looked := 0
	for _, t := range mp.Broker.Topics() {
		if t.Depth+t.Delayed == 0 {
			continue
		}
		if looked++; looked > maxFind {
			return "", &fieldError{"topic", "There are too many topics to look at all of them: which one?"}
		}
		if _, _, err := mp.Broker.Message(t.Name, id); err == nil {
			return t.Name, nil
		} else if broker.CodeOf(err) != broker.NotFound {
			return "", err
		}
	}
	return "", &fieldError{"id", "No topic has such a message, or has it any more"}
}

func (mp messagePages) postDeleteMessages(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	back, err := url.ParseQuery(v.Get("back"))
	if err != nil {
		back = url.Values{"topic": {v.Get("topic")}}
	}
	to := "/admin/messages?" + back.Encode()
	if len(v["id"]) == 0 {
		return mp.done(w, r, to, "No message was chosen: nothing was done")
	}
	if v.Get("redrive") == checked {
		done, err := mp.Objects.Redrive(r.Context(), gate.ActorOf(r.Context()), v.Get("topic"), broker.Redrive{IDs: v["id"]})
		if err != nil {
			return err
		}
		return mp.done(w, r, to, redriven(done))
	}
	n, err := mp.Objects.DeleteMessages(r.Context(), gate.ActorOf(r.Context()), v.Get("topic"), v["id"])
	if err != nil {
		return err
	}
	return mp.done(w, r, to, "Deleted: "+text.Count(int64(n), "message", "messages"))
}

// maxStandings is how many consumers of a message its page shows, those first that still need it.
const maxStandings = 100

type messagePage struct {
	object.Message
	Lives     []life
	Back      link
	Path      string
	Download  string
	Shown     payload.View
	Standings []object.Standing
	Consumers int // all of them
	Pending   int // consumers that are not done with it
	CanFree   bool
	Names     []string // of its attributes
	Failed    *deadLetter
}

// message returns the message that a path names.
func (mp messagePages) message(p gate.Params) (object.Message, []object.Standing, error) {
	return mp.Objects.Message(text.Unsegment(p["topic"]), text.Unsegment(p["id"]))
}

func (mp messagePages) pageMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	m, standings, err := mp.message(p)
	if broker.CodeOf(err) == broker.NotFound {
		return mp.pageGone(w, r, text.Unsegment(p["topic"]), text.Unsegment(p["id"]), err)
	}
	if err != nil {
		return err
	}
	lives, err := mp.lives(r, broker.TraceQuery{ID: m.ID})
	if err != nil {
		return err
	}
	page := messagePage{
		Lives:     lives,
		Message:   m,
		Back:      topicMessages(m.Topic),
		Path:      messagePath(m.Topic, m.ID),
		Download:  "/admin/api/v1/messages/" + url.PathEscape(m.Topic) + "/" + url.PathEscape(m.ID) + "/payload",
		Shown:     payload.Show(m.Payload, m.MIMEType),
		Consumers: len(standings),
		CanFree:   m.State == string(broker.StateDelayed),
		Names:     slices.Sorted(maps.Keys(m.Attributes)),
	}
	if d := m.DeadLetter; d != nil {
		page.Failed = &deadLetter{*d, reasons[d.Reason]}
	}
	done := func(s object.Standing) int {
		if s.State == string(broker.StateDone) {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(standings, func(x, y object.Standing) int { return done(x) - done(y) })
	for _, s := range standings {
		page.Pending += 1 - done(s)
		page.CanFree = page.CanFree || s.Held()
	}
	page.Standings = standings[:min(len(standings), maxStandings)]
	return mp.render(w, r, "message", http.StatusOK, view{Title: "Message " + m.ID, Nav: "messages", Data: page})
}

func (mp messagePages) postDeleteMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	topic, id := text.Unsegment(p["topic"]), text.Unsegment(p["id"])
	n, err := mp.Objects.DeleteMessages(r.Context(), gate.ActorOf(r.Context()), topic, []string{id})
	if err != nil {
		return err
	}
	notice := "The message was deleted"
	if n == 0 {
		notice = "The message was gone already"
	}
	return mp.done(w, r, "/admin/messages?"+url.Values{"topic": {topic}}.Encode(), notice)
}

func (mp messagePages) postReleaseMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	var consumer uint32
	if s := v.Get("consumer"); s != "" {
		var ok bool
		if consumer, ok = object.ParseID(s); !ok {
			return object.NotFound("consumer", s)
		}
	}
	topic, id := text.Unsegment(p["topic"]), text.Unsegment(p["id"])
	changed, err := mp.Objects.ReleaseMessage(r.Context(), gate.ActorOf(r.Context()), topic, id, consumer)
	if err != nil {
		return err
	}
	notice := "The message can be delivered at once"
	if !changed {
		notice = "Nothing held the message back"
	}
	return mp.done(w, r, messagePath(topic, id), notice)
}
