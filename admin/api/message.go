package api

import (
	"encoding/base64"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// Bounds of the payloads in a list of messages.
const (
	defaultPayload  = 1 << 10  // bytes of each
	maxPayloadEach  = 64 << 10 // bytes of each
	maxPayloadTotal = 16 << 20 // bytes of all that a page may hold
)

// MessagePage is a page of messages.
type MessagePage struct {
	Items []object.Message `json:"items"`
	Next  string           `json:"next,omitempty"` // cursor of the next page; absent at the end
	// messages looked at. A page looks for 300 ms at most, so that it may be empty and yet have a next.
	Scanned int   `json:"scanned"`
	Total   int64 `json:"total"` // how many there are to look at, whatever the filters
}

// MessageDetail is a message, and where it stands with each consumer.
type MessageDetail struct {
	Message   object.Message    `json:"message"`
	Standings []object.Standing `json:"standings"`
}

// Published is the answer to a Publication.
type Published struct {
	ID string `json:"msg_id"` // id of the message
}

// Released tells whether a release has changed anything.
type Released struct {
	Released bool `json:"released"` // whether anything has changed
}

func (a *API) messageRoutes() []gate.Route {
	one := gate.V1 + "/messages/:topic/:msg_id"
	return []gate.Route{
		gate.Get(gate.V1+"/messages", a.messages, gate.Read),
		gate.Post(gate.V1+"/messages", a.act, gate.Write),
		gate.Get(gate.V1+"/traces", a.traces, gate.Read),
		gate.Get(one, a.message, gate.Read),
		gate.Get(one+"/payload", a.payload, gate.Read),
		gate.Delete(one, a.deleteMessage, gate.Write),
		gate.Post(one+"/release", a.releaseMessage, gate.Write),
		gate.Post(one+"/copy", a.copyMessage, gate.Write),
		gate.Post(gate.V1+"/topics/:name/messages", a.publish, gate.Write),
		gate.Post(gate.V1+"/topics/:name/messages/delete", a.deleteMessages, gate.Write),
		gate.Post(gate.V1+"/topics/:name/messages/redrive", a.redrive, gate.Write),
	}
}

// browseStates are those that a list of messages can be asked for.
var browseStates = []string{string(browse.Waiting), string(browse.InFlight), string(browse.Deferred), string(browse.Delayed)}

// matchParameters say which messages are meant.
var matchParameters = []string{"topic", "consumer", "state", "priority", "since", "until", "text", "match_case"}

// match reads which messages are meant.
func (v values) match() (o browse.Options, err error) {
	o = browse.Options{Topic: v["topic"], State: browse.State(v["state"]), Text: v["text"]}
	if o.Consumer, err = v.consumer(); err != nil {
		return o, err
	}
	if s, given := v["topic"]; given && s == "" {
		return o, badParameter("topic", "topic: it is empty. Without it, all topics are looked at")
	}
	if o.Case, err = v.flag("match_case"); err != nil {
		return o, err
	}
	if s, given := v["state"]; given && !slices.Contains(browseStates, s) {
		return o, badParameter("state", "state %q: allowed are %s", clip.Input(s), strings.Join(browseStates, ", "))
	}
	priority, err := v.integer("priority", 0, limit.MinPriority, limit.MaxPriority)
	if err != nil {
		return o, err
	}
	o.Priority = int(priority)
	if o.Since, err = v.time("since"); err != nil {
		return o, err
	}
	o.Until, err = v.time("until")
	return o, err
}

func (a *API) messages(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, append([]string{"newest", "limit", "cursor", "payload"}, matchParameters...)...)
	if err != nil {
		return err
	}
	o, err := v.match()
	if err != nil {
		return err
	}
	o.Cursor = v["cursor"]
	if o.Newest, err = v.flag("newest"); err != nil {
		return err
	}
	limit, err := v.integer("limit", gate.DefaultLimit, 1, browse.Max)
	if err != nil {
		return err
	}
	payload, err := v.integer("payload", defaultPayload, 0, maxPayloadEach)
	if err != nil {
		return err
	}
	if limit*payload > maxPayloadTotal {
		return badParameter("payload", "payload %d with a limit of %d: allowed are at most %d bytes in all", payload, limit, maxPayloadTotal)
	}
	o.Limit, o.Payload = int(limit), int(payload)
	found, err := a.Objects.Browse(r.Context(), o)
	if err != nil {
		return ofParameters(err)
	}
	page := MessagePage{Items: make([]object.Message, len(found.Messages)), Next: found.Next, Scanned: found.Scanned, Total: found.Total}
	for i := range found.Messages {
		page.Items[i] = object.MessageOf(&found.Messages[i], payload > 0)
	}
	return reply(w, http.StatusOK, page)
}

