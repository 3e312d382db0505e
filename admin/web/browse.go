package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/web/payload"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/limit"
)

// messagesPage shows messages of a topic, of a consumer or of all topics.
type messagesPage struct {
	Form     *form
	Topic    string // empty: none was chosen
	Client   string // of the consumer, where one was chosen
	Consumer uint32
	Pattern  bool // Topic is one, that of the consumer
	Shown    bool // messages are, in place of where they are
	Several  bool // topics are looked at: each message says its own
	Filtered bool
	Items    []messageRow
	Scanned  int // on this page and those before
	Total    int64
	From, To int
	First    string // URLs; empty where there are none
	Prev     string
	Next     string
	Full     bool           // the page is: what follows is another one, and not the rest of a search
	Query    string         // what was asked for
	Here     string         // likewise, with the place of this page
	Command  string         // that publishes, where there is nothing
	Busiest  []object.Topic // where messages are, without a topic
	Redrive  string         // URL of the page that moves dead letters back, where there are some
}

type messageRow struct {
	browse.Stored
	Path    string
	Preview string
	Binary  bool
	Failed  *deadLetter // where it did; nil: it is no dead letter
}

// AllQuery asks for what can be done to all that match.
func (page messagesPage) AllQuery() string { return page.Query + "&all=" + checked }

// Short is the ID, as much of it as tells messages apart on a page.
func (m *messageRow) Short() string {
	const whole, end = 12, 8
	if len(m.ID) <= whole {
		return m.ID
	}
	return "…" + m.ID[len(m.ID)-end:]
}

// offset is what the field ends with that says the zone of a time that was typed: in minutes east of UTC, filled in by the
// script. Empty: UTC.
const offset = "_offset"

