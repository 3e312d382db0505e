package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/limit"
)

// replayPage asks where a consumer is to go on, and says how many messages would wait for it then.
type replayPage struct {
	object.Consumer
	Back    link
	Choose  *form // asked for by GET
	Full    bool  // more would wait there than is allowed
	Asked   bool  // what follows is known
	Count   int64
	Skips   bool              // it goes to the newest
	At      time.Time         // where a time was asked for
	Message string            // where a message was
	Go      *form             // nil: there is nothing
	Of      *broker.TopicInfo // its topic; nil: a pattern
	Keeps   bool              // Of keeps what all are done with
}

// replayForm asks where to go on.
func replayForm(c *object.Consumer, v url.Values) *form {
	f := newForm("place", consumerPath(c.ID)+"/replay", "Count what would wait",
		field{Name: "to", Label: "Go on at", Type: "select", Options: []option{
			{"oldest", "the oldest message that is stored"},
			{"time", "a time"},
			{"message", "a message"},
			{"newest", "the newest: skip all that waits"},
		}},
		field{Name: "at", Label: "Time (UTC)", Type: "datetime-local", Hint: "At the first message that could be delivered then or later"},
		field{Name: "id", Label: "Message ID", Hint: "At this message, which waits again as well"},
		field{Name: "at" + offset, Type: "hidden"})
	f.typed(v)
	return f
}

// place is where a form of a replay goes to.
func (f *form) place() (broker.Seek, error) {
	switch to := f.get("to"); to {
	case "time":
		at, err := f.time("at")
		if err == nil && at.IsZero() {
			err = &fieldError{"at", "From when on is needed"}
		}
		if err != nil {
			return broker.Seek{}, err
		}
		place, err := broker.ParseSeek(at.Format("2006-01-02T15:04:05"))
		if err != nil {
			err = &fieldError{"at", "Allowed are times such as 2006-01-02T15:04, in UTC"}
		}
		return place, err
	case "message":
		id := strings.TrimSpace(f.get("id"))
		if err := limit.CheckMessageID(id); err != nil {
			return broker.Seek{}, &fieldError{"id", sentence(err.Error())}
		}
		return broker.Seek{MessageID: id}, nil
	default:
		return broker.ParseSeek(to)
	}
}

// replayTo is the page for what was asked for, with nothing counted yet.
func (cp consumerPages) replayTo(c *object.Consumer, v url.Values) replayPage {
	page := replayPage{Consumer: *c, Choose: replayForm(c, v), Back: link{consumerPath(c.ID), object.OfTopic(c.Client, c.Topic)}}
	if t, ok := cp.Broker.Topic(c.Topic); ok {
		page.Of, page.Keeps = &t, t.Retention > 0 || t.RetentionBytes > 0
	}
	return page
}

// seek goes where the form of a page says, or tells with dryRun how many messages would wait there.
func (cp consumerPages) seek(r *http.Request, page *replayPage, dryRun bool) (to broker.Seek, waiting int64, err error) {
	if to, err = page.Choose.place(); err != nil {
		return to, 0, err
	}
	waiting, err = cp.Objects.Seek(r.Context(), gate.ActorOf(r.Context()), &page.Consumer, to, dryRun)
	switch code := broker.CodeOf(err); {
	case err == nil:
	case code == broker.Full:
		page.Full = true
	case code == broker.NotFound && to.MessageID != "":
		if _, there := cp.Broker.Consumer(page.ID); there {
			err = &fieldError{"id", "The topic has no such message, or has it no more"}
		}
	}
	return to, waiting, err
}

// preview fills in what would wait, and the form that goes there where that makes sense.
func (cp consumerPages) preview(r *http.Request, page *replayPage) error {
	to, waiting, err := cp.seek(r, page, true)
	if err != nil {
		return err
	}
	page.Asked, page.Count, page.Skips, page.At, page.Message = true, waiting, to.Newest, to.Time, to.MessageID
	submit := "Replay " + text.Count(waiting, "message", "messages")
	if page.Skips {
		submit = "Skip all that waits"
	}
	if waiting == 0 && (!page.Skips || page.Backlog == 0) {
		return nil
	}
	page.Go = newForm("go", page.Choose.Action, submit)
	if page.Skips {
		page.Go = confirm("go", page.Choose.Action, submit, "Type the topic's name to confirm", page.Topic)
	}
	for _, name := range []string{"to", "at", "id", "at" + offset} {
		page.Go.Fields = append(page.Go.Fields, field{Name: name, Type: "hidden", Value: page.Choose.get(name)})
	}
	return nil
}

func (cp consumerPages) renderReplay(w http.ResponseWriter, r *http.Request, status int, page replayPage) error {
	return cp.render(w, r, "replay", status, view{Title: "Replay for " + object.OfTopic(page.Client, page.Topic), Nav: "consumers", Data: page})
}

func (cp consumerPages) pageReplay(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	c, err := cp.Objects.Consumers().Get(p["id"])
	if err != nil {
		return err
	}
	v := r.URL.Query()
	page, status := cp.replayTo(&c, v), http.StatusOK
	if v.Has("to") {
		if err := cp.preview(r, &page); err != nil {
			if status, err = page.Choose.fail(err); err != nil {
				return err
			}
		}
	}
	return cp.renderReplay(w, r, status, page)
}

func (cp consumerPages) postReplay(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := cp.Objects.Consumers().Get(p["id"])
	if err != nil {
		return err
	}
	page := cp.replayTo(&c, v)
	if page.Choose.get("to") == "newest" {
		if err := cp.preview(r, &page); err != nil {
			return err
		}
		if page.Go != nil {
			page.Go.set("confirm", v.Get("confirm"))
			if err := page.Go.confirmed(page.Topic); err != nil {
				status, err := page.Go.fail(err)
				if err != nil {
					return err
				}
				return cp.renderReplay(w, r, status, page)
			}
		}
	}
	to, waiting, err := cp.seek(r, &page, false)
	if err != nil {
		status, err := page.Choose.fail(err)
		if err != nil {
			return err
		}
		return cp.renderReplay(w, r, status, page)
	}
	notice := "The consumer goes on there: " + text.Count(waiting, "message waits", "messages wait")
	if to.Newest {
		notice = "All that waited was skipped"
	}
	return cp.done(w, r, page.Back.URL, notice)
}