// Acted is the answer to what was done to messages.
type Acted struct {
	Messages int    `json:"messages"`           // how many messages it was done to, or would be
	Left     int    `json:"left,omitempty"`     // how many dead letters stay, since their topic or consumer is no more, or its filter does not let them through
	LeftWhy  string `json:"left_why,omitempty"` // what is wrong with the first of these
	Next     string `json:"next,omitempty"`     // where the next request goes on; absent: nothing is left
}

// act does something to all messages that match, or counts them.
func (a *API) act(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, append([]string{"action", "dry_run", "next"}, matchParameters...)...)
	if err != nil {
		return err
	}
	o, err := v.match()
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(matchParameters[:len(matchParameters)-1], func(name string) bool { return v[name] != "" }) {
		return badParameter("topic", "topic: it is missing, as is all else that messages could have to match")
	}
	done, err := object.ActOnAll(r.Context(), a.Objects, gate.ActorOf(r.Context()), v["action"], o, v["next"], dryRun)
	if err != nil {
		return ofParameters(err)
	}
	answer := Acted{Messages: done.Messages, Left: done.Left, Next: done.Next}
	if done.LeftWhy != nil {
		answer.LeftWhy = done.LeftWhy.Error()
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) message(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := parseQuery(r, "payload")
	if err != nil {
		return err
	}
	most, err := v.integer("payload", -1, 0, 1<<40)
	if err != nil {
		return err
	}
	m, standings, err := a.Objects.Message(p["topic"], p["msg_id"])
	if err != nil {
		return err
	}
	switch {
	case most == 0:
		m.Payload = nil
	case most > 0 && most < int64(len(m.Payload)):
		m.Payload, m.Truncated = m.Payload[:most], true
		m.Payload = object.WholeRunes(m.Payload)
	}
	return reply(w, http.StatusOK, MessageDetail{m, standings})
}

// payload sends a payload as it is, for no browser to look at: what a message says of its type is
// its publisher's word.
func (a *API) payload(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	m, _, err := a.Objects.Message(p["topic"], p["msg_id"])
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": m.ID + ".bin"}))
	h.Set("Content-Length", strconv.Itoa(len(m.Payload)))
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(m.Payload) // who has left does not read it
	return nil
}

func (a *API) deleteMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	n, err := a.Objects.DeleteMessages(r.Context(), gate.ActorOf(r.Context()), p["topic"], []string{p["msg_id"]})
	if err != nil {
		return err
	}
	if n == 0 {
		return object.NotFound("message", p["msg_id"])
	}
	return reply(w, http.StatusOK, Affected{int64(n)})
}

// messageIDs are the messages of a topic that something is done to.
type messageIDs struct {
	IDs []string `json:"ids"` // ids of messages
}

func (a *API) deleteMessages(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	var ids, none messageIDs
	if err := readObject(r, &ids, &none, TypeJSON); err != nil {
		return err
	}
	n, err := a.Objects.DeleteMessages(r.Context(), gate.ActorOf(r.Context()), p["name"], ids.IDs)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, Affected{int64(n)})
}

// redriveBody are the dead letters of a topic that go back to the consumers for which they failed.
type redriveBody struct {
	IDs      []string `json:"ids"`      // ids of dead letters
	All      bool     `json:"all"`      // in place of ids: all that the other fields fit, and that a consumer of the dead-letter topic is not done with
	Reason   string   `json:"reason"`   // why they failed; empty: for any reason
	Topic    string   `json:"topic"`    // in which topic they failed; empty: in any
	Consumer string   `json:"consumer"` // for which consumer they failed, as dead letters name it; empty: for any
}

// Redriven is the answer to a redrive.
type Redriven struct {
	Messages int      `json:"messages"`            // how many messages were moved
	NotFound []string `json:"not_found,omitempty"` // of the ids: those that no dead letter of the topic has
	Left     int      `json:"left,omitempty"`      // how many dead letters stay, since their topic or consumer is no more, or its filter does not let them through
	LeftWhy  string   `json:"left_why,omitempty"`  // what is wrong with the first of these
}

