package web

import (
	"net/http"
	"net/url"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/browse"
)

// reasons are why a message became a dead letter, as people read them.
var reasons = map[string]string{
	broker.ReasonMaxDeliveries: "delivered too often",
	broker.ReasonRejected:      "rejected for good",
	broker.ReasonExpired:       "expired",
	broker.ReasonOverflow:      "the backlog was full",
}

// deadLetter says where a message failed, and why in words.
type deadLetter struct {
	object.DeadLetter
	Why string
}

func deadLetterOf(m *browse.Stored) *deadLetter {
	if m.Extra == nil || m.Extra.DeadLetter == nil {
		return nil
	}
	d := m.Extra.DeadLetter
	return &deadLetter{object.DeadLetter{Topic: d.Topic, Consumer: d.Consumer, Reason: d.Reason, Count: d.Count, At: gate.TimeOf(d.At)}, reasons[d.Reason]}
}

// redrivePath is the path of the page that moves the dead letters of a topic back.
func redrivePath(topic string) string { return topicPath(topic) + "/redrive" }

// redriven tells of a redrive.
func redriven(done broker.Redriven) string {
	s := "Moved back: " + text.Count(int64(done.Moved), "message", "messages")
	if n := len(done.NotFound); n > 0 {
		s += ". No dead letters any more: " + text.Number(n)
	}
	if done.Left > 0 {
		s += ". Left where they are: " + text.Number(done.Left) + ". " + sentence(done.LeftWhy.Error())
	}
	return s
}

// maxCounted is up to how many dead letters are counted before they are moved.
const maxCounted = 10_000

// redrivePage asks which dead letters of a topic are meant, and says how many these are.
type redrivePage struct {
	Back   link
	Filter *form // asked for by GET
	Move   *form
	Count  int
	More   bool // there are more than Count
}

// redriveOf is what a form asks for.
func redriveOf(v url.Values) broker.Redrive {
	return broker.Redrive{Reason: v.Get("reason"), Topic: strings.TrimSpace(v.Get("topic")), Consumer: strings.TrimSpace(v.Get("consumer"))}
}

// redriveForms are the two forms of the page, with what was typed.
func (mp messagePages) redriveForms(topic string, v url.Values) redrivePage {
	why := []option{{"", "for any reason"}}
	for _, r := range []string{broker.ReasonMaxDeliveries, broker.ReasonRejected, broker.ReasonExpired, broker.ReasonOverflow} {
		why = append(why, option{r, reasons[r]})
	}
	page := redrivePage{Back: link{"/admin/messages?" + url.Values{"topic": {topic}}.Encode(), topic}}
	page.Filter = newForm("filter", redrivePath(topic), "Count",
		field{Name: "reason", Label: "Failed", Type: "select", Options: why},
		field{Name: "topic", Label: "In the topic", Options: mp.topicNames(), Hint: "Empty: in any"},
		field{Name: "consumer", Label: "For the consumer", Hint: "As its dead letters name it. Empty: for any"})
	page.Filter.typed(v)
	page.Move = newForm("redrive", redrivePath(topic), "Move them back")
	for _, name := range []string{"reason", "topic", "consumer"} {
		page.Move.Fields = append(page.Move.Fields, field{Name: name, Type: "hidden", Value: v.Get(name)})
	}
	return page
}

// countDeadLetters counts those that a redrive is about, up to maxCounted.
func (mp messagePages) countDeadLetters(r *http.Request, topic string, of broker.Redrive, page *redrivePage) error {
	for looked, cursor := 0, ""; ; {
		found, err := mp.Objects.Browse(r.Context(), browse.Options{Topic: topic, Limit: browse.Max, Cursor: cursor})
		if err != nil {
			return err
		}
		for i := range found.Messages {
			d := deadLetterOf(&found.Messages[i])
			if d != nil && (of.Reason == "" || of.Reason == d.Reason) && (of.Topic == "" || of.Topic == d.Topic) && (of.Consumer == "" || of.Consumer == d.Consumer) {
				page.Count++
			}
		}
		looked, cursor = looked+found.Scanned, found.Next
		if page.More = cursor != ""; !page.More || looked >= maxCounted {
			return nil
		}
	}
}

func (mp messagePages) renderRedrive(w http.ResponseWriter, r *http.Request, status int, topic string, page redrivePage) error {
	return mp.render(w, r, "redrive", status, view{Title: "Dead letters of " + topic, Nav: "messages", Data: page})
}

func (mp messagePages) pageRedrive(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	t, err := mp.Objects.Topics().LookUp(text.Unsegment(p["name"]))
	if err != nil {
		return err
	}
	page := mp.redriveForms(t.Name, r.URL.Query())
	if err := mp.countDeadLetters(r, t.Name, redriveOf(r.URL.Query()), &page); err != nil {
		return err
	}
	return mp.renderRedrive(w, r, http.StatusOK, t.Name, page)
}

func (mp messagePages) postRedrive(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	topic := text.Unsegment(p["name"])
	done, err := mp.Objects.Redrive(r.Context(), gate.ActorOf(r.Context()), topic, redriveOf(v))
	if err == nil {
		return mp.done(w, r, "/admin/messages?"+url.Values{"topic": {topic}}.Encode(), redriven(done))
	}
	if _, gone := mp.Objects.Topics().LookUp(topic); gone != nil {
		return gone
	}
	page := mp.redriveForms(topic, v)
	status := http.StatusConflict // the topic or consumer in which one failed is no more
	if broker.CodeOf(err) == broker.NotFound {
		page.Move.Error = sentence(err.Error())
	} else if status, err = page.Move.fail(err); err != nil {
		return err
	}
	if err := mp.countDeadLetters(r, topic, redriveOf(v), &page); err != nil {
		return err
	}
	return mp.renderRedrive(w, r, status, topic, page)
}

// postRedriveMessage moves one dead letter back.
func (mp messagePages) postRedriveMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	topic, id := text.Unsegment(p["topic"]), text.Unsegment(p["id"])
	done, err := mp.Objects.Redrive(r.Context(), gate.ActorOf(r.Context()), topic, broker.Redrive{IDs: []string{id}})
	if err != nil {
		return err
	}
	return mp.done(w, r, backTo(r, topic).URL, redriven(done))
}
