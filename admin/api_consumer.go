package admin

import (
	"context"
	"net/http"
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
		{"POST", one + "/clear", apiQueue(a.objects.consumers(), a.objects.clearBacklog), write},
		{"POST", one + "/clear-in-flight", apiQueue(a.objects.consumers(), a.objects.clearInFlight), write},
		{"POST", one + "/release", apiQueue(a.objects.consumers(), a.objects.releaseInFlight), write},
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
	c, err := a.objects.consumers().lookUp(p["id"])
	if err != nil {
		return err
	}
	if c, err = a.objects.rotateSubKey(r.Context(), actorOf(r.Context()), &c, revision); err != nil {
		return err
	}
	return resourceOf(a.objects.consumers()).reply(w, r, http.StatusOK, c)
}

// apiQueue returns the handler of what is done to the queue of a consumer.
func apiQueue[N int | int64](consumers *noun[Consumer], do func(context.Context, actor, *Consumer) (N, error)) func(http.ResponseWriter, *http.Request, params) error {
	return func(w http.ResponseWriter, r *http.Request, p params) error {
		if err := noQuery(r); err != nil {
			return err
		}
		c, err := consumers.lookUp(p["id"])
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
