package web

import (
	"net/http"
	"net/url"
	"slices"

	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/browse"
)

// life is what happened to a message.
type life struct {
	object.Trace
	Path string // of its page
	N    int    // of those on a page, from 1
	Rows []lifeRow
}

type lifeRow struct {
	object.TraceEvent
	Sentence string // without who and when
}

// happened is what an event says of a message.
var happened = map[string]string{
	browse.TracePublished:    "published",
	browse.TraceAcknowledged: "acknowledged",
	browse.TraceExpired:      "expired before it was acknowledged",
	browse.TraceDeadLettered: "moved to the dead-letter topic",
	browse.TraceDropped:      "dropped",
	browse.TraceCleared:      "cleared by an administrator",
	browse.TraceSkipped:      "skipped, as the consumer was moved to a later place",
	browse.TraceUnsubscribed: "not acknowledged when the consumer was deleted",
	browse.TraceDeleted:      "deleted by an administrator, for all consumers",
	browse.TraceRedriven:     "moved back to the consumer for which it had failed",
	browse.TraceTopicDeleted: "deleted with its topic",
}

func lifeOf(x object.Trace) life {
	l := life{Trace: x, Path: messagePath(x.Topic, x.ID)}
	for _, e := range x.Events {
		row := lifeRow{e, happened[e.What]}
		if e.Reason != "" {
			row.Sentence += ": " + reasons[e.Reason]
		}
		if e.What == browse.TracePublished && x.Producer != "" {
			row.Sentence += " by " + x.Producer
		}
		if e.Consumer != 0 && e.Deliveries > 0 {
			row.Sentence += ", after " + text.Count(int64(e.Deliveries), "delivery", "deliveries")
		}
		l.Rows = append(l.Rows, row)
	}
	return l
}

// tracePage shows what happened to messages: one that is gone, or those of a correlation ID.
type tracePage struct {
	Back  link
	ID    string // of one that is gone; else
	Of    string // the correlation ID
	Lives []life
}

// lives are what happened to the messages of a query, none where nothing is known.
func (mp messagePages) lives(r *http.Request, q browse.TraceQuery) ([]life, error) {
	traces, err := mp.Objects.Trace(r.Context(), q)
	if code := broker.CodeOf(err); code == broker.NotFound || code == broker.Invalid {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var list []life
	for i, x := range traces {
		list = append(list, lifeOf(x))
		list[i].N = i + 1
	}
	return list, nil
}

// pageGone shows what happened to a message that is gone, or, where nothing is known, the error missing.
func (mp messagePages) pageGone(w http.ResponseWriter, r *http.Request, topic, id string, missing error) error {
	lives, err := mp.lives(r, browse.TraceQuery{ID: id})
	switch {
	case err != nil:
		return err
	case !slices.ContainsFunc(lives, func(l life) bool { return l.Topic == topic }):
		if _, err := mp.Objects.Trace(r.Context(), browse.TraceQuery{ID: id, Topic: topic}); broker.CodeOf(err) == broker.NotFound {
			missing = err // it says for how long it would be known
		}
		return mp.pageUnknown(w, r, topic, missing)
	}
	page := tracePage{Back: backTo(r, topic), ID: id, Lives: lives}
	return mp.render(w, r, "trace", http.StatusNotFound, view{Title: "Message " + id, Nav: "messages", Data: page})
}

// pageUnknown says of a message of which nothing is known what may have become of it.
func (mp messagePages) pageUnknown(w http.ResponseWriter, r *http.Request, topic string, missing error) error {
	if !mp.Broker.HasTopic(topic) {
		return missing
	}
	f := failureOf(missing)
	f.Message += " All of its consumers may be done with it, or it has expired, or was deleted."
	f.More = &link{topicMessages(topic).URL, "Messages of " + topic}
	return mp.render(w, r, "error", f.Status, view{Title: f.Heading, Nav: "messages", Data: f})
}

// findGone goes to where it is said what happened to a message that no topic has, or to those of a correlation ID. It is
// false where nothing is known.
func (mp messagePages) findGone(w http.ResponseWriter, r *http.Request, topic, id string) (found bool, err error) {
	lives, err := mp.lives(r, browse.TraceQuery{ID: id, Topic: topic})
	if err != nil {
		return false, err
	}
	if len(lives) > 0 {
		http.Redirect(w, r, lives[len(lives)-1].Path, http.StatusSeeOther) // #nosec G710 -- a path of ours, with the names escaped
		return true, nil
	}
	if lives, err = mp.lives(r, browse.TraceQuery{CorrelationID: id, Topic: topic}); err != nil || len(lives) == 0 {
		return false, err
	}
	slices.Reverse(lives)
	page := tracePage{Back: link{"/admin/messages", "Messages"}, Of: id, Lives: lives}
	return true, mp.render(w, r, "trace", http.StatusOK, view{Title: "Messages of " + id, Nav: "messages", Data: page})
}

// topicMessages leads to the messages of a topic.
func topicMessages(topic string) link {
	return link{"/admin/messages?" + url.Values{"topic": {topic}}.Encode(), topic}
}