func (a *API) redrive(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	var in, none redriveBody
	if err := readObject(r, &in, &none, TypeJSON); err != nil {
		return err
	}
	switch {
	case in.All == (len(in.IDs) > 0):
		return gate.Invalid("ids", "allowed are 1 to %d ids, or all in their place", limit.MaxSettle)
	case len(in.IDs) > limit.MaxSettle:
		return gate.Invalid("ids", "%d ids: allowed are 1 to %d", len(in.IDs), limit.MaxSettle)
	}
	done, err := a.Objects.Redrive(r.Context(), gate.ActorOf(r.Context()), p["name"],
		broker.Redrive{IDs: in.IDs, Reason: in.Reason, Topic: in.Topic, Consumer: in.Consumer})
	if err != nil {
		return err
	}
	answer := Redriven{Messages: done.Moved, NotFound: done.NotFound, Left: done.Left}
	if done.LeftWhy != nil {
		answer.LeftWhy = done.LeftWhy.Error()
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) releaseMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := parseQuery(r, "consumer")
	if err != nil {
		return err
	}
	consumer, err := v.consumer()
	if err != nil {
		return err
	}
	done, err := a.Objects.ReleaseMessage(r.Context(), gate.ActorOf(r.Context()), p["topic"], p["msg_id"], consumer)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, Released{done})
}

func (a *API) publish(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	in, err := readNode(r, TypeJSON)
	if err != nil {
		return err
	}
	pub, err := publicationOf(in)
	if err != nil {
		return err
	}
	id, err := a.Objects.Publish(r.Context(), gate.ActorOf(r.Context()), p["name"], pub)
	if err != nil {
		return err
	}
	return published(w, p["name"], id)
}

func (a *API) copyMessage(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	id, err := object.CopyMessage(r.Context(), a.Objects, gate.ActorOf(r.Context()), p["topic"], p["msg_id"])
	if err != nil {
		return err
	}
	return published(w, p["topic"], id)
}

// published answers with the message that was.
func published(w http.ResponseWriter, topic, id string) error {
	w.Header().Set("Location", gate.V1+"/messages/"+pathSegment(topic)+"/"+pathSegment(id))
	return reply(w, http.StatusCreated, Published{id})
}

// publicationBody is a message to be published, with exactly one of payload and payload_base64.
type publicationBody struct {
	Payload    string `json:"payload"`        // the payload, where it is text
	Base64     string `json:"payload_base64"` // the payload in base64, where it is not text
	MIMEType   string `json:"mime_type"`      // returned with the payload, never checked against it
	Priority   int    `json:"priority"`       // 9 is delivered first
	Expiration int64  `json:"expiration"`     // seconds. Default: the topic's.
	Delay      int64  `json:"delay"`          // seconds before it can be delivered
	DeliverAt  string `json:"deliver_at"`     // in place of delay: the UTC time, or Unix seconds, before which it is not delivered
	// an id of its own. One that the topic has seen within its dedup_window is not stored again. Default: made by the broker.
	ID string `json:"msg_id"`

	CorrelationID string            `json:"correlation_id"` // returned in the metadata
	ReplyTo       string            `json:"reply_to"`       // returned in the metadata
	Attributes    map[string]string `json:"attributes"`     // returned in the metadata, with their names in lower case
}

// publicationOf reads a message to be published. A zero, which in a Publication stands for a
// default, is checked here.
func publicationOf(n object.Node) (object.Publication, error) {
	var in, none publicationBody
	if err := n.Object(&in, &none); err != nil {
		return object.Publication{}, err
	}
	p := object.Publication{Payload: []byte(in.Payload), MIMEType: in.MIMEType, Priority: in.Priority, Expiration: in.Expiration, Delay: in.Delay, DeliverAt: in.DeliverAt, ID: in.ID,
		CorrelationID: in.CorrelationID, ReplyTo: in.ReplyTo, Attributes: in.Attributes}
	given := func(name string) bool {
		v, ok := n.Member(name)
		return ok && v.Value != nil
	}
	switch {
	case given("payload") && given("payload_base64"):
		return p, gate.Invalid("payload_base64", "payload_base64: allowed is one of payload and payload_base64")
	case given("payload_base64"):
		var err error
		if p.Payload, err = base64.StdEncoding.DecodeString(in.Base64); err != nil {
			return p, gate.Invalid("payload_base64", "payload_base64: allowed is base64, padded, of the characters A-Z a-z 0-9 + /")
		}
	case !given("payload"):
		return p, gate.Invalid("payload", "payload: it is missing, as is payload_base64")
	}
	for _, c := range []struct {
		name  string
		check func() error
	}{
		{"priority", func() error { return limit.CheckPriority(int64(p.Priority)) }},
		{"expiration", func() error { return limit.CheckExpiration(p.Expiration) }},
		{"deliver_at", func() error { _, err := limit.ParseDeliverAt(p.DeliverAt); return err }},
		{"mime_type", func() error { return limit.CheckMIMEType(p.MIMEType) }},
		{"msg_id", func() error { return limit.CheckMessageID(p.ID) }},
	} {
		if given(c.name) {
			if err := c.check(); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}