func messagesForm(consumers []option, topics []option) *form {
	priorities := []option{{"", "all"}}
	for n := limit.MaxPriority; n >= limit.MinPriority; n-- {
		priorities = append(priorities, option{strconv.Itoa(n), strconv.Itoa(n)})
	}
	return newForm("find", "/admin/messages", "Show messages",
		field{Name: "text", Label: "Text in the payload"},
		field{Name: "topic", Label: "Topic", Options: topics},
		field{Name: "consumer", Label: "Consumer", Type: "select", Options: append([]option{{"", "all"}}, consumers...)},
		field{Name: "state", Label: "State", Type: "select", Options: append([]option{{"", "all but delayed"}}, states...)},
		field{Name: "since", Label: "Since (UTC)", Type: "datetime-local"},
		field{Name: "until", Label: "Until (UTC)", Type: "datetime-local"},
		field{Name: "priority", Label: "Priority", Type: "select", Options: priorities},
		field{Name: "newest", Label: "Order", Type: "select", Options: []option{{"", "oldest first"}, {checked, "newest first"}}},
		field{Name: "id", Label: "Message ID or correlation ID"},
		field{Name: "match_case", Label: "Match case", Type: "checkbox"},
		field{Name: "since" + offset, Type: "hidden"},
		field{Name: "until" + offset, Type: "hidden"})
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

// messagesOf begins the page of messages of the topic and the consumer that a query names.
func (mp messagePages) messagesOf(v url.Values) (page messagesPage, err error) {
	page.Topic = v.Get("topic")
	if s := v.Get("consumer"); s != "" {
		c, err := mp.Objects.Consumers().LookUp(s)
		switch {
		case err != nil:
			return page, err
		case page.Topic == "" || page.Topic == c.Topic:
			page.Consumer, page.Client, page.Topic = c.ID, c.Client, c.Topic
		default: // another topic was typed: the consumer is none of its own
			v.Del("consumer")
		}
	}
	v.Set("topic", page.Topic)
	page.Pattern = page.Consumer != 0 && mp.isPattern(page.Topic)
	page.Several = page.Topic == "" || page.Pattern
	page.Form = messagesForm(mp.consumersOf(page.Topic, page.Consumer), mp.topicNames())
	page.Form.typed(v)
	page.Shown = page.Topic != ""
	for _, name := range []string{"text", "state", "since", "until", "priority", "newest"} {
		some := page.Form.get(name) != ""
		page.Shown = page.Shown || some
		page.Filtered = page.Filtered || some && name != "newest"
	}
	return page, nil
}

func (mp messagePages) pageMessages(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v := r.URL.Query()
	page, err := mp.messagesOf(v)
	if err != nil {
		return err
	}
	if v.Get("all") == checked && page.Shown {
		return mp.pageAll(w, r, &page, v)
	}
	status := http.StatusOK
	if id := strings.TrimSpace(v.Get("id")); id != "" {
		topic, err := mp.findMessage(page.Topic, id)
		if err == nil {
			http.Redirect(w, r, messagePath(topic, id), http.StatusSeeOther) // #nosec G710 -- a path of ours, with the names escaped
			return nil
		}
		if found, e := mp.findGone(w, r, page.Topic, id); found || e != nil {
			return e
		}
		page.Shown = false
		if status, err = page.Form.fail(err); err != nil {
			return err
		}
	} else if page.Shown {
		if err = mp.browseTo(r, &page, v); err != nil {
			if broker.CodeOf(err) == broker.NotFound {
				err = &fieldError{"topic", "There is no topic of that name"}
			}
			if status, err = page.Form.fail(err); err != nil {
				return err
			}
			page.Topic, page.Shown = "", false
		}
	}
	if !page.Shown {
		l, err := mp.Objects.Topics().List(gate.Query{Sort: "depth", Desc: true, Limit: 10})
		if err != nil {
			return err
		}
		page.Busiest = slices.DeleteFunc(l.Items, func(t object.Topic) bool { return t.Depth+t.Delayed == 0 })
	}
	return mp.render(w, r, "messages", status, view{Title: "Messages", Nav: "messages", Data: page})
}

// options is what the form asks for, beginning with the first message.
func (page *messagesPage) options() (o browse.Options, err error) {
	f := page.Form
	o = browse.Options{Topic: page.Topic, Consumer: page.Consumer, State: browse.State(f.get("state")),
		Text: f.get("text"), Case: f.on("match_case"), Newest: f.on("newest")}
	if page.Pattern {
		o.Topic = "" // all topics that it has
	}
	priority, err := f.number("priority", 0)
	if err != nil {
		return o, err
	}
	o.Priority = int(priority)
	if o.Since, err = f.time("since"); err != nil {
		return o, err
	}
	o.Until, err = f.time("until")
	return o, err
}

// browseTo fills a page with what the query asks for.
func (mp messagePages) browseTo(r *http.Request, page *messagesPage, v url.Values) error {
	o, err := page.options()
	if err != nil {
		return err
	}
	o.Limit, o.Cursor, o.Payload = pageSize, v.Get("cursor"), payload.PreviewLength
	found, err := mp.Objects.Browse(r.Context(), o)
	if err != nil {
		return err
	}
	page.turn(v, len(found.Messages), found)
	for _, m := range found.Messages {
		page.Items = append(page.Items, messageRow{
			Stored: m, Path: messagePath(m.Topic, m.ID) + "?back=" + url.QueryEscape(page.Here), Preview: payload.Preview(m.Payload, m.Size),
			Binary: !payload.IsText(object.WholeRunes(m.Payload)), Failed: deadLetterOf(&m),
		})
		if m.Extra != nil && m.Extra.DeadLetter != nil && !page.Several {
			page.Redrive = redrivePath(page.Topic)
		}
	}
	if len(page.Items) > 0 || page.Several {
		return nil
	}
	if client, _ := mp.publisher(page.Topic); client != "" {
		page.Command = mp.bases(r).Publish(client, page.Topic)[0].Line
	}
	return nil
}

// Places of pages before this one in its URL, the first of them dropped where it would get too long.
const (
	maxTrail  = 20
	maxTrails = 1500 // bytes
)

// turn says where the page is among others, and where these are. A place is written as from~scanned~cursor.
func (page *messagesPage) turn(v url.Values, items int, found browse.Page) {
	cursor, trail := v.Get("cursor"), strings.FieldsFunc(v.Get("trail"), func(r rune) bool { return r == '.' })
	if cursor != "" {
		page.From, _ = strconv.Atoi(v.Get("from"))
		page.Scanned, _ = strconv.Atoi(v.Get("seen"))
		page.From, page.Scanned = max(0, page.From), max(0, page.Scanned)
	}
	here := strconv.Itoa(page.From) + "~" + strconv.Itoa(page.Scanned) + "~" + cursor
	asked := page.asked()
	page.Query = asked.Encode()
	at := func(place string, trail []string) string {
		parts := strings.SplitN(place, "~", 3)
		if len(parts) != 3 || parts[2] == "" {
			return page.Query
		}
		asked.Set("from", parts[0])
		asked.Set("seen", parts[1])
		asked.Set("cursor", parts[2])
		asked.Del("trail")
		for len(trail) > maxTrail || len(strings.Join(trail, ".")) > maxTrails {
			trail = trail[1:]
		}
		if len(trail) > 0 {
			asked.Set("trail", strings.Join(trail, "."))
		}
		return asked.Encode()
	}
	page.Here = at(here, nil)
	if cursor != "" {
		page.First = "?" + page.Query
	}
	if n := len(trail); n > 0 {
		page.Prev = "?" + at(trail[n-1], trail[:n-1])
	}
	page.Scanned += found.Scanned
	page.Total = max(found.Total, int64(page.Scanned))
	page.To, page.Full = page.From+items, items == pageSize
	if found.Next != "" {
		page.Next = "?" + at(strings.Join([]string{strconv.Itoa(page.To), strconv.Itoa(page.Scanned), found.Next}, "~"), append(trail, here))
	}
	if items > 0 {
		page.From++
	}
}

// time returns the time that was typed, in the zone of whoever typed it where the form says that, else in UTC; the zero time
// where none was.
func (f *form) time(name string) (time.Time, error) {
	s := strings.TrimSpace(f.get(name))
	if s == "" {
		return time.Time{}, nil
	}
	zone := time.UTC
	if x := f.field(name + offset); x != nil && x.Value != "" {
		minutes, err := strconv.Atoi(x.Value)
		if err != nil || minutes < -24*60 || minutes > 24*60 {
			return time.Time{}, &fieldError{name, "The offset from UTC of this time is not one in minutes"}
		}
		zone = time.FixedZone("", 60*minutes)
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, strings.Replace(s, " ", "T", 1), zone); err == nil {
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
	if err := limit.CheckMessageID(id); err != nil {
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
