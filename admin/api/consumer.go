package api

import (
	"context"
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

// Affected is how many messages something was done to.
type Affected struct {
	Messages int64 `json:"messages"` // how many messages
}

// queueRoutes are those of what is done to a consumer's queue.
func (a *API) queueRoutes() []gate.Route {
	one := gate.V1 + "/consumers/:id"
	return []gate.Route{
		gate.Get(one+"/queues", a.queues, gate.Read),
		gate.Get(one+"/why", a.why, gate.Read),
		gate.Post(one+"/rotate", a.rotate, gate.Write),
		gate.Post(one+"/end-overlap", a.endOverlap, gate.Write),
		gate.Post(one+"/clear", onQueue(a.Objects.Consumers(), a.Objects.ClearBacklog), gate.Write),
		gate.Post(one+"/clear-in-flight", onQueue(a.Objects.Consumers(), a.Objects.ClearInFlight), gate.Write),
		gate.Post(one+"/seek", a.seek, gate.Write),
		gate.Post(one+"/release", onQueue(a.Objects.Consumers(), a.Objects.ReleaseInFlight), gate.Write),
	}
}

// Queue is what waits for a consumer in one topic.
type Queue struct {
	Topic    string `json:"topic"`     // name
	Backlog  int64  `json:"backlog"`   // messages that wait or are in flight
	InFlight int64  `json:"in_flight"` // of these, delivered and neither acknowledged nor given back
	Deferred int64  `json:"deferred"`  // of the backlog, rejected with a delay that is not over
}

// Queues are those of a consumer.
type Queues struct {
	Items []Queue `json:"items"` // the fullest first, limit of them at the most
	Total int     `json:"total"` // how many there are
}

func (a *API) queues(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	limit, err := limitAlone(r)
	if err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	list, total, err := a.Broker.Queues(c.ID, int(limit))
	if err != nil {
		return err
	}
	out := Queues{Items: make([]Queue, len(list)), Total: total}
	for i, q := range list {
		out.Items[i] = Queue(q)
	}
	return reply(w, http.StatusOK, out)
}

func (a *API) rotate(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := parseQuery(r, "overlap")
	if err != nil {
		return err
	}
	overlap, err := v.duration("overlap")
	if err != nil {
		return err
	}
	return a.rekey(w, r, p, func(ctx context.Context, who gate.Actor, c *object.Consumer, revision string) (object.Consumer, error) {
		made, err := a.Objects.RotateSubKey(ctx, who, c, revision, overlap)
		return made, ofParameters(err)
	})
}

func (a *API) endOverlap(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	return a.rekey(w, r, p, a.Objects.EndOverlap)
}

// rekey makes a change of the keys of a consumer, and answers with that.
func (a *API) rekey(w http.ResponseWriter, r *http.Request, p gate.Params, do func(context.Context, gate.Actor, *object.Consumer, string) (object.Consumer, error)) error {
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	if c, err = do(r.Context(), gate.ActorOf(r.Context()), &c, revision); err != nil {
		return err
	}
	return resourceOf(a.Objects.Consumers()).reply(w, r, http.StatusOK, c)
}

// onQueue returns the handler of what is done to the queue of a consumer.
func onQueue[N int | int64](consumers *object.Noun[object.Consumer], do func(context.Context, gate.Actor, *object.Consumer) (N, error)) func(http.ResponseWriter, *http.Request, gate.Params) error {
	return func(w http.ResponseWriter, r *http.Request, p gate.Params) error {
		if err := noQuery(r); err != nil {
			return err
		}
		c, err := consumers.LookUp(p["id"])
		if err != nil {
			return err
		}
		n, err := do(r.Context(), gate.ActorOf(r.Context()), &c)
		if err != nil {
			return err
		}
		return reply(w, http.StatusOK, Affected{int64(n)})
	}
}

// seekBody is where a consumer is to go on: one of the two.
type seekBody struct {
	To        string `json:"to"`     // oldest, newest, or a UTC time: at the first message that could be delivered then or later
	MessageID string `json:"msg_id"` // at this message
}

// Sought is the answer to a seek.
type Sought struct {
	Backlog int64 `json:"backlog"` // messages that wait for the consumer then
}

func (a *API) seek(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	v, err := parseQuery(r, "dry_run")
	if err != nil {
		return err
	}
	dryRun, err := v.flag("dry_run")
	if err != nil {
		return err
	}
	body, err := readBody(r, TypeJSON)
	if err != nil {
		return err
	}
	node, err := object.Parse(body)
	if err != nil {
		return err
	}
	var in, none seekBody
	if err := node.Object(&in, &none); err != nil {
		return err
	}
	if (in.To == "") == (in.MessageID == "") {
		return gate.Invalid("to", "allowed is to or msg_id, one of them")
	}
	to := broker.Seek{MessageID: in.MessageID}
	if in.To != "" {
		if to, err = broker.ParseSeek(in.To); err != nil {
			return err
		}
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	n, err := a.Objects.Seek(r.Context(), gate.ActorOf(r.Context()), &c, to, dryRun)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, Sought{n})
}
