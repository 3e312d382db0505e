package admin

import (
	"context"
	"net/http"

	"pipit/admin/object"
)

// Affected is how many messages something was done to.
type Affected struct {
	Messages int64 `json:"messages"` // how many messages
}

// queueRoutes are those of what is done to a consumer's queue.
func (a *Admin) queueRoutes() []route {
	one := v1 + "/consumers/:id"
	return []route{
		{"POST", one + "/rotate", a.apiRotate, write},
		{"POST", one + "/clear", apiQueue(a.objects.Consumers(), a.objects.ClearBacklog), write},
		{"POST", one + "/clear-in-flight", apiQueue(a.objects.Consumers(), a.objects.ClearInFlight), write},
		{"POST", one + "/release", apiQueue(a.objects.Consumers(), a.objects.ReleaseInFlight), write},
	}
}

func (a *Admin) apiRotate(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	c, err := a.objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	if c, err = a.objects.RotateSubKey(r.Context(), actorOf(r.Context()), &c, revision); err != nil {
		return err
	}
	return resourceOf(a.objects.Consumers()).reply(w, r, http.StatusOK, c)
}

// apiQueue returns the handler of what is done to the queue of a consumer.
func apiQueue[N int | int64](consumers *object.Noun[object.Consumer], do func(context.Context, actor, *object.Consumer) (N, error)) func(http.ResponseWriter, *http.Request, params) error {
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
