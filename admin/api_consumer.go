package admin

import (
	"context"
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
)

// Affected is how many messages something was done to.
type Affected struct {
	Messages int64 `json:"messages"` // how many messages
}

// queueRoutes are those of what is done to a consumer's queue.
func (a *API) queueRoutes() []route {
	one := v1 + "/consumers/:id"
	return []route{
		gate.Post(one+"/rotate", a.rotate, write),
		gate.Post(one+"/clear", onQueue(a.Objects.Consumers(), a.Objects.ClearBacklog), write),
		gate.Post(one+"/clear-in-flight", onQueue(a.Objects.Consumers(), a.Objects.ClearInFlight), write),
		gate.Post(one+"/release", onQueue(a.Objects.Consumers(), a.Objects.ReleaseInFlight), write),
	}
}

func (a *API) rotate(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	c, err := a.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	if c, err = a.Objects.RotateSubKey(r.Context(), actorOf(r.Context()), &c, revision); err != nil {
		return err
	}
	return resourceOf(a.Objects.Consumers()).reply(w, r, http.StatusOK, c)
}

// onQueue returns the handler of what is done to the queue of a consumer.
func onQueue[N int | int64](consumers *object.Noun[object.Consumer], do func(context.Context, actor, *object.Consumer) (N, error)) func(http.ResponseWriter, *http.Request, params) error {
	return func(w http.ResponseWriter, r *http.Request, p params) error {
		if err := noQuery(r); err != nil {
			return err
		}
		c, err := consumers.LookUp(p["id"])
		if err != nil {
			return err
		}
		n, err := do(r.Context(), actorOf(r.Context()), &c)
		if err != nil {
			return err
		}
		return reply(w, http.StatusOK, Affected{int64(n)})
	}
}
