package web

import (
	"maps"
	"net/http"
	"net/url"
	"slices"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/payload"
	"pipit/broker"
	"pipit/broker/browse"
)

// states are those of a message, as people read them.
var states = []option{
	{string(browse.Waiting), "waiting"},
	{string(browse.InFlight), "in flight"},
	{string(browse.Deferred), "deferred"},
	{string(browse.Delayed), "delayed"},
}

// messagePath is the path of a message's page.
func messagePath(topic, id string) string {
	return "/admin/messages/" + text.Segment(topic) + "/" + text.Segment(id)
}

// messagePages are the pages of messages, and the forms that publish them.
type messagePages struct{ *Site }

func (mp messagePages) routes() []gate.Route {
	return []gate.Route{
		gate.Get("/admin/messages", mp.pageMessages, gate.Read),
		gate.Post("/admin/messages", mp.postAct, gate.Write),
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

// maxStandings is how many consumers of a message its page shows, those first that still need it.
const maxStandings = 100

type messagePage struct {
	object.Message
	Lives     []life
	Back      link
	Path      string
	From      string // query of the list that its reader comes from, with its "?"; empty: not from one
	Download  string
	Shown     payload.View
	Standings []object.Standing
	Consumers int // all of them
	Pending   int // consumers that are not done with it
	CanFree   bool
	Names     []string // of its attributes
	Failed    *deadLetter
}

// fromList is the part of a message's URL that keeps the list that a request comes from; empty where it comes from none.
func fromList(r *http.Request) string {
	if back := r.URL.Query().Get("back"); back != "" {
		return "?" + url.Values{"back": {back}}.Encode()
	}
	return ""
}

// backTo leads to the list of messages that a request comes from, else to those of a topic.
func backTo(r *http.Request, topic string) link {
	v, err := url.ParseQuery(r.URL.Query().Get("back"))
	if err != nil || len(v) == 0 {
		return topicMessages(topic)
	}
	l := link{"/admin/messages?" + v.Encode(), "Messages"}
	if of := v.Get("topic"); of != "" {
		l.Label = of
	}
	return l
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
	lives, err := mp.lives(r, browse.TraceQuery{ID: m.ID})
	if err != nil {
		return err
	}
	page := messagePage{
		Lives:     lives,
		Message:   m,
		Back:      backTo(r, m.Topic),
		Path:      messagePath(m.Topic, m.ID),
		From:      fromList(r),
		Download:  "/admin/api/v1/messages/" + url.PathEscape(m.Topic) + "/" + url.PathEscape(m.ID) + "/payload",
		Shown:     payload.Show(m.Payload, m.MIMEType),
		Consumers: len(standings),
		CanFree:   m.State == string(browse.Delayed),
		Names:     slices.Sorted(maps.Keys(m.Attributes)),
	}
	if d := m.DeadLetter; d != nil {
		page.Failed = &deadLetter{*d, reasons[d.Reason]}
	}
	done := func(s object.Standing) int {
		if s.State == string(browse.Done) {
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
	return mp.done(w, r, backTo(r, topic).URL, notice)
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
	return mp.done(w, r, messagePath(topic, id)+fromList(r), notice)
}
